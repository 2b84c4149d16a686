// SPDX-License-Identifier: Apache-2.0
//! What figures depend on besides the programs.

use std::fs;
use std::path::Path;

use super::clients::Client;
use crate::sh;

pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Processes that ran or wanted to, over the last 1, 5 and 15 minutes.
pub(super) fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// Date, processor and kernel.
pub(super) fn describe() -> String {
    let value = |file: &str, key: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(key));
        let value = line.and_then(|line| line.split_once(':'));
        value.map_or("unknown".to_string(), |(_, value)| value.trim().to_string())
    };
    let kilobytes = value("/proc/meminfo", "MemTotal");
    let kilobytes: u64 = kilobytes.trim_end_matches(" kB").parse().unwrap_or(0);
    format!(
        "{}; {}, {} cores, {} GiB of memory; Linux {}",
        said(&["date", "--utc", "+%F %R UTC"]),
        value("/proc/cpuinfo", "model name"),
        cores(),
        kilobytes >> 20,
        said(&["uname", "--kernel-release"]),
    )
}

/// The versions of ours and of the others.
pub(super) fn versions(clients: &[&Client], root: Option<&Path>) -> String {
    let programs = clients.iter().flat_map(|client| client.programs);
    let programs: Vec<&str> = programs.copied().filter(|program| *program != "ctr").collect();
    let mut all = self::programs(&programs, root);
    let unpigz = match root {
        Some(root) => root.join("usr/bin/unpigz").is_file(),
        None => sh::which("unpigz").is_some(),
    };
    if unpigz && programs.contains(&"containerd") {
        all += ", unpigz, which containerd inflates with";
    }
    all
}

/// The version of ours and those of packages.
pub(super) fn programs(packages: &[&str], root: Option<&Path>) -> String {
    let commit = said(&["git", "describe", "--always", "--dirty"]);
    let mut all = vec![format!("image-client at {commit}")];
    for package in packages {
        let database = root.unwrap_or(Path::new("/")).join("var/lib/dpkg");
        let database = format!("--admindir={}", database.display());
        let version = said(&[
            "dpkg-query",
            &database,
            "--show",
            "--showformat=${Version}",
            package,
        ]);
        // What Debian adds to it is of no weight here.
        let version = version.split(['~', '+', '-']).next().unwrap_or_default();
        let named = format!("{package} {version}");
        if !all.contains(&named) {
            all.push(named);
        }
    }
    all.join(", ")
}

fn said(command: &[&str]) -> String {
    let (program, arguments) = command.split_first().unwrap_or((&"true", &[]));
    let text = sh::output(&mut sh::cmd(program, arguments)).unwrap_or_default();
    text.lines().next().unwrap_or("unknown").trim().to_string()
}
