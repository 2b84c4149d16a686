// SPDX-License-Identifier: Apache-2.0
//! What an image runs on (image-spec, image-index.md, `platform`).

use std::{fmt, str::FromStr};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    MAX_FEATURES, MAX_NAME,
    error::{Error, ErrorKind},
    fields::{self, Fields},
    path::Path,
};

/// Operating system and processor, in Go's names (`linux`, `amd64`, `arm64`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Platform {
    /// Processor.
    pub architecture: String,
    /// Operating system.
    pub os: String,
    /// Windows build.
    #[serde(rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Features of the operating system that the image cannot do without.
    #[serde(rename = "os.features", skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// Generation of the processor: `v7` of arm, `v3` of amd64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Fields beyond the specification.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

const KNOWN: [&str; 5] = ["architecture", "os", "os.version", "os.features", "variant"];

impl Platform {
    /// A platform without variant.
    pub fn new(os: impl Into<String>, architecture: impl Into<String>) -> Self {
        Self {
            architecture: architecture.into(),
            os: os.into(),
            os_version: None,
            os_features: Vec::new(),
            variant: None,
            other: Map::new(),
        }
    }

    /// What this program runs on: the baseline of the architecture it was built for.
    pub fn host() -> Self {
        let little = cfg!(target_endian = "little");
        let architecture = match std::env::consts::ARCH {
            "powerpc64" if little => "ppc64le",
            "powerpc64" => "ppc64",
            "mips64" if little => "mips64le",
            "mips" if little => "mipsle",
            "loongarch64" => "loong64",
            other => other,
        };
        Self::new(std::env::consts::OS, architecture).normalised()
    }

    /// The one spelling among those in use: `aarch64` is `arm64`, `x86_64` is `amd64`, `arm` is
    /// `arm/v7`; a variant that is the architecture's baseline (`arm64/v8`, `amd64/v1`) is left out.
    pub fn normalised(&self) -> Self {
        let os = self.os.to_ascii_lowercase();
        let os = if os == "macos" { "darwin".to_owned() } else { os };
        let architecture = self.architecture.to_ascii_lowercase();
        let variant = self
            .variant
            .as_deref()
            .map(str::to_ascii_lowercase)
            .filter(|variant| !variant.is_empty());
        let variant = variant.map(|v| {
            if v.starts_with(|c: char| c.is_ascii_digit()) {
                format!("v{v}")
            } else {
                v
            }
        });
        let (architecture, variant) = match (architecture.as_str(), variant.as_deref()) {
            ("aarch64" | "arm64", None | Some("v8" | "v8.0")) => ("arm64", None),
            ("aarch64" | "arm64", other) => ("arm64", other),
            ("x86_64" | "x86-64" | "amd64", None | Some("v1")) => ("amd64", None),
            ("x86_64" | "x86-64" | "amd64", other) => ("amd64", other),
            ("i386" | "i486" | "i586" | "i686" | "x86", _) => ("386", None),
            ("armhf", _) | ("arm", None) => ("arm", Some("v7")),
            ("armel", _) => ("arm", Some("v6")),
            other => other,
        };
        Self {
            os,
            variant: variant.map(str::to_owned),
            architecture: architecture.to_owned(),
            ..self.clone()
        }
    }

    /// Whether an image for `offered` runs here; the greater the better.
    ///
    /// A processor runs what was built for its own generation and the older ones of its line:
    /// `arm/v7` before `v6` and `v5`, `amd64/v3` before `v2` and plain `amd64`.
    pub(crate) fn rank(&self, offered: &Self) -> Option<u32> {
        let (wanted, offered) = (self.normalised(), offered.normalised());
        let version = wanted.os_version.is_none() || wanted.os_version == offered.os_version;
        let features = offered
            .os_features
            .iter()
            .all(|feature| wanted.os_features.contains(feature));
        if wanted.os != offered.os || wanted.architecture != offered.architecture || !version || !features {
            return None;
        }
        if wanted.variant == offered.variant {
            return Some(u32::MAX);
        }
        let (newest, offered) = (wanted.generation()?, offered.generation()?);
        (offered <= newest).then_some(offered)
    }

    /// Whether an image for `offered` runs on this platform.
    pub fn accepts(&self, offered: &Self) -> bool {
        self.rank(offered).is_some()
    }

    /// Hundred times the generation, plus the minor number: `v8.2` is 802.
    fn generation(&self) -> Option<u32> {
        let baseline = match self.architecture.as_str() {
            "amd64" => "v1",
            "arm64" => "v8",
            "arm" => "v7",
            _ => return None,
        };
        let number = self.variant.as_deref().unwrap_or(baseline).strip_prefix('v')?;
        let (major, minor) = number.split_once('.').unwrap_or((number, "0"));
        let part = |text: &str| text.parse::<u8>().ok().filter(|part| *part < 100).map(u32::from);
        Some(part(major)? * 100 + part(minor)?)
    }

    pub(crate) fn is_unknown(&self) -> bool {
        self.os == "unknown" && self.architecture == "unknown"
    }

    pub(crate) fn read(value: Value, path: &Path<'_>) -> Result<Self, Error> {
        let mut fields = Fields::open(value, path, &KNOWN)?;
        Ok(Self {
            architecture: fields::text(
                fields.required("architecture")?,
                &path.key("architecture"),
                MAX_NAME,
            )?,
            os: fields::text(fields.required("os")?, &path.key("os"), MAX_NAME)?,
            os_version: fields.text("os.version", MAX_NAME)?,
            os_features: fields.texts("os.features", MAX_FEATURES, MAX_NAME)?,
            variant: fields.text("variant", MAX_NAME)?,
            other: fields.rest(),
        })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) if !variant.is_empty() => write!(f, "/{variant}"),
            _ => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = Error;

    /// Reads `os/architecture` or `os/architecture/variant` as a person writes it.
    ///
    /// # Errors
    /// `Syntax` for any other number of parts, or other characters than letters, digits, `_`, `.`, `-`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let parts: Vec<&str> = text.split('/').collect();
        let good = |part: &&str| {
            !part.is_empty()
                && part.len() <= MAX_NAME
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
        };
        match parts.as_slice() {
            [os, architecture] if parts.iter().all(good) => Ok(Self::new(*os, *architecture)),
            [os, architecture, variant] if parts.iter().all(good) => Ok(Self {
                variant: Some((*variant).to_owned()),
                ..Self::new(*os, *architecture)
            }),
            _ => Err(Error::new(ErrorKind::Syntax, "platform is not os/architecture[/variant]").value(text)),
        }
    }
}
