// SPDX-License-Identifier: Apache-2.0
//! Documents of the shapes that the image-spec's own schema tests use: what must be refused, with
//! the place of the fault, and what must be accepted.

mod config;
mod descriptor;
mod document;

use image_spec::{Error, ErrorKind};

const D: &str = "sha256:5b0bcabd1ed22e9fb1310cf6c2dec7cdef19f0ad69efa1f392e94a4333501270";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// `$` stands for a good descriptor, `#` for a good digest.
fn fill(text: &str) -> String {
    let good = format!(r#"{{"mediaType":"{LAYER}","size":7682,"digest":"{D}"}}"#);
    text.replace('$', &good).replace('#', D)
}

fn refused(check: fn(&str) -> Result<(), Error>, rows: &[(&str, ErrorKind, &str)]) {
    for (text, kind, path) in rows {
        let error = check(text).expect_err(text);
        assert_eq!((error.kind(), error.path()), (kind, *path), "{text}: {error}");
    }
}

fn accepted(check: fn(&str) -> Result<(), Error>, rows: &[&str]) {
    for text in rows {
        check(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
}
