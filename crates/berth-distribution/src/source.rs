//! A registry as a [`Source`]: manifests whole and verified, blobs as streams that mend themselves.
//!
//! Not here: how a stream mends itself ([`blob`](crate::blob)). Invariant: a manifest that was asked for by digest
//! has that digest; one that was asked for by tag has the digest that the registry said, if it said one.

use crate::answer;
use crate::blob::BlobReader;
use crate::http::{Failure, FaultClass, Method, Request, Response, Url, printable};
use crate::registry::Registry;
use crate::retry::{Pause, retrying};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use berth_oci::{
    Descriptor, Digest, Error, Event, Kind, MANIFEST_LIMIT, Manifest, Progress, Reference, Result, Source,
    TagOrDigest, media_type,
};
use std::collections::{HashMap, HashSet};
use std::io::{Cursor, Read};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// One image in a registry, or in a mirror of it.
pub struct RegistrySource<'p> {
    reference: Reference,
    /// In the order they are tried; the registry itself is the last.
    places: Vec<Registry>,
    /// The place that answered last.
    preferred: AtomicUsize,
    /// Which place each blob came from, and the places that have sent wrong bytes.
    trust: Mutex<Trust>,
    progress: &'p dyn Progress,
    limit_was_told: AtomicBool,
}

#[derive(Default)]
struct Trust {
    served_by: HashMap<Digest, usize>,
    lost: HashSet<usize>,
}

impl<'p> RegistrySource<'p> {
    pub(crate) fn new(reference: Reference, places: Vec<Registry>, progress: &'p dyn Progress) -> Self {
        let (preferred, limit_was_told, trust) = Default::default();
        Self { reference, places, preferred, trust, progress, limit_was_told }
    }

    /// The digest, type and size of what the reference means, in one round trip.
    pub(crate) fn head(&self) -> Result<Descriptor> {
        let target = self.reference.target();
        let found = self.at_some_place(self.first_places(&target), |registry| {
            let path = format!("manifests/{target}");
            let response = registry.ask(&path, |url| accepting(Request::new(Method::Head, url)))?;
            if matches!(response.status, 405 | 501) {
                return Ok(None);
            }
            let response = registry.expect(response)?;
            self.tell_limit(registry, &response)?;
            Ok(descriptor_of(&response))
        })?;
        match found {
            Some(descriptor) => Ok(descriptor),
            // Some registries know no HEAD, or do not say the digest then.
            None => Ok(self.root()?.descriptor()),
        }
    }

    fn get_manifest(&self, registry: &Registry, target: &TagOrDigest<'_>) -> Result<Manifest, Failure> {
        let path = format!("manifests/{target}");
        let response = registry.ask(&path, |url| accepting(Request::new(Method::Get, url)))?;
        let mut response = registry.expect(response)?;
        self.tell_limit(registry, &response)?;
        refuse_web_page(&response)?;
        let bytes = response.bytes(MANIFEST_LIMIT)?;
        read_manifest(bytes, &response, target).map_err(Failure::fatal)
    }

