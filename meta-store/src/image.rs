// SPDX-License-Identifier: Apache-2.0
//! Images: what a name stood for when it was pulled, with the very bytes.

use image_spec::{Algorithm, Digest, ImageConfig, MAX_CONFIG, MAX_MANIFEST};
use rusqlite::{Connection, Params, Row, named_params};

use crate::error::{Error, ErrorKind};
use crate::layer::{bounded, count, digest};
use crate::{Form, Store, collect};

/// Bytes of an image's name: a reference has at most 1 KiB, a file path 4 KiB.
const MAX_NAME: usize = 8 << 10;
/// All that a name may hold a digest of.
const ALGORITHMS: [Algorithm; 3] = [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512];
/// Bytes of a platform's text.
const MAX_PLATFORM: usize = 1 << 10;
const READ: &str = "cannot read an image's record";
const WRITE: &str = "cannot record an image";

/// An image as it was received. The documents are raw, so that they can be hashed, and admitted by
/// a policy, again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRecord {
    /// The canonical reference, or the name of a layout's image; one record per name.
    pub name: String,
    /// Digest of `top`.
    pub top_digest: Digest,
    /// Digest of `manifest`.
    pub manifest_digest: Digest,
    /// Digest of `config`.
    pub config_digest: Digest,
    /// What the name led to: an index, or the manifest itself.
    pub top: Vec<u8>,
    /// The platform's manifest.
    pub manifest: Vec<u8>,
    /// The image config.
    pub config: Vec<u8>,
    /// The platform chosen, as text.
    pub platform: String,
    /// Bytes of config and layers as the manifest announces them.
    pub size: u64,
    /// When the image was pulled, in seconds since 1970.
    pub created: u64,
    /// When the image was last asked for, in seconds since 1970.
    pub last_used: u64,
    /// Whether [`Store::gc`] keeps it. [`Store::put_image`] takes this for a new name only.
    pub pinned: bool,
}

/// What [`Store::remove_image`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Whether there was an image of that name.
    pub found: bool,
    /// Layers removed now; one that was there in two forms counts twice.
    pub layers: u64,
    /// Bytes of their tars.
    pub bytes: u64,
    /// Layers that nothing needs were left for a later opening, because somebody held a lease.
    pub deferred: bool,
}

impl Store {
    /// Records an image, in place of an older one of the same name.
    ///
    /// # Errors
    /// `Invalid` unless each document has its digest and bounds, and the config is one; `Missing`
    /// when one of the layers that the config names is in the store in no form.
    pub fn put_image(&self, image: &ImageRecord) -> Result<(), Error> {
        if image.name.is_empty() || image.name.len() > MAX_NAME || image.platform.len() > MAX_PLATFORM {
            return Err(Error::new(
                ErrorKind::Invalid,
                "an image's name or platform is out of bounds",
                image.name.len(),
            ));
        }
        if let Some(document) = altered(image) {
            let cause = format!("the {document} does not have its digest or is too large");
            return Err(Error::new(ErrorKind::Invalid, WRITE, &image.name).caused(cause));
        }
        let config = ImageConfig::parse(&image.config)
            .map_err(|source| Error::new(ErrorKind::Invalid, WRITE, &image.name).caused(source))?;
        let _lease = self.lease()?;
        self.write(|tx| {
            for diff_id in &config.rootfs.diff_ids {
                self.require_layer(tx, diff_id, None)?;
            }
            collect::release(self, tx, &image.name)?;
            self.upsert(tx, image)?;
            self.put_digests(tx, image)?;
            let sql = "INSERT INTO image_layers (image, position, diff_id) VALUES (?1, ?2, ?3)";
            for (position, diff_id) in (0i64..).zip(&config.rootfs.diff_ids) {
                tx.execute(sql, (&image.name, position, diff_id.to_string()))
                    .map_err(self.sql(WRITE))?;
            }
            Ok(())
        })
    }

    /// The image of that name.
    ///
    /// # Errors
    /// `Corrupt` when a document no longer has its digest; pull the image again, which replaces the
    /// record.
    pub fn image(&self, name: &str) -> Result<Option<ImageRecord>, Error> {
        self.read(|db| Ok(self.select(db, "WHERE name = ?1", [name])?.pop()))
    }

    /// The image with this manifest or this top document, the last used if several names have it. Each is
    /// known by its digest in every algorithm.
    pub fn image_by_digest(&self, digest: &Digest) -> Result<Option<ImageRecord>, Error> {
        Ok(self.images_by_digest(digest)?.pop())
    }

    /// All images with this manifest or this top document, the last used at the end: one index may have been
    /// pulled for several platforms.
    pub fn images_by_digest(&self, digest: &Digest) -> Result<Vec<ImageRecord>, Error> {
        let filter = "WHERE manifest_digest = ?1 OR top_digest = ?1
                         OR name IN (SELECT image FROM image_digests WHERE digest = ?1)
                      ORDER BY last_used, created, name DESC";
        self.read(|db| self.select(db, filter, [digest.to_string()]))
    }

    /// All images, by name.
    pub fn images(&self) -> Result<Vec<ImageRecord>, Error> {
        self.read(|db| self.select(db, "ORDER BY name", []))
    }

    /// Notes that the image is asked for now. Unknown names are ignored.
    pub fn touch(&self, name: &str) -> Result<(), Error> {
        self.write(|tx| {
            let sql = "UPDATE images SET last_used = ?2 WHERE name = ?1";
            tx.execute(sql, (name, crate::store::now()))
                .map_err(self.sql(WRITE))
                .map(drop)
        })
    }

