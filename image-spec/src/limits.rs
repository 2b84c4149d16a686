// SPDX-License-Identifier: Apache-2.0
//! Every number that a document may choose has its bound here.

/// Bytes of a manifest or an index. The distribution specification asks registries to take 4 MiB.
pub const MAX_MANIFEST: u64 = 4 << 20;
/// Bytes of an image config. Long histories with build-cache records reach a few MiB.
pub const MAX_CONFIG: u64 = 8 << 20;
/// Layers of one manifest and diff ids of one config. The kernel stacks 500 overlay layers, Docker 127.
pub const MAX_LAYERS: usize = 500;
/// Entries of one index. The largest multi-platform tags have some dozens; a layout's
/// `index.json` names each tag of the layout.
pub const MAX_MANIFESTS: usize = 4096;
/// Annotations of one object. Real layers have up to a dozen.
pub const MAX_ANNOTATIONS: usize = 512;
/// URLs of one descriptor. Windows base layers have one.
pub const MAX_URLS: usize = 16;
/// Bytes of one URL.
pub const MAX_URL: usize = 2048;
/// Bytes of a blob as a descriptor may announce it: the specification's signed 64-bit integer.
pub const MAX_SIZE: u64 = i64::MAX as u64;
/// History entries of one config. Four for each layer is more than builders write.
pub const MAX_HISTORY: usize = 4 * MAX_LAYERS;
/// Items of one list or map inside a config: environment, arguments, labels, ports, volumes.
pub const MAX_ITEMS: usize = 4096;
/// Features of one platform (`os.features`). Known ones can be counted on one hand.
pub const MAX_FEATURES: usize = 64;
/// Bytes of one text inside a config that reaches a process: the kernel's limit for one
/// argument or environment string (32 pages of 4 KiB).
pub const MAX_TEXT: usize = 128 << 10;
/// Nesting of a JSON document. Image documents nest six deep, builders' own records a few more.
pub const MAX_DEPTH: usize = 64;
/// Values of a JSON document, containers and scalars. A text of 4 MiB could otherwise ask for
/// two million values of 32 bytes and more each.
pub const MAX_VALUES: usize = 100_000;
/// Bytes of a whole reference: host, repository, tag and the longest digest.
pub const MAX_REFERENCE: usize = 1024;
/// Bytes of a repository path (Docker's rule), and of the host in front of it (DNS allows 253).
pub const MAX_NAME: usize = 255;
/// Bytes of a tag (distribution specification).
pub const MAX_TAG: usize = 128;
/// Bytes of each half of a media type (RFC 6838 section 4.2).
pub const MAX_MEDIA_TYPE_PART: usize = 127;
