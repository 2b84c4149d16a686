// SPDX-License-Identifier: Apache-2.0
//! How each client pulls and unpacks an image, with all its state in one folder.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::sh;

pub(super) struct Client {
    pub(super) name: &'static str,
    pub(super) present: fn() -> bool,
    pub(super) reads: fn(&str) -> bool,
    pub(super) pull: fn(&str, &Path) -> Result<Usage>,
    /// Unmounts what the pull left mounted; not measured.
    pub(super) clean: fn(&Path),
}

/// Ours comes first: the others are compared with it.
pub(super) const CLIENTS: &[Client] = &[
    Client {
        name: "image-client",
        present: || true,
        reads: |_| true,
        pull: image_client,
        clean: umount,
    },
    Client {
        name: "skopeo + umoci",
        present: || sh::which("skopeo").is_some() && sh::which("umoci").is_some(),
        // umoci refuses the media type of zstd layers.
        reads: |image| !image.contains("zstd"),
        pull: skopeo_umoci,
        clean: |_| (),
    },
    Client {
        name: "podman",
        present: || sh::which("podman").is_some(),
        reads: |_| true,
        pull: podman,
        clean: |_| (),
    },
    Client {
        name: "containerd",
        present: || sh::which("containerd").is_some(),
        reads: |_| true,
        pull: containerd,
        clean: |_| (),
    },
    Client {
        name: "image-rs",
        present: || std::env::var_os(IMAGE_RS).is_some(),
        reads: |_| true,
        pull: image_rs,
        clean: |_| (),
    },
];

/// Names a program that is called with an image, a folder for its state and a folder for the bundle.
const IMAGE_RS: &str = "BENCH_IMAGE_RS";

/// What commands took together: times add up, memory is the largest.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    pub(super) seconds: f64,
    pub(super) cpu: f64,
    pub(super) memory: f64,
}

impl Usage {
    fn then(self, next: Usage) -> Usage {
        Usage {
            seconds: self.seconds + next.seconds,
            cpu: self.cpu + next.cpu,
            memory: self.memory.max(next.memory),
        }
    }
}

/// Runs a command under time(1), which counts the processes that it waits for.
fn timed(command: Command, disk: &Path) -> Result<Usage> {
    let report = disk.join("time");
    let mut time = sh::cmd("/usr/bin/time", ["--quiet", "--format", "%U %S %M", "--output"]);
    time.arg(&report)
        .arg(command.get_program())
        .args(command.get_args());
    time.env("TMPDIR", temporary(disk)?)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let start = Instant::now();
    let output = time.output().context("cannot run /usr/bin/time")?;
    let seconds = start.elapsed().as_secs_f64();
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{}: {}: {}",
            sh::show(&command),
            output.status,
            said.lines().last().unwrap_or_default()
        );
    }
    let report = fs::read_to_string(report)?;
    let numbers: Vec<f64> = report.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    let [user, system, kilobytes] = numbers[..] else {
        bail!("not a report of time: {report}")
    };
    Ok(Usage {
        seconds,
        cpu: user + system,
        memory: kilobytes / 1024.0,
    })
}

fn temporary(disk: &Path) -> Result<std::path::PathBuf> {
    let folder = disk.join("tmp");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn client(arguments: &[&str], disk: &Path) -> Command {
    let mut command = sh::cmd(sh::target("release/image-client"), arguments);
    command.arg("--work-dir").arg(disk.join("store"));
    command
}

fn image_client(reference: &str, disk: &Path) -> Result<Usage> {
    let options = [
        "pull",
        "--plain-http",
        "--insecure-accept-any-image",
        "--progress",
        "none",
    ];
    let mut command = client(&options, disk);
    command.arg(reference).arg(disk.join("bundle"));
    timed(command, disk)
}

fn umount(disk: &Path) {
    sh::succeeds(client(&["umount"], disk).arg(disk.join("bundle")));
}

fn skopeo_umoci(reference: &str, disk: &Path) -> Result<Usage> {
    let layout = format!("{}:latest", disk.join("layout").display());
    let mut skopeo = sh::cmd(
        "skopeo",
        ["--insecure-policy", "copy", "--quiet", "--src-tls-verify=false"],
    );
    skopeo.args([format!("docker://{reference}"), format!("oci:{layout}")]);
    let mut umoci = sh::cmd("umoci", ["unpack", "--image", &layout]);
    umoci.arg(disk.join("bundle"));
    Ok(timed(skopeo, disk)?.then(timed(umoci, disk)?))
}

fn podman(reference: &str, disk: &Path) -> Result<Usage> {
    let mut command = sh::cmd("podman", ["--storage-driver", "overlay", "--root"]);
    command
        .arg(disk.join("root"))
        .arg("--runroot")
        .arg(disk.join("run"));
    command.args([
        "pull",
        "--quiet",
        "--tls-verify=false",
        &format!("docker://{reference}"),
    ]);
    timed(command, disk)
}

fn image_rs(reference: &str, disk: &Path) -> Result<Usage> {
    let program = std::env::var_os(IMAGE_RS).context("no image-rs")?;
    let mut command = sh::cmd(program, [reference]);
    command.arg(disk.join("store")).arg(disk.join("bundle"));
    timed(command, disk)
}

/// The daemon does the work: its CPU time, that of its children and its peak memory are added.
fn containerd(reference: &str, disk: &Path) -> Result<Usage> {
    let socket = disk.join("socket");
    let config = format!(
        "version = 2\nroot = {:?}\nstate = {:?}\n[grpc]\naddress = {socket:?}\n",
        disk.join("root"),
        disk.join("state")
    );
    fs::write(disk.join("config.toml"), config)?;
    let mut command = sh::cmd("containerd", ["--config"]);
    command
        .arg(disk.join("config.toml"))
        .env("TMPDIR", temporary(disk)?);
    let log = fs::File::create(disk.join("log"))?;
    let daemon = Daemon(
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?,
    );
    let ctr = |arguments: &[&str]| {
        let mut command = sh::cmd("ctr", ["--address"]);
        command.arg(&socket).args(arguments);
        command
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    while !sh::succeeds(&mut ctr(&["version"])) {
        if Instant::now() > deadline {
            bail!("containerd does not answer");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let before = daemon.cpu()?;
    let usage = timed(ctr(&["images", "pull", "--plain-http", reference]), disk)?;
    let of_daemon = Usage {
        seconds: 0.0,
        cpu: daemon.cpu()? - before,
        memory: daemon.memory()?,
    };
    Ok(usage.then(of_daemon))
}

struct Daemon(Child);

impl Daemon {
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
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It unmounts nothing of its own when told to end; it only needs the time to do so.
        let stopped = sh::succeeds(&mut sh::cmd("kill", [self.0.id().to_string()]));
        if !stopped {
            let _ = self.0.kill();
        }
        let _ = self.0.wait();
    }
}
