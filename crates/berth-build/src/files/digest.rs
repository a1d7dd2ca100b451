//! Digests of files' contents, read in parallel where they are not known.

use super::meta::{Meta, MetaKind};
use super::pick::Choice;
use super::root::Root;
use super::stat_cache::{StatCache, now};
use berth_oci::{Algorithm, Digest, Error, Hasher, Result};
use sha2::{Digest as _, Sha256};
use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Where contents are read from, and what is known of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contents<'a> {
    pub(crate) root: &'a Root,
    pub(crate) cache: Option<&'a StatCache>,
}

impl Contents<'_> {
    /// The digests of these files, in their order.
    pub(crate) fn digests(&self, files: &[(&[u8], &Meta)]) -> Result<Vec<[u8; 32]>> {
        let mut digests: Vec<Option<[u8; 32]>> =
            files.iter().map(|(_, meta)| self.cache.and_then(|cache| cache.get(&meta.identity))).collect();
        let missing: Vec<usize> = (0..files.len()).filter(|at| digests[*at].is_none()).collect();
        let workers = thread::available_parallelism().map_or(1, usize::from).min(missing.len().div_ceil(16));
        let next = AtomicUsize::new(0);
        let work = || -> Result<Vec<(usize, [u8; 32])>> {
            let mut done = Vec::new();
            while let Some(&at) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                done.push((at, self.read(files[at].0, files[at].1)?));
            }
            Ok(done)
        };
        let read = thread::scope(|scope| {
            let others: Vec<_> = (1..workers).map(|_| scope.spawn(work)).collect();
            let mut read = work()?;
            for other in others {
                read.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
            }
            Ok::<_, Error>(read)
        })?;
        for (at, digest) in read {
            digests[at] = Some(digest);
        }
        Ok(digests.into_iter().map(|digest| digest.expect("all that were missing were read")).collect())
    }

    fn read(&self, path: &[u8], meta: &Meta) -> Result<[u8; 32]> {
        let mut file = self.root.open(path)?;
        let started = now();
        let digest = digest_of_file(&mut file)?;
        let after = rustix::fs::fstat(&file).map_err(std::io::Error::from)?;
        if Meta::from(&after).identity == meta.identity
            && let Some(cache) = self.cache
        {
            cache.put(meta.identity, digest, started);
        }
        Ok(digest)
    }
}

/// The digest of all that was chosen: names below the choices, attributes, contents; no times, and nothing of the
/// directory that was named itself. And, for each choice, the digests of its files' contents.
pub(crate) fn digest_of_choices(
    contents: &Contents<'_>,
    choices: &[Choice],
) -> Result<(String, Vec<Vec<[u8; 32]>>)> {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut known = Vec::new();
    for choice in choices {
        let files: Vec<_> = choice.files.iter().filter(|file| file.meta.kind == MetaKind::File).collect();
        let asked: Vec<_> = files.iter().map(|file| (file.source.as_slice(), &file.meta)).collect();
        let all = contents.digests(&asked)?;
        let mut digests = all.iter();
        for (at, file) in choice.files.iter().enumerate() {
            let meta = &file.meta;
            if at > 0 || !meta.is_directory() {
                let size = if meta.is_directory() { 0 } else { meta.size };
                let line = format!(
                    "{} {:?} {:o} {}:{} {size} {}:{} {} {:?}\0",
                    file.path.len(),
                    meta.kind,
                    meta.mode,
                    meta.uid,
                    meta.gid,
                    meta.major,
                    meta.minor,
                    file.target.len(),
                    file.xattrs,
                );
                hasher.update(line.as_bytes());
                hasher.update(&file.path);
                hasher.update(&file.target);
            }
            if meta.kind == MetaKind::File {
                hasher.update(digests.next().expect("one for each file"));
            }
        }
        known.push(all);
    }
    Ok((hasher.finish().to_string(), known))
}

/// A digest of what a reader still has.
pub(crate) fn digest_of_reader(reader: &mut dyn Read, algorithm: Algorithm) -> Result<Digest> {
    let mut hasher = Hasher::new(algorithm);
    each_chunk(reader, |bytes| hasher.update(bytes))?;
    Ok(hasher.finish())
}

/// The SHA-256 of what a reader still has.
fn digest_of_file(reader: &mut dyn Read) -> Result<[u8; 32]> {
    let mut hasher = Sha256::new();
    each_chunk(reader, |bytes| hasher.update(bytes))?;
    Ok(hasher.finalize().into())
}

fn each_chunk(reader: &mut dyn Read, mut use_it: impl FnMut(&[u8])) -> Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => use_it(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}
