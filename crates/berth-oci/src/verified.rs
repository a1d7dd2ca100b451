//! A reader that fails at its end unless size and digest are as promised.

use crate::{Descriptor, Digest, Error, Hasher};
use std::io::{self, Read};

/// Bytes of a blob; whoever reads to the end has verified bytes, whoever meets an error must not use them.
pub struct Verified<R> {
    inner: R,
    hasher: Option<Hasher>,
    left: u64,
    expected: Descriptor,
}

impl<R: Read> Verified<R> {
    /// Reads the whole blob of `descriptor` from `inner`.
    pub fn new(inner: R, descriptor: &Descriptor) -> Self {
        Self::resumed(inner, descriptor, Hasher::new(descriptor.digest.algorithm()), 0)
    }

    /// Reads the rest of a blob whose first `done` bytes `hasher` has taken in already.
    pub fn resumed(inner: R, descriptor: &Descriptor, hasher: Hasher, done: u64) -> Self {
        let left = descriptor.size.saturating_sub(done);
        Self { inner, hasher: Some(hasher), left, expected: descriptor.clone() }
    }

    /// The promise was kept, or an error says how it was broken.
    fn check(&mut self) -> io::Result<()> {
        let Some(hasher) = self.hasher.take() else { return Ok(()) };
        let found = hasher.finish();
        if self.left != 0 {
            let got = self.expected.size - self.left;
            return Err(wrong_length(&self.expected, &format!("ended after {got} bytes")));
        }
        match found == self.expected.digest {
            true => Ok(()),
            false => Err(wrong_digest(&self.expected.digest, &found)),
        }
    }
}

fn wrong_length(expected: &Descriptor, what: &str) -> io::Error {
    Error::corrupt(format!("blob {} of {} bytes {what}", expected.digest, expected.size)).into()
}

fn wrong_digest(expected: &Digest, found: &Digest) -> io::Error {
    Error::corrupt(format!("blob {expected} has other bytes: their digest is {found}")).into()
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let count = self.inner.read(buffer)?;
        if count == 0 {
            self.check()?;
            return Ok(0);
        }
        self.left = self
            .left
            .checked_sub(count as u64)
            .ok_or_else(|| wrong_length(&self.expected, "went on after its end"))?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..count]);
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media_type;

    fn read(bytes: &[u8], promised: &[u8], size: u64) -> Result<Vec<u8>, String> {
        let mut descriptor = Descriptor::of(media_type::OCTET_STREAM, promised);
        descriptor.size = size;
        let mut out = Vec::new();
        Verified::new(bytes, &descriptor).read_to_end(&mut out).map(|_| out).map_err(|e| e.to_string())
    }

    #[test]
    fn wrong_bytes_never_reach_the_end() {
        assert_eq!(read(b"layer", b"layer", 5).unwrap(), b"layer");
        assert!(read(b"lay", b"layer", 5).unwrap_err().contains("ended after 3 bytes"));
        assert!(read(b"layers", b"layer", 5).unwrap_err().contains("went on after its end"));
        assert!(read(b"evil!", b"layer", 5).unwrap_err().contains("has other bytes"));
    }
}
