//! Where an image may be had from, and where it is pushed to: the plan, as a value.
//!
//! Four kinds of configuration speak of mirrors; each has its file here and yields [`Endpoint`]s. Not here:
//! connections. Invariant: mirrors are for pulling only; pushing, deleting and searching know one endpoint.

use crate::http::{Scheme, Url, proxy, split_port};
use crate::settings::Settings;
use crate::tls::TlsOptions;
use berth_oci::{Reference, Result};
use std::net::IpAddr;

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
    /// Whether it may say what a tag means.
    pub(crate) tags: bool,
    /// Whether it may be asked for what has a digest.
    pub(crate) digests: bool,
    /// Whether it stands for another.
    pub(crate) is_mirror: bool,
}

impl Endpoint {
    /// The registry itself.
    pub(crate) fn registry(authority: &str, repository: &str) -> Self {
        Self {
            authority: authority.to_owned(),
            schemes: vec![Scheme::Https],
            base: "/v2/".to_owned(),
            repository: repository.to_owned(),
            namespace: None,
            headers: Vec::new(),
            tls: TlsOptions::default(),
            tags: true,
            digests: true,
            is_mirror: false,
        }
    }

    /// May be plain HTTP, and its certificate is not looked at.
    pub(crate) fn insecure(mut self) -> Self {
        self.tls.skip_verify = true;
        if self.schemes == [Scheme::Https] {
            self.schemes = vec![Scheme::Https, Scheme::Http];
        }
        self
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

/// Loopback registries speak HTTP unless somebody gave them certificates; hosts on the list may.
pub(crate) fn with_trust(endpoint: Endpoint, insecure: &[String], has_certificates: bool) -> Endpoint {
    let host = split_port(&endpoint.authority).map_or(endpoint.authority.as_str(), |(host, _)| host);
    if endpoint.schemes != [Scheme::Https] {
        return endpoint;
    }
    if is_loopback(host) {
        let schemes = match has_certificates {
            true => vec![Scheme::Https, Scheme::Http],
            false => vec![Scheme::Http, Scheme::Https],
        };
        let mut endpoint = Endpoint { schemes, ..endpoint };
        endpoint.tls.skip_verify |= !has_certificates;
        return endpoint;
    }
    match insecure.iter().any(|rule| is_listed(rule, &endpoint.authority, host)) {
        true => endpoint.insecure(),
        false => endpoint,
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|a| a.is_loopback())
}

fn is_listed(rule: &str, authority: &str, host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let in_range = || bare.parse().is_ok_and(|address| proxy::in_range(rule, address));
    rule.eq_ignore_ascii_case(authority) || rule.eq_ignore_ascii_case(host) || in_range()
}

/// The registry of a reference, without any mirror: where pushes go.
pub(crate) fn primary(
    name: &Reference,
    settings: &Settings,
    has_certificates: impl Fn(&str) -> bool,
) -> Endpoint {
    let authority = match name.registry() {
        "docker.io" => DOCKER_HUB,
        other => other,
    };
    let endpoint = Endpoint::registry(authority, name.repository());
    let trusted = has_certificates(authority);
    with_trust(endpoint, &settings.insecure, trusted)
}

/// The servers to pull `name` from, in the order they are tried.
pub(crate) fn plan(
    name: &Reference,
    settings: &Settings,
    has_certificates: impl Fn(&str) -> bool,
) -> Result<Vec<Endpoint>> {
    Ok(vec![primary(name, settings, has_certificates)])
}
