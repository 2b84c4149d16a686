// SPDX-License-Identifier: Apache-2.0
//! The WWW-Authenticate header (RFC 9110 section 11.6.1), read strictly.

use hyper::header::{HeaderMap, WWW_AUTHENTICATE};

use crate::http::Url;
use crate::{Error, ErrorKind};

/// Challenges of one response, over all its header lines. Registries send one or two.
const MAX_CHALLENGES: usize = 16;
/// Parameters of one challenge. Bearer has five.
const MAX_PARAMETERS: usize = 32;

/// What a registry asks for, in the one form we answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    Bearer {
        /// Not needed by those who have a token.
        realm: Option<Url>,
        service: Option<String>,
        scope: Option<String>,
    },
    Basic,
}

/// One challenge as written; names of schemes and parameters in lower case.
#[derive(Debug, Default, PartialEq, Eq)]
struct Raw {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// The strongest challenge of a 401 response: Bearer before Basic.
    pub(crate) fn choose(headers: &HeaderMap) -> Result<Self, Error> {
        let mut all = Vec::new();
        for value in headers.get_all(WWW_AUTHENTICATE) {
            let text = value.to_str().map_err(|_| malformed())?;
            Reader { rest: text }.challenges(&mut all)?;
        }
        if let Some(bearer) = all.iter().find(|raw| raw.scheme == "bearer") {
            let realm = bearer.get("realm").map(Url::parse).transpose();
            let realm = realm.map_err(|cause| malformed().because(cause))?;
            let owned = |name| bearer.get(name).map(str::to_owned);
            return Ok(Self::Bearer {
                realm,
                service: owned("service"),
                scope: owned("scope"),
            });
        }
        if all.iter().any(|raw| raw.scheme == "basic") {
            return Ok(Self::Basic);
        }
        let schemes: Vec<&str> = all.iter().map(|raw| raw.scheme.as_str()).collect();
        Err(match schemes.is_empty() {
            true => Error::new(
                ErrorKind::Unauthorized,
                "the registry refuses and does not say what it wants",
            ),
            false => Error::unsupported(format!("authentication scheme `{}`", schemes.join("`, `"))),
        })
    }
}

