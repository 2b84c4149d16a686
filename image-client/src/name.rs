// SPDX-License-Identifier: Apache-2.0
//! How a person names an image: a reference in a registry, or a place on this machine.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use image_spec::{Digest, Reference};

/// The longest image name taken, in bytes: a path (4096 by the kernel), a reference and the prefix.
const MAX_NAME: usize = 8192;
/// The longest entry name inside a layout, in bytes; no tool writes more than a full reference here.
const MAX_ENTRY: usize = 1024;

/// Ways to name an image which other tools know and this crate does not serve.
const UNSUPPORTED: &[&str] = &[
    "aci",
    "appc",
    "atomic",
    "cimd",
    "containers-storage",
    "docker-daemon",
    "oci",
    "ostree",
    "sif",
    "tarball",
];

/// The name of an image as a user writes it.
///
/// ```
/// use image_client::ImageName;
/// let name: ImageName = "busybox".parse()?;
/// assert_eq!(name.to_string(), "docker.io/library/busybox:latest");
/// let name: ImageName = "oci-layout:/a:b/c:tag".parse()?;
/// assert!(matches!(name, ImageName::Layout { .. }));
/// # Ok::<(), image_client::NameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ImageName {
    /// `[docker://]REF`: an image in a registry.
    Registry(Reference),
    /// `oci-layout:PATH[:ENTRY|@DIGEST]`: an image in an OCI layout folder.
    Layout {
        /// The folder that holds `oci-layout` and `index.json`.
        path: PathBuf,
        /// Which image of it.
        entry: Entry,
    },
    /// `oci-archive:FILE[:ENTRY|@DIGEST]`: an image in a tar file of an OCI layout.
    Archive {
        /// The tar file.
        path: PathBuf,
        /// Which image of it.
        entry: Entry,
    },
    /// `docker-archive:FILE[:REF|:@NUMBER]`: an image in a tar file that `docker save` or `podman save` wrote. As in
    /// their own grammar the path ends at the first `:`; one that holds a `:` is not served.
    DockerArchive {
        /// The tar file.
        path: PathBuf,
        /// Which image of it; a name is a whole reference.
        entry: Entry,
    },
    /// `dir:PATH`: the image in a folder that `skopeo copy` wrote. All of the text is the path.
    Dir {
        /// The folder that holds `manifest.json`.
        path: PathBuf,
    },
}

/// Which image of a layout or archive is meant.
///
/// In text an entry's name follows the last `:` after the last `/`, so a name which itself holds a `/` can only
/// be given here or by its digest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Entry {
    /// The only one there is; anything else is an error.
    Only,
    /// The one whose `org.opencontainers.image.ref.name` is this.
    Named(String),
    /// The one with this digest.
    Digest(Digest),
    /// The one at this place of the list, counted from 0: `:@NUMBER` in text.
    Number(usize),
}

/// Why a text names no image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The text is empty, or has an empty path or entry.
    #[error("incomplete image name: `{0}`")]
    Incomplete(String),
    /// The text is longer than any name can be.
    #[error("image name too long: {0} bytes")]
    TooLong(usize),
    /// A known way to name an image which is not served here; the value is its prefix.
    #[error("unsupported kind of image name: `{0}`")]
    Unsupported(String),
    /// The digest after `@` is none.
    #[error("bad digest in image name: `{text}`")]
    Digest {
        /// The whole name.
        text: String,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The entry name holds control characters or is too long.
    #[error("bad entry name: `{}`", .0.escape_debug())]
    Entry(String),
    /// A short name that stands for none or for too many by the configuration.
    #[error("cannot tell what a short name means: `{text}`")]
    Short {
        /// The name.
        text: String,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Not a reference by the grammar of registries.
    #[error("bad image reference: `{text}`")]
    Reference {
        /// The reference.
        text: String,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl FromStr for ImageName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Incomplete(String::new()));
        }
        if text.len() > MAX_NAME {
            return Err(NameError::TooLong(text.len()));
        }
        if let Some(rest) = text.strip_prefix("oci-layout:") {
            let (path, entry) = split_entry(text, rest)?;
            return Ok(Self::Layout { path, entry });
        }
        if let Some(rest) = text.strip_prefix("oci-archive:") {
            let (path, entry) = split_entry(text, rest)?;
            return Ok(Self::Archive { path, entry });
        }
        if let Some(rest) = text.strip_prefix("docker-archive:") {
            let (path, entry) = split_reference(text, rest)?;
            return Ok(Self::DockerArchive { path, entry });
        }
        if let Some(rest) = text.strip_prefix("dir:") {
            let path = PathBuf::from(rest);
            return match rest.is_empty() {
                true => Err(NameError::Incomplete(text.to_owned())),
                false => Ok(Self::Dir { path }),
            };
        }
        if let Some(rest) = text.strip_prefix("docker://") {
            return reference(rest);
        }
        if let Some((scheme, rest)) = text.split_once(':')
            && (rest.starts_with("//") || UNSUPPORTED.contains(&scheme))
        {
            return Err(NameError::Unsupported(format!("{scheme}:")));
        }
        reference(text)
    }
}

