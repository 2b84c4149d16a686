// SPDX-License-Identifier: Apache-2.0
//! The least that fetching a blob can cost: hyper on one thread, and SHA-256 of what comes.
//!
//! ```text
//! raw HOST:PORT PATH
//! ```
//!
//! Prints the digest.

use std::error::Error;
use std::io::Write as _;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use image_spec::{Algorithm, Hasher};
use tokio::net::TcpStream;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(host), Some(path)) = (arguments.next(), arguments.next()) else {
        return Err("usage: raw HOST:PORT PATH".into());
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let digest = runtime.block_on(async {
        let stream = TcpStream::connect(&host).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = Request::get(&path)
            .header(HOST, &host)
            .body(Empty::<Bytes>::new())?;
        let response = sender.send_request(request).await?;
        if response.status() != StatusCode::OK {
            return Err(format!("the server's status is {}", response.status()).into());
        }
        let mut body = response.into_body();
        let mut hasher = Hasher::new(Algorithm::Sha256);
        while let Some(frame) = body.frame().await {
            if let Ok(bytes) = frame?.into_data() {
                hasher.update(&bytes);
            }
        }
        Ok::<_, Box<dyn Error>>(hasher.finish())
    })?;
    writeln!(std::io::stdout(), "{digest}")?;
    Ok(())
}
