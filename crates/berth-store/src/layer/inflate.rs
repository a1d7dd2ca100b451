//! Decompression from buffer to buffer. What the bytes are is read off the bytes, as containerd does: media types
//! lie. Members and frames may follow each other (RFC 1952 §2.2, RFC 8878 §3).

use berth_oci::media_type::Compression;
use berth_oci::{Error, Result};
use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{Decoder, Operation as _};

const GZIP: [u8; 3] = [0x1f, 0x8b, 8];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const ZSTD_SKIPPABLE: [u8; 3] = [0x2a, 0x4d, 0x18];
const OTHERS: [(&[u8], &str); 3] = [(b"\xfd7zXZ\0", "xz"), (b"BZh", "bzip2"), (b"\x04\x22\x4d\x18", "lz4")];
/// Window of gzip, as a power of two, always.
const GZIP_WINDOW: u8 = 15;

/// The compression that the first bytes show.
pub(super) fn detect(first: &[u8]) -> Result<Compression> {
    if first.starts_with(&GZIP) {
        return Ok(Compression::Gzip);
    }
    let is_skippable = first.len() > 3 && first[0] & 0xf0 == 0x50 && first[1..4] == ZSTD_SKIPPABLE;
    if first.starts_with(&ZSTD) || is_skippable {
        return Ok(Compression::Zstd);
    }
    match OTHERS.iter().find(|(magic, _)| first.starts_with(magic)) {
        Some((_, name)) => Err(Error::unsupported(format!("it is compressed with {name}"))
            .hint("layers of images are compressed with gzip or zstd, or not at all")),
        None => Ok(Compression::None),
    }
}

/// A decompressor in the middle of its work.
pub(super) enum Inflater {
    Gzip { stream: Box<Decompress>, place: Place },
    Zstd { stream: Box<Decoder<'static>>, is_open: bool },
}

/// Where a gzip stream is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Member,
    Between,
    /// Padding or rubbish after the last member, which gzip and Docker ignore.
    Behind,
}

impl Inflater {
    /// `None` where there is nothing to inflate.
    pub(super) fn new(compression: Compression) -> Result<Option<Self>> {
        Ok(match compression {
            Compression::None => None,
            Compression::Gzip => {
                Some(Self::Gzip { stream: Box::new(Decompress::new_gzip(GZIP_WINDOW)), place: Place::Member })
            }
            // Its window may be 128 MiB at most, which is what every decoder of the format has to allow.
            Compression::Zstd => Some(Self::Zstd { stream: Box::new(Decoder::new()?), is_open: true }),
        })
    }

    /// Inflates from `input` into `output`; how many bytes it took and made. Zero of both: it wants more input.
    pub(super) fn run(&mut self, input: &[u8], output: &mut [u8]) -> Result<(usize, usize)> {
        match self {
            Self::Gzip { place: Place::Behind, .. } => Ok((input.len(), 0)),
            Self::Gzip { stream, place: place @ Place::Between } => match input.first() {
                Some(&first) if first == GZIP[0] => {
                    **stream = Decompress::new_gzip(GZIP_WINDOW);
                    *place = Place::Member;
                    self.run(input, output)
                }
                Some(_) => {
                    *place = Place::Behind;
                    Ok((input.len(), 0))
                }
                None => Ok((0, 0)),
            },
            Self::Gzip { stream, place } => {
                let (before_in, before_out) = (stream.total_in(), stream.total_out());
                let status = stream
                    .decompress(input, output, FlushDecompress::None)
                    .map_err(|e| Error::corrupt("its gzip data is damaged").caused_by(e))?;
                if status == Status::StreamEnd {
                    *place = Place::Between;
                }
                let taken = stream.total_in() - before_in;
                Ok((taken as usize, (stream.total_out() - before_out) as usize))
            }
            Self::Zstd { stream, is_open } => {
                let status = stream
                    .run_on_buffers(input, output)
                    .map_err(|e| Error::corrupt("its zstd data is damaged").caused_by(e))?;
                // At the end of a frame nothing is hinted at; the call that finds no input hints at a next frame.
                if status.bytes_read > 0 || status.bytes_written > 0 {
                    *is_open = status.remaining != 0;
                }
                Ok((status.bytes_read, status.bytes_written))
            }
        }
    }

    /// The input ends here.
    pub(super) fn finish(&self) -> Result<()> {
        let is_whole = match self {
            Self::Gzip { place, .. } => *place != Place::Member,
            Self::Zstd { is_open, .. } => !is_open,
        };
        match is_whole {
            true => Ok(()),
            false => Err(Error::corrupt("its compressed data ends too early")),
        }
    }
}
