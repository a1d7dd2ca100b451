//! From compressed bytes to a published layer: compressions, promises kept and broken, resuming, bombs.

use super::support::{Room, described, digest, show};
use crate::layer::{Bounds, Form, IngestPlan, ingest, verify};
use crate::tar::Limits;
use crate::tar::testing::{Archive, Head};
use berth_oci::media_type::Compression;
use berth_oci::{Digest, Error, Kind};
use std::cell::RefCell;
use std::fs;
use std::io::{self, Cursor, Read, Write};

fn sample() -> Vec<u8> {
    // More than all buffers hold, and nothing that repeats at their length.
    let text: Vec<u8> = (0..3_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 27) as u8).collect();
    Archive::default().directory("./").file("a", b"first").file("big", &text).file("z", b"last").end()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// Delivers few bytes at a time, as sockets do.
struct Slowly<R>(R, usize);

impl<R: Read> Read for Slowly<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.1 = self.1 * 31 % 7919 + 1;
        let count = buffer.len().min(self.1);
        self.0.read(&mut buffer[..count])
    }
}

#[test]
fn compressions_are_told_by_the_bytes() {
    let tar = sample();
    let halves = tar.split_at(tar.len() / 2);
    let skippable = [&[0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3][..], &zstd(&tar)].concat();
    for (bytes, compression) in [
        (tar.clone(), Compression::None),
        (gzip(&tar), Compression::Gzip),
        ([gzip(halves.0), gzip(&[]), gzip(halves.1)].concat(), Compression::Gzip),
        ([gzip(&tar), vec![0; 700]].concat(), Compression::Gzip),
        (zstd(&tar), Compression::Zstd),
        ([zstd(halves.0), zstd(halves.1)].concat(), Compression::Zstd),
        (skippable, Compression::Zstd),
    ] {
        let room = Room::new();
        let (expected, diff_id) = (described(&bytes), digest(&tar));
        let plan =
            IngestPlan { expected: Some(&expected), diff_id: Some(&diff_id), ..room.plan(Form::Erofs) };
        let layer = ingest(&plan, &|_| Ok(Box::new(Slowly(Cursor::new(bytes.clone()), 1)))).unwrap();
        assert_eq!((layer.compression, layer.entries), (compression, 4));
        assert_eq!((&layer.diff_id, layer.tar_size), (&diff_id, tar.len() as u64));
        assert_eq!(layer.compressed, expected);
        let place = room.path().join("a/layer");
        assert!(layer.commit(&place).unwrap());
        assert_eq!(fs::read(place.join("tar")).unwrap(), tar);
        assert_eq!(verify(&place.join("tar"), &diff_id).unwrap(), tar.len() as u64);
        room.assert_only(&["a"]);
    }
}

#[test]
fn what_was_not_promised_is_found_out() {
    let (room, tar) = (Room::new(), sample());
    let layer = room.ingest(Form::Erofs, &gzip(&tar)).unwrap();
    assert_eq!((layer.diff_id.clone(), layer.compressed.digest.clone()), (digest(&tar), digest(&gzip(&tar))));
    drop(layer);
    room.assert_only(&[]);
}

