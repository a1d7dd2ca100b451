//! The bytes of one blob, in order, over as many connections and tries as it takes.
//!
//! A large blob is asked for in growing pieces; whenever a piece ends and the network was what we waited for, the
//! rest comes over several connections ([`ranges`](crate::ranges)). Not here: verification, which is the sink's.
//! Invariant: a byte that was handed out is never asked for again.

use crate::http::{Body, Failure, FaultClass, Method, Request, Response, Url};
use crate::ranges::{Permit, Ranges};
use crate::registry::Registry;
use crate::retry::{Patience, Pause};
use crate::source::{RegistrySource, broken_off, range_request, refuse_web_page};
use berth_oci::{BlobState, Descriptor, Error, Event, Kind, Result};
use std::io::{self, Read};
use std::time::{Duration, Instant};

/// Smaller blobs come in one piece.
const LARGE: u64 = 64 << 20;
/// The first piece of a large one: enough to see how fast it comes.
const FIRST_PIECE: u64 = 16 << 20;
const LARGEST_PIECE: u64 = 1 << 30;
/// While another blob has all the connections, it is worth asking now and then.
const PIECE_IN_WAITING: u64 = 64 << 20;
/// This much without a break shows that things go on.
const PROGRESS: u64 = 64 << 10;

/// Where the bytes come from right now.
enum Feed {
    None,
    /// One connection, up to this offset.
    Stream {
        body: Body,
        end: u64,
    },
    Parallel(Ranges),
}

/// A blob from an offset on.
pub(crate) struct BlobReader<'a> {
    source: &'a RegistrySource<'a>,
    descriptor: Descriptor,
    position: u64,
    feed: Feed,
    /// Places that were not tried yet; the first is in use.
    places: Vec<usize>,
    patience: Patience<'a>,
    since_failure: u64,
    piece: u64,
    clock: Clock,
    may_be_parallel: bool,
}

/// Who waits for whom: time spent reading against time passed.
struct Clock {
    started: Instant,
    reading: Duration,
    bytes: u64,
}

impl Clock {
    fn new() -> Self {
        Self { started: Instant::now(), reading: Duration::ZERO, bytes: 0 }
    }

    /// The reader waited for the network most of the time, and the network is not a fast one.
    fn is_starved(&self, fast_link: u64) -> bool {
        let passed = self.started.elapsed().as_secs_f64();
        let reading = self.reading.as_secs_f64();
        reading > 0.7 * passed && (self.bytes as f64) < fast_link as f64 * passed
    }
}

impl<'a> BlobReader<'a> {
    /// Connects at once, so that what is missing is known before anything is written.
    pub(crate) fn open(source: &'a RegistrySource<'_>, descriptor: &Descriptor, offset: u64) -> Result<Self> {
        let places = source.places_for_digests();
        let settings = &source.place(places[0]).shared().settings;
        let mut reader = Self {
            source,
            descriptor: descriptor.clone(),
            position: offset,
            feed: Feed::None,
            places,
            patience: Patience::new(settings),
            since_failure: 0,
            piece: if descriptor.size - offset.min(descriptor.size) >= LARGE {
                FIRST_PIECE
            } else {
                u64::MAX
            },
            clock: Clock::new(),
            may_be_parallel: settings.connections_per_blob > 1,
        };
        if offset < descriptor.size || descriptor.size == 0 {
            reader.connect()?;
        }
        Ok(reader)
    }

