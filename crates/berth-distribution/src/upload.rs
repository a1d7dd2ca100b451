//! Sending one blob: in one request where it is small, as a stream that can go on after a break where it is large.
//!
//! Distribution-spec "Pushing a blob in chunks". Invariant: what the registry says it has is the truth; after any
//! doubt it is asked, and the rest is read from the source again.

use crate::http::{Failure, FaultClass, Method, Request, Response, Scheme, Url};
use crate::registry::Registry;
use crate::retry::{Patience, Pause};
use berth_oci::{Blob, BlobState, Error, Result, Verified};
use std::io::{self, Read};
use std::time::Duration;

/// Up to this size a blob is held in memory and sent at once.
const SMALL: u64 = 1 << 20;
/// A proxy that limits requests below this is not meant for images; nginx starts out with a megabyte.
const SMALLEST_CHUNK: u64 = 256 << 10;
const LARGEST_CHUNK: u64 = 1 << 30;

/// An upload that a registry has opened.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    location: Url,
    /// Chunks but the last must have so many bytes (`OCI-Chunk-Min-Length`).
    least: u64,
}

/// Opens an upload.
pub(crate) fn open(registry: &Registry) -> Result<Session, Failure> {
    let response = registry
        .ask("blobs/uploads/", |url| Request::new(Method::Post, url).header("Content-Length", "0"))?;
    session(registry, &registry.expect(response)?)
}

/// The session that an answer speaks of.
pub(crate) fn session(registry: &Registry, response: &Response) -> Result<Session, Failure> {
    let least = response.number("oci-chunk-min-length").unwrap_or(0).min(LARGEST_CHUNK);
    Ok(Session { location: location(registry, response)?, least })
}

/// Where the upload goes on.
fn location(registry: &Registry, response: &Response) -> Result<Url, Failure> {
    let text = response.header("location").ok_or_else(|| {
        Failure::fatal(Error::invalid(format!(
            "{} opened an upload without saying where",
            response.url.shown()
        )))
    })?;
    let next = response.url.join(text)?;
    let asked = response.url.origin();
    let is_downgrade = asked.scheme == Scheme::Https && next.origin().scheme == Scheme::Http;
    match (is_downgrade, next.origin().host == asked.host) {
        (false, _) => Ok(next),
        // A registry behind a proxy that ends TLS often does not know how it is reached.
        (true, true) => Ok(Url::parse(&format!("{asked}{}", next.target()))?),
        (true, false) => Err(Failure::fatal(Error::invalid(format!(
            "{} wants the upload sent to {} in plain text",
            registry.endpoint.authority,
            next.shown()
        )))),
    }
}

/// Sends a blob into a session.
pub(crate) fn send(registry: &Registry, session: Session, blob: &Blob<'_>) -> Result<()> {
    let upload =
        Upload { registry, blob, patience: Patience::new(&registry.shared().settings), session, offset: 0 };
    match blob.descriptor().size <= SMALL {
        true => upload.at_once(),
        false => upload.streamed(),
    }
}

struct Upload<'a> {
    registry: &'a Registry,
    blob: &'a Blob<'a>,
    patience: Patience<'a>,
    session: Session,
    offset: u64,
}

