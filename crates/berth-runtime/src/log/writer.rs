//! Bytes of two streams into lines, and lines to wherever they are kept.

use super::beside::Beside;
use super::file::FileWriter;
use super::journald::JournalWriter;
use super::syslog::SyslogWriter;
use crate::bundle::Log;
use crate::protocol::Channel;
use berth_oci::Result;
use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

/// A longer line is written in parts, as docker does; no program can make the monitor hold more.
pub(super) const LINE_LIMIT: usize = 16 * 1024;

/// Writes one container's log, wherever it is kept.
#[derive(Debug)]
pub(crate) struct Writer {
    way: Way,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// Who writes: this process, which waits for the disk, or another one.
#[derive(Debug)]
enum Way {
    Here(Box<Places>),
    Beside(Box<Beside>),
}

impl Writer {
    /// Goes on where the last run of the container stopped; none where nothing is kept.
    pub(crate) fn open(log: &Log) -> Result<Option<Self>> {
        let way = match log.buffer.filter(|_| log.is_kept()) {
            Some(room) => Some(Way::Beside(Box::new(Beside::open(log, room)?))),
            None => Places::open(log)?.map(|places| Way::Here(Box::new(places))),
        };
        Ok(way.map(|way| Self { way, stdout: Vec::new(), stderr: Vec::new() }))
    }

    /// Takes what a stream brought; lines that are complete are written.
    pub(crate) fn write(&mut self, channel: Channel, mut bytes: &[u8]) -> Result<()> {
        let now = Timestamp::now();
        let mut lines = Vec::new();
        let pending = if channel == Channel::Stderr { &mut self.stderr } else { &mut self.stdout };
        while !bytes.is_empty() {
            let (line, rest) = bytes.split_at(end_of_line(bytes, LINE_LIMIT - pending.len()));
            pending.extend_from_slice(line);
            bytes = rest;
            if pending.ends_with(b"\n") || pending.len() == LINE_LIMIT {
                lines.push(std::mem::take(pending));
            }
        }
        self.put(channel, &lines, now)
    }

    /// Writes what has no end of line and will get none.
    pub(crate) fn finish(&mut self) -> Result<()> {
        let now = Timestamp::now();
        for channel in [Channel::Stdout, Channel::Stderr] {
            let pending = if channel == Channel::Stderr { &mut self.stderr } else { &mut self.stdout };
            let line = std::mem::take(pending);
            if !line.is_empty() {
                self.put(channel, &[line], now)?;
            }
        }
        match &mut self.way {
            Way::Here(places) => places.finish(),
            Way::Beside(beside) => beside.finish()?,
        }
        Ok(())
    }

    fn put(&mut self, channel: Channel, lines: &[Vec<u8>], now: Timestamp) -> Result<()> {
        match &mut self.way {
            Way::Here(places) => places.put(channel, lines, now)?,
            Way::Beside(beside) => beside.put(channel, lines, now),
        }
        Ok(())
    }

    /// What is to be [tended](Self::tend) when it is ready.
    pub(crate) fn interests(&self) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        match &self.way {
            Way::Here(places) => places.interests(),
            Way::Beside(beside) => beside.interest().into_iter().map(|fd| (fd, PollFlags::OUT)).collect(),
        }
    }

    /// When it is to be tended though nothing is ready.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match &self.way {
            Way::Here(places) => places.deadline(),
            Way::Beside(beside) => beside.deadline(),
        }
    }

    /// Goes on with what could not be done at once. Waits for nothing.
    pub(crate) fn tend(&mut self) -> Result<()> {
        match &mut self.way {
            Way::Here(places) => places.tend()?,
            Way::Beside(beside) => beside.flush(),
        }
        Ok(())
    }
}

/// Where the first line ends, or the part of it that there is room for.
pub(super) fn end_of_line(bytes: &[u8], room: usize) -> usize {
    bytes.iter().take(room).position(|b| *b == b'\n').map_or(room.min(bytes.len()), |at| at + 1)
}

/// Where lines are kept: in several places at once, perhaps.
#[derive(Debug)]
pub(super) struct Places {
    file: Option<FileWriter>,
    journal: Option<JournalWriter>,
    syslog: Option<SyslogWriter>,
}

/// Bytes that wait for a slow server, where nobody says how many.
const BACKLOG: usize = 1 << 20;
/// What a slow server gets at the end, for what it has not taken.
const MOMENT: Duration = Duration::from_secs(1);

impl Places {
    pub(super) fn open(log: &Log) -> Result<Option<Self>> {
        let room = log.buffer.unwrap_or(BACKLOG);
        let file = log.file.clone().map(FileWriter::open).transpose()?;
        let journal = log.journal.clone().map(|journal| JournalWriter::open(journal, room)).transpose()?;
        let syslog = log.syslog.clone().map(|syslog| SyslogWriter::open(syslog, room)).transpose()?;
        Ok(log.is_kept().then_some(Self { file, journal, syslog }))
    }

