// SPDX-License-Identifier: Apache-2.0
//! `manifest.json` of an archive: the images, each with its config, layers and names.

use std::fmt;
use std::marker::PhantomData;

use image_spec::{MAX_LAYERS, MAX_MANIFESTS, Reference};
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::error::clean;
use crate::{Error, ErrorKind, Target};

/// Names of one image. Builders give a dozen.
const MAX_TAGS: usize = 4096;
/// Names that an error lists.
const SHOWN: usize = 10;

/// The images of an archive, in order.
#[derive(Debug)]
pub(super) struct Images(Vec<Item>);

/// One image. The paths are names of members.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) config: String,
    pub(super) layers: Vec<String>,
    tags: Vec<String>,
}

impl Images {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let items: Limited<Item, MAX_MANIFESTS> = serde_json::from_slice(bytes).map_err(|cause| {
            Error::new(ErrorKind::BadResponse, "`manifest.json` cannot be read").because(cause)
        })?;
        Ok(Self(items.0))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn get(&self, number: usize) -> Option<&Item> {
        self.0.get(number)
    }

    /// All names of all images.
    pub(super) fn names(&self) -> Vec<String> {
        self.0.iter().flat_map(|item| item.tags.iter().cloned()).collect()
    }

    /// The number of the image that a target means; a digest is none of its business.
    pub(super) fn choose(&self, target: &Target) -> Result<usize, Error> {
        let found: Vec<usize> = match target {
            Target::Only | Target::Digest(_) => (0..self.len()).collect(),
            Target::Number(number) => Vec::from_iter((*number < self.len()).then_some(*number)),
            Target::Tag(name) => match name.parse::<Reference>() {
                Ok(wanted) => (0..self.len())
                    .filter(|number| self.is(*number, &wanted))
                    .collect(),
                Err(_) => Vec::new(),
            },
        };
        match *found {
            [number] => Ok(number),
            [] if self.0.is_empty() => Err(Error::new(ErrorKind::NotFound, "it holds no image")),
            [] => Err(Error::new(
                ErrorKind::NotFound,
                format!("it has only: {}", self.list(0..self.len())),
            )),
            _ => Err(Error::new(
                ErrorKind::Ambiguous,
                format!("{} images fit: {}", found.len(), self.list(found)),
            )
            .hinting("name one of them, by its number if need be")),
        }
    }

    fn is(&self, number: usize, wanted: &Reference) -> bool {
        let tags = self.get(number).map_or(&[][..], |item| &item.tags);
        tags.iter()
            .any(|tag| tag.parse::<Reference>().is_ok_and(|tag| tag == *wanted))
    }

    fn list(&self, numbers: impl IntoIterator<Item = usize>) -> String {
        let mut numbers = numbers.into_iter();
        let show = |number: usize| match self.get(number).and_then(|item| item.tags.first()) {
            Some(tag) => format!("`{}` (@{number})", clean(tag)),
            None => format!("@{number}"),
        };
        let mut shown: Vec<String> = numbers.by_ref().take(SHOWN).map(show).collect();
        if numbers.next().is_some() {
            shown.push("…".to_owned());
        }
        shown.join(", ")
    }
}

/// Keys are Go's, which reads them in any case: one in another case, or twice, has two meanings.
impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Item;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an image")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Item, M::Error> {
                let (mut config, mut layers, mut tags) = (None, None, None);
                while let Some(key) = map.next_key::<String>()? {
                    let twice = match key.as_str() {
                        "Config" => config.replace(map.next_value()?).is_some(),
                        "Layers" => layers
                            .replace(map.next_value::<Option<Limited<_, MAX_LAYERS>>>()?)
                            .is_some(),
                        "RepoTags" => tags
                            .replace(map.next_value::<Option<Limited<_, MAX_TAGS>>>()?)
                            .is_some(),
                        key if ["Config", "Layers", "RepoTags"]
                            .iter()
                            .any(|known| key.eq_ignore_ascii_case(known)) =>
                        {
                            return Err(M::Error::custom(format!("key in another case: `{key}`")));
                        }
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            false
                        }
                    };
                    if twice {
                        return Err(M::Error::custom(format!("key twice: `{key}`")));
                    }
                }
                let list = |list: Option<Option<Vec<String>>>| list.flatten().unwrap_or_default();
                Ok(Item {
                    config: config.ok_or_else(|| M::Error::missing_field("Config"))?,
                    layers: list(layers.map(|layers| layers.map(|layers| layers.0))),
                    tags: list(tags.map(|tags| tags.map(|tags| tags.0))),
                })
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

/// A list of at most `MAX` items.
struct Limited<T, const MAX: usize>(Vec<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Limited<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T, const MAX: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Items<T, MAX> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<Vec<T>, S::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    if items.len() == MAX {
                        return Err(S::Error::custom(format!("more than {MAX} items")));
                    }
                    items.push(item);
                }
                Ok(items)
            }
        }

        deserializer
            .deserialize_seq(Items::<T, MAX>(PhantomData))
            .map(Self)
    }
}