impl Upload<'_> {
    fn size(&self) -> u64 {
        self.blob.descriptor().size
    }

    fn at_once(mut self) -> Result<()> {
        let mut bytes = Vec::with_capacity(self.size() as usize);
        Verified::new(self.blob.open(0)?, self.blob.descriptor()).read_to_end(&mut bytes)?;
        loop {
            let Err(failure) = self.put(&bytes) else { return Ok(()) };
            self.pause_after(failure)?;
            if self.is_there()? {
                return Ok(());
            }
            self.reopen()?;
        }
    }

    fn streamed(mut self) -> Result<()> {
        let mut chunk = u64::MAX;
        while self.offset < self.size() {
            let before = self.offset;
            match self.patch(chunk.max(self.session.least)) {
                Ok(()) => {}
                Err(Trouble::Source(error)) => return Err(error),
                Err(Trouble::TooLarge(failure)) => {
                    chunk = chunk.min(self.size()) / 4;
                    if chunk < SMALLEST_CHUNK.max(self.session.least) {
                        return Err(failure.error);
                    }
                    self.ask_where_we_are()?;
                }
                Err(Trouble::Registry(failure)) => {
                    self.pause_after(failure)?;
                    self.ask_where_we_are()?;
                }
            }
            if self.offset > before {
                self.patience.progress();
            }
        }
        self.commit()
    }

    fn commit(&mut self) -> Result<()> {
        loop {
            let Err(failure) = self.put(&[]) else { return Ok(()) };
            self.pause_after(failure)?;
            if self.is_there()? {
                return Ok(());
            }
        }
    }

    /// Sends up to `most` bytes from where we are.
    fn patch(&mut self, most: u64) -> Result<(), Trouble> {
        let (offset, size) = (self.offset, self.size());
        let length = most.min(size - offset);
        let mut outgoing =
            Outgoing { inner: self.blob.open(offset)?.take(length), left: length, error: None };
        let mut request = Request::new(Method::Patch, self.session.location.clone())
            .stream(&mut outgoing, length)
            .patience(self.registry.shared().settings.timeouts.commit);
        if length < size {
            request = request.header("Content-Range", format!("{offset}-{}", offset + length - 1));
        }
        let answer = self.registry.send(&mut request);
        drop(request);
        if let Some(error) = outgoing.error {
            return Err(Trouble::Source(error));
        }
        self.take(answer?, offset + length)
    }

    /// What the registry says to a chunk that would have brought us to `end`.
    fn take(&mut self, response: Response, end: u64) -> Result<(), Trouble> {
        match response.status {
            200..=299 => {
                // A registry that says it has nothing new says nothing worth hearing: the digest decides at the end.
                self.offset = stored(&response).filter(|stored| *stored > self.offset).unwrap_or(end);
                if self.offset > self.size() {
                    return Err(Trouble::Registry(Failure::fatal(Error::invalid(format!(
                        "{} says it has more bytes than we sent",
                        response.url.shown()
                    )))));
                }
                if response.header("location").is_some() {
                    self.session.location = location(self.registry, &response)?;
                }
                Ok(())
            }
            307 | 308 => {
                self.session.location = location(self.registry, &response)?;
                Err(Trouble::Registry(again("the upload was sent elsewhere")))
            }
            401 if self.registry.renew(&response)? => Err(Trouble::Registry(again("the token had expired"))),
            413 => Err(Trouble::TooLarge(self.registry.refusal(response))),
            416 => Err(Trouble::Registry(again("the registry has another part of the blob than we thought"))),
            _ => Err(Trouble::Registry(self.registry.refusal(response))),
        }
    }

    /// Asks how much arrived; an upload that is lost starts anew.
    fn ask_where_we_are(&mut self) -> Result<()> {
        loop {
            let mut request = Request::new(Method::Get, self.session.location.clone());
            let answer = self.registry.send(&mut request).and_then(|response| match response.status {
                404 | 405 | 400 => Ok(None),
                _ => self.registry.expect(response).map(Some),
            });
            match answer {
                Ok(None) => return self.reopen(),
                Ok(Some(response)) => {
                    self.offset = stored(&response).unwrap_or(0).min(self.size());
                    if response.header("location").is_some() {
                        self.session.location = location(self.registry, &response)?;
                    }
                    return Ok(());
                }
                Err(failure) => self.pause_after(failure)?,
            }
        }
    }

    fn reopen(&mut self) -> Result<()> {
        loop {
            match open(self.registry) {
                Ok(session) => {
                    self.session = session;
                    self.offset = 0;
                    return Ok(());
                }
                Err(failure) => self.pause_after(failure)?,
            }
        }
    }

    /// Ends the upload: with all bytes, or with those sent before.
    fn put(&self, bytes: &[u8]) -> Result<(), Failure> {
        let url = self.session.location.clone().query("digest", self.blob.descriptor().digest.as_str());
        let mut request = Request::new(Method::Put, url)
            .payload("application/octet-stream", bytes)
            .patience(self.registry.shared().settings.timeouts.commit);
        let response = self.registry.send(&mut request)?;
        self.registry.expect(response).map(drop)
    }

    /// An answer that was lost on the way may have been a success.
    fn is_there(&self) -> Result<bool> {
        Ok(crate::blob::exists(self.registry, self.blob.descriptor())?)
    }

    fn pause_after(&mut self, failure: Failure) -> Result<()> {
        let pause = self.patience.after(failure)?;
        self.patience.wait(&pause, |pause: &Pause, left: Duration| {
            self.blob.report(BlobState::Retrying {
                attempt: pause.attempt,
                wait_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
                reason: pause.reason.clone(),
            })
        })
    }
}

fn again(why: &str) -> Failure {
    Failure::new(FaultClass::Broken, Error::unavailable(why))
}

/// Who failed: what we read from, or whom we send to.
enum Trouble {
    Source(Error),
    TooLarge(Failure),
    Registry(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Registry(failure)
    }
}

/// Only opening the source yields a bare error.
impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Source(error)
    }
}

/// `Range: 0-99`: how many bytes are there. Nothing at all is written `0-0`, so one byte is taken for none.
fn stored(response: &Response) -> Option<u64> {
    let range = response.header("range")?;
    let range = range.strip_prefix("bytes=").unwrap_or(range);
    let (_, last) = range.split_once('-')?;
    match last.trim().parse::<u64>().ok()? {
        0 => Some(0),
        last => last.checked_add(1),
    }
}

/// Remembers why the source failed, and notices that it ended early.
struct Outgoing<R> {
    inner: R,
    left: u64,
    error: Option<Error>,
}

impl<R: Read> Read for Outgoing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let answer = match self.inner.read(buffer) {
            Ok(0) if self.left > 0 && !buffer.is_empty() => {
                Err(Error::corrupt("the blob is shorter than its descriptor says"))
            }
            Ok(count) => Ok(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => Err(Error::from(error)),
        };
        match answer {
            Ok(count) => {
                self.left -= count as u64;
                Ok(count)
            }
            Err(error) => {
                self.error = Some(error);
                Err(io::Error::other("the source failed"))
            }
        }
    }
}
