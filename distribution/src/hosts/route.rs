// SPDX-License-Identifier: Apache-2.0
//! The order in which the places are asked that may have an image.
//!
//! Mirrors come first, the place that the name means last. Whatever a mirror answers that is not
//! what was asked for, the next one is asked: all that is taken is checked against a digest, but
//! for the tags of mirrors that the configuration lets serve tags.

use std::sync::Arc;

use image_spec::Reference;

use crate::client::Shared;
use crate::http::{Home, Origin, Pace};
use crate::registry::Parts;
use crate::{Client, Error, ErrorKind, Registry, Retry, Target};

use super::{HostTls, Place};

/// What a place is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Serves {
    /// Documents by tag, which only it can vouch for.
    pub(crate) tags: bool,
    /// Documents and blobs by digest.
    pub(crate) digests: bool,
}

/// A place before the last.
#[derive(Clone, Debug)]
pub(crate) struct Mirror {
    pub(crate) registry: Registry,
    pub(crate) serves: Serves,
}

/// What was tried so far, and what came of it.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    before: Vec<(String, String)>,
    last: Option<Error>,
}

impl Serves {
    pub(crate) const ALL: Self = Self {
        tags: true,
        digests: true,
    };
    pub(crate) const DIGESTS: Self = Self {
        tags: false,
        digests: true,
    };
    pub(crate) const NOTHING: Self = Self {
        tags: false,
        digests: false,
    };

    fn holds(self, wanted: Self) -> bool {
        (self.tags || !wanted.tags) && (self.digests || !wanted.digests)
    }

    /// What it takes to serve a target.
    pub(crate) fn for_target(target: &Target) -> Self {
        match target {
            Target::Digest(_) => Self::DIGESTS,
            _ => Self {
                tags: true,
                digests: false,
            },
        }
    }
}

impl Client {
    /// The repository that `reference` names, wherever the configuration says it is. Nothing is
    /// asked yet.
    ///
    /// # Errors
    ///
    /// [`Denied`](ErrorKind::Denied) for what `registries.conf` blocks,
    /// [`Invalid`](ErrorKind::Invalid) for a host that no URL can hold and for settings of its
    /// host that cannot be used, and those of [`AuthFile::lookup`](crate::AuthFile::lookup).
    pub fn registry(&self, reference: &Reference) -> Result<Registry, Error> {
        let shared = self.shared();
        let mut places = shared.registries.places(reference)?;
        if let Some(last) = places.pop() {
            shared.hosts.expand(last, &mut places)?;
        }
        let mut doors = Vec::new();
        for place in places {
            self.doors(place, &mut doors)?;
        }
        let name = reference.name();
        let last = doors.pop().ok_or_else(|| {
            let message = format!("the configuration leaves no place to ask for `{name}`");
            Error::new(ErrorKind::Invalid, message)
        })?;
        let mirrors: Vec<Mirror> = doors
            .into_iter()
            .map(|door| self.mirror(door, &name))
            .collect::<Result<_, _>>()?;
        let serves = last.place.serves;
        let registry = self.open(last, &name, None)?;
        Ok(registry.behind(mirrors.into(), serves))
    }

    /// What a place means in connections: one, or first without verified TLS and then without TLS
    /// where the configuration says and the client obeys that a place is insecure.
    fn doors(&self, place: Place, doors: &mut Vec<Door>) -> Result<(), Error> {
        let shared = self.shared();
        let origin = match &place.origin {
            Some(origin) => origin.clone(),
            None => shared.origin(&place.host)?,
        };
        if place.insecure && !shared.obey_insecure && !origin.plain() {
            tracing::warn!(
                host = place.host,
                "called insecure by the configuration, which is not obeyed"
            );
        }
        let insecure = place.insecure && shared.obey_insecure;
        let named = shared.may_be_plain(&origin);
        if origin.plain() && !named && !shared.obey_insecure && !origin.loopback() {
            // Anybody on the way could answer, so only what a digest proves is taken.
            let serves = Serves {
                tags: false,
                ..place.serves
            };
            if serves == Serves::NOTHING {
                tracing::warn!(%origin, "no tag is asked for without TLS");
            }
            let place = Place { serves, ..place };
            doors.push(Door {
                origin,
                verify: true,
                anonymous: true,
                twin: false,
                place,
            });
            return Ok(());
        }
        let door = |origin, verify, place| Door {
            origin,
            verify,
            anonymous: false,
            twin: !verify,
            place,
        };
        if insecure && !origin.plain() {
            let authority = origin.authority();
            doors.push(door(origin, false, place.clone()));
            // A port that is not written is another one without TLS.
            doors.push(door(Origin::new(&authority, true)?, true, place));
        } else {
            doors.push(door(origin, true, place));
        }
        Ok(())
    }

