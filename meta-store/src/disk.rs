// SPDX-License-Identifier: Apache-2.0
//! What images take on disk.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use image_spec::{Digest, RootFs};
use nix::errno::Errno;
use rusqlite::{Connection, Row};

use crate::dirs::layer_name;
use crate::error::Error;
use crate::layer::{bounded, digest};
use crate::measure::measure;
use crate::{Form, Store};

const READ: &str = "cannot read what images take on disk";
const MEASURE: &str = "cannot measure a layer";

/// Bytes on disk, as the file system has allocated them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskUse {
    /// All layers in all their forms and all merged images, each once; also what no image names.
    pub total: u64,
    /// By the image's name: its layers in all their forms, and the merged images of them. What
    /// images share counts for each.
    pub images: BTreeMap<String, u64>,
}

impl Store {
    /// What the store's images take on disk, without the catalogue and without what bundles have
    /// written.
    ///
    /// An unpacked tree is walked once, when this is first asked after it was published; until that
    /// ends no layer is removed.
    pub fn disk_use(&self) -> Result<DiskUse, Error> {
        self.measure_new()?;
        self.read(|db| {
            let mut used = DiskUse::default();
            let layers = "SELECT diff_id, disk_bytes FROM layers WHERE disk_bytes IS NOT NULL";
            let layers = self.sizes(db, layers, &mut used.total)?;
            let merged = "SELECT chain_id, disk_bytes FROM merged";
            let merged = self.sizes(db, merged, &mut used.total)?;
            for (image, diff_ids) in self.diff_ids(db)? {
                let once: BTreeSet<Digest> = diff_ids.iter().copied().collect();
                let layers = once.iter().filter_map(|diff_id| layers.get(diff_id));
                let chain = RootFs::new(diff_ids).chain_id();
                let merged = chain.and_then(|chain| merged.get(&chain));
                let bytes = layers
                    .chain(merged)
                    .fold(0, |sum: u64, size| sum.saturating_add(*size));
                used.images.insert(image, bytes);
            }
            Ok(used)
        })
    }

    /// Measures the trees that nobody has measured yet.
    fn measure_new(&self) -> Result<(), Error> {
        let waiting = || {
            self.read(|db| {
                let sql = "SELECT id, diff_id, form FROM layers WHERE disk_bytes IS NULL";
                let mut statement = db.prepare(sql).map_err(self.sql(READ))?;
                let read = |row: &Row<'_>| Ok((row.get(0)?, digest(row, 1)?, Form::read(row, 2)?));
                let rows = statement.query_map([], read);
                let rows: rusqlite::Result<Vec<(i64, Digest, Form)>> = rows.and_then(Iterator::collect);
                rows.map_err(self.sql(READ))
            })
        };
        if waiting()?.is_empty() {
            return Ok(());
        }
        let _lease = self.lease()?;
        for (id, diff_id, form) in waiting()? {
            let name = layer_name(&diff_id, form);
            let bytes = match self
                .dirs
                .open_layer(&diff_id, form)
                .and_then(|layer| measure(layer, c"tree"))
            {
                Ok(bytes) => bytes,
                // A record without its tree, which whoever asks for it removes.
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => continue,
                Err(errno) => {
                    let path = self.dirs.path.join("layers").join(Path::new(&name));
                    return Err(Error::io(MEASURE, &path, errno));
                }
            };
            self.write(|tx| {
                let sql = "UPDATE layers SET disk_bytes = ?2 WHERE id = ?1";
                tx.execute(sql, (id, bounded(bytes))).map_err(self.sql(READ))
            })?;
        }
        Ok(())
    }

    /// The sizes by digest, several of one digest summed.
    fn sizes(&self, db: &Connection, sql: &str, total: &mut u64) -> Result<HashMap<Digest, u64>, Error> {
        let mut sizes = HashMap::new();
        let mut statement = db.prepare(sql).map_err(self.sql(READ))?;
        let read = |row: &Row<'_>| Ok((digest(row, 0)?, crate::layer::count(row, 1)?));
        for row in statement.query_map([], read).map_err(self.sql(READ))? {
            let (digest, bytes) = row.map_err(self.sql(READ))?;
            let sum: &mut u64 = sizes.entry(digest).or_default();
            *sum = sum.saturating_add(bytes);
            *total = total.saturating_add(bytes);
        }
        Ok(sizes)
    }

    /// The layers of each image, bottom first; images without layers too.
    fn diff_ids(&self, db: &Connection) -> Result<BTreeMap<String, Vec<Digest>>, Error> {
        let sql =
            "SELECT name, diff_id FROM images LEFT JOIN image_layers ON image = name ORDER BY name, position";
        let mut images: BTreeMap<String, Vec<Digest>> = BTreeMap::new();
        let mut statement = db.prepare(sql).map_err(self.sql(READ))?;
        let read = |row: &Row<'_>| {
            let layer = row.get::<_, Option<String>>(1)?.map(|_| digest(row, 1));
            Ok((row.get(0)?, layer.transpose()?))
        };
        for row in statement.query_map([], read).map_err(self.sql(READ))? {
            let (image, layer) = row.map_err(self.sql(READ))?;
            images.entry(image).or_default().extend(layer);
        }
        Ok(images)
    }
}
