//! Tokens (distribution `spec/auth/token.md`, `oauth.md`): how to ask for one, and how long it lasts.

use super::{Credential, Scopes};
use crate::http::{
    Agents, Failure, FaultClass, Method, Request, Response, Scheme, Url, follow, percent_encoded,
};
use crate::tls::TlsOptions;
use berth_oci::{Error, Result};
use serde::Deserialize;
use std::time::{Duration, Instant};

const ANSWER_LIMIT: usize = 1 << 20;
/// What the specification says where the server says nothing.
const LIFETIME: Duration = Duration::from_secs(60);
/// A token that ends while its request travels is of no use.
const MARGIN: Duration = Duration::from_secs(5);
const CLIENT_ID: &str = "berth";

/// A token server and the name that the registry has there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct TokenServer {
    pub(super) realm: String,
    pub(super) service: String,
}

/// A token for some scopes.
#[derive(Clone)]
pub(super) struct Token {
    text: String,
    ends: Instant,
}

impl Token {
    pub(super) fn header(&self) -> String {
        format!("Bearer {}", self.text)
    }

    pub(super) fn is_fresh(&self) -> bool {
        Instant::now() < self.ends
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    #[serde(default)]
    expires_in: u64,
    #[serde(default)]
    refresh_token: String,
}

/// A token and, if one was asked for, the identity token behind it.
pub(super) struct Granted {
    pub(super) token: Token,
    pub(super) identity: Option<String>,
}

/// Who asks, for whom, over what.
pub(super) struct Asking<'a> {
    pub(super) agents: &'a Agents,
    pub(super) server: &'a TokenServer,
    pub(super) scopes: &'a Scopes,
    pub(super) credential: Option<&'a Credential>,
    /// How the registry itself is reached.
    pub(super) registry: &'a Url,
    pub(super) tls: &'a TlsOptions,
    /// Ask for an identity token, too.
    pub(super) offline: bool,
}

impl Asking<'_> {
    pub(super) fn token(&self) -> Result<Granted, Failure> {
        let realm = self.realm()?;
        let response = match self.credential {
            Some(Credential::IdentityToken { token, .. }) => self
                .post(realm, &format!("grant_type=refresh_token&refresh_token={}", percent_encoded(token)))?,
            _ => {
                let response = self.get(realm.clone())?;
                match (response.status, self.credential) {
                    // A server that speaks OAuth2 only.
                    (404 | 405, Some(Credential::Password { username, password })) => {
                        let form = format!(
                            "grant_type=password&username={}&password={}",
                            percent_encoded(username),
                            percent_encoded(password)
                        );
                        self.post(realm, &form)?
                    }
                    _ => response,
                }
            }
        };
        self.read(response)
    }

    /// A registry behind TLS must not make us send a password in plain text.
    fn realm(&self) -> Result<Url, Failure> {
        let malformed = |e: Error| {
            Error::invalid(format!("{} names no usable token server", self.registry.origin())).caused_by(e)
        };
        let realm = Url::parse(&self.server.realm).map_err(malformed)?;
        let is_downgrade =
            self.registry.origin().scheme == Scheme::Https && realm.origin().scheme == Scheme::Http;
        match is_downgrade && self.credential.is_some() {
            true => Err(Failure::fatal(Error::invalid(format!(
                "{} wants our password sent to {} in plain text",
                self.registry.origin(),
                realm.shown()
            )))),
            false => Ok(realm),
        }
    }

    fn tls(&self, realm: &Url) -> TlsOptions {
        match realm.origin().host == self.registry.origin().host {
            true => self.tls.clone(),
            false => TlsOptions::default(),
        }
    }

    fn get(&self, realm: Url) -> Result<Response, Failure> {
        let mut url = realm;
        if !self.server.service.is_empty() {
            url = url.query("service", &self.server.service);
        }
        for scope in self.scopes.lines() {
            url = url.query("scope", &scope);
        }
        if let Some(credential) = self.credential {
            url = url.query("account", credential.username());
        }
        if self.offline {
            url = url.query("offline_token", "true").query("client_id", CLIENT_ID);
        }
        let tls = self.tls(&url);
        let authorization = self.credential.and_then(Credential::basic);
        follow(self.agents, &mut Request::new(Method::Get, url), authorization.as_deref(), &tls)
    }

    fn post(&self, realm: Url, grant: &str) -> Result<Response, Failure> {
        let scopes: Vec<String> = self.scopes.lines().collect();
        let mut form =
            format!("{grant}&client_id={CLIENT_ID}&service={}", percent_encoded(&self.server.service));
        if !scopes.is_empty() {
            form.push_str(&format!("&scope={}", percent_encoded(&scopes.join(" "))));
        }
        if self.offline {
            form.push_str("&access_type=offline");
        }
        let tls = self.tls(&realm);
        let mut request =
            Request::new(Method::Post, realm).payload("application/x-www-form-urlencoded", form.as_bytes());
        follow(self.agents, &mut request, None, &tls)
    }

    fn read(&self, mut response: Response) -> Result<Granted, Failure> {
        if !response.is_success() {
            return Err(self.refused(response));
        }
        let from = response.url.shown();
        let bytes = response.bytes(ANSWER_LIMIT)?;
        // serde's text may quote the value it met, which may be the token.
        let answer: Answer = serde_json::from_slice(&bytes).map_err(|_| {
            Failure::fatal(Error::invalid(format!("the token server {from} did not answer in JSON")))
        })?;
        let text = if answer.token.is_empty() { answer.access_token } else { answer.token };
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Failure::fatal(Error::unauthorized(format!(
                "the token server {from} gave no token"
            ))));
        }
        let lifetime = Duration::from_secs(answer.expires_in.min(24 * 3600)).max(LIFETIME);
        let token = Token { text, ends: Instant::now() + lifetime - MARGIN };
        Ok(Granted { token, identity: Some(answer.refresh_token).filter(|t| !t.is_empty()) })
    }

    fn refused(&self, response: Response) -> Failure {
        let mut failure = crate::answer::refusal(response, "the token server");
        if matches!(failure.error.kind(), berth_oci::Kind::Unauthorized | berth_oci::Kind::Denied) {
            failure.class = FaultClass::Fatal;
        }
        failure
    }
}
