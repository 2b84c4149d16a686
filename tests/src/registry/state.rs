// SPDX-License-Identifier: Apache-2.0
//! What a registry holds and has seen.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use bytes::Bytes;
use serde_json::Value;

use super::auth::Auth;
use super::fault::Fault;
use crate::image::{OCI_MANIFEST, Published};
use crate::sha256;

/// A request as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request {
    /// GET, HEAD or what else was sent.
    pub method: String,
    /// The path with the query.
    pub path: String,
    /// The headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The status of the answer.
    pub status: u16,
}

impl Request {
    /// A header by its lower case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The header that carries credentials.
    pub fn authorization(&self) -> Option<&str> {
        self.header("authorization")
    }
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) auth: Auth,
    pub(super) resources: BTreeMap<String, Bytes>,
    pub(super) faults: Vec<Fault>,
    pub(super) log: Vec<Request>,
    repositories: BTreeMap<String, Repository>,
}

impl State {
    pub(super) fn new(auth: Auth) -> Self {
        State {
            auth,
            resources: BTreeMap::new(),
            faults: Vec::new(),
            log: Vec::new(),
            repositories: BTreeMap::new(),
        }
    }

    pub(super) fn repository(&mut self, name: &str) -> &mut Repository {
        self.repositories.entry(name.to_string()).or_default()
    }

    pub(super) fn find(&self, name: &str) -> Option<&Repository> {
        self.repositories.get(name)
    }
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    Memory(Bytes),
    File(PathBuf),
}

#[derive(Clone, Debug)]
pub(super) struct Document {
    pub(super) media_type: String,
    pub(super) digest: String,
    pub(super) bytes: Bytes,
}

#[derive(Debug, Default)]
pub(super) struct Repository {
    tags: BTreeMap<String, String>,
    documents: BTreeMap<String, Document>,
    blobs: BTreeMap<String, Bytes>,
    folders: Vec<PathBuf>,
}

impl Repository {
    pub(super) fn push(&mut self, tag: &str, image: &dyn Published) {
        let top = image.top();
        if !tag.is_empty() {
            self.tags.insert(tag.to_string(), top.digest.clone());
        }
        for blob in [vec![top], image.documents()].concat() {
            let document = Document {
                media_type: blob.media_type.clone(),
                digest: blob.digest.clone(),
                bytes: blob.bytes.clone(),
            };
            self.documents.insert(blob.digest.clone(), document);
        }
        for blob in image.blobs() {
            self.blobs.insert(blob.digest.clone(), blob.bytes.clone());
        }
    }

    pub(super) fn serve(&mut self, folder: &Path) -> io::Result<()> {
        let index = folder.join("index.json");
        if index.exists() {
            let index: Value = serde_json::from_slice(&fs::read(index)?)?;
            for entry in index["manifests"].as_array().into_iter().flatten() {
                let tag = &entry["annotations"]["org.opencontainers.image.ref.name"];
                let digest = entry["digest"].as_str().unwrap_or_default();
                self.tags
                    .insert(tag.as_str().unwrap_or("latest").to_string(), digest.to_string());
            }
        } else {
            let bytes = Bytes::from(fs::read(folder.join("manifest.json"))?);
            let document = document(sha256(&bytes), bytes);
            self.tags.insert("latest".to_string(), document.digest.clone());
            self.documents.insert(document.digest.clone(), document);
        }
        self.folders.push(folder.to_path_buf());
        Ok(())
    }

    pub(super) fn tags(&self) -> Vec<&String> {
        self.tags.keys().collect()
    }

    /// A manifest or index by tag or digest.
    pub(super) fn document(&self, reference: &str) -> Option<Document> {
        let digest = self.tags.get(reference).map_or(reference, String::as_str);
        if let Some(document) = self.documents.get(digest) {
            return Some(document.clone());
        }
        let bytes = Bytes::from(fs::read(self.file(digest)?).ok()?);
        Some(document(digest.to_string(), bytes))
    }

    pub(super) fn blob(&self, digest: &str) -> Option<Content> {
        match self.blobs.get(digest) {
            Some(bytes) => Some(Content::Memory(bytes.clone())),
            None => self.file(digest).map(Content::File),
        }
    }

    fn file(&self, digest: &str) -> Option<PathBuf> {
        let (algorithm, hex) = digest.split_once(':')?;
        if !hex.bytes().all(|b| b.is_ascii_hexdigit())
            || !algorithm.bytes().all(|b| b.is_ascii_alphanumeric())
        {
            return None;
        }
        let places = |folder: &PathBuf| [folder.join("blobs").join(algorithm).join(hex), folder.join(hex)];
        self.folders.iter().flat_map(places).find(|path| path.is_file())
    }
}

/// A document from disk: its type is what it says itself.
fn document(digest: String, bytes: Bytes) -> Document {
    let value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let media_type = match value["mediaType"].as_str() {
        Some(media_type) => media_type,
        None if value.get("manifests").is_some() => "application/vnd.oci.image.index.v1+json",
        None => OCI_MANIFEST,
    };
    Document {
        media_type: media_type.to_string(),
        digest,
        bytes,
    }
}
