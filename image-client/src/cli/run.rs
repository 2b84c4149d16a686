// SPDX-License-Identifier: Apache-2.0
//! From arguments to the library and back.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, anyhow};
use image_client::{
    AuthFile, Builder, Client, Credential, CredentialHelpers, ImageName, Listing, Policy, PolicyErrorKind,
    Request,
};
use serde::Serialize;
use serde_json::json;

use super::args::{Command, Common, Lookup, Options, ProgressKind, Reach};
use super::error::Failure;
use super::{lookup, names, progress, report, tend, ways};

/// The largest file or line taken as authority or credential; real ones have a few KiB, a system's whole list of
/// authorities a quarter of a MiB.
const MAX_INPUT: u64 = 4 << 20;

/// What a command gives to its user, in both forms.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) text: Vec<u8>,
    pub(crate) json: serde_json::Value,
}

impl Outcome {
    pub(crate) fn new(text: String, value: &impl Serialize) -> Result<Self, Failure> {
        let json = serde_json::to_value(value)
            .context("cannot print the result")
            .map_err(Failure::internal)?;
        Ok(Self {
            text: text.into_bytes(),
            json,
        })
    }
}

pub(crate) async fn run(command: Command) -> Result<Outcome, Failure> {
    match command {
        Command::Pull {
            options,
            image,
            bundle,
        } => {
            let (client, request) = prepare(&options, &image)?;
            let pulled = client.pull(request, bundle).await?;
            Outcome::new(format!("{}\n", pulled.image.manifest_digest), &pulled)
        }
        Command::Unpack { options, image, dir } => {
            let (client, request) = prepare(&options, &image)?;
            let unpacked = client.unpack(request, dir).await?;
            Outcome::new(format!("{}\n", unpacked.image.manifest_digest), &unpacked)
        }
        Command::Inspect { options, image } => {
            let (client, request) = prepare(&options, &image)?;
            let inspected = client.inspect(request).await?;
            Outcome::new(report::inspected(&inspected), &inspected)
        }
        Command::Manifest {
            options,
            image,
            digest,
        } => {
            let (client, request) = prepare_lookup(&options, &image)?;
            lookup::manifest(&client, request, digest).await
        }
        Command::Blob {
            options,
            image,
            digest,
            output,
        } => {
            let (client, request) = prepare_lookup(&options, &image)?;
            lookup::blob(&client, request, &digest, output.as_deref(), options.common.json).await
        }
        Command::Tags {
            options,
            image,
            limit,
            last,
        } => {
            let (client, request) = prepare_lookup(&options, &image)?;
            lookup::tags(&client, request, &Listing { after: last, limit }).await
        }
        Command::Referrers {
            options,
            image,
            artifact_type,
        } => {
            let (client, request) = prepare_lookup(&options, &image)?;
            lookup::referrers(&client, request, artifact_type.as_deref()).await
        }
        Command::Images { common } => {
            let store = store(&common)?;
            let (images, disk_bytes) = (store.images().await?, store.disk_bytes().await?);
            Outcome::new(
                report::images(&images, disk_bytes),
                &json!({"images": images, "disk_bytes": disk_bytes}),
            )
        }
        Command::Rm { common, names, image } => {
            let image = names::one(&image, &names::registries(&names)?)?;
            let removed = store(&common)?.remove(&image).await?;
            Outcome::new(report::removed(&removed), &removed)
        }
        Command::Umount { common, bundle } => {
            store(&common)?.unmount(&bundle).await?;
            Outcome::new(String::new(), &json!({"bundle": bundle}))
        }
        Command::Tend(command) => tend::run(command).await,
    }
}

/// A client for what is in the store already.
pub(crate) fn store(common: &Common) -> Result<Client, Failure> {
    Ok(Client::builder().work_dir(&common.work_dir).build()?)
}

fn prepare(options: &Options, image: &str) -> Result<(Client, Request), Failure> {
    let builder = Client::builder()
        .work_dir(&options.common.work_dir)
        .snapshotter(options.snapshotter.name());
    let (builder, request) = reach(policy(builder, options)?, &options.reach, image)?;
    let kind = match options.common.progress {
        // Log lines would tear the bars.
        ProgressKind::Auto if options.common.verbose > 0 => ProgressKind::Plain,
        kind => kind,
    };
    Ok((builder.build()?, request.progress(progress::listener(kind))))
}

