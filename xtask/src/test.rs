// SPDX-License-Identifier: Apache-2.0
//! All tests, counted.

use std::io::{BufRead as _, BufReader, Read};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};

use crate::{guest, lab, setup, sh};

#[derive(Debug, Default)]
struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
    binaries: u64,
    skipped: Vec<String>,
    failures: Vec<String>,
}

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    // Tests that need a tool or an image say so when it is not there; the rest run anywhere.
    let lacking = setup::run(&["test".to_string()]).err();
    if let Some(error) = &lacking {
        println!("test: going on with what is there: {error:#}");
    }
    let mut command = sh::cargo(["test", "--workspace", "--no-fail-fast"]);
    command
        .args(arguments)
        .env("IMAGE_CLIENT_LAB", lab::default_folder());
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", sh::show(&command)))?;
    let (output, errors) = (child.stdout.take(), child.stderr.take());
    let (mut tally, more) = std::thread::scope(|scope| {
        let errors = scope.spawn(move || read(errors, |line| eprintln!("{line}")));
        let tally = read(output, |line| println!("{line}"));
        (tally, errors.join().unwrap_or_default())
    });
    let status = child.wait()?;

    let mut skipped = [std::mem::take(&mut tally.skipped), more.skipped].concat();
    // Who asks for certain tests does not wait for machines to boot.
    if arguments.is_empty() {
        guests(&mut tally, &mut skipped);
    }
    skipped.sort();
    println!();
    tally.failures.iter().for_each(|name| println!("FAILED: {name}"));
    skipped.iter().for_each(|line| println!("{line}"));
    if let Some(error) = &lacking {
        println!("not set up: {error:#}");
    }
    let count = skipped.len() as u64 + tally.ignored;
    println!("test programs: {}", tally.binaries);
    println!(
        "{} passed, {} failed, {count} skipped",
        tally.passed, tally.failed
    );
    if !status.success() || tally.failed > 0 {
        bail!("tests failed; {}: {status}", sh::show(&command));
    }
    if tally.passed == 0 {
        bail!("no test ran");
    }
    // Root on Debian can set everything up: then a test that did not run is a test that failed.
    if let Some(error) = lacking.filter(|_| sh::is_root() && sh::which("apt-get").is_some()) {
        return Err(error.context("not everything could be set up, so not every test ran"));
    }
    Ok(())
}

/// Pulls in guests, and counts each as a test.
fn guests(tally: &mut Tally, skipped: &mut Vec<String>) {
    let kernels = match guest::kernels(guest::SUITES, false) {
        Ok(kernels) => kernels,
        Err(error) => return skipped.push(format!("SKIPPED: all pulls in guests: {error:#}")),
    };
    match guest::quick(&kernels) {
        Ok(outcomes) => {
            for outcome in outcomes {
                match outcome.fault {
                    None => tally.passed += 1,
                    Some(_) => {
                        tally.failed += 1;
                        tally.failures.push(outcome.name);
                    }
                }
            }
        }
        Err(error) => {
            tally.failed += 1;
            tally.failures.push(format!("pulls in guests: {error:#}"));
        }
    }
}

/// Passes lines on and counts what they report.
fn read(stream: Option<impl Read>, print: impl Fn(&str)) -> Tally {
    let mut tally = Tally::default();
    for line in stream
        .into_iter()
        .flat_map(|s| BufReader::new(s).split(b'\n'))
        .map_while(Result::ok)
    {
        let line = String::from_utf8_lossy(&line);
        print(&line);
        // A skipped test speaks past the capture, so its word may stand behind `test name ... `.
        if let Some(at) = line.find("SKIPPED: ") {
            tally.skipped.push(line[at..].trim().to_string());
        } else if let Some(counts) = line.strip_prefix("test result: ") {
            tally.binaries += 1;
            for part in counts.split([';', '.']) {
                match part.trim().split_once(' ') {
                    Some((count, "passed")) => tally.passed += count.parse().unwrap_or(0),
                    Some((count, "failed")) => tally.failed += count.parse().unwrap_or(0),
                    Some((count, "ignored")) => tally.ignored += count.parse().unwrap_or(0),
                    _ => {}
                }
            }
        } else if let Some(name) = line
            .strip_prefix("test ")
            .and_then(|l| l.strip_suffix(" ... FAILED"))
        {
            tally.failures.push(name.to_string());
        }
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn results_skips_and_failures_are_counted_over_all_programs() {
        let output = "\
test a ... ok
test b ... FAILED
test result: FAILED. 1 passed; 1 failed; 2 ignored; 0 measured; 7 filtered out; finished in 0.00s
test c ... SKIPPED: c: only root may do this
ok
test result: ok. 40 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s
";
        let tally = read(Some(output.as_bytes()), |_| ());
        assert_eq!(
            (tally.passed, tally.failed, tally.ignored, tally.binaries),
            (41, 1, 2, 2)
        );
        assert_eq!(tally.skipped, ["SKIPPED: c: only root may do this"]);
        assert_eq!(tally.failures, ["b"]);
    }
}
