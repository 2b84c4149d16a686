// SPDX-License-Identifier: Apache-2.0
//! The same layers on disk and in memory.

use std::path::Path;

use unpack::{Error, ErrorKind, Layer, Notes, Root, Unpacked, Whiteouts};

use super::apply;
use super::program::Program;
use super::tree::Tree;

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
