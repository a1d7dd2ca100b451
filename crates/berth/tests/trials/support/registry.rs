//! A registry in memory, on loopback: it serves images, counts every byte of a blob that it sends, and stops or
//! breaks where a test wants it to.

use super::Image;
use std::collections::{HashMap, VecDeque};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

/// How much a write may move at once; a gate is never overrun by more.
const CHUNK: usize = 32 * 1024;

/// What happens when the gate has let through what it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// Whoever reads waits.
    Stall,
    /// This line breaks; what is behind the gate's next opening may pass on another one.
    Break,
}

/// Lets so many bytes of blobs through.
struct Gate {
    left: u64,
    then: Then,
    /// How much may pass after each break; then everything.
    next: VecDeque<u64>,
    waiting: bool,
}

#[derive(Default)]
struct Content {
    manifests: HashMap<String, (String, Vec<u8>)>,
    blobs: HashMap<String, Arc<Vec<u8>>>,
    sent: HashMap<String, u64>,
}

struct Shared {
    content: Mutex<Content>,
    gate: Mutex<Gate>,
    changed: Condvar,
}

/// The registry; it serves until the test ends.
pub(crate) struct Registry {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Registry {
    /// An empty one, on a port of its own.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let gate = Gate { left: u64::MAX, then: Then::Stall, next: VecDeque::new(), waiting: false };
        let shared =
            Arc::new(Shared { content: Mutex::default(), gate: Mutex::new(gate), changed: Condvar::new() });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let serving = Arc::clone(&serving);
                // An error means that the other side went away, which is what these tests are about.
                thread::spawn(move || serve(&stream, &serving).ok());
            }
        });
        Self { address, shared }
    }

    /// Adds an image; answers the reference to pull it by.
    pub(crate) fn add(&self, name: &str, image: &Image) -> String {
        let mut content = self.shared.content.lock().expect("no holder panics");
        let manifest = (image.manifest.media_type().to_owned(), image.manifest.raw().to_vec());
        content.manifests.insert(format!("{name}/1"), manifest.clone());
        content.manifests.insert(format!("{name}/{}", image.manifest.digest()), manifest);
        for (digest, bytes) in &image.blobs {
            content.blobs.entry(digest.clone()).or_insert_with(|| Arc::new(bytes.clone()));
        }
        format!("{}/{name}:1", self.address)
    }

    /// Loses every blob, as a registry does that was cleaned up.
    pub(crate) fn forget_blobs(&self) {
        self.shared.content.lock().expect("no holder panics").blobs.clear();
    }

    /// Bytes of blobs sent so far.
    pub(crate) fn sent(&self) -> u64 {
        self.shared.content.lock().expect("no holder panics").sent.values().sum()
    }

    /// From now on lets `bytes` of blobs through, and then nothing until it is told otherwise.
    pub(crate) fn let_through(&self, bytes: u64) {
        self.set(Gate { left: bytes, then: Then::Stall, next: VecDeque::new(), waiting: false });
    }

    /// Breaks the line after each of these numbers of bytes; then lets everything through.
    pub(crate) fn break_after(&self, pieces: &[u64]) {
        let mut next = VecDeque::from(pieces.to_vec());
        let left = next.pop_front().unwrap_or(u64::MAX);
        self.set(Gate { left, then: Then::Break, next, waiting: false });
    }

    /// How often it will still break the line.
    pub(crate) fn breaks_left(&self) -> usize {
        let gate = self.shared.gate.lock().expect("no holder panics");
        gate.next.len() + usize::from(gate.then == Then::Break)
    }

    fn set(&self, gate: Gate) {
        *self.shared.gate.lock().expect("no holder panics") = gate;
        self.shared.changed.notify_all();
    }

    /// Waits until somebody waits at the gate, or `is_over` says that nobody will.
    pub(crate) fn wait_until_stalled(&self, mut is_over: impl FnMut() -> bool) -> bool {
        let mut gate = self.shared.gate.lock().expect("no holder panics");
        while !gate.waiting {
            let pause = std::time::Duration::from_millis(20);
            (gate, _) = self.shared.changed.wait_timeout(gate, pause).expect("no holder panics");
            if is_over() {
                return false;
            }
        }
        true
    }

    /// Waits until everything sent has been read by the other side.
    pub(crate) fn wait_until_read(&self) {
        while unread(self.address.port()) > 0 {
            // The kernel tells how much lies unread, but has no event for it.
            thread::sleep(std::time::Duration::from_millis(1));
        }
    }
}

