// SPDX-License-Identifier: Apache-2.0
//! Who may read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

/// How a registry asks for credentials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// Not at all.
    #[default]
    Open,
    /// User and password with every request.
    Basic,
    /// A token of the endpoint `/token`.
    Bearer,
}

#[derive(Debug)]
pub(super) struct Auth {
    scheme: Scheme,
    credential: Option<(String, String)>,
    lifetime: Option<u64>,
    pub(super) realm: String,
    tokens: Vec<(String, String)>,
    issued: usize,
}

impl Auth {
    pub(super) fn new(
        scheme: Scheme,
        credential: Option<(String, String)>,
        lifetime: Option<u64>,
        base: String,
    ) -> Self {
        Auth {
            scheme,
            credential,
            lifetime,
            realm: format!("{base}/token"),
            tokens: Vec::new(),
            issued: 0,
        }
    }

    pub(super) fn revoke(&mut self) {
        self.tokens.clear();
    }

    /// The challenge of a request that may not be answered. `repository` is none for `/v2/`.
    pub(super) fn refuse(&self, repository: Option<&str>, authorization: Option<&str>) -> Option<String> {
        match self.scheme {
            Scheme::Open => None,
            Scheme::Basic if self.knows(authorization) => None,
            Scheme::Basic => Some("Basic realm=\"fixture\"".to_string()),
            Scheme::Bearer => {
                let token = authorization.and_then(|a| a.strip_prefix("Bearer "));
                let scope = repository.map(|r| format!("repository:{r}:pull"));
                let known = |(t, s): &(String, String)| {
                    token == Some(t)
                        && scope
                            .as_ref()
                            .is_none_or(|scope| s.split(' ').any(|s| s == scope))
                };
                if self.tokens.iter().any(known) {
                    return None;
                }
                let scope = scope.map(|s| format!(",scope=\"{s}\"")).unwrap_or_default();
                Some(format!(
                    "Bearer realm=\"{}\",service=\"fixture\"{scope}",
                    self.realm
                ))
            }
        }
    }

    /// The token endpoint's answer; nothing where the credential is wrong.
    pub(super) fn token(&mut self, query: &str, authorization: Option<&str>) -> Option<String> {
        if self.credential.is_some() && !self.knows(authorization) {
            return None;
        }
        let scopes: Vec<String> = query
            .split('&')
            .filter_map(|p| p.strip_prefix("scope="))
            .map(percent_decode)
            .collect();
        self.issued += 1;
        let token = format!("fixture-token-{}", self.issued);
        self.tokens.push((token.clone(), scopes.join(" ")));
        let mut answer = json!({"token": token, "access_token": token});
        if let Some(lifetime) = self.lifetime {
            answer["expires_in"] = lifetime.into();
        }
        Some(answer.to_string())
    }

    fn knows(&self, authorization: Option<&str>) -> bool {
        let Some((user, password)) = &self.credential else {
            return true;
        };
        let right = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        authorization == Some(right.as_str())
    }
}

fn percent_decode(text: &str) -> String {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'%', [high, low, after @ ..]) => {
                let pair = [*high, *low];
                let digits = std::str::from_utf8(&pair)
                    .ok()
                    .and_then(|h| u8::from_str_radix(h, 16).ok());
                out.push(digits.unwrap_or(b'%'));
                rest = if digits.is_some() { after } else { tail };
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(*byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
