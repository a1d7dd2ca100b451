//! What a status that is not a success means, in the server's words and ours.
//!
//! Invariant: only the beginning of a body is read, control characters are dropped, and no text repeats what we
//! sent.

use crate::http::{Failure, FaultClass, Response, printable};
use berth_oci::{Error, Kind};
use jiff::Timestamp;
use serde::Deserialize;
use std::time::Duration;

/// An error needs no more of a body than this.
const ERROR_LIMIT: usize = 64 << 10;
/// Whoever wants us to wait longer wants us to go away.
const RETRY_AFTER_LIMIT: Duration = Duration::from_secs(3600);

/// The body of an error (distribution-spec "Error Codes").
#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    errors: Vec<One>,
    /// Some token servers and gateways use these instead.
    #[serde(default, alias = "error_description", alias = "details")]
    message: String,
}

#[derive(Deserialize)]
struct One {
    #[serde(default)]
    code: serde_json::Value,
    #[serde(default)]
    message: String,
}

/// The failure that an unsuccessful answer is. `who` answered: "the registry".
pub(crate) fn refusal(mut response: Response, who: &str) -> Failure {
    let retry_after = response.header("retry-after").and_then(|value| retry_after(value, Timestamp::now()));
    let (kind, class) = sort(response.status, retry_after);
    let origin = response.url.origin().to_string();
    let status = response.status;
    let words = server_words(&mut response);
    let said = if words.is_empty() { format!("status {status}") } else { words };
    let message = match kind {
        Kind::Unavailable if status != 429 => format!("{who} {origin} is in trouble: {said}"),
        _ => said,
    };
    let mut error = Error::new(kind, message);
    if let Some(hint) = hint(status, &origin, retry_after) {
        error = error.hint(hint);
    }
    Failure { error, class, retry_after }
}

fn sort(status: u16, retry_after: Option<Duration>) -> (Kind, FaultClass) {
    match status {
        401 => (Kind::Unauthorized, FaultClass::Fatal),
        402 | 403 | 407 | 451 => (Kind::Denied, FaultClass::Fatal),
        404 | 410 => (Kind::NotFound, FaultClass::Fatal),
        405 | 415 | 501 | 505 => (Kind::Unsupported, FaultClass::Fatal),
        409 => (Kind::Conflict, FaultClass::Fatal),
        408 => (Kind::Unavailable, FaultClass::Broken),
        429 if retry_after.is_none() => (Kind::Unavailable, FaultClass::Limited),
        429 | 500 | 502..=504 | 506..=599 => (Kind::Unavailable, FaultClass::Busy),
        _ => (Kind::Invalid, FaultClass::Fatal),
    }
}

fn hint(status: u16, origin: &str, retry_after: Option<Duration>) -> Option<String> {
    match (status, retry_after) {
        (429, Some(wait)) => Some(format!(
            "{origin} takes requests again in {}; logging in often raises the limit, a mirror avoids it",
            human(wait)
        )),
        (429, None) => Some("wait a while; logging in often raises the limit, a mirror avoids it".to_owned()),
        (407, _) => {
            Some("the proxy wants a user name and a password: http://user:password@host:port".to_owned())
        }
        (413, _) => Some("a proxy before the registry limits the size of a request".to_owned()),
        (500..=599, _) => Some("try again later, or tell whoever runs the registry".to_owned()),
        _ => None,
    }
}

/// `1 minute 40 seconds`, roughly.
fn human(time: Duration) -> String {
    match time.as_secs() {
        0..=1 => "a second".to_owned(),
        s @ 2..=119 => format!("{s} seconds"),
        s => format!("{} minutes", s.div_ceil(60)),
    }
}

/// `code: message` of each error in the body, as docker shows them; or what else the body says.
fn server_words(response: &mut Response) -> String {
    let status = response.status;
    let is_html = response.media_type().is_some_and(|m| m.contains("html"));
    let bytes = response.beginning(ERROR_LIMIT);
    if is_html || bytes.trim_ascii_start().starts_with(b"<") {
        return format!("status {status} with a web page");
    }
    if let Ok(body) = serde_json::from_slice::<Body>(&bytes) {
        let errors: Vec<String> = body.errors.iter().map(One::words).collect();
        let words = if errors.is_empty() { body.message } else { errors.join("; ") };
        return printable(&words);
    }
    let text = String::from_utf8_lossy(&bytes);
    match text.trim().is_empty() {
        true => String::new(),
        false => printable(text.trim()),
    }
}

impl One {
    fn words(&self) -> String {
        let code = self.code.as_str().unwrap_or_default().to_ascii_lowercase().replace('_', " ");
        // Docker Hub's limit is known by its own spelling.
        let code = code.replace("too many requests", "toomanyrequests");
        match (code.is_empty(), self.message.is_empty()) {
            (_, true) => code,
            (true, _) => self.message.clone(),
            _ => format!("{code}: {}", self.message),
        }
    }
}

/// Seconds, or a date (RFC 9110 §10.2.3).
fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    let wait = match value.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let then = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
            Duration::try_from(then.duration_since(now)).unwrap_or(Duration::ZERO)
        }
    };
    Some(wait.min(RETRY_AFTER_LIMIT))
}

/// What the registry says about its limit: "76 of 100 pulls left in 6 hours".
pub(crate) fn rate_limit(response: &Response) -> Option<String> {
    let (limit, window) = quota(response.header("ratelimit-limit")?)?;
    let (remaining, _) = quota(response.header("ratelimit-remaining")?)?;
    let window = window.map(|s| match s {
        0..=119 => format!(" in {s} seconds"),
        120..=7199 => format!(" in {} minutes", s / 60),
        _ => format!(" in {} hours", s / 3600),
    });
    Some(format!("{remaining} of {limit} pulls left{}", window.unwrap_or_default()))
}

/// `100;w=21600`.
fn quota(value: &str) -> Option<(u64, Option<u64>)> {
    let mut parts = value.split(';');
    let count = parts.next()?.trim().parse().ok()?;
    Some((count, parts.find_map(|p| p.trim().strip_prefix("w=")?.parse().ok())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_comes_in_two_forms() {
        let now: Timestamp = "2026-11-23T10:00:00Z".parse().unwrap();
        for (value, seconds) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("999999999", Some(3600)),
            ("Mon, 23 Nov 2026 10:00:30 GMT", Some(30)),
            ("Mon, 23 Nov 2026 09:00:30 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ] {
            assert_eq!(retry_after(value, now).map(|d| d.as_secs()), seconds, "{value}");
        }
    }

    #[test]
    fn quotas_are_read() {
        assert_eq!(quota("100;w=21600"), Some((100, Some(21600))));
        assert_eq!(quota("100"), Some((100, None)));
        assert_eq!(quota("many"), None);
    }

    #[test]
    fn error_bodies_read_as_docker_shows_them() {
        for (body, expected) in [
            (
                r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#,
                "manifest unknown: manifest unknown",
            ),
            (
                r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}"#,
                "toomanyrequests: slow down",
            ),
            (r#"{"errors":[{"code":"DENIED"},{"message":"b"}]}"#, "denied; b"),
            (r#"{"errors":[{"code":7,"message":"b"}]}"#, "b"),
        ] {
            let body: Body = serde_json::from_str(body).unwrap();
            assert_eq!(body.errors.iter().map(One::words).collect::<Vec<_>>().join("; "), expected);
        }
    }
}