    /// A limit is worth a sentence, once.
    fn tell_limit(&self, registry: &Registry, response: &Response) -> Result<()> {
        match answer::rate_limit(response) {
            Some(words) if !self.limit_was_told.swap(true, Ordering::Relaxed) => {
                self.note(&format!("{}: {words}", registry.endpoint.authority))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn note(&self, text: &str) -> Result<()> {
        match self.progress.report(Event::Note(text)).is_break() {
            true => Err(Error::cancelled("the transfer was stopped")),
            false => Ok(()),
        }
    }

    pub(crate) fn progress(&self) -> &'p dyn Progress {
        self.progress
    }

    /// The places that may say what this means.
    fn first_places(&self, target: &TagOrDigest<'_>) -> Vec<usize> {
        let fits = |registry: &Registry| match target {
            TagOrDigest::Tag(_) => registry.endpoint.tags,
            TagOrDigest::Digest(_) => registry.endpoint.digests,
        };
        (0..self.places.len()).filter(|&i| fits(&self.places[i])).collect()
    }

    /// The place that answered last, then the others that may be asked for what has a digest; without those that
    /// have sent wrong bytes.
    pub(crate) fn places_for_digests(&self) -> Vec<usize> {
        let preferred = self.preferred.load(Ordering::Relaxed);
        let others = (0..self.places.len()).filter(|&i| i != preferred && self.places[i].endpoint.digests);
        let lost = &self.trust().lost;
        std::iter::once(preferred).chain(others).filter(|i| !lost.contains(i)).collect()
    }

    fn trust(&self) -> MutexGuard<'_, Trust> {
        self.trust.lock().expect("nobody panics with this lock")
    }

    /// From where a blob comes now.
    pub(crate) fn serves(&self, descriptor: &Descriptor, index: usize) {
        self.trust().served_by.insert(descriptor.digest.clone(), index);
    }

    pub(crate) fn place(&self, index: usize) -> &Registry {
        &self.places[index]
    }

    pub(crate) fn prefer(&self, index: usize) {
        self.preferred.store(index, Ordering::Relaxed);
    }

    /// Does `action` at the first place where it works. A mirror is asked once; the last place with patience.
    fn at_some_place<T>(
        &self,
        places: Vec<usize>,
        mut action: impl FnMut(&Registry) -> Result<T, Failure>,
    ) -> Result<T> {
        let last = places.len().saturating_sub(1);
        for (turn, index) in places.into_iter().enumerate() {
            let registry = self.place(index);
            let answer = match turn == last {
                true => {
                    let settings = &registry.shared().settings;
                    retrying(
                        settings,
                        |pause, left| self.tell_pause(registry, pause, left),
                        || action(registry),
                    )
                }
                false => action(registry),
            };
            match answer {
                Ok(value) => {
                    self.prefer(index);
                    return Ok(value);
                }
                Err(failure) if turn == last || failure.error.kind() == Kind::Cancelled => {
                    return Err(self.explain(failure.error, registry));
                }
                Err(failure) => self.note(&passed_over(registry, &failure.error))?,
            }
        }
        Err(Error::not_found(format!("no registry is configured for {}", self.reference.familiar())))
    }

    fn tell_pause(&self, registry: &Registry, pause: &Pause, left: Duration) -> Result<()> {
        match pause.line(&registry.endpoint.authority, left) {
            Some(line) => self.note(&line),
            None => Ok(()),
        }
    }

    /// Says what was asked for, in docker's words.
    pub(crate) fn explain(&self, error: Error, registry: &Registry) -> Error {
        let name = self.reference.familiar_name();
        let hint = error.hint_text().map(str::to_owned);
        let explained = match error.kind() {
            // A certificate is no matter of passwords.
            Kind::Denied if crate::tls::is_about_tls(&error) => return error,
            Kind::Unauthorized | Kind::Denied => Error::new(
                error.kind(),
                format!(
                    "pull access denied for {name}, repository does not exist or may require 'docker login'"
                ),
            )
            .hint(login_hint(registry)),
            Kind::NotFound => {
                Error::not_found(format!("manifest for {} not found", self.reference.familiar()))
            }
            _ => return error,
        };
        let explained = explained.caused_by(error);
        match hint {
            Some(hint) => explained.hint(hint),
            None => explained,
        }
    }
}

pub(crate) fn login_hint(registry: &Registry) -> String {
    let host = match registry.endpoint.authority.as_str() {
        "registry-1.docker.io" => String::new(),
        host => format!(" {host}"),
    };
    match registry.has_credential() {
        true => format!("check the name; the account used is the one of `berth login{host}`"),
        false => format!("check the name, or log in: `berth login{host}`"),
    }
}

fn passed_over(registry: &Registry, error: &Error) -> String {
    format!("mirror {} was passed over: {error}", registry.endpoint.authority)
}

pub(crate) fn accepting(request: Request<'_>) -> Request<'_> {
    request.header("Accept", media_type::MANIFESTS.join(", "))
}

/// A captive portal answers 200 to everything.
pub(crate) fn refuse_web_page(response: &Response) -> Result<(), Failure> {
    let kind = response.media_type().unwrap_or_default();
    match kind.contains("html") {
        true => Err(Failure::fatal(
            Error::invalid(format!(
                "{} answered with a web page ({})",
                response.url.shown(),
                printable(&kind)
            ))
            .hint("is it a registry? a proxy or a login page of the network may stand before it"),
        )),
        false => Ok(()),
    }
}

/// What a response says about itself in its headers, if it says enough.
fn descriptor_of(response: &Response) -> Option<Descriptor> {
    let digest: Digest = response.header("docker-content-digest")?.trim().parse().ok()?;
    let size = response.number("content-length").filter(|n| *n > 0)?;
    Some(Descriptor::new(response.media_type()?, digest, size))
}

pub(crate) fn read_manifest(
    bytes: Vec<u8>,
    response: &Response,
    target: &TagOrDigest<'_>,
) -> Result<Manifest> {
    let kind = response.media_type();
    let said = response.header("docker-content-digest").and_then(|text| text.trim().parse().ok());
    match (target, said) {
        (TagOrDigest::Digest(digest), _) => Manifest::parse_verified(bytes, kind.as_deref(), digest),
        (_, Some(digest)) => Manifest::parse_verified(bytes, kind.as_deref(), &digest),
        _ => Manifest::parse(bytes, kind.as_deref()),
    }
}

/// The bytes that a descriptor carries itself, if they are the right ones.
fn inline(descriptor: &Descriptor) -> Option<Vec<u8>> {
    let bytes = STANDARD.decode(descriptor.data.as_deref()?).ok()?;
    let found = Descriptor::of("", &bytes);
    (found.size == descriptor.size && found.digest == descriptor.digest).then_some(bytes)
}

impl Source for RegistrySource<'_> {
    fn root(&self) -> Result<Manifest> {
        let target = self.reference.target();
        self.at_some_place(self.first_places(&target), |registry| self.get_manifest(registry, &target))
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Manifest> {
        if let Some(bytes) = inline(descriptor) {
            return Manifest::parse(bytes, Some(&descriptor.media_type));
        }
        let target = TagOrDigest::Digest(&descriptor.digest);
        let manifest =
            self.at_some_place(self.places_for_digests(), |registry| self.get_manifest(registry, &target))?;
        match manifest.raw().len() as u64 == descriptor.size {
            true => Ok(manifest),
            false => Err(Error::corrupt(format!(
                "manifest {} has {} bytes; the index says {}",
                descriptor.digest,
                manifest.raw().len(),
                descriptor.size
            ))),
        }
    }

    fn blob(&self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + Send + '_>> {
        if let Some(bytes) = inline(descriptor) {
            let mut cursor = Cursor::new(bytes);
            cursor.set_position(offset);
            return Ok(Box::new(cursor));
        }
        Ok(Box::new(BlobReader::open(self, descriptor, offset)?))
    }

    fn distrust(&self, descriptor: &Descriptor, why: &Error) -> Result<bool> {
        let Some(liar) = self.trust().served_by.get(&descriptor.digest).copied() else { return Ok(false) };
        let left = self.places_for_digests().into_iter().find(|index| *index != liar);
        let Some(next) = left else { return Ok(false) };
        let is_news = self.trust().lost.insert(liar);
        self.prefer(next);
        if is_news {
            self.note(&passed_over(self.place(liar), why))?;
        }
        Ok(true)
    }
}

/// A GET of a blob from an offset on, to its end or to the given one.
pub(crate) fn range_request(url: Url, start: u64, end: Option<u64>) -> Request<'static> {
    let request = Request::new(Method::Get, url);
    match (start, end) {
        (0, None) => request,
        (start, None) => request.header("Range", format!("bytes={start}-")),
        (start, Some(end)) => request.header("Range", format!("bytes={start}-{}", end - 1)),
    }
}

/// A body that stopped before its end.
pub(crate) fn broken_off(registry: &str, digest: &Digest, at: u64, size: u64) -> Failure {
    Failure::new(
        FaultClass::Broken,
        Error::unavailable(format!(
            "{registry} broke off in blob {} after {at} of {size} bytes",
            digest.short()
        )),
    )
}
