// SPDX-License-Identifier: Apache-2.0
//! Requests to a token server, in the two forms of distribution's token specification.
//!
//! GET, with a password in a Basic header, is what all servers understand. A POST of OAuth2 is
//! the form for identity tokens, and is tried with a password where there is no GET. A server
//! without the form that comes first says so by status 404 or 405; then the other one follows, to
//! the same URL, which is told nothing that it has not seen.

use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::HeaderValue;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::credential::{Kind, bearer, secret_bytes};
use crate::failure;
use crate::http::{Ask, Http, Url, pairs};
use crate::{Credential, Error, ErrorKind};

/// Bytes of a token response. Tokens reach 4 KiB; those with many groups some more.
const MAX_TOKEN: u64 = 64 << 10;
/// Lifetime of a token that does not say, and the least one believed (distribution's token specification).
const LIFETIME: Duration = Duration::from_secs(60);
/// The most believed: a day-old token is better fetched anew than tried.
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// A token this close to its end is not used for a new request.
const MARGIN: Duration = Duration::from_secs(5);
/// What servers call us in their records; OAuth2 wants a name.
const CLIENT: &str = "image-client";

/// What a token is for, and who gives it.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) realm: &'a Url,
    pub(crate) service: Option<&'a str>,
    pub(crate) scope: &'a str,
}

/// A Bearer header and when to stop using it.
pub(crate) struct Token {
    pub(crate) header: HeaderValue,
    /// The token itself.
    pub(crate) secret: Zeroizing<String>,
    pub(crate) until: Instant,
}

#[derive(Deserialize)]
struct Document {
    token: Option<Zeroizing<String>>,
    access_token: Option<Zeroizing<String>>,
    refresh_token: Option<Zeroizing<String>>,
    expires_in: Option<u64>,
}

/// A response, and when it was asked for.
struct Answer {
    asked: Instant,
    body: Bytes,
}

/// No response of use.
struct Refused {
    error: Error,
    /// This form of request is not served here.
    unserved: bool,
}

/// Asks for a token, as a user if there is a credential, else anonymously.
pub(crate) async fn fetch(
    http: &Http,
    wanted: Wanted<'_>,
    credential: Option<&Credential>,
) -> Result<Token, Error> {
    // A registry token is not for token servers.
    let credential = credential.filter(|credential| credential.kind() != Kind::Registry);
    let first = match credential {
        Some(credential) if credential.kind() == Kind::Identity => post(http, wanted, credential).await,
        credential => get(http, wanted, credential).await,
    };
    let outcome = match (first, credential) {
        (Err(refused), Some(credential)) if refused.unserved => {
            let second = match credential.kind() {
                Kind::Identity => get(http, wanted, Some(credential)).await,
                _ => post(http, wanted, credential).await,
            };
            // Where neither form is served, the first one tells more.
            second.map_err(|second| if second.unserved { refused } else { second })
        }
        (outcome, _) => outcome,
    };
    let answer = outcome.map_err(|refused| refused.error)?;
    read(answer, credential)
}

/// The form with a query.
async fn get(http: &Http, wanted: Wanted<'_>, credential: Option<&Credential>) -> Result<Answer, Refused> {
    let mut query = Vec::new();
    if let Some(service) = wanted.service {
        query.push(("service", service));
    }
    query.push(("scope", wanted.scope));
    let url = wanted.realm.with_query(&query)?;
    let basic = credential.map(Credential::header).transpose()?;
    let ask = Ask {
        authorization: basic.as_ref(),
        ..Ask::get(&url, "application/json")
    };
    send(http, ask, credential).await
}

/// The form with a body (RFC 6749 sections 4.3.2 and 6). No refresh token is asked for in return
/// for a password: `access_type` stays at its default, `online`.
async fn post(http: &Http, wanted: Wanted<'_>, credential: &Credential) -> Result<Answer, Refused> {
    let secret = credential.secret();
    let mut form = match credential.kind() {
        Kind::Identity => vec![
            ("grant_type", "refresh_token"),
            ("refresh_token", secret.as_str()),
        ],
        _ => vec![
            ("grant_type", "password"),
            ("username", credential.user()),
            ("password", secret.as_str()),
        ],
    };
    form.extend(wanted.service.map(|service| ("service", service)));
    form.extend([("scope", wanted.scope), ("client_id", CLIENT)]);
    let form = secret_bytes(pairs(&form));
    let ask = Ask {
        form: Some(&form),
        ..Ask::get(wanted.realm, "application/json")
    };
    send(http, ask, Some(credential)).await
}

async fn send(http: &Http, ask: Ask<'_>, credential: Option<&Credential>) -> Result<Answer, Refused> {
    let mut tries = http.tries();
    loop {
        let asked = Instant::now();
        match answer(http, ask, credential).await {
            Ok(body) => return Ok(Answer { asked, body }),
            Err(refused) if refused.unserved => return Err(refused),
            Err(refused) => tries.again(refused.error).await?,
        }
    }
}

async fn answer(http: &Http, ask: Ask<'_>, credential: Option<&Credential>) -> Result<Bytes, Refused> {
    let response = http.get(ask).await?;
    if response.status == StatusCode::OK {
        return Ok(response.body.collect(MAX_TOKEN).await?);
    }
    let unserved = matches!(response.status.as_u16(), 404 | 405);
    let secrets = credential.map(Credential::secrets).unwrap_or_default();
    let error = failure::of(response, "the token server", &secrets).await;
    Err(Refused { error, unserved })
}

fn read(answer: Answer, credential: Option<&Credential>) -> Result<Token, Error> {
    let bad = |why: &str| {
        Error::new(
            ErrorKind::BadResponse,
            format!("the token server's response {why}"),
        )
    };
    // No source: a JSON error could repeat a piece of the token.
    let document: Document = serde_json::from_slice(&answer.body).map_err(|_| bad("is not a token"))?;
    let token = [document.token, document.access_token]
        .into_iter()
        .flatten()
        .find(|token| !token.is_empty())
        .ok_or_else(|| bad("holds no token"))?;
    let header = bearer(&token)?;
    if let (Some(credential), Some(newer)) = (credential, document.refresh_token)
        && !newer.is_empty()
    {
        // Does nothing to a password.
        credential.renew(newer);
    }
    let lifetime = document
        .expires_in
        .map_or(LIFETIME, Duration::from_secs)
        .clamp(LIFETIME, MAX_LIFETIME);
    Ok(Token {
        header,
        secret: token,
        until: answer.asked + lifetime - MARGIN,
    })
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self {
            error,
            unserved: false,
        }
    }
}
