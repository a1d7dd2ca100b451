//! One server of a plan, and how configurations write its address.

use crate::http::{Scheme, Url, split_port};
use crate::tls::TlsOptions;
use berth_oci::{Error, Result};
use std::time::Duration;

/// Docker Hub's registry, as opposed to its name.
const DOCKER_HUB: &str = "registry-1.docker.io";

/// One server, and what we may do there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// `host` or `host:port`.
    pub(crate) authority: String,
    /// How it is spoken to, the first choice first.
    pub(crate) schemes: Vec<Scheme>,
    /// What stands before the repository: `/v2/`, or a mirror's own path.
    pub(crate) base: String,
    /// The repository, as it is called there.
    pub(crate) repository: String,
    /// containerd's `ns`: the registry that the mirror stands for.
    pub(crate) namespace: Option<String>,
    /// Headers the configuration adds.
    pub(crate) headers: Vec<(String, String)>,
    /// What the configuration says about TLS.
    pub(crate) tls: TlsOptions,
    /// How long a connection may take, where the configuration says it.
    pub(crate) dial_timeout: Option<Duration>,
    /// Whether it may say what a tag means.
    pub(crate) tags: bool,
    /// Whether it may be asked for what has a digest.
    pub(crate) digests: bool,
}

impl Endpoint {
    /// The registry itself.
    pub(crate) fn registry(host: &str, repository: &str) -> Self {
        let authority = match host {
            "docker.io" => DOCKER_HUB,
            other => other,
        };
        Self {
            authority: authority.to_owned(),
            schemes: vec![Scheme::Https],
            base: "/v2/".to_owned(),
            repository: repository.to_owned(),
            namespace: None,
            headers: Vec::new(),
            tls: TlsOptions::default(),
            dial_timeout: None,
            tags: true,
            digests: true,
        }
    }

    /// `repository` below a location's path.
    pub(super) fn below(location: &Location, repository: &str) -> Self {
        let joined = [location.path.as_str(), repository]
            .iter()
            .filter(|p| !p.is_empty())
            .copied()
            .collect::<Vec<_>>();
        let endpoint = Self::registry(&location.authority, &joined.join("/"));
        match location.scheme {
            Some(scheme) => Self { schemes: vec![scheme], ..endpoint },
            None => endpoint,
        }
    }

    /// May be plain HTTP where no scheme was given, and its certificate is not looked at.
    pub(super) fn insecure(mut self) -> Self {
        self.tls.skip_verify = true;
        if self.schemes == [Scheme::Https] {
            self.schemes = vec![Scheme::Https, Scheme::Http];
        }
        self
    }

    /// Whether asking both would be asking the same twice.
    pub(super) fn is_same_place(&self, other: &Self) -> bool {
        (&self.authority, &self.base, &self.repository) == (&other.authority, &other.base, &other.repository)
    }

    /// The address of something below `base`.
    pub(crate) fn url(&self, scheme: Scheme, path: &str) -> Result<Url> {
        let url = Url::parse(&format!("{}://{}{}{path}", scheme.as_str(), self.authority, self.base))?;
        Ok(match &self.namespace {
            Some(namespace) => url.query("ns", namespace),
            None => url,
        })
    }
}

/// An address in a configuration: `[scheme://]host[:port][/path]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) scheme: Option<Scheme>,
    pub(super) authority: String,
    /// Without slashes around it.
    pub(super) path: String,
}

impl Location {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let (scheme, rest) = match text.split_once("://") {
            Some(("https", rest)) => (Some(Scheme::Https), rest),
            Some(("http", rest)) => (Some(Scheme::Http), rest),
            Some(_) => return Err(invalid(text)),
            None => (None, text),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let path = path.trim_matches('/');
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'_' | b'-' | b'~');
        match split_port(authority) {
            Some(_) if path.bytes().all(is_plain) => {
                Ok(Self { scheme, authority: authority.to_owned(), path: path.to_owned() })
            }
            _ => Err(invalid(text)),
        }
    }
}

fn invalid(text: &str) -> Error {
    Error::invalid(format!("`{text}` is not the address of a registry"))
        .hint("it should read [https://]HOST[:PORT][/PATH]")
}
