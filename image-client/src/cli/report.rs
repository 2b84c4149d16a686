// SPDX-License-Identifier: Apache-2.0
//! Results as text for people.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use image_client::{Descriptor, Inspected, PolicySays, Removed, Stored};

use super::error::printable;

/// Bytes as a person reads them, at most 10 characters wide.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    // 1023.95 would be printed as 1024.0.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// The images, and what all of them together take: less than their sum, where they share layers.
pub(crate) fn images(images: &[Stored], disk_bytes: u64) -> String {
    let head = [
        "NAME",
        "DIGEST",
        "PLATFORM",
        "SIZE",
        "LAYERS",
        "LAST USED",
        "ON DISK",
    ]
    .map(str::to_owned);
    let row = |image: &Stored| {
        [
            printable(&image.name),
            image.manifest_digest.short(),
            printable(&image.platform),
            size(image.size),
            image.layers.to_string(),
            ago(image.last_used),
            size(image.disk_bytes),
        ]
    };
    let table = table(std::iter::once(head).chain(images.iter().map(row)));
    format!(
        "{table}{} on disk, shared layers counted once\n",
        size(disk_bytes)
    )
}

pub(crate) fn removed(removed: &Removed) -> String {
    let rest = if removed.deferred {
        "; more when running pulls have ended"
    } else {
        ""
    };
    format!(
        "removed {} layers, {}{rest}\n",
        removed.layers,
        size(removed.bytes)
    )
}

pub(crate) fn inspected(image: &Inspected) -> String {
    let mut out = String::new();
    let mut line = |key: &str, value: &str| {
        let _ = writeln!(out, "{key:<11} {}", printable(value));
    };
    let platforms: Vec<String> = image.platforms.iter().map(ToString::to_string).collect();
    line("name", &image.name);
    line("digest", &image.top_digest.to_string());
    line("platforms", &platforms.join(", "));
    line("chosen", &image.platform.to_string());
    line("manifest", &image.manifest_digest.to_string());
    line("config", &image.config_digest.to_string());
    match &image.policy {
        PolicySays::Admitted(by) => line(
            "policy",
            &format!("admitted by scope `{}` of: `{}`", by.scope, by.source),
        ),
        PolicySays::Refused { reason } => line("policy", &format!("refused: {reason}")),
        _ => line("policy", "none, so a pull needs --policy"),
    }
    if let Some(obstacle) = &image.obstacle {
        line("obstacle", obstacle);
    }
    let run = &image.config.config;
    for (key, values) in [
        ("entrypoint", &run.entrypoint),
        ("cmd", &run.cmd),
        ("env", &run.env),
    ] {
        if !values.is_empty() {
            line(key, &format!("{values:?}"));
        }
    }
    for (key, value) in [("user", &run.user), ("directory", &run.working_dir)] {
        if !value.is_empty() {
            line(key, value);
        }
    }
    line(
        "size",
        &format!("{} in {} layers", size(image.size), image.layers.len()),
    );
    let rows = image.layers.iter().zip(1..).map(|(layer, number): (_, usize)| {
        [
            format!("  {number}"),
            layer.digest.to_string(),
            size(layer.size),
            printable(&layer.media_type),
        ]
    });
    out + &table(rows)
}

/// What refers to an image: digest, type, size.
pub(crate) fn referrers(found: &[Descriptor]) -> String {
    let row = |entry: &Descriptor| {
        [
            entry.digest.to_string(),
            printable(entry.artifact_type.as_deref().unwrap_or("-")),
            size(entry.size),
        ]
    };
    table(found.iter().map(row))
}

/// How long ago a moment is, which is in seconds since 1970.
pub(crate) fn ago(moment: u64) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs());
    rounded(now.saturating_sub(moment))
}

fn rounded(seconds: u64) -> String {
    match seconds {
        0..60 => "now".to_owned(),
        60..3_600 => format!("{} min ago", seconds / 60),
        3_600..86_400 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

/// Columns as wide as their widest cell, two spaces apart.
pub(crate) fn table<const N: usize>(rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<[String; N]> = rows.collect();
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let mut out = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_four_digits_at_most() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_048_575, "1.0 MiB"),
            (1 << 30, "1.0 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn a_table_has_aligned_columns_and_no_trailing_space() {
        let rows = [["A", "B"], ["long", "x"], ["s", ""]].map(|row| row.map(str::to_owned));
        assert_eq!(table(rows.into_iter()), "A     B\nlong  x\ns\n");
    }

    #[test]
    fn ages_are_rounded_down() {
        for (seconds, text) in [
            (59, "now"),
            (60, "1 min ago"),
            (7_199, "1 h ago"),
            (172_800, "2 days ago"),
        ] {
            assert_eq!(rounded(seconds), text);
        }
    }
}
