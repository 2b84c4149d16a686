// SPDX-License-Identifier: Apache-2.0
//! Rows of figures beside each other, and the file that keeps them.

use std::fs;

use anyhow::{Context as _, Result};

use super::after::{After, Afterwards};
use super::clients::{Image, Source};
use super::disk::Kind;
use super::floor::{Floor, Stages};
use super::options::Table;
use super::rounds::{Row, Sample};
use super::table::{markdown, median, number, ratio};
use crate::sh;

impl Row {
    fn median(&self, value: fn(&Sample) -> f64) -> Option<f64> {
        let samples = if self.failed { &[] } else { self.samples.as_slice() };
        median(samples.iter().map(value))
    }

    fn wall(&self) -> Option<f64> {
        self.median(|sample| sample.usage.seconds)
    }

    fn synced(&self) -> Option<f64> {
        self.median(|sample| sample.synced)
    }

    fn cpu(&self) -> Option<f64> {
        self.median(|sample| sample.usage.cpu)
    }

    fn memory(&self) -> Option<f64> {
        self.median(|sample| sample.usage.memory)
    }

    fn written(&self) -> Option<f64> {
        let known = self.samples.iter().all(|sample| sample.written.is_some());
        let written = self.median(|sample| sample.written.unwrap_or(0) as f64 / 1e6);
        written.filter(|_| known)
    }

    fn spread(&self) -> String {
        let walls = self.samples.iter().map(|sample| sample.usage.seconds);
        let (low, high) = walls.fold((f64::MAX, 0.0_f64), |(low, high), wall| {
            (low.min(wall), high.max(wall))
        });
        match self.wall() {
            Some(_) => format!("{}–{}", number(Some(low)), number(Some(high))),
            None => String::new(),
        }
    }

    fn source(&self) -> &'static str {
        match self.client.source {
            Source::Layout => "layout",
            Source::Registry => "registry",
        }
    }
}

impl Afterwards {
    fn median(&self, value: fn(&After) -> f64) -> Option<f64> {
        let samples = if self.failed { &[] } else { self.samples.as_slice() };
        median(samples.iter().map(value))
    }
}

/// The first of ours that gets the image from where this one does.
fn ours<'a>(rows: &'a [Row], row: &Row) -> Option<&'a Row> {
    rows.iter()
        .find(|other| other.client.ours && other.client.source == row.client.source)
}

pub(super) fn pull(image: &Image, kind: Kind, rows: &[Row]) -> String {
    let head = [
        "client",
        "wall s",
        "of runs",
        "synced s",
        "CPU s",
        "RSS MiB",
        "written MB",
        "wall",
        "CPU",
        "RSS",
        "written",
    ];
    let cells = |row: &Row| {
        let to = |value: fn(&Row) -> Option<f64>| ratio(value(row), ours(rows, row).and_then(value));
        vec![
            row.client.name.to_string(),
            number(row.wall()),
            row.spread(),
            number(row.synced()),
            number(row.cpu()),
            number(row.memory()),
            number(row.written()),
            to(Row::wall),
            to(Row::cpu),
            to(Row::memory),
            to(Row::written),
        ]
    };
    let cells: Vec<_> = rows.iter().map(cells).collect();
    format!(
        "### {}, {}\n\n{}",
        image.name,
        kind.name(),
        markdown(&head, &cells)
    )
}

pub(super) fn unpack(image: &Image, kind: Kind, rows: &[Row], size: &Stages, floor: &Floor) -> String {
    let head = [
        "client", "from", "wall s", "of runs", "synced s", "CPU s", "RSS MiB", "calls", "MB/s", "to stage",
        "to floor", "to ours",
    ];
    let cells = |row: &Row| {
        vec![
            row.client.name.to_string(),
            row.source().to_string(),
            number(row.wall()),
            row.spread(),
            number(row.synced()),
            number(row.cpu()),
            number(row.memory()),
            row.calls.map_or("n/a".into(), |calls| calls.to_string()),
            number(row.wall().map(|wall| size.inflated / 1e6 / wall)),
            ratio(row.wall(), Some(floor.stage)),
            ratio(row.wall(), Some(floor.bound)),
            ratio(row.wall(), ours(rows, row).and_then(Row::wall)),
        ]
    };
    let cells: Vec<_> = rows.iter().map(cells).collect();
    format!(
        "### {}, {}\n\n{}.\n\n{}\n{}",
        image.name,
        kind.name(),
        size.print(),
        markdown(&head, &cells),
        floor.print(),
    )
}

/// `floor` is in seconds.
pub(super) fn ready(image: &Image, kind: Kind, rows: &[Row], size: &Stages, floor: f64) -> String {
    let head = [
        "client",
        "from",
        "wall s",
        "of runs",
        "synced s",
        "CPU s",
        "RSS MiB",
        "written MB",
        "to floor",
        "wall",
        "synced",
        "CPU",
        "RSS",
        "written",
    ];
    let cells = |row: &Row| {
        let to = |value: fn(&Row) -> Option<f64>| ratio(value(row), ours(rows, row).and_then(value));
        vec![
            row.client.name.to_string(),
            row.source().to_string(),
            number(row.wall()),
            row.spread(),
            number(row.synced()),
            number(row.cpu()),
            number(row.memory()),
            number(row.written()),
            ratio(row.wall(), Some(floor)),
            to(Row::wall),
            to(Row::synced),
            to(Row::cpu),
            to(Row::memory),
            to(Row::written),
        ]
    };
    let cells: Vec<_> = rows.iter().map(cells).collect();
    format!(
        "### {}, {}\n\n{}, floor {} s.\n\n{}",
        image.name,
        kind.name(),
        size.print(),
        number(Some(floor)),
        markdown(&head, &cells),
    )
}