    pub(super) fn put(&mut self, channel: Channel, lines: &[Vec<u8>], now: Timestamp) -> Result<()> {
        let told = self.journal.as_mut().map_or(Ok(()), |journal| journal.put(channel, lines));
        if let Some(syslog) = &mut self.syslog {
            syslog.put(channel, lines, now);
        }
        let kept = self.file.as_mut().map_or(Ok(()), |file| file.put(channel, lines, now));
        told.and(kept)
    }

    /// Servers get a moment for what they have not taken.
    pub(super) fn finish(&mut self) {
        let deadline = Instant::now() + MOMENT;
        while self.flush().is_ok() {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut slow: Vec<_> =
                self.servers().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::OUT)).collect();
            let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            if slow.is_empty() || left.is_zero() || poll(&mut slow, Some(&timeout)).is_err() {
                return;
            }
        }
    }

    pub(super) fn interests(&self) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        let file = self.file.as_ref().and_then(FileWriter::interest).map(|fd| (fd, PollFlags::IN));
        self.servers().map(|fd| (fd, PollFlags::OUT)).chain(file).collect()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.syslog.as_ref().and_then(SyslogWriter::deadline)
    }

    pub(super) fn tend(&mut self) -> Result<()> {
        let told = self.flush();
        self.file.as_mut().map_or(Ok(()), FileWriter::tend).and(told)
    }

    /// Those for whom something waits.
    fn servers(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let journal = self.journal.as_ref().and_then(JournalWriter::interest);
        journal.into_iter().chain(self.syslog.as_ref().and_then(SyslogWriter::interest))
    }

    fn flush(&mut self) -> Result<()> {
        if let Some(syslog) = &mut self.syslog {
            syslog.flush();
        }
        self.journal.as_mut().map_or(Ok(()), JournalWriter::flush)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::parts::rotated;
    use super::*;
    use std::fs;
    use std::path::Path;

    pub(crate) fn writer(path: &Path, max_size: u64, max_files: u32) -> Writer {
        let mut log = Log::json_file(path.to_owned());
        let file = log.file.as_mut().unwrap();
        (file.max_size, file.max_files) = (max_size, max_files);
        Writer::open(&log).unwrap().unwrap()
    }

    fn logged(parts: &[(Channel, &[u8])]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut writer = writer(&path, 0, 1);
        for (channel, bytes) in parts {
            writer.write(*channel, bytes).unwrap();
        }
        writer.finish().unwrap();
        let text = fs::read_to_string(path).unwrap();
        text.lines().map(|l| l.split(",\"time\"").next().unwrap().to_owned()).collect()
    }

    #[test]
    fn lines_of_two_streams_are_put_together() {
        let parts: &[(Channel, &[u8])] = &[
            (Channel::Stdout, b"one\ntw"),
            (Channel::Stderr, b"err"),
            (Channel::Stdout, b"o\nno end \xff<\x01\"\\"),
        ];
        let expected = [
            r#"{"log":"one\n","stream":"stdout""#,
            r#"{"log":"two\n","stream":"stdout""#,
            "{\"log\":\"no end \u{fffd}\\u003c\\u0001\\\"\\\\\",\"stream\":\"stdout\"",
            r#"{"log":"err","stream":"stderr""#,
        ];
        assert_eq!(logged(parts), expected);
    }

    #[test]
    fn attributes_come_with_every_line_and_files_are_nobody_elses() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = Log::json_file(path.clone());
        log.file.as_mut().unwrap().attributes = [("a".to_owned(), "b\"".to_owned())].into();
        Writer::open(&log).unwrap().unwrap().write(Channel::Stdout, b"x\n").unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(r#"{"log":"x\n","stream":"stdout","attrs":{"a":"b\""},"time":""#), "{text}");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
    }

    #[test]
    fn a_line_without_end_is_written_in_parts() {
        let lines = logged(&[(Channel::Stdout, &vec![b'x'; 2 * LINE_LIMIT + 1])]);
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn files_are_rotated_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut writer = writer(&path, 100, 3);
        for number in 0..6 {
            writer.write(Channel::Stdout, format!("{number}{}\n", "x".repeat(100)).as_bytes()).unwrap();
        }
        let first = |n| fs::read_to_string(rotated(&path, n)).unwrap().chars().nth(8).unwrap();
        assert_eq!([first(0), first(1), first(2)], ['5', '4', '3']);
        assert!(!rotated(&path, 3).exists());
    }
}
