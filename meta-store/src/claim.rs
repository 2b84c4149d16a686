// SPDX-License-Identifier: Apache-2.0
//! One flight per layer: of all who want a layer, one fetches it and the others wait.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use image_spec::Digest;
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::dirs::{Dirs, c_name, file_name};
use crate::error::Error;
use crate::{lock, remove};

const CLAIM: &str = "cannot claim a layer";

/// The right to fetch one layer, held against every thread and process on this store until dropped
/// or killed.
///
/// Whoever gets it asks [`Store::layer`](crate::Store::layer) once more: another may have published
/// it meanwhile.
#[derive(Debug)]
pub struct Claim {
    claims: OwnedFd,
    name: CString,
    _lock: File,
}

impl Claim {
    /// One attempt; `None` when another has the claim, or had it while this one waited.
    pub(crate) fn attempt(dirs: &Dirs, diff_id: &Digest, wait: bool) -> Result<Option<Claim>, Error> {
        let name = file_name(diff_id);
        Claim::make(dirs, c_name(&name), wait)
            .map_err(|source| Error::io(CLAIM, &dirs.path.join("claims").join(name), source))
    }

    fn make(dirs: &Dirs, name: CString, wait: bool) -> io::Result<Option<Claim>> {
        let lock = lock::open(&dirs.claims, &name)?;
        if wait {
            lock::exclusive(&lock)?;
        } else if !lock::try_exclusive(&lock)? {
            return Ok(None);
        }
        // Who had it before has unlinked the file; the claim is then on a newer one.
        if !lock::in_place(&lock, &dirs.claims, &name)? {
            return Ok(None);
        }
        Ok(Some(Claim {
            claims: dirs.claims.try_clone()?,
            name,
            _lock: lock,
        }))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Unlinked while locked, so that nobody's claim on a newer file of this name is lost.
        let _ = unlinkat(&self.claims, self.name.as_c_str(), UnlinkatFlags::NoRemoveDir);
    }
}

/// Removes the lock files of the killed.
pub(crate) fn sweep(dirs: &Dirs) -> Result<(), Error> {
    let path = dirs.path.join("claims");
    let failed = |source: io::Error| Error::io("cannot sweep claims", &path, source);
    for name in remove::names(&dirs.claims).map_err(|errno| failed(errno.into()))? {
        match lock::open(&dirs.claims, &name) {
            Ok(file) => {
                let free = lock::try_exclusive(&file).map_err(failed)?;
                if free && lock::in_place(&file, &dirs.claims, &name).map_err(failed)? {
                    remove::remove_tree(&dirs.claims, &name).map_err(failed)?;
                }
            }
            // Nothing but lock files is ever made here.
            Err(_) => remove::remove_tree(&dirs.claims, &name).map_err(failed)?,
        }
    }
    Ok(())
}
