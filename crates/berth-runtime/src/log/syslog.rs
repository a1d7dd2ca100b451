//! A container's output for a syslog server: a message per line, by datagram or over a stream.
//!
//! Invariant: a server that is slow or gone never holds the container up. It is asked again from time to time; what it
//! cannot take meanwhile is lost to it, not to the container's own files.

use super::backlog::Backlog;
use crate::bundle::{LogSyslog, SyslogAddress, SyslogFormat};
use crate::protocol::Channel;
use berth_oci::{Context, Error, Result};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv, send,
    socket_with,
};
use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// Where the machine's own server may listen.
const LOCAL: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];
/// How long a server may take to accept the first connection.
const PATIENCE: Duration = Duration::from_secs(10);
/// From one try to reach a server that is gone to the next.
const PAUSE: Duration = Duration::from_secs(1);
const INFORMATION: u8 = 6;
const ERROR: u8 = 3;

/// Writes one container's messages.
#[derive(Debug)]
pub(super) struct SyslogWriter {
    log: LogSyslog,
    host: String,
    zone: TimeZone,
    target: Target,
    socket: Option<OwnedFd>,
    /// When it was last tried to reach a server that was gone.
    tried: Instant,
    /// Messages that the server has not taken.
    waiting: Backlog,
}

/// An address that is known to be one.
#[derive(Debug)]
enum Target {
    Unix(SocketAddrUnix, SocketType),
    Internet(SocketAddr, SocketType),
}

impl SyslogWriter {
    /// Reaches the server.
    ///
    /// # Errors
    /// `Unavailable`: nobody listens there.
    pub(super) fn open(log: LogSyslog, room: usize) -> Result<Self> {
        let (target, socket) = reach(&log.address)?;
        Ok(Self {
            log,
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            zone: TimeZone::system(),
            target,
            socket: Some(socket),
            tried: Instant::now(),
            waiting: Backlog::new(room),
        })
    }

    /// Sends what can be sent at once; the rest waits for the next time.
    pub(super) fn put(&mut self, channel: Channel, lines: &[Vec<u8>], now: Timestamp) {
        let severity = if channel == Channel::Stderr { ERROR } else { INFORMATION };
        let now = now.to_zoned_datetime(self.zone.clone());
        for line in lines {
            let message = self.message(severity, &now, line);
            self.flush();
            self.waiting.push(message);
        }
        self.flush();
    }

    /// Writable when there is something to [flush](Self::flush).
    pub(super) fn interest(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().filter(|_| !self.waiting.is_empty()).map(AsFd::as_fd)
    }

    /// When a server that is gone is to be tried again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        (self.socket.is_none() && !self.waiting.is_empty()).then(|| self.tried + PAUSE)
    }

    /// A message with the end of line that ends it in a stream (RFC 6587 §3.4.2).
    fn message(&self, severity: u8, now: &ZonedDateTime, line: &[u8]) -> Vec<u8> {
        let Self { log, host, .. } = self;
        let (priority, tag, pid) = (log.facility * 8 + severity, &log.tag, std::process::id());
        let short = || now.strftime("%b %e %H:%M:%S");
        let long = |digits: &str| {
            let zone = if now.offset().is_zero() { "Z" } else { "%:z" };
            now.strftime(&format!("%Y-%m-%dT%H:%M:%S{digits}{zone}")).to_string()
        };
        let head = match log.format {
            SyslogFormat::Local => format!("<{priority}>{} {tag}[{pid}]: ", short()),
            SyslogFormat::Rfc3164 => format!("<{priority}>{} {host} {tag}[{pid}]: ", short()),
            SyslogFormat::Rfc5424 => format!("<{priority}>1 {} {host} {tag} {pid} {tag} - ", long("")),
            SyslogFormat::Rfc5424Micro => {
                format!("<{priority}>1 {} {host} {tag} {pid} {tag} - ", long("%.6f"))
            }
        };
        [head.as_bytes(), line.strip_suffix(b"\n").unwrap_or(line), b"\n"].concat()
    }

    /// Sends what can be sent at once.
    pub(super) fn flush(&mut self) {
        while let Some(message) = self.waiting.front() {
            let Some(socket) = &self.socket else {
                if self.tried.elapsed() < PAUSE {
                    return;
                }
                self.tried = Instant::now();
                self.socket = self.target.socket(SocketFlags::NONBLOCK).ok();
                if self.socket.is_none() {
                    return;
                }
                continue;
            };
            match self.target.send(socket, message) {
                Ok(count) => self.waiting.advance(count),
                // Its queue is full, or it has not accepted yet.
                Err(Errno::AGAIN) => return,
                // Only a datagram can be too long, or find the kernel's own queue full.
                Err(Errno::MSGSIZE | Errno::NOBUFS) => self.waiting.skip(),
                Err(_) => {
                    // Who listens there next begins with a whole message.
                    self.socket = None;
                    self.waiting.restart();
                }
            }
        }
    }
}

