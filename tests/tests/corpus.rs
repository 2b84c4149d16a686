// SPDX-License-Identifier: Apache-2.0
//! The fuzzers' corpus of names and documents; that of layers is replayed by `unpack`.
#![allow(missing_docs)]

use std::path::Path;

#[path = "../../fuzz/src/documents.rs"]
#[allow(unreachable_pub)]
mod documents;

#[test]
fn every_file_of_the_corpus_is_taken_or_refused() {
    for (target, run) in [
        ("reference", documents::reference as fn(&[u8])),
        ("digest", documents::digest),
        ("document", documents::document),
        ("config", documents::config),
        ("policy", documents::policy),
        ("auth_file", documents::auth_file),
        ("places", documents::places),
    ] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../fuzz/corpus")
            .join(target);
        let mut files = 0;
        for file in std::fs::read_dir(folder).expect("a corpus") {
            let path = file.expect("a file").path();
            let bytes = std::fs::read(&path).expect("a file");
            let done = std::panic::catch_unwind(|| run(&bytes));
            assert!(done.is_ok(), "{}", path.display());
            files += 1;
        }
        assert!(files > 5, "{files} files for {target}");
    }
}
