// SPDX-License-Identifier: Apache-2.0
//! A repository on a registry (distribution-spec, section Pull).

mod list;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName};
use image_spec::{Algorithm, Descriptor, Digest, MAX_MANIFEST, MAX_TAG, MediaType};

use crate::auth::{Grant, Session};
use crate::client::Shared;
use crate::fetch::Fetch;
use crate::foreign::{Peer, collect};
use crate::http::{Ask, Origin, Response, Url};
use crate::remote::Remote;
use crate::retry::Tries;
use crate::source::check_range;
use crate::{Blob, BoxFuture, Error, ErrorKind, Fetched, Listing, Source, Target, failure};

/// All four kinds of documents, so that one request is enough whatever a tag names.
const DOCUMENTS: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// One repository, from [`Client::registry`](crate::Client::registry).
///
/// Requests go out only when something is wanted: a registry's first 401 says how it wants to be
/// asked, there is no probing of `/v2/`. Redirects are followed for documents and blobs, five at
/// most and never from TLS to plain HTTP, and no credential goes to another origin.
#[derive(Clone, Debug)]
pub struct Registry {
    shared: Arc<Shared>,
    origin: Origin,
    name: String,
    repository: String,
    session: Arc<Session>,
    realms: BTreeSet<String>,
}

impl Registry {
    pub(crate) fn new(
        shared: Arc<Shared>,
        origin: Origin,
        name: String,
        repository: String,
        session: Arc<Session>,
        realms: BTreeSet<String>,
    ) -> Self {
        Self {
            shared,
            origin,
            name,
            repository,
            session,
            realms,
        }
    }

    async fn fetch(&self, target: &Target) -> Result<Fetched, Error> {
        let url = self.document_url(target)?;
        let mut tries = self.tries();
        let (headers, bytes) = loop {
            match self.read(&url).await {
                Ok(answer) => break answer,
                Err(error) => tries.again(error).await?,
            }
        };
        let media_type = media_type(&headers)?;
        let stated = stated(&headers)?;
        let expected = match target {
            Target::Digest(digest) => Some(*digest),
            _ => stated,
        };
        let digest = Digest::of(
            expected.map_or(Algorithm::Sha256, |digest| digest.algorithm()),
            &bytes,
        );
        match expected {
            Some(expected) if expected != digest => Err(Error::new(
                ErrorKind::Digest,
                format!("the document has another digest than `{expected}`: `{digest}`"),
            )),
            _ => Ok(Fetched {
                bytes,
                digest,
                media_type,
            }),
        }
    }

    async fn read(&self, url: &Url) -> Result<(HeaderMap, Bytes), Error> {
        let response = self.ask(Ask::get(url, DOCUMENTS)).await?;
        Ok((response.headers, response.body.collect(MAX_MANIFEST).await?))
    }

    async fn stream(&self, descriptor: &Descriptor) -> Result<Blob, Error> {
        if let Some(data) = &descriptor.data {
            return Ok(Blob::whole(descriptor, data.clone()));
        }
        let url = self.blob_url(descriptor)?;
        let fetch = Fetch::open(self.peer(), &self.shared.lanes, url, descriptor.size).await?;
        Ok(Blob::fetched(descriptor, fetch))
    }

    async fn part(&self, descriptor: &Descriptor, range: Range<u64>) -> Result<Bytes, Error> {
        check_range(descriptor, &range)?;
        if let Some(data) = &descriptor.data {
            return Blob::whole(descriptor, data.clone()).part(range).await;
        }
        let url = self.blob_url(descriptor)?;
        collect(Remote::new(
            self.peer(),
            url,
            descriptor.size,
            range.start,
            range.end,
        ))
        .await
    }

    fn peer(&self) -> Peer {
        Peer::Registry(self.clone())
    }

