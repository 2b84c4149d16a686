// SPDX-License-Identifier: Apache-2.0
//! A machine that QEMU emulates: it boots, runs a script, hands files back and powers off.
//!
//! Always in software: a machine in a cloud often has a `/dev/kvm` that opens and then hangs or
//! gives faults, and a boot takes seconds either way.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};

use super::initramfs;
use super::kernel::Kernel;
use super::modules::Modules;
use crate::sh;

/// What is booted, and what it does.
#[derive(Debug)]
pub(crate) struct Guest<'a> {
    pub(crate) kernel: &'a Kernel,
    /// Modules to load besides those for disks and the network.
    pub(crate) modules: &'a [&'a str],
    /// Paths in the guest, and the files of the host that are put there; programs bring their libraries.
    pub(crate) files: &'a [(&'a str, &'a Path)],
    pub(crate) disks: &'a [Disk<'a>],
    /// For busybox's shell; what it leaves in `/out` comes back. It has failed if its status is not 0.
    pub(crate) script: &'a str,
    pub(crate) deadline: Duration,
}

/// A disk, found as `/disk/NAME` in the guest.
#[derive(Debug)]
pub(crate) struct Disk<'a> {
    pub(crate) name: &'a str,
    pub(crate) mebibytes: u64,
    /// Whether it holds an empty file system, or nothing.
    pub(crate) ext4: bool,
}

/// What a guest has done.
#[derive(Debug)]
pub(crate) struct Output {
    /// What was in `/out`, and the kernel's log with levels as `dmesg`.
    pub(crate) folder: PathBuf,
    /// From power on to power off.
    pub(crate) took: Duration,
}

const MODULES: &[&str] = &["virtio_pci", "virtio_blk", "virtio_net"];

/// What comes back, in a disk without a file system. Sparse, so that its size costs nothing.
const OUT: Disk<'static> = Disk {
    name: "out",
    mebibytes: 512,
    ext4: false,
};

/// As many lines of the console tell what happened.
const TAIL: usize = 30;

impl Guest<'_> {
    /// Boots it; everything of this run is in `folder`, which is made anew.
    pub(crate) fn run(&self, folder: &Path) -> Result<Output> {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(folder)?;
        let modules = Modules::of(&self.kernel.modules)?.in_order(&[MODULES, self.modules].concat())?;
        let initramfs = folder.join("initramfs");
        fs::write(&initramfs, initramfs::pack(&modules, self.files, self.script)?)?;
        for disk in self.disks.iter().chain([&OUT]) {
            disk.make(folder)?;
        }
        let console = folder.join("console");
        let machine = Machine(self.start(folder, &initramfs, &console)?);
        let result = machine.wait(self.deadline);
        let told = || told(&console);
        let took = result.map_err(|error| anyhow!("{error:#}\n{}", told()))?;
        let output = Output {
            folder: folder.join("out"),
            took,
        };
        fs::create_dir(&output.folder)?;
        let mut unpack = sh::cmd("tar", ["--extract", "--file"]);
        unpack
            .arg(folder.join(OUT.file()))
            .arg("--directory")
            .arg(&output.folder);
        let status = if sh::succeeds(&mut unpack) {
            fs::read_to_string(output.folder.join("status")).unwrap_or_default()
        } else {
            String::new()
        };
        match status.trim() {
            "0" => Ok(output),
            "" => bail!("the guest ended before its script did\n{}", told()),
            status => bail!("the guest's script failed with {status}\n{}", told()),
        }
    }

    fn start(&self, folder: &Path, initramfs: &Path, console: &Path) -> Result<Child> {
        // It ends with us, however we end.
        let mut command = sh::cmd("setpriv", ["--pdeathsig", "KILL", "qemu-system-x86_64"]);
        command.args([
            "-machine",
            "q35,accel=tcg",
            "-cpu",
            "max",
            "-smp",
            "2",
            "-m",
            "2G",
        ]);
        command.args([
            "-nodefaults",
            "-no-user-config",
            "-no-reboot",
            "-display",
            "none",
            "-serial",
        ]);
        command.arg(format!("file:{}", option(console)));
        command.arg("-kernel").arg(&self.kernel.image);
        command.arg("-initrd").arg(initramfs);
        // A panic resets the machine, which then ends.
        command.args(["-append", "console=ttyS0 loglevel=4 panic=-1 oops=panic"]);
        command.args([
            "-netdev",
            "user,id=net",
            "-device",
            "virtio-net-pci,netdev=net,romfile=",
        ]);
        for disk in self.disks.iter().chain([&OUT]) {
            let file = option(&folder.join(disk.file()));
            let name = disk.name;
            command.arg("-drive").arg(format!(
                "if=none,id={name},format=raw,cache.no-flush=on,discard=unmap,file={file}"
            ));
            command
                .arg("-device")
                .arg(format!("virtio-blk-pci,drive={name},serial={name}"));
        }
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
            .spawn()
            .with_context(|| format!("cannot run {}", sh::show(&command)))
    }
}

impl Disk<'_> {
    fn file(&self) -> String {
        format!("{}.disk", self.name)
    }

    fn make(&self, folder: &Path) -> Result<()> {
        let path = folder.join(self.file());
        File::create(&path)?.set_len(self.mebibytes << 20)?;
        if self.ext4 {
            sh::run(sh::cmd(sh::which("mkfs.ext4").context("mkfs.ext4 is missing")?, ["-q"]).arg(&path))?;
        }
        Ok(())
    }
}

/// A running emulator, killed when this is dropped.
struct Machine(Child);

impl Machine {
    fn wait(mut self, deadline: Duration) -> Result<Duration> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait()? {
                if !status.success() {
                    bail!("the emulator failed: {status}");
                }
                return Ok(start.elapsed());
            }
            if start.elapsed() > deadline {
                bail!("the guest did not end within {} s", deadline.as_secs());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A path within an option of the emulator, where commas are doubled.
fn option(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}

/// What a console says in the end, from a panic on if there was one.
fn told(console: &Path) -> String {
    let bytes = fs::read(console).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    let panic = lines.iter().position(|line| line.contains("Kernel panic"));
    let start = panic.unwrap_or(lines.len().saturating_sub(TAIL));
    let end = lines.len().min(start + TAIL);
    format!("the end of its console:\n{}", lines[start..end].join("\n"))
}
