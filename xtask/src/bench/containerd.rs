// SPDX-License-Identifier: Apache-2.0
//! containerd: the daemon does the work, so what it takes is added to what its client takes.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::clients::Image;
use super::usage::{Place, Probe, STRACE, Usage, calls};
use crate::sh;

pub(super) fn pull(image: &Image, place: &Place<'_>) -> Result<Usage> {
    let folder = place.folder;
    let socket = folder.join("socket");
    let (root, state) = (folder.join("root"), folder.join("state"));
    let config = format!("version = 2\nroot = {root:?}\nstate = {state:?}\n[grpc]\naddress = {socket:?}\n");
    fs::write(folder.join("config.toml"), config)?;
    let mut command = place.peer("containerd", ["--config"]);
    command
        .arg(folder.join("config.toml"))
        .env("TMPDIR", place.temporary()?);
    let log = fs::File::create(folder.join("log"))?;
    let mut daemon = Daemon::start(command.stdout(log.try_clone()?).stderr(log))?;
    let ctr = |arguments: &[&str]| {
        let mut command = place.peer("ctr", ["--address"]);
        command.arg(&socket).args(arguments);
        command
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    while !sh::succeeds(&mut ctr(&["version"])) {
        if Instant::now() > deadline || daemon.0.try_wait()?.is_some() {
            bail!("containerd does not answer");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let pull = ctr(&["images", "pull", "--plain-http", &image.reference]);
    match place.probe {
        Probe::Time => {
            let before = daemon.cpu()?;
            let client = place.run(&pull)?;
            Ok(client.beside(Usage {
                cpu: daemon.cpu()? - before,
                memory: daemon.memory()?,
                ..Usage::default()
            }))
        }
        Probe::Calls => {
            let report = folder.join("daemon-report");
            let mut strace = sh::cmd("strace", STRACE);
            strace.arg(&report).args(["-p", &daemon.0.id().to_string()]);
            let mut strace = Daemon::start(&mut strace)?;
            while !daemon.traced()? {
                if let Some(status) = strace.0.try_wait()? {
                    bail!("strace does not attach itself: {status}");
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            let client = place.run(&pull)?;
            strace.stop("INT");
            Ok(client.beside(Usage {
                calls: calls(&fs::read_to_string(report)?)?,
                ..Usage::default()
            }))
        }
    }
}

struct Daemon(Child);

impl Daemon {
    fn start(command: &mut Command) -> Result<Daemon> {
        let child = command.stdin(Stdio::null()).spawn();
        Ok(Daemon(
            child.with_context(|| format!("cannot run {}", sh::show(command)))?,
        ))
    }

    /// User and system time of it and of children that it has waited for, in seconds.
    fn cpu(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks: f64 = after_name
            .split_whitespace()
            .skip(11)
            .take(4)
            .filter_map(|n| n.parse::<f64>().ok())
            .sum();
        // Linux shows times in hundredths of a second on every architecture that we know.
        Ok(ticks / 100.0)
    }

    /// Peak resident set in MiB.
    fn memory(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .context("no VmHWM")?;
        let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse().context("VmHWM")?;
        Ok(kilobytes / 1024.0)
    }

    /// Whether each of its threads is watched by another process.
    fn traced(&self) -> Result<bool> {
        for thread in fs::read_dir(format!("/proc/{}/task", self.0.id()))? {
            let status = fs::read_to_string(thread?.path().join("status"))?;
            if status.lines().any(|line| line == "TracerPid:\t0") {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn stop(&mut self, signal: &str) {
        let stopped = sh::succeeds(&mut sh::cmd("kill", ["-s", signal, &self.0.id().to_string()]));
        if !stopped {
            let _ = self.0.kill();
        }
        let _ = self.0.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !matches!(self.0.try_wait(), Ok(Some(_))) {
            self.stop("TERM");
        }
    }
}
