//! Bytes of two streams into lines of JSON, and files that do not grow for ever.

use super::journald::JournalWriter;
use super::rotated;
use super::syslog::SyslogWriter;
use crate::bundle::{Log, LogFile};
use crate::protocol::Channel;
use berth_oci::{AtPath, Result};
use jiff::Timestamp;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A longer line is written in parts, as docker does; no program can make the monitor hold more.
const LINE_LIMIT: usize = 16 * 1024;

/// Writes one container's log, wherever it is kept.
#[derive(Debug)]
pub(crate) struct Writer {
    file: Option<FileWriter>,
    journal: Option<JournalWriter>,
    syslog: Option<SyslogWriter>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Writer {
    /// Goes on where the last run of the container stopped; none where nothing is kept.
    pub(crate) fn open(log: &Log) -> Result<Option<Self>> {
        let file = log.file.clone().map(FileWriter::open).transpose()?;
        let journal = log.journal.clone().map(JournalWriter::open).transpose()?;
        let syslog = log.syslog.clone().map(SyslogWriter::open).transpose()?;
        let is_kept = file.is_some() || journal.is_some() || syslog.is_some();
        Ok(is_kept.then_some(Self { file, journal, syslog, stdout: Vec::new(), stderr: Vec::new() }))
    }

    /// Takes what a stream brought; lines that are complete are written.
    pub(crate) fn write(&mut self, channel: Channel, mut bytes: &[u8]) -> Result<()> {
        let now = Timestamp::now();
        let mut lines = Vec::new();
        let pending = if channel == Channel::Stderr { &mut self.stderr } else { &mut self.stdout };
        while !bytes.is_empty() {
            let room = LINE_LIMIT - pending.len();
            let end =
                bytes.iter().take(room).position(|b| *b == b'\n').map_or(room.min(bytes.len()), |at| at + 1);
            let (line, rest) = bytes.split_at(end);
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
        if let Some(syslog) = &mut self.syslog {
            syslog.finish();
        }
        Ok(())
    }

    fn put(&mut self, channel: Channel, lines: &[Vec<u8>], now: Timestamp) -> Result<()> {
        let told = self.journal.as_ref().map_or(Ok(()), |journal| journal.put(channel, lines));
        if let Some(syslog) = &mut self.syslog {
            syslog.put(channel, lines);
        }
        let kept = self.file.as_mut().map_or(Ok(()), |file| file.put(channel, lines, now));
        told.and(kept)
    }
}

/// Files of JSON lines.
#[derive(Debug)]
struct FileWriter {
    log: LogFile,
    /// `"attrs":{…},`, where there are any.
    attributes: String,
    file: File,
    size: u64,
}

impl FileWriter {
    fn open(log: LogFile) -> Result<Self> {
        let file = open(&log.path)?;
        let size = file.metadata().at(&log.path)?.len();
        let attributes = match log.attributes.is_empty() {
            true => String::new(),
            false => {
                let text = serde_json::to_string(&log.attributes).expect("texts");
                format!("\"attrs\":{text},")
            }
        };
        Ok(Self { log, attributes, file, size })
    }

    /// All in one write, or as many as a file takes.
    fn put(&mut self, channel: Channel, lines: &[Vec<u8>], now: Timestamp) -> Result<()> {
        let name = if channel == Channel::Stderr { "stderr" } else { "stdout" };
        let mut out = Vec::with_capacity(lines.iter().map(|line| line.len() + 128).sum());
        for line in lines {
            entry(&mut out, line, name, &self.attributes, now);
            if self.log.max_size > 0 && self.size + out.len() as u64 >= self.log.max_size {
                self.append(&out)?;
                out.clear();
            }
        }
        self.append(&out)
    }

    fn append(&mut self, lines: &[u8]) -> Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        if self.log.max_size > 0 && self.size >= self.log.max_size {
            self.rotate()?;
        }
        self.file.write_all(lines).at(&self.log.path)?;
        self.size += lines.len() as u64;
        Ok(())
    }

    /// `log` becomes `log.1`, that `log.2`, and the one beyond the limit goes.
    fn rotate(&mut self) -> Result<()> {
        let path = &self.log.path;
        for number in (0..self.log.max_files.saturating_sub(1)).rev() {
            let (from, to) = (rotated(path, number), rotated(path, number + 1));
            match fs::rename(&from, to) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).at(&from),
                _ => {}
            }
        }
        // With a single file there is nothing to rename it to: a reader that has it open sees it shrink.
        self.file = open(path)?;
        self.file.set_len(0).at(path)?;
        self.size = 0;
        Ok(())
    }
}

/// What a program prints is for the owner and the group of the machine's administrators, as docker has it.
fn open(path: &Path) -> Result<File> {
    File::options().create(true).append(true).mode(0o640).open(path).at(path)
}

/// `{"log":"…\n","stream":"stdout","attrs":{…},"time":"2026-01-02T03:04:05.678901234Z"}`
fn entry(out: &mut Vec<u8>, line: &[u8], stream: &str, attributes: &str, time: Timestamp) {
    out.extend_from_slice(b"{\"log\":\"");
    escape(out, &String::from_utf8_lossy(line));
    out.extend_from_slice(
        format!("\",\"stream\":\"{stream}\",{attributes}\"time\":\"{time}\"}}\n").as_bytes(),
    );
}

/// As Go's encoder does it, which docker uses: also `<`, `>`, `&` and the two line separators of Unicode.
fn escape(out: &mut Vec<u8>, text: &str) {
    for c in text.chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\0'..='\x1f' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.extend_from_slice(format!("\\u{:04x}", c as u32).as_bytes());
            }
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

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
