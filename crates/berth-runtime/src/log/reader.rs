//! Reading a container's log: from the end, between two times, and on as it grows.

use super::lines::{Lines, Woken};
use berth_oci::Result;
use jiff::Timestamp;
use serde::Deserialize;
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::BorrowedFd;
use std::path::Path;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output, or a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One line, usually with its end.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Entry {
    /// The text.
    pub log: String,
    /// Where it was written.
    pub stream: Stream,
    /// What else is said with every line of this container.
    #[serde(default)]
    pub attrs: BTreeMap<String, String>,
    /// When it was read from there.
    pub time: Timestamp,
}

/// What to read.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Only this many lines from the end (of what is there now).
    pub tail: Option<usize>,
    /// Only lines at or after.
    pub since: Option<Timestamp>,
    /// Only lines at or before.
    pub until: Option<Timestamp>,
}

/// Reads a log, oldest line first, across rotated files.
#[derive(Debug)]
pub struct Reader {
    options: Options,
    ready: VecDeque<Entry>,
    lines: Lines,
}

impl Reader {
    /// Opens a log; one that does not exist (yet) is empty.
    pub fn open(path: &Path, options: Options) -> Result<Self> {
        let mut reader = Self { lines: Lines::open(path)?, options, ready: VecDeque::new() };
        if let Some(since) = reader.options.since {
            reader.lines.skip_before(since);
        }
        if let Some(count) = reader.options.tail {
            reader.ready = reader.last(count)?;
        }
        Ok(reader)
    }

