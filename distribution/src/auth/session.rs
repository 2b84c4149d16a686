// SPDX-License-Identifier: Apache-2.0
//! What a client knows about getting into a repository, shared by all its requests.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use hyper::header::{HeaderMap, HeaderValue};

use super::challenge::Challenge;
use super::{realm, token};
use crate::http::{Http, Origin};
use crate::{Credential, Error, ErrorKind};

/// The sessions of a client, one for each repository, and each registry's last challenge.
///
/// A registry is asked nothing in advance: its first 401 tells how it wants to be asked, and
/// what it told counts for its other repositories, too.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    sessions: Mutex<HashMap<(Origin, String), Arc<Session>>>,
    challenges: Arc<Challenges>,
}

type Challenges = Mutex<HashMap<Origin, Challenge>>;

/// The state of one repository on one registry.
#[derive(Debug)]
pub(crate) struct Session {
    registry: Origin,
    repository: String,
    credential: Option<Credential>,
    challenges: Arc<Challenges>,
    /// Held while a token is fetched, so that parallel requests share one.
    grant: tokio::sync::Mutex<Option<Grant>>,
}

/// Permission for a request.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    header: HeaderValue,
    basic: bool,
    until: Option<Instant>,
    withheld: Option<String>,
}

impl Grant {
    pub(crate) fn header(&self) -> &HeaderValue {
        &self.header
    }

    /// What to tell about a refusal that a secret might have prevented.
    pub(crate) fn hint(&self) -> Option<String> {
        self.withheld.as_deref().map(withheld_hint)
    }
}

impl Sessions {
    pub(crate) fn open(
        &self,
        registry: &Origin,
        repository: &str,
        credential: impl FnOnce() -> Result<Option<Credential>, Error>,
    ) -> Result<Arc<Session>, Error> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (registry.clone(), repository.to_owned());
        if let Some(session) = sessions.get(&key) {
            return Ok(Arc::clone(session));
        }
        let session = Arc::new(Session {
            registry: registry.clone(),
            repository: repository.to_owned(),
            credential: credential()?,
            challenges: Arc::clone(&self.challenges),
            grant: tokio::sync::Mutex::default(),
        });
        sessions.insert(key, Arc::clone(&session));
        Ok(session)
    }
}

impl Session {
    /// What the next request should carry: nothing as long as the registry has not asked.
    pub(crate) async fn grant(&self, http: &Http, realms: &BTreeSet<String>) -> Result<Option<Grant>, Error> {
        let mut slot = self.grant.lock().await;
        if slot
            .as_ref()
            .is_some_and(|grant| grant.until.is_none_or(|until| Instant::now() < until))
        {
            return Ok(slot.clone());
        }
        let Some(challenge) = self.challenges().get(&self.registry).cloned() else {
            return Ok(None);
        };
        if challenge == Challenge::Basic && self.credential.is_none() {
            return Ok(None);
        }
        *slot = Some(self.answer(http, realms, &challenge).await?);
        Ok(slot.clone())
    }

    /// A new grant after a 401 to a request that carried `used`.
    pub(crate) async fn renew(
        &self,
        http: &Http,
        realms: &BTreeSet<String>,
        used: Option<&Grant>,
        headers: &HeaderMap,
    ) -> Result<Grant, Error> {
        let challenge = Challenge::choose(headers)?;
        let mut slot = self.grant.lock().await;
        if let Some(newer) = slot
            .as_ref()
            .filter(|grant| used.is_none_or(|used| used.header != grant.header))
        {
            return Ok(newer.clone());
        }
        if challenge == Challenge::Basic && used.is_some_and(|used| used.basic) {
            return Err(Error::new(
                ErrorKind::Unauthorized,
                "the registry refused the user name or password",
            ));
        }
        *slot = None;
        let grant = self.answer(http, realms, &challenge).await?;
        self.challenges().insert(self.registry.clone(), challenge);
        *slot = Some(grant.clone());
        Ok(grant)
    }

    async fn answer(
        &self,
        http: &Http,
        realms: &BTreeSet<String>,
        challenge: &Challenge,
    ) -> Result<Grant, Error> {
        let (realm, service, scope) = match challenge {
            Challenge::Bearer {
                realm,
                service,
                scope,
            } => (realm, service, scope),
            Challenge::Basic => {
                let credential = self.credential.as_ref().ok_or_else(|| {
                    Error::new(
                        ErrorKind::Unauthorized,
                        "the registry wants a user name and a password",
                    )
                    .hinting(format!("give a credential for `{}`", self.registry.authority()))
                })?;
                let header = credential.header()?;
                return Ok(Grant {
                    header,
                    basic: true,
                    until: None,
                    withheld: None,
                });
            }
        };
        realm::admit(&self.registry, realm.origin())?;
        let trusted = realm::may_see_secret(&self.registry, realm.origin(), realms);
        let credential = self.credential.as_ref().filter(|_| trusted);
        let withheld = match (&self.credential, trusted) {
            (Some(_), false) => Some(realm.origin().host().to_owned()),
            _ => None,
        };
        let scope = self.scope(scope.as_deref());
        let token = token::fetch(http, realm, service.as_deref(), &scope, credential).await;
        let grant = |token: token::Token| Grant {
            header: token.header,
            basic: false,
            until: Some(token.until),
            withheld: withheld.clone(),
        };
        token.map(grant).map_err(|error| {
            let error = error.doing(|| format!("token for `{}` from `{realm}`", self.repository));
            match &withheld {
                Some(realm) => error.hinting(withheld_hint(realm)),
                None => error,
            }
        })
    }

    /// Always pull only, and always this repository; a registry may name it with a prefix of its own.
    fn scope(&self, wanted: Option<&str>) -> String {
        let repository = self.repository.as_str();
        let named = wanted.unwrap_or_default().split(' ').find_map(|scope| {
            let (name, _) = scope.strip_prefix("repository:")?.rsplit_once(':')?;
            let prefix = name.strip_suffix(repository)?;
            (prefix.is_empty() || prefix.ends_with('/')).then_some(name)
        });
        format!("repository:{}:pull", named.unwrap_or(repository))
    }

    fn challenges(&self) -> std::sync::MutexGuard<'_, HashMap<Origin, Challenge>> {
        self.challenges.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn withheld_hint(realm: &str) -> String {
    format!(
        "the credential was not sent, because the token server `{realm}` is outside the registry's domain: \
         allow it by name"
    )
}
