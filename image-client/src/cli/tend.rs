// SPDX-License-Identifier: Apache-2.0
//! The commands that keep a store in order.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Subcommand;
use image_client::{Client, Collected, Keep, Mounted, Usage};
use serde_json::json;

use super::args::Common;
use super::error::{Failure, printable};
use super::names::{self, Names};
use super::report::{ago, size, table};
use super::run::{Outcome, store};

#[derive(Debug, Subcommand)]
pub(crate) enum Tend {
    /// List the bundles of the store.
    Mounts {
        #[command(flatten)]
        common: Common,
    },
    /// Show what the store takes on disk, and for what.
    Usage {
        #[command(flatten)]
        common: Common,
    },
    /// Remove what nothing needs, and images as told, those first that were asked for longest ago. Pinned images and
    /// those of bundles stay.
    Gc {
        #[command(flatten)]
        common: Common,
        /// Remove images until layers take at most so many bytes on disk.
        #[arg(long, value_name = "N[K|M|G|T]", value_parser = bytes)]
        max_size: Option<u64>,
        /// Remove images that nobody has asked for in so long.
        #[arg(long, value_name = "N(s|m|h|d)", value_parser = age)]
        older_than: Option<Duration>,
    },
    /// Keep IMAGE from `gc`.
    Pin {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        names: Names,
        /// The image, named as in `images`.
        image: String,
    },
    /// Let `gc` remove IMAGE again.
    Unpin {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        names: Names,
        /// The image, named as in `images`.
        image: String,
    },
    /// The store as a whole.
    Store {
        #[command(subcommand)]
        command: Whole,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Whole {
    /// Give the store back the catalogue it had before a newer version changed it, for an older version to use. What
    /// was recorded since is forgotten.
    Rollback {
        #[command(flatten)]
        common: Common,
    },
}

impl Tend {
    pub(crate) fn common(&self) -> &Common {
        match self {
            Self::Mounts { common }
            | Self::Usage { common }
            | Self::Gc { common, .. }
            | Self::Pin { common, .. }
            | Self::Unpin { common, .. }
            | Self::Store {
                command: Whole::Rollback { common },
            } => common,
        }
    }
}

pub(crate) async fn run(command: Tend) -> Result<Outcome, Failure> {
    match command {
        Tend::Mounts { common } => {
            let mounts = store(&common)?.mounts().await?;
            Outcome::new(mounted(&mounts), &json!({"bundles": mounts}))
        }
        Tend::Usage { common } => {
            let usage = store(&common)?.usage().await?;
            Outcome::new(used(&usage), &usage)
        }
        Tend::Gc {
            common,
            max_size,
            older_than,
        } => {
            let keep = Keep {
                younger_than: older_than,
                within_bytes: max_size,
            };
            let done = store(&common)?.gc(keep).await?;
            Outcome::new(collected(&done, max_size), &done)
        }
        Tend::Pin { common, names, image } => pin(&common, &names, &image, true).await,
        Tend::Unpin { common, names, image } => pin(&common, &names, &image, false).await,
        Tend::Store {
            command: Whole::Rollback { common },
        } => {
            let schema = Client::rollback(&common.work_dir).await?;
            let text = format!("the catalogue is of schema {schema} again\n");
            Outcome::new(text, &json!({"schema": schema}))
        }
    }
}

async fn pin(common: &Common, names: &Names, image: &str, pinned: bool) -> Result<Outcome, Failure> {
    let image = names::one(image, &names::registries(names)?)?;
    store(common)?.pin(&image, pinned).await?;
    let image = image.to_string();
    Outcome::new(String::new(), &json!({"image": image, "pinned": pinned}))
}

fn mounted(mounts: &[Mounted]) -> String {
    let head = ["BUNDLE", "IMAGE", "SNAPSHOTTER", "LAYERS", "MADE", "MOUNTED"].map(str::to_owned);
    let row = |mount: &Mounted| {
        [
            printable(&mount.bundle.to_string_lossy()),
            printable(&mount.image),
            printable(&mount.snapshotter),
            mount.layers.to_string(),
            ago(mount.created),
            if mount.mounted { "yes" } else { "no" }.to_owned(),
        ]
    };
    table(std::iter::once(head).chain(mounts.iter().map(row)))
}

fn used(usage: &Usage) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: String| {
        let _ = writeln!(text, "{key:<10} {value}");
    };
    line("images", usage.images.to_string());
    let unnamed = match usage.unnamed_bytes {
        0 => String::new(),
        bytes => format!(", {} of them of no image", size(bytes)),
    };
    let layers = format!("{} in {}{unnamed}", usage.layers, size(usage.layers_bytes));
    line("layers", layers);
    let bundles = format!("{}, {} written", usage.bundles, size(usage.bundles_bytes));
    line("bundles", bundles);
    line("staging", size(usage.staging_bytes));
    line("catalogue", size(usage.catalogue_bytes));
    if let Some(free) = usage.free_bytes {
        line("free", size(free));
    }
    text
}

fn collected(done: &Collected, wanted: Option<u64>) -> String {
    let mut text = String::new();
    for image in &done.images {
        let _ = writeln!(text, "removed {}", printable(image));
    }
    let _ = write!(
        text,
        "freed {}, {} on disk",
        size(done.freed),
        size(done.disk_bytes)
    );
    if done.deferred {
        text += "; more will go when running pulls have ended";
    } else if wanted.is_some_and(|wanted| done.disk_bytes > wanted) {
        text += "; what is left is pinned or in use";
    }
    text + "\n"
}

/// A number of bytes; `K`, `M`, `G` and `T` are powers of 1024.
fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let shift = match unit {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err("expected a number of bytes, or one with K, M, G or T".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "not a number".to_owned())?;
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| "too large".to_owned())
}

fn age(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let seconds: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err("expected a number with s, m, h or d".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "not a number".to_owned())?;
    let seconds = number.checked_mul(seconds).ok_or_else(|| "too long".to_owned())?;
    Ok(Duration::from_secs(seconds))
}

/// A number and what follows it.
fn split(text: &str) -> (&str, &str) {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_have_units() {
        for (text, want) in [
            ("0", Some(0)),
            ("10K", Some(10 << 10)),
            ("3G", Some(3 << 30)),
            ("", None),
            ("G", None),
            ("1.5G", None),
            ("-1", None),
            ("1KB", None),
            ("99999999999T", None),
        ] {
            assert_eq!(bytes(text).ok(), want, "{text}");
        }
        for (text, want) in [
            ("90s", Some(90)),
            ("5m", Some(300)),
            ("2h", Some(7_200)),
            ("7d", Some(604_800)),
            ("7", None),
            ("d", None),
            ("1w", None),
        ] {
            assert_eq!(age(text).ok(), want.map(Duration::from_secs), "{text}");
        }
    }
}
