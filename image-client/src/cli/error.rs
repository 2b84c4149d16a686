// SPDX-License-Identifier: Apache-2.0
//! How a failure is told: the chain of causes, one a line, then what to do about it.

use std::fmt::Write as _;

use image_client::{Action, ErrorKind};
use serde_json::{Value, json};

use super::report::size;

/// More links than this no chain has; a chain that loops must not print for ever.
const MAX_CHAIN: usize = 32;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The library's answer.
    Client(image_client::Error),
    /// Something before or after the library, with its kind for programs.
    Own {
        kind: &'static str,
        error: anyhow::Error,
    },
}

impl From<image_client::Error> for Failure {
    fn from(error: image_client::Error) -> Self {
        Self::Client(error)
    }
}

impl Failure {
    /// The arguments make no sense.
    pub(crate) fn usage(error: anyhow::Error) -> Self {
        Self::Own { kind: "usage", error }
    }

    /// What an option names cannot be used.
    pub(crate) fn option(error: anyhow::Error) -> Self {
        Self::Own {
            kind: "option",
            error,
        }
    }

    /// Understood, but not served.
    pub(crate) fn unsupported(error: anyhow::Error) -> Self {
        Self::Own {
            kind: "unsupported",
            error,
        }
    }

    /// A signal came.
    pub(crate) fn interrupted(signal: &str) -> Self {
        Self::Own {
            kind: "interrupted",
            error: anyhow::anyhow!("interrupted by a signal: `{signal}`"),
        }
    }

    /// The program itself cannot go on.
    pub(crate) fn internal(error: anyhow::Error) -> Self {
        Self::Own {
            kind: "internal",
            error,
        }
    }

    /// The exit status.
    pub(crate) fn exit(&self) -> u8 {
        match self {
            Self::Own { kind: "usage", .. } => 2,
            _ => 1,
        }
    }

    /// The text for stderr, ending in a newline.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        for (level, link) in self.chain().iter().enumerate() {
            let prefix = if level == 0 { "error: " } else { "  caused by: " };
            let _ = writeln!(out, "{prefix}{link}");
        }
        if let Some(hint) = self.hint() {
            let _ = writeln!(out, "hint: {hint}");
        }
        out
    }

    /// The object for stdout when `--json` was given.
    pub(crate) fn json(&self) -> Value {
        let (kind, subject, layer) = match self {
            Self::Client(error) => {
                let layer = error.layer();
                let layer =
                    layer.map(|at| json!({"number": at.index + 1, "of": at.total, "digest": at.digest}));
                (error.kind().code(), Some(error.subject()), layer)
            }
            Self::Own { kind, .. } => (*kind, None, None),
        };
        json!({"error": {
            "kind": kind,
            "subject": subject,
            "layer": layer,
            "causes": self.chain(),
            "hint": self.hint(),
        }})
    }

    /// One line per level.
    fn chain(&self) -> Vec<String> {
        let mut links: Vec<String> = Vec::new();
        let mut next: Option<&dyn std::error::Error> = match self {
            Self::Client(error) => Some(error),
            Self::Own { error, .. } => Some(&**error),
        };
        while let Some(link) = next.filter(|_| links.len() < MAX_CHAIN) {
            let line = printable(&link.to_string());
            // A wrapper that only repeats its cause adds nothing.
            if links.last() != Some(&line) {
                links.push(line);
            }
            next = link.source();
        }
        links
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Client(error) => hint(error.action(), error.kind(), error.hint()),
            Self::Own { .. } => None,
        }
    }
}

/// Names of entries and answers of registries come from outside: they must not steer a terminal, nor reorder or hide
/// what it shows.
pub(crate) fn printable(text: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    text.chars()
        .map(|c| if steers(c) { '\u{fffd}' } else { c })
        .collect()
}

/// What to do. `lower` is what the failing part of the library says; where an option helps, it is named instead.
fn hint(action: Action, kind: &ErrorKind, lower: Option<&str>) -> Option<String> {
    for (end, option) in ALLOWING {
        if let Some(text) = lower.filter(|text| text.ends_with(end)) {
            return Some(format!("{} with {option}", printable(text)));
        }
    }
    let text = match kind {
        ErrorKind::NoPolicy => {
            "write /etc/containers/policy.json or name a policy with --policy; in a laboratory --insecure-accept-any-image"
        }
        ErrorKind::Tls => {
            "name the registry's authority with --ca-cert; a registry without TLS needs --plain-http, which protects nothing"
        }
        ErrorKind::Unauthorized => {
            "give a credential with --creds-stdin or --auth-file, and check that it is valid"
        }
        ErrorKind::NotFound if matches!(action, Action::Remove | Action::Pin) => {
            "`image-client images` lists what is there"
        }
        ErrorKind::NotFound if action == Action::Unmount => {
            "only bundles that `image-client pull` made with this --work-dir are known"
        }
        ErrorKind::Platform => "choose one that the image has with --platform",
        ErrorKind::NoSpace { needed, free } if *needed > 0 => {
            return Some(format!("at least {} needed, {} free", size(*needed), size(*free)));
        }
        ErrorKind::Used if action == Action::Unpack => "choose a folder that is empty or does not exist",
        ErrorKind::Used => "choose another folder, or undo the old bundle with `image-client umount BUNDLE`",
        ErrorKind::NotFound if action == Action::RollBack => {
            "only a store that a newer version has changed can go back"
        }
        ErrorKind::Busy if action == Action::RollBack => "wait until nothing uses the store, and try again",
        ErrorKind::Busy => "undo the bundles that use it with `image-client umount BUNDLE` first",
        _ => return lower.or_else(|| general(kind)).map(printable),
    };
    Some(text.to_owned())
}

