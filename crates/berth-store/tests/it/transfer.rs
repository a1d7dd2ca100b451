//! Images on their way in and out: verification, resuming, keeping blobs.

use crate::sample::{Sample, gzip, noise, pull, store, tar};
use berth_oci::{
    BlobState, CopyOptions, Descriptor, Digest, Event, Kind, Platforms, Reference, Result, Source, copy,
    media_type,
};
use berth_store::{IngestOptions, KeepBlobs, OriginFallback, Store};
use std::io::Read;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

fn files_below(path: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut pending = vec![path.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().map(|e| e.unwrap()) {
            match entry.file_type().unwrap().is_dir() {
                true => pending.push(entry.path()),
                false => found.push(entry.path().strip_prefix(path).unwrap().display().to_string()),
            }
        }
    }
    found
}

fn take_in(store: &Store, sample: &Sample, options: IngestOptions) -> Result<()> {
    let lease = store.lease()?;
    let sink = store.sink(Some(&"app".parse().unwrap()), options, &lease);
    copy(sample, &sink, &CopyOptions { platforms: Platforms::All, jobs: 2 }, &berth_oci::Silent).map(drop)
}

#[test]
fn layers_from_a_registry_are_fetched_again_and_those_from_elsewhere_are_kept() {
    let origin: Reference = "registry.example/app".parse().unwrap();
    for (keep_blobs, origin, expected) in [
        (KeepBlobs::Auto, Some(origin.clone()), false),
        (KeepBlobs::Auto, None, true),
        (KeepBlobs::Always, Some(origin.clone()), true),
        (KeepBlobs::Never, None, false),
    ] {
        let (_directory, store) = store();
        let sample = Sample::image(&["one", "two"]);
        take_in(&store, &sample, IngestOptions { keep_blobs, origin: origin.clone() }).unwrap();
        let layer = sample.root.as_ref().unwrap().image().unwrap().layers[0].clone();
        let read = |fallback: Option<&dyn OriginFallback>| {
            let mut bytes = Vec::new();
            let source = store.source(sample.target(), fallback);
            let mut reader = source.blob(&layer, 3)?;
            reader.read_to_end(&mut bytes).unwrap();
            Ok::<_, berth_oci::Error>(bytes)
        };
        let original = &sample.blobs[&layer.digest][3..];
        let plain = read(None);
        assert_eq!(plain.is_ok(), expected, "{keep_blobs:?} {origin:?}");
        match plain {
            Ok(bytes) => assert_eq!(bytes, original),
            Err(error) => assert!(error.hint_text().unwrap().contains("keep-blobs"), "{error:?}"),
        }
        let again = read(Some(&Registry(&sample)));
        assert_eq!(again.is_ok(), expected || origin.is_some());
        assert!(again.is_err() || again.unwrap() == original);
    }
}

struct Registry<'a>(&'a Sample);

impl OriginFallback for Registry<'_> {
    fn blob(
        &self,
        d: &Descriptor,
        repositories: &[Reference],
        offset: u64,
    ) -> Result<Box<dyn Read + Send + '_>> {
        assert_eq!(repositories[0].to_string(), "registry.example/app");
        self.0.blob(d, offset)
    }
}

#[test]
fn a_layer_that_is_not_what_the_config_promises_leaves_nothing() {
    let (directory, store) = store();
    let mut sample = Sample::default();
    let layer = sample.add_blob(media_type::OCI_LAYER_GZIP, gzip(&tar(&[("a", b"b")])));
    let manifest = sample.add_manifest(vec![Digest::of(b"something else")], vec![layer], None);
    sample.root = Some(manifest);
    let error = pull(&store, &sample, "app").unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    assert!(error.message().contains("not the one its config promises"), "{error}");
    assert!(store.images().unwrap().is_empty());
    store.gc().unwrap();
    let left = files_below(&directory.path().join("root"));
    let content =
        |f: &&String| ["oci/", "layers/", "tmp/", "trash/", "ingest/"].iter().any(|d| f.starts_with(d));
    assert_eq!(left.iter().filter(content).count(), 0, "{left:?}");
}

#[test]
fn wrong_bytes_are_refused() {
    for (what, change) in [
        ("other bytes", (|bytes| bytes[20] ^= 1) as fn(&mut Vec<u8>)),
        ("too short", |bytes| bytes.truncate(30)),
        ("too long", |bytes| bytes.push(0)),
        ("empty", Vec::clear),
    ] {
        let (_directory, store) = store();
        let mut sample = Sample::image(&["one"]);
        let layer = sample.root.as_ref().unwrap().image().unwrap().layers[0].digest.clone();
        change(sample.blobs.get_mut(&layer).unwrap());
        let error = pull(&store, &sample, "app").unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{what}: {error}");
        assert!(store.images().unwrap().is_empty());
    }
}

