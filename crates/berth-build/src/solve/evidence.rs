//! What a step was made of, kept for whoever asks why it is done anew.
//!
//! Invariant: of files there are names, attributes, times and digests, never contents.

use super::key::Inputs;
use crate::files::{Choice, Meta, MetaKind, Picked};
use berth_oci::Digest;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// Files that a step reads, and the digests of their contents.
pub(super) struct FileSet<'a> {
    pub(super) choices: &'a [Choice],
    /// One list for each choice, one digest for each file in it that is a regular one.
    pub(super) contents: Vec<Vec<[u8; 32]>>,
}

/// A step's inputs and files.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StepInputs {
    pub(super) inputs: Inputs,
    pub(super) files: Vec<FileLine>,
}

/// A file in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Row", into = "Row")]
pub(super) struct FileLine {
    /// From the root of its tree.
    pub(super) path: String,
    /// `file 644 0:0`.
    attributes: String,
    /// The beginning of its content's digest, or where a link leads to.
    content: String,
    /// Seconds since 1970.
    modified: i64,
}

type Row = (String, String, String, i64);

impl From<Row> for FileLine {
    fn from((path, attributes, content, modified): Row) -> Self {
        Self { path, attributes, content, modified }
    }
}

impl From<FileLine> for Row {
    fn from(line: FileLine) -> Self {
        (line.path, line.attributes, line.content, line.modified)
    }
}

impl StepInputs {
    pub(super) fn new(inputs: &Inputs, files: &[FileSet<'_>]) -> Self {
        Self { inputs: inputs.clone(), files: files.iter().flat_map(FileSet::lines).collect() }
    }

    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    pub(super) fn document(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("text has a JSON form")
    }
}

impl FileSet<'_> {
    /// Its files in short.
    pub(super) fn lines(&self) -> Vec<FileLine> {
        let mut lines = Vec::new();
        for (choice, contents) in self.choices.iter().zip(&self.contents) {
            let mut contents = contents.iter();
            for (at, file) in choice.files.iter().enumerate() {
                let content = match file.meta.kind {
                    MetaKind::File => contents.next().map(|digest| hex(&digest[..8])).unwrap_or_default(),
                    MetaKind::Symlink => String::from_utf8_lossy(&file.target).into_owned(),
                    _ => String::new(),
                };
                // The directory that is named is no part of what is copied.
                if at > 0 || !file.meta.is_directory() {
                    lines.push(FileLine::new(file, content));
                }
            }
        }
        lines
    }
}

impl FileLine {
    fn new(file: &Picked, content: String) -> Self {
        let meta: &Meta = &file.meta;
        let kind = match meta.kind {
            MetaKind::File => "file",
            MetaKind::Directory => "directory",
            MetaKind::Symlink => "link",
            MetaKind::CharDevice | MetaKind::BlockDevice => "device",
            MetaKind::Fifo => "pipe",
            MetaKind::Socket => "socket",
        };
        Self {
            path: String::from_utf8_lossy(&file.source).into_owned(),
            attributes: format!("{kind} {:o} {}:{}", meta.mode, meta.uid, meta.gid),
            content,
            modified: meta.mtime,
        }
    }

    /// What is different, if anything is that counts.
    pub(super) fn difference(&self, old: &Self) -> Option<String> {
        let path = &self.path;
        if self.attributes != old.attributes {
            return Some(format!("`{path}` is a {} instead of a {}", self.attributes, old.attributes));
        }
        if self.content == old.content {
            return None;
        }
        if self.attributes.starts_with("link ") {
            return Some(format!("`{path}` leads to `{}` instead of `{}`", self.content, old.content));
        }
        Some(format!("`{path}` changed{}", self.since()))
    }

    /// ` at 2026-11-30 12:01:03 UTC`.
    pub(super) fn since(&self) -> String {
        match Timestamp::from_second(self.modified) {
            Ok(time) => format!(" at {}", time.strftime("%Y-%m-%d %H:%M:%S UTC")),
            Err(_) => String::new(),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Stands for all layers so far.
pub(super) fn chain<'l>(diff_ids: impl Iterator<Item = &'l Digest>) -> String {
    let ids: Vec<&str> = diff_ids.map(Digest::as_str).collect();
    Digest::of(ids.join(" ").as_bytes()).to_string()
}
