// SPDX-License-Identifier: Apache-2.0
//! Image configs (image-spec, config.md; Docker image specification 1.2 and 1.3).

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    Digest, MAX_CONFIG, MAX_FEATURES, MAX_HISTORY, MAX_ITEMS, MAX_LAYERS, MAX_NAME, MAX_TEXT, Platform,
    error::{Error, ErrorKind},
    fields::{self, Fields},
    json,
    path::Path,
    time,
};

/// How to run an image, and what its layers are once unpacked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImageConfig {
    /// When the image was made, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Processor, in Go's name.
    pub architecture: String,
    /// Operating system, in Go's name.
    pub os: String,
    /// Windows build.
    #[serde(rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Features of the operating system that the image cannot do without.
    #[serde(rename = "os.features", skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// Generation of the processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// How to run it.
    pub config: RunConfig,
    /// The unpacked layers.
    pub rootfs: RootFs,
    /// How each layer was made. Nothing relies on it: builders leave it out and miscount.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
    /// Fields beyond the specification, such as Docker's `container_config`.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// Defaults of a container, `config` in the document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RunConfig {
    /// `user`, `uid`, `user:group`, `uid:gid` and the mixed forms; empty for root.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// `port`, `port/tcp`, `port/udp`.
    #[serde(skip_serializing_if = "BTreeSet::is_empty", serialize_with = "as_set")]
    pub exposed_ports: BTreeSet<String>,
    /// `NAME=value`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// The program and its first arguments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// Arguments after the entrypoint, or the whole command if there is none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// Directories that hold data of the container, not of the image.
    #[serde(skip_serializing_if = "BTreeSet::is_empty", serialize_with = "as_set")]
    pub volumes: BTreeSet<String>,
    /// Directory to start in; empty for the root.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Free text by key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Signal that ends the container, `SIGTERM` or a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Windows: the command is one string, already quoted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub args_escaped: bool,
    /// Fields beyond the specification, such as Docker's `Healthcheck`, `OnBuild` and `Shell`.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The unpacked layers, `rootfs` in the document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RootFs {
    #[serde(rename = "type")]
    kind: Layers,
    /// The digest of each layer's plain tar, bottom first.
    pub diff_ids: Vec<Digest>,
    /// Fields beyond the specification.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The only type of rootfs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Layers {
    #[default]
    Layers,
}

/// One step of the making of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct History {
    /// When, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Who.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// The step made no layer.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
    /// Fields beyond the specification.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

const KNOWN: [&str; 10] = [
    "created",
    "author",
    "architecture",
    "os",
    "os.version",
    "os.features",
    "variant",
    "config",
    "rootfs",
    "history",
];
const RUN_KNOWN: [&str; 10] = [
    "User",
    "ExposedPorts",
    "Env",
    "Entrypoint",
    "Cmd",
    "Volumes",
    "WorkingDir",
    "Labels",
    "StopSignal",
    "ArgsEscaped",
];

impl ImageConfig {
    /// A config of `diff_ids` that says nothing about how to run.
    pub fn new(platform: &Platform, diff_ids: Vec<Digest>) -> Self {
        Self {
            created: None,
            author: None,
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            os_version: platform.os_version.clone(),
            os_features: platform.os_features.clone(),
            variant: platform.variant.clone(),
            config: RunConfig::default(),
            rootfs: RootFs::new(diff_ids),
            history: Vec::new(),
            other: Map::new(),
        }
    }

    /// Parses a config.
    ///
    /// `null` stands for an absent value wherever a value may be absent: builders in Go write it
    /// for empty lists and maps. `architecture` and `os` are required and not empty, as both
    /// specifications say: a guess of ours could run a program for another processor.
    ///
    /// # Errors
    /// As [`crate::Document::parse`], with [`MAX_CONFIG`] as the limit of the whole.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let path = &Path::Root;
        let mut fields = Fields::open(json::parse(bytes, MAX_CONFIG)?, path, &KNOWN)?;
        Ok(Self {
            created: fields.object("created", time::read)?,
            author: fields.text("author", MAX_TEXT)?,
            architecture: required_name(&mut fields, "architecture")?,
            os: required_name(&mut fields, "os")?,
            os_version: fields.text("os.version", MAX_NAME)?,
            os_features: fields.texts("os.features", MAX_FEATURES, MAX_NAME)?,
            variant: fields.text("variant", MAX_NAME)?,
            config: fields.object("config", RunConfig::read)?.unwrap_or_default(),
            rootfs: RootFs::read(fields.required("rootfs")?, &path.key("rootfs"))?,
            history: fields.list("history", MAX_HISTORY, History::read)?,
            other: fields.rest(),
        })
    }

    /// What the image runs on.
    pub fn platform(&self) -> Platform {
        Platform {
            os_version: self.os_version.clone(),
            os_features: self.os_features.clone(),
            variant: self.variant.clone().filter(|variant| !variant.is_empty()),
            ..Platform::new(&self.os, &self.architecture)
        }
    }

    /// The JSON text, see [`crate::Manifest::to_vec`].
    pub fn to_vec(&self) -> Vec<u8> {
        json::write(self)
    }
}

