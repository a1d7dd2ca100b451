//! Which proxy stands before a host, if any: the rules of `NO_PROXY` as Go (and so docker) reads them.
//!
//! Invariant: pure; what is decided here depends on nothing but its arguments.

use super::{Origin, Scheme, split_port};
use crate::settings::Proxies;
use std::net::IpAddr;

/// The proxy for `origin`.
pub(crate) fn proxy_for<'a>(proxies: &'a Proxies, origin: &Origin) -> Option<&'a str> {
    let proxy = match origin.scheme {
        Scheme::Http => proxies.http.as_deref(),
        Scheme::Https => proxies.https.as_deref(),
    };
    proxy.filter(|p| !p.is_empty()).filter(|_| !is_direct(&proxies.no_proxy, origin))
}

/// Whether `origin` is reached without a proxy: loopback always is.
fn is_direct(no_proxy: &str, origin: &Origin) -> bool {
    let host = origin.host.trim_start_matches('[').trim_end_matches(']');
    let address = host.parse::<IpAddr>().ok();
    if host == "localhost" || address.is_some_and(|a| a.is_loopback()) {
        return true;
    }
    no_proxy.split([',', ' ']).map(str::trim).filter(|rule| !rule.is_empty()).any(|rule| match address {
        _ if rule == "*" => true,
        Some(address) => address_matches(rule, address, origin.port),
        None => name_matches(&rule.to_ascii_lowercase(), host, origin.port),
    })
}

fn address_matches(rule: &str, address: IpAddr, port: u16) -> bool {
    if rule.contains('/') {
        return in_range(rule, address);
    }
    if let Ok(only) = rule.parse::<IpAddr>() {
        return only == address;
    }
    let Some((host, rule_port)) = split_port(rule) else { return false };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.parse() == Ok(address) && rule_port.is_none_or(|p| p == port)
}

/// `example.com` and its subdomains; `.example.com` and `*.example.com` the subdomains alone.
fn name_matches(rule: &str, host: &str, port: u16) -> bool {
    let (rule, rule_port) = match rule.rsplit_once(':') {
        Some((name, digits)) => match digits.parse::<u16>() {
            Ok(port) => (name, Some(port)),
            Err(_) => return false,
        },
        None => (rule, None),
    };
    let rule = rule.strip_prefix('*').filter(|r| r.starts_with('.')).unwrap_or(rule);
    let matches = match rule.starts_with('.') {
        true => host.ends_with(rule) && host.len() > rule.len(),
        false => host == rule || host.strip_suffix(rule).is_some_and(|before| before.ends_with('.')),
    };
    matches && rule_port.is_none_or(|p| p == port)
}

/// Whether `address` lies in `network/bits`.
pub(crate) fn in_range(range: &str, address: IpAddr) -> bool {
    let Some((network, bits)) = range.split_once('/') else { return false };
    let (Ok(network), Ok(bits)) = (network.parse::<IpAddr>(), bits.parse::<u32>()) else { return false };
    match (network, address) {
        (IpAddr::V4(n), IpAddr::V4(a)) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            u32::from(n) & mask == u32::from(a) & mask
        }
        (IpAddr::V6(n), IpAddr::V6(a)) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            u128::from(n) & mask == u128::from(a) & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Url;

    #[test]
    fn no_proxy_is_read_as_go_reads_it() {
        for (no_proxy, url, proxied) in [
            ("", "https://registry.example/", true),
            ("", "http://localhost:5000/", false),
            ("", "http://127.3.2.1:5000/", false),
            ("", "http://[::1]:5000/", false),
            ("*", "https://registry.example/", false),
            ("example.com", "https://example.com/", false),
            ("example.com", "https://a.EXAMPLE.com/", false),
            ("example.com", "https://notexample.com/", true),
            (".example.com", "https://example.com/", true),
            (".example.com", "https://a.example.com/", false),
            ("*.example.com", "https://a.example.com/", false),
            ("example.com:5000", "https://example.com:5000/", false),
            ("example.com:5000", "https://example.com/", true),
            ("10.0.0.0/8", "https://10.1.2.3/", false),
            ("10.0.0.0/8", "https://11.1.2.3/", true),
            ("0.0.0.0/0", "https://11.1.2.3/", false),
            ("fd00::/8", "https://[fd12::1]/", false),
            ("10.1.2.3", "https://10.1.2.3:444/", false),
            ("10.1.2.3:443", "https://10.1.2.3:444/", true),
            ("a, b ,registry.example", "https://registry.example/", false),
            ("10.0.0.0/99,:,[,/", "https://10.1.2.3/", true),
        ] {
            let proxies =
                Proxies { http: Some("p".into()), https: Some("p".into()), no_proxy: no_proxy.to_owned() };
            let found = proxy_for(&proxies, Url::parse(url).unwrap().origin());
            assert_eq!(found.is_some(), proxied, "{no_proxy} {url}");
        }
    }
}
