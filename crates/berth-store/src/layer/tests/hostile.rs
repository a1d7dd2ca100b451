//! Bytes that nobody meant: whatever they are, an error or a layer comes out, and nothing stays behind.

use super::support::{Room, check_with_fsck};
use crate::layer::Form;
use crate::tar::testing::{Archive, Head};
use crate::tar::{BLOCK, Entry, Limits, Scanner, Visitor};
use berth_oci::Result;

/// A small generator with a fixed seed (xorshift64): every run tries the same bytes.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// Something of everything.
fn everything() -> Vec<u8> {
    let sparse: &[(&str, &[u8])] =
        &[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"9000")];
    let mut map = b"1\n700\n5\n".to_vec();
    map.resize(BLOCK, 0);
    map.extend_from_slice(b"hello");
    let gnu = Head::new(b'S', "gnu").bytes(257, b"ustar  \0").octal(386, 12, 0).octal(398, 12, 3);
    Archive::default()
        .directory("./")
        .file("a", b"content")
        .link("b", "a")
        .symlink("l", "d")
        .file("l/x", b"")
        .with(Head::new(b'L', "././@LongLink"), b"long/name\0")
        .file("short", b"1")
        .pax(&[("path", b"p"), ("mtime", b"1.5"), ("SCHILY.xattr.user.a", b"v")])
        .file("q", b"2")
        .pax(sparse)
        .file("s", &map)
        .with(gnu.octal(483, 12, 5000), b"abc")
        .head(Head::new(b'3', "null").device(1, 3))
        .file("d/.wh.gone", b"")
        .end()
}

/// Harms an archive in one to three places; sometimes with a right checksum, so that more than it is reached.
fn harm(bytes: &mut Vec<u8>, dice: &mut Dice) {
    for _ in 0..=dice.below(3) {
        let at = dice.below(bytes.len());
        match dice.below(12) {
            0 => bytes.truncate(at.max(1)),
            1 => bytes[at] ^= 1 << dice.below(8),
            2 => bytes[at] = [0, 0xff, b'9', b'/', b'.', b' ', 0x80][dice.below(7)],
            3 => {
                let block = dice.below(bytes.len() / BLOCK + 1) * BLOCK;
                let copied = bytes[..bytes.len().min(BLOCK)].to_vec();
                bytes.splice(block.min(bytes.len())..block.min(bytes.len()), copied);
            }
            _ => forge(bytes, at, dice),
        }
    }
}

/// Changes a byte of a header and mends its checksum.
fn forge(bytes: &mut [u8], at: usize, dice: &mut Dice) {
    let start = at / BLOCK * BLOCK;
    if let Some(block) = bytes.get_mut(start..start + BLOCK) {
        let mut head = Head(block.try_into().unwrap());
        match dice.below(4) {
            0 => head.0[dice.below(BLOCK)] = dice.below(256) as u8,
            _ => head.0[dice.below(148)] = b"01234567/.a\0"[dice.below(12)],
        }
        if dice.below(4) == 0 {
            head.0[156] = b"01234567LKxgSVDM"[dice.below(16)];
        }
        block.copy_from_slice(&head.done());
    }
}

struct Counter(u64);

impl Visitor for Counter {
    fn entry(&mut self, entry: &Entry<'_>) -> Result<()> {
        self.0 += 1 + (entry.path.len() as u64 & 1);
        Ok(())
    }

    fn data(&mut self, bytes: &[u8]) -> Result<()> {
        self.0 += bytes.len() as u64;
        Ok(())
    }
}

fn scan(bytes: &[u8], mut piece: impl FnMut() -> usize) -> (u64, Option<String>) {
    let (mut scanner, mut counter, mut rest) = (Scanner::new(Limits::default()), Counter(0), bytes);
    while !rest.is_empty() {
        let (now, later) = rest.split_at(piece().clamp(1, rest.len()));
        if let Err(error) = scanner.push(now, &mut counter) {
            return (counter.0, Some(error.to_string()));
        }
        rest = later;
    }
    (counter.0, scanner.finish().err().map(|e| e.to_string()))
}

#[test]
fn pieces_of_any_size_make_the_same_entries() {
    let (whole, mut dice) = (everything(), Dice(7));
    for _ in 0..3000 {
        let mut bytes = whole.clone();
        harm(&mut bytes, &mut dice);
        let once = scan(&bytes, || usize::MAX);
        assert_eq!(scan(&bytes, || 1 + dice.below(700)), once);
    }
    assert_eq!(scan(&whole, || 1).1, None);
}

#[test]
fn no_bytes_break_the_pipeline() {
    let (room, whole, mut dice) = (Room::new(), everything(), Dice(11));
    let mut accepted = 0;
    for _ in 0..600 {
        let mut bytes = whole.clone();
        harm(&mut bytes, &mut dice);
        let index = room.place(Form::Erofs, &bytes);
        let directory = room.place(Form::Directory, &bytes);
        match (&index, &directory) {
            (Ok(index), _) => {
                accepted += 1;
                if accepted % 10 == 0 {
                    check_with_fsck(index);
                }
            }
            (Err(index), Err(directory)) => {
                assert_eq!(index.to_string(), directory.to_string())
            }
            (Err(error), Ok(_)) => panic!("only the directory takes it: {error}"),
        }
        for place in [index, directory].into_iter().flatten() {
            std::fs::remove_dir_all(place).unwrap();
        }
        room.assert_only(&[]);
    }
    assert!(accepted > 50, "hardly anything was accepted: {accepted}");
}

#[test]
fn a_harmed_stream_of_any_compression_is_an_error() {
    let (room, mut dice) = (Room::new(), Dice(13));
    let zstd = zstd::encode_all(&everything()[..], 3).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, &everything()).unwrap();
    for whole in [encoder.finish().unwrap(), zstd] {
        for _ in 0..300 {
            let mut bytes = whole.clone();
            harm(&mut bytes, &mut dice);
            // Some harm hits what no checksum covers, a file name in gzip's header for one.
            drop(room.ingest(Form::Erofs, &bytes));
            room.assert_only(&[]);
        }
    }
}
