// SPDX-License-Identifier: Apache-2.0
//! The error of the crate: what was being done, to which image and layer, and why it failed.

use std::fmt;

use image_spec::Digest;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What failed, for which image and layer, and why.
///
/// `Display` prints one level, as in "cannot pull `docker.io/library/x:latest`"; the layer and the causes follow
/// by [`source`](std::error::Error::source).
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    action: Action,
    subject: String,
    fault: Fault,
}

impl Error {
    pub(crate) fn new(action: Action, subject: impl fmt::Display, fault: Fault) -> Self {
        Self(Box::new(Inner {
            action,
            subject: subject.to_string(),
            fault,
        }))
    }

    /// What was being done.
    pub fn action(&self) -> Action {
        self.0.action
    }

    /// The image, bundle or folder it was done to, as the user or the store names it.
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// The layer it failed at, if it was one.
    pub fn layer(&self) -> Option<LayerAt> {
        self.0.fault.layer.as_ref().map(|layer| layer.at)
    }

    /// One sentence on what would help, where the part that failed knows better than its kind tells.
    pub fn hint(&self) -> Option<&str> {
        self.0.fault.hint.as_deref()
    }

    /// The kind of failure, for deciding what to do about it.
    pub fn kind(&self) -> &ErrorKind {
        &self.0.fault.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.0.action {
            Action::Configure => return write!(f, "cannot set up the client"),
            Action::List => return write!(f, "cannot list images"),
            Action::Pull => "pull",
            Action::Unpack => "unpack",
            Action::Inspect => "inspect",
            Action::Manifest => "show the manifest of",
            Action::Blob => "fetch a blob of",
            Action::Tags => "list the tags of",
            Action::Referrers => "list the referrers of",
            Action::Remove => "remove",
            Action::Unmount => "unmount",
            Action::Collect => "make room in",
            Action::Measure => "measure",
            Action::Pin => "pin or unpin",
            Action::RollBack => "go back to an older catalogue in",
        };
        write!(f, "cannot {verb} `{}`", self.0.subject)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0.fault.layer {
            Some(layer) => Some(&**layer),
            None => Some(&*self.0.fault.cause),
        }
    }
}

/// What the client was asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Building the client.
    Configure,
    /// Pulling an image into a bundle.
    Pull,
    /// Unpacking an image into a folder.
    Unpack,
    /// Looking at an image.
    Inspect,
    /// Fetching a manifest or an index.
    Manifest,
    /// Fetching a blob.
    Blob,
    /// Listing the tags of a repository.
    Tags,
    /// Listing what refers to an image.
    Referrers,
    /// Listing the store's images.
    List,
    /// Removing an image from the store.
    Remove,
    /// Undoing a bundle.
    Unmount,
    /// Making room in the store.
    Collect,
    /// Measuring the store.
    Measure,
    /// Keeping an image, or no longer.
    Pin,
    /// Going back to an older catalogue.
    RollBack,
}

/// A layer's place in its image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LayerAt {
    /// Which layer, counted from 0, bottom first.
    pub index: usize,
    /// How many layers the image has.
    pub total: usize,
    /// The digest of the layer's blob.
    pub digest: Digest,
}

impl LayerAt {
    pub(crate) fn new(index: usize, total: usize, digest: Digest) -> Self {
        Self { index, total, digest }
    }
}

impl fmt::Display for LayerAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "layer {} of {} `{}`",
            self.index.saturating_add(1),
            self.total,
            self.digest
        )
    }
}

/// The kinds of failure.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No policy says which images may be used.
    NoPolicy,
    /// The policy refuses the image.
    Refused,
    /// The image, manifest or blob does not exist where it was looked for.
    NotFound,
    /// The registry wants a credential, or refuses the one it got.
    Unauthorized,
    /// The registry says this user may not read the image.
    Denied,
    /// The registry cannot be reached.
    Unreachable,
    /// The connection cannot be made secure: unknown authority, wrong name, or no TLS at all.
    Tls,
    /// The other side went silent.
    Timeout,
    /// The registry answered what no registry may answer.
    BadResponse,
    /// Bytes are not those which the digest or size announced.
    Corrupt,
    /// A manifest, index or config breaks its format or the limits.
    Document,
    /// The image is not for the wanted platform.
    Platform,
    /// A layer cannot be unpacked: broken, hostile, or beyond the limits.
    Layer,
    /// Valid, and not served by this version; the value names it.
    Unsupported(String),
    /// The process lacks a right, most often that of root.
    NotPermitted,
    /// No space left in the store or folder.
    NoSpace {
        /// Bytes needed at least, as far as the manifest tells.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// The bundle or folder is in use already.
    Used,
    /// The image is the base of a mounted bundle.
    Busy,
    /// The store's catalogue cannot be read or written.
    Store,
    /// The root filesystem cannot be mounted or the bundle cannot be written.
    Mount,
    /// An option given to the client is wrong.
    Option,
    /// Anything else the operating system refused.
    Io,
}