    fn mirror(&self, door: Door, name: &str) -> Result<Mirror, Error> {
        let limits = self.shared().mirrors;
        let serves = door.place.serves;
        let pace = Pace {
            connect: limits.connect,
            idle: limits.idle,
            retry: Retry::NEVER,
        };
        Ok(Mirror {
            registry: self.open(door, name, Some(pace))?,
            serves,
        })
    }

    fn open(&self, door: Door, name: &str, pace: Option<Pace>) -> Result<Registry, Error> {
        let shared = self.shared();
        let Door {
            origin,
            verify,
            anonymous,
            twin,
            place,
        } = door;
        let (host, repository) = (&place.host, place.repository);
        let session = shared.session(&origin, host, &repository, anonymous);
        let tls = match place.tls {
            Some(tls) => Some(tls),
            None => shared.hosts.tls(host)?,
        };
        let tls = tls.or_else(|| (!verify).then(Arc::<HostTls>::default));
        let home = Home {
            trust: tls.map(|tls| tls.trust(&shared.roots, verify)).transpose()?,
            headers: place.headers,
            plain: origin.plain(),
            origin: origin.clone(),
        };
        Ok(Registry::new(Parts {
            http: shared.http.for_home(home, pace),
            shared: Arc::clone(shared),
            realms: shared.realms(host),
            origin,
            base: place.base,
            namespace: place.namespace,
            name: name.to_owned(),
            repository,
            session,
            twin,
        }))
    }
}

/// A place and how to get in.
struct Door {
    origin: Origin,
    verify: bool,
    anonymous: bool,
    /// The next one is the same host without TLS.
    twin: bool,
    place: Place,
}

impl Registry {
    /// The answer of the first place that has what is wanted.
    pub(crate) async fn first<'a, T, A>(
        &'a self,
        wanted: Serves,
        ask: impl Fn(&'a Self) -> A,
    ) -> Result<T, Error>
    where
        A: Future<Output = Result<T, Error>>,
    {
        let mut failures = Failures::default();
        let mut at = 0;
        while let Some((next, door)) = self.door(wanted, at, &mut failures) {
            match ask(door).await {
                Ok(answer) => return Ok(answer),
                Err(error) => failures.add(self, door, error)?,
            }
            at = next + 1;
        }
        Err(failures.end())
    }

    /// The next place that serves what is wanted, from the one with the number `at` on. The last
    /// one has the number of the mirrors.
    pub(crate) fn door(&self, wanted: Serves, at: usize, failures: &mut Failures) -> Option<(usize, &Self)> {
        let (mirrors, serves) = self.route();
        for (number, mirror) in mirrors.iter().enumerate().skip(at) {
            if !mirror.serves.holds(wanted) {
                continue;
            }
            let name = mirror.registry.endpoint();
            match self.shared().resting.why(&name) {
                Some(why) => failures
                    .before
                    .push((name, format!("left alone for a while, since {why}"))),
                None => return Some((number, &mirror.registry)),
            }
        }
        (at <= mirrors.len() && serves.holds(wanted)).then_some((mirrors.len(), self))
    }
}

impl Failures {
    /// Takes note, and tells the client if a mirror had better be left alone. An error after which
    /// nobody else is to be asked is returned at once: one of the caller's own, and what a place
    /// says that would be asked again without TLS.
    pub(crate) fn add(&mut self, registry: &Registry, door: &Registry, error: Error) -> Result<(), Error> {
        if error.kind() == ErrorKind::Invalid {
            return Err(error);
        }
        let name = door.endpoint();
        let last = std::ptr::eq(registry, door);
        let dead = matches!(
            error.kind(),
            ErrorKind::Unreachable | ErrorKind::Timeout | ErrorKind::Tls | ErrorKind::Digest
        );
        if door.is_twin() && !dead {
            self.last = Some(error);
            return Err(std::mem::take(self).end());
        }
        if !last {
            let line = error.line();
            tracing::warn!(mirror = name, error = line, "a mirror does not help");
            if dead {
                registry.shared().resting.add(&name, line.clone());
            }
            self.before.push((name, line));
        }
        self.last = Some(error);
        Ok(())
    }

    pub(crate) fn end(self) -> Error {
        let Self { before, last } = self;
        match last {
            Some(error) => error.after(&before),
            None => {
                let message = "the configuration leaves no place to ask for it";
                Error::new(ErrorKind::NotFound, message).after(&before)
            }
        }
    }
}

impl Shared {
    fn may_be_plain(&self, origin: &Origin) -> bool {
        self.plain.contains(origin)
    }
}
