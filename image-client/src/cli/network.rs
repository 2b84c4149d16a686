// SPDX-License-Identifier: Apache-2.0
//! How patient the client is with networks, and where else it may look.

use std::time::Duration;

use clap::Args;
use image_client::{Builder, Parallel, Retry};

/// What is seldom changed.
#[derive(Debug, Args)]
pub(crate) struct Network {
    /// Tries after the first one for what fails for the moment: broken or refused connections, overloaded registries.
    #[arg(long, value_name = "N", default_value_t = Retry::default().count)]
    retry: u32,
    /// Ranges of one large blob that are fetched at once where a single response is slow; 1 for one response only.
    #[arg(long, value_name = "N", default_value_t = Parallel::default().ranges as u64,
        value_parser = clap::value_parser!(u64).range(1..=64))]
    parallel: u64,
    /// Seconds for each step to a connection.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    connect_timeout: u64,
    /// Seconds for which a registry may be silent; a whole blob may take any time.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    idle_timeout: u64,
    /// Fetch blobs from this host, too, where a manifest says that they are there (`urls`). Can be given several
    /// times; no other host is asked for them.
    #[arg(long, value_name = "HOST")]
    allow_foreign: Vec<String>,
}

impl Network {
    pub(crate) fn apply(&self, builder: Builder) -> Builder {
        let retry = Retry {
            count: self.retry,
            ..Retry::default()
        };
        let parallel = match self.parallel {
            1 => Parallel::NEVER,
            ranges => Parallel {
                ranges: usize::try_from(ranges).unwrap_or(usize::MAX),
                ..Parallel::default()
            },
        };
        let builder = builder
            .retry(retry)
            .parallel(parallel)
            .connect_timeout(Duration::from_secs(self.connect_timeout))
            .idle_timeout(Duration::from_secs(self.idle_timeout));
        self.allow_foreign
            .iter()
            .fold(builder, |builder, host| builder.foreign_host(host))
    }
}
