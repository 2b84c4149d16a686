// SPDX-License-Identifier: Apache-2.0
//! The program `image-client`, and what it told.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::Lab;

const PROGRAM: &str = env!("CARGO_BIN_EXE_image-client");

pub(crate) struct Told {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Told {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self {
            status: output.status.code().unwrap(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.out.lines().count(), 1, "{}{}", self.out, self.err);
        serde_json::from_str(&self.out).unwrap()
    }

    /// Asserts a failure with these words on stderr, each on a line of its own kind.
    #[track_caller]
    pub(crate) fn fails(&self, error: &str, hint: &str) {
        assert_eq!(self.status, 1, "{}", self.err);
        let line = |start: &str| {
            self.err
                .lines()
                .find(|line| line.starts_with(start))
                .unwrap_or_default()
        };
        assert!(
            self.err.contains(error) && !line("error: cannot ").is_empty(),
            "{}",
            self.err
        );
        assert!(line("hint: ").contains(hint), "{}", self.err);
        assert_eq!(self.out, "");
    }
}

/// Runs the program with the lab's work directory; `words` are split at spaces.
#[track_caller]
pub(crate) fn run(lab: &Lab, words: &str) -> Told {
    run_with(lab, words, "")
}

#[track_caller]
pub(crate) fn run_with(lab: &Lab, words: &str, input: &str) -> Told {
    let mut child = command(lab, words).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    Told::of(child.wait_with_output().unwrap())
}

pub(crate) fn command(lab: &Lab, words: &str) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .args(words.split_whitespace())
        .arg("--work-dir")
        .arg(lab.work_dir());
    // Nobody's credentials but those of the test.
    for variable in ["REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "XDG_CONFIG_HOME"] {
        command.env_remove(variable);
    }
    command
        .env("HOME", lab.path("home"))
        .env("XDG_RUNTIME_DIR", lab.path("run"))
        .current_dir(lab.path(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}