impl Raw {
    fn get(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Also for a Bearer challenge without a realm where a token has to be fetched.
pub(super) fn malformed() -> Error {
    Error::new(
        ErrorKind::BadResponse,
        "the registry's WWW-Authenticate header is malformed",
    )
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn challenges(&mut self, all: &mut Vec<Raw>) -> Result<(), Error> {
        loop {
            while self.blank() || self.eat(',') {}
            if self.rest.is_empty() {
                return Ok(());
            }
            if all.len() == MAX_CHALLENGES {
                return Err(malformed());
            }
            let mut challenge = Raw {
                scheme: self.token()?.to_ascii_lowercase(),
                ..Raw::default()
            };
            if self.blank() && !self.token68() {
                self.parameters(&mut challenge)?;
            }
            if !self.rest.is_empty() && !self.rest.starts_with(',') {
                return Err(malformed());
            }
            all.push(challenge);
        }
    }

    /// Comma-separated parameters, up to the end or to what can only be the next scheme.
    fn parameters(&mut self, challenge: &mut Raw) -> Result<(), Error> {
        loop {
            let before = self.rest;
            while self.blank() || self.eat(',') {}
            if self.rest.is_empty() {
                return Ok(());
            }
            let name = self.token()?.to_ascii_lowercase();
            self.blank();
            if !self.eat('=') {
                self.rest = before;
                return match before.trim_start().starts_with(',') {
                    true => Ok(()),
                    false => Err(malformed()),
                };
            }
            self.blank();
            let value = if self.eat('"') {
                self.quoted()?
            } else {
                self.token()?.to_owned()
            };
            if challenge.get(&name).is_some() || challenge.parameters.len() == MAX_PARAMETERS {
                return Err(malformed());
            }
            challenge.parameters.push((name, value));
            self.blank();
            if !self.rest.is_empty() && !self.rest.starts_with(',') {
                return Err(malformed());
            }
        }
    }

    /// Skips blanks; true if there were any.
    fn blank(&mut self) -> bool {
        let before = self.rest.len();
        self.rest = self.rest.trim_start_matches([' ', '\t']);
        self.rest.len() < before
    }

    fn eat(&mut self, wanted: char) -> bool {
        match self.rest.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn token(&mut self) -> Result<&'a str, Error> {
        let end = self.rest.find(|c| !is_token(c)).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at_checked(end).ok_or_else(malformed)?;
        self.rest = rest;
        match token.is_empty() {
            true => Err(malformed()),
            false => Ok(token),
        }
    }

    /// Skips a bare credential such as Negotiate's, which ends its challenge.
    fn token68(&mut self) -> bool {
        let letter = |c: char| c.is_ascii_alphanumeric() || "-._~+/".contains(c);
        let rest = self.rest.trim_start_matches(letter).trim_start_matches('=');
        let ends = rest.trim_start_matches([' ', '\t']);
        if rest.len() == self.rest.len() || !(ends.is_empty() || ends.starts_with(',')) {
            return false;
        }
        self.rest = ends;
        true
    }

    /// The rest of a quoted string, unescaped.
    fn quoted(&mut self) -> Result<String, Error> {
        let mut out = String::new();
        let mut characters = self.rest.chars();
        loop {
            let c = match characters.next().ok_or_else(malformed)? {
                '"' => break,
                '\\' => characters.next().ok_or_else(malformed)?,
                c => c,
            };
            if !matches!(c, '\t' | ' '..='~') {
                return Err(malformed());
            }
            out.push(c);
        }
        self.rest = characters.as_str();
        Ok(out)
    }
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<String> {
        let mut all = Vec::new();
        Reader { rest: text }.challenges(&mut all).ok()?;
        let show = |raw: &Raw| {
            let pairs: Vec<String> = raw.parameters.iter().map(|(k, v)| format!("{k}={v}")).collect();
            format!("{}({})", raw.scheme, pairs.join("|"))
        };
        Some(all.iter().map(show).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn challenges_are_read_as_the_rfc_says() {
        for (text, want) in [
            ("Basic", "basic()"),
            ("BASIC realm=\"a b\"", "basic(realm=a b)"),
            (
                "Bearer realm=\"https://h/t\",service=\"s\"",
                "bearer(realm=https://h/t|service=s)",
            ),
            (
                "Bearer realm = \"x\" ,\tservice=tok",
                "bearer(realm=x|service=tok)",
            ),
            ("Bearer realm=\"a,b=\\\"c\\\\\"", "bearer(realm=a,b=\"c\\)"),
            (
                "Basic realm=\"r\", Bearer realm=\"q\",scope=\"\"",
                "basic(realm=r) bearer(realm=q|scope=)",
            ),
            ("Negotiate, Basic", "negotiate() basic()"),
            (
                "Negotiate YWJj==, Bearer realm=\"q\"",
                "negotiate() bearer(realm=q)",
            ),
            (", ,Basic realm=\"x\",", "basic(realm=x)"),
            ("", ""),
        ] {
            assert_eq!(read(text).as_deref(), Some(want), "{text}");
        }
    }

    #[test]
    fn malformed_challenges_are_refused() {
        for text in [
            "Bearer realm=\"open",
            "Bearer realm=\"x\\",
            "Bearer realm=\"a\",realm=\"b\"",
            "Bearer realm=\"a\" service=\"b\"",
            "Bearer realm=\"a\"x",
            "Bearer realm=\"\u{7}\"",
            "Bearer realm=,service=b",
            "=x",
            "\"Bearer\"",
            "Basic realm x",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        let many = "Basic,".repeat(MAX_CHALLENGES + 1);
        assert_eq!(read(&many), None);
    }
}
