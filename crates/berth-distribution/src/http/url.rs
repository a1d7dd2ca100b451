//! Addresses: just as much of RFC 3986 as a registry's answers need.
//!
//! Invariant: a [`Url`] is absolute, `http` or `https`, without user name, fragment, blanks or control characters;
//! so it can stand in a request line as it is.

use berth_oci::{Error, Result};
use std::fmt;

/// How a server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Scheme, host and port: who gets our credentials.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    pub(crate) scheme: Scheme,
    /// In lower case; an IPv6 address keeps its brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Origin {
    /// `host`, or `host:port` where the port is not the usual one.
    pub(crate) fn authority(&self) -> String {
        match self.port == self.scheme.port() {
            true => self.host.clone(),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.authority())
    }
}

/// An absolute address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Url {
    origin: Origin,
    /// Path and query; begins with `/`.
    target: String,
}

impl Url {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let invalid = |why: &str| Error::invalid(format!("`{}` is not an address: {why}", printable(text)));
        let (scheme, rest) = match text.split_once("://") {
            Some((s, rest)) if s.eq_ignore_ascii_case("https") => (Scheme::Https, rest),
            Some((s, rest)) if s.eq_ignore_ascii_case("http") => (Scheme::Http, rest),
            _ => return Err(invalid("it begins with neither `https://` nor `http://`")),
        };
        let rest = rest.split('#').next().unwrap_or("");
        let (authority, target) = match rest.find(['/', '?']) {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        if authority.contains('@') {
            return Err(invalid("a user name in it is not allowed"));
        }
        let (host, port) =
            split_port(authority).ok_or_else(|| invalid("its host or its port is malformed"))?;
        if !target.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(invalid("it holds blanks or control characters"));
        }
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        let origin = Origin { scheme, host: host.to_ascii_lowercase(), port: port.unwrap_or(scheme.port()) };
        Ok(Self { origin, target })
    }

    /// The address that a `Location` header means when this one answered it.
    pub(crate) fn join(&self, location: &str) -> Result<Self> {
        let scheme = self.origin.scheme.as_str();
        let names_scheme = location.split(['/', '?']).next().is_some_and(|first| first.ends_with(':'));
        if names_scheme {
            return Self::parse(location);
        }
        if location.starts_with("//") {
            return Self::parse(&format!("{scheme}:{location}"));
        }
        let path = self.target.split('?').next().unwrap_or("/");
        let directory = &path[..=path.rfind('/').unwrap_or(0)];
        let target = match location.bytes().next() {
            None => self.target.clone(),
            Some(b'/') => location.to_owned(),
            Some(b'?') => format!("{path}{location}"),
            Some(_) => format!("{directory}{location}"),
        };
        Self::parse(&format!("{}{target}", self.origin))
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Path and query.
    pub(crate) fn target(&self) -> &str {
        &self.target
    }

    /// The same with one more `key=value`.
    pub(crate) fn query(mut self, key: &str, value: &str) -> Self {
        self.target.push(if self.target.contains('?') { '&' } else { '?' });
        self.target.push_str(key);
        self.target.push('=');
        self.target.push_str(&percent_encoded(value));
        self
    }

    /// Without the query, which may be a signature: what an error or a note may show.
    pub(crate) fn shown(&self) -> String {
        format!("{}{}", self.origin, self.target.split('?').next().unwrap_or(""))
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.target)
    }
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`.
pub(crate) fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let end_of_host = match authority.starts_with('[') {
        true => authority.find(']')? + 1,
        false => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, rest) = authority.split_at(end_of_host);
    let port = match rest.strip_prefix(':') {
        Some(port) => Some(port.parse::<u16>().ok().filter(|p| *p != 0)?),
        None if rest.is_empty() => None,
        None => return None,
    };
    is_host(host).then_some((host, port))
}

fn is_host(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        }
    }
}

/// Everything but RFC 3986's unreserved characters, and `/` and `:`, which are fine in a query.
pub(crate) fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b':' => {
                out.push(byte.into());
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// A server's words, fit for a terminal: no control characters, not too long.
pub(crate) fn printable(text: &str) -> String {
    const LIMIT: usize = 300;
    let mut out: String = text.chars().filter(|c| !c.is_control()).take(LIMIT).collect();
    if text.chars().nth(LIMIT).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_complete_or_refused() {
        for (text, expected) in [
            ("https://a.example", "https://a.example/"),
            ("HTTP://A.example:5000/v2/", "http://a.example:5000/v2/"),
            ("https://a:443/x?y=z#frag", "https://a/x?y=z"),
            ("http://[::1]:5000/v2/", "http://[::1]:5000/v2/"),
            ("https://a?q", "https://a/?q"),
        ] {
            assert_eq!(Url::parse(text).unwrap().to_string(), expected, "{text}");
        }
        for bad in [
            "",
            "a.example",
            "ftp://a",
            "https://",
            "https://u:p@a/",
            "https://a:0/",
            "https://a:x/",
            "https://[::1",
            "https://a/ b",
            "https://a/\r\nX: y",
            "https://[zz]/",
            "https://a b/",
            "file:///etc/passwd",
        ] {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn locations_are_resolved() {
        let base = Url::parse("https://a.example:5000/v2/x/blobs/uploads/?n=1").unwrap();
        for (location, expected) in [
            ("https://b.example/y", "https://b.example/y"),
            ("//b.example/y", "https://b.example/y"),
            ("/v2/y?z", "https://a.example:5000/v2/y?z"),
            ("uuid?state=1", "https://a.example:5000/v2/x/blobs/uploads/uuid?state=1"),
            ("?z", "https://a.example:5000/v2/x/blobs/uploads/?z"),
            ("/r?to=https://c/", "https://a.example:5000/r?to=https://c/"),
            ("", "https://a.example:5000/v2/x/blobs/uploads/?n=1"),
        ] {
            assert_eq!(base.join(location).unwrap().to_string(), expected, "{location}");
        }
        assert!(base.join("javascript://x").is_err());
    }

    #[test]
    fn queries_are_encoded() {
        let url = Url::parse("https://a/token")
            .unwrap()
            .query("scope", "repository:a/b:pull,push")
            .query("q", "a&b");
        assert_eq!(url.to_string(), "https://a/token?scope=repository:a/b:pull%2Cpush&q=a%26b");
        assert_eq!(url.shown(), "https://a/token");
    }
}
