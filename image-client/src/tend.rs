// SPDX-License-Identifier: Apache-2.0
//! Keeping a store in order: what takes room, what may go, which bundles are there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use meta_store::{Form, Gc, Store};
use serde::Serialize;

use crate::client::Client;
use crate::error::{Action, Error, ErrorKind, Fault};
use crate::manage::stored_name;
use crate::name::ImageName;
use crate::space;
use crate::threads::blocking;

/// Which images [`Client::gc`] removes besides what nothing needs. By default none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// Not those that nobody has asked for in so long.
    pub younger_than: Option<Duration>,
    /// Of the others the ones asked for last, as long as the store takes at most so many bytes on disk.
    pub within_bytes: Option<u64>,
}

/// What [`Client::gc`] did.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Collected {
    /// The names of the images that were removed.
    pub images: Vec<String>,
    /// Bytes on disk that came free.
    pub freed: u64,
    /// Bytes on disk that layers take now, which may be more than asked for: pinned images and those of bundles stay.
    pub disk_bytes: u64,
    /// More will go when the pulls that are running now have ended.
    pub deferred: bool,
}

/// What a store takes, in bytes as the file system has allocated them.
#[derive(Clone, Copy, Debug, Serialize)]
#[non_exhaustive]
pub struct Usage {
    /// Images, by their names.
    pub images: u64,
    /// Layers, each of the forms that one is kept in counted.
    pub layers: u64,
    /// Bundles.
    pub bundles: u64,
    /// Layers and what was merged of them.
    pub layers_bytes: u64,
    /// Of these, layers that no image names: an interrupted pull's, or still needed by a bundle.
    pub unnamed_bytes: u64,
    /// What bundles have written.
    pub bundles_bytes: u64,
    /// What pulls are writing now.
    pub staging_bytes: u64,
    /// The catalogue.
    pub catalogue_bytes: u64,
    /// What the file system has left, if it tells.
    pub free_bytes: Option<u64>,
}

/// A bundle of the store.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Mounted {
    /// The bundle's folder.
    pub bundle: PathBuf,
    /// The image's full name.
    pub image: String,
    /// What made the root file system.
    pub snapshotter: String,
    /// How many layers it has.
    pub layers: usize,
    /// Whether its layers are archives, not unpacked ones.
    pub archives: bool,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// Whether the root file system is mounted: not after the machine has started anew, and never for copies.
    pub mounted: bool,
}

impl Client {
    /// Removes what nothing needs, and images as `keep` says, first those that were asked for longest ago. Pinned
    /// images and those of bundles stay.
    ///
    /// # Errors
    /// The store cannot be read or changed.
    pub async fn gc(&self, keep: Keep) -> Result<Collected, Error> {
        let gc = Gc {
            unused_for: keep.younger_than.map(|age| age.as_secs()),
            max_bytes: keep.within_bytes,
        };
        let collected = self.on_store(move |store| Ok(store.gc(&gc)?)).await;
        let collected = collected.map_err(|fault| self.about_store(Action::Collect, fault))?;
        Ok(Collected {
            images: collected.images,
            freed: collected.freed,
            disk_bytes: collected.bytes,
            deferred: collected.deferred,
        })
    }

    /// What the store takes.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn usage(&self) -> Result<Usage, Error> {
        let work_dir = self.shared.work_dir().to_path_buf();
        let usage = self.on_store(move |store| {
            let usage = store.usage()?;
            Ok(Usage {
                images: usage.images,
                layers: usage.layers,
                bundles: usage.bundles,
                layers_bytes: usage.layers_bytes,
                unnamed_bytes: usage.unnamed_bytes,
                bundles_bytes: usage.bundles_bytes,
                staging_bytes: usage.staging_bytes,
                catalogue_bytes: usage.catalogue_bytes,
                free_bytes: space::free(&work_dir),
            })
        });
        usage
            .await
            .map_err(|fault| self.about_store(Action::Measure, fault))
    }

    /// The bundles of the store, also those that a process left which died.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn mounts(&self) -> Result<Vec<Mounted>, Error> {
        if !self.shared.work_dir().exists() {
            return Ok(Vec::new());
        }
        let mounts = self.on_store(|store| {
            let mounted = |record: meta_store::MountRecord| Mounted {
                mounted: is_mount_point(&record.bundle.join("rootfs")),
                bundle: record.bundle,
                image: record.image,
                snapshotter: record.snapshotter,
                layers: record.layers.len(),
                archives: record.form == Form::Erofs,
                created: record.created,
            };
            Ok(store.mounts()?.into_iter().map(mounted).collect())
        });
        mounts
            .await
            .map_err(|fault| self.about_store(Action::List, fault))
    }

    /// Keeps an image from [`gc`](Self::gc), or no longer.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for an unknown image.
    pub async fn pin(&self, image: &ImageName, pinned: bool) -> Result<(), Error> {
        let name = stored_name(image);
        let done = self.on_store(move |store| match store.pin(&name, pinned)? {
            true => Ok(()),
            false => Err(Fault::new(
                ErrorKind::NotFound,
                format!("the store has no image named: `{name}`"),
            )),
        });
        done.await.map_err(|fault| Error::new(Action::Pin, image, fault))
    }

    /// Gives the store back the catalogue that it had before this or an earlier run of a newer version migrated it,
    /// for an older version to use. Answers the number of the catalogue's schema.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if nothing was migrated, [`ErrorKind::Busy`] while the store is in use.
    pub async fn rollback(work_dir: impl AsRef<Path>) -> Result<u32, Error> {
        let wanted = work_dir.as_ref().to_path_buf();
        let done = blocking(move || {
            if !wanted.exists() {
                return Err(Fault::new(ErrorKind::NotFound, "there is no store"));
            }
            Store::rollback(&wanted).map_err(|error| {
                let kind = match error.kind() {
                    meta_store::ErrorKind::Missing => Some(ErrorKind::NotFound),
                    meta_store::ErrorKind::Busy => Some(ErrorKind::Busy),
                    _ => None,
                };
                let fault = Fault::from(error);
                match kind {
                    Some(kind) => fault.with_kind(kind),
                    None => fault,
                }
            })
        });
        done.await
            .map_err(|fault| Error::new(Action::RollBack, work_dir.as_ref().display(), fault))
    }

    fn about_store(&self, action: Action, fault: Fault) -> Error {
        Error::new(action, self.shared.work_dir().display(), fault)
    }
}

/// A mount point lies on another file system than what holds it.
fn is_mount_point(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| std::fs::symlink_metadata(path).ok().map(|found| found.dev());
    let above = path.parent().and_then(device);
    device(path).is_some_and(|own| Some(own) != above)
}
