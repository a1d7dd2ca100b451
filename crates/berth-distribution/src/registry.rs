//! A conversation with one registry about one repository: the right scheme, credentials, redirects, judged answers.
//!
//! Not here: what is asked for (source, sink, browse), and asking again ([`retry`](crate::retry)). Invariant: a
//! 401 is answered at most twice, and credentials go to the endpoint's own origin only.

use crate::answer;
use crate::auth::{Authorizer, Credential, CredentialStore, Identity, Scopes};
use crate::endpoints::Endpoint;
use crate::http::{Agents, Failure, FaultClass, Method, Request, Response, Scheme, Url, follow};
use crate::settings::Settings;
use crate::tls::TlsOptions;
use berth_oci::{Error, Result};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

/// A 401 is answered so often: once with what we have, once with what is new.
const CHALLENGES: usize = 2;

/// What all conversations of a client share.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) agents: Agents,
    pub(crate) authorizer: Authorizer,
    pub(crate) credentials: CredentialStore,
    /// Whether a blob is being fetched over several connections.
    pub(crate) parallel: Arc<AtomicBool>,
}

/// The credential for an endpoint, or why it could not be read.
type Found = (Option<Credential>, Option<String>);

/// One endpoint, one set of rights.
#[derive(Clone)]
pub(crate) struct Registry {
    shared: Arc<Shared>,
    pub(crate) endpoint: Endpoint,
    scopes: Scopes,
    scheme: Arc<OnceLock<Scheme>>,
    credential: Arc<OnceLock<Found>>,
}

impl Registry {
    pub(crate) fn new(shared: Arc<Shared>, endpoint: Endpoint, scopes: Scopes) -> Self {
        Self { shared, endpoint, scopes, scheme: Arc::default(), credential: Arc::default() }
    }

    /// With this credential, whatever is kept.
    pub(crate) fn with_credential(self, credential: Credential) -> Self {
        Self { credential: Arc::new(OnceLock::from((Some(credential), None))), ..self }
    }

    /// The same conversation with other rights.
    pub(crate) fn with_scopes(&self, scopes: Scopes) -> Self {
        Self { scopes, ..self.clone() }
    }

    /// The same client at another server.
    pub(crate) fn at_endpoint(&self, endpoint: Endpoint) -> Self {
        Self::new(self.shared.clone(), endpoint, self.scopes.clone())
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Sends what `request` makes of an address below the repository, `manifests/latest`.
    pub(crate) fn ask<'a>(
        &self,
        path: &str,
        request: impl Fn(Url) -> Request<'a>,
    ) -> Result<Response, Failure> {
        self.ask_at(&format!("{}/{path}", self.endpoint.repository), request)
    }

