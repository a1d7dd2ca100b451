//! Lines of a file that grows and is rotated: from the end, and on as they come.
//!
//! Here: files, rotations, waiting. Not here: what a line means. Invariant: a line is given when its end is there.

use super::parts::{Form, Part, Text, open_all};
use berth_oci::{AtPath, Context, Error, Result};
use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead, Read, Seek, SeekFrom};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The lines of one log, oldest first, across its files.
#[derive(Debug)]
pub(crate) struct Lines {
    path: PathBuf,
    /// Files still to be read, newest last.
    files: VecDeque<Part>,
    current: Option<(Part, Text)>,
    /// A line whose end has not been written yet.
    partial: String,
    watch: Option<OwnedFd>,
}

/// Why waiting has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// There may be more lines.
    Grown,
    /// The other descriptor is readable or has closed.
    Other,
    /// It is too late for more.
    Late,
}

/// A line cannot be longer: 16 KiB of text, six bytes for one at worst, and its frame.
const LINE_LIMIT: u64 = 256 * 1024;

impl Lines {
    /// Opens a log; one that does not exist (yet) is empty.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Ok(Self {
            path: path.into(),
            files: open_all(path)?,
            current: None,
            partial: String::new(),
            watch: None,
        })
    }

    /// The next line that is there; `None` when there is none (yet).
    pub(crate) fn next_line(&mut self) -> Result<Option<String>> {
        loop {
            if self.current.is_none() && !self.next_file()? {
                return Ok(None);
            }
            let Some((_, current)) = &mut self.current else { return Ok(None) };
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

    /// Waits until there may be more, `other` becomes readable or closes, or it is `until`. The kernel wakes us;
    /// nothing is asked at intervals.
    pub(crate) fn wait(&mut self, other: Option<BorrowedFd<'_>>, until: Option<Timestamp>) -> Result<Woken> {
        let watch = self.watch()?;
        let mut polled = vec![PollFd::new(watch, PollFlags::IN)];
        polled.extend(other.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        loop {
            let left = until.map(|until| left_until(until, Timestamp::now()));
            match poll(&mut polled, left.as_ref()) {
                Ok(0) => return Ok(Woken::Late),
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(io::Error::from(error)).at(&self.path),
            }
        }
        if polled[0].revents().is_empty() {
            return Ok(Woken::Other);
        }
        drain(self.watch()?);
        Ok(Woken::Grown)
    }

    /// Starts to notice changes. Call before the last `next_line` that answered `None`, or lines written in between
    /// are noticed with the next change only; [`Self::wait`] would do it too late for the first time.
    pub(crate) fn follow(&mut self) -> Result<()> {
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

    /// Goes back from the end just far enough for `count` lines, so that the tail of a large log does not cost
    /// reading all of it. To be called before the first line is read.
    pub(crate) fn skip_to_tail(&mut self, count: usize) -> Result<()> {
        let mut missing = count;
        let mut keep = VecDeque::new();
        while let Some(mut part) = self.files.pop_back() {
            let found = match part.form {
                Form::Plain => seek_to_tail(&mut part.file, missing),
                Form::Packed(_) => part.skip_to_tail(missing),
            };
            keep.push_front(part);
            let found = found.at(&self.path)?;
            missing -= found.min(missing);
            if missing == 0 {
                break;
            }
        }
        self.files = keep;
        Ok(())
    }

    /// Leaves out older files in which nothing is as new as `since`. To be called before the first line is read.
    pub(crate) fn skip_before(&mut self, since: Timestamp) {
        // The clock that files are stamped with lags a tick behind.
        let is_older = |part: &Part| part.last_written().is_some_and(|at| at + 1 < since.as_second());
        while self.files.len() > 1 && self.files.front().is_some_and(is_older) {
            self.files.pop_front();
        }
    }

    /// At the end of a file: whether there is a newer one. The last file is kept, for what will be added to it.
    fn leave_file(&mut self) -> Result<bool> {
        if !self.files.is_empty() {
            self.current = None;
            return Ok(true);
        }
        let Some((part, text)) = &mut self.current else { return Ok(false) };
        let Ok(newest) = fs::metadata(&self.path) else { return Ok(false) };
        let Text::Plain(text) = text else { return self.reopen() };
        let ours = part.file.metadata().at(&self.path)?;
        if newest.ino() != ours.ino() {
            return self.reopen();
        }
        let is_shorter = newest.len() < text.stream_position().at(&self.path)?;
        if is_shorter {
            text.seek(SeekFrom::Start(0)).at(&self.path)?;
            self.partial.clear();
        }
        Ok(is_shorter)
    }

    /// The log was rotated under us: go on with the files that are newer than ours.
    fn reopen(&mut self) -> Result<bool> {
        let mut newer = open_all(&self.path)?;
        let Some((part, text)) = &mut self.current else { return Ok(false) };
        if let Some(at) = newer.iter().position(|other| other.is(part)) {
            // What was added between our last read and the rotation is still to come.
            newer.drain(..=at);
            if !text.fill_buf().at(&self.path)?.is_empty() {
                return Ok(true);
            }
        }
        self.files = newer;
        self.current = None;
        Ok(!self.files.is_empty())
    }

    fn next_file(&mut self) -> Result<bool> {
        if self.files.is_empty() {
            self.files = open_all(&self.path)?;
        }
        let Some(part) = self.files.pop_front() else { return Ok(false) };
        let text = part.text().at(&self.path)?;
        self.current = Some((part, text));
        Ok(true)
    }
}

fn left_until(until: Timestamp, now: Timestamp) -> Timespec {
    let left = until.duration_since(now);
    match left.is_negative() {
        true => Timespec { tv_sec: 0, tv_nsec: 0 },
        false => Timespec { tv_sec: left.as_secs(), tv_nsec: left.subsec_nanos().into() },
    }
}

/// As far back as `count` lines go; how many there are.
fn seek_to_tail(file: &mut File, count: usize) -> io::Result<usize> {
    let (at, found) = tail_start(file, count)?;
    file.seek(SeekFrom::Start(at))?;
    Ok(found)
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
