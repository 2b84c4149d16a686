// SPDX-License-Identifier: Apache-2.0
//! The part of the OCI runtime-spec's `config.json` (config.md, config-linux.md) that a bundle
//! needs; other fields are kept in `other`.

mod linux;
mod process;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    MAX_CONFIG,
    error::{Error, ErrorKind},
    json,
};

pub use linux::{Device, DeviceRule, IdMapping, Linux, Namespace, NamespaceKind, Resources};
pub use process::{Capabilities, Process, Rlimit, User};

/// `config.json` of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// Version of the runtime-spec the document follows.
    pub oci_version: String,
    /// The program to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// The root filesystem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<Root>,
    /// Host name inside the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Mounts in order, after the root.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// What only Linux knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linux: Option<Linux>,
    /// Free text by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Other fields, such as `hooks`.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The root filesystem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// Path, absolute or relative to the bundle.
    pub path: String,
    /// Whether the container may not write to it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub readonly: bool,
    /// Other fields.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// One mount.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path inside the container.
    pub destination: String,
    /// Filesystem type.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Device, directory or name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Options as of mount(8).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// Other fields.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Spec {
    /// The version written: the oldest that has all the fields here, which every runtime takes.
    pub const VERSION: &'static str = "1.0.2";
    /// Name of the document in a bundle.
    pub const FILE: &'static str = "config.json";

    /// A spec that says nothing but its version.
    pub fn new() -> Self {
        Self {
            oci_version: Self::VERSION.to_owned(),
            process: None,
            root: None,
            hostname: None,
            mounts: Vec::new(),
            linux: None,
            annotations: BTreeMap::new(),
            other: Map::new(),
        }
    }

    /// Parses `config.json`.
    ///
    /// # Errors
    /// Duplicate keys, trailing text and the other faults of JSON as everywhere in this crate, with
    /// [`MAX_CONFIG`] as the limit of the whole; `Type` for a missing field, a wrong type, a number
    /// out of range.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let value = json::parse(bytes, MAX_CONFIG)?;
        let wrong =
            |error: serde_json::Error| Error::new(ErrorKind::Type, "not a runtime config").value(error);
        serde_json::from_value(value).map_err(wrong)
    }

    /// The JSON text.
    pub fn to_vec(&self) -> Vec<u8> {
        json::write(self)
    }
}

impl Default for Spec {
    fn default() -> Self {
        Self::new()
    }
}

impl Root {
    /// A writable root at `path`.
    pub fn new(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            readonly: false,
            other: Map::new(),
        }
    }
}

impl Mount {
    /// A mount of filesystem `kind`.
    pub fn new(destination: &str, kind: &str, source: &str, options: &[&str]) -> Self {
        Self {
            destination: destination.to_owned(),
            kind: Some(kind.to_owned()),
            source: Some(source.to_owned()),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
            other: Map::new(),
        }
    }
}
