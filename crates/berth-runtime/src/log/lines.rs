//! Lines of a file that grows and is rotated: from the end, and on as they come.
//!
//! Here: files, rotations, waiting. Not here: what a line means. Invariant: a line is given when its end is there.

use super::rotated;
use berth_oci::{AtPath, Context, Error, Result};
use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The lines of one log, oldest first, across its files.
#[derive(Debug)]
pub(crate) struct Lines {
    path: PathBuf,
    /// Files still to be read, newest last.
    files: VecDeque<File>,
    current: Option<BufReader<File>>,
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
            // What was added between our last read and the rotation is still to come.
            newer.drain(..=at);
            if self.has_more()? {
                return Ok(true);
            }
        }
        self.files = newer;
        self.current = None;
        Ok(!self.files.is_empty())
    }

    fn has_more(&mut self) -> Result<bool> {
        let Some(current) = &mut self.current else { return Ok(false) };
        Ok(!current.fill_buf().at(&self.path)?.is_empty())
    }

    fn next_file(&mut self) -> Result<bool> {
        if self.files.is_empty() {
            self.files = open_all(&self.path)?;
        }
        self.current = self.files.pop_front().map(BufReader::new);
        Ok(self.current.is_some())
    }
}

fn left_until(until: Timestamp, now: Timestamp) -> Timespec {
    let left = until.duration_since(now);
    match left.is_negative() {
        true => Timespec { tv_sec: 0, tv_nsec: 0 },
        false => Timespec { tv_sec: left.as_secs(), tv_nsec: left.subsec_nanos().into() },
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
