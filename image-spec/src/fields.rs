// SPDX-License-Identifier: Apache-2.0
//! Typed access to the members of a JSON object; what nobody takes is kept.

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
};

use serde_json::{Map, Value};

use crate::{
    error::{Error, ErrorKind},
    path::Path,
};

/// An object whose known members are taken out one by one.
pub(crate) struct Fields<'a> {
    path: &'a Path<'a>,
    map: Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// Readers in Go match keys without regard to case, so a key that equals one of `known` only
    /// then would be a second, hidden value for them. It is refused.
    pub(crate) fn open(value: Value, path: &'a Path<'a>, known: &[&str]) -> Result<Self, Error> {
        let map = match value {
            Value::Object(map) => map,
            other => return Err(wrong_type(&other, "an object", path)),
        };
        for key in map.keys().filter(|key| !known.contains(&key.as_str())) {
            if let Some(known) = known.iter().find(|known| folds_to(key, known)) {
                let what = format!("key is `{known}` in another case");
                return Err(Error::new(ErrorKind::Ambiguous, what).at(&path.key(key)));
            }
        }
        Ok(Self { path, map })
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    /// `null` is absence, as it is to Go readers, which write it for empty lists and maps.
    pub(crate) fn take(&mut self, key: &str) -> Option<Value> {
        self.map.remove(key).filter(|value| !value.is_null())
    }

    pub(crate) fn required(&mut self, key: &str) -> Result<Value, Error> {
        self.demand(key)?;
        Ok(self.map.remove(key).unwrap_or_default())
    }

    /// Refuses an object without `key`, and one that holds `null` under it.
    pub(crate) fn demand(&self, key: &str) -> Result<(), Error> {
        match self.map.get(key) {
            None | Some(Value::Null) => Err(self.error(ErrorKind::Missing, key, "missing field")),
            Some(_) => Ok(()),
        }
    }

    pub(crate) fn text(&mut self, key: &str, max: usize) -> Result<Option<String>, Error> {
        self.take(key)
            .map(|value| text(value, &self.path.key(key), max))
            .transpose()
    }

    pub(crate) fn flag(&mut self, key: &str) -> Result<bool, Error> {
        match self.take(key) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(other) => Err(wrong_type(&other, "true or false", &self.path.key(key))),
        }
    }

    pub(crate) fn parse<T: FromStr<Err = Error>>(&mut self, key: &str) -> Result<Option<T>, Error> {
        self.take(key)
            .map(|value| parse(value, &self.path.key(key)))
            .transpose()
    }

    pub(crate) fn object<T>(
        &mut self,
        key: &str,
        read: impl Fn(Value, &Path<'_>) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        self.take(key)
            .map(|value| read(value, &self.path.key(key)))
            .transpose()
    }

    pub(crate) fn list<T>(
        &mut self,
        key: &str,
        max: usize,
        read: impl Fn(Value, &Path<'_>) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let path = self.path.key(key);
        match self.take(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => {
                within(items.len(), max, &path)?;
                items
                    .into_iter()
                    .enumerate()
                    .map(|(index, item)| read(item, &path.item(index)))
                    .collect()
            }
            Some(other) => Err(wrong_type(&other, "an array", &path)),
        }
    }

    pub(crate) fn texts(&mut self, key: &str, max: usize, length: usize) -> Result<Vec<String>, Error> {
        self.list(key, max, |item, path| text(item, path, length))
    }

    pub(crate) fn map(&mut self, key: &str, max: usize) -> Result<BTreeMap<String, String>, Error> {
        let path = self.path.key(key);
        let pairs = self.pairs(&path, key, max)?;
        let read = |(key, value): (String, Value)| match value {
            Value::String(value) => Ok((key, value)),
            other => Err(wrong_type(&other, "a string", &path.key(&key))),
        };
        pairs.into_iter().map(read).collect()
    }

    /// A set as Go writes it: an object whose values are empty objects.
    pub(crate) fn set(&mut self, key: &str, max: usize) -> Result<BTreeSet<String>, Error> {
        let path = self.path.key(key);
        let pairs = self.pairs(&path, key, max)?;
        let read = |(key, value): (String, Value)| match value {
            Value::Object(map) if map.is_empty() => Ok(key),
            Value::Null => Ok(key),
            other => Err(wrong_type(&other, "an empty object", &path.key(&key))),
        };
        pairs.into_iter().map(read).collect()
    }

    fn pairs(&mut self, path: &Path<'_>, key: &str, max: usize) -> Result<Map<String, Value>, Error> {
        match self.take(key) {
            None => Ok(Map::new()),
            Some(Value::Object(map)) => {
                within(map.len(), max, path)?;
                Ok(map)
            }
            Some(other) => Err(wrong_type(&other, "an object", path)),
        }
    }

    pub(crate) fn error(&self, kind: ErrorKind, key: &str, what: impl Into<String>) -> Error {
        Error::new(kind, what).at(&self.path.key(key))
    }

    /// The members nobody took.
    pub(crate) fn rest(self) -> Map<String, Value> {
        self.map
    }
}

/// A string of at most `max` bytes. A NUL could not reach a process or a path, and hides what
/// follows it from readers in C.
pub(crate) fn text(value: Value, path: &Path<'_>, max: usize) -> Result<String, Error> {
    match value {
        Value::String(text) => {
            within(text.len(), max, path)?;
            if text.contains('\0') {
                return Err(Error::new(ErrorKind::Value, "NUL in text").at(path).value(text));
            }
            Ok(text)
        }
        other => Err(wrong_type(&other, "a string", path)),
    }
}

pub(crate) fn parse<T: FromStr<Err = Error>>(value: Value, path: &Path<'_>) -> Result<T, Error> {
    match value {
        Value::String(text) => text.parse().map_err(|error: Error| error.at(path)),
        other => Err(wrong_type(&other, "a string", path)),
    }
}

/// A whole number from 0 to `max`; `1.0` and `1e3` are not whole numbers here.
pub(crate) fn number(value: Value, path: &Path<'_>, max: u64) -> Result<u64, Error> {
    let Value::Number(number) = &value else {
        return Err(wrong_type(&value, "a number", path));
    };
    match number.as_u64() {
        Some(number) if number <= max => Ok(number),
        _ => {
            let what = format!("not a whole number from 0 to {max}");
            Err(Error::new(ErrorKind::Value, what).at(path).value(number))
        }
    }
}

fn within(count: usize, max: usize, path: &Path<'_>) -> Result<(), Error> {
    if count > max {
        return Err(Error::new(ErrorKind::Limit, format!("longer than {max}"))
            .at(path)
            .value(count));
    }
    Ok(())
}

fn wrong_type(value: &Value, wanted: &str, path: &Path<'_>) -> Error {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    Error::new(ErrorKind::Type, format!("expected {wanted}, found {found}")).at(path)
}

/// Equal under the folding of Go's `encoding/json`: ASCII case, and the two characters whose
/// Unicode folding is an ASCII letter (long s, Kelvin sign).
fn folds_to(key: &str, known: &str) -> bool {
    let fold = |c: char| match c {
        'ſ' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    key.chars().map(fold).eq(known.chars().map(fold))
}
