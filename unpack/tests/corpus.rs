// SPDX-License-Identifier: Apache-2.0
//! The fuzzers' corpus through the fuzzers' own functions: no nightly, no libFuzzer.
#![allow(missing_docs)]

use std::path::Path;

#[path = "../../fuzz/src/layers.rs"]
#[allow(dead_code, unreachable_pub)]
mod layers;

#[track_caller]
fn replay(target: &str, run: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target);
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("a corpus")
        .map(|file| file.expect("a file").path())
        .collect();
    files.sort();
    assert!(files.len() > 5, "{} files for {target}", files.len());
    for file in files {
        let bytes = std::fs::read(&file).expect("a file");
        if let Err(panic) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&bytes))) {
            let what = panic.downcast_ref::<String>().map_or("", String::as_str);
            panic!("{}: {what}", file.display());
        }
    }
}

#[test]
fn archives_stay_below_their_root() {
    if fixture::is_root("archives_stay_below_their_root") {
        replay("tar_stream", layers::tar_stream);
    }
}

#[test]
fn changesets_mean_what_the_model_says() {
    if fixture::is_root("changesets_mean_what_the_model_says") {
        replay("changeset", layers::changeset);
    }
}

#[test]
fn codecs_take_what_the_reference_takes() {
    replay("codecs", layers::codecs);
}
