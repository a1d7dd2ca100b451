//! `--log-opt syslog-address`, `syslog-facility` and `syslog-format`.

use berth_oci::{Error, Result};
use berth_runtime::{SyslogAddress, SyslogFormat};
use std::path::Path;

const PORT: u16 = 514;
/// Where nobody says, docker speaks as a daemon.
const DAEMON: u8 = 3;
/// By their numbers (RFC 5424 §6.2.1); 12 to 15 have no name.
const FACILITIES: [&str; 12] =
    ["kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp"];

/// `udp://host[:port]`, `tcp://host[:port]`, `unix://path` or `unixgram://path`; nothing is the machine's own server.
pub(super) fn address(text: &str) -> Result<SyslogAddress> {
    let (scheme, rest) = text.split_once("://").unwrap_or_default();
    match scheme {
        _ if text.is_empty() => Ok(SyslogAddress::Local),
        "unix" => Ok(SyslogAddress::Unix(socket(rest)?.into())),
        "unixgram" => Ok(SyslogAddress::UnixDatagram(socket(rest)?.into())),
        "tcp" => host(rest).map(SyslogAddress::Tcp),
        "udp" => host(rest).map(SyslogAddress::Udp),
        "tcp+tls" => Err(Error::unsupported("syslog over TLS is not supported")
            .hint("send to a forwarder on this machine: syslog-address=udp://127.0.0.1:514")),
        _ => Err(Error::invalid(format!("unsupported scheme: '{scheme}'"))
            .hint("the address reads udp://HOST[:PORT], tcp://HOST[:PORT], unix://PATH or unixgram://PATH")),
    }
}

fn socket(path: &str) -> Result<&Path> {
    let path = Path::new(path);
    match path.exists() {
        true => Ok(path),
        false => Err(Error::invalid(format!("stat {}: no such file or directory", path.display()))
            .hint("syslog-address names a socket that is not there")),
    }
}

/// With the port that syslog has, where none is said.
fn host(text: &str) -> Result<String> {
    let wrong = |why: &str| {
        Error::invalid(format!("syslog-address: {why}: `{text}`"))
            .hint("it reads HOST, HOST:PORT or [IPV6]:PORT")
    };
    let (name, port) = match text.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((_, "")) => (text, None),
        Some((inner, rest)) => (&text[..inner.len() + 2], Some(rest.strip_prefix(':').unwrap_or(rest))),
        None => match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        },
    };
    if name.is_empty() || name.contains('/') {
        return Err(wrong("there is no host"));
    }
    let port = port.map_or(Ok(PORT), |port| port.parse::<u16>().map_err(|_| wrong("invalid port")))?;
    Ok(format!("{name}:{port}"))
}

/// A name, or a number.
pub(super) fn facility(text: &str) -> Result<u8> {
    let local =
        text.strip_prefix("local").and_then(|number| number.parse().ok()).filter(|number| *number < 8);
    let named = FACILITIES.iter().position(|name| *name == text).map(|number| number as u8);
    let numbered = || text.parse().ok().filter(|number| *number < 24);
    match text {
        "" => Ok(DAEMON),
        _ => named.or(local.map(|number: u8| 16 + number)).or_else(numbered).ok_or_else(|| {
            Error::invalid("invalid syslog facility")
                .hint(format!("`{text}`: the facilities are {} and local0 to local7", FACILITIES.join(", ")))
        }),
    }
}

/// One of docker's names.
pub(super) fn format(text: &str) -> Result<SyslogFormat> {
    match text {
        "" => Ok(SyslogFormat::Local),
        "rfc3164" => Ok(SyslogFormat::Rfc3164),
        "rfc5424" => Ok(SyslogFormat::Rfc5424),
        "rfc5424micro" => Ok(SyslogFormat::Rfc5424Micro),
        _ => Err(Error::invalid("Invalid syslog format")
            .hint(format!("`{text}`: the formats are rfc3164, rfc5424 and rfc5424micro"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, expected) in [
            ("", "Local"),
            ("udp://log", "Udp(\"log:514\")"),
            ("udp://1.2.3.4:99", "Udp(\"1.2.3.4:99\")"),
            ("tcp://[::1]", "Tcp(\"[::1]:514\")"),
            ("tcp://[::1]:99", "Tcp(\"[::1]:99\")"),
            ("unix:///dev/null", "Unix(\"/dev/null\")"),
            ("unixgram:///dev/null", "UnixDatagram(\"/dev/null\")"),
            ("unix:///nope", "stat /nope: no such file or directory"),
            ("x", "unsupported scheme: ''"),
            ("http://x", "unsupported scheme: 'http'"),
            ("tcp+tls://x", "syslog over TLS is not supported"),
            ("udp://", "syslog-address: there is no host: ``"),
            ("udp://a/b", "syslog-address: there is no host: `a/b`"),
            ("udp://a:b:c", "syslog-address: invalid port: `a:b:c`"),
            ("udp://a:70000", "syslog-address: invalid port: `a:70000`"),
            ("udp://[::1]99x", "syslog-address: invalid port: `[::1]99x`"),
        ] {
            let got = address(text).map_or_else(|e| e.message().to_owned(), |a| format!("{a:?}"));
            assert_eq!(got, expected, "{text}");
        }
    }

    #[test]
    fn facilities_and_formats() {
        for (text, expected) in [
            ("", Some(3)),
            ("kern", Some(0)),
            ("ftp", Some(11)),
            ("local0", Some(16)),
            ("local7", Some(23)),
            ("23", Some(23)),
            ("24", None),
            ("local8", None),
            ("x", None),
        ] {
            assert_eq!(facility(text).ok(), expected, "{text}");
        }
        assert_eq!(format("rfc5424micro").unwrap(), SyslogFormat::Rfc5424Micro);
        assert!(format("rfc").is_err());
    }
}
