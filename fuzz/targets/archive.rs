//! Whatever is handed to `load`, opening and reading it ends: names never become paths, sizes never allocations,
//! and what is spooled goes away.
#![no_main]

use berth_oci::{Descriptor, Manifest, Source, Verified};
use berth_store::archives::{Archive, ArchiveSource};
use libfuzzer_sys::fuzz_target;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::LazyLock;

/// Memory, so that spooling costs nothing.
static PLACE: LazyLock<PathBuf> = LazyLock::new(|| {
    let place = PathBuf::from(format!("/dev/shm/berth-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&place).expect("tmpfs takes it");
    place
});

fn read_blob(source: &ArchiveSource<'_>, descriptor: &Descriptor) {
    if let Ok(reader) = source.blob(descriptor, 0) {
        let _ = io::copy(&mut Verified::new(reader.take(1 << 20), descriptor), &mut io::sink());
    }
}

fn walk(source: &ArchiveSource<'_>, manifest: &Manifest, depth: usize) {
    manifest.blobs().take(20).for_each(|descriptor| read_blob(source, descriptor));
    if depth < 3 {
        let children = manifest.children().iter().take(5);
        children.filter_map(|d| source.manifest(d).ok()).for_each(|child| walk(source, &child, depth + 1));
    }
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(archive) = Archive::read(bytes, &PLACE) {
        for image in archive.images().iter().take(5) {
            let source = archive.source(image);
            if let Ok(root) = source.root() {
                assert_eq!(root.digest(), &image.target.digest);
                walk(&source, &root, 0);
            }
        }
    }
    assert!(std::fs::read_dir(&*PLACE).expect("we made it").next().is_none(), "something spooled stayed");
});
