//! Redirects, by our own rules: few, never from TLS to plain text, and credentials stay with the server they are
//! for.

use super::{Agents, Failure, Method, Request, Response, Scheme, Url};
use crate::tls::TlsOptions;
use berth_oci::{Error, Result};

const LIMIT: usize = 10;

/// Sends `request` and follows redirects; `authorization` goes to the first server only.
///
/// A stream cannot be sent twice: its redirect is the answer. So is one to a method that changes something, unless
/// the status says that the method stays.
pub(crate) fn follow(
    agents: &Agents,
    request: &mut Request<'_>,
    authorization: Option<&str>,
    tls: &TlsOptions,
) -> Result<Response, Failure> {
    let first = request.url.clone();
    for _ in 0..=LIMIT {
        let is_home = request.url.origin() == first.origin();
        let foreign = TlsOptions::default();
        let mut response =
            agents.send(request, authorization.filter(|_| is_home), if is_home { tls } else { &foreign })?;
        match target(&response, request)? {
            Some(next) => request.url = next,
            None => return Ok(response),
        }
        response.drain();
        if request.url.origin() != first.origin() {
            // Headers that the configuration or a caller meant for one server are not for another.
            request.headers.retain(|(name, _)| is_harmless(name));
        }
    }
    Err(Failure::fatal(
        Error::invalid(format!("{} redirects more than {LIMIT} times", first.shown()))
            .hint("the server, or a proxy before it, is set up wrongly"),
    ))
}

fn is_harmless(name: &str) -> bool {
    [
        "accept",
        "range",
        "content-type",
        "content-length",
        "content-range",
        "if-none-match",
        "if-modified-since",
    ]
    .iter()
    .any(|known| name.eq_ignore_ascii_case(known))
}

/// Where the answer sends us, if we go there.
fn target(response: &Response, request: &Request<'_>) -> Result<Option<Url>, Failure> {
    let keeps_method = matches!(response.status, 307 | 308);
    let is_redirect = keeps_method || matches!(response.status, 301..=303);
    let may_follow = request.payload.is_repeatable() && (request.method.is_safe() || keeps_method);
    if !is_redirect || !may_follow {
        return Ok(None);
    }
    let from = request.url.shown();
    let location = response.header("location").ok_or_else(|| {
        Failure::fatal(Error::invalid(format!("{from} redirects ({}) without saying where", response.status)))
    })?;
    let next = request
        .url
        .join(location)
        .map_err(|e| Failure::fatal(Error::invalid(format!("{from} redirects to nowhere")).caused_by(e)))?;
    if request.url.origin().scheme == Scheme::Https && next.origin().scheme == Scheme::Http {
        return Err(Failure::fatal(
            Error::invalid(format!("{from} redirects from TLS to plain HTTP ({})", next.shown()))
                .hint("the server, or a proxy before it, is set up wrongly"),
        ));
    }
    debug_assert!(request.method != Method::Post || keeps_method);
    Ok(Some(next))
}
