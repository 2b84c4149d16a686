// SPDX-License-Identifier: Apache-2.0
//! What is tried in a guest: each snapshotter with the store in each place, for each image.

use super::kernel::Kernel;
use super::machine::Disk;
use super::mounts::Way;

/// Modules that the ways of mounting need.
pub(crate) const MODULES: &[&str] = &["loop", "overlay", "erofs"];

/// A snapshotter by its name on the command line, and how it shall mount.
pub(crate) const SNAPSHOTTERS: &[(&str, Mounts)] = &[
    ("auto", Mounts::Overlay),
    ("overlay", Mounts::Overlay),
    ("copy", Mounts::Copy),
];

/// How a snapshotter mounts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mounts {
    Copy,
    Overlay,
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "no snapshotter of the table mounts so yet")
    )]
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
}

pub(crate) const PLACES: &[Place] = &[
    Place {
        name: "tmpfs",
        mount: "mount -t tmpfs -o mode=700,size=1536m store /store",
        by_file: false,
    },
    Place {
        name: "ext4",
        mount: "mount -t ext4 /disk/store /store",
        by_file: true,
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
    /// Every combination, those of a place together.
    pub(crate) fn all<'a>(images: &[&'a str]) -> Vec<Scenario<'a>> {
        let mut all = Vec::new();
        for place in PLACES {
            for &image in images {
                for &(snapshotter, mounts) in SNAPSHOTTERS {
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

    /// How it shall be mounted.
    pub(crate) fn expected(&self, kernel: &Kernel) -> Way {
        match self.mounts {
            Mounts::Copy => Way::Copy,
            Mounts::Overlay => Way::Overlay,
            Mounts::Erofs if kernel.at_least(BY_FILE) && self.place.by_file => Way::ErofsByFile,
            Mounts::Erofs => Way::ErofsByLoop,
        }
    }
}

/// What one pull does, writing to its folder: each step's exit status in `status`, the tables of
/// mounts, the tree, how long the pull took.
///
/// The store is a new one each time, and nothing may be left of it: neither mounts nor loop devices.
const FUNCTIONS: &str = r#"
client() {
    command=$1
    shift
    image-client "$command" --work-dir /store/work "$@" 2>>"$at/log" >>"$at/log"
    echo "$command $?" >>"$at/status"
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

scenario() {
    at=/out/$1
    mkdir -p "$at" /store
    cat /proc/self/mountinfo >"$at/before"
    uptime >"$at/time"
    client pull --plain-http --insecure-accept-any-image --progress none --verbose --snapshotter "$2" "$registry/$3:latest" /store/bundle
    uptime >>"$at/time"
    cat /proc/self/mountinfo >"$at/during"
    losetup -a >"$at/loops-during"
    list-tree /store/bundle/rootfs >"$at/tree" 2>>"$at/log"
    echo "list $?" >>"$at/status"
    echo written >/store/bundle/rootfs/written && [ "$(cat /store/bundle/rootfs/written)" = written ]
    echo "write $?" >>"$at/status"
    client umount /store/bundle
    client rm "$registry/$3:latest"
    cat /proc/self/mountinfo >"$at/after"
    loops >"$at/loops-after"
    rm -rf /store/work /store/bundle
    touch "$at/done"
}

mkdir -p /store
"#;

/// What must have succeeded, in this order.
pub(crate) const STEPS: &str = "pull 0\nlist 0\nwrite 0\numount 0\nrm 0\n";

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
    use super::{Mounts, PLACES, SNAPSHOTTERS, Scenario, Way, script};
    use crate::guest::kernel::Kernel;

    fn kernel(release: &str) -> Kernel {
        Kernel {
            release: release.to_string(),
            image: "".into(),
            modules: "".into(),
        }
    }

    #[test]
    fn every_combination_is_tried_once() {
        let all = Scenario::all(&["tiny/gzip", "ml/zstd"]);
        let mut names: Vec<String> = all.iter().map(Scenario::name).collect();
        assert_eq!(names.len(), 2 * PLACES.len() * SNAPSHOTTERS.len());
        let script = script("10.0.2.2:5000", &all);
        assert!(names.iter().all(|name| script.matches(name).count() == 1));
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all.len());
    }

    #[test]
    fn an_image_is_mounted_by_file_where_kernel_and_place_can() {
        let [tmpfs, ext4] = PLACES else {
            panic!("two places");
        };
        let expected = |place, release| {
            let scenario = Scenario {
                place,
                snapshotter: "any",
                mounts: Mounts::Erofs,
                image: "tiny/gzip",
            };
            scenario.expected(&kernel(release))
        };
        assert_eq!(expected(ext4, "7.2.12+deb14-cloud-amd64"), Way::ErofsByFile);
        assert_eq!(expected(tmpfs, "7.2.12+deb14-cloud-amd64"), Way::ErofsByLoop);
        assert_eq!(expected(ext4, "6.1.0-50-cloud-amd64"), Way::ErofsByLoop);
    }
}