/// Bytes in the queues of connections from and to this port of ours, as /proc/net/tcp tells them.
fn unread(port: u16) -> u64 {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux has it");
    let ends_here = |address: &str| address.ends_with(&format!(":{port:04X}"));
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    // State 01 is an established connection.
    let ours = rows.filter(|row| row[3] == "01" && (ends_here(row[1]) || ends_here(row[2])));
    let queued =
        |row: Vec<&str>| row[4].split(':').map(|n| u64::from_str_radix(n, 16).unwrap_or(0)).sum::<u64>();
    ours.map(queued).sum()
}

fn serve(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let Some(request) = Request::read(&mut reader)? else { return Ok(()) };
        let mut out = stream;
        request.answer(&mut out, shared)?;
    }
}

struct Request {
    method: String,
    path: String,
    /// The first byte wanted and the last, if it was said.
    range: Option<(u64, Option<u64>)>,
}

impl Request {
    fn read(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split_whitespace().map(str::to_owned);
        let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(None) };
        let mut range = None;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            if header.trim().is_empty() {
                return Ok(Some(Self { method, path, range }));
            }
            if let Some(wanted) = header.to_ascii_lowercase().trim().strip_prefix("range: bytes=") {
                let (first, last) = wanted.split_once('-').unwrap_or((wanted, ""));
                range = Some((first.parse().unwrap_or(0), last.parse().ok()));
            }
        }
    }

    fn answer(&self, out: &mut impl Write, shared: &Shared) -> io::Result<()> {
        let path = self.path.trim_start_matches("/v2/").split('?').next().unwrap_or_default();
        if path.is_empty() || path == "/v2" {
            return head(out, "200 OK", "application/json", 0, "");
        }
        if let Some((name, reference)) = path.split_once("/manifests/") {
            let key = format!("{name}/{reference}");
            let found = shared.content.lock().expect("no holder panics").manifests.get(&key).cloned();
            let Some((media_type, bytes)) = found else { return not_found(out) };
            let digest = format!("Docker-Content-Digest: {}\r\n", berth_oci::Digest::of(&bytes));
            head(out, "200 OK", &media_type, bytes.len() as u64, &digest)?;
            return if self.method == "HEAD" { Ok(()) } else { out.write_all(&bytes) };
        }
        let Some((_, digest)) = path.split_once("/blobs/") else { return not_found(out) };
        let found = shared.content.lock().expect("no holder panics").blobs.get(digest).cloned();
        let Some(bytes) = found else { return not_found(out) };
        let size = bytes.len() as u64;
        let (first, last) = self.range.unwrap_or((0, None));
        let end = last.map_or(size, |last| (last + 1).min(size));
        if first >= end {
            let range = format!("Content-Range: bytes */{size}\r\n");
            return head(out, "416 Range Not Satisfiable", "text/plain", 0, &range);
        }
        let range = format!("Content-Range: bytes {first}-{}/{size}\r\nAccept-Ranges: bytes\r\n", end - 1);
        let status = if self.range.is_some() { "206 Partial Content" } else { "200 OK" };
        head(out, status, "application/octet-stream", end - first, &range)?;
        if self.method == "HEAD" {
            return Ok(());
        }
        send(out, shared, digest, &bytes[usize_of(first)..usize_of(end)])
    }
}

fn usize_of(number: u64) -> usize {
    usize::try_from(number).expect("the images of these tests fit into memory")
}

fn send(out: &mut impl Write, shared: &Shared, digest: &str, bytes: &[u8]) -> io::Result<()> {
    for chunk in bytes.chunks(CHUNK) {
        let mut rest = chunk;
        while !rest.is_empty() {
            let count = pass(shared, rest.len())?;
            out.write_all(&rest[..count])?;
            rest = &rest[count..];
            let mut content = shared.content.lock().expect("no holder panics");
            *content.sent.entry(digest.to_owned()).or_default() += count as u64;
        }
    }
    Ok(())
}

/// How many of `wanted` bytes may pass now; waits, or fails, when the gate is closed.
fn pass(shared: &Shared, wanted: usize) -> io::Result<usize> {
    let mut gate = shared.gate.lock().expect("no holder panics");
    while gate.left == 0 {
        if gate.then == Then::Break {
            match gate.next.pop_front() {
                Some(bytes) => gate.left = bytes,
                None => (gate.left, gate.then) = (u64::MAX, Then::Stall),
            }
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        gate.waiting = true;
        shared.changed.notify_all();
        gate = shared.changed.wait(gate).expect("no holder panics");
    }
    let count = gate.left.min(wanted as u64);
    gate.left -= count;
    Ok(usize_of(count))
}

fn head(out: &mut impl Write, status: &str, kind: &str, length: u64, more: &str) -> io::Result<()> {
    write!(out, "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{more}\r\n")
}

fn not_found(out: &mut impl Write) -> io::Result<()> {
    head(out, "404 Not Found", "application/json", 0, "")
}