#[test]
fn a_pull_that_breaks_off_goes_on_where_it_stopped() {
    let (directory, store) = store();
    let mut sample = Sample::default();
    let tar = tar(&[("noise", &noise(8 << 20, 7))]);
    let layer = sample.add_blob(media_type::OCI_LAYER_GZIP, gzip(&tar));
    let size = layer.size;
    sample.root = Some(sample.add_manifest(vec![Digest::of(&tar)], vec![layer], None));
    sample.breaks_after = Some(size / 4 + 1);
    let mut tries = 1;
    while let Err(error) = pull(&store, &sample, "app") {
        assert_eq!(error.kind(), Kind::Unavailable, "{error}");
        tries += 1;
        assert!(tries < 10);
    }
    // A buffer that was not full yet when the connection broke is asked for once more.
    let delivered = sample.delivered.load(Ordering::Relaxed);
    assert!(tries > 3 && (size..size + size / 4).contains(&delivered), "{delivered} of {size} in {tries}");
    assert!(files_below(&directory.path().join("root/ingest")).is_empty());
    let image = store.resolve("app").unwrap();
    assert_eq!(store.platform_image(&image.target, None).unwrap().diff_ids, [Digest::of(&tar)]);
}

#[test]
fn a_damaged_rest_of_an_earlier_try_is_thrown_away() {
    let (directory, store) = store();
    let mut sample = Sample::default();
    let tar = tar(&[("noise", &noise(1 << 20, 7))]);
    let layer = sample.add_blob(media_type::OCI_LAYER_GZIP, gzip(&tar));
    let partial = directory.path().join(format!("root/ingest/sha256-{}.partial", layer.digest.hex()));
    sample.root = Some(sample.add_manifest(vec![Digest::of(&tar)], vec![layer.clone()], None));
    std::fs::create_dir_all(partial.parent().unwrap()).unwrap();
    for garbage in [noise(1000, 3), noise(layer.size as usize, 3), noise(layer.size as usize + 7, 3)] {
        std::fs::write(&partial, garbage).unwrap();
        pull(&store, &sample, "app").unwrap();
        assert!(!partial.exists());
        store.remove_image(sample.target()).unwrap();
        store.gc().unwrap();
    }
}

#[test]
fn two_pulls_of_one_layer_fetch_it_once() {
    let (_directory, store) = store();
    let mut sample = Sample::default();
    let tar = tar(&[("noise", &noise(4 << 20, 9))]);
    let layer = sample.add_blob(media_type::OCI_LAYER_GZIP, gzip(&tar));
    let size = layer.size;
    sample.root = Some(sample.add_manifest(vec![Digest::of(&tar)], vec![layer], None));
    let sample = &sample;
    std::thread::scope(|scope| {
        for number in 0..4 {
            let store = Store::open(store.location()).unwrap();
            scope.spawn(move || pull(&store, sample, &format!("app:{number}")).unwrap());
        }
    });
    assert_eq!(store.images().unwrap()[0].names.len(), 4);
    let delivered = sample.delivered.load(Ordering::Relaxed);
    assert!((size..size + 10_000).contains(&delivered), "{delivered} of {size}");
}

#[test]
fn a_cancelled_pull_leaves_no_image_and_can_go_on() {
    let (_directory, store) = store();
    let sample = Sample::image(&["one", "two"]);
    let lease = store.lease().unwrap();
    let sink = store.sink(Some(&"app".parse().unwrap()), Default::default(), &lease);
    let cancel = |event: Event<'_>| match event {
        Event::Blob { state: BlobState::Transferring { .. }, .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    let options = CopyOptions { platforms: Platforms::All, jobs: 1 };
    assert_eq!(copy(&sample, &sink, &options, &cancel).unwrap_err().kind(), Kind::Cancelled);
    assert!(store.images().unwrap().is_empty());
    copy(&sample, &sink, &options, &berth_oci::Silent).unwrap();
    assert_eq!(store.resolve("app").unwrap().target, *sample.target());
}

#[test]
fn attestations_and_artifacts_travel_as_they_are() {
    let (_directory, store) = store();
    let mut sample = Sample::default();
    let statement = sample.add_blob("application/vnd.in-toto+json", b"{}".to_vec());
    let config = sample.add_blob(media_type::OCI_EMPTY, b"{ }".to_vec());
    let mut body = sample.add_manifest(vec![], vec![statement.clone()], None).image().unwrap().clone();
    body.config = config;
    let manifest = berth_oci::Manifest::from_body(berth_oci::ManifestBody::Image(body));
    sample.root = Some(manifest);
    pull(&store, &sample, "artifact").unwrap();
    assert_eq!(store.blob_bytes(&statement).unwrap(), b"{}");
    let (_other, copied) = crate::sample::store();
    pull(&copied, &store.source(sample.target(), None), "artifact").unwrap();
    assert_eq!(copied.resolve("artifact").unwrap().target, *sample.target());
}
