//! What can go wrong on the way to a server, told so that a person can act, and classed so that we can.
//!
//! Not here: statuses, which are answers ([`answer`](crate::answer)).

use super::Origin;
use berth_oci::{Context, Error, Kind};
use std::io;
use std::time::Duration;

/// What we may try after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultClass {
    /// Nothing stands at that address, or its name means nothing: not the same again, but another server.
    Unreachable,
    /// The other side does not speak TLS, or shows a certificate that we do not trust.
    Tls,
    /// A connection broke or stood still: the same request may work now.
    Broken,
    /// The server is overloaded or broken and says so: the same request may work later.
    Busy,
    /// A limit is used up, and the server does not say until when.
    Limited,
    /// An answer that will not change.
    Fatal,
}

/// An error together with what may be tried next.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: Error,
    pub(crate) class: FaultClass,
    /// When the server wants to be asked again.
    pub(crate) retry_after: Option<Duration>,
}

impl Failure {
    pub(crate) fn new(class: FaultClass, error: Error) -> Self {
        Self { error, class, retry_after: None }
    }

    pub(crate) fn fatal(error: Error) -> Self {
        Self::new(FaultClass::Fatal, error)
    }

    /// The same, told of a connection that goes through a proxy.
    pub(super) fn through_proxy(self, proxy: &str) -> Self {
        match self.class {
            FaultClass::Unreachable => {
                let doing = format!("cannot get through the proxy {proxy}");
                Self {
                    error: Err::<(), _>(self.error).context(|| doing).expect_err("it was an error"),
                    ..self
                }
            }
            _ => self,
        }
    }

    /// The failure behind an error that came out of a body's `read`.
    pub(crate) fn of_read(error: io::Error) -> Self {
        let error = Error::from(error);
        let class = match error.kind() {
            Kind::Unavailable => FaultClass::Broken,
            _ => FaultClass::Fatal,
        };
        Self::new(class, error)
    }

    /// Whether the same server may be asked the same again.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self.class, FaultClass::Broken | FaultClass::Busy | FaultClass::Limited)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

/// An error that needs no second thought is final.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::fatal(error)
    }
}

/// Sorts an error of the HTTP library.
pub(super) fn of_ureq(error: ureq::Error, origin: &Origin) -> Failure {
    use ureq::Error as E;
    let broken = |what: String| Failure::new(FaultClass::Broken, Error::unavailable(what));
    match error {
        E::Io(error) => of_io(error, origin),
        E::HostNotFound => unresolved(origin),
        E::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => Failure::new(
            FaultClass::Unreachable,
            Error::unavailable(format!("{origin} did not answer: the connection timed out"))
                .hint("check the network, a firewall, and the proxy settings (HTTPS_PROXY, NO_PROXY)"),
        ),
        E::Timeout(_) => broken(format!("{origin} sent nothing for too long")),
        E::ConnectionFailed => Failure::new(FaultClass::Unreachable, refused(origin)),
        E::ConnectProxyFailed(why) => Failure::new(
            FaultClass::Unreachable,
            Error::unavailable(format!("the proxy did not connect us to {origin}: {why}"))
                .hint("check HTTP_PROXY, HTTPS_PROXY and NO_PROXY, and the proxy's user name and password"),
        ),
        E::InvalidProxyUrl => Failure::fatal(
            Error::invalid("the address of the proxy is malformed")
                .hint("it should read http://[user:password@]host:port"),
        ),
        E::BodyStalled => broken(format!("{origin} broke off")),
        E::Tls(what) => Failure::new(FaultClass::Tls, Error::denied(format!("{origin}: {what}"))),
        E::Other(error) => match error.downcast::<Error>() {
            Ok(ours) => Failure::fatal(*ours),
            Err(other) => garbled(origin, &other.to_string()),
        },
        other => garbled(origin, &other.to_string()),
    }
}

/// Whoever answers so does not speak HTTP, or not to us.
fn garbled(origin: &Origin, what: &str) -> Failure {
    Failure::new(
        FaultClass::Broken,
        Error::unavailable(format!("{origin} did not answer in HTTP: {}", super::printable(what))),
    )
}

/// Sorts an I/O error, which may hold one of the HTTP library, of TLS, or our own.
pub(super) fn of_io(error: io::Error, origin: &Origin) -> Failure {
    let error = match error.downcast::<ureq::Error>() {
        Ok(inner) => return of_ureq(inner, origin),
        Err(error) => error,
    };
    if let Some(tls) = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()) {
        return Failure::new(FaultClass::Tls, crate::tls::explain(tls, origin));
    }
    if error.to_string().contains("failed to lookup address") {
        return unresolved(origin);
    }
    use io::ErrorKind as K;
    match error.kind() {
        K::ConnectionRefused => Failure::new(FaultClass::Unreachable, refused(origin)),
        K::HostUnreachable | K::NetworkUnreachable | K::NetworkDown | K::AddrNotAvailable => Failure::new(
            FaultClass::Unreachable,
            Error::unavailable(format!("there is no way to {origin}"))
                .caused_by(Error::from(error))
                .hint("check this machine's network and routes"),
        ),
        K::UnexpectedEof => Failure::new(
            FaultClass::Broken,
            Error::unavailable(format!("{origin} closed the connection early")),
        ),
        _ => Failure::new(
            FaultClass::Broken,
            Error::unavailable(format!("the connection to {origin} broke")).caused_by(Error::from(error)),
        ),
    }
}

fn refused(origin: &Origin) -> Error {
    Error::unavailable(format!("{origin} refused the connection"))
        .hint(format!("does a registry listen on port {} of `{}`?", origin.port, origin.host))
}

fn unresolved(origin: &Origin) -> Failure {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let servers = name_servers(&text);
    let hint = match servers.is_empty() {
        true => "/etc/resolv.conf names no name server".to_owned(),
        false => format!("name servers of /etc/resolv.conf: {}", servers.join(", ")),
    };
    let message = format!("cannot resolve host `{}`", origin.host);
    Failure::new(FaultClass::Unreachable, Error::unavailable(message).hint(hint))
}

fn name_servers(resolv_conf: &str) -> Vec<&str> {
    resolv_conf
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver")?.split_whitespace().next())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_read() {
        let text = "# nameserver 9.9.9.9\nsearch x\nnameserver 1.1.1.1\n  nameserver\t::1 # local\n";
        assert_eq!(name_servers(text), ["1.1.1.1", "::1"]);
    }
}