    /// Sends what `request` makes of an address below the endpoint's base; finds the scheme the first time.
    pub(crate) fn ask_at<'a>(
        &self,
        path: &str,
        request: impl Fn(Url) -> Request<'a>,
    ) -> Result<Response, Failure> {
        if let Some(scheme) = self.scheme.get() {
            return self.send(&mut request(self.endpoint.url(*scheme, path)?));
        }
        let (scheme, response) = self.first_scheme(path, |url| self.send(&mut request(url)))?;
        self.scheme.get_or_init(|| scheme);
        Ok(response)
    }

    /// The first scheme that the endpoint understands, and what it answered.
    fn first_scheme(
        &self,
        path: &str,
        send: impl Fn(Url) -> Result<Response, Failure>,
    ) -> Result<(Scheme, Response), Failure> {
        let mut first = None;
        for scheme in &self.endpoint.schemes {
            let failure = match send(self.endpoint.url(*scheme, path)?) {
                Ok(response) if speaks_tls_only(&response) => answer::refusal(response, "the registry"),
                Ok(response) => return Ok((*scheme, response)),
                Err(failure) if is_about_scheme(&failure) => failure,
                Err(failure) => return Err(failure),
            };
            // The first scheme's error is the one that helps: the second is a guess.
            first.get_or_insert(failure);
        }
        let none =
            || Failure::fatal(Error::invalid(format!("no way to speak to {}", self.endpoint.authority)));
        Err(first.unwrap_or_else(none))
    }

    /// Sends a request to an address that the registry gave us, an upload's `Location`.
    pub(crate) fn send(&self, request: &mut Request<'_>) -> Result<Response, Failure> {
        let home = request.url.clone();
        if !self.is_ours(&home) {
            // Nothing that the configuration says about our endpoint holds for another server.
            return follow(&self.shared.agents, request, None, &TlsOptions::default());
        }
        for (name, value) in &self.endpoint.headers {
            request.headers.push((name.clone(), value.clone()));
        }
        request.dial = self.endpoint.dial_timeout;
        let identity = self.identity(&home);
        let mut shown = self.shared.authorizer.in_advance(&identity)?;
        for _ in 0..CHALLENGES {
            request.url = home.clone();
            let mut response = self.exchange(request, shown.as_deref())?;
            if response.status != 401 || !request.payload.is_repeatable() || !self.is_ours(&response.url) {
                return Ok(response);
            }
            match self.shared.authorizer.challenged(&response, shown.as_deref(), &identity)? {
                Some(next) => {
                    response.drain();
                    shown = Some(next);
                }
                None => return Ok(response),
            }
        }
        request.url = home.clone();
        self.exchange(request, shown.as_deref())
    }

    /// `GET /v2/` without any credential: what the registry wants to see.
    pub(crate) fn ask_plainly(&self) -> Result<Response, Failure> {
        let ask = |url| self.exchange(&mut Request::new(Method::Get, url), None);
        self.first_scheme("", ask).map(|(_, response)| response)
    }

    /// Sends a request with just this authorization.
    pub(crate) fn send_as(
        &self,
        request: &mut Request<'_>,
        authorization: &str,
    ) -> Result<Response, Failure> {
        self.exchange(request, Some(authorization))
    }

    fn exchange(&self, request: &mut Request<'_>, authorization: Option<&str>) -> Result<Response, Failure> {
        follow(&self.shared.agents, request, authorization, &self.endpoint.tls)
    }

    /// After a 401 to a stream: makes sure that the next request carries something newer.
    pub(crate) fn renew(&self, response: &Response) -> Result<bool, Failure> {
        let identity = self.identity(&response.url);
        let shown = self.shared.authorizer.in_advance(&identity)?;
        Ok(self.shared.authorizer.challenged(response, shown.as_deref(), &identity)?.is_some())
    }

    pub(crate) fn identity<'a>(&'a self, url: &'a Url) -> Identity<'a> {
        Identity {
            agents: &self.shared.agents,
            url,
            tls: &self.endpoint.tls,
            scopes: &self.scopes,
            credential: self.found().0.as_ref(),
        }
    }

    fn found(&self) -> &Found {
        self.credential.get_or_init(|| {
            match self.shared.credentials.get(&self.endpoint.authority, &self.endpoint.repository) {
                Ok(found) => (found, None),
                // A helper that is gone must not keep anybody from a public image.
                Err(error) => (None, Some(error.to_string())),
            }
        })
    }

    /// Whether somebody is logged in here.
    pub(crate) fn has_credential(&self) -> bool {
        self.found().0.is_some()
    }

    /// Why a kept credential could not be read.
    pub(crate) fn credential_trouble(&self) -> Option<&str> {
        self.found().1.as_deref()
    }

    fn is_ours(&self, url: &Url) -> bool {
        let ours =
            |scheme: &Scheme| self.endpoint.url(*scheme, "").is_ok_and(|home| home.origin() == url.origin());
        self.endpoint.schemes.iter().any(ours)
    }

    /// The answer if it is a success; otherwise the failure it means.
    pub(crate) fn expect(&self, response: Response) -> Result<Response, Failure> {
        match response.is_success() {
            true => Ok(response),
            false => Err(self.refusal(response)),
        }
    }

    pub(crate) fn refusal(&self, response: Response) -> Failure {
        let mut failure = answer::refusal(response, "the registry");
        if let (berth_oci::Kind::Unauthorized, Some(trouble)) =
            (failure.error.kind(), self.credential_trouble())
        {
            failure.error = failure.error.hint(trouble.to_owned());
        }
        failure
    }
}

/// Whether another scheme may do better.
fn is_about_scheme(failure: &Failure) -> bool {
    matches!(failure.class, FaultClass::Unreachable | FaultClass::Tls | FaultClass::Broken)
}

/// What Go's servers and nginx say to whoever speaks plain HTTP on their TLS port.
fn speaks_tls_only(response: &Response) -> bool {
    response.status == 400
        && response.url.origin().scheme == Scheme::Http
        && !response.media_type().is_some_and(|m| m.contains("json"))
}
