//! A container's output in files of JSON lines that do not grow for ever.

use super::packer::{self, Packer};
use super::parts::{packed, rotated};
use crate::bundle::LogFile;
use crate::protocol::Channel;
use berth_oci::{AtPath, Result};
use jiff::Timestamp;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Writes the newest file, and puts it aside when it is full.
#[derive(Debug)]
pub(super) struct FileWriter {
    log: LogFile,
    /// `"attrs":{…},`, where there are any.
    attributes: String,
    file: File,
    size: u64,
    packer: Option<Packer>,
}

impl FileWriter {
    pub(super) fn open(log: LogFile) -> Result<Self> {
        let file = open(&log.path)?;
        let size = file.metadata().at(&log.path)?.len();
        let attributes = match log.attributes.is_empty() {
            true => String::new(),
            false => {
                let text = serde_json::to_string(&log.attributes).expect("texts");
                format!("\"attrs\":{text},")
            }
        };
        let packer = log.compress.then(|| Packer::new(&log.path, log.max_files));
        Ok(Self { log, attributes, file, size, packer })
    }

    /// All in one write, or as many as a file takes.
    pub(super) fn put(&mut self, channel: Channel, lines: &[Vec<u8>], now: Timestamp) -> Result<()> {
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
        let last = self.log.max_files.saturating_sub(1);
        if last > 0 {
            packer::remove(&packed(path, last))?;
        }
        for number in (0..last).rev() {
            rename(&rotated(path, number), &rotated(path, number + 1))?;
            if number > 0 {
                rename(&packed(path, number), &packed(path, number + 1))?;
            }
        }
        // With a single file there is nothing to rename it to: a reader that has it open sees it shrink.
        self.file = open(path)?;
        self.file.set_len(0).at(path)?;
        self.size = 0;
        if let Some(packer) = &mut self.packer {
            packer.is_wanted = true;
        }
        Ok(())
    }

    /// Readable when there is something to [tend](Self::tend).
    pub(super) fn interest(&self) -> Option<BorrowedFd<'_>> {
        self.packer.as_ref().and_then(Packer::ended)
    }

    /// Goes on with the compression of what was put aside.
    pub(super) fn tend(&mut self) -> Result<()> {
        self.packer.as_mut().map_or(Ok(()), Packer::tend)
    }
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at(from),
        _ => Ok(()),
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
