// SPDX-License-Identifier: Apache-2.0
//! From layers in the store to a bundle that runs, and back.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image_spec::ImageConfig;
use meta_store::{Form, Store};
use snapshot::Snapshotter;
use snapshot::bundle::{self, Made, Options};

use crate::error::{ErrorKind, Fault};
use crate::folder::NewFolders;

/// The snapshotter's part of a mount's state.
const STATE: &str = "snapshot";
/// The file in a mount's state that says which folders of the bundle the pull made.
const MADE: &str = "made";
const ROOTFS: &str = "rootfs";

/// What a bundle is made of.
#[derive(Debug)]
pub(crate) struct Recipe<'a> {
    /// The bundle's absolute path.
    pub(crate) bundle: &'a Path,
    /// The image's name in the store.
    pub(crate) image: &'a str,
    pub(crate) config: &'a ImageConfig,
    /// How the store keeps the config's layers.
    pub(crate) form: Form,
    /// The same for the snapshotter.
    pub(crate) layers: &'a [snapshot::Layer],
}

/// A mounted bundle. Unless it is kept, it is undone.
#[derive(Debug)]
pub(crate) struct Bundle {
    store: Arc<Store>,
    snapshotter: Arc<dyn Snapshotter>,
    path: PathBuf,
    state: PathBuf,
    made: Option<Made>,
    kept: bool,
    // Removed last, after the bundle's own folders.
    above: NewFolders,
}

impl Bundle {
    /// Mounts the layers at `rootfs` and writes `config.json`; after an error nothing of it is left.
    pub(crate) fn make(
        store: Arc<Store>,
        snapshotter: Arc<dyn Snapshotter>,
        recipe: &Recipe<'_>,
    ) -> Result<Self, Fault> {
        let mut above = NewFolders::default();
        if let Some(parent) = recipe.bundle.parent() {
            above.make(parent)?;
        }
        // First of all the record: of two pulls into one bundle only one gets it, and the other touches nothing.
        let mount = store.begin_mount(
            recipe.bundle,
            snapshotter.name(),
            recipe.form,
            &recipe.config.rootfs.diff_ids,
            recipe.image,
        )?;
        let path = recipe.bundle.to_path_buf();
        let mut this = Self {
            store,
            snapshotter,
            path,
            state: mount.state,
            made: None,
            kept: false,
            above,
        };
        let made = *this.made.insert(bundle::prepare(recipe.bundle)?);
        save(made, &this.state)?;
        let (state, rootfs) = (this.state.join(STATE), this.path.join(ROOTFS));
        fs::create_dir(&state).map_err(|e| Fault::io(format!("make folder `{}`", state.display()), e))?;
        this.snapshotter.mount(recipe.layers, &state, &rootfs)?;
        bundle::write_with(recipe.bundle, recipe.config, &rootfs, &options(recipe.config))?;
        Ok(this)
    }

    /// Leaves the bundle to its user.
    pub(crate) fn keep(mut self) {
        self.kept = true;
        std::mem::take(&mut self.above).keep();
    }

    fn undo(&self) -> Result<(), Fault> {
        if let Some(made) = self.made {
            self.snapshotter
                .unmount(&self.state.join(STATE), &self.path.join(ROOTFS))?;
            bundle::remove(&self.path, made)?;
        }
        self.store.end_mount(&self.path)?;
        Ok(())
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        if let Err(fault) = self.undo() {
            // The record stays, so that `unmount` can try again.
            tracing::warn!(bundle = %self.path.display(), error = fault.to_line(), "cannot undo a bundle");
        }
    }
}

/// Whether the image can become a bundle, as far as that can be told without its files.
pub(crate) fn check_config(config: &ImageConfig) -> Result<(), Fault> {
    let options = options(config);
    if options.command.is_some() {
        tracing::warn!("the image names no command: `process.args` of the bundle is empty");
    }
    Ok(bundle::check_config(config, &options)?)
}

/// An image without a command is data; who made it knows how to use it.
fn options(config: &ImageConfig) -> Options {
    let mut options = Options::default();
    if config.config.entrypoint.is_empty() && config.config.cmd.is_empty() {
        options.command = Some(Vec::new());
    }
    options
}

/// Undoes a bundle which a pull made, also a half-made one of a process that died.
pub(crate) fn unmount(store: &Store, path: &Path) -> Result<(), Fault> {
    let Some(record) = store.mount_of(path)? else {
        let text = format!("the store knows no such bundle: `{}`", path.display());
        return Err(Fault::new(ErrorKind::NotFound, text));
    };
    let name = &record.snapshotter;
    let Some(snapshotter) = snapshot::by_name(name) else {
        let text = format!("unknown snapshotter: `{}`", name.escape_default());
        return Err(Fault::new(ErrorKind::Unsupported(name.clone()), text));
    };
    // Without the note the pull died before it owned anything in the bundle.
    if let Some(made) = load(&record.state)? {
        snapshotter.unmount(&record.state.join(STATE), &path.join(ROOTFS))?;
        bundle::remove(path, made)?;
    }
    store.end_mount(path)?;
    Ok(())
}

fn save(made: Made, state: &Path) -> Result<(), Fault> {
    let file = state.join(MADE);
    let words = [(made.bundle, "bundle\n"), (made.rootfs, "rootfs\n")];
    let text: String = words
        .into_iter()
        .filter_map(|(made, word)| made.then_some(word))
        .collect();
    fs::write(&file, text).map_err(|e| Fault::io(format!("write `{}`", file.display()), e))
}

fn load(state: &Path) -> Result<Option<Made>, Fault> {
    let file = state.join(MADE);
    match fs::read_to_string(&file) {
        Ok(text) => {
            let has = |word| text.lines().any(|line| line == word);
            Ok(Some(Made {
                bundle: has("bundle"),
                rootfs: has("rootfs"),
            }))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Fault::io(format!("read `{}`", file.display()), e)),
    }
}
