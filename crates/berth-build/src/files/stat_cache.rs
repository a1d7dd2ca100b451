//! Digests of context files that need not be read again, kept between builds.
//!
//! A file counts as unchanged when device, inode, size, modification and change time are as they were: the kernel
//! alone sets the last. Invariant: a file that was still changing when it was read is never remembered, because a
//! second change within the same tick of the clock would leave no trace.

use super::meta::Identity;
use berth_oci::{AtPath, Digest, Result};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

const MAGIC: &[u8; 8] = b"berthst1";
const ROW: usize = 5 * 8 + 32;
/// How long before the read the last change must lie: file systems keep time in ticks of up to a hundredth of a
/// second, network file systems in seconds.
const SETTLED: i64 = 2_000_000_000;

/// See the module.
#[derive(Debug)]
pub(crate) struct StatCache {
    path: PathBuf,
    known: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    digests: HashMap<Identity, [u8; 32]>,
    seen: HashMap<Identity, [u8; 32]>,
    is_changed: bool,
}

impl StatCache {
    /// What is known of the context at `context`, kept in `directory`. A damaged file is as good as none.
    pub(crate) fn open(directory: &Path, context: &Path) -> Self {
        use std::os::unix::ffi::OsStrExt;
        let name = Digest::of(context.as_os_str().as_bytes());
        let path = directory.join(name.hex());
        let digests = fs::read(&path).ok().and_then(|bytes| parse(&bytes)).unwrap_or_default();
        Self { path, known: Mutex::new(State { digests, ..State::default() }) }
    }

    /// The digest of a file's content, if the file is as it was when it was read.
    pub(crate) fn get(&self, identity: &Identity) -> Option<[u8; 32]> {
        let mut state = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let digest = *state.digests.get(identity)?;
        state.seen.insert(*identity, digest);
        Some(digest)
    }

    /// Remembers what was read, from a file whose identity was the same before and after, at `now`.
    pub(crate) fn put(&self, identity: Identity, digest: [u8; 32], now: i64) {
        if identity.changed.max(identity.modified) > now - SETTLED {
            return;
        }
        let mut state = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        state.seen.insert(identity, digest);
        state.is_changed = true;
    }

    /// Writes down what this build saw; what it did not look at stays known while it is not too much.
    pub(crate) fn save(&self) -> Result<()> {
        let mut state = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !state.is_changed {
            return Ok(());
        }
        let inodes: std::collections::HashSet<(u64, u64)> =
            state.seen.keys().map(|identity| (identity.device, identity.inode)).collect();
        let room = (2 * state.seen.len()).max(10_000);
        let others: Vec<(Identity, [u8; 32])> = state
            .digests
            .iter()
            .filter(|(identity, _)| !inodes.contains(&(identity.device, identity.inode)))
            .take(room)
            .map(|(identity, digest)| (*identity, *digest))
            .collect();
        state.seen.extend(others);
        let mut bytes = Vec::with_capacity(8 + ROW * state.seen.len());
        bytes.extend_from_slice(MAGIC);
        for (identity, digest) in &state.seen {
            let times = [identity.modified.cast_unsigned(), identity.changed.cast_unsigned()];
            for number in [identity.device, identity.inode, identity.size].into_iter().chain(times) {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
            bytes.extend_from_slice(digest);
        }
        // Two builds of one context at once: the last one's knowledge stays, and either is true.
        let fresh = self.path.with_extension(format!("{}.new", std::process::id()));
        fs::write(&fresh, bytes).at(&fresh)?;
        fs::rename(&fresh, &self.path).at(&self.path)?;
        state.is_changed = false;
        Ok(())
    }
}

/// Now, on the clock that files are stamped with.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

fn parse(bytes: &[u8]) -> Option<HashMap<Identity, [u8; 32]>> {
    let rows = bytes.strip_prefix(MAGIC)?;
    if rows.len() % ROW != 0 {
        return None;
    }
    let mut known = HashMap::with_capacity(rows.len() / ROW);
    for row in rows.chunks_exact(ROW) {
        let number = |at: usize| u64::from_le_bytes(row[8 * at..8 * at + 8].try_into().expect("eight bytes"));
        let identity = Identity {
            device: number(0),
            inode: number(1),
            size: number(2),
            modified: number(3).cast_signed(),
            changed: number(4).cast_signed(),
        };
        known.insert(identity, row[40..].try_into().expect("32 bytes"));
    }
    Some(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(inode: u64, changed: i64) -> Identity {
        Identity { device: 1, inode, size: 3, modified: 5, changed }
    }

    #[test]
    fn what_is_settled_is_remembered() {
        let directory = tempfile::tempdir().unwrap();
        let open = || StatCache::open(directory.path(), Path::new("/context"));
        let cache = open();
        let now = 100 * SETTLED;
        cache.put(identity(1, now - 2 * SETTLED), [1; 32], now);
        cache.put(identity(2, now - 1), [2; 32], now);
        cache.save().unwrap();
        let cache = open();
        assert_eq!(cache.get(&identity(1, now - 2 * SETTLED)), Some([1; 32]));
        assert_eq!(cache.get(&identity(1, now)), None, "its inode changed");
        assert_eq!(cache.get(&identity(2, now - 1)), None, "it was still changing when it was read");
        let cache = open();
        cache.put(identity(1, now - SETTLED), [3; 32], 2 * now);
        cache.save().unwrap();
        let cache = open();
        assert_eq!(cache.get(&identity(1, now - 2 * SETTLED)), None, "an inode has one state");
        assert_eq!(cache.get(&identity(1, now - SETTLED)), Some([3; 32]));
        fs::write(&cache.path, b"berthst1short").unwrap();
        assert_eq!(open().get(&identity(1, now - SETTLED)), None);
    }
}
