// SPDX-License-Identifier: Apache-2.0
//! Makes an OCI layout of layers as text or as tar files:
//!
//! ```text
//! make-layout [--compression none|gzip|zstd] LAYOUT SOURCE...            an image, tagged `latest`
//! make-layout [--compression none|gzip|zstd] LAYOUT PLATFORM=SOURCE...   an image for each platform, tagged by its
//!                                                                        architecture, and an index of them as `latest`
//! ```
//!
//! A source that ends in `.txt` holds layers in the form of `fixture::Image::parse`; any other is
//! one layer's tar, taken as it is. The index has an entry of an attestation, as builders add it.

use std::path::Path;

use fixture::{Compression, Image, Index, Layer, Published};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut compression = Compression::Gzip;
    if arguments.first().is_some_and(|a| a == "--compression") {
        compression = match arguments.get(1).map(String::as_str) {
            Some("none") => Compression::None,
            Some("gzip") => Compression::Gzip,
            Some("zstd") => Compression::Zstd,
            _ => return Err("--compression needs none, gzip or zstd".into()),
        };
        arguments.drain(..2);
    }
    let [layout, sources @ ..] = arguments.as_slice() else {
        return Err("a layout to write is missing".into());
    };
    let layout = Path::new(layout);
    let platforms: Vec<(&str, &str)> = sources.iter().filter_map(|s| s.split_once('=')).collect();
    if platforms.is_empty() {
        let image = load(sources)?.compression(compression).build();
        return Ok(fixture::write_layout(layout, &[("latest", &image)])?);
    }

    let images = platforms
        .iter()
        .map(|(platform, source)| {
            Ok(load(&[source.to_string()])?
                .compression(compression)
                .platform(platform)
                .build())
        })
        .collect::<Result<Vec<Image>, Failure>>()?;
    let index = images
        .iter()
        .fold(Index::new(), Index::image)
        .attestation(&images[0]);
    let tags = platforms
        .iter()
        .map(|(platform, _)| platform.split('/').nth(1).unwrap_or(platform));
    let mut tagged: Vec<(&str, &dyn Published)> = vec![("latest", &index)];
    tagged.extend(tags.zip(images.iter().map(|i| i as &dyn Published)));
    Ok(fixture::write_layout(layout, &tagged)?)
}

fn load(sources: &[String]) -> Result<fixture::Builder, Failure> {
    let read = |path: &String| std::fs::read(path).map_err(|e| format!("{path}: {e}"));
    match sources {
        [] => Err("a source is missing".into()),
        [text] if text.ends_with(".txt") => Ok(Image::parse(&String::from_utf8(read(text)?)?)),
        tars => {
            let layers = tars
                .iter()
                .map(|path| Ok(Layer::new().raw(read(path)?).open_end()));
            Ok(Image::of(layers.collect::<Result<Vec<_>, String>>()?))
        }
    }
}
