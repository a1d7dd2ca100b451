//! What `docker load` and `docker import` read: plain, gzip, zstd, xz or bzip2, told apart by their first bytes.
//!
//! Invariant: memory is bounded whatever the bytes say: xz dictionaries and zstd windows above 128 MiB are refused.

use berth_oci::{Error, Result};
use bzip2::read::MultiBzDecoder;
use flate2::read::MultiGzDecoder;
use lzma_rust2::XzReader;
use std::io::{self, Cursor, Read};

/// Memory for an xz dictionary, in KiB: `xz -9` asks for 64 MiB.
const XZ_LIMIT_KIB: u32 = 130 << 10;
/// The largest zstd window, as a power of two: what every decoder of the format has to allow.
const ZSTD_WINDOW_LOG: u32 = 27;

/// The plain bytes behind `reader`, whatever they are compressed with.
///
/// # Errors
/// The first bytes cannot be read.
pub fn decompress<'a>(mut reader: impl Read + Send + 'a) -> Result<Box<dyn Read + Send + 'a>> {
    let mut start = [0; 6];
    let length = read_start(&mut reader, &mut start)?;
    let whole = Cursor::new(start).take(length as u64).chain(reader);
    Ok(match start {
        [0x1f, 0x8b, ..] => Box::new(Named(MultiGzDecoder::new(whole), "gzip")),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let mut decoder = zstd::stream::read::Decoder::new(whole)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(Named(decoder, "zstd"))
        }
        [0xfd, b'7', b'z', b'X', b'Z', 0] => {
            Box::new(Named(XzReader::new_mem_limit(whole, true, XZ_LIMIT_KIB), "xz"))
        }
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Box::new(Named(MultiBzDecoder::new(whole), "bzip2")),
        _ => Box::new(whole),
    })
}

fn read_start(reader: &mut impl Read, start: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < start.len() {
        match reader.read(&mut start[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(length)
}

/// A decoder whose complaints name the format.
struct Named<R>(R, &'static str);

impl<R: Read> Read for Named<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => error,
            _ if error.get_ref().is_some_and(|inner| inner.is::<Error>()) => error,
            _ => Error::corrupt(format!("the {} data is damaged", self.1)).caused_by(error).into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_oci::Kind;
    use std::process::{Command, Stdio};

    fn read(bytes: &[u8]) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        decompress(bytes)?.read_to_end(&mut out)?;
        Ok(out)
    }

    /// The bytes as the program of that name compresses them; `None` where this machine has no such program.
    fn compressed(program: &str, bytes: &[u8]) -> Option<Vec<u8>> {
        use std::io::Write;
        let mut child =
            Command::new(program).arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
        child.stdin.take()?.write_all(bytes).ok()?;
        Some(child.wait_with_output().ok()?.stdout)
    }

    #[test]
    fn every_format_is_known_by_its_first_bytes() {
        let text: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        assert_eq!(read(&text).unwrap(), text);
        for program in ["gzip", "zstd", "xz", "bzip2"] {
            let Some(bytes) = compressed(program, &text) else { continue };
            assert_eq!(read(&bytes).unwrap(), text, "{program}");
            let twice = [&bytes[..], &bytes[..]].concat();
            assert_eq!(read(&twice).unwrap().len(), 2 * text.len(), "{program} twice");
            let error = read(&bytes[..bytes.len() / 2]).unwrap_err();
            assert_eq!(error.kind(), Kind::Corrupt, "{program}: {error}");
            assert!(error.message().contains(program), "{error}");
        }
        for short in [&b""[..], b"B", b"\x1f", b"plain"] {
            assert_eq!(read(short).unwrap(), short);
        }
    }
}
