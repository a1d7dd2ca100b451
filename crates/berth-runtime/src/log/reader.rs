//! Reading a log: from the end, between two times, and on as it grows.

use super::rotated;
use berth_oci::{AtPath, Context, Error, Result};
use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify;
use serde::Deserialize;
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

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
    path: PathBuf,
    options: Options,
    ready: VecDeque<Entry>,
    /// Files still to be read, newest last.
    files: VecDeque<File>,
    current: Option<BufReader<File>>,
    /// A line whose end has not been written yet.
    partial: String,
    watch: Option<OwnedFd>,
}

/// A line cannot be longer: 16 KiB of text, six bytes for one at worst, and its frame.
const LINE_LIMIT: u64 = 256 * 1024;

impl Reader {
    /// Opens a log; one that does not exist (yet) is empty.
    pub fn open(path: &Path, options: Options) -> Result<Self> {
        let mut reader = Self {
            path: path.into(),
            files: open_all(path)?,
            options,
            ready: VecDeque::new(),
            current: None,
            partial: String::new(),
            watch: None,
        };
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

    /// Whether a line after `until` has been met: nothing wanted will come.
    fn is_wanted(&self, entry: &Entry) -> bool {
        self.options.since.is_none_or(|since| entry.time >= since)
            && self.options.until.is_none_or(|until| entry.time <= until)
    }

    /// Waits until the log changes (true) or `other` becomes readable or closes (false): usually the connection
    /// that tells of the container's exit. The kernel wakes us; nothing is asked at intervals.
    pub fn wait(&mut self, other: BorrowedFd<'_>) -> Result<bool> {
        let watch = self.watch()?;
        let mut polled = [PollFd::new(watch, PollFlags::IN), PollFd::from_borrowed_fd(other, PollFlags::IN)];
        loop {
            match poll(&mut polled, None) {
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(io::Error::from(error)).at(&self.path),
            }
        }
        let changed = !polled[0].revents().is_empty();
        if changed {
            drain(self.watch()?);
        }
        Ok(changed)
    }

    /// Starts to notice changes. Call before the last `next_entry` that answered `None`, or lines written in between
    /// are noticed with the next change only; [`Self::wait`] would do it too late for the first time.
    pub fn follow(&mut self) -> Result<()> {
        self.watch().map(drop)
    }

    /// The directory, because a rotation brings a new file.
    fn watch(&mut self) -> Result<&OwnedFd> {
        if self.watch.is_none() {
            let dir = self.path.parent().unwrap_or(Path::new("/"));
            let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
            let watch = inotify::init(flags).map_err(io::Error::from).context(|| "cannot watch the log")?;
            let events =
                inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
            inotify::add_watch(&watch, dir, events).map_err(io::Error::from).at(dir)?;
            self.watch = Some(watch);
        }
        Ok(self.watch.as_ref().expect("just made"))
    }

    fn last(&mut self, count: usize) -> Result<VecDeque<Entry>> {
        let mut last = VecDeque::new();
        self.skip_to_tail(count)?;
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

    /// Goes back from the end just far enough, so that the tail of a large log does not cost reading all of it.
    fn skip_to_tail(&mut self, count: usize) -> Result<()> {
        if self.options.until.is_some() {
            return Ok(());
        }
        let mut missing = count;
        let mut keep = VecDeque::new();
        while let Some(mut file) = self.files.pop_back() {
            let (at, found) = tail_start(&mut file, missing).at(&self.path)?;
            file.seek(SeekFrom::Start(at)).at(&self.path)?;
            keep.push_front(file);
            missing -= found.min(missing);
            if missing == 0 {
                break;
            }
        }
        self.files = keep;
        Ok(())
    }

    fn read_entry(&mut self) -> Result<Option<Entry>> {
        while let Some(line) = self.read_line()? {
            // What is not an entry was not written by us (or by docker): pass over it, the rest may be good.
            if let Ok(entry) = serde_json::from_str(&line) {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    fn read_line(&mut self) -> Result<Option<String>> {
        loop {
            if self.current.is_none() && !self.next_file()? {
                return Ok(None);
            }
            let Some(current) = &mut self.current else { return Ok(None) };
            let room = LINE_LIMIT.saturating_sub(self.partial.len() as u64);
            let length = current.by_ref().take(room).read_line(&mut self.partial);
            let length = match length {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    return Err(Error::corrupt(format!("`{}` is not a log", self.path.display())));
                }
                Err(error) => return Err(error).at(&self.path),
            };
            if self.partial.ends_with('\n') || self.partial.len() as u64 >= LINE_LIMIT {
                return Ok(Some(std::mem::take(&mut self.partial)));
            }
            if length == 0 && !self.leave_file()? {
                return Ok(None);
            }
        }
    }

    /// At the end of a file: whether there is a newer one. The last file is kept, for what will be added to it.
    fn leave_file(&mut self) -> Result<bool> {
        if !self.files.is_empty() {
            self.current = None;
            return Ok(true);
        }
        let Some(current) = &mut self.current else { return Ok(false) };
        let ours = current.get_ref().metadata().at(&self.path)?;
        match fs::metadata(&self.path) {
            Ok(newest) if newest.ino() != ours.ino() => self.reopen_after(ours.ino()),
            Ok(newest) if newest.len() < current.stream_position().at(&self.path)? => {
                current.seek(SeekFrom::Start(0)).at(&self.path)?;
                self.partial.clear();
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// The log was rotated under us: go on with the files that are newer than ours.
    fn reopen_after(&mut self, inode: u64) -> Result<bool> {
        let mut newer = open_all(&self.path)?;
        let ours = newer.iter().position(|f| f.metadata().is_ok_and(|m| m.ino() == inode));
        if let Some(at) = ours {
            newer.drain(..=at);
        }
        self.files = newer;
        self.current = None;
        Ok(!self.files.is_empty())
    }

    fn next_file(&mut self) -> Result<bool> {
        if self.files.is_empty() {
            self.files = open_all(&self.path)?;
        }
        self.current = self.files.pop_front().map(BufReader::new);
        Ok(self.current.is_some())
    }
}

/// All files that are there, oldest first.
fn open_all(path: &Path) -> Result<VecDeque<File>> {
    let mut files = VecDeque::new();
    for number in 0.. {
        let name = rotated(path, number);
        match File::open(&name) {
            Ok(file) => files.push_front(file),
            // In the middle of a rotation the newest is missing for a moment; the older ones are there.
            Err(error) if error.kind() == io::ErrorKind::NotFound && number == 0 => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(error).at(&name),
        }
    }
    Ok(files)
}

/// Where the last `count` lines of a file start, and how many there are.
fn tail_start(file: &mut File, count: usize) -> io::Result<(u64, usize)> {
    const BLOCK: u64 = 64 * 1024;
    let end = file.seek(SeekFrom::End(0))?;
    if count == 0 {
        return Ok((end, 0));
    }
    let mut found = 0;
    let mut block_end = end;
    let mut bytes = vec![0; BLOCK as usize];
    while block_end > 0 {
        let start = block_end.saturating_sub(BLOCK);
        let block = &mut bytes[..(block_end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(block)?;
        for (at, _) in block.iter().enumerate().rev().filter(|(_, b)| **b == b'\n') {
            let line_start = start + at as u64 + 1;
            if line_start == end {
                continue;
            }
            found += 1;
            if found == count {
                return Ok((line_start, count));
            }
        }
        block_end = start;
    }
    Ok((0, found + usize::from(end > 0)))
}

fn drain(watch: &OwnedFd) {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut events = inotify::Reader::new(watch, &mut buffer);
    while events.next().is_ok() {}
}

#[cfg(test)]
mod tests {
    use super::super::Writer;
    use super::*;
    use crate::protocol::Channel;

    fn texts(reader: &mut Reader) -> Vec<String> {
        std::iter::from_fn(|| reader.next_entry().unwrap()).map(|e| e.log.trim_end().to_owned()).collect()
    }

    /// Ten lines in three files.
    fn log(dir: &Path) -> (PathBuf, Writer) {
        let path = dir.join("log");
        let mut writer = Writer::open(path.clone(), 250, 3).unwrap();
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
        let (other, _keep) = io::pipe().unwrap();
        for number in 10..30 {
            writer.write(Channel::Stderr, format!("{number}\n").as_bytes()).unwrap();
            assert!(reader.wait(std::os::fd::AsFd::as_fd(&other)).unwrap());
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
