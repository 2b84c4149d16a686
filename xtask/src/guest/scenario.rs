// SPDX-License-Identifier: Apache-2.0
//! What is tried in a guest: each snapshotter with the store in each place, for each image.

use super::kernel::Kernel;
use super::machine::Disk;
use super::mounts::Way;

/// Modules that the ways of mounting need.
pub(crate) const MODULES: &[&str] = &["loop", "overlay", "erofs"];

/// A snapshotter by its name on the command line, and how it shall mount.
pub(crate) const SNAPSHOTTERS: &[(&str, Mounts)] = &[
    ("auto", Mounts::Erofs),
    ("erofs", Mounts::Erofs),
    ("overlay", Mounts::Overlay),
    ("copy", Mounts::Copy),
];

/// How a snapshotter mounts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mounts {
    Copy,
    Overlay,
    /// By file where kernel and place can, otherwise by loop device.
    Erofs,
}

/// The first kernel that mounts EROFS from a file.
const BY_FILE: (u32, u32) = (6, 12);

/// Where the store lies in a guest.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) name: &'static str,
    /// Mounts it at `/store`.
    mount: &'static str,
    /// Whether a kernel can mount EROFS from a file here: its pages must be read by file system calls
    /// that tmpfs does not have.
    by_file: bool,
    /// The first kernel whose file system of this kind holds attributes `user.*`.
    user_xattrs: (u32, u32),
}

pub(crate) const PLACES: &[Place] = &[
    Place {
        name: "tmpfs",
        mount: "mount -t tmpfs -o mode=700,size=1536m store /store",
        by_file: false,
        user_xattrs: (6, 6),
    },
    Place {
        name: "ext4",
        mount: "mount -t ext4 /disk/store /store",
        by_file: true,
        user_xattrs: (2, 6),
    },
];

pub(crate) const DISKS: &[Disk<'static>] = &[Disk {
    name: "store",
    mebibytes: 4096,
    ext4: true,
}];

/// One pull.
#[derive(Debug)]
pub(crate) struct Scenario<'a> {
    pub(crate) place: &'static Place,
    pub(crate) snapshotter: &'static str,
    mounts: Mounts,
    /// Of the lab, such as `tiny/gzip`.
    pub(crate) image: &'a str,
}

impl Scenario<'_> {
    /// Every combination, those of a place together. What `auto` takes is seen with one image.
    pub(crate) fn all<'a>(images: &[&'a str]) -> Vec<Scenario<'a>> {
        let mut all = Vec::new();
        for place in PLACES {
            for (number, &image) in images.iter().enumerate() {
                let wanted = |name: &str| number == 0 || name != "auto";
                for &(snapshotter, mounts) in SNAPSHOTTERS.iter().filter(|s| wanted(s.0)) {
                    all.push(Scenario {
                        place,
                        snapshotter,
                        mounts,
                        image,
                    });
                }
            }
        }
        all
    }

    /// The folder of its results in what a guest hands back.
    pub(crate) fn name(&self) -> String {
        let image = self.image.replace('/', "-");
        format!("{}.{}.{image}", self.place.name, self.snapshotter)
    }

    /// A listing as far as it can be the same. Overlayfs counts the links that a layer has, also
    /// those whose names a layer above removes.
    pub(crate) fn comparable(&self, listing: &str) -> String {
        let Mounts::Overlay = self.mounts else {
            return listing.to_string();
        };
        let lines = listing.lines().map(|line| {
            let words = line.split(' ').filter(|word| !word.starts_with("links="));
            words.collect::<Vec<_>>().join(" ") + "\n"
        });
        lines.collect()
    }

    /// How it shall end for an image with this tree.
    pub(crate) fn end(&self, kernel: &Kernel, listing: &str) -> End {
        let unpacked = !matches!(self.mounts, Mounts::Erofs);
        if unpacked && listing.contains(" user.") && !kernel.at_least(self.place.user_xattrs) {
            return End::Refused("the file system cannot hold an extended attribute");
        }
        End::Mounted(match self.mounts {
            Mounts::Copy => Way::Copy,
            Mounts::Overlay => Way::Overlay,
            Mounts::Erofs if kernel.at_least(BY_FILE) && self.place.by_file => Way::ErofsByFile,
            Mounts::Erofs => Way::ErofsByLoop,
        })
    }
}

/// How a pull shall end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    Mounted(Way),
    /// With these words in what it says.
    Refused(&'static str),
}

/// What one pull does, writing to its folder: each step's exit status in `status`, the tables of
/// mounts, the tree, how long the pull took.
///
/// The store is a new one each time, and nothing may be left of it: neither mounts nor loop devices.
const FUNCTIONS: &str = r#"
client() {
    command=$1
    shift
    image-client "$command" --work-dir /store/work "$@" >>"$at/log" 2>&1
    step "$command" $?
}

step() {
    echo "$1 $2" >>"$at/status"
    return "$2"
}

uptime() {
    cut -d ' ' -f 1 /proc/uptime
}

loops() {
    # A device is let go of after the last of its users, which may take a moment.
    for i in 1 2 3 4 5 6 7 8 9 10; do
        [ -n "$(losetup -a)" ] || break
        sleep 0.3
    done
    losetup -a
}

