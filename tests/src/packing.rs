// SPDX-License-Identifier: Apache-2.0
//! Compression of layers.

use std::io::Write as _;

/// How a layer is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// Gzip.
    #[default]
    Gzip,
    /// Zstandard.
    Zstd,
}

impl Compression {
    /// Compresses `bytes` as so many gzip members or zstd frames of about one size.
    pub fn pack(self, bytes: &[u8], members: usize) -> Vec<u8> {
        let size = bytes.len().div_ceil(members.max(1)).max(1);
        let one = |part: &[u8]| match self {
            Compression::None => part.to_vec(),
            Compression::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder
                    .write_all(part)
                    .and_then(|()| encoder.finish())
                    .expect("gzip into memory")
            }
            Compression::Zstd => zstd::encode_all(part, 1).expect("zstd into memory"),
        };
        if bytes.is_empty() {
            one(bytes)
        } else {
            bytes.chunks(size).flat_map(one).collect()
        }
    }
}
