// SPDX-License-Identifier: Apache-2.0
//! One large blob out of a registry: what the way costs when nothing is unpacked.

use std::fmt::Write as _;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::disk::{Disk, Kind};
use super::jail::Jail;
use super::layout::{layers, noise, warm};
use super::link::{FAR, Line, NEAR};
use super::options::Options;
use super::table::{markdown, median, number, ratio};
use super::usage::{Place, Probe, Usage};
use super::{clients, machine, report};
use crate::sh;

/// Bytes of the blob.
const SIZE: u64 = 1 << 30;
/// Below all that clients are given, by which the line tells them apart.
const PORT: &str = "4000";
const REPOSITORY: &str = "noise";

const LINE: Line = Line {
    round_trip: Duration::from_millis(20),
    rate: 1_000_000_000,
};

/// A blob in a registry.
struct Blob {
    host: String,
    digest: String,
}

struct Fetcher {
    name: &'static str,
    /// Of others: the program and the arguments that come before the blob.
    program: Option<&'static str>,
    get: fn(&Blob, &Place<'_>) -> Result<Usage>,
}

const FETCHERS: &[Fetcher] = &[
    Fetcher {
        name: "image-client blob",
        program: None,
        get: ours,
    },
    Fetcher {
        name: "hyper and SHA-256",
        program: None,
        get: raw,
    },
    Fetcher {
        name: "skopeo copy to dir:",
        program: Some("skopeo"),
        get: skopeo,
    },
    Fetcher {
        name: "crane blob",
        program: Some("crane"),
        get: crane,
    },
];

/// Of the table.
pub(super) const NAME: &str = "fetch";

pub(super) fn run(options: &Options) -> Result<()> {
    let release = ["build", "--quiet", "--release", "--package"];
    sh::run(sh::cargo(release).arg("image-client"))?;
    sh::run(sh::cargo(release).args(["distribution", "--example", "raw"]))?;
    let layout = sh::target("bench/images/noise");
    noise(&layout, SIZE)?;
    let layout = layout.canonicalize()?;
    warm(&layout)?;
    let programs = FETCHERS.iter().filter_map(|fetcher| fetcher.program);
    let programs: Vec<&str> = programs.filter(|_| options.peers).collect();
    let (described, load) = (machine::describe(), machine::load());
    let near = measure(options, &layout, "loopback", None)?;
    // What a thread has entered it cannot leave.
    let far = thread::scope(|scope| {
        let far = scope.spawn(|| {
            LINE.enter()?;
            measure(options, &layout, "1 Gbit/s, round trip of 20 ms", Some(NEAR))
        });
        far.join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    let text = format!(
        "## {}\n\n{described}; {} runs; load {load} before, {} after.\n{}.\n\n{LEGEND}\n\n{near}\n{far}",
        NAME,
        options.runs,
        machine::load(),
        machine::programs(&programs, options.root.as_deref()),
    );
    println!("{text}");
    if options.write {
        report::write(NAME, &text)?;
    }
    Ok(())
}

const LEGEND: &str = "Medians, of one blob of 1 GiB. `image-client blob` and `crane blob` write it to nowhere, \
    skopeo to a file in memory; all compare its digest. `hyper and SHA-256` is the least that can be done: one \
    connection, one thread, no retry. The registry's CPU time is not counted. The line is simulated: packets of \
    1500 bytes wait for their turn and the delay in a process on the same machine, which takes a part of its CPU.";

fn measure(options: &Options, layout: &Path, network: &str, address: Option<&str>) -> Result<String> {
    let mut arguments = vec!["--port".to_string(), PORT.to_string()];
    arguments.extend(address.iter().flat_map(|ip| ["--address".into(), ip.to_string()]));
    arguments.push(format!("{REPOSITORY}={}", layout.display()));
    let server = sh::Server::start_fast(arguments)?;
    let host = match address {
        Some(_) => format!("{FAR}:{PORT}"),
        None => server.host.clone(),
    };
    let layers = layers(layout)?;
    let layer = layers
        .first()
        .and_then(|path| path.file_name())
        .context("no layer")?;
    let blob = Blob {
        host,
        digest: format!("sha256:{}", layer.to_string_lossy()),
    };
    let root = options.root.as_deref();
    let present = |fetcher: &&Fetcher| match (fetcher.program, root) {
        (None, _) => true,
        (Some(_), _) if !options.peers => false,
        (Some(program), Some(root)) => root.join("usr/bin").join(program).is_file(),
        (Some(program), None) => sh::which(program).is_some(),
    };
    let fetchers: Vec<&Fetcher> = FETCHERS.iter().filter(present).collect();
    let mut samples: Vec<Vec<Usage>> = fetchers.iter().map(|_| Vec::new()).collect();
    for run in 0..options.runs {
        for turn in 0..fetchers.len() {
            let which = (turn + run) % fetchers.len();
            let usage = once(fetchers[which], &blob, root, layout);
            let usage = usage.with_context(|| format!("{}, {network}", fetchers[which].name))?;
            samples[which].push(usage);
        }
    }
    let mut text = format!("### {network}\n\n");
    write!(text, "{}", rows(&fetchers, &samples))?;
    Ok(text)
}

fn once(fetcher: &Fetcher, blob: &Blob, root: Option<&Path>, layout: &Path) -> Result<Usage> {
    let disk = Disk::new(Kind::Tmpfs)?;
    let jail = match fetcher.program {
        None => None,
        Some(_) => Some(Jail::new(&disk, root, layout)?),
    };
    let place = Place {
        folder: disk.path(),
        jail: jail.as_ref(),
        probe: Probe::Time,
    };
    let usage = (fetcher.get)(blob, &place)?;
    drop(jail);
    disk.remove()?;
    if usage.seconds <= 0.0 {
        bail!("took no time");
    }
    Ok(usage)
}

fn rows(fetchers: &[&Fetcher], samples: &[Vec<Usage>]) -> String {
    let head = [
        "client",
        "wall s",
        "of runs",
        "MB/s",
        "CPU s/GB",
        "RSS MiB",
        "speed to raw",
        "wall",
        "CPU",
    ];
    let middle = |which: usize, value: fn(&Usage) -> f64| median(samples[which].iter().map(value));
    let wall = |usage: &Usage| usage.seconds;
    let cpu = |usage: &Usage| usage.cpu;
    let raw = fetchers
        .iter()
        .position(|fetcher| fetcher.name == FETCHERS[1].name);
    let cells: Vec<Vec<String>> = fetchers
        .iter()
        .enumerate()
        .map(|(which, fetcher)| {
            let walls: Vec<f64> = samples[which].iter().map(wall).collect();
            let low = walls.iter().copied().fold(f64::MAX, f64::min);
            let high = walls.iter().copied().fold(0.0, f64::max);
            vec![
                fetcher.name.to_string(),
                number(middle(which, wall)),
                format!("{}–{}", number(Some(low)), number(Some(high))),
                number(middle(which, wall).map(|wall| SIZE as f64 / 1e6 / wall)),
                number(middle(which, cpu).map(|cpu| cpu / (SIZE as f64 / 1e9))),
                number(middle(which, |usage| usage.memory)),
                ratio(raw.and_then(|raw| middle(raw, wall)), middle(which, wall)),
                ratio(middle(which, wall), middle(0, wall)),
                ratio(middle(which, cpu), middle(0, cpu)),
            ]
        })
        .collect();
    markdown(&head, &cells)
}

fn ours(blob: &Blob, place: &Place<'_>) -> Result<Usage> {
    let mut command = sh::cmd(clients::program(), ["blob", "--plain-http"]);
    command
        .arg(format!("{}/{REPOSITORY}", blob.host))
        .arg(&blob.digest);
    place.run(command.args(["--output", "/dev/null"]))
}

fn raw(blob: &Blob, place: &Place<'_>) -> Result<Usage> {
    let mut command = sh::cmd(sh::target("release/examples/raw"), [&blob.host]);
    command.arg(format!("/v2/{REPOSITORY}/blobs/{}", blob.digest));
    place.run(&command)
}

fn skopeo(blob: &Blob, place: &Place<'_>) -> Result<Usage> {
    let mut command = place.peer(
        "skopeo",
        ["--insecure-policy", "copy", "--quiet", "--src-tls-verify=false"],
    );
    command.arg(format!("docker://{}/{REPOSITORY}:latest", blob.host));
    command.arg(format!("dir:{}", place.folder.join("copy").display()));
    place.run(&command)
}

fn crane(blob: &Blob, place: &Place<'_>) -> Result<Usage> {
    let reference = format!("{}/{REPOSITORY}@{}", blob.host, blob.digest);
    place.run(&place.peer("crane", ["blob", "--insecure", &reference]))
}
