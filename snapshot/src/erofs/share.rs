// SPDX-License-Identifier: Apache-2.0
//! One superblock for all bundles of an image, so that its files are in memory once.
//!
//! The kernel makes a new one for each mount from a file, and each loop device is another device to it.
//! So an image that this mount namespace has already is cloned. It is known by the path it was mounted
//! from, or by the file that its loop device is bound to.
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::sys::stat::{fstat, makedev};
use rustix::mount::{OpenTreeFlags, open_tree};

use super::images::is_erofs;
use super::loops;

/// A mount of a whole EROFS image, as the kernel lists it.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    device: u64,
    point: Vec<u8>,
    source: Vec<u8>,
}

/// Clones an existing mount of the image, if there is one.
pub(super) fn clone(path: &Path, index: &File) -> Option<OwnedFd> {
    let list = std::fs::read("/proc/self/mountinfo").ok()?;
    let index = index.metadata().ok()?;
    list.split(|byte| *byte == b'\n')
        .filter_map(parse)
        .filter(|mount| is_of(mount, path, &index))
        .find_map(|mount| open(&mount))
}

fn is_of(mount: &Mount, path: &Path, index: &Metadata) -> bool {
    let source = mount.source.as_slice();
    source == path.as_os_str().as_bytes()
        || (source.starts_with(b"/dev/loop") && loops::holds(Path::new(OsStr::from_bytes(source)), index))
}

fn open(mount: &Mount) -> Option<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(rustix::fs::CWD, mount.point.as_slice(), flags).ok()?;
    // Meanwhile it may have been unmounted, or something else mounted over it.
    let same = fstat(&tree).is_ok_and(|stat| stat.st_dev == mount.device);
    (same && is_erofs(&tree).unwrap_or(false)).then_some(tree)
}

/// Reads one line of mountinfo (proc_pid_mountinfo(5)); none unless it is about a whole EROFS image.
fn parse(line: &[u8]) -> Option<Mount> {
    let mut words = line.split(|byte| *byte == b' ');
    let device = std::str::from_utf8(words.by_ref().nth(2)?).ok()?;
    let (major, minor) = device.split_once(':')?;
    let root = words.next()?;
    let point = unescape(words.next()?);
    // Optional fields up to a dash, then the type and the source.
    let mut words = words.skip_while(|word| *word != b"-").skip(1);
    if (root, words.next()?) != (b"/", b"erofs") {
        return None;
    }
    Some(Mount {
        device: makedev(major.parse().ok()?, minor.parse().ok()?),
        point,
        source: unescape(words.next()?),
    })
}

/// Undoes the kernel's way to write blanks and backslashes: three octal digits after a backslash.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| first == b'\\');
        let code = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        plain.push(code.unwrap_or(first));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_about_images_are_read() {
        let line = br"70 27 0:53 / /state\040of\134x/images/0 ro,relatime shared:9 master:2 - erofs /store/a\012b\011\043 ro,acl";
        let want = Mount {
            device: makedev(0, 53),
            point: br"/state of\x/images/0".to_vec(),
            source: b"/store/a\nb\t#".to_vec(),
        };
        assert_eq!(parse(line), Some(want));
        let plain = b"70 27 7:3 / /m ro - erofs /dev/loop3 ro";
        assert_eq!(
            parse(plain).map(|mount| mount.source),
            Some(b"/dev/loop3".to_vec())
        );
    }

    #[test]
    fn other_lines_are_not() {
        for line in [
            "",
            "70",
            "70 27 0:53 / /m ro,relatime -",
            "70 27 0:53 / /m ro,relatime - erofs",
            "70 27 0:53 /usr /m ro,relatime - erofs /store/a ro",
            "70 27 0:53 / /m rw,relatime - ext4 /store/a rw",
            "70 27 053 / /m ro,relatime - erofs /store/a ro",
            "70 27 0:x / /m ro,relatime - erofs /store/a ro",
            "70 27 0:53 / /m ro,relatime shared:1 erofs /store/a ro",
        ] {
            assert_eq!(parse(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn what_is_no_escape_stays() {
        for (text, plain) in [
            (r"a\", r"a\"),
            (r"\04", r"\04"),
            (r"\999", r"\999"),
            (r"\\040", r"\ "),
            ("", ""),
        ] {
            assert_eq!(unescape(text.as_bytes()), plain.as_bytes(), "{text}");
        }
    }
}