look() {
    cat /proc/self/mountinfo >"$at/during"
    list-tree /store/bundle/rootfs >"$at/tree" 2>>"$at/log"
    step list $?
    echo written >/store/bundle/rootfs/written && [ "$(cat /store/bundle/rootfs/written)" = written ]
    step write $?
    client umount /store/bundle
    client rm "$1"
}

scenario() {
    # For whoever reads the console of a guest that hangs.
    echo "$(uptime) $1"
    at=/out/$1
    image=$registry/$3:latest
    mkdir -p "$at" /store
    cat /proc/self/mountinfo >"$at/before"
    uptime >"$at/time"
    if client pull --plain-http --insecure-accept-any-image --progress none --verbose \
        --snapshotter "$2" "$image" /store/bundle; then
        uptime >>"$at/time"
        look "$image"
    fi
    cat /proc/self/mountinfo >"$at/after"
    loops >"$at/loops"
    rm -rf /store/work /store/bundle
}

mkdir -p /store
"#;

/// What has been done and how it went, when a bundle is mounted and when it is refused.
pub(crate) const MOUNTED: &str = "pull 0\nlist 0\nwrite 0\numount 0\nrm 0\n";
pub(crate) const REFUSED: &str = "pull 1\n";

/// The script of a guest that tries them all, from a registry at this address.
pub(crate) fn script(registry: &str, scenarios: &[Scenario<'_>]) -> String {
    let mut script = format!("registry={registry}\n{FUNCTIONS}");
    for place in PLACES {
        script.push_str(&format!("{} || exit 1\n", place.mount));
        for scenario in scenarios.iter().filter(|s| s.place.name == place.name) {
            let (name, snapshotter, image) = (scenario.name(), scenario.snapshotter, scenario.image);
            script.push_str(&format!("scenario {name} {snapshotter} {image}\n"));
        }
        script.push_str("umount /store || exit 1\n");
    }
    script
}

#[cfg(test)]
mod tests {
    use super::{End, Mounts, PLACES, SNAPSHOTTERS, Scenario, Way, script};
    use crate::guest::kernel::Kernel;

    fn kernel(release: &str) -> Kernel {
        Kernel {
            release: release.to_string(),
            image: "".into(),
            modules: "".into(),
        }
    }

    #[test]
    fn every_combination_is_tried_once_and_auto_with_the_first_image() {
        let all = Scenario::all(&["tiny/gzip", "ml/zstd"]);
        let mut names: Vec<String> = all.iter().map(Scenario::name).collect();
        assert_eq!(names.len(), PLACES.len() * (2 * SNAPSHOTTERS.len() - 1));
        let auto: Vec<&String> = names.iter().filter(|name| name.contains(".auto.")).collect();
        assert_eq!(auto, ["tmpfs.auto.tiny-gzip", "ext4.auto.tiny-gzip"]);
        let script = script("10.0.2.2:5000", &all);
        assert!(names.iter().all(|name| script.matches(name).count() == 1));
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all.len());
    }

    #[test]
    fn link_counts_of_a_listing_are_left_out_for_overlay_alone() {
        let listing = "./a file 0644 links=2 sha256:1\n./b file 0644 links=2 same=./a sha256:1\n";
        let all = Scenario::all(&["tiny/gzip"]);
        let seen = |name| {
            let scenario = all.iter().find(|s| s.snapshotter == name).expect("in the table");
            scenario.comparable(listing)
        };
        assert_eq!(seen("copy"), listing);
        assert_eq!(
            seen("overlay"),
            "./a file 0644 sha256:1\n./b file 0644 same=./a sha256:1\n"
        );
    }

    #[test]
    fn what_is_expected_depends_on_kernel_and_place() {
        let [tmpfs, ext4] = PLACES else {
            panic!("two places");
        };
        let end = |place, mounts, release, listing| {
            let scenario = Scenario {
                place,
                snapshotter: "any",
                mounts,
                image: "tiny/gzip",
            };
            scenario.end(&kernel(release), listing)
        };
        let (old, new) = ("6.1.0-50-cloud-amd64", "7.2.12+deb14-cloud-amd64");
        let plain = "./a file 0644 links=1 sha256:1\n";
        let erofs = |place, release| end(place, Mounts::Erofs, release, plain);
        assert_eq!(erofs(ext4, new), End::Mounted(Way::ErofsByFile));
        assert_eq!(erofs(tmpfs, new), End::Mounted(Way::ErofsByLoop));
        assert_eq!(erofs(ext4, old), End::Mounted(Way::ErofsByLoop));

        let attributes = "./a file 0644 links=1 sha256:1 user.a=\"v\"\n";
        let tried = |mounts, release| end(tmpfs, mounts, release, attributes);
        assert!(matches!(tried(Mounts::Copy, old), End::Refused(_)));
        assert_eq!(tried(Mounts::Copy, new), End::Mounted(Way::Copy));
        assert_eq!(tried(Mounts::Erofs, old), End::Mounted(Way::ErofsByLoop));
    }
}
