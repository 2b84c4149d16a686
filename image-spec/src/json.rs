// SPDX-License-Identifier: Apache-2.0
//! JSON that every reader sees alike.

use std::{
    cell::{Cell, RefCell},
    fmt,
};

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::{
    MAX_DEPTH, MAX_VALUES,
    error::{Error, ErrorKind},
    path::Path,
};

/// Parses one value that fills `bytes`.
///
/// # Errors
/// More than `cap` bytes, invalid UTF-8, a byte order mark, trailing text, a duplicate key at any
/// depth, nesting beyond [`MAX_DEPTH`], more than [`MAX_VALUES`] values.
pub(crate) fn parse(bytes: &[u8], cap: u64) -> Result<Value, Error> {
    if bytes.len() as u64 > cap {
        return Err(Error::new(ErrorKind::Limit, format!("more than {cap} bytes")).value(bytes.len()));
    }
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err(Error::new(ErrorKind::Syntax, "byte order mark before JSON"));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        Error::new(ErrorKind::Syntax, "not UTF-8").value(format!("byte {}", error.valid_up_to()))
    })?;
    let state = State::default();
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let result = Strict {
        path: Path::Root,
        depth: 0,
        state: &state,
    }
    .deserialize(&mut deserializer)
    .and_then(|value| deserializer.end().map(|()| value));
    result.map_err(|error| {
        let malformed = || Error::new(ErrorKind::Syntax, "malformed JSON");
        match state.failure.into_inner() {
            Some(failure) if *failure.kind() != ErrorKind::Syntax => failure,
            Some(failure) => failure.value(error),
            None => malformed().value(error),
        }
    })
}

/// The JSON text of a value of this crate, without spaces.
pub(crate) fn write(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("documents have string keys and finite numbers")
}

/// The failure met first, with the path that serde's own errors lack.
#[derive(Default)]
struct State {
    values: Cell<usize>,
    failure: RefCell<Option<Error>>,
}

impl State {
    fn note(&self, failure: Error, path: &Path<'_>) {
        self.failure.borrow_mut().get_or_insert_with(|| failure.at(path));
    }
}

#[derive(Clone, Copy)]
struct Strict<'a> {
    path: Path<'a>,
    depth: usize,
    state: &'a State,
}

impl Strict<'_> {
    fn refuse<E: serde::de::Error>(&self, path: &Path<'_>, kind: ErrorKind, what: impl Into<String>) -> E {
        self.state.note(Error::new(kind, what), path);
        E::custom("refused")
    }

    fn malformed<E>(&self, path: &Path<'_>, error: E) -> E {
        self.state
            .note(Error::new(ErrorKind::Syntax, "malformed JSON"), path);
        error
    }

    fn child<'b>(&'b self, path: Path<'b>) -> Strict<'b> {
        Strict {
            path,
            depth: self.depth + 1,
            state: self.state,
        }
    }

    fn count<E: serde::de::Error>(&self) -> Result<(), E> {
        if self.depth > MAX_DEPTH {
            return Err(self.refuse(
                &self.path,
                ErrorKind::Limit,
                format!("nested more than {MAX_DEPTH} deep"),
            ));
        }
        let values = self.state.values.get() + 1;
        self.state.values.set(values);
        if values > MAX_VALUES {
            return Err(self.refuse(
                &self.path,
                ErrorKind::Limit,
                format!("more than {MAX_VALUES} values"),
            ));
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.count()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        serde_json::Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        loop {
            let path = self.path.item(items.len());
            let next = access.next_element_seed(self.child(path));
            match next.map_err(|error| self.malformed(&path, error))? {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        loop {
            let next = access.next_key::<String>();
            let Some(key) = next.map_err(|error| self.malformed(&self.path, error))? else {
                return Ok(Value::Object(map));
            };
            let path = self.path.key(&key);
            if map.contains_key(&key) {
                return Err(self.refuse(&path, ErrorKind::Ambiguous, "duplicate key"));
            }
            let next = access.next_value_seed(self.child(path));
            let value = next.map_err(|error| self.malformed(&path, error))?;
            map.insert(key, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_its_place() {
        let deep = format!("{}1{}", r#"{"a":["#.repeat(40), "]}".repeat(40));
        let rows: [(&[u8], ErrorKind, &str); 15] = [
            (
                br#"{"a":{"b":[1,{"c":1,"c":2}]}}"#,
                ErrorKind::Ambiguous,
                "a.b[1].c",
            ),
            (br#"{"a":1,"\u0061":2}"#, ErrorKind::Ambiguous, "a"),
            (br#"{"a":[1,2,]}"#, ErrorKind::Syntax, "a[2]"),
            (br#"{"a":{"b":tru}}"#, ErrorKind::Syntax, "a.b"),
            (br#"{"a":1e999}"#, ErrorKind::Syntax, "a"),
            (br#"{"a":NaN}"#, ErrorKind::Syntax, "a"),
            (br#"{"a":"\ud800"}"#, ErrorKind::Syntax, "a"),
            (br#"{"a":1} {"#, ErrorKind::Syntax, ""),
            (br#"{"a":1},"#, ErrorKind::Syntax, ""),
            (b"{\"a\":\"\xff\"}", ErrorKind::Syntax, ""),
            (b"\xef\xbb\xbf{}", ErrorKind::Syntax, ""),
            (b"\xff\xfe{\0}\0", ErrorKind::Syntax, ""),
            (b"", ErrorKind::Syntax, ""),
            (b"{'a':1}", ErrorKind::Syntax, ""),
            (b"{\"a\":1 /* x */}", ErrorKind::Syntax, ""),
        ];
        for (text, kind, path) in rows {
            let error = parse(text, 1000).expect_err(&String::from_utf8_lossy(text));
            assert_eq!((error.kind(), error.path()), (&kind, path), "{error}");
        }
        assert_eq!(
            *parse(deep.as_bytes(), 1000).unwrap_err().kind(),
            ErrorKind::Limit
        );
        assert_eq!(*parse(b"[1,2,3]", 6).unwrap_err().kind(), ErrorKind::Limit);
    }

    #[test]
    fn values_are_counted_wherever_they_stand() {
        let fits = format!("[{}0]", "0,".repeat(MAX_VALUES - 2));
        assert!(parse(fits.as_bytes(), u64::MAX).is_ok());
        let over = format!("[{}0]", "0,".repeat(MAX_VALUES - 1));
        let error = parse(over.as_bytes(), u64::MAX).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("more than {MAX_VALUES} values at `[{}]`", MAX_VALUES - 1)
        );
    }

    #[test]
    fn surrounding_white_space_is_json() {
        assert_eq!(parse(b" \r\n\t{} \n", 100).unwrap(), serde_json::json!({}));
    }
}
