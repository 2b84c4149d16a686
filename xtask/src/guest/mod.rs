// SPDX-License-Identifier: Apache-2.0
//! Pulls inside of virtual machines, with kernels that the machine of the tests does not run.
//!
//! A guest pulls images of the lab from a registry on the host, mounts them, and lists the trees; the
//! host compares these with its own flat unpacking of the same images.

mod cpio;
mod initramfs;
mod kernel;
mod machine;
mod modules;
mod mounts;
mod scenario;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use self::kernel::Kernel;
pub(crate) use self::kernel::SUITES;
use self::machine::Guest;
use self::scenario::{End, Scenario};
use crate::{lab, setup, sh};

/// Layers, whiteouts, links, devices: small, so that emulation takes no time with them.
const QUICK: &[&str] = &["tiny/gzip", "whiteouts/tar"];
/// And some that take longer.
const ALL: &[&str] = &["tiny/gzip", "whiteouts/tar", "whiteouts/links", "ml/zstd"];

/// How long a guest may take; on a machine that does nothing else it takes a small part of this.
const QUICK_DEADLINE: Duration = Duration::from_secs(300);
const DEADLINE: Duration = Duration::from_secs(900);

/// What begins a line of a kernel's log that tells of an error or worse.
const ERRORS: &[&str] = &["<0>", "<1>", "<2>", "<3>"];
/// And what is in the others when the kernel is not well.
const ALARMS: &[&str] = &["BUG:", "WARNING:", "Call Trace", "corrupt"];

/// One pull in one guest: its name, and what was wrong.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) name: String,
    pub(crate) fault: Option<String>,
}

/// Where kernels are kept and guests run.
fn folder() -> PathBuf {
    lab::default_folder().join("guest")
}

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let (mut images, mut deadline) = (ALL, DEADLINE);
    let (mut fresh, mut program, mut suites) = (false, None, Vec::new());
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--quick" => (images, deadline) = (QUICK, QUICK_DEADLINE),
            "--fresh" => fresh = true,
            "--program" => program = Some(rest.next().context("--program needs a file")?),
            suite if SUITES.contains(&suite) => suites.push(suite),
            other => bail!(
                "expected --quick, --fresh, --program FILE or one of {}: {other}",
                SUITES.join(", ")
            ),
        }
    }
    setup::packages("test")?;
    let suites = if suites.is_empty() { SUITES } else { &suites };
    let kernels = kernels(suites, fresh)?;
    let client = match program {
        Some(file) => sh::root().join(file),
        None => build("release")?,
    };
    let outcomes = boot(&kernels, images, deadline, &client)?;
    let failed = outcomes.iter().filter(|outcome| outcome.fault.is_some()).count();
    println!("{} passed, {failed} failed", outcomes.len() - failed);
    if failed > 0 {
        bail!("pulls in guests failed: {failed}");
    }
    Ok(())
}

/// The kernels of the table, fetched when they are not there.
pub(crate) fn kernels(suites: &[&str], fresh: bool) -> Result<Vec<Kernel>> {
    if !cfg!(target_arch = "x86_64") {
        bail!("the guests are x86-64 machines, and the program is not for these");
    }
    if !sh::is_root() {
        bail!("what guests mount is compared with an unpacked image, which root alone can make");
    }
    suites.iter().map(|suite| Kernel::of(suite, fresh)).collect()
}

/// The pulls that are part of all tests, with the program as tests build it.
pub(crate) fn quick(kernels: &[Kernel]) -> Result<Vec<Outcome>> {
    boot(kernels, QUICK, QUICK_DEADLINE, &build("debug")?)
}

