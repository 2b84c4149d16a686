// SPDX-License-Identifier: Apache-2.0
//! What a client knows about getting into a repository, shared by all its requests.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::header::{HeaderMap, HeaderValue};
use zeroize::Zeroizing;

use super::challenge::{self, Challenge};
use super::keyring::{Held, Keyring};
use super::realm;
use super::token::{self, Wanted};
use crate::credential::Kind;
use crate::http::{Http, Origin, Url};
use crate::{BoxFuture, Credential, Error, ErrorKind};

/// How long it counts that there is no credential. Whoever logs in need not wait for longer.
const NONE_FOR: Duration = Duration::from_secs(60);

/// The sessions of a client, one for each repository, and each registry's last challenge.
///
/// A registry is asked nothing in advance: its first 401 tells how it wants to be asked, and
/// what it told counts for its other repositories, too.
#[derive(Debug)]
pub(crate) struct Sessions {
    keyring: Arc<Keyring>,
    sessions: Mutex<HashMap<(Origin, String), Arc<Session>>>,
    challenges: Arc<Challenges>,
}

type Challenges = Mutex<HashMap<Origin, Challenge>>;

/// The state of one repository on one registry.
#[derive(Debug)]
pub(crate) struct Session {
    registry: Origin,
    /// The registry's name in references.
    host: String,
    repository: String,
    keyring: Arc<Keyring>,
    challenges: Arc<Challenges>,
    /// Held while a token or a credential is fetched, so that parallel requests share one.
    state: tokio::sync::Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    grant: Option<Grant>,
    held: Option<(Held, Instant)>,
}

/// Permission for a request.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    header: HeaderValue,
    /// It carries a credential of this kind itself, not a token that was got with one.
    carries: Option<Kind>,
    until: Option<Instant>,
    hint: Option<String>,
    secrets: Arc<Secrets>,
}

/// What the one who was given it might repeat in an error.
#[derive(Default)]
struct Secrets(Vec<Zeroizing<String>>);

impl Grant {
    /// The credential itself, as the registry wants it.
    fn carrying(credential: &Credential) -> Result<Self, Error> {
        Ok(Self {
            header: credential.header()?,
            carries: Some(credential.kind()),
            until: None,
            hint: None,
            secrets: Arc::new(Secrets(credential.secrets())),
        })
    }

    pub(crate) fn header(&self) -> &HeaderValue {
        &self.header
    }

    /// What to tell about a refusal that a secret might have prevented.
    pub(crate) fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// What no error may repeat.
    pub(crate) fn secrets(&self) -> &[Zeroizing<String>] {
        &self.secrets.0
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets")
    }
}

impl Sessions {
    pub(crate) fn new(keyring: Keyring) -> Self {
        Self {
            keyring: Arc::new(keyring),
            sessions: Mutex::default(),
            challenges: Arc::default(),
        }
    }

    /// The session of a repository on `registry`, which references call `host`.
    pub(crate) fn open(&self, registry: &Origin, host: &str, repository: &str) -> Arc<Session> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (registry.clone(), repository.to_owned());
        let session = sessions.entry(key).or_insert_with(|| {
            Arc::new(Session {
                registry: registry.clone(),
                host: host.to_owned(),
                repository: repository.to_owned(),
                keyring: Arc::clone(&self.keyring),
                challenges: Arc::clone(&self.challenges),
                state: tokio::sync::Mutex::default(),
            })
        });
        Arc::clone(session)
    }
}

impl Session {
    /// What the next request should carry: nothing as long as the registry has not asked.
    pub(crate) async fn grant(&self, http: &Http, realms: &BTreeSet<String>) -> Result<Option<Grant>, Error> {
        let mut state = self.state.lock().await;
        let fresh = |grant: &&Grant| grant.until.is_none_or(|until| Instant::now() < until);
        if let Some(grant) = state.grant.as_ref().filter(fresh) {
            return Ok(Some(grant.clone()));
        }
        let Some(challenge) = self.challenges().get(&self.registry).cloned() else {
            return Ok(None);
        };
        if challenge == Challenge::Basic && self.held(&mut state).await?.credential.is_none() {
            return Ok(None);
        }
        state.grant = Some(self.answer(http, realms, &challenge, &mut state).await?);
        Ok(state.grant.clone())
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
        let mut state = self.state.lock().await;
        let newer = |grant: &&Grant| used.is_none_or(|used| used.header != grant.header);
        if let Some(newer) = state.grant.as_ref().filter(newer) {
            return Ok(newer.clone());
        }
        state.grant = None;
        // A token may have ended, but a credential that was refused once is refused again.
        let refused = match (used.and_then(|used| used.carries), &challenge) {
            (Some(Kind::Password), Challenge::Basic) => Some("user name or password"),
            (Some(Kind::Registry), Challenge::Bearer { .. }) => Some("registry token"),
            _ => None,
        };
        if let Some(what) = refused
            && !self.replaced(&mut state).await?
        {
            return Err(Error::new(
                ErrorKind::Unauthorized,
                format!("the registry refused the {what}"),
            ));
        }
        let grant = self.answer(http, realms, &challenge, &mut state).await?;
        self.challenges().insert(self.registry.clone(), challenge);
        state.grant = Some(grant.clone());
        Ok(grant)
    }

