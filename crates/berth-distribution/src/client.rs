//! [`Client`]: the crate's front door. Each method is one errand; the work is in the file of its topic.
//!
//! Invariant: making a client or a source costs no request and reads no secret.

use crate::auth::{Credential, CredentialStore, Scopes};
use crate::browse::{self, SearchResult};
use crate::endpoints::{self, Endpoint};
use crate::http::{Agents, Failure, Method, Request};
use crate::login::{self, LoggedIn};
use crate::referrers;
use crate::registry::{Registry, Shared};
use crate::retry::retrying;
use crate::settings::Settings;
use crate::sink::{MountFrom, RegistrySink};
use crate::source::RegistrySource;
use berth_oci::{Descriptor, Digest, Error, Progress, Reference, Result, Silent};
use std::sync::Arc;

/// Speaks with registries; cheap to clone, and meant to be shared by threads.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

impl Client {
    /// A client that knows what `settings` say, and nothing else of the machine.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let agents = Agents::new(settings.clone());
        let credentials = CredentialStore::new(settings.credentials.clone());
        let (authorizer, parallel) = Default::default();
        Self { shared: Arc::new(Shared { settings, agents, authorizer, credentials, parallel }) }
    }

    /// The files and helpers with credentials.
    #[must_use]
    pub fn credentials(&self) -> &CredentialStore {
        &self.shared.credentials
    }

    /// An image to pull, from mirrors or from its registry. `progress` gets notes and retries.
    ///
    /// # Errors
    /// The configuration of mirrors is wrong, or blocks this registry.
    pub fn source<'p>(
        &self,
        reference: &Reference,
        progress: &'p dyn Progress,
    ) -> Result<RegistrySource<'p>> {
        let has_certificates = |authority: &str| self.shared.agents.has_certificates(authority);
        let plan = endpoints::plan(reference, &self.shared.settings, has_certificates)?;
        let places = plan
            .into_iter()
            .map(|endpoint| {
                let scopes = Scopes::repository(&endpoint.repository, &["pull"]);
                Registry::new(self.shared.clone(), endpoint, scopes)
            })
            .collect();
        Ok(RegistrySource::new(reference.clone(), places, progress))
    }

    /// An image to push. `mount_from` names repositories that may have a blob already.
    ///
    /// # Errors
    /// The configuration is wrong, or blocks this registry.
    pub fn sink<'p>(
        &self,
        reference: &Reference,
        mount_from: MountFrom<'p>,
        progress: &'p dyn Progress,
    ) -> Result<RegistrySink<'p>> {
        let registry = self.registry(reference, &["pull", "push"])?;
        Ok(RegistrySink::new(reference.clone(), registry, mount_from, progress))
    }

    /// What a reference means right now, in one round trip.
    ///
    /// # Errors
    /// It means nothing, or the registry cannot be asked.
    pub fn head(&self, reference: &Reference) -> Result<Descriptor> {
        self.source(reference, &Silent)?.head()
    }

    /// All tags of a repository.
    ///
    /// # Errors
    /// There is no such repository, or the registry cannot be asked.
    pub fn tags(&self, name: &Reference) -> Result<Vec<String>> {
        let registry = self.registry(name, &["pull"])?;
        self.errand(|| browse::tags(&registry))
            .map_err(|error| self.source(name, &Silent).map_or_else(|e| e, |s| s.explain(error, &registry)))
    }

    /// The repositories of a registry.
    ///
    /// # Errors
    /// The registry has no catalog (Docker Hub), or will not show it.
    pub fn catalog(&self, registry: &str) -> Result<Vec<String>> {
        let registry = self.registry_named(registry)?;
        self.errand(|| browse::catalog(&registry, usize::MAX))
    }

    /// Repositories of a registry (Docker Hub: `docker.io`) that match a term.
    ///
    /// # Errors
    /// The registry has no search and no catalog, or cannot be asked.
    pub fn search(&self, registry: &str, term: &str, limit: usize) -> Result<Vec<SearchResult>> {
        let mut registry = self.registry_named(registry)?;
        if registry.endpoint.authority == "registry-1.docker.io" {
            registry = registry.at_endpoint(Endpoint::registry("index.docker.io", ""));
        }
        self.errand(|| browse::search(&registry, term, limit))
    }

    /// What refers to a manifest: signatures, SBOMs, attestations.
    ///
    /// # Errors
    /// The registry cannot be asked.
    pub fn referrers(
        &self,
        name: &Reference,
        digest: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>> {
        let registry = self.registry(name, &["pull"])?;
        self.errand(|| referrers::list(&registry, digest, artifact_type))
    }

    /// Deletes a manifest, or a tag where the registry can do that.
    ///
    /// # Errors
    /// There is no such manifest, or the registry does not let us.
    pub fn delete_manifest(&self, reference: &Reference) -> Result<()> {
        let registry = self.registry(reference, &["delete", "pull"])?;
        let path = format!("manifests/{}", reference.target());
        self.errand(|| {
            let response = registry.ask(&path, |url| Request::new(Method::Delete, url))?;
            registry.expect(response).map(drop)
        })
    }

    /// Whether a registry takes a credential, exactly as `docker login` finds out; keeps nothing.
    ///
    /// # Errors
    /// The registry refuses it, or cannot be asked.
    pub fn login(&self, registry: &str, credential: &Credential) -> Result<LoggedIn> {
        let registry = self.registry_named(registry)?.with_credential(credential.clone());
        self.errand(|| login::check(&registry))
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Something small: tried again in silence.
    fn errand<T>(&self, action: impl FnMut() -> Result<T, Failure>) -> Result<T> {
        Ok(retrying(&self.shared.settings, |_, _| Ok(()), action)?)
    }

    fn registry(&self, name: &Reference, actions: &[&str]) -> Result<Registry> {
        let has_certificates = |authority: &str| self.shared.agents.has_certificates(authority);
        let endpoint = endpoints::primary(name, &self.shared.settings, has_certificates)?;
        let scopes = Scopes::repository(&endpoint.repository, actions);
        Ok(Registry::new(self.shared.clone(), endpoint, scopes))
    }

    /// A registry alone: a host, as people type it after `docker login`.
    fn registry_named(&self, text: &str) -> Result<Registry> {
        let bare = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
        let host = bare.split('/').next().unwrap_or(bare);
        let host = match host {
            "index.docker.io" | "registry-1.docker.io" => "docker.io",
            other => other,
        };
        let malformed = || {
            Error::invalid(format!("`{text}` is not a registry"))
                .hint("it should read HOST or HOST:PORT, for example quay.io")
        };
        let with_host = if host.contains(['.', ':']) || host == "localhost" {
            host.to_owned()
        } else {
            format!("{host}:443")
        };
        let name: Reference = format!("{with_host}/x").parse().map_err(|_| malformed())?;
        let mut registry = self.registry(&name, &[])?;
        registry.endpoint.repository = String::new();
        if with_host != host {
            registry.endpoint.authority = host.to_owned();
        }
        Ok(registry.with_scopes(Scopes::default()))
    }
}