fn boot(kernels: &[Kernel], images: &[&str], deadline: Duration, client: &Path) -> Result<Vec<Outcome>> {
    let _alone = alone()?;
    let lister = lister()?;
    let mut names: Vec<&str> = images.iter().filter_map(|name| name.split('/').next()).collect();
    names.dedup();
    lab::make(&lab::default_folder(), &names)?;
    let layouts = lab::default_folder().join("images").canonicalize()?;
    let mut expected = BTreeMap::new();
    for image in images {
        expected.insert(*image, unpacked(client, &lister, &layouts.join(image))?);
    }

    let served = images
        .iter()
        .map(|image| format!("{image}={}", layouts.join(image).display()));
    let server = sh::Server::start(served)?;
    let port = server.host.rsplit(':').next().unwrap_or_default();
    let scenarios = Scenario::all(images);
    let script = scenario::script(&format!("10.0.2.2:{port}"), &scenarios);
    let mut outcomes = Vec::new();
    for kernel in kernels {
        let guest = Guest {
            kernel,
            modules: scenario::MODULES,
            files: &[("bin/image-client", client), ("bin/list-tree", &lister)],
            disks: scenario::DISKS,
            script: &script,
            deadline,
        };
        let release = &kernel.release;
        println!("\nguest: Linux {release}");
        let run = folder().join("run");
        let output = guest.run(&run);
        let mut results = |of: &dyn Fn(&Scenario<'_>) -> Option<String>| {
            outcomes.extend(scenarios.iter().map(|scenario| Outcome {
                name: format!("guest {release}: {}", scenario.name()),
                fault: of(scenario),
            }));
        };
        match output {
            Ok(output) => {
                let log = fs::read_to_string(output.folder.join("dmesg")).unwrap_or_default();
                let alarm = alarm(&log);
                results(&|scenario| {
                    let at = output.folder.join(scenario.name());
                    let checked = check(&at, scenario, kernel, &expected[scenario.image]);
                    checked.err().map(|error| format!("{error:#}"))
                });
                outcomes.push(Outcome {
                    name: format!("guest {release}: the kernel's log"),
                    fault: alarm,
                });
                println!("{:.1} s from power on to power off", output.took.as_secs_f64());
            }
            Err(error) => {
                results(&|_| Some("its guest failed".to_string()));
                outcomes.push(Outcome {
                    name: format!("guest {release}"),
                    fault: Some(format!("{error:#}")),
                });
            }
        }
        if std::env::var_os("KEEP").is_none() {
            fs::remove_dir_all(&run)?;
        }
    }
    for (name, fault) in outcomes.iter().filter_map(|o| Some((&o.name, o.fault.as_ref()?))) {
        println!("FAILED: {name}: {fault}");
    }
    Ok(outcomes)
}

/// Waits for others: two at once would share a folder, and time.
fn alone() -> Result<fs::File> {
    let lock = fs::File::create(folder().join("lock"))?;
    lock.lock().context("cannot wait for other guests")?;
    Ok(lock)
}

/// The program to test.
fn build(profile: &str) -> Result<PathBuf> {
    let mut build = sh::cargo(["build", "--quiet", "--package", "image-client"]);
    if profile == "release" {
        build.arg("--release");
    }
    sh::run(&mut build)?;
    Ok(sh::target(profile).join("image-client"))
}

/// The program that lists trees, on both sides.
fn lister() -> Result<PathBuf> {
    let mut build = sh::cargo(["build", "--quiet", "--package", "fixture", "--bin", "list-tree"]);
    sh::run(&mut build)?;
    Ok(sh::target("debug/list-tree"))
}

/// What the host makes of an image.
fn unpacked(client: &Path, lister: &Path, layout: &Path) -> Result<String> {
    let folder = folder().join("expected");
    // Of one that was stopped.
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let mut unpack = sh::cmd(
        client,
        ["unpack", "--insecure-accept-any-image", "--progress", "none"],
    );
    unpack
        .arg(format!("oci-layout:{}", layout.display()))
        .arg(&folder);
    sh::output(&mut unpack)?;
    let listing = sh::output(&mut sh::cmd(lister, [&folder]));
    fs::remove_dir_all(&folder)?;
    listing
}

