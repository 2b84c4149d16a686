// SPDX-License-Identifier: Apache-2.0
//! The same layers on disk and in memory.

use std::path::Path;

use unpack::{Error, ErrorKind, Layer, Notes, Root, Unpacked, Whiteouts};

use super::program::Program;
use super::tree::Tree;
use super::{apply, stack};

/// How a program ended, on disk as in memory.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All layers were applied.
    Applied,
    /// A layer was refused.
    Refused,
}

/// Applies a program to a new folder at `path` and to the model.
///
/// # Errors
/// What differs, and in which layer.
pub fn check(program: &Program, path: &Path) -> Result<Outcome, String> {
    let root = Root::create(path).map_err(|e| e.to_string())?;
    let mut tree = Tree::new();
    for (i, (entries, tar)) in program.layers.iter().zip(program.tars()).enumerate() {
        let at = |what: String| format!("layer {i}: {what}");
        let done = Layer::new(&root).whiteouts(Whiteouts::Remove).unpack(&tar[..]);
        let mut layer = apply::Layer::new(&mut tree);
        let refused = entries.iter().position(|entry| layer.apply(entry).is_err());
        let dropped = layer.dropped;
        if let Some(place) = refused {
            refused_at(&entries[place].name, done).map_err(at)?;
            return Ok(Outcome::Refused);
        }
        let done = done.map_err(|e| at(failed(&e)))?;
        let (have, want) = (fixture::tree(path), tree.to_string());
        if have != want {
            return Err(at(format!("on disk\n{have}in the model\n{want}")));
        }
        if (done.dropped_xattrs, &done.notes) != (dropped, &Notes::default()) {
            return Err(at(format!("{dropped} attributes should be dropped: {done:?}")));
        }
    }
    Ok(Outcome::Applied)
}

/// The same for layers that are unpacked each alone, for overlayfs, into folders in a new one at
/// `path`, and then put upon one another with their notes.
///
/// # Errors
/// What differs, and in which layer.
pub fn check_stacked(program: &Program, path: &Path) -> Result<Outcome, String> {
    std::fs::create_dir(path).map_err(|e| e.to_string())?;
    let (mut tree, mut stacked) = (Tree::new(), Tree::new());
    for (i, (entries, tar)) in program.layers.iter().zip(program.tars()).enumerate() {
        let at = |what: String| format!("layer {i} alone: {what}");
        let alone = path.join(i.to_string());
        let done = Root::create(&alone).and_then(|root| Layer::new(&root).unpack(&tar[..]));
        let mut layer = apply::Layer::new(&mut tree);
        if entries.iter().any(|entry| layer.apply(entry).is_err()) {
            // What it is refused for may be in the layers below.
            return match done {
                Err(e) if !matches!(e.kind(), ErrorKind::Refused(_)) => Err(at(failed(&e))),
                _ => Ok(Outcome::Refused),
            };
        }
        let notes = done.map_err(|e| at(failed(&e)))?.notes;
        stack::put(&mut stacked, &alone, &notes).map_err(at)?;
        let (have, want) = (stacked.to_string(), tree.to_string());
        if have != want {
            let alone = fixture::tree(&alone);
            return Err(at(format!(
                "{notes:?}\n{alone}stacked\n{have}in the model\n{want}"
            )));
        }
    }
    Ok(Outcome::Applied)
}

fn refused_at(name: &[u8], done: Result<Unpacked, Error>) -> Result<(), String> {
    let shown = name.escape_ascii();
    match done {
        Ok(_) => Err(format!("should be refused at `{shown}`")),
        Err(e) if !matches!(e.kind(), ErrorKind::Refused(_)) => Err(failed(&e)),
        Err(e) if e.entry() != Some(name) => Err(format!("refused at another entry than `{shown}`: {e}")),
        Err(_) => Ok(()),
    }
}

fn failed(error: &Error) -> String {
    format!("fails: {error}: {:?}", error.io_error())
}
