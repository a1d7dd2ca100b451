//! Files from the web, for builds and imports: one address, streamed into a file, and asked about again without being sent again.
//!
//! Not here: what the file is for, whether its digest is the right one. Invariant: never more than the limit is
//! written, and what came short of what the server promised is an error, not a file.

use crate::answer;
use crate::client::Client;
use crate::http::{Failure, FaultClass, Method, Request, Response, Url, follow};
use crate::retry::retrying;
use crate::tls::TlsOptions;
use berth_oci::{Algorithm, AtPath, Digest, Error, Hasher, Kind, Result};
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, Write};
use std::path::Path;

/// What a server said of a file, to ask it later whether the file is still the same (RFC 9110 §8.8).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validators {
    /// `ETag`.
    pub etag: Option<String>,
    /// `Last-Modified`, in the server's words.
    pub last_modified: Option<String>,
}

/// What is to be fetched.
#[derive(Clone, Debug)]
pub struct DownloadRequest<'a> {
    /// `http://…` or `https://…`.
    pub url: &'a str,
    /// What is known of it; `None`: it is fetched whatever it is.
    pub known: Option<&'a Validators>,
    /// So many bytes at most.
    pub limit: u64,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Download {
    /// It is what was known.
    Unchanged,
    /// It is in the file.
    Fetched {
        /// The SHA-256 of its bytes.
        digest: Digest,
        /// How many bytes.
        size: u64,
        /// For the next time.
        validators: Validators,
    },
}

impl Validators {
    /// When the file changed last, in seconds since 1970, if the server says so in a way that can be read.
    #[must_use]
    pub fn modified(&self) -> Option<i64> {
        let text = self.last_modified.as_deref()?;
        jiff::fmt::rfc2822::parse(text.trim()).ok().map(|moment| moment.timestamp().as_second())
    }

    fn is_empty(&self) -> bool {
        self.etag.is_none() && self.last_modified.is_none()
    }
}

impl Client {
    /// Fetches a file from the web into `file`, which is empty. `tell` hears how many bytes have come, and of how
    /// many if the server said so; it may call it off.
    ///
    /// # Errors
    /// There is no such file, the server or the line is broken, or it is larger than the limit.
    pub fn download(
        &self,
        request: &DownloadRequest<'_>,
        path: &Path,
        tell: &mut dyn FnMut(u64, Option<u64>) -> Result<()>,
    ) -> Result<Download> {
        let url = Url::parse(request.url)?;
        let mut file = File::options().write(true).create(true).truncate(true).open(path).at(path)?;
        let settings = &self.shared().settings;
        let done = retrying(
            settings,
            |_, _| Ok(()),
            || {
                file.set_len(0).and_then(|()| file.rewind()).at(path)?;
                let response = self.ask_for(&url, request.known)?;
                if response.status == 304 && request.known.is_some() {
                    return Ok(Download::Unchanged);
                }
                if response.status != 200 {
                    return Err(refused(response, &url));
                }
                receive(response, &mut file, request.limit, tell)
            },
        );
        Ok(done?)
    }

    fn ask_for(&self, url: &Url, known: Option<&Validators>) -> Result<Response, Failure> {
        let mut message = Request::new(Method::Get, url.clone());
        if let Some(known) = known.filter(|known| !known.is_empty()) {
            if let Some(etag) = &known.etag {
                message = message.header("If-None-Match", etag.as_str());
            }
            // A server that knows tags ignores the date, which is only good to a second (RFC 9110 §13.1.3).
            if let Some(date) = &known.last_modified {
                message = message.header("If-Modified-Since", date.as_str());
            }
        }
        follow(&self.shared().agents, &mut message, None, &TlsOptions::default())
    }
}

fn refused(response: Response, url: &Url) -> Failure {
    let status = response.status;
    let mut failure = answer::refusal(response, "the server");
    let words = failure.error.to_string();
    let message = match failure.error.kind() {
        Kind::NotFound => format!("{}: not found (status {status})", url.shown()),
        _ => format!("{}: status {status}: {words}", url.shown()),
    };
    let hint = failure.error.hint_text().map(str::to_owned);
    failure.error = Error::new(failure.error.kind(), message);
    if let Some(hint) = hint {
        failure.error = failure.error.hint(hint);
    }
    failure
}

/// Streams the body into the file.
fn receive(
    response: Response,
    file: &mut File,
    limit: u64,
    tell: &mut dyn FnMut(u64, Option<u64>) -> Result<()>,
) -> Result<Download, Failure> {
    let shown = response.url.shown();
    let too_large = || {
        Failure::fatal(Error::invalid(format!("{shown} is larger than the {limit} bytes that it may have")))
    };
    // With a transfer coding the length says nothing (RFC 9112 §6.3).
    let is_coded = response.header("transfer-encoding").is_some();
    let promised = response.number("content-length").filter(|_| !is_coded);
    if promised.is_some_and(|size| size > limit) {
        return Err(too_large());
    }
    let header = |name: &str| response.header(name).map(str::to_owned);
    let validators = Validators { etag: header("etag"), last_modified: header("last-modified") };
    let mut body = response.into_body();
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut buffer = vec![0; 256 << 10];
    let mut size = 0;
    loop {
        let count = match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(Failure::of_read(error)),
        };
        size += count as u64;
        if size > limit {
            return Err(too_large());
        }
        hasher.update(&buffer[..count]);
        file.write_all(&buffer[..count]).map_err(Error::from)?;
        tell(size, promised)?;
    }
    if let Some(promised) = promised.filter(|promised| *promised != size) {
        let words = format!("{shown} promised {promised} bytes and sent {size}");
        return Err(Failure::new(FaultClass::Broken, Error::unavailable(words)));
    }
    Ok(Download::Fetched { digest: hasher.finish(), size, validators })
}