    /// Removes the record, and the layers, in all their forms, that no image and no mount needs any more, unless
    /// somebody holds a lease.
    pub fn remove_image(&self, name: &str) -> Result<Removed, Error> {
        let found = self.write(|tx| {
            collect::release(self, tx, name)?;
            tx.execute("DELETE FROM images WHERE name = ?1", [name])
                .map_err(self.sql("cannot remove an image"))
        })?;
        Ok(Removed {
            found: found > 0,
            ..self.collect()?
        })
    }

    fn upsert(&self, db: &Connection, image: &ImageRecord) -> Result<(), Error> {
        let sql = "INSERT INTO images
                   (name, top_digest, manifest_digest, config_digest, top, manifest, config, platform, size, created,
                    last_used, pinned)
                   VALUES (:name, :top_digest, :manifest_digest, :config_digest, :top, :manifest, :config, :platform,
                           :size, :created, :last_used, :pinned)
                   ON CONFLICT (name) DO UPDATE SET
                   top_digest = :top_digest, manifest_digest = :manifest_digest, config_digest = :config_digest,
                   top = :top, manifest = :manifest, config = :config, platform = :platform, size = :size,
                   created = :created, last_used = :last_used";
        let values = named_params! {
            ":name": image.name,
            ":top_digest": image.top_digest.to_string(),
            ":manifest_digest": image.manifest_digest.to_string(),
            ":config_digest": image.config_digest.to_string(),
            ":top": (image.top != image.manifest).then_some(&image.top),
            ":manifest": image.manifest,
            ":config": image.config,
            ":platform": image.platform,
            ":size": bounded(image.size),
            ":created": bounded(image.created),
            ":last_used": bounded(image.last_used),
            ":pinned": image.pinned,
        };
        db.execute(sql, values).map_err(self.sql(WRITE)).map(drop)
    }

    /// The documents' digests in the algorithms that their own are not of.
    fn put_digests(&self, db: &Connection, image: &ImageRecord) -> Result<(), Error> {
        db.execute("DELETE FROM image_digests WHERE image = ?1", [&image.name])
            .map_err(self.sql(WRITE))?;
        let sql = "INSERT OR IGNORE INTO image_digests (digest, image) VALUES (?1, ?2)";
        for (bytes, own) in [
            (&image.top, &image.top_digest),
            (&image.manifest, &image.manifest_digest),
        ] {
            for algorithm in ALGORITHMS.into_iter().filter(|other| *other != own.algorithm()) {
                let digest = Digest::of(algorithm, bytes).to_string();
                db.execute(sql, (digest, &image.name)).map_err(self.sql(WRITE))?;
            }
        }
        Ok(())
    }

    fn select(&self, db: &Connection, filter: &str, params: impl Params) -> Result<Vec<ImageRecord>, Error> {
        let sql = format!(
            "SELECT name, top_digest, manifest_digest, config_digest, coalesce(top, manifest), manifest, config,
                    platform, size, created, last_used, pinned FROM images {filter}"
        );
        let mut statement = db.prepare(&sql).map_err(self.sql(READ))?;
        let found = statement.query_map(params, record).map_err(self.sql(READ))?;
        let images: Vec<ImageRecord> = found.collect::<Result<_, _>>().map_err(self.sql(READ))?;
        match images
            .iter()
            .find_map(|image| altered(image).map(|document| (image, document)))
        {
            None => Ok(images),
            Some((image, document)) => {
                let cause = format!("the stored {document} does not have its digest");
                Err(Error::new(ErrorKind::Corrupt, READ, &image.name).caused(cause))
            }
        }
    }

    /// Inside a transaction: the layer's record is there and so is its tree, in this form or in any.
    pub(crate) fn require_layer(
        &self,
        db: &Connection,
        diff_id: &Digest,
        form: Option<Form>,
    ) -> Result<(), Error> {
        let sql = "SELECT form, boot FROM layers WHERE diff_id = ?1";
        let mut statement = db.prepare(sql).map_err(self.sql(READ))?;
        let read = |row: &Row<'_>| Ok((Form::read(row, 0)?, row.get::<_, Option<String>>(1)?));
        let rows = statement
            .query_map([diff_id.to_string()], read)
            .map_err(self.sql(READ))?;
        for row in rows {
            let (own, boot) = row.map_err(self.sql(READ))?;
            if form.is_none_or(|form| form == own) && self.is_sound(diff_id, own, boot.as_deref()) {
                return Ok(());
            }
        }
        Err(Error::new(
            ErrorKind::Missing,
            "a layer is not in the store",
            diff_id,
        ))
    }
}

/// Names the first document that is not what its digest says.
fn altered(image: &ImageRecord) -> Option<&'static str> {
    let documents = [
        ("top document", &image.top, &image.top_digest, MAX_MANIFEST),
        ("manifest", &image.manifest, &image.manifest_digest, MAX_MANIFEST),
        ("config", &image.config, &image.config_digest, MAX_CONFIG),
    ];
    let sound = |bytes: &[u8], digest: &Digest, cap| {
        bytes.len() as u64 <= cap && Digest::of(digest.algorithm(), bytes) == *digest
    };
    documents
        .into_iter()
        .find(|(_, bytes, digest, cap)| !sound(bytes, digest, *cap))
        .map(|(name, ..)| name)
}

fn record(row: &Row<'_>) -> rusqlite::Result<ImageRecord> {
    Ok(ImageRecord {
        name: row.get(0)?,
        top_digest: digest(row, 1)?,
        manifest_digest: digest(row, 2)?,
        config_digest: digest(row, 3)?,
        top: row.get(4)?,
        manifest: row.get(5)?,
        config: row.get(6)?,
        platform: row.get(7)?,
        size: count(row, 8)?,
        created: count(row, 9)?,
        last_used: count(row, 10)?,
        pinned: row.get(11)?,
    })
}