    /// One HEAD request if nothing changed. Registries that cannot answer it, or not in these
    /// words, are asked for the document.
    async fn newer(&self, target: &Target, known: &Digest) -> Result<Option<Fetched>, Error> {
        match self.digest(target).await {
            Ok(digest) if digest.as_ref() == Some(known) => return Ok(None),
            Err(error) if error.is_transient() || error.kind() == ErrorKind::Tls => return Err(error),
            Ok(_) | Err(_) => {}
        }
        let fetched = self.fetch(target).await?;
        Ok((!fetched.is(known)).then_some(fetched))
    }

    /// The digest that the registry states for a document without sending it.
    async fn digest(&self, target: &Target) -> Result<Option<Digest>, Error> {
        if let Target::Digest(digest) = target {
            return Ok(Some(*digest));
        }
        let url = self.document_url(target)?;
        let mut tries = self.tries();
        loop {
            let ask = Ask {
                head: true,
                ..Ask::get(&url, DOCUMENTS)
            };
            match self.ask(ask).await {
                Ok(response) => {
                    let digest = stated(&response.headers).ok().flatten();
                    response.discard().await;
                    return Ok(digest);
                }
                Err(error) => tries.again(error).await?,
            }
        }
    }

    fn document_url(&self, target: &Target) -> Result<Url, Error> {
        let name = match target {
            Target::Only | Target::Number(_) => {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    "a registry has no only image: name a tag or a digest",
                ));
            }
            Target::Tag(tag) if is_tag(tag) => tag.clone(),
            Target::Tag(_) => return Err(Error::new(ErrorKind::Invalid, "not a tag")),
            Target::Digest(digest) => digest.to_string(),
        };
        self.origin
            .url(&format!("/v2/{}/manifests/{name}", self.repository))
    }

    fn blob_url(&self, descriptor: &Descriptor) -> Result<Url, Error> {
        self.origin
            .url(&format!("/v2/{}/blobs/{}", self.repository, descriptor.digest))
    }

    /// The tries that one thing is worth.
    pub(crate) fn tries(&self) -> Tries {
        self.shared.http.tries()
    }

    /// One request to a place that the registry sent us to before, without credentials.
    pub(crate) async fn ask_elsewhere(&self, ask: Ask<'_>) -> Result<Response, Error> {
        let response = self.shared.http.follow(ask).await?;
        failure::refuse_encoding(&response.headers)?;
        Ok(response)
    }

    /// One try at a response that can be used: status 200, or for a range also 206 and 416. Adds
    /// the authorization; a 401 is answered once.
    pub(crate) async fn ask(&self, ask: Ask<'_>) -> Result<Response, Error> {
        let http = &self.shared.http;
        let mut grant = self.session.grant(http, &self.realms).await?;
        let ranged = ask.range.is_some();
        let ask = |grant: &Option<Grant>| {
            let authorization = grant.as_ref().map(|grant| grant.header().clone());
            async move {
                http.follow(Ask {
                    authorization: authorization.as_ref(),
                    ..ask
                })
                .await
            }
        };
        let mut response = ask(&grant).await?;
        if response.status == StatusCode::UNAUTHORIZED && *response.url.origin() == self.origin {
            let headers = response.headers.clone();
            // Read now, which frees the connection, and said only if there is no way on.
            let refusal = self.refusal(response, grant.as_ref()).await;
            let renewed = self
                .session
                .renew(http, &self.realms, grant.as_ref(), &headers)
                .await;
            grant = Some(match renewed {
                Ok(grant) => grant,
                Err(error) if error.kind() == ErrorKind::Unauthorized => {
                    return Err(refusal.hinting_as(&error).because(error));
                }
                Err(error) => return Err(error),
            });
            response = ask(&grant).await?;
        }
        let used = match response.status {
            StatusCode::OK => true,
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => ranged,
            _ => false,
        };
        if !used {
            let error = self.refusal(response, grant.as_ref()).await;
            let hint = grant.as_ref().and_then(Grant::hint);
            return Err(match (error.kind(), hint) {
                (ErrorKind::Unauthorized | ErrorKind::Denied | ErrorKind::NotFound, Some(hint)) => {
                    error.hinting(hint)
                }
                _ => error,
            });
        }
        failure::refuse_encoding(&response.headers)?;
        Ok(response)
    }

    /// The error for a status that is no success, be it the registry's or that of a storage
    /// service behind it, to a request that carried `grant`.
    async fn refusal(&self, response: Response, grant: Option<&Grant>) -> Error {
        let who = match response.url.origin() {
            origin if *origin == self.origin => "the registry".to_owned(),
            other => format!("`{other}`"),
        };
        let secrets = grant.map(Grant::secrets).unwrap_or_default();
        failure::of(response, &who, secrets).await
    }
}

