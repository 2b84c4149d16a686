// SPDX-License-Identifier: Apache-2.0
//! The same layers kept as archives with an index, mounted by the kernel.

use std::fs;
use std::path::{Path, PathBuf};

use unpack::erofs::{Blocks, INDEX, Source, merge};
use unpack::{ErrorKind, Layer, Notes, Root};

use crate::images::{mounted, own_devices};
use crate::model::{Model, Outcome, Program};

/// Keeps each layer of a program in a folder of a new one at `path`. Mounted, its index must show what
/// the layer unpacks to for overlayfs, and the merged indexes what the model says.
///
/// # Errors
/// What differs, and in which layer.
pub fn check_kept(program: &Program, path: &Path) -> Result<Outcome, String> {
    fs::create_dir(path).map_err(|e| e.to_string())?;
    let mut tree = Model::new();
    let mut kept: Vec<(PathBuf, Notes)> = Vec::new();
    for (i, (entries, tar)) in program.layers.iter().zip(program.tars()).enumerate() {
        let at = |what: String| format!("layer {i}: {what}");
        let (alone, dir) = (path.join(format!("tree-{i}")), path.join(i.to_string()));
        let unpacked = Root::create(&alone).and_then(|root| Layer::new(&root).unpack(&tar[..]));
        let done = Root::create(&dir).and_then(|root| Layer::new(&root).keep(&tar[..]));
        let refused = !tree.apply(entries);
        let (unpacked, done) = match (unpacked, done) {
            (Ok(unpacked), Ok(done)) => (unpacked, done),
            // What it is refused for may be in the layers below.
            (Err(a), Err(b)) if a.to_string() == b.to_string() && refused => return Ok(Outcome::Refused),
            (a, b) => {
                return Err(at(format!("unpacked: {a:?}\nkept: {b:?}")));
            }
        };
        if format!("{unpacked:?}") != format!("{done:?}") {
            return Err(at(format!("unpacked {unpacked:?}\nkept {done:?}")));
        }
        let shown = mounted(&dir.join(INDEX), &own_devices(&dir), listing);
        let want = listing(&alone);
        if shown != want {
            return Err(at(format!("mounted\n{shown}unpacked\n{want}")));
        }
        kept.push((dir, done.notes));

        let layers: Vec<Source<'_>> = kept.iter().map(|(dir, notes)| Source { dir, notes }).collect();
        let image = path.join(format!("image-{i}"));
        let merged = merge(&layers, Blocks::Small, &image);
        if refused {
            return match merged {
                Err(e) if !matches!(e.kind(), ErrorKind::Refused(_)) => Err(at(format!("merging: {e:?}"))),
                _ => Ok(Outcome::Refused),
            };
        }
        let merged = merged.map_err(|e| at(format!("merging: {e:?}")))?;
        let (have, want) = (
            mounted(&image, &merged.devices, |root| fixture::tree(root)),
            tree.to_string(),
        );
        if have != want {
            return Err(at(format!("merged\n{have}in the model\n{want}")));
        }
    }
    Ok(Outcome::Applied)
}

/// A tree without what a whiteout has besides its name.
fn listing(root: &Path) -> String {
    let line = |line: &str| match line.split_once(" char 0000 0:0 0:0 ") {
        Some((path, _)) => format!("{path} whiteout\n"),
        None => format!("{line}\n"),
    };
    fixture::tree(root).lines().map(line).collect()
}