impl Target {
    fn socket(&self, flags: SocketFlags) -> rustix::io::Result<OwnedFd> {
        let flags = flags | SocketFlags::CLOEXEC;
        let (socket, answer) = match self {
            Self::Unix(address, kind) => {
                let socket = socket_with(AddressFamily::UNIX, *kind, flags, None)?;
                let answer = connect(&socket, address);
                (socket, answer)
            }
            Self::Internet(address, kind) => {
                let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
                let socket = socket_with(family, *kind, flags, None)?;
                let answer = connect(&socket, address);
                (socket, answer)
            }
        };
        match answer {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
            Err(error) => Err(error),
        }
    }

    fn send(&self, socket: &OwnedFd, bytes: &[u8]) -> rustix::io::Result<usize> {
        // A server that has closed its end still takes what is written once: a look at its end says so before.
        if self.is_stream() && matches!(recv(socket, &mut [0; 512], RecvFlags::DONTWAIT), Ok((0, _))) {
            return Err(Errno::PIPE);
        }
        send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
    }

    fn is_stream(&self) -> bool {
        let (Self::Unix(_, kind) | Self::Internet(_, kind)) = self;
        *kind == SocketType::STREAM
    }
}

fn reach(address: &SyslogAddress) -> Result<(Target, OwnedFd)> {
    match address {
        SyslogAddress::Local => {
            let kinds = [SocketType::DGRAM, SocketType::STREAM];
            let places = LOCAL.iter().flat_map(|path| kinds.map(|kind| (Path::new(path), kind)));
            let mut found = places.filter_map(|(path, kind)| unix(path, kind).ok());
            found.next().ok_or_else(|| nobody("/dev/log", None))
        }
        SyslogAddress::Unix(path) => unix(path, SocketType::STREAM),
        SyslogAddress::UnixDatagram(path) => unix(path, SocketType::DGRAM),
        SyslogAddress::Udp(name) => {
            let target = Target::Internet(resolve(name)?, SocketType::DGRAM);
            let socket =
                target.socket(SocketFlags::empty()).map_err(|error| nobody(name, Some(error.into())))?;
            Ok((target, socket))
        }
        SyslogAddress::Tcp(name) => {
            let address = resolve(name)?;
            let stream = TcpStream::connect_timeout(&address, PATIENCE)
                .map_err(|error| nobody(&format!("tcp://{name}"), Some(error)))?;
            Ok((Target::Internet(address, SocketType::STREAM), stream.into()))
        }
    }
}

fn unix(path: &Path, kind: SocketType) -> Result<(Target, OwnedFd)> {
    let shown = path.display().to_string();
    let address = SocketAddrUnix::new(path).map_err(|error| nobody(&shown, Some(error.into())))?;
    let target = Target::Unix(address, kind);
    let socket = target.socket(SocketFlags::empty()).map_err(|error| nobody(&shown, Some(error.into())))?;
    Ok((target, socket))
}

fn resolve(name: &str) -> Result<SocketAddr> {
    let mut addresses = name.to_socket_addrs().context(|| format!("cannot find the syslog server {name}"))?;
    addresses.next().ok_or_else(|| Error::not_found(format!("the syslog server {name} has no address")))
}

