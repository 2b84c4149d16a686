// SPDX-License-Identifier: Apache-2.0
//! The store's images and bundles after the pull.

use std::path::Path;
use std::sync::Arc;

use image_spec::{Digest, ImageConfig};
use serde::Serialize;

use crate::client::Client;
use crate::error::{Action, Error, ErrorKind, Fault};
use crate::folder;
use crate::mount;
use crate::name::ImageName;
use crate::threads::blocking;

/// An image of the store.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Stored {
    /// The full name.
    pub name: String,
    /// The digest of what the name stood for: a manifest or an index.
    pub top_digest: Digest,
    /// The manifest's digest.
    pub manifest_digest: Digest,
    /// The platform of the image.
    pub platform: String,
    /// Bytes of config and layers as the manifest announces them.
    pub size: u64,
    /// Bytes on disk of its layers, in all the forms they are kept in, and of what was merged of them. Layers that
    /// images share count for each; [`Client::disk_bytes`] counts them once.
    pub disk_bytes: u64,
    /// How many layers it has.
    pub layers: usize,
    /// When it was pulled, in seconds since 1970.
    pub created: u64,
    /// When it was last asked for, in seconds since 1970.
    pub last_used: u64,
    /// Whether [`Client::gc`] keeps it.
    pub pinned: bool,
}

/// What removing an image freed.
#[derive(Clone, Copy, Debug, Serialize)]
#[non_exhaustive]
pub struct Removed {
    /// Layers removed, as no other image needs them.
    pub layers: u64,
    /// Bytes of their archives.
    pub bytes: u64,
    /// More layers will be removed when the pulls that are running now have ended.
    pub deferred: bool,
}

impl Client {
    /// The store's images, by name.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn images(&self) -> Result<Vec<Stored>, Error> {
        // Where nothing was ever pulled there is nothing to list, and looking makes no store.
        if !self.shared.work_dir().exists() {
            return Ok(Vec::new());
        }
        self.on_store(|store| {
            let used = store.disk_use()?;
            let stored = |record: meta_store::ImageRecord| Stored {
                layers: ImageConfig::parse(&record.config).map_or(0, |config| config.rootfs.diff_ids.len()),
                disk_bytes: used.images.get(&record.name).copied().unwrap_or(0),
                name: record.name,
                top_digest: record.top_digest,
                manifest_digest: record.manifest_digest,
                platform: record.platform,
                size: record.size,
                created: record.created,
                last_used: record.last_used,
                pinned: record.pinned,
            };
            Ok(store.images()?.into_iter().map(stored).collect())
        })
        .await
        .map_err(|fault| Error::new(Action::List, "", fault))
    }

    /// Bytes on disk of all layers in the store, each once, and of what was merged of them; also of layers that no
    /// image names, as an interrupted pull leaves them for the next.
    pub async fn disk_bytes(&self) -> Result<u64, Error> {
        if !self.shared.work_dir().exists() {
            return Ok(0);
        }
        self.on_store(|store| Ok(store.disk_use()?.total))
            .await
            .map_err(|fault| Error::new(Action::List, "", fault))
    }

    /// Removes an image, and the layers which no other image and no mounted bundle needs.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for an unknown image, [`ErrorKind::Busy`] for one that a mounted bundle uses.
    pub async fn remove(&self, image: &ImageName) -> Result<Removed, Error> {
        let wanted = image.clone();
        self.on_store(move |store| {
            let name = stored_name(&wanted);
            let users: Vec<String> = store
                .mounts()?
                .into_iter()
                .filter(|mount| mount.image == name)
                .map(|mount| format!("`{}`", mount.bundle.display()))
                .collect();
            if !users.is_empty() {
                return Err(Fault::new(
                    ErrorKind::Busy,
                    format!("the image is in use by: {}", users.join(", ")),
                ));
            }
            let removed = store.remove_image(&name)?;
            if !removed.found {
                return Err(Fault::new(
                    ErrorKind::NotFound,
                    format!("the store has no image named: `{name}`"),
                ));
            }
            Ok(Removed {
                layers: removed.layers,
                bytes: removed.bytes,
                deferred: removed.deferred,
            })
        })
        .await
        .map_err(|fault| Error::new(Action::Remove, image, fault))
    }

    /// Unmounts a bundle which [`pull`](Self::pull) made, and removes what that put there and changed since.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for a bundle the store does not know; [`ErrorKind::Mount`] when it cannot be
    /// unmounted, then the bundle and its record stay.
    pub async fn unmount(&self, bundle: impl AsRef<Path>) -> Result<(), Error> {
        let wanted = bundle.as_ref().to_path_buf();
        self.on_store(move |store| mount::unmount(store, &folder::absolute(&wanted)?))
            .await
            .map_err(|fault| Error::new(Action::Unmount, bundle.as_ref().display(), fault))
    }

    pub(crate) async fn on_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&meta_store::Store) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let work_dir = self.shared.work_dir();
        if !work_dir.exists() {
            let text = format!("there is no store in: `{}`", work_dir.display());
            return Err(Fault::new(ErrorKind::NotFound, text));
        }
        let store = self.shared.store().await?;
        let store = Arc::clone(&store);
        blocking(move || work(&store)).await
    }
}

/// The name under which a pull recorded the image.
pub(crate) fn stored_name(image: &ImageName) -> String {
    match image.path() {
        Some(path) => {
            let real = folder::absolute(path).unwrap_or_else(|_| path.to_path_buf());
            image.clone().at(real).to_string()
        }
        None => image.to_string(),
    }
}