fn prepare_lookup(options: &Lookup, image: &str) -> Result<(Client, Request), Failure> {
    names::one(image, &names::registries(&options.reach.names)?)?;
    let (builder, request) = reach(Client::builder(), &options.reach, image)?;
    Ok((builder.build()?, request))
}

/// How this image, and nothing else, is reached.
fn reach(mut builder: Builder, options: &Reach, image: &str) -> Result<(Builder, Request), Failure> {
    let registries = names::registries(&options.names)?;
    let mut images = names::all(image, &registries)?;
    builder = options.network.apply(builder);
    if let Some(file) = &options.ca_cert {
        builder = builder.ca_pem(
            read(file)
                .context("cannot use --ca-cert")
                .map_err(Failure::option)?,
        );
    }
    // Nothing that is given away here is given to any other host.
    let given = options.plain_http || options.creds.is_some() || options.creds_stdin;
    let given = given || options.ways.is_for_one_host() || !options.token_server.is_empty();
    let host = match images.as_slice() {
        [_, _, ..] if given => return Err(names::ambiguous(image)),
        [ImageName::Registry(reference), ..] => Some(reference.registry().to_owned()),
        _ => None,
    };
    if let Some(host) = &host {
        if options.plain_http {
            builder = builder.dangerous().plain_http(host);
        }
        for realm_host in &options.token_server {
            builder = builder.token_server(host, realm_host);
        }
        builder = credentials(builder, options, host)?;
    }
    builder = ways::set(builder, &options.ways, host.as_deref())?.registries(registries);
    let mut request = Request::new(images.remove(0));
    for image in images {
        request = request.or(image);
    }
    if let Some(platform) = &options.platform {
        request = request.platform(platform.clone());
    }
    Ok((builder, request))
}

fn policy(builder: Builder, options: &Options) -> Result<Builder, Failure> {
    if options.insecure_accept_any_image {
        return Ok(builder.dangerous().accept_any_image());
    }
    match Policy::find(options.policy.as_deref(), &Policy::DEFAULT_PATHS) {
        Ok(policy) => Ok(builder.policy(policy)),
        // `inspect` needs none, and the others say so themselves.
        Err(error) if error.kind() == PolicyErrorKind::NoPolicy => Ok(builder),
        Err(error) => Err(Failure::option(error.into())),
    }
}

fn credentials(builder: Builder, options: &Reach, host: &str) -> Result<Builder, Failure> {
    if let Some(secret) = &options.creds {
        let credential = Credential::parse(secret.text())
            .context("cannot use --creds")
            .map_err(Failure::usage)?;
        return Ok(builder.credential(host, credential));
    }
    if options.creds_stdin {
        let credential = line(io::stdin().lock())
            .context("cannot use --creds-stdin")
            .map_err(Failure::option)?;
        return Ok(builder.credential(host, credential));
    }
    let builder = match options.credential_helpers {
        true => {
            let path = std::env::var_os("PATH").unwrap_or_default();
            builder.credential_helpers(CredentialHelpers::in_folders(std::env::split_paths(&path)))
        }
        false => builder,
    };
    let Some(file) = &options.auth_file else {
        return Ok(builder.system_auth_files()?);
    };
    let parsed = read(file).and_then(|bytes| Ok(AuthFile::parse(&bytes)?));
    let parsed = parsed.with_context(|| format!("cannot use --auth-file `{}`", file.display()));
    Ok(builder.auth_file(parsed.map_err(Failure::option)?))
}

/// A credential from the first line.
fn line(input: impl Read) -> anyhow::Result<Credential> {
    use std::io::BufRead;
    let mut text = String::new();
    io::BufReader::new(input.take(MAX_INPUT)).read_line(&mut text)?;
    Ok(Credential::parse(text.trim_end_matches(['\r', '\n']))?)
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let open = || format!("cannot read `{}`", file.display());
    File::open(file)
        .with_context(open)?
        .take(MAX_INPUT + 1)
        .read_to_end(&mut bytes)
        .with_context(open)?;
    if bytes.len() as u64 > MAX_INPUT {
        return Err(anyhow!(
            "file is longer than {MAX_INPUT} bytes: `{}`",
            file.display()
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_of_stdin_is_the_credential() {
        for (input, good) in [
            ("u:p\n", true),
            ("u:p:q\r\nmore", true),
            ("u:p", true),
            ("up\n", false),
            ("", false),
        ] {
            assert_eq!(line(input.as_bytes()).is_ok(), good, "{input:?}");
        }
    }
}
