//! One HTTP exchange: a request out, a status, headers and a streamed body back.
//!
//! Only this directory knows the HTTP library. Not here: credentials, redirects, retries; they are decisions of
//! [`registry`](crate::registry). Invariant: nothing in memory grows with what a server sends.

mod agents;
mod fault;
mod follow;
pub(crate) mod proxy;
mod url;

pub(crate) use agents::Agents;
pub(crate) use fault::{Failure, FaultClass};
pub(crate) use follow::follow;
pub(crate) use url::{Origin, Scheme, Url, percent_encoded, printable, split_port};

use berth_oci::{Error, Result};
use std::io::{self, Read};
use std::time::Duration;
use ureq::http::{HeaderMap, HeaderName, HeaderValue};

/// How much one read may bring; the library's buffer and ours.
pub(crate) const BUFFER: usize = 256 << 10;

/// A longer body costs more than another connection.
const DRAIN_LIMIT: usize = 64 << 10;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    /// Whether asking twice does no more than asking once.
    pub(crate) fn is_safe(self) -> bool {
        matches!(self, Self::Get | Self::Head)
    }
}

/// What a request carries.
pub(crate) enum Payload<'a> {
    None,
    Bytes(&'a [u8]),
    /// What can be sent once; its length is in the headers.
    Stream(&'a mut dyn Read),
}

impl Payload<'_> {
    /// Whether the request can be sent again as it is.
    pub(crate) fn is_repeatable(&self) -> bool {
        !matches!(self, Self::Stream(..))
    }
}

/// A request, without the credentials.
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) payload: Payload<'a>,
    /// How long the answer may take to begin, where that is not the usual stall time.
    pub(crate) patience: Option<Duration>,
    /// How long a connection may take, where that is not the usual time.
    pub(crate) dial: Option<Duration>,
}

impl<'a> Request<'a> {
    pub(crate) fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: Vec::new(), payload: Payload::None, patience: None, dial: None }
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn payload(mut self, media_type: &str, bytes: &'a [u8]) -> Self {
        self.payload = Payload::Bytes(bytes);
        self.header("Content-Type", media_type)
    }

    pub(crate) fn stream(mut self, reader: &'a mut dyn Read, length: u64) -> Self {
        self.payload = Payload::Stream(reader);
        self.header("Content-Type", "application/octet-stream").header("Content-Length", length.to_string())
    }

    pub(crate) fn patience(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }
}

/// An answer whose body has not been read.
pub(crate) struct Response {
    pub(crate) status: u16,
    /// The address that answered.
    pub(crate) url: Url,
    headers: HeaderMap,
    body: Body,
}

impl Response {
    /// A header's value, if it is there and is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    /// All values of a header that may come several times.
    pub(crate) fn header_all(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().filter_map(|v| v.to_str().ok()).collect()
    }

    /// A number in a header.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.header(name)?.trim().parse().ok()
    }

    /// The media type without its parameters, in lower case.
    pub(crate) fn media_type(&self) -> Option<String> {
        let value = self.header("content-type")?;
        Some(value.split(';').next().unwrap_or("").trim().to_ascii_lowercase())
    }

    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Reads what is left of a short body that nobody wants, so that its connection can be used again.
    pub(crate) fn drain(&mut self) {
        self.beginning(DRAIN_LIMIT);
    }

    pub(crate) fn into_body(self) -> Body {
        self.body
    }

    /// The whole body, if it has no more than `limit` bytes.
    pub(crate) fn bytes(&mut self, limit: usize) -> Result<Vec<u8>, Failure> {
        let length = self.number("content-length");
        let too_large = |url: &Url| {
            Failure::fatal(Error::invalid(format!(
                "the answer of {} is larger than {limit} bytes",
                url.shown()
            )))
        };
        if length.is_some_and(|n| n > limit as u64) {
            return Err(too_large(&self.url));
        }
        let mut bytes = Vec::with_capacity(length.unwrap_or(0) as usize);
        (&mut self.body).take(limit as u64 + 1).read_to_end(&mut bytes).map_err(Failure::of_read)?;
        match bytes.len() > limit {
            true => Err(too_large(&self.url)),
            false => Ok(bytes),
        }
    }

    /// The beginning of the body, for an error text; whatever goes wrong, it is empty.
    pub(crate) fn beginning(&mut self, limit: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        match (&mut self.body).take(limit as u64).read_to_end(&mut bytes) {
            Ok(_) => bytes,
            // The status alone is the answer then.
            Err(_) => Vec::new(),
        }
    }
}

/// A body that streams; its errors are ours.
pub(crate) struct Body {
    reader: ureq::BodyReader<'static>,
    origin: Origin,
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer).map_err(|e| fault::of_io(e, &self.origin).error.into())
    }
}

/// A header, or why it cannot be sent.
fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue)> {
    let invalid = || Error::invalid(format!("the header `{}` cannot be sent as it is", printable(name)));
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid())?;
    let mut value = HeaderValue::from_str(value).map_err(|_| invalid())?;
    // So that no log of the library below ever shows it.
    value.set_sensitive(name == "authorization");
    Ok((name, value))
}
