// SPDX-License-Identifier: Apache-2.0
//! Where credentials are looked for once a registry has asked for one.

use std::collections::BTreeMap;
use std::sync::Arc;

#[cfg(feature = "credential-helpers")]
use super::helper::Helpers;
use crate::authfile::{Found, hub};
use crate::error::clean;
use crate::{AuthFile, Credential, Credentials, Error, ErrorKind};

/// All places of one client, in order: credentials given by name, suppliers, auth files.
#[derive(Debug, Default)]
pub(crate) struct Keyring {
    given: BTreeMap<String, Credential>,
    suppliers: Vec<Arc<dyn Credentials>>,
    files: Vec<AuthFile>,
    #[cfg(feature = "credential-helpers")]
    helpers: Option<Helpers>,
}

/// What there is for one repository.
#[derive(Clone, Debug, Default)]
pub(crate) struct Held {
    pub(crate) credential: Option<Credential>,
    /// What to tell whoever is refused without one.
    pub(crate) hint: Option<String>,
}

impl Keyring {
    pub(crate) fn give(&mut self, host: &str, credential: Credential) {
        self.given.insert(named(host), credential);
    }

    pub(crate) fn ask_supplier(&mut self, supplier: Arc<dyn Credentials>) {
        self.suppliers.push(supplier);
    }

    pub(crate) fn read(&mut self, file: AuthFile) {
        self.files.push(file);
    }

    #[cfg(feature = "credential-helpers")]
    pub(crate) fn run_helpers(&mut self, helpers: Helpers) {
        self.helpers = Some(helpers);
    }

    /// The credential for a repository. `refused` is the one that was of no use just now, and is
    /// not taken from memory again.
    ///
    /// # Errors
    ///
    /// [`Credentials`](ErrorKind::Credentials) if a supplier or helper fails, and those of
    /// [`AuthFile::lookup`] but for helpers that may not run, which become a hint.
    pub(crate) async fn find(
        &self,
        host: &str,
        repository: &str,
        refused: Option<&Credential>,
    ) -> Result<Held, Error> {
        let host = named(host);
        if let Some(credential) = self.given.get(&host) {
            return Ok(credential.clone().into());
        }
        for supplier in &self.suppliers {
            let supplied = supplier.supply(&host, repository).await.map_err(|cause| {
                let message = format!("cannot get the credential for `{host}`");
                Error::new(ErrorKind::Credentials, message).because(cause)
            })?;
            if let Some(credential) = supplied {
                return Ok(credential.into());
            }
        }
        let mut hint = None;
        for file in &self.files {
            match file.find(&host, repository)? {
                Found::Credential(credential) => return Ok(credential.into()),
                Found::Helper { name, certain } => match self.help(&name, &host, refused).await? {
                    Help::Given(credential) => return Ok(credential.into()),
                    Help::Nothing => {}
                    Help::NotAllowed if certain => {
                        hint.get_or_insert_with(|| {
                            format!(
                                "the credential for `{host}` is kept by the helper `{}`, which was not run: \
                                 allow credential helpers",
                                clean(&name)
                            )
                        });
                    }
                    Help::NotAllowed => {}
                },
                Found::Nothing => {}
            }
        }
        Ok(Held {
            credential: None,
            hint,
        })
    }

    #[cfg(feature = "credential-helpers")]
    async fn help(&self, name: &str, host: &str, refused: Option<&Credential>) -> Result<Help, Error> {
        let Some(helpers) = &self.helpers else {
            return Ok(Help::NotAllowed);
        };
        let found = helpers.get(name, host, refused).await?;
        Ok(found.map_or(Help::Nothing, Help::Given))
    }

    #[cfg(not(feature = "credential-helpers"))]
    async fn help(&self, _: &str, _: &str, _: Option<&Credential>) -> Result<Help, Error> {
        Ok(Help::NotAllowed)
    }
}

/// What came of asking a helper.
enum Help {
    #[cfg_attr(
        not(feature = "credential-helpers"),
        allow(dead_code, reason = "none is ever run")
    )]
    Given(Credential),
    #[cfg_attr(
        not(feature = "credential-helpers"),
        allow(dead_code, reason = "none is ever run")
    )]
    Nothing,
    NotAllowed,
}

impl From<Credential> for Held {
    fn from(credential: Credential) -> Self {
        Self {
            credential: Some(credential),
            hint: None,
        }
    }
}

/// The form in which hosts are compared.
pub(crate) fn named(host: &str) -> String {
    hub(&host.to_ascii_lowercase()).to_owned()
}