    fn registry(&self) -> &'a Registry {
        self.source.place(self.places[0])
    }

    /// A stream at our position, however many tries and places it takes.
    fn connect(&mut self) -> Result<()> {
        loop {
            let before = Instant::now();
            let stream = self.try_stream();
            // Waiting for an answer is waiting for the network, too.
            self.clock.reading += before.elapsed();
            match stream {
                Ok(feed) => {
                    self.feed = feed;
                    self.source.serves(&self.descriptor, self.places[0]);
                    return Ok(());
                }
                Err(failure) => self.recover(failure)?,
            }
        }
    }

    fn try_stream(&mut self) -> Result<Feed, Failure> {
        let (start, size) = (self.position, self.descriptor.size);
        let end = start.saturating_add(self.piece).min(size);
        let wanted = Some(end).filter(|end| *end < size);
        let path = format!("blobs/{}", self.descriptor.digest);
        let response = self.registry().ask(&path, |url| range_request(url, start, wanted))?;
        let response = match (response.status, self.descriptor.urls.is_empty()) {
            (404, false) => self.foreign(start, wanted)?,
            _ => self.registry().expect(response)?,
        };
        refuse_web_page(&response)?;
        self.stand_at(response, start, end)
    }

    /// Foreign layers may be kept elsewhere only.
    fn foreign(&self, start: u64, end: Option<u64>) -> Result<Response, Failure> {
        let mut last = None;
        for text in &self.descriptor.urls {
            let answer = Url::parse(text).map_err(Failure::fatal).and_then(|url| {
                let response = self.registry().send(&mut range_request(url, start, end))?;
                self.registry().expect(response)
            });
            match answer {
                Ok(response) => return Ok(response),
                Err(failure) => last = Some(failure),
            }
        }
        Err(last.unwrap_or_else(|| Failure::fatal(Error::not_found("the blob is nowhere"))))
    }

    /// A body that stands at `start`, whether the server knows ranges or not.
    fn stand_at(&self, response: Response, start: u64, end: u64) -> Result<Feed, Failure> {
        let size = self.descriptor.size;
        if response.status == 206 {
            check_range(&response, start, size)?;
            return Ok(Feed::Stream { body: response.into_body(), end });
        }
        let said = response.number("content-length");
        if said.is_some_and(|n| n != size) {
            return Err(wrong_length(&self.descriptor, said.unwrap_or(0)));
        }
        let mut body = response.into_body();
        let skipped = io::copy(&mut (&mut body).take(start), &mut io::sink()).map_err(Failure::of_read)?;
        match skipped == start {
            true => Ok(Feed::Stream { body, end: size }),
            false => {
                Err(broken_off(&self.registry().endpoint.authority, &self.descriptor.digest, skipped, size))
            }
        }
    }

    /// Waits before the next try at this place, or goes to the next place; an error if there is none.
    fn recover(&mut self, failure: Failure) -> Result<()> {
        self.feed = Feed::None;
        if failure.error.kind() == Kind::Cancelled {
            return Err(failure.error);
        }
        if self.places.len() > 1 && !is_break(&failure) {
            self.source.note(&format!(
                "mirror {} was passed over: {}",
                self.registry().endpoint.authority,
                failure.error
            ))?;
            self.next_place();
            return Ok(());
        }
        match self.patience.after(failure) {
            Ok(pause) => self.pause(&pause),
            Err(_) if self.places.len() > 1 => {
                self.next_place();
                Ok(())
            }
            Err(error) => Err(self.explain(error)),
        }
    }

    fn next_place(&mut self) {
        self.places.remove(0);
        self.source.prefer(self.places[0]);
        self.patience.progress();
    }

    fn explain(&self, error: Error) -> Error {
        match error.kind() {
            Kind::NotFound => Error::not_found(format!(
                "blob {} is not in {}",
                self.descriptor.digest,
                self.registry().endpoint.authority
            ))
            .caused_by(error)
            .hint("the image in the registry is incomplete: push it again"),
            _ => self.source.explain(error, self.registry()),
        }
    }

    fn pause(&self, pause: &Pause) -> Result<()> {
        let descriptor = &self.descriptor;
        self.patience.wait(pause, |pause, left| {
            let state = BlobState::Retrying {
                attempt: pause.attempt,
                wait_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
                reason: pause.reason.clone(),
            };
            match self.source.progress().report(Event::Blob { descriptor, state }).is_break() {
                true => Err(Error::cancelled("the transfer was stopped")),
                false => Ok(()),
            }
        })
    }

    /// The next piece: over one connection, or over several where that helps.
    fn next_piece(&mut self) -> Result<()> {
        let left = self.descriptor.size - self.position;
        let shared = self.registry().shared();
        let is_starved = self.may_be_parallel && self.clock.is_starved(shared.settings.fast_link);
        let permit = (is_starved && left >= FIRST_PIECE).then(|| Permit::take(&shared.parallel)).flatten();
        if let Some(permit) = permit {
            let registry = self.registry().clone();
            self.feed = Feed::Parallel(Ranges::start(permit, registry, &self.descriptor, self.position));
            return Ok(());
        }
        let largest = if is_starved { PIECE_IN_WAITING } else { LARGEST_PIECE };
        self.piece = self.piece.saturating_mul(4).min(largest);
        self.clock = Clock::new();
        self.connect()
    }

    /// Some bytes, or the failure of the feed; 0 at the end of a piece.
    fn feed(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        match &mut self.feed {
            Feed::None => Ok(0),
            Feed::Stream { body, .. } => body.read(buffer).map_err(Failure::of_read),
            Feed::Parallel(ranges) => ranges.read(buffer),
        }
    }

    fn count(&mut self, count: usize) {
        self.position += count as u64;
        self.clock.bytes += count as u64;
        self.since_failure += count as u64;
        if self.since_failure >= PROGRESS {
            self.patience.progress();
        }
    }

    /// What the end of a feed means.
    fn ended(&mut self) -> Result<()> {
        let size = self.descriptor.size;
        match &self.feed {
            Feed::Stream { end, .. } if self.position < *end => {
                let registry = &self.registry().endpoint.authority;
                let failure = broken_off(registry, &self.descriptor.digest, self.position, size);
                self.failed(failure)
            }
            _ => self.next_piece(),
        }
    }

    fn failed(&mut self, failure: Failure) -> Result<()> {
        if matches!(self.feed, Feed::Parallel(_)) {
            // One connection has all the means to mend itself.
            self.may_be_parallel = false;
            self.piece = u64::MAX;
        }
        self.since_failure = 0;
        self.recover(failure)?;
        self.connect()
    }
}