impl ErrorKind {
    /// A stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoPolicy => "no-policy",
            Self::Refused => "refused",
            Self::NotFound => "not-found",
            Self::Unauthorized => "unauthorized",
            Self::Denied => "denied",
            Self::Unreachable => "unreachable",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::BadResponse => "bad-response",
            Self::Corrupt => "corrupt",
            Self::Document => "document",
            Self::Platform => "platform",
            Self::Layer => "layer",
            Self::Unsupported(_) => "unsupported",
            Self::NotPermitted => "not-permitted",
            Self::NoSpace { .. } => "no-space",
            Self::Used => "used",
            Self::Busy => "busy",
            Self::Store => "store",
            Self::Mount => "mount",
            Self::Option => "option",
            Self::Io => "io",
        }
    }
}

/// A failure on its way up, before the image's name is known.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) kind: ErrorKind,
    layer: Option<Box<InLayer>>,
    cause: Cause,
    hint: Option<String>,
}

impl Fault {
    pub(crate) fn new(kind: ErrorKind, cause: impl Into<Cause>) -> Self {
        Self {
            kind,
            layer: None,
            cause: cause.into(),
            hint: None,
        }
    }

    /// A failure with a sentence of its own over the cause.
    pub(crate) fn because(kind: ErrorKind, text: impl Into<String>, cause: impl Into<Cause>) -> Self {
        Self::new(
            kind,
            Told {
                text: text.into(),
                cause: cause.into(),
            },
        )
    }

    /// An operating system call that failed; `doing` reads after "cannot".
    pub(crate) fn io(doing: impl Into<String>, cause: std::io::Error) -> Self {
        let kind = os_kind(&cause).unwrap_or(ErrorKind::Io);
        Self::because(kind, format!("cannot {}", doing.into()), cause)
    }

    /// The same failure, said to be of one layer. The layer's line then stands between image and cause.
    pub(crate) fn in_layer(mut self, at: LayerAt) -> Self {
        if self.layer.is_none() {
            let cause = std::mem::replace(&mut self.cause, Box::new(fmt::Error));
            self.layer = Some(Box::new(InLayer { at, cause }));
        }
        self
    }

    /// The same failure with a sentence over its cause.
    pub(crate) fn under(mut self, text: impl Into<String>) -> Self {
        let cause = std::mem::replace(&mut self.cause, Box::new(fmt::Error));
        self.cause = Box::new(Told {
            text: text.into(),
            cause,
        });
        self
    }

    pub(crate) fn hinting(mut self, hint: Option<impl Into<String>>) -> Self {
        self.hint = hint.map(Into::into);
        self
    }

    /// The same failure with its kind replaced where the operating system's answer in the chain says more.
    pub(crate) fn or_os(mut self) -> Self {
        let mut next: Option<&(dyn std::error::Error + 'static)> = Some(&*self.cause);
        while let Some(error) = next {
            if let Some(kind) = error.downcast_ref::<std::io::Error>().and_then(os_kind) {
                self.kind = kind;
                return self;
            }
            next = error.source();
        }
        self
    }

    /// Whether it is a registry's own word that it does not have the image, or not for us.
    pub(crate) fn is_absence(&self) -> bool {
        matches!(
            self.kind,
            ErrorKind::NotFound | ErrorKind::Unauthorized | ErrorKind::Denied
        )
    }

    /// Whether a mirror sent wrong bytes, so that the same request now goes elsewhere.
    pub(crate) fn is_from_mirror(&self) -> bool {
        let error = self.cause.downcast_ref::<distribution::Error>();
        error.is_some_and(distribution::Error::is_from_mirror)
    }

    /// The whole chain in one line.
    pub(crate) fn to_line(&self) -> String {
        let mut line = self
            .layer
            .as_ref()
            .map(|layer| format!("{}: ", layer.at))
            .unwrap_or_default();
        let inner = self.layer.as_ref().map_or(&self.cause, |layer| &layer.cause);
        line.push_str(&inner.to_string());
        let mut next = inner.source();
        while let Some(error) = next {
            line.push_str(": ");
            line.push_str(&error.to_string());
            next = error.source();
        }
        line
    }

    pub(crate) fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }
}

/// What the operating system's refusal means to the user, where it means the same everywhere.
fn os_kind(error: &std::io::Error) -> Option<ErrorKind> {
    use std::io::ErrorKind as Io;
    match error.kind() {
        Io::StorageFull | Io::QuotaExceeded => Some(ErrorKind::NoSpace { needed: 0, free: 0 }),
        Io::PermissionDenied => Some(ErrorKind::NotPermitted),
        _ => None,
    }
}

/// The link of the chain which names a layer.
#[derive(Debug)]
struct InLayer {
    at: LayerAt,
    cause: Cause,
}

impl fmt::Display for InLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.at.fmt(f)
    }
}

impl std::error::Error for InLayer {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.cause)
    }
}

/// A link of the chain with a sentence of its own.
#[derive(Debug)]
struct Told {
    text: String,
    cause: Cause,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Told {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.cause)
    }
}