/// Ratios are to the tree of files that the last client of each image made.
pub(super) fn afterwards(found: &[(&Image, Kind, Vec<Afterwards>)]) -> String {
    let head = [
        "image",
        "made by",
        "files",
        "MB",
        "cold s",
        "warm s",
        "removal s",
        "cold",
        "warm",
        "removal",
    ];
    let mut cells = Vec::new();
    for (image, kind, rows) in found {
        let tree = rows.last();
        for row in rows {
            let read = row.samples.first().map(|sample| sample.read).unwrap_or_default();
            let seconds = |value: fn(&After) -> f64| number(row.median(value));
            let to =
                |value: fn(&After) -> f64| ratio(row.median(value), tree.and_then(|tree| tree.median(value)));
            cells.push(vec![
                format!("{}, {}", image.name, kind.name()),
                row.client.name.to_string(),
                read.files.to_string(),
                number(Some(read.bytes as f64 / 1e6)),
                seconds(|sample| sample.cold),
                seconds(|sample| sample.warm),
                seconds(|sample| sample.removal),
                to(|sample| sample.cold),
                to(|sample| sample.warm),
                to(|sample| sample.removal),
            ]);
        }
    }
    format!("### Afterwards\n\n{}", markdown(&head, &cells))
}

/// What the columns mean.
pub(super) fn legend(table: Table) -> &'static str {
    match table {
        Table::Pull => {
            "Medians. `synced` is the time until a sync after the end is done, `written` what has reached the disk \
             then. CPU and RSS are of all of a client's processes that it waits for, of containerd's daemon and its \
             client together; RSS is of the largest process. The last four columns are ratios to image-client. It \
             and umoci end with a bundle, podman and containerd with layers that are not mounted yet."
        }
        Table::Unpack => {
            "Medians. `synced` is the time until a sync after the end is done. System calls are counted in a run of \
             their own, on the first file system. `MB/s` is of unpacked bytes. `to stage` is the ratio to the longest \
             stage measured alone, the time of all layers added; `to floor` that to the longest stage of one layer \
             or all stages' CPU time divided by the cores, whichever is longer: no pipeline with one thread for each \
             stage of a layer can be faster. Stages are measured on the same bytes, in turns with the clients, \
             without the network and without a sync. `to ours` is the ratio to the first of ours that reads from the \
             same place. Ours pulls with the snapshotter that unpacks."
        }
        Table::Ready => {
            "Medians. From nothing to a root file system that is mounted, with the two ways of ours: `erofs` keeps the \
             archives of layers and mounts them, `overlay` unpacks them. umoci ends with a bundle too, podman and \
             containerd with layers that are not mounted yet. `synced`, `written`, CPU and RSS are as for pulls. The \
             floor is inflating the layers and SHA-256 of their archives, in one thread, in memory, and in turns with \
             the clients; for layers without compression it is writing a copy of them to the disk and SHA-256. `to \
             floor` is the ratio of `wall` to it. The last five columns are ratios to our `erofs` from the same place.\n\n\
             Afterwards: all files of the tree are read, one after the other in the order of their folders. `cold` is \
             when neither the tree's nor its disk's file system has anything in memory; the disk itself lies in memory, \
             so that neither seeks nor its speed count. `warm` is the same once more. \
             `removal` is unmounting the bundle and removing the image from the store, until nothing of it is there. The \
             last three columns are ratios to the tree that `overlay` made of files. These pulls are made after all the \
             others."
        }
    }
}

const FILE: &str = "docs/benchmarks.md";

const TITLE: &str = "# Benchmarks

Figures of one machine at one time: what lasts are the ratios in a table. Every run gets a file system
made for it, clients take turns, the registry is on the same machine and its own time is not counted.
As root:

```sh
cargo xtask bench --write          # pulls beside other clients
cargo xtask bench unpack --write   # unpacking beside what its stages cost alone
cargo xtask bench ready --write    # from nothing to a mounted tree, reading it, removing it
cargo xtask bench fetch --write    # one large blob, fetched and verified
```
";

/// Puts a table's text between its marks in the file.
pub(super) fn write(name: &str, text: &str) -> Result<()> {
    let path = sh::root().join(FILE);
    let old = fs::read_to_string(&path).unwrap_or_else(|_| TITLE.to_string());
    fs::write(&path, replace(&old, name, text)).with_context(|| format!("cannot write {FILE}"))
}

fn replace(old: &str, name: &str, text: &str) -> String {
    let (begin, end) = (format!("<!-- {name}: begin -->"), format!("<!-- {name}: end -->"));
    let section = format!("{begin}\n{text}\n{end}");
    match (old.split_once(&begin), old.split_once(&end)) {
        (Some((before, _)), Some((_, after))) => format!("{before}{section}{after}"),
        _ => format!("{}\n\n{section}\n", old.trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::replace;

    #[test]
    fn a_section_is_added_once_and_replaced_from_then_on() {
        let one = replace("title\n", "pull", "first");
        let two = replace(&one, "unpack", "other");
        let three = replace(&two, "pull", "second");
        assert_eq!(three, two.replace("first", "second"));
        assert!(three.starts_with("title\n") && three.contains("\nother\n"));
    }
}
