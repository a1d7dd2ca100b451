//! Whatever comes as a layer, compressed or not, is taken in with the digests of its bytes or refused; both ways of
//! keeping it agree about what is a layer, and nothing of one that was refused stays.
#![no_main]

use berth_oci::{Digest, media_type};
use berth_store::layer::{Bounds, Form, IngestPlan, ingest};
use berth_store::tar::Limits;
use libfuzzer_sys::fuzz_target;
use std::io::Cursor;
use std::path::PathBuf;
use std::sync::LazyLock;

/// Memory, so that syncing costs nothing.
static PLACE: LazyLock<PathBuf> = LazyLock::new(|| {
    let place = PathBuf::from(format!("/dev/shm/berth-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&place).expect("tmpfs takes it");
    place
});

fn is_empty() -> bool {
    std::fs::read_dir(&*PLACE).expect("we made it").next().is_none()
}

fuzz_target!(|bytes: &[u8]| {
    let archive = Limits { entries: 500, extension: 1 << 16, global: 1 << 14, trailing: 1 << 16 };
    let bounds = Bounds { archive, size: 4 << 20, ratio: 1000, ratio_from: 1 << 20, reserve: 0 };
    for form in [Form::Erofs, Form::Directory] {
        let plan = IngestPlan {
            expected: None,
            diff_id: None,
            temporary: &PLACE,
            partial: None,
            keep_compressed: false,
            form,
            bounds,
        };
        let Ok(layer) = ingest(&plan, &|_| Ok(Box::new(Cursor::new(bytes)))) else {
            assert!(is_empty(), "something of a refused layer stayed");
            continue;
        };
        assert_eq!(layer.compressed.digest, Digest::of(bytes));
        if layer.compression == media_type::Compression::None {
            assert_eq!(layer.diff_id, Digest::of(bytes));
        }
        drop(layer);
        assert!(is_empty(), "a layer that nobody wanted stayed");
    }
});
