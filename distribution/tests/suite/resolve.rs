// SPDX-License-Identifier: Apache-2.0
//! From an index to a manifest.

use distribution::{Error, ErrorKind, Resolved, Target, resolve};
use image_spec::{Descriptor, Dialect, Digest, Index, MediaType};

use crate::image::{MANIFEST, amd64, assert_error, image, registry, tag};
use crate::layout::Folder;
use crate::server::{Reply, Server};

fn for_amd64(mut entry: Descriptor) -> Descriptor {
    entry.platform = Some(amd64());
    entry
}

/// Resolves a layout's only image: an index with this entry.
async fn through(folder: &Folder, entry: Descriptor) -> Result<Resolved, Error> {
    let index = Index::new(Dialect::Oci, vec![entry]).to_vec();
    folder.blob(&index);
    folder.index(vec![Descriptor::of(MediaType::Index(Dialect::Oci), &index)]);
    resolve(&folder.open(), &Target::Only, &amd64()).await
}

#[tokio::test]
async fn an_index_leads_to_the_manifest_of_the_platform() {
    let image = image();
    let folder = Folder::of(&image);
    let found = through(&folder, for_amd64(image.entry())).await.unwrap();
    assert_eq!(found.top.media_type, Some(MediaType::Index(Dialect::Oci)));
    assert_eq!(found.manifest_bytes.bytes, image.manifest);
    assert_eq!(found.platform, Some(amd64()));
    let other = resolve(&folder.open(), &Target::Only, &"linux/arm64".parse().unwrap()).await;
    assert_error(other, ErrorKind::Document, "linux/amd64");
}

#[tokio::test]
async fn indexes_nest_once() {
    let image = image();
    let folder = Folder::of(&image);
    let nest = |entry: Descriptor| {
        let index = Index::new(Dialect::Oci, vec![for_amd64(entry)]).to_vec();
        folder.blob(&index);
        Descriptor::of(MediaType::Index(Dialect::Oci), &index)
    };
    let once = nest(image.entry());
    let twice = nest(once.clone());
    let found = through(&folder, for_amd64(once)).await.unwrap();
    assert_eq!(found.manifest_bytes.digest, Digest::sha256(&image.manifest));
    assert_error(
        through(&folder, for_amd64(twice)).await,
        ErrorKind::TooLarge,
        "more than 2 indexes in a row",
    );
}

#[tokio::test]
async fn a_manifest_is_what_its_index_says() {
    let image = image();
    let folder = Folder::of(&image);
    let entry = for_amd64(image.entry());
    let size = Descriptor {
        size: entry.size + 1,
        ..entry.clone()
    };
    assert_error(through(&folder, size).await, ErrorKind::Size, "its index says");
    let huge = Descriptor {
        size: 5 << 20,
        ..entry.clone()
    };
    assert_error(through(&folder, huge).await, ErrorKind::TooLarge, "5242880");
    let kind = Descriptor {
        media_type: MediaType::Index(Dialect::Oci),
        ..entry.clone()
    };
    assert_error(through(&folder, kind).await, ErrorKind::Document, "media type");
    let absent = Descriptor {
        digest: Digest::sha256(b"absent"),
        ..entry
    };
    assert_error(
        through(&folder, absent).await,
        ErrorKind::NotFound,
        "cannot be opened",
    );
}

#[tokio::test]
async fn an_embedded_manifest_is_not_asked_for() {
    let image = image();
    let mut entry = for_amd64(image.entry());
    entry.data = Some(image.manifest.clone());
    let folder = Folder::new();
    let found = through(&folder, entry).await.unwrap();
    assert_eq!(found.manifest_bytes.bytes, image.manifest);
}

#[tokio::test]
async fn a_registry_is_asked_for_the_index_and_one_manifest() {
    let image = image();
    let entry = for_amd64(image.entry());
    let index = Index::new(Dialect::Docker, vec![entry.clone()]);
    let kind = index.media_type.clone().unwrap().to_string();
    let bytes = index.to_vec();
    let digest = entry.digest;
    let serve = move |content_type: &'static str| {
        let (bytes, kind, image) = (bytes.clone(), kind.clone(), crate::image::image());
        move |asked: &crate::server::Asked| match asked.path.ends_with("/tag") {
            true => Reply::ok(bytes.clone()).with("content-type", kind.clone()),
            false => Reply::ok(image.manifest.clone()).with("content-type", content_type),
        }
    };
    let server = Server::start(serve(MANIFEST)).await;
    let client = server.client().build().unwrap();
    let found = resolve(&registry(&client, &server.host()), &tag(), &amd64())
        .await
        .unwrap();
    assert_eq!(found.manifest_bytes.digest, digest);
    assert_eq!(
        server.paths(),
        [
            "/v2/ns/app/manifests/tag".to_owned(),
            format!("/v2/ns/app/manifests/{digest}")
        ]
    );

    let server = Server::start(serve("application/vnd.docker.distribution.manifest.v2+json")).await;
    let client = server.client().build().unwrap();
    let outcome = resolve(&registry(&client, &server.host()), &tag(), &amd64()).await;
    assert_error(
        outcome,
        ErrorKind::BadResponse,
        "its index says `application/vnd.oci.image.manifest.v1+json`",
    );
}
