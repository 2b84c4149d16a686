// SPDX-License-Identifier: Apache-2.0
//! EROFS images as the kernel shows them. The kernel is asked directly: mount(8) of Debian 12 makes a
//! loop device of any file, and then cannot give the image other devices.

use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use unpack::Notes;
use unpack::erofs::{Blocks, Device, SPARSE, Source, TAR, merge};

/// The devices of a kept layer's own index.
pub fn own_devices(dir: &Path) -> Vec<Device> {
    let files = [TAR, SPARSE].map(|name| dir.join(name));
    let device = |file| Device { file, offset: 0 };
    files
        .into_iter()
        .filter(|file| file.exists())
        .map(device)
        .collect()
}

/// Shows an image of small blocks while it is mounted from its files.
pub fn mounted<T>(image: &Path, devices: &[Device], show: impl FnOnce(&Path) -> T) -> T {
    assert!(devices.iter().all(|device| device.offset == 0));
    let files: Vec<PathBuf> = devices.iter().map(|device| device.file.clone()).collect();
    show_at(image, &files, show)
}

/// Shows an image while it is mounted from loop devices, as older kernels need it.
pub fn mounted_by_loop<T>(image: &Path, devices: &[Device], show: impl FnOnce(&Path) -> T) -> T {
    let image = Loop::new(image, 0);
    let loops: Vec<Loop> = devices
        .iter()
        .map(|device| Loop::new(&device.file, device.offset))
        .collect();
    let files: Vec<PathBuf> = loops.iter().map(|device| device.0.clone()).collect();
    show_at(&image.0, &files, show)
}

/// Shows merged layers in both sizes of blocks, which must show the same.
pub fn merged<T: PartialEq + std::fmt::Debug>(
    layers: &[(PathBuf, Notes)],
    folder: &Path,
    show: impl Fn(&Path) -> T,
) -> Result<T, unpack::Error> {
    let sources: Vec<Source<'_>> = layers.iter().map(|(dir, notes)| Source { dir, notes }).collect();
    let (small, page) = (folder.join("image-small"), folder.join("image-page"));
    let merged = merge(&sources, Blocks::Small, &small)?;
    let shown = mounted(&small, &merged.devices, &show);
    let merged = merge(&sources, Blocks::Page, &page)?;
    assert_eq!(
        mounted_by_loop(&page, &merged.devices, &show),
        shown,
        "in larger blocks"
    );
    Ok(shown)
}

fn show_at<T>(image: &Path, devices: &[PathBuf], show: impl FnOnce(&Path) -> T) -> T {
    let target = tempfile::tempdir().expect("a place to mount at");
    let devices: Vec<String> = devices
        .iter()
        .map(|file| format!("device={}", file.display()))
        .collect();
    let options = devices.join(",");
    let mounted = mount(
        Some(image),
        target.path(),
        Some("erofs"),
        MsFlags::MS_RDONLY,
        Some(options.as_str()),
    );
    mounted.expect("mount an EROFS image");
    let mounted = Mounted(target.path());
    let shown = show(target.path());
    drop(mounted);
    shown
}

struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        // A test that panics leaves no mount either.
        let _ = umount2(self.0, MntFlags::MNT_DETACH);
    }
}

struct Loop(PathBuf);

impl Loop {
    fn new(file: &Path, offset: u64) -> Loop {
        let arguments = ["--find", "--show", "--read-only", "--offset", &offset.to_string()];
        let made = Command::new("losetup")
            .args(arguments)
            .arg(file)
            .output()
            .expect("losetup");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Loop(String::from_utf8_lossy(&made.stdout).trim().into())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.0).status();
    }
}