impl ImageName {
    /// The path of a place on this machine.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Registry(_) => None,
            Self::Layout { path, .. }
            | Self::Archive { path, .. }
            | Self::DockerArchive { path, .. }
            | Self::Dir { path } => Some(path),
        }
    }

    /// The same image by another path to its place.
    pub(crate) fn at(mut self, other: PathBuf) -> Self {
        match &mut self {
            Self::Registry(_) => {}
            Self::Layout { path, .. }
            | Self::Archive { path, .. }
            | Self::DockerArchive { path, .. }
            | Self::Dir { path } => *path = other,
        }
        self
    }
}

impl From<Reference> for ImageName {
    fn from(reference: Reference) -> Self {
        Self::Registry(reference)
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(reference) => write!(f, "{reference}"),
            Self::Layout { path, entry } => write!(f, "oci-layout:{}{entry}", path.display()),
            Self::Archive { path, entry } => write!(f, "oci-archive:{}{entry}", path.display()),
            Self::DockerArchive { path, entry } => write!(f, "docker-archive:{}{entry}", path.display()),
            Self::Dir { path } => write!(f, "dir:{}", path.display()),
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Only => Ok(()),
            Self::Named(name) => write!(f, ":{name}"),
            Self::Digest(digest) => write!(f, "@{digest}"),
            Self::Number(number) => write!(f, ":@{number}"),
        }
    }
}

fn reference(text: &str) -> Result<ImageName, NameError> {
    match text.parse() {
        Ok(reference) => Ok(ImageName::Registry(reference)),
        Err(source) => Err(NameError::Reference {
            text: text.to_owned(),
            source: Box::<image_spec::Error>::new(source),
        }),
    }
}

/// Splits `PATH[:ENTRY|@DIGEST]`; only what stands after the last `/` can be an entry, as a path may hold both.
fn split_entry(text: &str, rest: &str) -> Result<(PathBuf, Entry), NameError> {
    let incomplete = || NameError::Incomplete(text.to_owned());
    let leaf = rest.rfind('/').map_or(0, |slash| slash + 1);
    let (folder, leaf) = rest.split_at(leaf);
    let (last, entry) = if let Some((last, number)) = leaf.rsplit_once(":@") {
        (last, Entry::Number(place(number)?))
    } else if let Some((last, digest)) = leaf.split_once('@') {
        let digest = digest.parse::<Digest>().map_err(|source| NameError::Digest {
            text: text.to_owned(),
            source: Box::new(source),
        })?;
        (last, Entry::Digest(digest))
    } else if let Some((last, name)) = leaf.rsplit_once(':') {
        if name.is_empty() {
            return Err(incomplete());
        }
        if name.len() > MAX_ENTRY || name.chars().any(char::is_control) {
            return Err(NameError::Entry(name.to_owned()));
        }
        (last, Entry::Named(name.to_owned()))
    } else {
        (leaf, Entry::Only)
    };
    let path = format!("{folder}{last}");
    if path.is_empty() {
        Err(incomplete())
    } else {
        Ok((PathBuf::from(path), entry))
    }
}

/// Splits `PATH[:REF|:@NUMBER]` at the first colon. The reference is kept in its full form, in which it is compared.
fn split_reference(text: &str, rest: &str) -> Result<(PathBuf, Entry), NameError> {
    let (path, entry) = match rest.split_once(':') {
        None => (rest, Entry::Only),
        Some((path, entry)) => match entry.strip_prefix('@') {
            Some(number) => (path, Entry::Number(place(number)?)),
            None => {
                let source = match entry.parse::<Reference>() {
                    Ok(reference) if reference.digest().is_none() => {
                        return match path.is_empty() {
                            true => Err(NameError::Incomplete(text.to_owned())),
                            false => Ok((path.into(), Entry::Named(reference.to_string()))),
                        };
                    }
                    Ok(_) => "an archive has names with tags, not with digests".into(),
                    Err(source) => Box::<image_spec::Error>::new(source) as _,
                };
                let text = entry.to_owned();
                return Err(NameError::Reference { text, source });
            }
        },
    };
    match path.is_empty() {
        true => Err(NameError::Incomplete(text.to_owned())),
        false => Ok((path.into(), entry)),
    }
}

