// SPDX-License-Identifier: Apache-2.0
//! What the errors of the crates below mean to the user of this one.

use crate::error::{ErrorKind, Fault};

impl From<distribution::Error> for Fault {
    fn from(error: distribution::Error) -> Self {
        use distribution::ErrorKind as Kind;
        let kind = match error.kind() {
            Kind::Invalid | Kind::Credentials => ErrorKind::Option,
            Kind::NotFound | Kind::Ambiguous => ErrorKind::NotFound,
            Kind::Unauthorized => ErrorKind::Unauthorized,
            Kind::Denied => ErrorKind::Denied,
            Kind::RateLimited | Kind::Unavailable | Kind::Unreachable | Kind::Interrupted => {
                ErrorKind::Unreachable
            }
            Kind::Tls => ErrorKind::Tls,
            Kind::Timeout => ErrorKind::Timeout,
            Kind::BadResponse | Kind::TooLarge => ErrorKind::BadResponse,
            Kind::Digest | Kind::Size => ErrorKind::Corrupt,
            Kind::Document => ErrorKind::Document,
            Kind::Unsupported(name) => ErrorKind::Unsupported(name),
            _ => ErrorKind::Io,
        };
        let hint = error.hint().map(str::to_owned);
        // A document may be refused for what has a kind of its own, such as a platform.
        let inner = std::error::Error::source(&error)
            .and_then(|e| e.downcast_ref::<image_spec::Error>())
            .map(spec);
        Self::new(inner.unwrap_or(kind), error).hinting(hint)
    }
}

impl From<image_spec::Error> for Fault {
    fn from(error: image_spec::Error) -> Self {
        Self::new(spec(&error), error)
    }
}

fn spec(error: &image_spec::Error) -> ErrorKind {
    use image_spec::ErrorKind as Kind;
    match error.kind() {
        Kind::NotFound => ErrorKind::Platform,
        Kind::Unsupported(name) => ErrorKind::Unsupported(name.clone()),
        _ => ErrorKind::Document,
    }
}

impl From<unpack::Error> for Fault {
    fn from(error: unpack::Error) -> Self {
        use unpack::ErrorKind as Kind;
        let kind = match error.kind() {
            Kind::Codec(_) | Kind::Archive(_) | Kind::Refused(_) | Kind::Limit(..) => ErrorKind::Layer,
            Kind::Damaged(_) => ErrorKind::Store,
            _ => ErrorKind::Io,
        };
        let hint = (kind == ErrorKind::Store)
            .then_some("remove the images that have the layer from the store, then pull again");
        Self::new(kind, error).or_os().hinting(hint)
    }
}

impl From<meta_store::Error> for Fault {
    fn from(error: meta_store::Error) -> Self {
        use meta_store::ErrorKind as Kind;
        let kind = match error.kind() {
            Kind::Denied => ErrorKind::NotPermitted,
            Kind::Full => ErrorKind::NoSpace { needed: 0, free: 0 },
            Kind::Exists => ErrorKind::Used,
            _ => ErrorKind::Store,
        };
        let hint = error.hint();
        Self::new(kind, error).hinting(hint)
    }
}

impl From<snapshot::Error> for Fault {
    fn from(error: snapshot::Error) -> Self {
        use snapshot::ErrorKind as Kind;
        let kind = match error.kind() {
            Kind::NotPermitted => ErrorKind::NotPermitted,
            Kind::Unsupported => ErrorKind::Unsupported("snapshotter".to_owned()),
            Kind::Occupied => ErrorKind::Used,
            Kind::NoSpace => ErrorKind::NoSpace { needed: 0, free: 0 },
            Kind::Config | Kind::User | Kind::NoCommand => ErrorKind::Document,
            _ => ErrorKind::Mount,
        };
        let hint = error.hint();
        Self::new(kind, error).hinting(hint)
    }
}

/// Why the snapshotter of this name cannot be had.
pub(crate) fn snapshotter(name: &str, error: snapshot::Error) -> Fault {
    let hint = match (error.hint(), error.kind()) {
        (None, snapshot::ErrorKind::Unsupported | snapshot::ErrorKind::Io) => match name {
            "erofs" => Some(
                "choose `auto`, which takes the best that works here; `erofs` needs Linux 5.16 with EROFS and \
                 overlayfs, and loop devices before Linux 6.12 or where the store is on tmpfs or an overlay",
            ),
            "overlay" => Some(
                "choose `auto`, which takes the best that works here; `overlay` needs a work directory on a disk or a \
                 tmpfs, not on another overlay",
            ),
            _ => None,
        },
        (hint, _) => hint,
    };
    Fault::from(error).hinting(hint)
}

impl From<signature::Error> for Fault {
    fn from(error: signature::Error) -> Self {
        use signature::ErrorKind as Kind;
        let kind = match error.kind() {
            Kind::Digest => ErrorKind::Corrupt,
            Kind::NoPolicy => ErrorKind::NoPolicy,
            Kind::Malformed | Kind::TooLarge | Kind::Io => ErrorKind::Option,
            // Also for a proof this version cannot verify: what counts is that the image may not be used.
            _ => ErrorKind::Refused,
        };
        Self::new(kind, error)
    }
}

impl From<crypt::Error> for Fault {
    fn from(error: crypt::Error) -> Self {
        Self::new(ErrorKind::Document, error)
    }
}
