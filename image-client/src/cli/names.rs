// SPDX-License-Identifier: Apache-2.0
//! What the names on the command line mean, by the system's registries.conf or another one.

use std::path::{Path, PathBuf};

use clap::Args;
use image_client::{ImageName, NameError, Registries};

use super::error::Failure;

const VARIABLE: &str = "CONTAINERS_REGISTRIES_CONF";
const SYSTEM: &str = "/etc/containers/registries.conf";
const SYSTEM_DROP_INS: &str = "/etc/containers/registries.conf.d";

/// What says which registries names mean.
#[derive(Debug, Args)]
pub(crate) struct Names {
    /// The registries.conf to use, alone: mirrors, blocked registries, short names. By default
    /// $CONTAINERS_REGISTRIES_CONF alone, else /etc/containers/registries.conf with its drop-ins.
    #[arg(long, value_name = "FILE")]
    registries_conf: Option<PathBuf>,
    /// The folder of drop-ins to registries.conf; by default /etc/containers/registries.conf.d.
    #[arg(long, value_name = "DIR")]
    registries_conf_dir: Option<PathBuf>,
}

/// The configuration. A file that was named is read alone, and has to be there.
pub(crate) fn registries(options: &Names) -> Result<Registries, Failure> {
    let variable = || std::env::var_os(VARIABLE).filter(|path| !path.is_empty());
    let named = options
        .registries_conf
        .clone()
        .or_else(|| variable().map(PathBuf::from));
    let system = Some(PathBuf::from(SYSTEM)).filter(|path| named.is_none() && path.exists());
    let drop_ins = match (&options.registries_conf_dir, &named) {
        (Some(folder), _) => Some(folder.as_path()),
        (None, Some(_)) => None,
        (None, None) => Some(Path::new(SYSTEM_DROP_INS)),
    };
    Registries::load(named.or(system).as_deref(), drop_ins)
        .map_err(|error| Failure::option(anyhow::Error::new(error).context("cannot use registries.conf")))
}

/// What a name may stand for, in the order in which to try.
pub(crate) fn all(text: &str, registries: &Registries) -> Result<Vec<ImageName>, Failure> {
    ImageName::candidates(text, registries).map_err(|error| match error {
        // Well formed, only not served: the command was understood.
        NameError::Unsupported(_) => Failure::unsupported(error.into()),
        error => Failure::usage(error.into()),
    })
}

/// What a name stands for, where it has to be one thing.
pub(crate) fn one(text: &str, registries: &Registries) -> Result<ImageName, Failure> {
    let [image] = all(text, registries)?.try_into().map_err(|_| ambiguous(text))?;
    Ok(image)
}

/// A short name where only one registry can be meant.
pub(crate) fn ambiguous(text: &str) -> Failure {
    Failure::usage(anyhow::anyhow!(
        "the short name may stand for images of several registries, so write it in full: `{text}`"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_malformed_name_is_usage_and_an_unserved_kind_is_a_failure() {
        let exit = |text: &str| all(text, &Registries::default()).unwrap_err().exit();
        assert_eq!(exit("UPPER"), 2);
        assert_eq!(exit("oci-layout:"), 2);
        assert_eq!(exit("cimd:/x"), 1);
    }
}
