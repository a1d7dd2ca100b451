//! What to put into `Authorization`: remembers how each registry wants it, and the tokens it gave.
//!
//! Invariant: at most one token request runs for one set of scopes, however many layers wait for it.

use super::token::{Asking, Granted, Token, TokenServer};
use super::{Challenge, Credential, Scopes, parse_challenges};
use crate::http::{Agents, Failure, Origin, Response, Url};
use crate::tls::TlsOptions;
use berth_oci::{Error, Result};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// How a registry wants to be asked.
#[derive(Clone)]
enum Way {
    Basic,
    Token(TokenServer, Scopes),
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct TokenKey {
    server: TokenServer,
    scopes: Scopes,
    username: String,
}

type Slot = Arc<Mutex<Option<Token>>>;

/// Challenges and tokens of all registries.
#[derive(Default)]
pub(crate) struct Authorizer {
    ways: Mutex<HashMap<(Origin, Scopes), Way>>,
    tokens: Mutex<HashMap<TokenKey, Slot>>,
}

/// One request's view: to whom it goes, for what, and who we are.
pub(crate) struct Identity<'a> {
    pub(crate) agents: &'a Agents,
    pub(crate) url: &'a Url,
    pub(crate) tls: &'a TlsOptions,
    pub(crate) scopes: &'a Scopes,
    pub(crate) credential: Option<&'a Credential>,
}

impl Authorizer {
    /// What to send without having been asked, from what this registry wanted before.
    pub(crate) fn in_advance(&self, identity: &Identity<'_>) -> Result<Option<String>, Failure> {
        if let Some(Credential::RegistryToken(token)) = identity.credential {
            return Ok(Some(format!("Bearer {token}")));
        }
        let way = {
            let ways = self.ways.lock().expect("no thread panics with this lock");
            ways.get(&(identity.url.origin().clone(), identity.scopes.clone())).cloned()
        };
        match way {
            Some(way) => self.follow(&way, identity),
            None => Ok(None),
        }
    }

    /// What to send after a 401; `None` where we have nothing (else) to show. `shown`: what was refused.
    pub(crate) fn challenged(
        &self,
        response: &Response,
        shown: Option<&str>,
        identity: &Identity<'_>,
    ) -> Result<Option<String>, Failure> {
        let challenges = parse_challenges(response.header_all("www-authenticate"));
        let Some(way) = choose(&challenges, identity) else { return Ok(None) };
        self.forget(&way, identity, shown);
        let answer = self.follow(&way, identity)?;
        if answer.is_some() {
            let key = (identity.url.origin().clone(), identity.scopes.clone());
            self.ways.lock().expect("no thread panics with this lock").insert(key, way);
        }
        Ok(answer.filter(|new| Some(new.as_str()) != shown))
    }

    fn follow(&self, way: &Way, identity: &Identity<'_>) -> Result<Option<String>, Failure> {
        match way {
            Way::Basic => Ok(identity.credential.and_then(Credential::basic)),
            Way::Token(server, scopes) => self.token(server, scopes, identity).map(Some),
        }
    }

    fn token(
        &self,
        server: &TokenServer,
        scopes: &Scopes,
        identity: &Identity<'_>,
    ) -> Result<String, Failure> {
        let slot = self.slot(server, scopes, identity);
        let mut token = slot.lock().expect("no thread panics with this lock");
        if let Some(fresh) = token.as_ref().filter(|t| t.is_fresh()) {
            return Ok(fresh.header());
        }
        let granted = asking(server, scopes, identity, false).token()?;
        let header = granted.token.header();
        *token = Some(granted.token);
        Ok(header)
    }

    fn slot(&self, server: &TokenServer, scopes: &Scopes, identity: &Identity<'_>) -> Slot {
        let username = identity.credential.map(|c| c.username().to_owned()).unwrap_or_default();
        let key = TokenKey { server: server.clone(), scopes: scopes.clone(), username };
        self.tokens.lock().expect("no thread panics with this lock").entry(key).or_default().clone()
    }

    /// Drops the token that was refused, unless another thread has a newer one already.
    fn forget(&self, way: &Way, identity: &Identity<'_>, shown: Option<&str>) {
        let (Way::Token(server, scopes), Some(shown)) = (way, shown) else { return };
        let slot = self.slot(server, scopes, identity);
        let mut token = slot.lock().expect("no thread panics with this lock");
        if token.as_ref().is_some_and(|t| t.header() == shown) {
            *token = None;
        }
    }

    /// A token for `docker login`: proves the password, and yields an identity token where the server makes them.
    pub(crate) fn log_in(&self, response: &Response, identity: &Identity<'_>) -> Result<LogIn, Failure> {
        let challenges = parse_challenges(response.header_all("www-authenticate"));
        match choose(&challenges, identity) {
            Some(Way::Token(server, scopes)) => {
                let Granted { token, identity } = asking(&server, &scopes, identity, true).token()?;
                Ok(LogIn { authorization: token.header(), identity_token: identity })
            }
            Some(Way::Basic) => {
                let authorization = identity.credential.and_then(Credential::basic);
                let authorization = authorization.ok_or_else(|| nothing_to_show(identity.url))?;
                Ok(LogIn { authorization, identity_token: None })
            }
            None => Err(nothing_to_show(identity.url)),
        }
    }
}

/// What a login yields.
pub(crate) struct LogIn {
    pub(crate) authorization: String,
    pub(crate) identity_token: Option<String>,
}

fn nothing_to_show(url: &Url) -> Failure {
    Failure::fatal(Error::unsupported(format!(
        "{} wants a kind of authentication that is neither basic nor a token",
        url.origin()
    )))
}

fn asking<'a>(
    server: &'a TokenServer,
    scopes: &'a Scopes,
    identity: &'a Identity<'a>,
    offline: bool,
) -> Asking<'a> {
    Asking {
        agents: identity.agents,
        server,
        scopes,
        credential: identity.credential,
        registry: identity.url,
        tls: identity.tls,
        offline,
    }
}

/// A token if the registry offers one; a password goes out only where it must.
fn choose(challenges: &[Challenge], identity: &Identity<'_>) -> Option<Way> {
    let bearer = challenges.iter().find_map(|challenge| match challenge {
        Challenge::Bearer { realm, service, scope, .. } => {
            let server = TokenServer { realm: realm.clone(), service: service.clone() };
            Some(Way::Token(server, identity.scopes.as_challenged(&Scopes::parse(scope))))
        }
        Challenge::Basic => None,
    });
    bearer.or_else(|| challenges.contains(&Challenge::Basic).then_some(Way::Basic))
}