    /// Boxed, as it is rare and every request's future would be as large.
    fn answer<'a>(
        &'a self,
        http: &'a Http,
        realms: &'a BTreeSet<String>,
        challenge: &'a Challenge,
        state: &'a mut State,
    ) -> BoxFuture<'a, Result<Grant, Error>> {
        Box::pin(self.answer_now(http, realms, challenge, state))
    }

    async fn answer_now(
        &self,
        http: &Http,
        realms: &BTreeSet<String>,
        challenge: &Challenge,
        state: &mut State,
    ) -> Result<Grant, Error> {
        let known = state.held.is_some();
        let held = self.held(state).await?;
        let kind = held.credential.as_ref().map(Credential::kind);
        let (realm, service, scope) = match (challenge, kind) {
            (Challenge::Basic, Some(Kind::Password)) | (Challenge::Bearer { .. }, Some(Kind::Registry)) => {
                return held
                    .credential
                    .as_ref()
                    .map_or_else(|| Err(self.wanting(&held)), Grant::carrying);
            }
            (Challenge::Basic, _) => return Err(self.wanting(&held)),
            (
                Challenge::Bearer {
                    realm,
                    service,
                    scope,
                },
                _,
            ) => (realm, service, scope),
        };
        let realm = realm.as_ref().ok_or_else(challenge::malformed)?;
        realm::admit(&self.registry, realm.origin())?;
        let trusted = realm::may_see_secret(&self.registry, realm.origin(), realms);
        let scope = self.scope(scope.as_deref());
        let wanted = Wanted {
            realm,
            service: service.as_deref(),
            scope: &scope,
        };
        if !trusted && held.credential.is_some() {
            let hint = Some(withheld(realm));
            return self
                .token(
                    http,
                    wanted,
                    &Held {
                        credential: None,
                        hint,
                    },
                )
                .await;
        }
        match self.token(http, wanted, &held).await {
            // What was found long ago may have been replaced since.
            Err(error) if error.kind() == ErrorKind::Unauthorized && known => {
                match self.replaced(state).await? {
                    true => {
                        let held = self.held(state).await?;
                        self.token(http, wanted, &held).await
                    }
                    false => Err(error),
                }
            }
            outcome => outcome,
        }
    }

    async fn token(&self, http: &Http, wanted: Wanted<'_>, held: &Held) -> Result<Grant, Error> {
        // The registry may be the token server, too.
        let mut secrets = held
            .credential
            .as_ref()
            .map(Credential::secrets)
            .unwrap_or_default();
        let token = token::fetch(http, wanted, held.credential.as_ref()).await;
        let grant = |token: token::Token| {
            secrets.extend(held.credential.as_ref().map(Credential::secret));
            secrets.push(token.secret);
            Grant {
                header: token.header,
                carries: None,
                until: Some(token.until),
                hint: held.hint.clone(),
                secrets: Arc::new(Secrets(secrets)),
            }
        };
        token.map(grant).map_err(|error| {
            let error = error.doing(|| format!("token for `{}` from `{}`", self.repository, wanted.realm));
            match &held.hint {
                Some(hint) => error.hinting(hint.clone()),
                None => error,
            }
        })
    }

    /// The credential, looked up now if it was not before.
    async fn held(&self, state: &mut State) -> Result<Held, Error> {
        let counts = |held: &Held, since: &Instant| held.credential.is_some() || since.elapsed() < NONE_FOR;
        if let Some((held, since)) = &state.held
            && counts(held, since)
        {
            return Ok(held.clone());
        }
        let held = self.find(None).await?;
        state.held = Some((held.clone(), Instant::now()));
        Ok(held)
    }

    /// Looks again for a credential instead of one that was refused; whether there is another.
    async fn replaced(&self, state: &mut State) -> Result<bool, Error> {
        let Some(refused) = state.held.take().and_then(|(held, _)| held.credential) else {
            return Ok(false);
        };
        let found = self.find(Some(&refused)).await?;
        let other = found.credential.as_ref().is_some_and(|found| !found.is(&refused));
        state.held = Some((found, Instant::now()));
        Ok(other)
    }

    /// Boxed for the same reason.
    fn find<'a>(&'a self, refused: Option<&'a Credential>) -> BoxFuture<'a, Result<Held, Error>> {
        Box::pin(self.keyring.find(&self.host, &self.repository, refused))
    }

    /// The error where a user name and a password are the only way in.
    fn wanting(&self, held: &Held) -> Error {
        let message = match held.credential {
            Some(_) => "the registry wants a user name and a password, not a token",
            None => "the registry wants a user name and a password",
        };
        let hint = held.hint.clone();
        let hint = hint.unwrap_or_else(|| format!("give a credential for `{}`", self.registry.authority()));
        Error::new(ErrorKind::Unauthorized, message).hinting(hint)
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

fn withheld(realm: &Url) -> String {
    format!(
        "the credential was not sent, because the token server `{}` is not one of the registry's: \
         allow it by name",
        realm.origin().host()
    )
}
