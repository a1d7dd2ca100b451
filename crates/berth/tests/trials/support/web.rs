//! A server of files and git repositories, on loopback: it knows conditions, remembers what it was asked, and lies
//! where a test wants it to.

use std::collections::HashMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

/// A file, and what is said of it.
#[derive(Clone, Default)]
pub(crate) struct Page {
    pub(crate) bytes: Vec<u8>,
    pub(crate) etag: Option<&'static str>,
    pub(crate) last_modified: Option<&'static str>,
    /// What `Content-Length` says, where that is not the truth.
    pub(crate) promised: Option<usize>,
    /// Where it has gone.
    pub(crate) moved_to: Option<String>,
}

impl Page {
    pub(crate) fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), ..Self::default() }
    }
}

#[derive(Default)]
struct State {
    pages: HashMap<String, Page>,
    /// `GET /path 200`.
    asked: Vec<String>,
}

/// See the module.
pub(crate) struct Web {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Web {
    /// Serves repositories below `repositories` as `/git/…`, and what is put there.
    pub(crate) fn start(repositories: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let state = Arc::new(Mutex::new(State::default()));
        let (serving, root) = (Arc::clone(&state), repositories.to_owned());
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (state, root) = (Arc::clone(&serving), root.clone());
                // An error means that the other side went away.
                thread::spawn(move || serve(&stream, &state, &root).ok());
            }
        });
        Self { address, state }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn put(&self, path: &str, page: Page) -> &Self {
        self.state.lock().expect("no holder panics").pages.insert(path.to_owned(), page);
        self
    }

    /// What was asked since the last time, and what the answers were.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().expect("no holder panics").asked)
    }
}

struct Request {
    method: String,
    target: String,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

impl Request {
    fn read(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split_whitespace().map(str::to_owned);
        let (Some(method), Some(target)) = (words.next(), words.next()) else { return Ok(None) };
        let mut headers = HashMap::new();
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let Some((name, value)) = header.trim_end().split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        Ok(Some(Self { method, target, headers, body }))
    }

    fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

fn serve(stream: &TcpStream, state: &Mutex<State>, repositories: &Path) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    while let Some(request) = Request::read(&mut reader)? {
        let mut out = stream;
        let status = match request.path().strip_prefix("/git/") {
            Some(_) => git(&request, &mut out, repositories)?,
            None => {
                let page = state.lock().expect("no holder panics").pages.get(request.path()).cloned();
                file(&request, page, &mut out)?
            }
        };
        let line = format!("{} {} {status}", request.method, request.target);
        state.lock().expect("no holder panics").asked.push(line);
        if status == CUT {
            return Ok(());
        }
    }
    Ok(())
}

/// A promise that was not kept ends the connection.
const CUT: u16 = 0;

fn file(request: &Request, page: Option<Page>, out: &mut impl Write) -> io::Result<u16> {
    let Some(page) = page else {
        write!(out, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?;
        return Ok(404);
    };
    if let Some(target) = page.moved_to {
        write!(out, "HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n")?;
        return Ok(302);
    }
    let asked = |name: &str| request.headers.get(name).map(String::as_str);
    let is_same = match asked("if-none-match") {
        Some(etag) => page.etag == Some(etag),
        None => page.last_modified.is_some() && asked("if-modified-since") == page.last_modified,
    };
    if is_same {
        write!(out, "HTTP/1.1 304 Not Modified\r\n\r\n")?;
        return Ok(304);
    }
    let length = page.promised.unwrap_or(page.bytes.len());
    write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n")?;
    for (name, value) in [("ETag", page.etag), ("Last-Modified", page.last_modified)] {
        if let Some(value) = value {
            write!(out, "{name}: {value}\r\n")?;
        }
    }
    out.write_all(b"\r\n")?;
    out.write_all(&page.bytes)?;
    Ok(if length == page.bytes.len() { 200 } else { CUT })
}

/// Git's own server as a program for each request (CGI).
fn git(request: &Request, out: &mut impl Write, repositories: &Path) -> io::Result<u16> {
    let path = request.path().trim_start_matches("/git");
    let header = |name: &str| request.headers.get(name).cloned().unwrap_or_default();
    if path.starts_with("/private") && header("authorization").is_empty() {
        write!(out, "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n")?;
        return Ok(401);
    }
    let mut child = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", repositories)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*")
        .env("PATH_INFO", path)
        .env("REQUEST_METHOD", &request.method)
        .env("QUERY_STRING", request.target.split_once('?').map(|(_, query)| query).unwrap_or_default())
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", request.body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    child.stdin.take().expect("it is a pipe").write_all(&request.body)?;
    let answer = child.wait_with_output()?.stdout;
    let split = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap_or(answer.len());
    let head = String::from_utf8_lossy(&answer[..split]).into_owned();
    let body = answer.get(split + 4..).unwrap_or_default();
    let status = head.lines().find_map(|line| line.strip_prefix("Status: ")).unwrap_or("200 OK").to_owned();
    write!(out, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n", body.len())?;
    for line in head.lines().filter(|line| !line.starts_with("Status: ")) {
        write!(out, "{line}\r\n")?;
    }
    out.write_all(b"\r\n")?;
    out.write_all(body)?;
    Ok(status.split(' ').next().and_then(|code| code.parse().ok()).unwrap_or(500))
}

/// A repository that a test fills.
pub(crate) struct Repository {
    path: PathBuf,
}

impl Repository {
    /// An empty one.
    pub(crate) fn new(path: PathBuf) -> Self {
        fs::create_dir_all(&path).expect("a place for tests");
        let repository = Self { path };
        repository.git(&["init", "--quiet", "--initial-branch=main", "."]);
        repository
    }

    /// Runs git in it; answers what it printed.
    pub(crate) fn git(&self, words: &[&str]) -> String {
        let mut command = Command::new("git");
        command.args(words).current_dir(&self.path).env("HOME", &self.path);
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "A").env(format!("GIT_{who}_EMAIL"), "a@example.com");
            command.env(format!("GIT_{who}_DATE"), "2001-09-09T01:46:40Z");
        }
        let output = command.output().expect("git is here");
        assert!(output.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Writes files and commits them; answers the commit.
    pub(crate) fn commit(&self, files: &[(&str, &str)]) -> String {
        for (name, text) in files {
            let path = self.path.join(name);
            fs::create_dir_all(path.parent().expect("it is below the repository"))
                .expect("a place for tests");
            fs::write(path, text).expect("a place for tests");
        }
        self.git(&["add", "-A"]);
        self.git(&["commit", "--quiet", "-m", "x"]);
        self.git(&["rev-parse", "HEAD"])
    }
}
