//! Bytes of two streams into lines of JSON, and files that do not grow for ever.

use super::rotated;
use crate::protocol::Channel;
use berth_oci::{AtPath, Result};
use jiff::Timestamp;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

/// A longer line is written in parts, as docker does; no program can make the monitor hold more.
const LINE_LIMIT: usize = 16 * 1024;

/// Writes one container's log.
#[derive(Debug)]
pub(crate) struct Writer {
    path: PathBuf,
    max_size: u64,
    max_files: u32,
    file: File,
    size: u64,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Writer {
    /// Goes on where the last run of the container stopped.
    pub(crate) fn open(path: PathBuf, max_size: u64, max_files: u32) -> Result<Self> {
        let file = File::options().create(true).append(true).open(&path).at(&path)?;
        let size = file.metadata().at(&path)?.len();
        Ok(Self { path, max_size, max_files, file, size, stdout: Vec::new(), stderr: Vec::new() })
    }

    /// Takes what a stream brought; lines that are complete go to the file, all in one write.
    pub(crate) fn write(&mut self, channel: Channel, mut bytes: &[u8]) -> Result<()> {
        let now = Timestamp::now();
        let mut out = Vec::with_capacity(bytes.len() + 128);
        let (pending, name) = match channel {
            Channel::Stderr => (&mut self.stderr, "stderr"),
            _ => (&mut self.stdout, "stdout"),
        };
        while !bytes.is_empty() {
            let room = LINE_LIMIT - pending.len();
            let end =
                bytes.iter().take(room).position(|b| *b == b'\n').map_or(room.min(bytes.len()), |at| at + 1);
            let (line, rest) = bytes.split_at(end);
            pending.extend_from_slice(line);
            bytes = rest;
            if pending.ends_with(b"\n") || pending.len() == LINE_LIMIT {
                entry(&mut out, pending, name, now);
                pending.clear();
            }
        }
        self.append(&out)
    }

    /// Writes what has no end of line and will get none.
    pub(crate) fn finish(&mut self) -> Result<()> {
        let now = Timestamp::now();
        let mut out = Vec::new();
        for (pending, name) in [(&mut self.stdout, "stdout"), (&mut self.stderr, "stderr")] {
            if !pending.is_empty() {
                entry(&mut out, pending, name, now);
                pending.clear();
            }
        }
        self.append(&out)
    }

    fn append(&mut self, lines: &[u8]) -> Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        if self.max_size > 0 && self.size >= self.max_size {
            self.rotate()?;
        }
        self.file.write_all(lines).at(&self.path)?;
        self.size += lines.len() as u64;
        Ok(())
    }

    /// `log` becomes `log.1`, that `log.2`, and the one beyond the limit goes.
    fn rotate(&mut self) -> Result<()> {
        for number in (0..self.max_files.saturating_sub(1)).rev() {
            let (from, to) = (rotated(&self.path, number), rotated(&self.path, number + 1));
            match fs::rename(&from, to) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).at(&from),
                _ => {}
            }
        }
        // With a single file there is nothing to rename it to: a reader that has it open sees it shrink.
        self.file = File::options().create(true).append(true).open(&self.path).at(&self.path)?;
        self.file.set_len(0).at(&self.path)?;
        self.size = 0;
        Ok(())
    }
}

/// `{"log":"…\n","stream":"stdout","time":"2026-01-02T03:04:05.678901234Z"}`
fn entry(out: &mut Vec<u8>, line: &[u8], stream: &str, time: Timestamp) {
    out.extend_from_slice(b"{\"log\":\"");
    escape(out, &String::from_utf8_lossy(line));
    out.extend_from_slice(format!("\",\"stream\":\"{stream}\",\"time\":\"{time}\"}}\n").as_bytes());
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
mod tests {
    use super::*;

    fn logged(parts: &[(Channel, &[u8])]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut writer = Writer::open(path.clone(), 0, 1).unwrap();
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
    fn a_line_without_end_is_written_in_parts() {
        let lines = logged(&[(Channel::Stdout, &vec![b'x'; 2 * LINE_LIMIT + 1])]);
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn files_are_rotated_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut writer = Writer::open(path.clone(), 100, 3).unwrap();
        for number in 0..6 {
            writer.write(Channel::Stdout, format!("{number}{}\n", "x".repeat(100)).as_bytes()).unwrap();
        }
        let first = |n| fs::read_to_string(rotated(&path, n)).unwrap().chars().nth(8).unwrap();
        assert_eq!([first(0), first(1), first(2)], ['5', '4', '3']);
        assert!(!rotated(&path, 3).exists());
    }
}
