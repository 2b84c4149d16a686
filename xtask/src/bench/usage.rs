// SPDX-License-Identifier: Apache-2.0
//! What a command takes.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::resource::{UsageWho, getrusage};

use super::jail::Jail;
use crate::sh;

/// What is looked at; one would disturb the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probe {
    Time,
    Calls,
}

/// Where a client works and how it is watched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// An empty folder on the disk to be measured.
    pub(super) folder: &'a Path,
    /// None for clients of our own.
    pub(super) jail: Option<&'a Jail>,
    pub(super) probe: Probe,
}

/// What commands took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    /// Of the clock.
    pub(super) seconds: f64,
    /// Seconds of CPU, in user mode and in the kernel.
    pub(super) cpu: f64,
    /// Peak resident set of the largest process, in MiB.
    pub(super) memory: f64,
    /// System calls.
    pub(super) calls: u64,
}

impl Usage {
    /// One command after another.
    pub(super) fn then(self, next: Usage) -> Usage {
        Usage {
            seconds: self.seconds + next.seconds,
            cpu: self.cpu + next.cpu,
            memory: self.memory.max(next.memory),
            calls: self.calls + next.calls,
        }
    }

    /// A process that works for the command and lives as long.
    pub(super) fn beside(self, other: Usage) -> Usage {
        Usage {
            memory: self.memory + other.memory,
            ..self.then(other)
        }
    }
}

impl Place<'_> {
    /// A command of another client.
    pub(super) fn peer<S: AsRef<OsStr>>(
        &self,
        program: &str,
        arguments: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = match self.jail {
            Some(jail) => jail.command(program),
            None => sh::cmd::<&str>(program, []),
        };
        command.args(arguments);
        command
    }

    pub(super) fn run(&self, command: &Command) -> Result<Usage> {
        let report = self.folder.join("report");
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let mut watched = match self.probe {
            Probe::Time => sh::cmd("/usr/bin/time", ["--quiet", "--format", "%M", "--output"]),
            Probe::Calls => sh::cmd("strace", STRACE),
        };
        watched.arg(&report).args(words);
        watched.env("TMPDIR", self.temporary()?);
        watched
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let (start, before) = (Instant::now(), children()?);
        let output = watched.output().context("cannot run what watches")?;
        let (seconds, cpu) = (start.elapsed().as_secs_f64(), children()? - before);
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().last().unwrap_or_default();
            bail!("{}: {}: {last}", sh::show(command), output.status);
        }
        let report = fs::read_to_string(report)?;
        Ok(match self.probe {
            Probe::Time => Usage {
                seconds,
                cpu: cpu.as_secs_f64(),
                memory: report.trim().parse::<f64>().context("not a report of time")? / 1024.0,
                calls: 0,
            },
            Probe::Calls => Usage {
                calls: calls(&report)?,
                ..Usage::default()
            },
        })
    }

    /// For what clients keep while they work.
    pub(super) fn temporary(&self) -> Result<PathBuf> {
        let folder = self.folder.join("tmp");
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }
}

/// Counts the calls of a process and of all that it starts; the report's path is to follow.
pub(super) const STRACE: [&str; 5] = ["-f", "-qq", "-c", "--summary-columns=calls,name", "-o"];

/// All calls of strace's table, whose last line sums them up.
pub(super) fn calls(report: &str) -> Result<u64> {
    let total = report
        .lines()
        .rev()
        .find_map(|line| line.trim().strip_suffix(" total"));
    let total = total.context("strace without a total")?;
    total
        .trim()
        .parse()
        .with_context(|| format!("not a number of calls: {total}"))
}

/// CPU time of all processes that were waited for, by us or by them.
fn children() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let microseconds =
        [usage.user_time(), usage.system_time()].map(|time| time.tv_sec() * 1_000_000 + time.tv_usec());
    Ok(Duration::from_micros(u64::try_from(
        microseconds.iter().sum::<i64>(),
    )?))
}
