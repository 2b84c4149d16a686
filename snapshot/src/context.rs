// SPDX-License-Identifier: Apache-2.0
//! What the kernel says when it refuses a mount.
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;

/// Messages taken from the kernel about one failure, and the room for each.
const MAX_MESSAGES: usize = 8;
const MESSAGE: usize = 1024;

/// A refusal, with what the kernel itself wrote about it into the mount context.
pub(crate) fn refusal(error: Errno, context: Option<&OwnedFd>) -> io::Error {
    match context.map(messages).unwrap_or_default().as_str() {
        "" => io::Error::from(error),
        said => io::Error::new(io::Error::from(error).kind(), format!("{error}: {said}")),
    }
}

/// What the kernel wrote about a mount context: one message each read, `e ` for errors in front.
fn messages(context: &OwnedFd) -> String {
    let mut said = Vec::new();
    let mut buffer = [0; MESSAGE];
    while said.len() < MAX_MESSAGES {
        match nix::unistd::read(context.as_fd(), &mut buffer) {
            Ok(length) if length > 0 => {
                let text = buffer.get(..length).unwrap_or_default().trim_ascii();
                said.push(
                    text.strip_prefix(b"e ")
                        .unwrap_or(text)
                        .escape_ascii()
                        .to_string(),
                );
            }
            _ => break,
        }
    }
    said.join("; ")
}
