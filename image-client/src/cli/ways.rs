// SPDX-License-Identifier: Apache-2.0
//! How registries are reached, by options, the environment and the system's folders.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use image_client::{Builder, HostTls, Hosts, Proxies};

use super::args::Secret;
use super::error::Failure;

/// Certificates by host, as podman and docker keep them. The first folder that has a host counts.
const SYSTEM_CERTIFICATES: [&str; 2] = ["/etc/containers/certs.d", "/etc/docker/certs.d"];

/// What says how registries are reached.
#[derive(Debug, Args)]
pub(crate) struct Ways {
    /// Mirrors and certificates by host: HOST[:PORT]/hosts.toml as for containerd, or *.crt, *.cert and *.key.
    /// Read before /etc/containers/certs.d and /etc/docker/certs.d.
    #[arg(long, value_name = "DIR")]
    hosts_dir: Option<PathBuf>,
    /// Certificates for the image's own registry: *.crt are authorities, *.cert and *.key our certificate.
    #[arg(long, value_name = "DIR")]
    cert_dir: Option<PathBuf>,
    /// The proxy for all connections but those to loopback: [http|https|socks5|socks5h]://[USER:PASS@]HOST[:PORT].
    /// By default HTTPS_PROXY, HTTP_PROXY and ALL_PROXY say. Other users of this machine can see a password here.
    #[arg(long, value_name = "URL")]
    proxy: Option<Secret>,
    /// Hosts reached without proxy: names, .suffixes, addresses, networks, `*`, with commas between; by default
    /// NO_PROXY says.
    #[arg(long, value_name = "LIST")]
    no_proxy: Option<String>,
    /// Obey configurations that call a host insecure: TLS is not verified, or not used. Never use it outside a
    /// laboratory.
    #[arg(long)]
    obey_insecure: bool,
}

impl Ways {
    /// Whether something here is for the image's own registry alone.
    pub(crate) fn is_for_one_host(&self) -> bool {
        self.cert_dir.is_some()
    }
}

/// `host` is that of the image's own registry.
pub(crate) fn set(builder: Builder, options: &Ways, host: Option<&str>) -> Result<Builder, Failure> {
    let mut builder = builder
        .hosts(hosts(options, host).map_err(Failure::option)?)
        .proxies(proxies(options).map_err(Failure::option)?);
    if options.obey_insecure {
        builder = builder.dangerous().obey_insecure();
    }
    Ok(builder)
}

fn hosts(options: &Ways, host: Option<&str>) -> anyhow::Result<Hosts> {
    let mut hosts = Hosts::new();
    if let Some(folder) = &options.hosts_dir {
        // One that was named has to be there.
        std::fs::metadata(folder)
            .with_context(|| format!("cannot use --hosts-dir `{}`", folder.display()))?;
        hosts = hosts.load(folder).context("cannot use --hosts-dir")?;
    }
    for folder in SYSTEM_CERTIFICATES {
        match hosts.clone().load(Path::new(folder)) {
            Ok(more) => hosts = more,
            // Without them fewer registries are believed, not more.
            Err(error) => tracing::warn!(%error, folder, "the system's certificates are left out"),
        }
    }
    if let (Some(folder), Some(host)) = (&options.cert_dir, host) {
        std::fs::metadata(folder).with_context(|| format!("cannot use --cert-dir `{}`", folder.display()))?;
        let tls = HostTls::load(folder).context("cannot use --cert-dir")?;
        hosts = hosts.certificates(host, tls);
    }
    Ok(hosts)
}

fn proxies(options: &Ways) -> anyhow::Result<Proxies> {
    let variable = |name: &str| std::env::var(name).ok();
    let mut proxies = match &options.proxy {
        Some(url) => {
            let no_proxy = variable("NO_PROXY").or_else(|| variable("no_proxy"));
            let proxies = Proxies::from_env(|name| no_proxy.clone().filter(|_| name == "NO_PROXY"))?;
            proxies.all(url.text()).context("cannot use --proxy")?
        }
        None => Proxies::from_env(variable).context("cannot use the proxy of the environment")?,
    };
    if let Some(list) = &options.no_proxy {
        proxies = proxies.except(list).context("cannot use --no-proxy")?;
    }
    Ok(proxies)
}
