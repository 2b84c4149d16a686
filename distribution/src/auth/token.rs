// SPDX-License-Identifier: Apache-2.0
//! One request to a token server.

use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::HeaderValue;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::credential::secret_header;
use crate::failure;
use crate::http::{Ask, Http, Url};
use crate::{Credential, Error, ErrorKind};

/// Bytes of a token response. Tokens reach 4 KiB; those with many groups some more.
const MAX_TOKEN: u64 = 64 << 10;
/// Lifetime of a token that does not say, and the least one believed (distribution's token specification).
const LIFETIME: Duration = Duration::from_secs(60);
/// The most believed: a day-old token is better fetched anew than tried.
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// A token this close to its end is not used for a new request.
const MARGIN: Duration = Duration::from_secs(5);

/// A Bearer header and when to stop using it.
pub(crate) struct Token {
    pub(crate) header: HeaderValue,
    pub(crate) until: Instant,
}

#[derive(Deserialize)]
struct Document {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

/// Asks for a token, as a user if there is a credential, else anonymously.
pub(crate) async fn fetch(
    http: &Http,
    realm: &Url,
    service: Option<&str>,
    scope: &str,
    credential: Option<&Credential>,
) -> Result<Token, Error> {
    let mut query = Vec::new();
    if let Some(service) = service {
        query.push(("service", service));
    }
    query.push(("scope", scope));
    let url = realm.with_query(&query)?;
    let basic = credential.map(Credential::header).transpose()?;
    let mut tries = http.tries();
    let (asked, body) = loop {
        let asked = Instant::now();
        match answer(http, &url, basic.as_ref()).await {
            Ok(body) => break (asked, body),
            Err(error) => tries.again(error).await?,
        }
    };
    let bad = |why: &str| {
        Error::new(
            ErrorKind::BadResponse,
            format!("the token server's response {why}"),
        )
    };
    // No source: a JSON error could repeat a piece of the token.
    let answer: Document = serde_json::from_slice(&body).map_err(|_| bad("is not a token"))?;
    let mut tokens =
        [answer.token, answer.access_token].map(|token| Zeroizing::new(token.unwrap_or_default()));
    let token = tokens
        .iter_mut()
        .find(|token| !token.is_empty())
        .ok_or_else(|| bad("holds no token"))?;
    let mut text = Zeroizing::new(String::with_capacity("Bearer ".len() + token.len()));
    text.push_str("Bearer ");
    text.push_str(token);
    let lifetime = answer
        .expires_in
        .map_or(LIFETIME, Duration::from_secs)
        .clamp(LIFETIME, MAX_LIFETIME);
    Ok(Token {
        header: secret_header(text)?,
        until: asked + lifetime - MARGIN,
    })
}

async fn answer(http: &Http, url: &Url, basic: Option<&HeaderValue>) -> Result<Bytes, Error> {
    let response = http
        .get(Ask {
            authorization: basic,
            ..Ask::get(url, "application/json")
        })
        .await?;
    if response.status != StatusCode::OK {
        return Err(failure::of(response, "the token server").await);
    }
    response.body.collect(MAX_TOKEN).await
}
