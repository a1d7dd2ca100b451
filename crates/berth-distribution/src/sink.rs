//! A registry as a [`Sink`]: blobs by mount or upload, manifests by tag or digest.
//!
//! Not here: how a large blob is sent ([`upload`](crate::upload)), the fallback for registries without referrers
//! ([`referrers`](crate::referrers)). Invariant: mirrors are never written to.

use crate::auth::Scopes;
use crate::blob::exists;
use crate::http::{Failure, Method, Request, Response};
use crate::registry::Registry;
use crate::retry::{Pause, retrying};
use crate::source::login_hint;
use crate::upload::{self, Session};
use berth_oci::{
    Blob, BlobState, Descriptor, Digest, Error, Event, Kind, Manifest, ManifestBody, Progress, Reference,
    Result, Sink,
};
use std::time::Duration;

/// So many repositories are asked for a mount before the blob is sent.
const MOUNT_TRIES: usize = 3;

/// Repositories that may have a blob.
pub type MountFrom<'p> = &'p (dyn Fn(&Digest) -> Vec<Reference> + Sync);

/// One image to be, in a registry.
pub struct RegistrySink<'p> {
    reference: Reference,
    registry: Registry,
    mount_from: MountFrom<'p>,
    progress: &'p dyn Progress,
}

impl<'p> RegistrySink<'p> {
    pub(crate) fn new(
        reference: Reference,
        registry: Registry,
        mount_from: MountFrom<'p>,
        progress: &'p dyn Progress,
    ) -> Self {
        Self { reference, registry, mount_from, progress }
    }

    fn retrying<T>(&self, action: impl FnMut() -> Result<T, Failure>) -> Result<T> {
        let settings = &self.registry.shared().settings;
        let answer = retrying(settings, |pause, left| self.tell(pause, left), action);
        answer.map_err(|failure| self.explain(failure.error))
    }

    fn tell(&self, pause: &Pause, left: Duration) -> Result<()> {
        let Some(text) = pause.line(&self.registry.endpoint.authority, left) else { return Ok(()) };
        match self.progress.report(Event::Note(&text)).is_break() {
            true => Err(Error::cancelled("the transfer was stopped")),
            false => Ok(()),
        }
    }

    /// Says which repository refused us, keeping docker's words.
    fn explain(&self, error: Error) -> Error {
        let name = self.reference.familiar_name();
        match error.kind() {
            Kind::Denied if crate::tls::is_about_tls(&error) => error,
            Kind::Unauthorized | Kind::Denied => {
                Error::new(error.kind(), format!("push access to {name} was denied"))
                    .caused_by(error)
                    .hint(login_hint(&self.registry))
            }
            _ => error,
        }
    }

    /// Mounted, or a session to upload into: a registry that will not mount opens one right away.
    fn mount(&self, blob: &Blob<'_>) -> Result<Option<Session>> {
        let descriptor = blob.descriptor();
        let hints = (self.mount_from)(&descriptor.digest);
        let here = |hint: &&Reference| {
            hint.registry() == self.reference.registry() && hint.repository() != self.reference.repository()
        };
        for hint in hints.iter().filter(here).take(MOUNT_TRIES) {
            let answer = self.retrying(|| self.try_mount(&descriptor.digest, hint.repository()));
            match answer {
                Ok(None) => {
                    blob.report(BlobState::Mounted { from: hint.repository().to_owned() })?;
                    return Ok(None);
                }
                Ok(session) => return Ok(session),
                // A repository that we may not read is no reason not to push.
                Err(error) if matches!(error.kind(), Kind::Unauthorized | Kind::Denied | Kind::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        self.retrying(|| upload::open(&self.registry)).map(Some)
    }

    fn try_mount(&self, digest: &Digest, from: &str) -> Result<Option<Session>, Failure> {
        let scopes = Scopes::repository(&self.registry.endpoint.repository, &["pull", "push"])
            .and(&Scopes::repository(from, &["pull"]));
        let registry = self.registry.with_scopes(scopes);
        let response = registry.ask("blobs/uploads/", |url| {
            let url = url.query("mount", digest.as_str()).query("from", from);
            Request::new(Method::Post, url).header("Content-Length", "0")
        })?;
        match response.status {
            201 => Ok(None),
            202 => upload::session(&self.registry, &response).map(Some),
            _ => Err(registry.refusal(response)),
        }
    }

    fn put(&self, manifest: &Manifest, name: &str) -> Result<Response, Failure> {
        let path = format!("manifests/{name}");
        let patience = self.registry.shared().settings.timeouts.commit;
        let response = self.registry.ask(&path, |url| {
            Request::new(Method::Put, url).payload(manifest.media_type(), manifest.raw()).patience(patience)
        })?;
        let response = self.registry.expect(response)?;
        let said =
            response.header("docker-content-digest").and_then(|text| text.trim().parse::<Digest>().ok());
        match said {
            Some(digest)
                if digest.algorithm() == manifest.digest().algorithm() && digest != *manifest.digest() =>
            {
                Err(Failure::fatal(Error::corrupt(format!(
                    "the registry took other bytes than we sent: {digest} instead of {}",
                    manifest.digest()
                ))))
            }
            _ => Ok(response),
        }
    }

    /// What the manifest is called there.
    fn name_of(&self, manifest: &Manifest, is_root: bool) -> Result<String> {
        let digest = manifest.digest();
        match (is_root, self.reference.tag(), self.reference.digest()) {
            (true, Some(tag), _) => Ok(tag.to_owned()),
            (true, None, Some(wanted)) if wanted != digest => Err(Error::invalid(format!(
                "cannot push {digest} as {}: it is another image",
                self.reference.familiar()
            ))),
            (true, None, None) => Ok("latest".to_owned()),
            _ => Ok(digest.to_string()),
        }
    }
}

impl Sink for RegistrySink<'_> {
    fn has_blob(&self, descriptor: &Descriptor) -> Result<bool> {
        self.retrying(|| exists(&self.registry, descriptor))
    }

    fn put_blob(&self, blob: &Blob<'_>) -> Result<()> {
        match self.mount(blob)? {
            None => Ok(()),
            Some(session) => upload::send(&self.registry, session, blob).map_err(|e| self.explain(e)),
        }
    }

    fn put_manifest(&self, manifest: &Manifest, is_root: bool) -> Result<()> {
        let name = self.name_of(manifest, is_root)?;
        let response = self.retrying(|| self.put(manifest, &name))?;
        let subject = match manifest.body() {
            ManifestBody::Image(image) => image.subject.as_ref(),
            ManifestBody::Index(index) => index.subject.as_ref(),
        };
        match (subject, response.header("oci-subject")) {
            (Some(subject), None) => {
                self.retrying(|| crate::referrers::add_by_tag(&self.registry, subject, manifest))
            }
            _ => Ok(()),
        }
    }
}
