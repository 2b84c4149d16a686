// SPDX-License-Identifier: Apache-2.0
//! What a registry lists (distribution-spec, sections Content Discovery), page by page.

use bytes::Bytes;
use hyper::header::{CONTENT_LENGTH, HeaderMap};
use image_spec::{Descriptor, Digest, Document, Index, MAX_MANIFEST, MAX_MANIFESTS, MediaType};
use serde::Deserialize;

use super::Registry;
use crate::http::{Ask, Url, next};
use crate::said::{is_tag, media_type};
use crate::{Error, ErrorKind, Listing, Target};

const JSON: &str = "application/json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Tags of one page. Registries may refuse to be asked for more.
const PAGE: usize = 1000;
/// Tags of one list. The largest known repositories have about 100,000.
const MAX_TAGS: usize = 200_000;
/// Pages of one list: that many tags in pages of 100.
const MAX_PAGES: usize = 2000;

#[derive(Deserialize)]
struct Tags {
    tags: Option<Vec<String>>,
}

impl Registry {
    pub(super) async fn list_tags(&self, listing: &Listing) -> Result<Vec<String>, Error> {
        let limit = listing.limit.unwrap_or(usize::MAX);
        if limit == 0 {
            return Ok(Vec::new());
        }
        let count = limit.min(PAGE).to_string();
        let mut query = Vec::new();
        if listing.limit.is_some() {
            query.push(("n", count.as_str()));
        }
        if let Some(after) = &listing.after {
            if !is_tag(after) {
                return Err(Error::new(ErrorKind::Invalid, "the tag to go on after is none"));
            }
            query.push(("last", after.as_str()));
        }
        let url = self.url("tags/list")?.with_query(&query)?;
        let mut pages = Pages::new(url);
        let mut tags = Vec::new();
        let mut unheeded = false;
        while let Some(page) = pages.turn(self, JSON).await? {
            let page: Tags = serde_json::from_slice(&page.bytes).map_err(|cause| {
                Error::new(ErrorKind::BadResponse, "the list of tags cannot be read").because(cause)
            })?;
            let page = page.tags.unwrap_or_default();
            if page.is_empty() && pages.next.is_some() {
                let message = "a page without tags is not the last one";
                return Err(Error::new(ErrorKind::BadResponse, message));
            }
            if !page.iter().all(|tag| is_tag(tag)) {
                return Err(Error::new(
                    ErrorKind::BadResponse,
                    "the list holds what is no tag",
                ));
            }
            let known_before = |after: &String| page.contains(after);
            if page.len() > limit.min(PAGE) && listing.limit.is_some()
                || listing.after.as_ref().is_some_and(known_before)
            {
                // A registry that heeds neither number nor beginning gives all tags, in any order.
                unheeded = true;
            }
            tags.extend(page);
            if tags.len() >= limit && !unheeded {
                tags.truncate(limit);
                break;
            }
            if tags.len() > MAX_TAGS {
                return Err(
                    Error::new(ErrorKind::TooLarge, format!("more than {MAX_TAGS} tags"))
                        .hinting("ask for fewer at once, and go on after the last one"),
                );
            }
        }
        Ok(match unheeded || *listing == Listing::default() {
            // Some registries sort them only where they are asked for a part, or never.
            true => listing.of(tags),
            false => tags,
        })
    }