    /// The next line that is there; `None` when there is none (yet).
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        if let Some(entry) = self.ready.pop_front() {
            return Ok(Some(entry));
        }
        while let Some(entry) = self.read_entry()? {
            if self.is_wanted(&entry) {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    fn is_wanted(&self, entry: &Entry) -> bool {
        self.options.since.is_none_or(|since| entry.time >= since)
            && self.options.until.is_none_or(|until| entry.time <= until)
    }

    /// Waits until the log changes, `other` becomes readable or closes (usually the connection that tells of the
    /// container's exit), or nothing wanted can come any more.
    pub fn wait(&mut self, other: BorrowedFd<'_>) -> Result<Woken> {
        self.lines.wait(Some(other), self.options.until)
    }

    /// Starts to notice changes. Call before the last `next_entry` that answered `None`, or lines written in between
    /// are noticed with the next change only.
    pub fn follow(&mut self) -> Result<()> {
        self.lines.follow()
    }

    fn last(&mut self, count: usize) -> Result<VecDeque<Entry>> {
        let mut last = VecDeque::new();
        if self.options.until.is_none() {
            self.lines.skip_to_tail(count)?;
        }
        while let Some(entry) = self.read_entry()? {
            if self.is_wanted(&entry) {
                last.push_back(entry);
                if last.len() > count {
                    last.pop_front();
                }
            }
        }
        Ok(last)
    }

    fn read_entry(&mut self) -> Result<Option<Entry>> {
        while let Some(line) = self.lines.next_line()? {
            // What is not an entry was not written by us (or by docker): pass over it, the rest may be good.
            if let Ok(entry) = serde_json::from_str(&line) {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Writer;
    use super::super::packer::pack;
    use super::super::parts::{packed, rotated, unfinished};
    use super::super::writer::tests::writer;
    use super::*;
    use crate::protocol::Channel;
    use flate2::read::GzDecoder;
    use std::fs;
    use std::path::PathBuf;

    fn texts(reader: &mut Reader) -> Vec<String> {
        std::iter::from_fn(|| reader.next_entry().unwrap()).map(|e| e.log.trim_end().to_owned()).collect()
    }

    /// Ten lines in three files.
    fn log(dir: &Path) -> (PathBuf, Writer) {
        let path = dir.join("log");
        let mut writer = writer(&path, 250, 3);
        for number in 0..10 {
            writer.write(Channel::Stdout, format!("{number}\n").as_bytes()).unwrap();
        }
        (path, writer)
    }

    #[test]
    fn everything_and_the_tail_across_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let (path, _writer) = log(dir.path());
        for (tail, expected) in [
            (None, "0123456789"),
            (Some(0), ""),
            (Some(1), "9"),
            (Some(5), "56789"),
            (Some(99), "0123456789"),
        ] {
            let mut reader = Reader::open(&path, Options { tail, ..Options::default() }).unwrap();
            let expected: Vec<_> = expected.chars().map(String::from).collect();
            assert_eq!(texts(&mut reader), expected, "{tail:?}");
        }
    }

    /// What a packer does with the n-th oldest file.
    fn compress(path: &Path, number: u32) {
        let target = fs::File::create(unfinished(path)).unwrap();
        pack(fs::File::open(rotated(path, number)).unwrap(), target).unwrap();
        fs::rename(unfinished(path), packed(path, number)).unwrap();
        fs::remove_file(rotated(path, number)).unwrap();
    }

    #[test]
    fn compressed_files_read_like_others() {
        for compressed in [&[1][..], &[2], &[1, 2]] {
            let dir = tempfile::tempdir().unwrap();
            let (path, _writer) = log(dir.path());
            compressed.iter().for_each(|number| compress(&path, *number));
            for count in 0..11 {
                let options = Options { tail: Some(count), ..Options::default() };
                let expected: Vec<_> = (10 - count.min(10)..10).map(|n| n.to_string()).collect();
                assert_eq!(texts(&mut Reader::open(&path, options).unwrap()), expected, "{compressed:?}");
            }
            // What a crash leaves: a file in both forms, and one that is not finished.
            let number = compressed[0];
            let text =
                std::io::read_to_string(GzDecoder::new(fs::File::open(packed(&path, number)).unwrap()));
            fs::write(rotated(&path, number), text.unwrap()).unwrap();
            fs::write(unfinished(&path), "half").unwrap();
            assert_eq!(texts(&mut Reader::open(&path, Options::default()).unwrap()).len(), 10);
        }
    }

    #[test]
    fn a_gap_in_the_numbers_hides_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (path, _writer) = log(dir.path());
        compress(&path, 2);
        fs::rename(packed(&path, 2), packed(&path, 3)).unwrap();
        fs::rename(rotated(&path, 1), rotated(&path, 2)).unwrap();
        assert_eq!(texts(&mut Reader::open(&path, Options::default()).unwrap()).len(), 10);
    }

    #[test]
    fn files_that_are_too_old_are_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let (path, _writer) = log(dir.path());
        let hour = std::time::Duration::from_hours(1);
        let since = Timestamp::now() - hour;
        let earlier = std::time::SystemTime::now() - 2 * hour;
        for number in [1, 2] {
            let file = fs::File::options().append(true).open(rotated(&path, number)).unwrap();
            file.set_modified(earlier).unwrap();
        }
        compress(&path, 2);
        // Whoever looked into them would find lines that are new enough.
        let mut reader = Reader::open(&path, Options { since: Some(since), ..Options::default() }).unwrap();
        assert_eq!(texts(&mut reader), ["8", "9"]);
    }

    #[test]
    fn following_over_compressions_loses_nothing_and_repeats_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (path, mut writer) = log(dir.path());
        let mut reader = Reader::open(&path, Options { tail: Some(0), ..Options::default() }).unwrap();
        assert_eq!(reader.next_entry().unwrap(), None);
        let mut number = 10;
        // So many lines, and files, between two looks; and what has become of the file that was looked at last.
        for (lines, compressed) in [(1, 1), (4, 1), (4, 2), (5, 1), (8, 2), (3, 2)] {
            let expected: Vec<_> = (number..number + lines).map(|n| n.to_string()).collect();
            for text in &expected {
                writer.write(Channel::Stderr, format!("{text}\n").as_bytes()).unwrap();
            }
            if rotated(&path, compressed).exists() {
                compress(&path, compressed);
            }
            assert_eq!(texts(&mut reader), expected);
            number += lines;
        }
    }

    #[test]
    fn between_two_times() {
        let dir = tempfile::tempdir().unwrap();
        let (path, _writer) = log(dir.path());
        let mut all = Reader::open(&path, Options::default()).unwrap();
        let times: Vec<_> = std::iter::from_fn(|| all.next_entry().unwrap()).map(|e| e.time).collect();
        let options = Options { since: Some(times[3]), until: Some(times[5]), tail: None };
        let mut some = Reader::open(&path, options).unwrap();
        assert_eq!(texts(&mut some), ["3", "4", "5"]);
    }

    #[test]
    fn following_over_rotations_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (path, mut writer) = log(dir.path());
        let mut reader = Reader::open(&path, Options { tail: Some(0), ..Options::default() }).unwrap();
        reader.follow().unwrap();
        assert_eq!(reader.next_entry().unwrap(), None);
        let (other, _keep) = std::io::pipe().unwrap();
        for number in 10..30 {
            writer.write(Channel::Stderr, format!("{number}\n").as_bytes()).unwrap();
            assert_eq!(reader.wait(std::os::fd::AsFd::as_fd(&other)).unwrap(), Woken::Grown);
            assert_eq!(texts(&mut reader), [number.to_string()]);
        }
    }

    #[test]
    fn half_a_line_waits_for_its_end_and_rubbish_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let line = r#"{"log":"x\n","stream":"stdout","time":"2026-01-02T03:04:05Z"}"#;
        fs::write(&path, format!("rubbish\n{}", &line[..20])).unwrap();
        let mut reader = Reader::open(&path, Options::default()).unwrap();
        assert_eq!(reader.next_entry().unwrap(), None);
        fs::write(&path, format!("rubbish\n{line}\n")).unwrap();
        assert_eq!(texts(&mut reader), ["x"]);
    }
}
