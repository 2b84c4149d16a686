// SPDX-License-Identifier: Apache-2.0
//! EROFS images of a few files, and file systems to have them on.
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use snapshot::{Device, Erofs, Form, Image, Layer, Snapshotter};
use tempfile::TempDir;

use super::chain;

#[path = "../../src/erofs/tiny.rs"]
mod tiny;

/// A file system of one's own.
pub(crate) struct Disk {
    temp: TempDir,
    pub(crate) root: PathBuf,
}

impl Disk {
    /// A disk as servers have it, from whose files the kernel mounts images.
    pub(crate) fn ext4() -> Self {
        let disk = Disk::at("ext4");
        let file = disk.temp.path().join("disk");
        fs::File::create(&file).unwrap().set_len(256 << 20).unwrap();
        run(Command::new("mkfs.ext4")
            .args(["-q", "-F", "-O", "^has_journal"])
            .arg(&file));
        run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(&file)
            .arg(&disk.root));
        disk
    }

    /// Memory, from whose files it does not, but from loop devices over them.
    pub(crate) fn tmpfs() -> Self {
        let disk = Disk::at("tmpfs");
        let flags = MsFlags::empty();
        mount(Some("tmpfs"), &disk.root, Some("tmpfs"), flags, None::<&str>).unwrap();
        disk
    }

    pub(crate) fn both() -> [Disk; 2] {
        [Disk::ext4(), Disk::tmpfs()]
    }

    fn at(name: &str) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join(name);
        fs::create_dir(&root).unwrap();
        Disk { temp, root }
    }

    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        let path = self.root.join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    pub(crate) fn probe(&self) -> Erofs {
        Erofs::probe(&self.root).unwrap_or_else(|error| panic!("{}", chain(&error)))
    }

    /// Says that nothing is mounted on this disk, and no loop device bound to a file of it.
    pub(crate) fn assert_clean(&self) {
        let inside = format!("{}/", self.root.display());
        let mounts = mounts();
        let left = mounts.iter().filter(|mount| mount.point.starts_with(&inside));
        assert_eq!(left.count(), 0, "still mounted: {mounts:?}");
        // The kernel lets go of a device only after its last user is gone.
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(5) && !loops(&inside).is_empty() {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(loops(&inside), Vec::<String>::new());
        for name in ["state", "target"] {
            assert_eq!(fs::read_dir(self.dir(name)).unwrap().count(), 0, "left in {name}");
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        while umount2(&self.root, MntFlags::MNT_DETACH).is_ok() {}
    }
}

fn run(command: &mut Command) {
    let done = command.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// Writes an image; every file is `device name content`, and each device begins at its offset.
pub(crate) fn image(dir: &Path, bits: u8, offsets: &[u64], files: &[(usize, &str, &str)]) -> Image {
    fs::create_dir_all(dir).unwrap();
    let block = 1 << bits;
    let mut contents = vec![Vec::new(); offsets.len()];
    let mut listed = Vec::new();
    for &(device, name, content) in files {
        let data = &mut contents[device];
        // A block of something else first.
        data.resize(data.len() + block, 0xaa_u8);
        let start = data.len() / block;
        data.extend_from_slice(content.as_bytes());
        data.resize(data.len().next_multiple_of(block), 0);
        listed.push(tiny::File {
            name,
            mode: 0o100_644,
            size: content.len() as u32,
            device,
            block: start as u32,
        });
    }
    write(dir, bits, &listed, &contents, offsets)
}

/// An image with nothing but a whiteout.
pub(crate) fn whiteout(dir: &Path, name: &str) -> Image {
    fs::create_dir_all(dir).unwrap();
    let file = tiny::File {
        name,
        mode: 0o020_000,
        size: 0,
        device: 0,
        block: 0,
    };
    write(dir, 9, &[file], &[], &[])
}

fn write(dir: &Path, bits: u8, files: &[tiny::File<'_>], contents: &[Vec<u8>], offsets: &[u64]) -> Image {
    let blocks = contents.iter().map(|data| (data.len() >> bits) as u32);
    let index = dir.join("image");
    fs::write(&index, tiny::image(bits, files, &blocks.collect::<Vec<_>>())).unwrap();
    let devices = contents.iter().zip(offsets).enumerate();
    let devices = devices.map(|(number, (data, &offset))| {
        let file = dir.join(format!("tar{number}"));
        let mut bytes = vec![0x55; offset as usize];
        bytes.extend_from_slice(data);
        fs::write(&file, bytes).unwrap();
        Device { file, offset }
    });
    Image {
        devices: devices.collect(),
        index,
    }
}

pub(crate) fn layer(image: Image) -> Layer {
    Layer {
        image: Some(image),
        ..Layer::default()
    }
}

/// How many bits the block sizes have that a snapshotter takes.
pub(crate) fn block_sizes(snapshotter: &Erofs) -> &'static [u8] {
    match snapshotter.form() {
        Form::Images { small_blocks: true } => &[9, 12],
        Form::Images { small_blocks: false } => &[12],
        other => panic!("{other:?}"),
    }
}

/// Whether this kernel mounts EROFS from files.
pub(crate) fn takes_files() -> bool {
    let release = nix::sys::utsname::uname().unwrap();
    let mut numbers = release.release().to_str().unwrap().split(['.', '-']);
    let mut number = || {
        numbers
            .next()
            .and_then(|text| text.parse::<u32>().ok())
            .unwrap_or(0)
    };
    (number(), number()) >= (6, 12)
}

/// A line of mountinfo.
#[derive(Debug)]
pub(crate) struct Mount {
    pub(crate) device: String,
    pub(crate) point: String,
    pub(crate) source: String,
}

pub(crate) fn mounts() -> Vec<Mount> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
    text.lines()
        .map(|line| {
            let words = line.split(' ').collect::<Vec<_>>();
            let dash = words.iter().position(|word| *word == "-").unwrap();
            Mount {
                device: words[2].to_owned(),
                point: words[4].to_owned(),
                source: words[dash + 2].to_owned(),
            }
        })
        .collect()
}

/// The mount of a bundle's first image.
pub(crate) fn mount_of(state: &Path) -> Mount {
    let point = state.join("images/0");
    let mut mounts = mounts();
    mounts.retain(|mount| mount.point.as_bytes() == point.as_os_str().as_bytes());
    assert_eq!(mounts.len(), 1, "{mounts:?}");
    mounts.remove(0)
}

/// The files below `inside` that loop devices are bound to.
pub(crate) fn loops(inside: &str) -> Vec<String> {
    let devices = fs::read_dir("/sys/block").unwrap();
    let files = devices.filter_map(|device| {
        let path = device.unwrap().path().join("loop/backing_file");
        fs::read_to_string(path).ok()
    });
    files.filter(|file| file.starts_with(inside)).collect()
}