impl RunConfig {
    fn read(value: Value, path: &Path<'_>) -> Result<Self, Error> {
        let mut fields = Fields::open(value, path, &RUN_KNOWN)?;
        Ok(Self {
            user: fields.text("User", MAX_NAME)?.unwrap_or_default(),
            exposed_ports: fields.set("ExposedPorts", MAX_ITEMS)?,
            env: fields.texts("Env", MAX_ITEMS, MAX_TEXT)?,
            entrypoint: fields.texts("Entrypoint", MAX_ITEMS, MAX_TEXT)?,
            cmd: fields.texts("Cmd", MAX_ITEMS, MAX_TEXT)?,
            volumes: fields.set("Volumes", MAX_ITEMS)?,
            working_dir: fields.text("WorkingDir", MAX_TEXT)?.unwrap_or_default(),
            labels: fields.map("Labels", MAX_ITEMS)?,
            stop_signal: fields
                .text("StopSignal", MAX_NAME)?
                .filter(|signal| !signal.is_empty()),
            args_escaped: fields.flag("ArgsEscaped")?,
            other: fields.rest(),
        })
    }
}

impl RootFs {
    /// The layers with these diff ids, bottom first.
    pub fn new(diff_ids: Vec<Digest>) -> Self {
        Self {
            diff_ids,
            ..Self::default()
        }
    }

    /// The identity of the layers stacked in this order: the diff id of a single one, else the
    /// SHA-256 of the chain id of those below, a space and the diff id on top (OCI config.md, "Layer
    /// ChainID"). None where there is no layer.
    pub fn chain_id(&self) -> Option<Digest> {
        let on_top = |below: Digest, diff_id: Digest| Digest::sha256(format!("{below} {diff_id}").as_bytes());
        self.diff_ids.iter().copied().reduce(on_top)
    }

    /// Docker leaves out the list of an image without layers.
    fn read(value: Value, path: &Path<'_>) -> Result<Self, Error> {
        let mut fields = Fields::open(value, path, &["type", "diff_ids"])?;
        let place = path.key("type");
        let kind = fields::text(fields.required("type")?, &place, MAX_NAME)?;
        if kind != "layers" {
            return Err(Error::new(ErrorKind::Value, "rootfs is not of type `layers`")
                .at(&place)
                .value(kind));
        }
        let diff_ids = fields.list("diff_ids", MAX_LAYERS, fields::parse)?;
        Ok(Self {
            kind: Layers::Layers,
            diff_ids,
            other: fields.rest(),
        })
    }
}

impl History {
    fn read(value: Value, path: &Path<'_>) -> Result<Self, Error> {
        let known = ["created", "created_by", "author", "comment", "empty_layer"];
        let mut fields = Fields::open(value, path, &known)?;
        // A command may carry a whole script, so only the document bounds it.
        let max = MAX_CONFIG as usize;
        Ok(Self {
            created: fields.object("created", time::read)?,
            created_by: fields.text("created_by", max)?,
            author: fields.text("author", max)?,
            comment: fields.text("comment", max)?,
            empty_layer: fields.flag("empty_layer")?,
            other: fields.rest(),
        })
    }
}

fn required_name(fields: &mut Fields<'_>, key: &str) -> Result<String, Error> {
    let text = fields::text(fields.required(key)?, &Path::Root.key(key), MAX_NAME)?;
    if text.is_empty() {
        return Err(fields.error(ErrorKind::Value, key, "empty field"));
    }
    Ok(text)
}

fn as_set<S: serde::Serializer>(set: &BTreeSet<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(set.iter().map(|key| (key, Map::<String, Value>::new())))
}
