// SPDX-License-Identifier: Apache-2.0
//! A repository as a source: the first place that has what is wanted.

use std::ops::Range;

use bytes::Bytes;
use image_spec::{Descriptor, Digest};

use super::Registry;
use crate::hosts::Serves;
use crate::source::check_range;
use crate::{Blob, BoxFuture, Error, Fetched, Listing, Source, Target};

impl Source for Registry {
    fn document<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<Fetched, Error>> {
        Box::pin(async move {
            let fetched = self.first(Serves::for_target(target), |place| place.fetch(target));
            fetched.await.map_err(|error| self.at_document(target, error))
        })
    }

    fn blob<'a>(&'a self, descriptor: &'a Descriptor) -> BoxFuture<'a, Result<Blob, Error>> {
        Box::pin(async move {
            let blob = self.stream(descriptor).await;
            blob.map_err(|error| self.at_blob(&descriptor.digest, error))
        })
    }

    fn changed<'a>(
        &'a self,
        target: &'a Target,
        known: &'a Digest,
    ) -> BoxFuture<'a, Result<Option<Fetched>, Error>> {
        Box::pin(async move {
            let newer = self.first(Serves::for_target(target), |place| place.newer(target, known));
            newer.await.map_err(|error| self.at_document(target, error))
        })
    }

    fn size<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, Result<u64, Error>> {
        Box::pin(async move {
            let size = self.first(Serves::DIGESTS, |place| place.blob_size(digest));
            size.await.map_err(|error| self.at_blob(digest, error))
        })
    }

    fn tags<'a>(&'a self, listing: &'a Listing) -> BoxFuture<'a, Result<Vec<String>, Error>> {
        Box::pin(async move {
            let tags = self.list_tags(listing).await;
            tags.map_err(|error| error.doing(|| format!("tags of `{}`", self.parts.name)))
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
                error.doing(|| format!("referrers of `{}` in `{}`", subject.short(), self.parts.name))
            })
        })
    }

    fn range<'a>(
        &'a self,
        descriptor: &'a Descriptor,
        range: Range<u64>,
    ) -> BoxFuture<'a, Result<Bytes, Error>> {
        Box::pin(async move {
            check_range(descriptor, &range)?;
            if let Some(data) = &descriptor.data {
                return Blob::whole(descriptor, data.clone()).part(range).await;
            }
            let part = self.first(Serves::DIGESTS, |place| place.part(descriptor, range.clone()));
            part.await
                .map_err(|error| self.at_blob(&descriptor.digest, error))
        })
    }
}

impl Registry {
    fn at_blob(&self, digest: &Digest, error: Error) -> Error {
        error.doing(|| format!("blob `{}` of `{}`", digest.short(), self.parts.name))
    }

    fn at_document(&self, target: &Target, error: Error) -> Error {
        error.doing(|| format!("document {target} of `{}`", self.parts.name))
    }
}
