// SPDX-License-Identifier: Apache-2.0
//! What `cargo xtask bench` takes.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use super::disk::Kind;
use crate::sh;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    /// Pulls from a registry: what a user waits for, and what it takes of the machine.
    Pull,
    /// Unpacking beside what its stages cost alone.
    Unpack,
    /// From nothing to a mounted root file system, and back.
    Ready,
}

impl Table {
    pub(super) fn name(self) -> &'static str {
        match self {
            Table::Pull => "pull",
            Table::Unpack => "unpack",
            Table::Ready => "ready",
        }
    }

    fn images(self) -> &'static [&'static str] {
        match self {
            Table::Pull => &["tiny/gzip", "debian", "manyfiles", "bigblob/gzip", "ml/zstd"],
            Table::Unpack => &["debian", "manyfiles", "bigblob/gzip", "bigblob/zstd", "ml/zstd"],
            Table::Ready => &[
                "tiny/gzip",
                "manyfiles/tar",
                "manyfiles",
                "debian",
                "bigblob/gzip",
                "bigblob/zstd",
                "ml/zstd",
            ],
        }
    }

    fn disks(self) -> &'static [Kind] {
        match self {
            Table::Pull | Table::Ready => &[Kind::Ext4],
            Table::Unpack => &[Kind::Ext4, Kind::Tmpfs],
        }
    }
}

#[derive(Debug)]
pub(super) struct Options {
    pub(super) table: Table,
    pub(super) runs: usize,
    pub(super) disks: Vec<Kind>,
    pub(super) peers: bool,
    /// A root folder that the other clients are run in instead of the machine's own.
    pub(super) root: Option<PathBuf>,
    pub(super) write: bool,
    pub(super) images: Vec<String>,
}

impl Options {
    pub(super) fn parse(arguments: &[String]) -> Result<Self> {
        let (table, arguments) = match arguments.split_first() {
            Some((first, rest)) if first == "pull" => (Table::Pull, rest),
            Some((first, rest)) if first == "unpack" => (Table::Unpack, rest),
            Some((first, rest)) if first == "ready" => (Table::Ready, rest),
            _ => (Table::Pull, arguments),
        };
        let mut options = Options {
            table,
            runs: 5,
            disks: table.disks().to_vec(),
            peers: true,
            root: None,
            write: false,
            images: Vec::new(),
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .with_context(|| format!("{argument} needs a value"))
            };
            match argument.as_str() {
                "--runs" => {
                    let value = value()?;
                    options.runs = value.parse().with_context(|| format!("not a number: {value}"))?;
                }
                "--fs" => {
                    options.disks = match value()?.as_str() {
                        "ext4" => vec![Kind::Ext4],
                        "tmpfs" => vec![Kind::Tmpfs],
                        "both" => vec![Kind::Ext4, Kind::Tmpfs],
                        other => bail!("expected ext4, tmpfs or both: {other}"),
                    }
                }
                "--peers" => {
                    options.peers = match value()?.as_str() {
                        "all" => true,
                        "none" => false,
                        other => bail!("expected all or none: {other}"),
                    }
                }
                "--newest" => options.root = Some(sh::root().join(value()?)),
                "--write" => options.write = true,
                option if option.starts_with('-') => bail!("unknown option: {option}"),
                image => options.images.push(image.to_string()),
            }
        }
        if options.runs == 0 {
            bail!("no runs, no medians");
        }
        if options.images.is_empty() {
            options.images = table.images().iter().map(|image| image.to_string()).collect();
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options> {
        Options::parse(&line.split_whitespace().map(String::from).collect::<Vec<_>>())
    }

    #[test]
    fn a_table_has_images_and_disks_of_its_own_unless_others_are_named() {
        let all = parse("ready --runs 1").unwrap();
        assert_eq!(
            (all.table, all.runs, all.disks),
            (Table::Ready, 1, vec![Kind::Ext4])
        );
        assert!(all.images.contains(&"manyfiles/tar".to_string()));
        let one = parse("ready --fs tmpfs --peers none debian").unwrap();
        assert_eq!((one.disks, one.peers), (vec![Kind::Tmpfs], false));
        assert_eq!(one.images, ["debian"]);
        assert_eq!(parse("debian").unwrap().table, Table::Pull);
    }

    #[test]
    fn what_measures_nothing_is_refused() {
        for line in [
            "ready --runs 0",
            "ready --runs",
            "ready --peers some",
            "ready --cold",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
