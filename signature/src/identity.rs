// SPDX-License-Identifier: Apache-2.0
//! Under which scopes a policy knows an image (containers-policy.json(5), "supported transports
//! and their scopes").

use std::fmt;
use std::net::Ipv4Addr;
use std::path::Path;

use image_spec::{Digest, Reference};

/// How an image is reached; each way has its own part of a policy and its own grammar of scopes.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A registry: `docker`.
    Docker,
    /// A folder with an OCI image layout: `oci`.
    Oci,
    /// An archive of an OCI image layout: `oci-archive`.
    OciArchive,
    /// An archive as docker saves it: `docker-archive`.
    DockerArchive,
    /// A folder with one image as skopeo writes it: `dir`.
    Dir,
}

impl Transport {
    /// The transport's name in a policy.
    pub fn as_str(self) -> &'static str {
        match self {
            Transport::Docker => "docker",
            Transport::Oci => "oci",
            Transport::OciArchive => "oci-archive",
            Transport::DockerArchive => "docker-archive",
            Transport::Dir => "dir",
        }
    }
}

/// What the user asked for, as the policy sees it. Never what a mirror was asked for instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    transport: Transport,
    name: String,
    /// Scopes that may speak of the image, most specific first, without the transport's own.
    scopes: Vec<String>,
    pin: Option<Digest>,
}

impl Identity {
    /// An image in a registry.
    ///
    /// Its scopes are: the name with its digest or, without one, its tag; the repository; each
    /// namespace above; the host with its port; the wildcards `*.` for each domain above the host.
    /// Where a digest is given the tag is ignored: nothing says that it names these bytes.
    pub fn docker(reference: &Reference) -> Identity {
        let repository = format!("{}/{}", lower_host(reference.registry()), reference.repository());
        let full = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => format!("{repository}@{digest}"),
            (None, Some(tag)) => format!("{repository}:{tag}"),
            (None, None) => repository.clone(),
        };
        let mut scopes = vec![full.clone()];
        scopes.extend(upward(&repository).map(str::to_owned));
        scopes.extend(wildcards(repository.split('/').next().unwrap_or_default()));
        scopes.dedup();
        Identity {
            transport: Transport::Docker,
            name: full,
            scopes,
            pin: reference.digest().copied(),
        }
    }

    /// An image in a folder with an OCI image layout, by the folder's path and, when the user gave
    /// one, the image's name in it.
    ///
    /// The path must be absolute and without symbolic links: a policy speaks of where an image
    /// really lies. Its scopes are: the path with `:` and the name; the path; each folder above
    /// but `/`. A rule that refuses by name does not hold for an image picked without one.
    pub fn oci_layout(path: &Path, name: Option<&str>) -> Identity {
        Identity::at_path(Transport::Oci, path, name)
    }

    /// An image in an archive of an OCI image layout; see [`oci_layout`](Identity::oci_layout).
    pub fn oci_archive(path: &Path, name: Option<&str>) -> Identity {
        Identity::at_path(Transport::OciArchive, path, name)
    }

    /// An image in an archive as docker saves it. It has no scope but that of its transport: the
    /// names in such an archive are anybody's to write.
    pub fn docker_archive(path: &Path) -> Identity {
        Identity {
            scopes: Vec::new(),
            ..Identity::at_path(Transport::DockerArchive, path, None)
        }
    }

    /// The image in a folder as skopeo writes it, by the folder's path; see
    /// [`oci_layout`](Identity::oci_layout).
    pub fn dir(path: &Path) -> Identity {
        Identity::at_path(Transport::Dir, path, None)
    }

    fn at_path(transport: Transport, path: &Path, name: Option<&str>) -> Identity {
        let path = path.to_string_lossy();
        let path = path.trim_end_matches('/');
        let mut scopes = Vec::new();
        scopes.extend(name.map(|name| format!("{path}:{name}")));
        let name = scopes.first().cloned().unwrap_or_else(|| path.to_owned());
        scopes.extend(upward(path).filter(|scope| !scope.is_empty()).map(str::to_owned));
        Identity {
            transport,
            name,
            scopes,
            pin: None,
        }
    }

    /// The transport.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// The most specific scope, or the path where there is none.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn scopes(&self) -> &[String] {
        &self.scopes
    }

    pub(crate) fn pin(&self) -> Option<&Digest> {
        self.pin.as_ref()
    }
}

/// `TRANSPORT:NAME`.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.transport.as_str(), self.name)
    }
}

/// Host names mean the same in any case.
pub(crate) fn lower_host(scope: &str) -> String {
    match scope.split_once('/') {
        Some((host, rest)) => format!("{}/{rest}", host.to_ascii_lowercase()),
        None => scope.to_ascii_lowercase(),
    }
}

/// The text, and what remains each time its last part is cut off.
fn upward(text: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(text), |text| text.rsplit_once('/').map(|(above, _)| above))
}

/// `*.b.c` and `*.c` for the host `a.b.c`, whatever its port. Addresses have no domain.
fn wildcards(host: &str) -> Vec<String> {
    let name = host.split_once(':').map_or(host, |(name, _)| name);
    if host.starts_with('[') || name.parse::<Ipv4Addr>().is_ok() {
        return Vec::new();
    }
    let above = |name: &str| name.split_once('.').map(|(_, above)| above.to_owned());
    std::iter::successors(above(name), |name| above(name))
        .map(|name| format!("*.{name}"))
        .collect()
}
