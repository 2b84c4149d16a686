// SPDX-License-Identifier: Apache-2.0
//! JSON that every reader of the file understands alike: no key twice, none unknown.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::error::{Error, ErrorKind};

/// Parses a text that is one object. Nesting is bounded by the parser, to 128 levels.
pub(crate) fn object(bytes: &[u8]) -> Result<Fields, Error> {
    let unique: Unique =
        serde_json::from_slice(bytes).map_err(|source| malformed("malformed policy", source))?;
    Fields::new(unique.0, String::new())
}

fn malformed(what: impl Into<String>, value: impl fmt::Display) -> Error {
    Error::new(ErrorKind::Malformed, what, value)
}

/// An object of the policy, whose keys are taken one by one; what is left at the end is unknown.
#[derive(Debug)]
pub(crate) struct Fields {
    map: Map<String, Value>,
    place: String,
}

impl Fields {
    pub(crate) fn new(value: Value, place: String) -> Result<Fields, Error> {
        match value {
            Value::Object(map) => Ok(Fields { map, place }),
            _ => Err(malformed("not an object in policy", place)),
        }
    }

    pub(crate) fn take(&mut self, key: &str) -> Option<Value> {
        self.map.remove(key)
    }

    pub(crate) fn take_object(&mut self, key: &str) -> Result<Option<Fields>, Error> {
        let place = self.place(key);
        self.take(key).map(|value| Fields::new(value, place)).transpose()
    }

    /// A text that is not empty.
    pub(crate) fn take_text(&mut self, key: &str) -> Result<Option<String>, Error> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) if !text.is_empty() => Ok(Some(text)),
            Some(_) => Err(self.wrong("not a text, or empty", key)),
        }
    }

    pub(crate) fn require_text(&mut self, key: &str) -> Result<String, Error> {
        self.take_text(key)?.ok_or_else(|| self.wrong("missing", key))
    }

    /// A list of texts, neither of them empty.
    pub(crate) fn take_texts(&mut self, key: &str) -> Result<Option<Vec<String>>, Error> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        let texts = match value {
            Value::Array(items) if !items.is_empty() => items,
            _ => return Err(self.wrong("not a list, or empty", key)),
        };
        let text = |item| match item {
            Value::String(text) if !text.is_empty() => Ok(text),
            _ => Err(self.wrong("not a text, or empty", key)),
        };
        texts.into_iter().map(text).collect::<Result<_, _>>().map(Some)
    }

    /// The keys that are left.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.map.keys().cloned().collect()
    }

    /// Refuses keys that nobody has taken.
    pub(crate) fn end(self) -> Result<(), Error> {
        match self.map.keys().next() {
            None => Ok(()),
            Some(key) => Err(self.wrong("unknown key", key)),
        }
    }

    pub(crate) fn wrong(&self, what: &str, key: &str) -> Error {
        malformed(format!("{what} in policy"), self.place(key))
    }

    /// Where a key stands, such as `transports.docker`.
    pub(crate) fn place(&self, key: &str) -> String {
        if self.place.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.place)
        }
    }
}

struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Unique(Value::Null))
    }
}

impl<'de> Visitor<'de> for Unique {
    type Value = Unique;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Unique, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Unique, E> {
        Ok(Unique(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Unique, E> {
        Ok(Unique(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Unique, E> {
        Ok(Unique(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Unique, E> {
        Ok(Unique(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Unique, E> {
        Ok(Unique(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Unique, A::Error> {
        let mut items = Vec::new();
        while let Some(Unique(item)) = access.next_element()? {
            items.push(item);
        }
        Ok(Unique(items.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Unique, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(de::Error::custom(format_args!("duplicate key `{key}`")));
            }
            let Unique(value) = access.next_value()?;
            map.insert(key, value);
        }
        Ok(Unique(map.into()))
    }
}
