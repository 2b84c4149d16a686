// SPDX-License-Identifier: Apache-2.0
//! The one error of the crate.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

/// What went wrong, while doing what, and perhaps what would help.
///
/// Displays one level, `doing: message`; causes follow by `source()`. No text in it holds a
/// secret, a URL's query or its user part; text that a peer wrote is cut and stripped of
/// control characters.
pub struct Error {
    kind: ErrorKind,
    doing: Box<str>,
    message: Box<str>,
    hint: Option<Box<str>>,
    source: Option<Box<dyn StdError + Send + Sync>>,
    passing: Option<Passing>,
    mirror: bool,
}

/// Of an error that the same request may not meet again a little later.
#[derive(Clone, Copy)]
struct Passing {
    /// How long the peer asks to be left alone.
    wait: Option<Duration>,
    /// All tries that were allowed have been made.
    spent: bool,
}

/// What a caller may want to tell apart.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The caller's own input cannot be used: a tag, a host name, a certificate, an auth file.
    Invalid,
    /// No such tag, digest, blob or file.
    NotFound,
    /// Several entries of a layout answer to the name.
    Ambiguous,
    /// Credentials are missing or were refused (status 401).
    Unauthorized,
    /// No credential could be had: a helper program, or whoever supplies them, failed.
    Credentials,
    /// The peer knows who asks and refuses (status 403), or our own rules do: plain HTTP to a
    /// host that was not named for it.
    Denied,
    /// Too many requests (status 429).
    RateLimited,
    /// The registry itself failed (status 5xx), or gave up on the request (408).
    Unavailable,
    /// No connection: name resolution, routing, refusal, or a cut before the response.
    Unreachable,
    /// The connection broke while a body was on its way.
    Interrupted,
    /// The TLS handshake failed, usually over the certificate.
    Tls,
    /// A named time limit passed.
    Timeout,
    /// The peer broke HTTP, the distribution protocol or the layout format.
    BadResponse,
    /// The bytes are not those of the digest.
    Digest,
    /// The bytes are more or fewer than the descriptor says.
    Size,
    /// A named limit of ours is exceeded.
    TooLarge,
    /// The document is refused; the cause is an [`image_spec::Error`].
    Document,
    /// A file could not be read.
    Io,
    /// Well formed, but outside what this crate does. Holds the name of it.
    Unsupported(String),
}

/// How much of one text from a peer an error repeats, in characters.
const SHOWN: usize = 200;

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            doing: Box::default(),
            message: message.into().into(),
            hint: None,
            source: None,
            passing: None,
            mirror: false,
        }
    }

    pub(crate) fn unsupported(name: impl Into<String>) -> Self {
        let name = name.into();
        let message = format!("not supported: {name}");
        Self::new(ErrorKind::Unsupported(name), message)
    }

    pub(crate) fn document(cause: image_spec::Error) -> Self {
        Self::new(ErrorKind::Document, "the document is refused").because(cause)
    }

    pub(crate) fn io(message: impl Into<String>, cause: std::io::Error) -> Self {
        let kind = match cause.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            _ => ErrorKind::Io,
        };
        Self::new(kind, message).because(cause)
    }

    /// The same with another kind, where the caller knows better whose fault it is.
    pub(crate) fn of_kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }

    /// Names the task; the innermost name given wins.
    pub(crate) fn doing(mut self, task: impl FnOnce() -> String) -> Self {
        if self.doing.is_empty() {
            self.doing = task().into();
        }
        self
    }

    pub(crate) fn hinting(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into().into());
        self
    }

    /// Passes on the hint of the error that led to this one.
    pub(crate) fn hinting_as(mut self, cause: &Self) -> Self {
        self.hint.clone_from(&cause.hint);
        self
    }

    pub(crate) fn because(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(cause.into());
        self
    }

    /// Marks what a later try may mend, and not before `wait` if the peer named a time.
    pub(crate) fn passing(mut self, wait: Option<Duration>) -> Self {
        self.passing = Some(Passing { wait, spent: false });
        self
    }

    /// Whether this is worth another try, and the time that the peer asks for.
    pub(crate) fn worth_a_try(&self) -> Option<Option<Duration>> {
        self.passing
            .filter(|passing| !passing.spent)
            .map(|passing| passing.wait)
    }

    /// Tells of the tries that were made, after which nobody shall make more.
    pub(crate) fn spent(mut self, tries: u32) -> Self {
        if let Some(passing) = &mut self.passing {
            passing.spent = true;
        }
        if tries > 1 {
            self.message = format!("{} (tried {tries} times)", self.message).into();
        }
        self
    }

    /// Tells what came of the places that were asked before.
    pub(crate) fn after(mut self, before: &[(String, String)]) -> Self {
        if !before.is_empty() {
            let lines: Vec<String> = before
                .iter()
                .map(|(place, line)| format!("`{place}`: {line}"))
                .collect();
            self.message = format!("{}; mirrors asked before: {}", self.message, lines.join("; ")).into();
        }
        self
    }

    /// Says that wrong bytes came from mirrors.
    pub(crate) fn of_mirror(mut self, mirrors: &[String]) -> Self {
        self.message = format!("{}; it came from `{}`", self.message, mirrors.join("`, `")).into();
        self.mirror = true;
        self
    }

    /// The whole chain in one line.
    pub(crate) fn line(&self) -> String {
        let mut line = self.to_string();
        let mut next = self.source();
        while let Some(cause) = next {
            line = format!("{line}: {cause}");
            next = cause.source();
        }
        clean(&line)
    }

    /// Whether wrong bytes came from a mirror, which is left alone now: the same request made
    /// again goes to the next place.
    pub fn is_from_mirror(&self) -> bool {
        self.mirror
    }

    /// Whether the same request may well succeed at another time: the peer was away, overloaded,
    /// slow, or the connection broke. The client has made its own tries by then.
    pub fn is_transient(&self) -> bool {
        self.passing.is_some()
    }

    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        self.kind.clone()
    }

    /// One sentence on what would help, for a `hint:` line.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.doing.is_empty() {
            write!(f, "{}: ", self.doing)?;
        }
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.kind)?;
        if let Some(source) = &self.source {
            write!(f, " (caused by: {source})")?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// A peer's text made fit for a terminal: one line, bounded, without control characters and
/// without the marks that reorder or hide text.
pub(crate) fn clean(text: &str) -> String {
    let visible = |c: &char| {
        !c.is_control()
            && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let mut kept = text.chars().filter(visible);
    let mut out: String = kept.by_ref().take(SHOWN).collect();
    if kept.next().is_some() {
        out.push('…');
    }
    out
}