#[test]
fn broken_promises_leave_nothing() {
    let tar = sample();
    let compressed = gzip(&tar);
    let good = described(&compressed);
    let mut larger = good.clone();
    larger.size += 1;
    let mut flipped = compressed.clone();
    flipped[compressed.len() / 2] ^= 1;
    let sha512 = format!("sha512:{}", "0".repeat(128)).parse::<Digest>().unwrap();
    let mut other = good.clone();
    other.digest = sha512.clone();
    let right = digest(&tar);
    let html = b"<html><body>Not found</body></html>".repeat(100);
    for (expected, diff_id, bytes, words) in [
        (&good, &right, &compressed[..compressed.len() - 9], "it ended after"),
        (&larger, &right, &compressed[..], "it ended after"),
        (&good, &right, &[&compressed[..], &[0]].concat()[..], "it goes on after its"),
        (&good, &right, &flipped[..], "damaged"),
        (&other, &right, &compressed[..], "its bytes are others than sha512:"),
        (&good, &sha512, &compressed[..], "as the image's config says"),
        (&described(&tar[..700]), &right, &tar[..700], "ends in the middle of entry"),
        (&described(&html), &right, &html[..], "this is not a tar archive"),
        (&described(b"\xfd7zXZ\0..."), &right, b"\xfd7zXZ\0...", "it is compressed with xz"),
        (&described(&compressed[..900]), &right, &compressed[..900], "ends too early"),
        (&described(&zstd(&tar)[..900]), &right, &zstd(&tar)[..900], "ends too early"),
    ] {
        for form in [Form::Erofs, Form::Directory] {
            let room = Room::new();
            let partial = room.path().join("partial");
            let plan = IngestPlan { partial: Some(&partial), ..room.plan(form) };
            let plan = IngestPlan { expected: Some(expected), diff_id: Some(diff_id), ..plan };
            let error = ingest(&plan, &|_| Ok(Box::new(Cursor::new(bytes.to_vec())))).map(drop).unwrap_err();
            assert!(error.to_string().contains(words), "{error}, not {words}");
            assert!(error.to_string().contains(expected.digest.as_str()), "{error} does not name the layer");
            assert!(matches!(error.kind(), Kind::Corrupt | Kind::Unsupported), "{error:?}");
            room.assert_only(&[]);
        }
    }
}

/// Fails after some bytes, as a connection does.
struct Breaking(Cursor<Vec<u8>>, u64);

impl Read for Breaking {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.position() >= self.1 {
            true => Err(Error::unavailable("the registry went away").into()),
            false => {
                let count = buffer.len().min((self.1 - self.0.position()) as usize);
                self.0.read(&mut buffer[..count])
            }
        }
    }
}

#[test]
fn a_broken_transfer_goes_on_where_it_broke() {
    let tar = sample();
    for compressed in [gzip(&tar), zstd(&tar), tar.clone()] {
        let (room, expected, diff_id) = (Room::new(), described(&compressed), digest(&tar));
        let partial = room.path().join("partial");
        let plan = IngestPlan { partial: Some(&partial), ..room.plan(Form::Erofs) };
        let plan = IngestPlan { expected: Some(&expected), diff_id: Some(&diff_id), ..plan };
        let asked = RefCell::new(Vec::new());
        let step = compressed.len() as u64 / 3;
        for stop in [step, 2 * step, u64::MAX] {
            let answer = ingest(&plan, &|offset| {
                asked.borrow_mut().push(offset);
                let mut bytes = Cursor::new(compressed.clone());
                bytes.set_position(offset);
                Ok(Box::new(Breaking(bytes, stop)))
            });
            match (answer, stop) {
                (Err(error), _) if stop != u64::MAX => assert_eq!(error.kind(), Kind::Unavailable),
                (Ok(layer), u64::MAX) => assert_eq!(layer.diff_id, diff_id),
                (answer, _) => panic!("{:?}", answer.map(drop)),
            }
        }
        assert_eq!(asked.into_inner(), [0, step, 2 * step], "no byte is fetched twice");
        room.assert_only(&[]);
    }
}

#[test]
fn a_harmed_remainder_is_fetched_again_and_a_complete_one_is_not() {
    let (room, tar) = (Room::new(), sample());
    let compressed = gzip(&tar);
    let expected = described(&compressed);
    let partial = room.path().join("partial");
    let plan = IngestPlan { partial: Some(&partial), keep_compressed: true, ..room.plan(Form::Erofs) };
    let plan = IngestPlan { expected: Some(&expected), ..plan };
    let asked = RefCell::new(Vec::new());
    let open = |offset: u64| {
        asked.borrow_mut().push(offset);
        Ok(Box::new(Cursor::new(compressed[offset as usize..].to_vec())) as Box<dyn Read + Send>)
    };
    fs::write(&partial, [&compressed[..5000], &[0; 5000]].concat()).unwrap();
    ingest(&plan, &open).unwrap();
    assert_eq!(*asked.borrow(), [10_000, 0]);
    assert_eq!(fs::read(&partial).unwrap(), compressed, "it is kept");
    ingest(&plan, &open).unwrap();
    assert_eq!(asked.borrow().len(), 2, "nobody is asked for what is there");
    fs::write(&partial, vec![7; compressed.len() + 1]).unwrap();
    ingest(&plan, &open).unwrap();
    assert_eq!(asked.borrow()[2..], [0], "what is too long is forgotten");
}

