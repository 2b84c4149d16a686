// SPDX-License-Identifier: Apache-2.0
//! Chores of this repository, run as `cargo xtask NAME`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a chore talks to who started it"
)]

mod bench;
mod ci;
mod debian;
mod demo;
mod guest;
mod lab;
mod setup;
mod sh;
mod size;
mod test;
mod tidy;

use std::process::ExitCode;

const HELP: &str = "\
usage: cargo xtask CHORE [options]

  demo [--release]         pull an image from a registry of its own, run it, show it, take it away
  setup [demo|test|bench]  install the Debian packages that a chore needs (as root), and make the lab
  lab [--to DIR] [NAME..]  make the lab's images: target/lab/images
  test [cargo test args]   set up, run all tests, count what passed, failed and was skipped
  guest [--quick] [--fresh] [--program FILE] [SUITE..]
                           pull inside of emulated machines with the kernels of Debian's suites (as root)
  tidy                     check imports, licences, file sizes, forbidden words, manifests
  ci                       fmt, clippy, tidy, doc, test
  bench [pull] [IMAGE..]   time, CPU, memory and disk writes of pulls beside other clients (as root)
  bench unpack [IMAGE..]   unpacking beside other clients and what its stages cost alone (as root)
  bench ready [IMAGE..]    from nothing to a mounted tree, reading it, removing it (as root)
      [--runs N] [--fs ext4|tmpfs|both] [--peers all|none] [--newest ROOT_FOLDER] [--write]
  size                     count crates and weigh the program against their budgets
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (chore, rest) = match arguments.split_first() {
        Some((chore, rest)) => (chore.as_str(), rest),
        None => ("help", [].as_slice()),
    };
    let result = match chore {
        "demo" => demo::run(rest),
        "setup" => setup::run(rest),
        "lab" => lab::run(rest),
        "test" => test::run(rest),
        "guest" => guest::run(rest),
        "tidy" => tidy::run(),
        "ci" => ci::run(),
        "bench" => bench::run(rest),
        "size" => size::run(),
        _ => {
            print!("{HELP}");
            return if matches!(chore, "help" | "-h" | "--help") {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(2)
            };
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask {chore}: {error:#}");
            ExitCode::FAILURE
        }
    }
}