/// A break of the connection says nothing against the place.
fn is_break(failure: &Failure) -> bool {
    failure.class == FaultClass::Broken
}

fn wrong_length(descriptor: &Descriptor, found: u64) -> Failure {
    Failure::fatal(Error::corrupt(format!(
        "the registry has {found} bytes for blob {}; the manifest says {}",
        descriptor.digest, descriptor.size
    )))
}

/// `Content-Range: bytes 5-9/10` must be what we asked for.
pub(crate) fn check_range(response: &Response, start: u64, size: u64) -> Result<(), Failure> {
    let said = response.header("content-range").unwrap_or_default();
    let parsed = said.strip_prefix("bytes ").and_then(|rest| {
        let (range, total) = rest.split_once('/')?;
        let (first, _) = range.split_once('-')?;
        Some((first.trim().parse::<u64>().ok()?, total.trim().parse::<u64>().ok()))
    });
    match parsed {
        Some((first, total)) if first == start && total.is_none_or(|t| t == size) => Ok(()),
        _ => Err(Failure::fatal(Error::invalid(format!(
            "{} answered another range than asked: `{}`",
            response.url.shown(),
            crate::http::printable(said)
        )))),
    }
}

impl Read for BlobReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let before = Instant::now();
            let answer = self.feed(buffer);
            self.clock.reading += before.elapsed();
            match answer {
                Ok(0) if self.position >= self.descriptor.size => return Ok(0),
                Ok(0) => self.ended()?,
                Ok(count) => {
                    self.count(count);
                    return Ok(count);
                }
                Err(failure) => self.failed(failure)?,
            }
        }
    }
}

/// Whether a registry has a blob, for the sink.
pub(crate) fn exists(registry: &Registry, descriptor: &Descriptor) -> Result<bool, Failure> {
    let path = format!("blobs/{}", descriptor.digest);
    let response = registry.ask(&path, |url| Request::new(Method::Head, url))?;
    match response.status {
        404 => Ok(false),
        _ => registry.expect(response).map(|_| true),
    }
}
