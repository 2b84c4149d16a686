// SPDX-License-Identifier: Apache-2.0
//! A repository on a registry (distribution-spec, section Pull).

mod list;
mod source;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::HeaderMap;
use image_spec::{Algorithm, Descriptor, Digest, MAX_MANIFEST};

use crate::auth::{Grant, Session};
use crate::client::Shared;
use crate::fetch::Fetch;
use crate::foreign::{Peer, collect};
use crate::hosts::{Mirror, Relay, Serves};
use crate::http::{Ask, Http, Origin, Response, Url};
use crate::remote::Remote;
use crate::retry::Tries;
use crate::said::{is_tag, media_type, stated};
use crate::{Blob, Error, ErrorKind, Fetched, Target, failure};

/// All four kinds of documents, so that one request is enough whatever a tag names.
const DOCUMENTS: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// One repository, from [`Client::registry`](crate::Client::registry).
///
/// Requests go out only when something is wanted: a registry's first 401 says how it wants to be
/// asked, there is no probing of `/v2/`. Redirects are followed for documents and blobs, five at
/// most and never from TLS to plain HTTP, and no credential goes to another origin.
///
/// Where the configuration names mirrors, they are asked first, in its order, each once; one that
/// cannot be reached is left alone for a while ([`MirrorLimits`](crate::MirrorLimits)). An error
/// tells what came of each. What a repository lists, tags and referrers, only the registry itself
/// is asked for: a mirror may have a part.
#[derive(Clone, Debug)]
pub struct Registry {
    parts: Arc<Parts>,
    mirrors: Arc<[Mirror]>,
    serves: Serves,
}

/// One endpoint of a repository.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) shared: Arc<Shared>,
    pub(crate) http: Http,
    pub(crate) origin: Origin,
    /// What stands before the repository in paths: `/v2`.
    pub(crate) base: String,
    /// The registry that is mirrored, where the endpoint has to be told.
    pub(crate) namespace: Option<String>,
    /// As the user asked for it.
    pub(crate) name: String,
    /// As the endpoint calls it.
    pub(crate) repository: String,
    pub(crate) session: Arc<Session>,
    pub(crate) realms: BTreeSet<String>,
    /// The next endpoint is the same host without TLS, for when this one does not speak it.
    pub(crate) twin: bool,
}

impl Registry {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            parts: Arc::new(parts),
            mirrors: Arc::new([]),
            serves: Serves::ALL,
        }
    }

    /// With mirrors, which are asked before it.
    pub(crate) fn behind(self, mirrors: Arc<[Mirror]>, serves: Serves) -> Self {
        Self {
            mirrors,
            serves,
            ..self
        }
    }

    pub(crate) fn route(&self) -> (&[Mirror], Serves) {
        (&self.mirrors, self.serves)
    }

    /// The place with a number, mirrors first.
    pub(crate) fn numbered(&self, number: usize) -> &Self {
        self.mirrors.get(number).map_or(self, |mirror| &mirror.registry)
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.parts.shared
    }

    pub(crate) fn is_twin(&self) -> bool {
        self.parts.twin
    }

    /// What to call this place in messages.
    pub(crate) fn endpoint(&self) -> String {
        match self.parts.base.strip_suffix("/v2") {
            Some(base) => format!("{}{base}", self.parts.origin),
            None => format!("{}{}", self.parts.origin, self.parts.base),
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
        Ok(Blob::relayed(descriptor, Relay::open(self, descriptor).await?))
    }

    /// A blob from this place alone, from the byte `from` on.
    pub(crate) async fn fetch_blob(&self, descriptor: &Descriptor, from: u64) -> Result<Fetch, Error> {
        let url = self.blob_url(descriptor)?;
        Fetch::open(self.peer(), &self.parts.shared.lanes, url, descriptor.size, from).await
    }

    async fn part(&self, descriptor: &Descriptor, range: Range<u64>) -> Result<Bytes, Error> {
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
        self.url(&format!("manifests/{name}"))
    }

    fn blob_url(&self, descriptor: &Descriptor) -> Result<Url, Error> {
        self.url(&format!("blobs/{}", descriptor.digest))
    }

    /// What the repository has under a name.
    fn url(&self, name: &str) -> Result<Url, Error> {
        let Parts {
            base,
            repository,
            namespace,
            ..
        } = &*self.parts;
        let url = self.parts.origin.url(&format!("{base}/{repository}/{name}"))?;
        match namespace {
            Some(namespace) => url.with_query(&[("ns", namespace)]),
            None => Ok(url),
        }
    }

    /// The tries that one thing is worth.
    pub(crate) fn tries(&self) -> Tries {
        self.parts.http.tries()
    }

    /// One request to a place that the registry sent us to before, without credentials.
    pub(crate) async fn ask_elsewhere(&self, ask: Ask<'_>) -> Result<Response, Error> {
        let response = self.parts.http.follow(ask).await?;
        failure::refuse_encoding(&response.headers)?;
        Ok(response)
    }

    /// One try at a response that can be used: status 200, or for a range also 206 and 416. Adds
    /// the authorization; a 401 is answered once.
    pub(crate) async fn ask(&self, ask: Ask<'_>) -> Result<Response, Error> {
        let Parts {
            http,
            session,
            realms,
            origin,
            ..
        } = &*self.parts;
        let mut grant = session.grant(http, realms).await?;
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
        if response.status == StatusCode::UNAUTHORIZED && response.url.origin() == origin {
            let headers = response.headers.clone();
            // Read now, which frees the connection, and said only if there is no way on.
            let refusal = self.refusal(response, grant.as_ref()).await;
            let renewed = session.renew(http, realms, grant.as_ref(), &headers).await;
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
            origin if *origin == self.parts.origin => "the registry".to_owned(),
            other => format!("`{other}`"),
        };
        let secrets = grant.map(Grant::secrets).unwrap_or_default();
        failure::of(response, &who, secrets).await
    }
}
