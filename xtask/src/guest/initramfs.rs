// SPDX-License-Identifier: Apache-2.0
//! The first root file system of a guest: a shell, programs with their libraries, modules, a script.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::cpio::Archive;
use super::modules::Module;
use crate::sh;

/// Prepares the machine, runs `/script`, and writes what that left in `/out` to the disk `out`.
/// Disks are found by name in `/disk`. The host is 10.0.2.2.
const INIT: &str = r#"#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
exec </dev/console >/dev/console 2>&1
mount -t tmpfs out /out

start() {
    while read -r module; do
        insmod "/modules/$module.ko" || return 1
    done </modules/order
    for disk in /sys/block/vd*; do
        ln -s "/dev/${disk##*/}" "/disk/$(cat "$disk/serial")" || return 1
    done
    ip link set lo up && ip addr add 10.0.2.15/24 dev eth0 && ip link set eth0 up
}

cd /
start && sh /script
echo $? >/out/status
dmesg -r >/out/dmesg
tar -c -f /disk/out -C /out .
sync
umount -a -r 2>/dev/null
poweroff -f
"#;

/// Packs it, files being pairs of a path in the guest and a file of the host; programs bring their libraries.
pub(crate) fn pack(modules: &[Module], files: &[(&str, &Path)], script: &str) -> Result<Vec<u8>> {
    let mut archive = Archive::new();
    for folder in ["dev", "disk", "out", "proc", "sys", "tmp", "var/tmp"] {
        archive.folder(folder);
    }
    let busybox = sh::which("busybox").context("busybox is missing")?;
    let files = [&[("bin/busybox", busybox.as_path())], files].concat();
    let mut libraries = BTreeSet::new();
    for (path, file) in files {
        archive.file(path, 0o755, &read(file)?);
        libraries.extend(needed(file)?);
    }
    for library in &libraries {
        archive.file(&library.to_string_lossy(), 0o755, &read(library)?);
    }
    let mut order = String::new();
    for module in modules {
        archive.file(&format!("modules/{}.ko", module.name), 0o644, &module.bytes);
        order.push_str(&module.name);
        order.push('\n');
    }
    archive.file("modules/order", 0o644, order.as_bytes());
    archive.file("script", 0o644, script.as_bytes());
    archive.file("init", 0o755, INIT.as_bytes());
    Ok(archive.finish())
}

/// The libraries of a program, and its interpreter; none for a static program and for what is none.
fn needed(program: &Path) -> Result<Vec<PathBuf>> {
    let mut command = sh::cmd("ldd", [program]);
    // It fails for a file that has none.
    let output = command.output().context("cannot run ldd")?;
    Ok(libraries(&String::from_utf8_lossy(&output.stdout)))
}

/// Reads `name => /path (address)` and `/path (address)`.
fn libraries(listing: &str) -> Vec<PathBuf> {
    listing
        .lines()
        .filter_map(|line| line.rsplit_once(" (0x").map(|(line, _)| line))
        .map(|line| line.rsplit_once(" => ").map_or(line, |(_, path)| path).trim())
        .filter(|path| path.starts_with('/'))
        .map(PathBuf::from)
        .collect()
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::libraries;

    #[test]
    fn libraries_and_the_interpreter_are_found_in_what_ldd_says() {
        let listing = "\tlinux-vdso.so.1 (0x00007f3bc5b6b000)\n\
            \tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007f3bc5a5a000)\n\
            \t/lib64/ld-linux-x86-64.so.2 (0x00007f3bc5b6d000)\n";
        let found = libraries(listing);
        assert_eq!(
            found.iter().map(|path| path.to_str()).collect::<Vec<_>>(),
            [
                Some("/lib/x86_64-linux-gnu/libm.so.6"),
                Some("/lib64/ld-linux-x86-64.so.2")
            ]
        );
        assert!(libraries("\tstatically linked\n").is_empty());
    }
}
