// SPDX-License-Identifier: Apache-2.0
//! What the stages of unpacking cost alone, and what no pipeline of them can be faster than.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::layout::layers;
use super::table::{self, median};
use crate::sh;

/// One run of the stages on a disk of its own.
#[derive(Debug, PartialEq)]
pub(super) struct Stages {
    rows: Vec<Row>,
    /// Bytes of the layers as they are stored.
    compressed: f64,
    /// Bytes of their archives.
    pub(super) inflated: f64,
    entries: f64,
}

impl Stages {
    /// What was worked on.
    pub(super) fn print(&self) -> String {
        format!(
            "{:.0} MB of layers, {:.0} MB unpacked, {} entries",
            self.compressed / 1e6,
            self.inflated / 1e6,
            self.entries
        )
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Row {
    layer: usize,
    stage: String,
    wall: f64,
    cpu: f64,
}

/// All that unpackers do.
pub(super) const UNPACK: &str = "read,blob-digest,inflate,diff-id,files";

/// What who makes no files still has to do.
pub(super) const READY: &str = "inflate,copy,diff-id";

pub(super) fn run(stages: &str, layout: &Path, folder: &Path) -> Result<Stages> {
    let mut command = sh::cmd(sh::target("release/examples/stages"), [stages]);
    command.arg(folder).args(layers(layout)?);
    parse(&sh::output(&mut command)?)
}

/// Seconds to get at the bytes of one layer after the other and to hash them: the median of runs.
/// Those that are not compressed are not inflated but copied.
pub(super) fn bytes(runs: &[Stages]) -> Option<f64> {
    median(runs.iter().map(|run| {
        let copied = |layer| {
            run.rows
                .iter()
                .any(|row| row.layer == layer && row.stage == "copy")
        };
        let counts = |row: &&Row| match row.stage.as_str() {
            "copy" | "diff-id" => true,
            "inflate" => !copied(row.layer),
            _ => false,
        };
        run.rows.iter().filter(counts).map(|row| row.wall).sum()
    }))
}

fn parse(text: &str) -> Result<Stages> {
    let mut rows = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |word: &str| {
            word.parse::<f64>()
                .with_context(|| format!("not a number: {word}"))
        };
        match words[..] {
            ["total", compressed, inflated, entries] => {
                return Ok(Stages {
                    rows,
                    compressed: number(compressed)?,
                    inflated: number(inflated)?,
                    entries: number(entries)?,
                });
            }
            [layer, stage, wall, cpu] => rows.push(Row {
                layer: layer.parse()?,
                stage: stage.to_string(),
                wall: number(wall)?,
                cpu: number(cpu)?,
            }),
            _ => bail!("not a line of stages: {line}"),
        }
    }
    bail!("stages without a total")
}

#[derive(Debug)]
pub(super) struct Floor {
    /// Name, seconds of wall and of CPU, over all layers.
    stages: Vec<(String, f64, f64)>,
    /// The longest stage over all layers: what one layer after the other cannot be faster than.
    pub(super) stage: f64,
    /// The longest stage of one layer, or all CPU time shared by all cores: what nothing can.
    pub(super) bound: f64,
    /// All of their CPU time.
    pub(super) cpu: f64,
    cores: usize,
}

impl Floor {
    /// Of the medians of runs on the same layers.
    pub(super) fn of(runs: &[Stages], cores: usize) -> Option<Floor> {
        let first = runs.first()?;
        let middle = |at: usize, value: fn(&Row) -> f64| median(runs.iter().map(|run| value(&run.rows[at])));
        let (mut stages, mut one): (Vec<(String, f64, f64)>, f64) = (Vec::new(), 0.0);
        for (at, row) in first.rows.iter().enumerate() {
            let (wall, cpu) = (middle(at, |row| row.wall)?, middle(at, |row| row.cpu)?);
            one = one.max(wall);
            match stages.iter_mut().find(|(name, ..)| *name == row.stage) {
                Some(stage) => (stage.1, stage.2) = (stage.1 + wall, stage.2 + cpu),
                None => stages.push((row.stage.clone(), wall, cpu)),
            }
        }
        let cpu = stages.iter().map(|stage| stage.2).sum::<f64>();
        Some(Floor {
            stage: stages.iter().map(|stage| stage.1).fold(0.0, f64::max),
            bound: one.max(cpu / cores as f64),
            cpu,
            cores,
            stages,
        })
    }

    pub(super) fn print(&self) -> String {
        let mut rows: Vec<Vec<String>> = Vec::new();
        for (name, wall, cpu) in &self.stages {
            rows.push(vec![
                name.clone(),
                table::number(Some(*wall)),
                table::number(Some(*cpu)),
            ]);
        }
        let (stage, bound) = (table::number(Some(self.stage)), table::number(Some(self.bound)));
        rows.push(vec!["longest stage".into(), stage, table::number(Some(self.cpu))]);
        let bound = vec![format!("floor on {} cores", self.cores), bound, String::new()];
        rows.push(bound);
        table::markdown(&["stage alone, all layers", "wall s", "CPU s"], &rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_LAYERS: &str =
        "0 inflate 2.0 2.0\n0 files 1.0 1.0\n1 inflate 1.5 1.5\n1 files 0.5 0.5\ntotal 1 2 3\n";

    #[test]
    fn the_longest_stage_is_of_all_layers_and_the_floor_of_one_or_of_all_cores() {
        let runs = [parse(TWO_LAYERS).unwrap()];
        let floor = |cores| Floor::of(&runs, cores).unwrap();
        assert_eq!((floor(1).stage, floor(1).bound), (3.5, 5.0));
        assert_eq!((floor(2).stage, floor(2).bound), (3.5, 2.5));
        assert_eq!((floor(4).stage, floor(4).bound), (3.5, 2.0));
    }

    #[test]
    fn bytes_are_inflated_or_copied_and_hashed() {
        let text = "0 inflate 2.0 0\n0 diff-id 1.0 0\n0 files 9.0 0\n\
                    1 inflate 0.5 0\n1 copy 4.0 0\n1 diff-id 0.25 0\ntotal 1 2 3\n";
        assert_eq!(bytes(&[parse(text).unwrap()]), Some(7.25));
        assert_eq!(bytes(&[]), None);
    }

    #[test]
    fn stages_that_ended_early_are_no_floor() {
        assert!(parse("0 inflate 2.0 2.0\n").is_err());
        assert!(parse("panic\ntotal 1 2 3\n").is_err());
    }
}
