//! A container's output in the machine's journal: systemd's own protocol, a datagram per line.
//!
//! Invariant: a journal that is slow or gone never holds the container up. What it cannot take waits, and what has no room
//! is lost to it, not to the container's own files.

use super::backlog::Backlog;
use crate::bundle::LogJournal;
use crate::protocol::Channel;
use berth_oci::{AtPath, Error, Result};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;

/// Writes one container's entries.
#[derive(Debug)]
pub(super) struct JournalWriter {
    socket: UnixDatagram,
    fields: Vec<u8>,
    waiting: Backlog,
}

/// syslog's numbers for what programs say and for what they complain about.
const INFORMATION: &str = "6";
const ERROR: &str = "3";

impl JournalWriter {
    pub(super) fn open(log: LogJournal, room: usize) -> Result<Self> {
        let socket = UnixDatagram::unbound().at(&log.socket)?;
        socket.connect(&log.socket).map_err(|error| {
            Error::unavailable(format!("there is no journal at `{}`", log.socket.display()))
                .caused_by(error)
                .hint("the log driver journald needs systemd's journal: choose another with --log-driver")
        })?;
        socket.set_nonblocking(true).at(&log.socket)?;
        let mut fields = Vec::new();
        for (name, value) in &log.fields {
            field(&mut fields, name, value.as_bytes());
        }
        Ok(Self { socket, fields, waiting: Backlog::new(room) })
    }

    pub(super) fn put(&mut self, channel: Channel, lines: &[Vec<u8>]) -> Result<()> {
        let priority = if channel == Channel::Stderr { ERROR } else { INFORMATION };
        for line in lines {
            let mut entry = self.fields.clone();
            field(&mut entry, "PRIORITY", priority.as_bytes());
            match line.strip_suffix(b"\n") {
                Some(whole) => field(&mut entry, "MESSAGE", whole),
                None => {
                    field(&mut entry, "CONTAINER_PARTIAL_MESSAGE", b"true");
                    field(&mut entry, "MESSAGE", line);
                }
            }
            self.flush()?;
            self.waiting.push(entry);
        }
        self.flush()
    }

    /// Writable when there is something to [flush](Self::flush).
    pub(super) fn interest(&self) -> Option<BorrowedFd<'_>> {
        (!self.waiting.is_empty()).then(|| self.socket.as_fd())
    }

    /// Sends what can be sent at once.
    pub(super) fn flush(&mut self) -> Result<()> {
        while let Some(entry) = self.waiting.front() {
            match self.socket.send(entry) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                sent => {
                    self.waiting.skip();
                    sent.at("journal")?;
                }
            }
        }
        Ok(())
    }
}

/// `NAME=value`, or with a length in front where the value has several lines.
fn field(entry: &mut Vec<u8>, name: &str, value: &[u8]) {
    entry.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        entry.push(b'\n');
        entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend_from_slice(value);
    entry.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_datagram() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let journal = UnixDatagram::bind(&path).unwrap();
        let fields = [("CONTAINER_NAME".to_owned(), "web".to_owned()), ("X".to_owned(), "a\nb".to_owned())];
        let log = LogJournal { socket: path.clone(), fields: fields.into() };
        let mut writer = JournalWriter::open(log.clone(), 1000).unwrap();
        writer.put(Channel::Stderr, &[b"one\n".to_vec(), b"part".to_vec()]).unwrap();
        let receive = || {
            let mut bytes = [0; 512];
            let length = journal.recv(&mut bytes).unwrap();
            String::from_utf8_lossy(&bytes[..length]).into_owned()
        };
        let head = "CONTAINER_NAME=web\nX\n\u{3}\0\0\0\0\0\0\0a\nb\nPRIORITY=3\n";
        assert_eq!(receive(), format!("{head}MESSAGE=one\n"));
        assert_eq!(receive(), format!("{head}CONTAINER_PARTIAL_MESSAGE=true\nMESSAGE=part\n"));
        // A journal that is slow: nobody waits for it, and it gets everything in the end.
        writer.waiting = Backlog::new(1 << 20);
        let lines: Vec<_> = (0..4000).map(|number| format!("{number}\n").into_bytes()).collect();
        writer.put(Channel::Stdout, &lines).unwrap();
        assert!(writer.interest().is_some(), "its queue has no room for that many");
        for number in 0..4000 {
            writer.flush().unwrap();
            let expected = format!("MESSAGE={number}\n");
            assert!(receive().ends_with(&expected), "{expected}");
        }
        assert!(writer.interest().is_none());
        std::fs::remove_file(&path).unwrap();
        let error = JournalWriter::open(log, 1000).unwrap_err();
        assert!(error.to_string().contains("there is no journal"), "{error}");
    }
}
