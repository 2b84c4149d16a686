// SPDX-License-Identifier: Apache-2.0
//! The command line: arguments in, one result on stdout, everything else on stderr.

mod args;
mod error;
mod lookup;
mod names;
mod network;
mod progress;
mod report;
mod run;
mod tend;
mod ways;

use std::future::Future;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use args::Cli;
use error::Failure;
use run::Outcome;

/// How long an interrupted command may clean up: removing a staging tree of many files takes seconds.
const CLEAN_UP: Duration = Duration::from_secs(60);

pub(crate) fn main() -> ExitCode {
    // Prints help or a usage error itself, and exits with 0 or 2.
    let cli = Cli::parse();
    let common = cli.command.common();
    let json = common.json;
    log(common.verbose);
    match work(cli).and_then(|outcome| print(&outcome, json)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => fail(&failure, json),
    }
}

fn work(cli: Cli) -> Result<Outcome, Failure> {
    // Two threads for the network; unpacking has threads of its own.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start")
        .map_err(Failure::internal)?;
    let outcome = runtime.block_on(until_signal(run::run(cli.command)));
    // Threads of a cancelled command are ending now, and remove what they had begun.
    runtime.shutdown_timeout(CLEAN_UP);
    outcome
}

/// Runs until the end or the first SIGINT or SIGTERM, which cancels the work.
async fn until_signal(
    work: impl Future<Output = Result<Outcome, Failure>> + Send + 'static,
) -> Result<Outcome, Failure> {
    let listen = |kind| {
        signal(kind)
            .context("cannot listen for signals")
            .map_err(Failure::internal)
    };
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    // On the threads of the network: from this one each piece that comes would have to be woken up for.
    let mut tasks = JoinSet::new();
    tasks.spawn(work);
    tokio::select! {
        Some(outcome) = tasks.join_next() => outcome
            .context("the work was stopped")
            .map_err(Failure::internal)?,
        _ = interrupt.recv() => Err(Failure::interrupted("SIGINT")),
        _ = terminate.recv() => Err(Failure::interrupted("SIGTERM")),
    }
}

fn print(outcome: &Outcome, json: bool) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = if json {
        writeln!(out, "{}", outcome.json)
    } else {
        out.write_all(&outcome.text)
    };
    written
        .context("cannot print the result")
        .map_err(Failure::internal)
}

fn fail(failure: &Failure, json: bool) -> ExitCode {
    if json {
        let _ = writeln!(io::stdout().lock(), "{}", failure.json());
    }
    // With stderr closed there is nobody to tell.
    let _ = io::stderr().lock().write_all(failure.text().as_bytes());
    ExitCode::from(failure.exit())
}

fn log(verbose: u8) {
    let level = match verbose {
        0 => tracing::Level::WARN,
        1 => tracing::Level::INFO,
        2 => tracing::Level::DEBUG,
        _ => tracing::Level::TRACE,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_target(false)
        .init();
}
