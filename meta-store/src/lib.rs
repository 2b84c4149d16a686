// SPDX-License-Identifier: Apache-2.0
//! Records: the catalogue and the content store.
//!
//! A [`Store`] is one work directory. Content is made in [`Stage`]s that nobody else looks at, and
//! appears by one rename together with its record. Several processes share a store without a
//! server: the catalogue is an SQLite database, and everything else that is held is a lock on a
//! file, which ends with the process that holds it.
//!
//! ```text
//! WORK_DIR/               0700
//!   catalogue.db          images, layers, merged images, mounts
//!   catalogue.lock        held while the catalogue is opened
//!   backups/NUMBER        the catalogue as it was before a migration
//!   layers/ALG-HEX/tree   one unpacked tree per diff id
//!   layers/ALG-HEX.erofs/tree  one archive per diff id, kept with its index
//!   merged/RANDOM/image   one EROFS image over the archives of several layers
//!   staging/RANDOM/       one writer's content, with the `lock` that says it lives
//!   mounts/RANDOM/        one bundle's upper and work directories
//!   claims/ALG-HEX        held by the one who fetches a layer
//!   lock                  shared by pulls, exclusive for removal of layers
//! ```
//!
//! Nothing is trusted that is not there: a record whose tree is missing is no record, documents are
//! hashed again when they are read, and a catalogue that is damaged, altered or of a newer version
//! is refused and left as it is. After a crash of the machine, layers that [`Store::sync`] had not
//! flushed are fetched again; after a crash of a process, the next [`Store::open`] removes what it
//! left. Unpacked trees are not hashed again: the directory must be memory of the guest or an
//! encrypted disk.
//!
//! ```
//! use image_spec::Digest;
//! use meta_store::{Form, NewLayer, Store};
//!
//! let work_dir = tempfile::tempdir()?;
//! let store = Store::open(work_dir.path())?;
//! let _lease = store.lease()?;
//! let diff_id = Digest::sha256(b"the layer's tar");
//! if store.layer(&diff_id, Form::Tree)?.is_none() {
//!     let stage = store.stage()?;
//!     std::fs::create_dir(stage.path().join("tree"))?;
//!     let (form, tree, notes) = (Form::Tree, "tree".into(), Vec::new());
//!     let layer = NewLayer { diff_id, form, blob_digest: diff_id, bytes: 15, entries: 1, notes, tree };
//!     store.publish(stage, layer)?;
//! }
//! assert!(store.layer(&diff_id, Form::Tree)?.is_some_and(|layer| layer.tree.is_dir()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod backup;
mod catalogue;
mod claim;
mod collect;
mod dirs;
mod disk;
mod error;
mod flush;
mod form;
mod gc;
mod image;
mod layer;
mod lock;
mod measure;
mod merged;
mod mount;
mod place;
mod remove;
mod schema;
mod stage;
mod store;
mod usage;

pub use claim::Claim;
pub use disk::DiskUse;
pub use error::{Error, ErrorKind};
pub use form::Form;
pub use gc::{Collected, Gc};
pub use image::{ImageRecord, Removed};
pub use layer::{LayerRecord, NewLayer};
pub use merged::{Device, MergedRecord, NewMerged};
pub use mount::MountRecord;
pub use stage::Stage;
pub use store::{Lease, Store};
pub use usage::Usage;
