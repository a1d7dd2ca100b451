//! Who may be spoken to without TLS, or without a look at the certificate. Invariant: pure.

use super::Endpoint;
use crate::http::{Scheme, proxy, split_port};
use std::net::IpAddr;

/// Loopback registries speak HTTP unless somebody gave them certificates; hosts on the list may.
pub(super) fn with_trust(endpoint: Endpoint, insecure: &[String], has_certificates: bool) -> Endpoint {
    let host = split_port(&endpoint.authority).map_or(endpoint.authority.as_str(), |(host, _)| host);
    let is_listed = insecure.iter().any(|rule| is_listed(rule, &endpoint.authority, host));
    let has_own_trust = has_certificates || !endpoint.tls.authorities.is_empty();
    match (endpoint.schemes == [Scheme::Https], is_loopback(host) && !has_own_trust) {
        (true, true) => {
            let mut endpoint = Endpoint { schemes: vec![Scheme::Http, Scheme::Https], ..endpoint };
            endpoint.tls.skip_verify = true;
            endpoint
        }
        _ if is_listed => endpoint.insecure(),
        _ => endpoint,
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|a| a.is_loopback())
}

/// `host`, `host:port`, or an address range.
fn is_listed(rule: &str, authority: &str, host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let in_range = || bare.parse().is_ok_and(|address| proxy::in_range(rule, address));
    rule.eq_ignore_ascii_case(authority) || rule.eq_ignore_ascii_case(host) || in_range()
}
