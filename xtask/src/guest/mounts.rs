// SPDX-License-Identifier: Apache-2.0
//! How a bundle's root was mounted, told by the kernel.

use std::fmt;

use anyhow::{Result, bail};

/// How one root was made of layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Copy,
    Overlay,
    /// The kernel reads the image from a file.
    ErofsByFile,
    /// It reads it from a loop device.
    ErofsByLoop,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Way::Copy => "copy",
            Way::Overlay => "overlay",
            Way::ErofsByFile => "erofs by file",
            Way::ErofsByLoop => "erofs by loop",
        })
    }
}

/// What has been mounted between two readings of `/proc/self/mountinfo`.
pub(crate) fn way(before: &str, during: &str) -> Result<Way> {
    let known: Vec<&str> = before.lines().collect();
    let mut images = (false, false);
    let mut overlay = false;
    for line in during.lines().filter(|line| !known.contains(line)) {
        // Fields of a number that varies, a lone dash, then kind and source.
        let mut fields = line.split(' ').skip_while(|field| *field != "-").skip(1);
        match (fields.next(), fields.next()) {
            (Some("erofs"), Some(source)) if source.starts_with("/dev/loop") => images.1 = true,
            (Some("erofs"), Some(_)) => images.0 = true,
            (Some("overlay"), _) => overlay = true,
            _ => {}
        }
    }
    Ok(match (images, overlay) {
        ((false, false), false) => Way::Copy,
        ((false, false), true) => Way::Overlay,
        ((true, false), true) => Way::ErofsByFile,
        ((false, true), true) => Way::ErofsByLoop,
        ((true, true), _) => bail!("some images are mounted by file and some by loop device"),
        (_, false) => bail!("an image is mounted without a layer for writes"),
    })
}

#[cfg(test)]
mod tests {
    use super::{Way, way};

    const BEFORE: &str = "\
1 1 0:2 / / rw - rootfs none rw
24 1 0:22 / /store rw,relatime - tmpfs tmpfs rw
25 1 7:9 / /old ro - erofs /dev/loop9 ro
";

    #[test]
    fn new_mounts_tell_the_way() {
        let way = |lines: &[&str]| way(BEFORE, &format!("{BEFORE}{}\n", lines.join("\n"))).ok();
        let overlay = "40 24 0:40 / /store/bundle/rootfs rw shared:1 - overlay overlay rw,lowerdir=/a";
        let by_file = "39 24 0:39 / /store/mounts/x ro - erofs /store/layers/x/index ro";
        let by_loop = "39 24 7:0 / /store/mounts/x ro - erofs /dev/loop0 ro";
        assert_eq!(way(&[]), Some(Way::Copy));
        assert_eq!(
            way(&["40 24 0:22 /store/x /store/rootfs rw - tmpfs tmpfs rw"]),
            Some(Way::Copy)
        );
        assert_eq!(way(&[overlay]), Some(Way::Overlay));
        assert_eq!(way(&[by_file, overlay]), Some(Way::ErofsByFile));
        assert_eq!(way(&[by_loop, overlay]), Some(Way::ErofsByLoop));
        assert_eq!(way(&[by_loop, by_file, overlay]), None);
        assert_eq!(way(&[by_loop]), None);
    }
}
