// SPDX-License-Identifier: Apache-2.0
//! OCI runtime bundles: `config.json` beside a root filesystem.
//!
//! The order of work is [`check_config`] and [`prepare`] before anything is mounted, the mount at
//! `BUNDLE/rootfs`, then [`write()`]; [`remove`] takes back what [`prepare`] and [`write()`] made.
//!
//! The document follows image-spec, conversion.md. Where that leaves a choice:
//!
//! - `process.args` is Entrypoint and Cmd; an image with neither is refused unless
//!   [`Options::command`] says what to run.
//! - `process.env` is verbatim; `PATH` is added if the image has none. `HOME` is left to the runtime,
//!   which knows the user that really runs.
//! - `process.user` comes from the image's own `/etc/passwd` and `/etc/group`, read inside the root
//!   filesystem. Digits are always a number, never a name. Without a group in the config, the group
//!   and supplementary groups of the user are taken, for numeric users too (config.md). The primary
//!   group always is among the supplementary ones, so that it cannot be shed (CVE-2023-25173).
//! - Labels become annotations and win over derived ones. They are text: those that would instruct a
//!   runtime are left out, with a warning.
//! - A volume becomes a tmpfs, after all other mounts, with the owner and mode of the image's
//!   directory. Where the image has content there is no mount, which would hide it: the root
//!   filesystem is private to the container as well.
//! - The container has its own pid, network, ipc, uts, mount and cgroup namespaces, no new privileges,
//!   no terminal, and the eleven capabilities that all common engines grant; none is inheritable.
mod accounts;
mod convert;
mod defaults;
mod place;
mod user;
mod volumes;

use std::path::Path;

use image_spec::ImageConfig;
use image_spec::runtime::Spec;

use crate::{Error, ErrorKind, dir};

pub use place::{Made, check_unused, prepare, remove};

/// What a caller may decide about a bundle.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Options {
    /// Runs in place of the image's Entrypoint and Cmd. An empty one is written as it is, for callers
    /// that complete the document themselves; no runtime starts it.
    pub command: Option<Vec<String>>,
}

/// Checks what can be checked without the root filesystem, so before it is mounted.
///
/// # Errors
/// As [`write()`], except what depends on the image's files.
pub fn check_config(config: &ImageConfig, options: &Options) -> Result<(), Error> {
    convert::process(config, options)?;
    user::parse(&config.config.user)?;
    volumes::destinations(&config.config.volumes)?;
    convert::annotations(config).map(drop)
}

/// Makes `BUNDLE/config.json` for `config`, whose tree is at `rootfs`, and gives what it holds.
///
/// The document appears at once, complete, with mode 0600; one that exists is never replaced.
///
/// # Errors
/// - `NoCommand` if the image names no command.
/// - `Config` for a relative directory or one with `..`, a volume over `/`, `/proc`, `/sys` or `/dev`,
///   text with a zero byte.
/// - `User` if the user or group is unknown or out of range, or the image's account files are unfit.
/// - `Unsupported` for an image of another system than Linux.
/// - `Occupied` if there is a `config.json` already.
pub fn write(bundle: &Path, config: &ImageConfig, rootfs: &Path) -> Result<Spec, Error> {
    write_with(bundle, config, rootfs, &Options::default())
}

/// As [`write()`], with choices of the caller.
///
/// # Errors
/// As [`write()`].
pub fn write_with(
    bundle: &Path,
    config: &ImageConfig,
    rootfs: &Path,
    options: &Options,
) -> Result<Spec, Error> {
    let bundle_dir = dir::open_dir(bundle)?;
    let root = dir::open_dir(rootfs)?;
    let mut process = convert::process(config, options)?;
    process.user = user::resolve(&user::parse(&config.config.user)?, &root)?;
    let mut spec = defaults::spec(root_path(bundle, rootfs)?);
    spec.process = Some(process);
    spec.mounts.extend(volumes::mounts(
        &volumes::destinations(&config.config.volumes)?,
        &root,
    )?);
    spec.annotations = convert::annotations(config)?;
    place::save(&bundle_dir, bundle, &spec.to_vec())?;
    Ok(spec)
}

/// The root's path as the document has it: relative if it is in the bundle.
fn root_path(bundle: &Path, rootfs: &Path) -> Result<String, Error> {
    let path = match rootfs.strip_prefix(bundle) {
        Ok(inside) => inside.to_owned(),
        Err(_) => crate::error::Context::at(std::path::absolute(rootfs), "make an absolute path of", rootfs)?,
    };
    path.into_os_string().into_string().map_err(|path| {
        let path = crate::error::quoted(&path);
        Error::new(
            ErrorKind::Config,
            format!("path is no UTF-8, which config.json needs: `{path}`"),
        )
    })
}
