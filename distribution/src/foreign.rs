// SPDX-License-Identifier: Apache-2.0
//! Blobs that a manifest says are elsewhere: the `urls` of a descriptor.
//!
//! Whoever wrote the manifest chose them, so a client that followed them could be sent anywhere.
//! They are asked only for what a source does not have, only on hosts that were allowed by name,
//! over TLS, and never with a credential. Where such a host redirects to is its own affair.

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use hyper::StatusCode;
use image_spec::{Descriptor, Digest};

use crate::client::Shared;
use crate::fetch::Fetch;
use crate::http::{Ask, Response, Url};
use crate::registry::Registry;
use crate::remote::Remote;
use crate::retry::Tries;
use crate::source::check_range;
use crate::{Blob, BoxFuture, Error, ErrorKind, Fetched, Listing, Source, Target, failure};

/// Whom a blob is asked for.
#[derive(Clone, Debug)]
pub(crate) enum Peer {
    Registry(Registry),
    /// Anybody, as nobody in particular.
    Anyone(Arc<Shared>),
}

impl Peer {
    pub(crate) fn tries(&self) -> Tries {
        match self {
            Self::Registry(registry) => registry.tries(),
            Self::Anyone(shared) => shared.http.tries(),
        }
    }

    /// As [`Registry::ask`].
    pub(crate) async fn ask(&self, ask: Ask<'_>) -> Result<Response, Error> {
        let shared = match self {
            Self::Registry(registry) => return registry.ask(ask).await,
            Self::Anyone(shared) => shared,
        };
        let response = shared.http.follow(ask).await?;
        match response.status {
            StatusCode::OK => {}
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE if ask.range.is_some() => {}
            _ => {
                let who = format!("`{}`", response.url.origin());
                return Err(failure::of(response, &who, &[]).await);
            }
        }
        failure::refuse_encoding(&response.headers)?;
        Ok(response)
    }

    /// As [`Registry::ask_elsewhere`].
    pub(crate) async fn ask_elsewhere(&self, ask: Ask<'_>) -> Result<Response, Error> {
        match self {
            Self::Registry(registry) => registry.ask_elsewhere(ask).await,
            Self::Anyone(_) => self.ask(ask).await,
        }
    }
}

/// A source, and the places that its documents name for what it lacks.
#[derive(Debug)]
pub(crate) struct WithForeign {
    source: Arc<dyn Source>,
    shared: Arc<Shared>,
}

impl WithForeign {
    pub(crate) fn new(source: Arc<dyn Source>, shared: Arc<Shared>) -> Self {
        Self { source, shared }
    }

    /// The addresses of a descriptor that may be asked. Where there is none, what would help.
    fn allowed(&self, descriptor: &Descriptor) -> Result<Vec<Url>, Option<String>> {
        let mut refused = None;
        let mut allowed = Vec::new();
        for url in &descriptor.urls {
            match Url::parse(url) {
                Ok(url) if !url.origin().plain() && self.shared.foreign.contains(url.origin()) => {
                    allowed.push(url);
                }
                Ok(url) => drop(refused.get_or_insert(url)),
                Err(_) => {}
            }
        }
        match refused {
            _ if !allowed.is_empty() => Ok(allowed),
            None => Err(None),
            Some(url) if url.origin().plain() => Err(Some(format!(
                "its manifest points to `{url}`, which is not asked without TLS"
            ))),
            Some(url) => Err(Some(format!(
                "its manifest points to `{}`, which is asked only if it is allowed by name",
                url.origin()
            ))),
        }
    }

    /// Asks the addresses in their order until one has it.
    async fn elsewhere<T, F: Future<Output = Result<T, Error>>>(
        &self,
        descriptor: &Descriptor,
        missing: Error,
        ask: impl Fn(Peer, Url) -> F,
    ) -> Result<T, Error> {
        let urls = match self.allowed(descriptor) {
            Ok(urls) => urls,
            Err(Some(hint)) => return Err(missing.hinting(hint)),
            Err(None) => return Err(missing),
        };
        let mut last = missing;
        for url in urls {
            tracing::info!(%url, digest = %descriptor.digest, "a foreign blob");
            match ask(Peer::Anyone(Arc::clone(&self.shared)), url.clone()).await {
                Ok(done) => return Ok(done),
                Err(error) => {
                    last = error.doing(|| format!("blob `{}` at `{url}`", descriptor.digest.short()))
                }
            }
        }
        Err(last)
    }
}

/// All of a range.
pub(crate) async fn collect(mut remote: Remote) -> Result<Bytes, Error> {
    let mut part = BytesMut::new();
    while let Some(bytes) = remote.chunk(None).await? {
        part.extend_from_slice(&bytes);
    }
    Ok(part.freeze())
}

impl Source for WithForeign {
    fn document<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<Fetched, Error>> {
        self.source.document(target)
    }

    fn blob<'a>(&'a self, descriptor: &'a Descriptor) -> BoxFuture<'a, Result<Blob, Error>> {
        Box::pin(async move {
            match self.source.blob(descriptor).await {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    let lanes = &self.shared.lanes;
                    let open = |peer, url| Fetch::open(peer, lanes, url, descriptor.size, 0);
                    let fetch = self.elsewhere(descriptor, error, open).await?;
                    Ok(Blob::fetched(descriptor, fetch))
                }
                outcome => outcome,
            }
        })
    }

    fn changed<'a>(
        &'a self,
        target: &'a Target,
        known: &'a Digest,
    ) -> BoxFuture<'a, Result<Option<Fetched>, Error>> {
        self.source.changed(target, known)
    }

    fn size<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, Result<u64, Error>> {
        self.source.size(digest)
    }

    fn tags<'a>(&'a self, listing: &'a Listing) -> BoxFuture<'a, Result<Vec<String>, Error>> {
        self.source.tags(listing)
    }

    fn referrers<'a>(
        &'a self,
        subject: &'a Digest,
        artifact_type: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<Descriptor>, Error>> {
        self.source.referrers(subject, artifact_type)
    }

    fn range<'a>(
        &'a self,
        descriptor: &'a Descriptor,
        range: Range<u64>,
    ) -> BoxFuture<'a, Result<Bytes, Error>> {
        Box::pin(async move {
            check_range(descriptor, &range)?;
            match self.source.range(descriptor, range.clone()).await {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    let part =
                        |peer, url| collect(Remote::new(peer, url, descriptor.size, range.start, range.end));
                    self.elsewhere(descriptor, error, part).await
                }
                outcome => outcome,
            }
        })
    }
}
