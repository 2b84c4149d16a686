// SPDX-License-Identifier: Apache-2.0
//! Work grows with the size of a layer and with nothing else. One test in a process of its own: what
//! is measured is the processor time of the whole process.
#![allow(missing_docs)]

mod common;

use std::path::Path;
use std::time::Duration;

use common::mounts::Mounted;
use common::{Place, tar};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use unpack::erofs::{Blocks, Source, merge};
use unpack::{Limits, Whiteouts};

/// Four times the size may take so many times as long; what is quadratic takes sixteen times.
const FACTOR: u32 = 8;
/// So short times say nothing.
const NOISE: Duration = Duration::from_millis(20);

fn processor_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("usage");
    let time = |time: TimeVal| {
        let micros = time.tv_sec() * 1_000_000 + time.tv_usec();
        Duration::from_micros(micros.try_into().expect("a time"))
    };
    time(usage.user_time()) + time(usage.system_time())
}

/// The time that layers take, applied to one tree.
fn time_of(layers: &[String], mode: Whiteouts, base: &Path) -> Duration {
    let place = Place::on(Some(base));
    let tars: Vec<Vec<u8>> = layers.iter().map(|text| tar(text)).collect();
    let before = processor_time();
    for tar in &tars {
        place
            .unpack(tar, mode, Limits::default())
            .unwrap_or_else(|e| panic!("{e}: {:?}", e.io_error()));
    }
    processor_time() - before
}

/// The time that the same layers take to be kept and merged.
fn time_of_keeping(layers: &[String], base: &Path) -> Duration {
    let place = Place::on(Some(base));
    let tars: Vec<Vec<u8>> = layers.iter().map(|text| tar(text)).collect();
    let before = processor_time();
    let mut kept = Vec::new();
    for (number, tar) in tars.iter().enumerate() {
        let done = place.keep(&number.to_string(), tar, Limits::default());
        let (dir, done) = done.unwrap_or_else(|e| panic!("{e}: {:?}", e.io_error()));
        kept.push((dir, done.notes));
    }
    let sources: Vec<Source<'_>> = kept.iter().map(|(dir, notes)| Source { dir, notes }).collect();
    let merged = merge(&sources, Blocks::Small, &place.outside().join("image"));
    // The links of a layer alone lead to no layer below it.
    assert!(merged.is_ok() || layers.len() == 1, "{merged:?}");
    processor_time() - before
}

fn each(n: usize, line: impl Fn(usize) -> String) -> String {
    (0..n).map(line).collect()
}

/// A path so many directories deep.
fn deep(n: usize) -> String {
    "/d".repeat(n)
}

#[test]
fn work_grows_with_the_size_alone() {
    let Some(fs) = Mounted::tmpfs("work_grows_with_the_size_alone") else {
        return;
    };
    use Whiteouts::{Overlay, Remove};
    type Layers = fn(usize) -> Vec<String>;
    let cases: &[(&str, usize, Whiteouts, Layers)] = &[
        // For overlayfs the notes would hold the path of each.
        ("nested directories", 2000, Remove, |n| {
            vec![format!("f {}/f \"\"", deep(n))]
        }),
        ("removing nested directories", 2000, Remove, |n| {
            vec![format!("f {}/f \"\"", deep(n)), "w /d".into()]
        }),
        ("files in a directory", 20_000, Overlay, |n| {
            vec![each(n, |i| format!("f /d/{i} \"\"\n"))]
        }),
        ("files that are recorded", 20_000, Remove, |n| {
            vec![each(n, |i| format!("f /d/{i} \"\"\n"))]
        }),
        ("layers", 60, Remove, |n| {
            vec![each(100, |i| format!("f /d{}/{i} \"1\"\nd /d{}/e\n", i % 7, i % 5)); n]
        }),
        ("hard links", 18_000, Overlay, |n| {
            vec![format!("f /a \"\"\n{}", each(n, |i| format!("h /{i} -> /a\n")))]
        }),
        ("links to lower layers", 10_000, Overlay, |n| {
            vec![each(n, |i| format!("h /{i} -> /low\n"))]
        }),
        ("the same name", 10_000, Overlay, |n| {
            vec![each(n, |_| "f /a/b \"\"\nd /a/b\nl /a/b -> x\n".into())]
        }),
        ("whiteouts", 10_000, Overlay, |n| {
            vec![each(n, |i| format!("w /d/{i}\nw /e{i}/x\n"))]
        }),
        ("whiteouts of files", 10_000, Remove, |n| {
            vec![
                each(n, |i| format!("f /d/{i} \"\"\n")),
                each(n, |i| format!("w /d/{i}\n")),
            ]
        }),
        (
            "a directory that is made opaque again and again",
            5000,
            Remove,
            |n| {
                vec![
                    each(n, |i| format!("f /d/{i} \"\"\n")),
                    each(n, |i| format!("f /d/new{i} \"\"\no /d\nw /d/{i}\no /\n")),
                ]
            },
        ),
        ("the same for overlayfs", 5000, Overlay, |n| {
            vec![each(n, |i| format!("w /d/{i}/x\nd /d/new{i}\no /d\nw /d\n"))]
        }),
        ("entries below a link", 10_000, Overlay, |n| {
            vec![format!(
                "l /l -> a/b/c/d/e/f\n{}",
                each(n, |i| format!("f /l/{i} \"\"\n"))
            )]
        }),
        ("directories far apart", 5_000, Overlay, |n| {
            let many = each(100, |i| {
                format!("d {}/{i}\nl /l{i} -> .{}/{i}\n", deep(100), deep(100))
            });
            vec![format!(
                "{many}{}",
                each(n, |i| format!("f /l{}/{i} \"\"\n", i % 100))
            )]
        }),
    ];
    for (name, n, mode, layers) in cases {
        let (few, many) = (layers(*n), layers(4 * n));
        // A measure that something else disturbed is taken again.
        let held = (0..3).any(|_| {
            let one = time_of(&few, *mode, &fs.path()).max(NOISE);
            let four = time_of(&many, *mode, &fs.path());
            four < one * FACTOR
        });
        assert!(held, "{name}: {n} and four times as many");
        // The notes of what is kept are those for overlayfs.
        if *mode == Remove {
            continue;
        }
        let held = (0..3).any(|_| {
            let one = time_of_keeping(&few, &fs.path()).max(NOISE);
            time_of_keeping(&many, &fs.path()) < one * FACTOR
        });
        assert!(held, "{name}, kept: {n} and four times as many");
    }
}
