// SPDX-License-Identifier: Apache-2.0
//! A folder as `skopeo copy … dir:` writes it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image_spec::{Algorithm, Descriptor, Digest, MAX_MANIFEST};

use super::extent::Extent;
use super::folder::Folder;
use super::{Place, Stop, source};
use crate::error::clean;
use crate::{Error, ErrorKind, Fetched, Target};

const MANIFEST: &str = "manifest.json";
/// Bytes of `version`; the real one has 33.
const MAX_VERSION: u64 = 4 << 10;
/// What the file `version` begins with, where there is one: skopeo itself does not ask for it.
const VERSION: &[u8] = b"Directory Transport Version: 1.";

/// One image as plain files (containers-transports(5), `dir:`): `manifest.json` as the registry
/// had it, blobs under the hexadecimal digits of their digests, and `<hex>.manifest.json` for what
/// an index lists. `<algorithm>-<hex>` is looked for, too, where the digest is not SHA-256.
///
/// The folder's own path may have symbolic links; inside, they are refused, and so is everything
/// else that is no regular file. What is read is verified like a registry's answers. Signatures
/// that lie beside are not looked at.
#[derive(Clone, Debug)]
pub struct Dir {
    place: Arc<Plain>,
}

impl Dir {
    /// Opens the folder. Blocks.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) without folder or `manifest.json`, [`Io`](ErrorKind::Io),
    /// [`Unsupported`](ErrorKind::Unsupported) for a version other than 1.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref().to_owned();
        let plain = Plain::open(path.clone())
            .map_err(|error| error.doing(|| format!("folder `{}`", path.display())))?;
        Ok(Self {
            place: Arc::new(plain),
        })
    }
}

source!(Dir);

#[derive(Debug)]
struct Plain {
    folder: Folder,
}

impl Plain {
    fn open(path: PathBuf) -> Result<Self, Error> {
        let folder = Folder::at(path)?;
        match folder.open(&["version"]) {
            Ok(version) => {
                let text = version.read(MAX_VERSION)?;
                if !text.starts_with(VERSION) {
                    let text = String::from_utf8_lossy(&text);
                    return Err(Error::unsupported(format!(
                        "folder of another version: `{}`",
                        clean(&text)
                    )));
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        match folder.open(&[MANIFEST]) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let message = "not an image in a folder: no file `manifest.json`";
                Err(Error::new(ErrorKind::NotFound, message).because(error))
            }
            outcome => outcome.map(|_| Self { folder }),
        }
    }

    /// The first of these files that there is.
    fn first(&self, names: &[String]) -> Result<Extent, Error> {
        let mut outcome = Err(Error::new(ErrorKind::NotFound, "no such file"));
        for name in names {
            outcome = self.folder.open(&[name]);
            match &outcome {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                _ => break,
            }
        }
        outcome
    }

    fn by_digest(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        let top = self.folder.open(&[MANIFEST])?.read(MAX_MANIFEST)?;
        if Digest::of(digest.algorithm(), &top) == *digest {
            return Ok(top);
        }
        let names = names(digest).map(|name| format!("{name}.{MANIFEST}"));
        let bytes = self.first(&names)?.read(MAX_MANIFEST)?;
        match Digest::of(digest.algorithm(), &bytes) {
            found if found == *digest => Ok(bytes),
            found => {
                let message = format!("its bytes have another digest than `{digest}`: `{found}`");
                Err(Error::new(ErrorKind::Digest, message))
            }
        }
    }
}

impl Place for Plain {
    fn document(&self, target: &Target, _: &Stop) -> Result<Fetched, Error> {
        let bytes = match target {
            Target::Only | Target::Number(0) => self.folder.open(&[MANIFEST])?.read(MAX_MANIFEST)?,
            Target::Digest(digest) => self.by_digest(digest)?,
            Target::Tag(_) | Target::Number(_) => {
                return Err(Error::new(
                    ErrorKind::NotFound,
                    "it holds one image, without a name",
                ));
            }
        };
        let digest = match target {
            Target::Digest(digest) => *digest,
            _ => Digest::sha256(&bytes),
        };
        Ok(Fetched {
            bytes: bytes.into(),
            digest,
            media_type: None,
        })
    }

    fn find(&self, digest: &Digest, _: &Stop) -> Result<Extent, Error> {
        self.first(&names(digest))
    }

    fn names(&self) -> Result<Vec<String>, Error> {
        Ok(Vec::new())
    }

    fn referrers(&self, _: &Digest, _: &Stop) -> Result<Vec<Descriptor>, Error> {
        Ok(Vec::new())
    }
}

/// The names that a file may have by its digest. None can hold anything but hexadecimal digits, an
/// algorithm's name and a hyphen.
fn names(digest: &Digest) -> [String; 2] {
    let (algorithm, hex) = (digest.algorithm(), digest.hex());
    let long = format!("{}-{hex}", algorithm.as_str());
    match algorithm {
        Algorithm::Sha256 => [hex, long],
        _ => [long, hex],
    }
}

impl fmt::Display for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "folder `{}`", self.folder.path().display())
    }
}
