// SPDX-License-Identifier: Apache-2.0
//! The end of a layer: directories get their metadata, and the notes are written.

use crate::dirs::{Id, Missing, ROOT};
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
        for (name, (_, target)) in links {
            if !self.exists(&name)? {
                notes.links.push((name, target));
            }
        }
        Ok(notes)
    }

    fn finish_directory(&mut self, id: Id, notes: &mut Notes) -> Result<(), Error> {
        let fd = self.dirs.fd(id)?;
        let node = self.dirs.node(id);
        let (meta, found, lower_time) = (node.meta.take(), node.found, node.lower_time);
        let (implied, opaque, hides) = (meta.is_none(), node.opaque, node.whiteouts);
        if self.whiteouts == Whiteouts::Overlay {
            let mut note = |wanted: bool, paths: &mut Vec<Vec<u8>>| {
                if wanted {
                    let path = self.dirs.path(id);
                    self.dirs.remember(path.len())?;
                    paths.push(path);
                }
                Ok(())
            };
            note(implied, &mut notes.implied)?;
            note(hides, &mut notes.whiteouts)?;
            match (opaque, id) {
                (false, _) => {}
                // Overlayfs has no opaque root: the layers below are left out instead.
                (true, ROOT) => notes.opaque_root = true,
                (true, _) => metadata::set_opaque(&fd)?,
            }
        }
        self.plain &= !meta.as_ref().is_some_and(metadata::passes_on);
        match (meta, lower_time) {
            (None, Some(time)) => metadata::set_time(&fd, time),
            (meta, _) => {
                if found {
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

    /// Whether a later entry of the layer made something under this path.
    fn exists(&mut self, path: &[u8]) -> Result<bool, Error> {
        let components: Vec<&[u8]> = path.split(|b| *b == b'/').collect();
        let Some((name, parents)) = components.split_last() else {
            return Ok(false);
        };
        let Some(parent) = self.dirs.walk(parents, Missing::Stop)? else {
            return Ok(true);
        };
        let fd = self.dirs.fd(parent)?;
        let stat = files::stat(&fd, name).map_err(|e| Error::io("look up a hard link", e))?;
        Ok(stat.is_some_and(|stat| !files::is_whiteout(&stat)))
    }
}
