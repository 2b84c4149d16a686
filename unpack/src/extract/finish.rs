// SPDX-License-Identifier: Apache-2.0
//! The end of a layer: directories get their metadata, and the notes are written.

use crate::dirs::{Id, ROOT};
use crate::tar::Meta;
use crate::{Error, Notes, Whiteouts, files, metadata};

use super::Extractor;

/// What a directory gets that no entry describes.
const IMPLIED_MODE: u32 = 0o755;

impl Extractor {
    /// Describes the directories, now that nothing more changes in them, and collects the notes.
    pub(super) fn finish(&mut self) -> Result<Notes, Error> {
        let mut notes = Notes::default();
        for id in self.dirs.inner_first() {
            self.finish_directory(id, &mut notes)
                .map_err(|e| e.at(&self.dirs.path(id)))?;
        }
        notes.implied.reverse();
        notes.whiteouts.reverse();
        let mut links: Vec<_> = std::mem::take(&mut self.links).into_iter().collect();
        links.sort_by_key(|(_, (place, _))| *place);
        for ((directory, name), (_, target)) in links {
            let path = self.dirs.path_of(directory, &name);
            // What lower layers have under the very name shows by itself, unless its directory hides it.
            let shows = path == target && !self.dirs.node(directory).alone;
            if !shows && self.is_missing(directory, &name)? {
                notes.links.push((path, target));
            }
        }
        Ok(notes)
    }

    fn finish_directory(&mut self, id: Id, notes: &mut Notes) -> Result<(), Error> {
        let fd = self.dirs.fd(id)?;
        let node = self.dirs.node(id);
        let (meta, new, lower_time) = (node.meta.take(), node.new, node.lower_time);
        let (opaque, whiteouts) = (node.opaque, node.whiteouts);
        if self.whiteouts == Whiteouts::Overlay {
            let mut note = |wanted: bool, paths: &mut Vec<Vec<u8>>| {
                if wanted {
                    let path = self.dirs.path(id);
                    self.dirs.remember(path.len())?;
                    paths.push(path);
                }
                Ok(())
            };
            note(meta.is_none() && !new, &mut notes.implied)?;
            note(whiteouts, &mut notes.whiteouts)?;
            match (opaque, id) {
                (false, _) => {}
                // Overlayfs has no opaque root: the layers below are left out instead.
                (true, ROOT) => notes.opaque_root = true,
                (true, _) => metadata::set_opaque(&fd)?,
            }
        }
        self.plain &= !meta.as_ref().is_some_and(metadata::passes_on);
        match (meta, lower_time) {
            (None, Some(time)) if !new => metadata::set_time(&fd, time),
            (meta, _) => {
                if lower_time.is_some() {
                    metadata::renew(&fd)?;
                }
                let implied = Meta {
                    mode: IMPLIED_MODE,
                    ..Meta::default()
                };
                self.metadata.set(&fd, &meta.unwrap_or(implied), false)
            }
        }
    }

    /// Whether the directory is still there, and no later entry of the layer made something in it
    /// under this name.
    fn is_missing(&mut self, directory: Id, name: &[u8]) -> Result<bool, Error> {
        if self.dirs.node(directory).removed {
            return Ok(false);
        }
        let fd = self.dirs.fd(directory)?;
        let stat = files::stat(&fd, name).map_err(|e| Error::io("look up a hard link", e))?;
        Ok(stat.is_none())
    }
}