    /// By the referrers API or, where a registry has none, by the tag that stands in for it.
    pub(super) async fn list_referrers(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, Error> {
        let url = self.url(&format!("referrers/{subject}"))?;
        let url = match artifact_type {
            Some(wanted) => {
                let not_a_type = |cause: image_spec::Error| {
                    Error::new(ErrorKind::Invalid, "not an artifact type").because(cause)
                };
                wanted.parse::<MediaType>().map_err(not_a_type)?;
                url.with_query(&[("artifactType", wanted)])?
            }
            None => url,
        };
        let mut pages = Pages::new(url);
        let mut found = Vec::new();
        loop {
            let page = match pages.turn(self, INDEX).await {
                Ok(Some(page)) => page,
                Ok(None) => break,
                Err(error) if error.kind() == ErrorKind::NotFound && pages.count == 1 => {
                    found = self.tagged_referrers(subject).await?;
                    break;
                }
                Err(error) => return Err(error),
            };
            found.extend(index(&page.bytes, media_type(&page.headers)?.as_ref())?.manifests);
            if found.len() > MAX_MANIFESTS {
                let message = format!("more than {MAX_MANIFESTS} referrers");
                return Err(Error::new(ErrorKind::TooLarge, message));
            }
        }
        // A registry need not filter, and a tag cannot.
        found.retain(|entry| {
            artifact_type.is_none_or(|wanted| entry.artifact_type.as_deref() == Some(wanted))
        });
        Ok(found)
    }

    /// The index under the tag `<algorithm>-<hex>` (distribution-spec, Referrers Tag Schema).
    async fn tagged_referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, Error> {
        let hex = subject.hex();
        let tag = format!(
            "{}-{}",
            subject.algorithm().as_str(),
            hex.get(..64).unwrap_or(&hex)
        );
        match self.fetch(&Target::Tag(tag)).await {
            Ok(fetched) => Ok(index(&fetched.bytes, fetched.media_type.as_ref())?.manifests),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// What the registry says of a blob without sending it. Storage services behind some
    /// registries answer no HEAD, so that the beginning of a response has to do.
    pub(super) async fn blob_size(&self, digest: &Digest) -> Result<u64, Error> {
        let url = self.url(&format!("blobs/{digest}"))?;
        let ask = Ask::get(&url, "application/octet-stream, */*;q=0.1");
        match self.length(Ask { head: true, ..ask }).await {
            Ok(Some(size)) => return Ok(size),
            Err(error) if error.is_transient() || error.kind() == ErrorKind::Tls => return Err(error),
            Ok(None) | Err(_) => {}
        }
        let unknown = || {
            Error::new(
                ErrorKind::BadResponse,
                "the registry does not say how large it is",
            )
        };
        self.length(ask).await?.ok_or_else(unknown)
    }

    async fn length(&self, ask: Ask<'_>) -> Result<Option<u64>, Error> {
        let mut tries = self.tries();
        loop {
            match self.ask(ask).await {
                Ok(response) => return Ok(length(&response.headers)),
                Err(error) => tries.again(error).await?,
            }
        }
    }
}

/// A list on its way.
struct Pages {
    next: Option<Url>,
    count: usize,
}

struct Page {
    headers: HeaderMap,
    bytes: Bytes,
}

impl Pages {
    fn new(first: Url) -> Self {
        Self {
            next: Some(first),
            count: 0,
        }
    }

    /// The next page, if there is one. None but the registry is asked for it.
    async fn turn(&mut self, registry: &Registry, accept: &'static str) -> Result<Option<Page>, Error> {
        let Some(url) = self.next.take() else {
            return Ok(None);
        };
        self.count += 1;
        if self.count > MAX_PAGES {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!("more than {MAX_PAGES} pages"),
            ));
        }
        let mut tries = registry.tries();
        let (from, page) = loop {
            let reading = async {
                let response = registry.ask(Ask::get(&url, accept)).await?;
                let bytes = response.body.collect(MAX_MANIFEST).await?;
                let headers = response.headers;
                Ok::<_, Error>((response.url, Page { headers, bytes }))
            };
            match reading.await {
                Ok(answer) => break answer,
                Err(error) => tries.again(error).await?,
            }
        };
        if let Some(target) = next(&page.headers)? {
            let next = from.join(target)?;
            if *next.origin() != registry.parts.origin {
                let message = format!("the next page is not on the registry: `{next}`");
                return Err(Error::new(ErrorKind::BadResponse, message));
            }
            if next == url {
                return Err(Error::new(
                    ErrorKind::BadResponse,
                    "the next page is the same one",
                ));
            }
            self.next = Some(next);
        }
        Ok(Some(page))
    }
}

fn index(bytes: &[u8], media_type: Option<&MediaType>) -> Result<Index, Error> {
    match Document::parse(bytes, media_type).map_err(Error::document)? {
        Document::Index(index) => Ok(index),
        Document::Manifest(_) => Err(Error::new(
            ErrorKind::BadResponse,
            "the list of referrers is a manifest, not an index",
        )),
    }
}

/// Digits and nothing else, once.
fn length(headers: &HeaderMap) -> Option<u64> {
    let mut values = headers.get_all(CONTENT_LENGTH).iter();
    let text = values.next()?.to_str().ok()?;
    let plain = values.next().is_none() && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok())?
}