/// Digits and nothing else.
fn place(text: &str) -> Result<usize, NameError> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let number = if digits { text.parse().ok() } else { None };
    number.ok_or_else(|| NameError::Entry(format!("@{text}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_name_is_read_and_printed_in_its_full_form() {
        let digest = format!("oci-layout:./x@{DIGEST}");
        let pinned = format!("docker://ghcr.io/a/b@{DIGEST}");
        for (text, printed) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("docker://busybox:1.36", "docker.io/library/busybox:1.36"),
            ("localhost:5000/a/b:c", "localhost:5000/a/b:c"),
            // Without a slash or a known prefix a word before the colon is a repository.
            ("dirs:latest", "docker.io/library/dirs:latest"),
            ("oci-layout:/a:b/c:tag", "oci-layout:/a:b/c:tag"),
            ("oci-layout:/a:b/c", "oci-layout:/a:b/c"),
            ("oci-archive:x.tar:v1", "oci-archive:x.tar:v1"),
            ("oci-archive:/x.tar:@3", "oci-archive:/x.tar:@3"),
            ("docker-archive:/x.tar", "docker-archive:/x.tar"),
            ("docker-archive:/x.tar:@0", "docker-archive:/x.tar:@0"),
            (
                "docker-archive:x.tar:busybox",
                "docker-archive:x.tar:docker.io/library/busybox:latest",
            ),
            (
                "docker-archive:x.tar:localhost:5000/a/b:c",
                "docker-archive:x.tar:localhost:5000/a/b:c",
            ),
            ("dir:/a:b@c", "dir:/a:b@c"),
            (digest.as_str(), digest.as_str()),
            (pinned.as_str(), pinned.trim_start_matches("docker://")),
        ] {
            assert_eq!(text.parse::<ImageName>().unwrap().to_string(), printed, "{text}");
        }
    }

    #[test]
    fn the_entry_is_what_follows_the_last_slash() {
        for (text, path, entry) in [
            ("oci-layout:/a:b/c:tag", "/a:b/c", Entry::Named("tag".into())),
            ("oci-layout:/a:b/c", "/a:b/c", Entry::Only),
            ("oci-layout:a:b:c", "a:b", Entry::Named("c".into())),
            ("oci-layout:/a@b/c", "/a@b/c", Entry::Only),
            (
                &format!("oci-layout:./x:y@{DIGEST}"),
                "./x:y",
                Entry::Digest(DIGEST.parse().unwrap()),
            ),
        ] {
            let want = ImageName::Layout {
                path: path.into(),
                entry,
            };
            assert_eq!(text.parse::<ImageName>().unwrap(), want, "{text}");
        }
    }

    #[test]
    fn what_names_no_image_is_refused_with_its_reason() {
        let long = "a".repeat(MAX_NAME + 1);
        let saved = format!("docker-archive:x.tar:busybox@{DIGEST}");
        let long_entry = format!("oci-layout:x:{}", "a".repeat(MAX_ENTRY + 1));
        for (text, reason) in [
            ("", "incomplete"),
            ("oci-layout:", "incomplete"),
            ("oci-layout::tag", "incomplete"),
            ("oci-layout:/a:", "incomplete"),
            ("oci-layout:/a@sha256:00", "bad digest"),
            ("oci-layout:/a:b\nc", "bad entry"),
            (&long_entry, "bad entry"),
            ("UPPER", "bad image reference"),
            (&long, "too long"),
            ("cimd:/x", "unsupported kind of image name: `cimd:`"),
            ("docker-archive:", "incomplete"),
            ("docker-archive::busybox", "incomplete"),
            ("docker-archive:x.tar:", "bad image reference"),
            ("docker-archive:x.tar:@", "bad entry"),
            ("docker-archive:x.tar:@+1", "bad entry"),
            ("docker-archive:x.tar:@-1", "bad entry"),
            (&saved, "bad image reference"),
            ("oci-layout:/a:@x", "bad entry"),
            ("dir:", "incomplete"),
            ("docker-daemon:x", "unsupported"),
            ("aci:x", "unsupported"),
            ("https://ghcr.io/a/b", "unsupported kind of image name: `https:`"),
        ] {
            let error = text.parse::<ImageName>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
