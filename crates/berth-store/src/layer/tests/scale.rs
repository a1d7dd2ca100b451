//! Layers that are large in one way or another and must cost no more than they are.

use super::support::{Room, check_with_fsck, mount};
use crate::layer::Form;
use crate::tar::testing::{Archive, Head};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};

#[test]
fn a_hundred_thousand_entries_of_one_directory() {
    let name = |number: u32| format!("d/{:05}", number.wrapping_mul(7919) % 100_000);
    let archive = (0..100_000).fold(Archive::default(), |archive, number| archive.file(&name(number), b""));
    let room = Room::new();
    let layer = room.ingest(Form::Erofs, &archive.end()).unwrap();
    assert_eq!(layer.entries, 100_000);
    let place = room.path().join("layer");
    layer.commit(&place).unwrap();
    check_with_fsck(&place);
    let Some(mounted) = mount(&place) else { return };
    assert_eq!(fs::read_dir(mounted.path().join("d")).unwrap().count(), 100_000);
    for number in (0..100_000).step_by(997) {
        assert!(mounted.path().join(name(number)).is_file(), "{}", name(number));
    }
}

#[test]
fn fifty_sparse_gigabytes_cost_what_they_store() {
    let size = 50u64 << 30;
    let map = format!("5,3,{},4", size - 4);
    let size_text = size.to_string();
    let words: &[(&str, &[u8])] =
        &[("GNU.sparse.size", size_text.as_bytes()), ("GNU.sparse.map", map.as_bytes())];
    let bytes = Archive::default().pax(words).file("disk", b"onelast").file("after", b"x").end();
    for form in [Form::Erofs, Form::Directory] {
        let room = Room::new();
        let place = room.place(form, &bytes).unwrap();
        let mounted = mount_if(form, &place);
        let root = mounted.as_ref().map_or(place.clone(), super::support::Mounted::path);
        if form == Form::Erofs && mounted.is_none() {
            return;
        }
        let taken: u64 = ["tar", "index.erofs", "disk"].iter().map(|n| blocks(&place.join(n))).sum();
        assert!(taken < 1 << 20, "{taken} bytes of the disk");
        let file = File::open(root.join("disk")).unwrap();
        assert_eq!(file.metadata().unwrap().len(), size);
        let read = |at: u64| {
            let mut buffer = [1; 12];
            let count = file.read_at(&mut buffer, at).unwrap();
            buffer[..count].to_vec()
        };
        assert_eq!(read(0), b"\0\0\0\0\0one\0\0\0\0");
        assert_eq!(read(size / 2), [0; 12]);
        assert_eq!(read(size - 6), b"\0\0last");
        assert_eq!(fs::read(root.join("after")).unwrap(), b"x");
    }
}

fn mount_if(form: Form, place: &std::path::Path) -> Option<super::support::Mounted> {
    if form == Form::Erofs { mount(place) } else { None }
}

fn blocks(path: &std::path::Path) -> u64 {
    path.metadata().map_or(0, |metadata| metadata.blocks() * 512)
}

#[test]
fn what_the_index_cannot_address_is_refused() {
    let huge = 3u64 << 40;
    let size = huge.to_string();
    let words: &[(&str, &[u8])] = &[("GNU.sparse.size", size.as_bytes()), ("GNU.sparse.map", b"")];
    let archive = Archive::default().pax(words).with(Head::new(b'0', "huge"), b"");
    let room = Room::new();
    let error = room.place(Form::Erofs, &archive.end()).unwrap_err();
    assert!(error.to_string().contains("2 TiB"), "{error}");
    room.assert_only(&[]);
}