/// Ends of the library's hints that an option answers.
const ALLOWING: [(&str, &str); 2] = [
    (": allow it by name", "--token-server"),
    (": allow credential helpers", "--credential-helpers"),
];

/// What helps with a kind of failure when nothing more exact is known.
fn general(kind: &ErrorKind) -> Option<&'static str> {
    Some(match kind {
        ErrorKind::Refused => {
            "the policy decides what may run: sign the image as it asks, or change the policy"
        }
        ErrorKind::NotFound => "check the name and tag, and that this registry or folder holds them",
        ErrorKind::Denied => "the registry knows the credential, but does not let it read this image",
        ErrorKind::Unreachable => "check the registry's name, the network and any proxy, and try again",
        ErrorKind::Timeout => {
            "the network or registry is stuck; layers already complete are kept, so try again"
        }
        ErrorKind::Corrupt => {
            "the source sent other bytes than announced; if it repeats, it is broken or hostile"
        }
        ErrorKind::NotPermitted => {
            "check who may write there; mounting, and keeping owners and devices of files, needs root"
        }
        ErrorKind::NoSpace { .. } => "free some space, or choose another place",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_chain_is_printed_one_level_a_line() {
        let error = Err::<(), _>(std::io::Error::other("no such thing")).context("cannot use policy `x`");
        let failure = Failure::option(error.unwrap_err());
        assert_eq!(
            failure.text(),
            "error: cannot use policy `x`\n  caused by: no such thing\n"
        );
        assert_eq!(failure.json()["error"]["causes"][1], "no such thing");
        assert_eq!(failure.json()["error"]["kind"], "option");
    }

    #[test]
    fn control_characters_from_outside_do_not_reach_the_terminal() {
        let failure = Failure::internal(anyhow::anyhow!("entry `\x1b[2J\n`"));
        assert_eq!(failure.text(), "error: entry `\u{fffd}[2J\u{fffd}`\n");
    }

    #[test]
    fn a_repeated_line_is_printed_once_and_no_chain_is_endless() {
        let mut error = anyhow::anyhow!("same").context("same");
        assert_eq!(Failure::internal(error).text(), "error: same\n");
        error = anyhow::anyhow!("0");
        for level in 1..100 {
            error = error.context(level.to_string());
        }
        assert_eq!(Failure::internal(error).text().lines().count(), MAX_CHAIN);
    }

    #[test]
    fn each_kind_that_has_a_remedy_names_it() {
        let full = ErrorKind::NoSpace {
            needed: 412 << 20,
            free: 96 << 20,
        };
        for (action, kind, lower, want) in [
            (Action::Pull, ErrorKind::NoPolicy, None, "--policy"),
            (Action::Pull, ErrorKind::Tls, Some("lower"), "--ca-cert"),
            (Action::Pull, ErrorKind::Unauthorized, None, "--creds-stdin"),
            (
                Action::Pull,
                ErrorKind::Unauthorized,
                Some("token server `x`: allow it by name"),
                "allow it by name with --token-server",
            ),
            (
                Action::Pull,
                ErrorKind::NotFound,
                Some("kept by `x`: allow credential helpers"),
                "with --credential-helpers",
            ),
            (Action::Pull, ErrorKind::Platform, None, "--platform"),
            (
                Action::Pull,
                full,
                Some("lower"),
                "at least 412.0 MiB needed, 96.0 MiB free",
            ),
            (Action::Pull, ErrorKind::Used, None, "umount BUNDLE"),
            (Action::Unpack, ErrorKind::Used, None, "empty or does not exist"),
            (Action::Remove, ErrorKind::NotFound, None, "image-client images"),
            (Action::Remove, ErrorKind::Busy, None, "umount"),
            (Action::Pull, ErrorKind::Timeout, None, "stuck"),
            (Action::Pull, ErrorKind::Timeout, Some("wait"), "wait"),
            (Action::Pull, ErrorKind::NotPermitted, None, "root"),
        ] {
            let hint = hint(action, &kind, lower).unwrap();
            assert!(hint.contains(want), "{kind:?}: {hint}");
        }
        assert_eq!(hint(Action::Pull, &ErrorKind::Document, None), None);
    }
}
