//! A server that answers what a test tells it to, over plain TCP, and remembers what it was asked.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

/// What came in.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// Names in lower case.
    pub(crate) headers: HashMap<String, String>,
    /// What arrived of it.
    pub(crate) body: Vec<u8>,
    /// The rest of the body was not read, and the connection ends.
    pub(crate) is_cut: bool,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap()
    }

    /// The first and the last byte that a `Range` asks for.
    pub(crate) fn range(&self) -> Option<(usize, Option<usize>)> {
        let (first, last) = self.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        Some((first.parse().unwrap(), last.parse().ok()))
    }
}

/// What goes out.
#[derive(Clone, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) end: End,
}

/// What happens behind the body.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum End {
    /// The next request of the connection.
    #[default]
    Next,
    /// The connection is closed, though more was promised.
    Close,
    /// Nothing more is sent, and the connection stays open.
    Stall,
}

impl Reply {
    /// Headers promise exactly this body.
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let headers = vec![("Content-Length".to_owned(), body.len().to_string())];
        Self { status, headers, body, end: End::Next }
    }

    pub(crate) fn json(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::new(status, body).header("Content-Type", "application/json")
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// What the headers promised is not sent in full: `length` bytes, then `end`.
    pub(crate) fn cut(mut self, length: usize, end: End) -> Self {
        self.body.truncate(length);
        Self { end, ..self }
    }

    /// Bytes from a `Range` on, with 206; all of them, with 200, without one.
    pub(crate) fn part(asked: &Asked, bytes: &[u8]) -> Self {
        let size = bytes.len();
        let Some((first, last)) = asked.range() else { return Self::new(200, bytes) };
        let last = last.unwrap_or(size - 1).min(size - 1);
        Self::new(206, &bytes[first..=last]).header("Content-Range", format!("bytes {first}-{last}/{size}"))
    }
}

type Handler = dyn Fn(&Asked) -> Reply + Send + Sync;
/// How much of a body is read before the connection ends, for a request that is to break off.
type Cut = dyn Fn(&Asked) -> Option<usize> + Send + Sync;

/// What the threads of a server share.
struct Inner {
    handler: Box<Handler>,
    cut: Box<Cut>,
    asked: Mutex<Vec<Asked>>,
    body_bytes: AtomicU64,
    open: AtomicUsize,
    most_open: AtomicUsize,
    connections: AtomicUsize,
    is_over: AtomicBool,
    over: (Mutex<bool>, Condvar),
}

/// A server that lives as long as the value.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    inner: Arc<Inner>,
}

impl Server {
    pub(crate) fn start(handler: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_cutting(|_| None, handler)
    }

    pub(crate) fn start_cutting(
        cut: impl Fn(&Asked) -> Option<usize> + Send + Sync + 'static,
        handler: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Inner {
            handler: Box::new(handler),
            cut: Box::new(cut),
            asked: Mutex::default(),
            body_bytes: AtomicU64::default(),
            open: AtomicUsize::default(),
            most_open: AtomicUsize::default(),
            connections: AtomicUsize::default(),
            is_over: AtomicBool::default(),
            over: Default::default(),
        });
        let shared = inner.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.is_over.load(Ordering::SeqCst) {
                    return;
                }
                let (shared, stream) = (shared.clone(), stream.unwrap());
                shared.connections.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || shared.serve(stream));
            }
        });
        Self { address, inner }
    }

    /// `127.0.0.1:port`.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.inner.asked.lock().unwrap().clone()
    }

    /// `GET /v2/x`, for each request.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.asked().iter().map(|a| format!("{} {}", a.method, a.target)).collect()
    }

    /// Bytes of bodies sent so far.
    pub(crate) fn body_bytes(&self) -> u64 {
        self.inner.body_bytes.load(Ordering::SeqCst)
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.inner.connections.load(Ordering::SeqCst)
    }

    /// The most requests answered at the same time.
    pub(crate) fn most_open(&self) -> usize {
        self.inner.most_open.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.inner.is_over.store(true, Ordering::SeqCst);
        *self.inner.over.0.lock().unwrap() = true;
        self.inner.over.1.notify_all();
        // Wakes the thread that accepts.
        drop(TcpStream::connect(self.address));
    }
}

/// How much is written at once.
const PIECE: usize = 64 << 10;

/// A request that is being answered.
struct Open<'a>(&'a Inner);

impl<'a> Open<'a> {
    fn new(inner: &'a Inner) -> Self {
        let open = inner.open.fetch_add(1, Ordering::SeqCst) + 1;
        inner.most_open.fetch_max(open, Ordering::SeqCst);
        Self(inner)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Inner {
    fn serve(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut stream = stream;
        while let Some(asked) = read_request(&mut reader, &self.cut) {
            self.asked.lock().unwrap().push(asked.clone());
            let open = Open::new(self);
            let reply = (self.handler)(&asked);
            if asked.is_cut || !self.send(&mut stream, &asked, &reply, open) {
                return;
            }
        }
    }

    /// Whether the connection lives on. A client that went away is no error.
    fn send(&self, stream: &mut TcpStream, asked: &Asked, reply: &Reply, open: Open<'_>) -> bool {
        if reply.status == 0 {
            drop(stream.write_all(&reply.body));
            return false;
        }
        let mut head = format!("HTTP/1.1 {} X\r\n", reply.status);
        for (name, value) in &reply.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        if stream.write_all(head.as_bytes()).is_err() {
            return false;
        }
        if asked.method != "HEAD" {
            let mut open = Some(open);
            let last = reply.body.len().div_ceil(PIECE).saturating_sub(1);
            for (at, piece) in reply.body.chunks(PIECE).enumerate() {
                // Whoever has read the last piece may ask again at once.
                open.take_if(|_| at == last);
                if stream.write_all(piece).is_err() {
                    return false;
                }
                self.body_bytes.fetch_add(piece.len() as u64, Ordering::SeqCst);
            }
        }
        match reply.end {
            End::Next => true,
            End::Close => false,
            End::Stall => {
                let over = self.over.0.lock().unwrap();
                drop(self.over.1.wait_while(over, |over| !*over).unwrap());
                false
            }
        }
    }
}

fn read_request(reader: &mut BufReader<TcpStream>, cut: &Cut) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    // Whoever begins to speak TLS here is not asking.
    method.bytes().all(|b| b.is_ascii_uppercase()).then_some(())?;
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.trim().to_owned()),
            None => break,
        };
    }
    let length = headers.get("content-length").map_or(0, |n| n.parse().unwrap());
    let mut asked = Asked { method, target, headers, body: Vec::new(), is_cut: false };
    let cut = cut(&asked).filter(|cut| *cut < length);
    asked.is_cut = cut.is_some();
    asked.body = vec![0; cut.unwrap_or(length)];
    reader.read_exact(&mut asked.body).ok()?;
    Some(asked)
}