fn nobody(place: &str, cause: Option<io::Error>) -> Error {
    let error = Error::unavailable(format!("there is no syslog server at `{place}`"))
        .hint("start it, or name another one with --log-opt syslog-address=ADDRESS");
    match cause {
        Some(cause) => error.caused_by(cause),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, poll};
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;
    use std::os::unix::net::UnixDatagram;

    fn log(address: SyslogAddress, format: SyslogFormat) -> LogSyslog {
        LogSyslog { address, facility: 3, format, tag: "web".to_owned() }
    }

    #[test]
    fn messages_are_written_as_the_formats_have_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let _server = UnixDatagram::bind(&path).unwrap();
        let pid = std::process::id();
        let moment: Timestamp = "2026-02-03T04:05:06.123456789Z".parse().unwrap();
        for (format, zone, expected) in [
            (SyslogFormat::Local, 0, format!("<30>Feb  3 04:05:06 web[{pid}]: x\n")),
            (SyslogFormat::Rfc3164, 0, format!("<30>Feb  3 04:05:06 box web[{pid}]: x\n")),
            (SyslogFormat::Rfc5424, 0, format!("<30>1 2026-02-03T04:05:06Z box web {pid} web - x\n")),
            (
                SyslogFormat::Rfc5424Micro,
                2,
                format!("<30>1 2026-02-03T06:05:06.123456+02:00 box web {pid} web - x\n"),
            ),
        ] {
            let mut writer =
                SyslogWriter::open(log(SyslogAddress::UnixDatagram(path.clone()), format), 1000).unwrap();
            writer.host = "box".to_owned();
            let now = moment.to_zoned_datetime(TimeZone::fixed(jiff::tz::offset(zone)));
            assert_eq!(String::from_utf8(writer.message(INFORMATION, &now, b"x\n")).unwrap(), expected);
        }
    }

    #[test]
    fn streams_are_told_apart_in_datagrams() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let server = UnixDatagram::bind(&path).unwrap();
        let mut writer =
            SyslogWriter::open(log(SyslogAddress::UnixDatagram(path), SyslogFormat::Local), 1000).unwrap();
        writer.put(Channel::Stdout, &[b"one\n".to_vec(), b"part".to_vec()], Timestamp::now());
        writer.put(Channel::Stderr, &[b"two\n".to_vec()], Timestamp::now());
        let mut bytes = [0; 512];
        for (priority, text) in [("<30>", ": one\n"), ("<30>", ": part\n"), ("<27>", ": two\n")] {
            let length = server.recv(&mut bytes).unwrap();
            let message = String::from_utf8_lossy(&bytes[..length]);
            assert!(message.starts_with(priority) && message.ends_with(text), "{message}");
        }
    }

    #[test]
    fn a_server_that_comes_back_goes_on_with_whole_messages() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = SyslogAddress::Tcp(server.local_addr().unwrap().to_string());
        let mut writer = SyslogWriter::open(log(address, SyslogFormat::Rfc5424), 1000).unwrap();
        let line = |stream: &TcpStream| {
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).unwrap();
            line
        };
        let (stream, _) = server.accept().unwrap();
        writer.put(Channel::Stdout, &[b"one\n".to_vec()], Timestamp::now());
        assert!(line(&stream).ends_with(" - one\n"));
        drop(stream);
        // The server's end of the connection has arrived when a look at it finds nothing more to come.
        let socket = writer.socket.as_ref().unwrap();
        poll(&mut [PollFd::new(socket, PollFlags::IN)], None).unwrap();
        writer.put(Channel::Stdout, &[b"two\n".to_vec()], Timestamp::now());
        writer.tried -= PAUSE;
        writer.put(Channel::Stderr, &[b"three\n".to_vec()], Timestamp::now());
        let (stream, _) = server.accept().unwrap();
        assert!(line(&stream).ends_with(" - two\n"));
    }

    #[test]
    fn nobody_there() {
        let dir = tempfile::tempdir().unwrap();
        for address in [
            SyslogAddress::Unix(dir.path().join("none")),
            SyslogAddress::UnixDatagram(dir.path().join("none")),
            SyslogAddress::Tcp("127.0.0.1:1".to_owned()),
        ] {
            let error = SyslogWriter::open(log(address, SyslogFormat::Local), 1000).unwrap_err();
            assert!(error.to_string().contains("there is no syslog server at"), "{error}");
        }
    }
}
