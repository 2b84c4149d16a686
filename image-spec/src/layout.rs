// SPDX-License-Identifier: Apache-2.0
//! The marker of an image layout, the file `oci-layout` (image-spec, image-layout.md).

use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    error::Error,
    fields::{self, Fields},
    json,
    path::Path,
};

/// The marker says only which version of the layout follows; this is always 1.0.0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Layout {
    #[serde(rename = "imageLayoutVersion")]
    version: String,
    /// Fields beyond the specification.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

const VERSION: &str = "1.0.0";
/// Bytes of the marker, which has one field of five characters.
const MAX_LAYOUT: u64 = 4 << 10;

impl Layout {
    /// Name of the marker in the directory of a layout.
    pub const FILE: &'static str = "oci-layout";

    /// Parses the marker.
    ///
    /// # Errors
    /// `Unsupported` for another version; otherwise as [`crate::Document::parse`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let path = &Path::Root;
        let mut fields = Fields::open(json::parse(bytes, MAX_LAYOUT)?, path, &["imageLayoutVersion"])?;
        let place = path.key("imageLayoutVersion");
        let version = fields::text(
            fields.required("imageLayoutVersion")?,
            &place,
            MAX_LAYOUT as usize,
        )?;
        if version != VERSION {
            return Err(Error::unsupported(format!("image layout version `{version}`")).at(&place));
        }
        Ok(Self {
            version,
            other: fields.rest(),
        })
    }

    /// The version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The JSON text.
    pub fn to_vec(&self) -> Vec<u8> {
        json::write(self)
    }
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            version: VERSION.to_owned(),
            other: Map::new(),
        }
    }
}