/// Looks at what one pull left, and tells how it went.
fn check(at: &Path, scenario: &Scenario<'_>, kernel: &Kernel, expected: &str) -> Result<()> {
    let read = |name: &str| {
        fs::read_to_string(at.join(name)).with_context(|| format!("the guest left no file: {name}"))
    };
    let (status, log) = (read("status")?, read("log")?);
    let end = scenario.end(kernel, expected);
    let steps = match end {
        End::Mounted(_) => scenario::MOUNTED,
        End::Refused(_) => scenario::REFUSED,
    };
    if status != steps {
        let status = status.trim().replace('\n', ", ");
        bail!("steps and their status: {status}\n{log}");
    }
    let told = match end {
        End::Mounted(wanted) => {
            let way = mounts::way(&read("before")?, &read("during")?)?;
            if way != wanted {
                bail!("mounted as {way}, not as {wanted}\n{log}");
            }
            let (expected, tree) = (scenario.comparable(expected), scenario.comparable(&read("tree")?));
            if let Some(difference) = difference(&expected, &tree) {
                bail!("the tree is another\n{difference}");
            }
            let (time, entries) = (read("time")?, expected.lines().count());
            let mut times = time.lines().filter_map(|line| line.parse::<f64>().ok());
            let took = times
                .next()
                .zip(times.next())
                .map_or(0.0, |(start, end)| end - start);
            format!("{way:14} {took:6.2} s, {entries} entries")
        }
        End::Refused(words) if log.contains(words) => format!("refused: {words}"),
        End::Refused(words) => bail!("refused, and not with these words: {words}\n{log}"),
    };
    if read("before")? != read("after")? {
        bail!("mounts are left\n{}", read("after")?);
    }
    let loops = read("loops")?;
    if !loops.is_empty() {
        bail!("loop devices are left\n{loops}");
    }
    let (place, image) = (scenario.place.name, scenario.image);
    println!("  {place:5}  {image:15} {:8} {told}", scenario.snapshotter);
    Ok(())
}

/// The first lines that only one of two listings has.
fn difference(host: &str, guest: &str) -> Option<String> {
    const SHOWN: usize = 8;
    let lines = |text: &str| text.lines().map(str::to_string).collect::<Vec<_>>();
    let (host, guest) = (lines(host), lines(guest));
    if host == guest {
        return None;
    }
    let only = |these: &[String], those: &[String], mark: &str| {
        let those: std::collections::BTreeSet<&String> = those.iter().collect();
        let all = these.iter().filter(|line| !those.contains(line));
        all.take(SHOWN)
            .map(|line| format!("{mark} {line}"))
            .collect::<Vec<_>>()
    };
    let mut found = only(&host, &guest, "host: ");
    found.extend(only(&guest, &host, "guest:"));
    if found.is_empty() {
        found.push("the same lines in another order, or another number of times".to_string());
    }
    Some(found.join("\n"))
}

/// The first line of a kernel's log that must not be there.
fn alarm(log: &str) -> Option<String> {
    if log.is_empty() {
        return Some("there is none".to_string());
    }
    log.lines()
        .find(|line| {
            ERRORS.iter().any(|level| line.starts_with(level))
                || ALARMS.iter().any(|word| line.contains(word))
        })
        .map(str::to_string)
}

#[cfg(test)]
mod tests {
    use super::{alarm, difference};

    #[test]
    fn listings_differ_by_lines_and_by_their_order() {
        assert_eq!(difference("a\nb\n", "a\nb\n"), None);
        let told = difference("a\nb\n", "a\nc\n");
        assert_eq!(told.as_deref(), Some("host:  b\nguest: c"));
        assert!(difference("a\nb\n", "b\na\n").is_some());
        assert!(difference("a\n", "").is_some());
    }

    #[test]
    fn a_log_alarms_when_it_tells_of_trouble_or_is_missing() {
        let calm = "<6>[ 1.0] erofs: (device loop0): mounted\n<4>[ 2.0] hrtimer: interrupt took 9 ns\n";
        assert_eq!(alarm(calm), None);
        assert!(alarm("<3>[ 3.0] erofs: (device loop0): bogus i_mode\n").is_some());
        assert!(alarm("<4>[ 3.0] WARNING: CPU: 0 PID: 1\n").is_some());
        assert!(alarm("").is_some());
    }
}
