// SPDX-License-Identifier: Apache-2.0
//! `Config.User` against the image's own account files, hostile ones included.
mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use common::place::Place;

#[test]
fn users_and_groups_come_from_the_images_own_files() {
    let mut place = Place::new();
    for (user, want) in [
        ("", (0, 0, vec![0])),
        ("0", (0, 0, vec![0])),
        ("root", (0, 0, vec![0])),
        ("web", (33, 44, vec![44, 0, 45])),
        ("33", (33, 44, vec![44, 0, 45])),
        ("33:", (33, 44, vec![44, 0, 45])),
        ("web:none", (33, 46, vec![46])),
        ("web:12", (33, 12, vec![12])),
        ("12:none", (12, 46, vec![46])),
        ("5000", (5000, 0, vec![0])),
        ("5000:6000", (5000, 6000, vec![6000])),
        ("last", (4_294_967_294, 7, vec![7, 45])),
        (
            "4294967294:4294967294",
            (4_294_967_294, 4_294_967_294, vec![4_294_967_294]),
        ),
        // Digits are a number, even where somebody is called so.
        ("1000", (1000, 0, vec![0])),
        ("loner", (77, 78, vec![78])),
    ] {
        assert_eq!(place.user(user).as_ref(), Ok(&want), "{user}");
    }
}

#[test]
fn users_that_cannot_be_are_refused_by_name() {
    let mut place = Place::new();
    for (user, want) in [
        (
            "nobody",
            "the image's /etc/passwd does not have its User: `nobody`",
        ),
        (
            "web:nogroup",
            "the image's /etc/group does not have its User: `nogroup`",
        ),
        (
            "12:nogroup",
            "the image's /etc/group does not have its User: `nogroup`",
        ),
        (
            "4294967295",
            "image's User has an id larger than 4294967294: `4294967295`",
        ),
        (
            "4294967296",
            "image's User has an id larger than 4294967294: `4294967296`",
        ),
        (
            "99999999999999999999999999",
            "image's User has an id larger than 4294967294: `99999999999999999999999999`",
        ),
        (
            "0:4294967296",
            "image's User has an id larger than 4294967294: `0:4294967296`",
        ),
        ("-1", "the image's /etc/passwd does not have its User: `-1`"),
        ("+0", "the image's /etc/passwd does not have its User: `+0`"),
        (" 0", "the image's /etc/passwd does not have its User: ` 0`"),
        (":0", "image's User names a group but no user: `:0`"),
        ("a:b:c", "image's User is not `user` or `user:group`: `a:b:c`"),
        (
            "wide",
            "the image's /etc/passwd gives `wide` an id out of range: `4294967296`",
        ),
        (
            "web:bad",
            "the image's /etc/group gives `bad` an id out of range: `-1`",
        ),
    ] {
        assert_eq!(place.user(user).unwrap_err(), want, "{user}");
    }
}

#[test]
fn account_files_are_read_inside_the_root_and_only_if_they_are_sound() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("passwd"), "spy:x:1:1::/:\n").unwrap();
    let with = |make: &dyn Fn(&Path)| {
        let place = Place::new();
        fs::remove_file(place.rootfs().join("etc/passwd")).unwrap();
        make(&place.rootfs().join("etc/passwd"));
        place
    };
    let mut linked_out = with(&|path| symlink(outside.path().join("passwd"), path).unwrap());
    assert!(linked_out.user("spy").is_err());
    let mut magic = with(&|path| symlink("/proc/self/root/etc/passwd", path).unwrap());
    assert!(magic.user("root").is_err());
    let mut linked_in = with(&|path| {
        symlink("/usr/passwd", path).unwrap();
        let target = path.parent().unwrap().join("../usr");
        fs::create_dir(&target).unwrap();
        fs::write(target.join("passwd"), "inside:x:8:9::/:\n").unwrap();
    });
    assert_eq!(linked_in.user("inside"), Ok((8, 9, vec![9])));
    let mut fifo = with(&|path| {
        nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    });
    assert_eq!(
        fifo.user("root").unwrap_err(),
        "the image's /etc/passwd is no regular file"
    );
    let mut large = with(&|path| fs::File::create(path).unwrap().set_len((4 << 20) + 1).unwrap());
    assert_eq!(
        large.user("root").unwrap_err(),
        "the image's /etc/passwd is longer than 4194304 bytes"
    );
    let mut long = with(&|path| fs::write(path, format!("root:x:0:0:{}\n", "x".repeat(64 << 10))).unwrap());
    assert_eq!(
        long.user("root").unwrap_err(),
        "the image's /etc/passwd has a line longer than 65536 bytes"
    );
    let mut none = with(&|_| {});
    assert_eq!(none.user(""), Ok((0, 0, vec![0])));
    assert!(none.user("root").is_err());
}