impl Source for Registry {
    fn document<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<Fetched, Error>> {
        Box::pin(async move {
            let fetched = self.fetch(target).await;
            fetched.map_err(|error| error.doing(|| format!("document {target} of `{}`", self.name)))
        })
    }

    fn blob<'a>(&'a self, descriptor: &'a Descriptor) -> BoxFuture<'a, Result<Blob, Error>> {
        Box::pin(async move {
            let blob = self.stream(descriptor).await;
            blob.map_err(|error| {
                error.doing(|| format!("blob `{}` of `{}`", descriptor.digest.short(), self.name))
            })
        })
    }

    fn changed<'a>(
        &'a self,
        target: &'a Target,
        known: &'a Digest,
    ) -> BoxFuture<'a, Result<Option<Fetched>, Error>> {
        Box::pin(async move {
            let newer = self.newer(target, known).await;
            newer.map_err(|error| error.doing(|| format!("document {target} of `{}`", self.name)))
        })
    }

    fn size<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, Result<u64, Error>> {
        Box::pin(async move {
            let size = self.blob_size(digest).await;
            size.map_err(|error| error.doing(|| format!("blob `{}` of `{}`", digest.short(), self.name)))
        })
    }

    fn tags<'a>(&'a self, listing: &'a Listing) -> BoxFuture<'a, Result<Vec<String>, Error>> {
        Box::pin(async move {
            let tags = self.list_tags(listing).await;
            tags.map_err(|error| error.doing(|| format!("tags of `{}`", self.name)))
        })
    }

    fn referrers<'a>(
        &'a self,
        subject: &'a Digest,
        artifact_type: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<Descriptor>, Error>> {
        Box::pin(async move {
            let found = self.list_referrers(subject, artifact_type).await;
            found.map_err(|error| {
                error.doing(|| format!("referrers of `{}` in `{}`", subject.short(), self.name))
            })
        })
    }

    fn range<'a>(
        &'a self,
        descriptor: &'a Descriptor,
        range: Range<u64>,
    ) -> BoxFuture<'a, Result<Bytes, Error>> {
        Box::pin(async move {
            let part = self.part(descriptor, range).await;
            part.map_err(|error| {
                error.doing(|| format!("blob `{}` of `{}`", descriptor.digest.short(), self.name))
            })
        })
    }
}

/// The distribution specification's grammar; anything else must not get into a URL.
fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= MAX_TAG
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

/// What the registry calls the document. The names that servers give to any file say nothing.
fn media_type(headers: &HeaderMap) -> Result<Option<MediaType>, Error> {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return Ok(None);
    };
    let bad = || Error::new(ErrorKind::BadResponse, "the Content-Type cannot be read");
    let text = value.to_str().map_err(|_| bad())?;
    let media_type = MediaType::from_content_type(text).map_err(|cause| bad().because(cause))?;
    Ok(match &media_type {
        MediaType::Other(name) if matches!(&**name, "application/json" | "application/octet-stream") => None,
        _ => Some(media_type),
    })
}

/// The digest that the registry states for its answer.
fn stated(headers: &HeaderMap) -> Result<Option<Digest>, Error> {
    let Some(value) = headers.get(DIGEST) else {
        return Ok(None);
    };
    let bad = || Error::new(ErrorKind::BadResponse, "the Docker-Content-Digest cannot be read");
    let text = value.to_str().map_err(|_| bad())?;
    text.parse()
        .map(Some)
        .map_err(|cause: image_spec::Error| bad().because(cause))
}