#[test]
fn bombs_are_stopped() {
    let zeros = Archive::default().file("zeros", &vec![0; 40 << 20]).end();
    let bounds = Bounds { reserve: 0, ..Bounds::default() };
    let trailing = Limits { trailing: 1 << 20, ..Limits::default() };
    let entries = Limits { entries: 3, ..Limits::default() };
    let five = (0..5).fold(Archive::default(), |archive, n| archive.file(&n.to_string(), b"")).end();
    for (bytes, bounds, words) in [
        (zstd(&zeros), Bounds { ratio: 100, ratio_from: 1 << 20, ..bounds }, "decompression bomb"),
        (gzip(&zeros), Bounds { ratio: 100, ratio_from: 1 << 20, ..bounds }, "decompression bomb"),
        (gzip(&zeros), Bounds { size: 8 << 20, ..bounds }, "larger than 8 MiB"),
        (gzip(&zeros), Bounds { reserve: u64::MAX, ..bounds }, "no storage space"),
        (gzip(&vec![0; 3 << 20]), Bounds { archive: trailing, ..bounds }, "more than 1 MiB after its end"),
        (gzip(&five), Bounds { archive: entries, ..bounds }, "more than 3 entries"),
    ] {
        let room = Room::new();
        let plan = IngestPlan { bounds, ..room.plan(Form::Erofs) };
        let error = ingest(&plan, &|_| Ok(Box::new(Cursor::new(bytes.clone())))).map(drop).unwrap_err();
        assert!(error.to_string().contains(words), "{error}, not {words}");
        room.assert_only(&[]);
    }
}

#[test]
fn two_that_bring_the_same_layer_agree() {
    let (room, tar) = (Room::new(), sample());
    for form in [Form::Erofs, Form::Directory] {
        let (first, second) = (room.ingest(form, &tar).unwrap(), room.ingest(form, &gzip(&tar)).unwrap());
        let place = room.path().join(format!("{form:?}"));
        assert!(first.commit(&place).unwrap());
        assert!(!second.commit(&place).unwrap());
        assert!(!show(&place).is_empty());
    }
    room.assert_only(&["Directory", "Erofs"]);
}

#[test]
fn a_layer_of_nothing_is_a_layer() {
    for bytes in
        [vec![], vec![0; 1024], gzip(&[0; 1024]), Archive::default().head(Head::new(b'V', "label")).end()]
    {
        let shown = Room::new().shown(&bytes).unwrap();
        assert_eq!(shown.into_keys().collect::<Vec<_>>(), [""]);
    }
}

#[test]
fn the_same_tar_makes_the_same_index() {
    let (room, tar) = (Room::new(), sample());
    let index = |bytes: &[u8]| fs::read(room.place(Form::Erofs, bytes).unwrap().join("index.erofs")).unwrap();
    assert_eq!(index(&tar), index(&zstd(&tar)));
}

#[test]
fn a_changed_tar_does_not_verify() {
    let (room, tar) = (Room::new(), sample());
    let place = room.place(Form::Erofs, &tar).unwrap().join("tar");
    let mut bytes = tar.clone();
    bytes[2_000_000] ^= 1;
    fs::write(&place, bytes).unwrap();
    let error = verify(&place, &digest(&tar)).unwrap_err();
    assert!(error.kind() == Kind::Corrupt && error.to_string().contains("has other bytes"), "{error}");
}
