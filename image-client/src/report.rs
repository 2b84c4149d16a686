// SPDX-License-Identifier: Apache-2.0
//! What a finished request tells.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use image_spec::{Digest, ImageConfig, Platform};
use serde::{Serialize, Serializer};

/// A pulled image, mounted and ready to run.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Pulled {
    /// The image and how it came here.
    #[serde(flatten)]
    pub image: Fetched,
    /// The bundle's folder, absolute.
    pub bundle: PathBuf,
    /// The mounted root filesystem.
    pub rootfs: PathBuf,
    /// The snapshotter that mounted it.
    pub snapshotter: &'static str,
}

/// An image unpacked into a folder.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Unpacked {
    /// The image and how it came here.
    #[serde(flatten)]
    pub image: Fetched,
    /// The folder, absolute.
    pub dir: PathBuf,
}

/// An image and how it came here.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Fetched {
    /// The full name, as `images` lists it.
    pub name: String,
    /// The digest of what the name stands for: a manifest or an index.
    pub top_digest: Digest,
    /// The manifest's digest.
    pub manifest_digest: Digest,
    /// The config's digest.
    pub config_digest: Digest,
    /// The platform of the image.
    #[serde(serialize_with = "display")]
    pub platform: Platform,
    /// On what grounds it was admitted.
    pub policy: Admission,
    /// The layers, bottom first.
    pub layers: Vec<LayerReport>,
    /// Bytes of layers that came in.
    pub bytes_downloaded: u64,
    /// Bytes of archives that were unpacked.
    pub bytes_unpacked: u64,
    /// Layers that needed no fetch.
    pub layers_reused: usize,
    /// How long each stage took.
    #[serde(rename = "timings_ms")]
    pub timings: Timings,
}

/// The grounds on which a policy admitted an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Admission {
    /// The scope that decided.
    pub scope: String,
    /// The policy's file, or how else it came.
    pub source: String,
    /// The requirements that hold.
    pub requirements: Vec<&'static str>,
}

impl From<&signature::Verdict> for Admission {
    fn from(verdict: &signature::Verdict) -> Self {
        Self {
            scope: verdict.scope.clone(),
            source: verdict.source.clone(),
            requirements: verdict.requirements.clone(),
        }
    }
}

/// One layer of an image.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct LayerReport {
    /// The blob's digest.
    pub digest: Digest,
    /// The archive's digest.
    pub diff_id: Digest,
    /// The blob's media type.
    pub media_type: String,
    /// The blob's size in bytes.
    pub size: u64,
    /// No fetch was, or would be, needed.
    pub reused: bool,
}

/// How long each stage took. In JSON the values are milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Timings {
    /// Asking the source what the name stands for.
    #[serde(serialize_with = "milliseconds")]
    pub resolve: Duration,
    /// Asking the policy.
    #[serde(serialize_with = "milliseconds")]
    pub admit: Duration,
    /// Fetching the config and looking into the store.
    #[serde(serialize_with = "milliseconds")]
    pub plan: Duration,
    /// Fetching and unpacking the layers, which overlap.
    #[serde(serialize_with = "milliseconds")]
    pub layers: Duration,
    /// Mounting and writing the bundle.
    #[serde(serialize_with = "milliseconds")]
    pub mount: Duration,
    /// Everything.
    #[serde(serialize_with = "milliseconds")]
    pub total: Duration,
}

/// What a pull would take.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Inspected {
    /// The full name.
    pub name: String,
    /// The digest of what the name stands for: a manifest or an index.
    pub top_digest: Digest,
    /// The platforms of the index; only the image's own where there is no index.
    #[serde(serialize_with = "display_all")]
    pub platforms: Vec<Platform>,
    /// The chosen manifest's digest.
    pub manifest_digest: Digest,
    /// The config's digest.
    pub config_digest: Digest,
    /// The chosen platform.
    #[serde(serialize_with = "display")]
    pub platform: Platform,
    /// What the policy says.
    pub policy: PolicySays,
    /// The layers, bottom first; `reused` tells of repeats within the image only.
    pub layers: Vec<LayerReport>,
    /// Bytes of all blobs, each once.
    pub size: u64,
    /// Why a pull would be refused although the policy admits it, such as encryption.
    pub obstacle: Option<String>,
    /// The config as the image holds it.
    #[serde(serialize_with = "config")]
    pub config: ImageConfig,
}

/// The policy's answer for an image that is only looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum PolicySays {
    /// It may be used.
    Admitted(Admission),
    /// It may not be used.
    Refused {
        /// Why not.
        reason: String,
    },
    /// There is no policy, so nothing can be pulled.
    NoPolicy,
}

/// Measures stages one after the other.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
    lap: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        let now = Instant::now();
        Self { start: now, lap: now }
    }

    /// The time since the last lap.
    pub(crate) fn lap(&mut self) -> Duration {
        let now = Instant::now();
        now.saturating_duration_since(std::mem::replace(&mut self.lap, now))
    }

    pub(crate) fn total(&self) -> Duration {
        self.start.elapsed()
    }
}

fn milliseconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    // Whole microseconds: more digits would be noise.
    serializer.serialize_f64(time.as_micros() as f64 / 1000.0)
}

fn display<S: Serializer>(value: &Platform, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn display_all<S: Serializer>(values: &[Platform], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(values.iter().map(ToString::to_string))
}

fn config<S: Serializer>(config: &ImageConfig, serializer: S) -> Result<S::Ok, S::Error> {
    config.serialize(serializer)
}
