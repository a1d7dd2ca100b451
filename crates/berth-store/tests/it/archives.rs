//! Archives and layouts: there and back, as others write them, and as nobody should.

use crate::sample::{Sample, gzip, header, noise, store, tar};
use berth_oci::{
    CopyOptions, Digest, ImageConfig, Kind, Manifest, Platforms, Reference, Result, RootFs, Silent, copy,
};
use berth_store::archives::{Archive, ArchiveFormat, ArchiveWriter, Layout};
use berth_store::{CheckOptions, GcOptions, IngestOptions, KeepBlobs, Store};
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

const ALL: CopyOptions = CopyOptions { platforms: Platforms::All, jobs: 2 };

/// Takes every image of an archive in, as `load` does.
fn load(store: &Store, archive: &Archive) -> Result<Vec<Manifest>> {
    let lease = store.lease()?;
    let mut roots = Vec::new();
    for image in archive.images() {
        let sink = store.sink(image.names.first(), IngestOptions::default(), &lease);
        let available = CopyOptions { platforms: Platforms::Available, jobs: 2 };
        let root = copy(&archive.source(image), &sink, &available, &Silent)?;
        for name in image.names.iter().skip(1) {
            store.tag(root.digest(), name)?;
        }
        roots.push(root);
    }
    Ok(roots)
}

/// A store with two images, one of them for two platforms, whose compressed layers are kept.
fn filled() -> (tempfile::TempDir, Store, [Sample; 2]) {
    let (directory, store) = store();
    let samples = [Sample::image(&["one", "two"]), Sample::index(&["linux/amd64", "linux/arm64"])];
    let lease = store.lease().unwrap();
    for (sample, name) in samples.iter().zip(["one:v1", "localhost:5000/two:v2"]) {
        let options = IngestOptions { keep_blobs: KeepBlobs::Always, origin: None };
        copy(sample, &store.sink(Some(&name.parse().unwrap()), options, &lease), &ALL, &Silent).unwrap();
    }
    store.tag(samples[0].target(), &"one:again".parse().unwrap()).unwrap();
    drop(lease);
    (directory, store, samples)
}

fn save(store: &Store, format: ArchiveFormat) -> Vec<u8> {
    let writer = ArchiveWriter::new(Vec::new(), format).unwrap();
    for image in store.images().unwrap() {
        // One blob at a time, so that they come in the same order each time.
        let in_order = CopyOptions { jobs: 1, ..ALL };
        copy(&store.source(&image.target, None), &writer.sink(&image.names), &in_order, &Silent).unwrap();
    }
    writer.finish().unwrap()
}

fn names(store: &Store) -> Vec<(String, Digest)> {
    let named = |image: berth_store::ImageRecord| {
        let names: Vec<_> = image.names.iter().map(Reference::familiar).collect();
        names.into_iter().map(move |name| (name, image.target.clone())).collect::<Vec<_>>()
    };
    let mut names: Vec<_> = store.images().unwrap().into_iter().flat_map(named).collect();
    names.sort();
    names
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

#[test]
fn what_is_saved_loads_again_with_the_same_digests_and_names() {
    let (_directory, original, _) = filled();
    for format in [ArchiveFormat::Docker, ArchiveFormat::Oci] {
        let bytes = save(&original, format);
        assert!(bytes == save(&original, format), "the same images make the same archive");
        for compress in [|b: &[u8]| b.to_vec(), |b: &[u8]| gzip(b), |b: &[u8]| zstd(b)] {
            let (directory, store) = store();
            let bytes = compress(&bytes);
            let path = directory.path().join("archive");
            std::fs::write(&path, &bytes).unwrap();
            load(&store, &Archive::open(&path, directory.path()).unwrap()).unwrap();
            assert_eq!(names(&store), names(&original));
            assert!(store.check(&CheckOptions::default()).unwrap().is_clean());
            let stream = Archive::read(&bytes[..], directory.path()).unwrap();
            load(&store, &stream).unwrap();
            assert_eq!(names(&store), names(&original));
            // What came from an archive can be given away again without a registry.
            assert_eq!(save(&store, format).len(), save(&original, format).len());
        }
    }
}

#[test]
fn a_layout_directory_is_written_and_read() {
    let (directory, original, samples) = filled();
    let path = directory.path().join("layout");
    let layout = Layout::create(&path).unwrap();
    let name: Reference = "one:v1".parse().unwrap();
    for (sample, tag) in [(&samples[0], "a"), (&samples[1], "b"), (&samples[1], "a")] {
        let source = original.source(sample.target(), None);
        copy(&source, &layout.sink(Some(&name), Some(tag)), &ALL, &Silent).unwrap();
    }
    let archive = Archive::open(&path, directory.path()).unwrap();
    let [image] = archive.images() else { panic!("one root, twice: {:?}", archive.images()) };
    assert_eq!(
        (&image.target.digest, &image.tags),
        (samples[1].target(), &vec!["b".to_owned(), "a".to_owned()])
    );
    assert_eq!(image.names, [name]);
    let (_directory, store) = store();
    assert_eq!(load(&store, &archive).unwrap()[0].digest(), samples[1].target());
    std::fs::create_dir(directory.path().join("other")).unwrap();
    std::fs::write(directory.path().join("other/file"), b"x").unwrap();
    assert_eq!(Layout::create(&directory.path().join("other")).unwrap_err().kind(), Kind::Conflict);
}

#[test]
fn a_layout_cannot_lead_out_of_itself() {
    let (directory, original, samples) = filled();
    let path = directory.path().join("layout");
    let layout = Layout::create(&path).unwrap();
    copy(&original.source(samples[0].target(), None), &layout.sink(None, None), &ALL, &Silent).unwrap();
    let config = &samples[0].root.as_ref().unwrap().image().unwrap().config.digest;
    let blob = path.join("blobs/sha256").join(config.hex());
    let outside = directory.path().join("secret");
    std::fs::rename(&blob, &outside).unwrap();
    std::os::unix::fs::symlink(&outside, &blob).unwrap();
    let (_directory, store) = store();
    let error = load(&store, &Archive::open(&path, directory.path()).unwrap()).unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
    assert!(error.to_string().contains("leads out of the layout"), "{error}");
    assert!(store.images().unwrap().is_empty());
}

/// Entries of a tar: name, type, link target, content.
type Part<'a> = (&'a str, u8, &'a str, &'a [u8]);

fn archive(parts: &[Part<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, kind, link, bytes) in parts {
        out.extend(header(name, bytes.len(), *kind, link));
        out.extend_from_slice(bytes);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

fn config_of(layers: &[&[u8]]) -> Vec<u8> {
    let diff_ids = layers.iter().map(|layer| Digest::of(layer)).collect();
    serde_json::to_vec(&ImageConfig {
        architecture: "amd64".into(),
        os: "linux".into(),
        rootfs: RootFs { diff_ids, ..RootFs::default() },
        ..ImageConfig::default()
    })
    .unwrap()
}

#[test]
fn archives_of_old_dockers_load() {
    let (one, two) = (tar(&[("a", b"1")]), tar(&[("b", b"2")]));
    let packed = gzip(&two);
    let config = config_of(&[&one, &one, &two]);
    let list = br#"[{"Config":"c.json","RepoTags":["old:v1","old:v2"],
        "Layers":["x/layer.tar","y/layer.tar","z/layer.tar"]}]"#;
    let bytes = archive(&[
        ("x/", b'5', "", b""),
        ("x/layer.tar", b'0', "", &one),
        ("y/layer.tar", b'2', "../x/layer.tar", b""),
        ("z/layer.tar", b'0', "", &packed),
        ("c.json", b'0', "", &config),
        ("manifest.json", b'0', "", list),
        ("repositories", b'0', "", b"{}"),
    ]);
    let (directory, store) = store();
    let read = || Archive::read(&bytes[..], directory.path()).unwrap();
    let first = load(&store, &read()).unwrap();
    assert_eq!(first[0].digest(), load(&store, &read()).unwrap()[0].digest());
    let image = store.platform_image(&store.resolve("old:v2").unwrap().target, None).unwrap();
    assert_eq!(image.raw_config, config);
    assert_eq!(image.diff_ids, [Digest::of(&one), Digest::of(&one), Digest::of(&two)]);
    let mut layer = Vec::new();
    let source = store.source(first[0].digest(), None);
    let descriptor = &first[0].image().unwrap().layers[0];
    berth_oci::Source::blob(&source, descriptor, 0).unwrap().read_to_end(&mut layer).unwrap();
    assert_eq!(layer, one, "a plain layer is served from the layer itself");
}

#[test]
fn hostile_archives_are_refused_and_leave_nothing() {
    let layer = tar(&[("a", b"1")]);
    let good = config_of(&[&layer]);
    let list = br#"[{"Config":"c.json","RepoTags":["app"],"Layers":["l.tar"]}]"#;
    let outside = br#"[{"Config":"../../etc/passwd","RepoTags":["app"],"Layers":["l.tar"]}]"#;
    let bad_name = br#"[{"Config":"c.json","RepoTags":["../app"],"Layers":["l.tar"]}]"#;
    let wrong = config_of(&[b"something else"]);
    let absent = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{}","size":3}}]}}"#,
        Digest::of(b"absent")
    );
    let whole: &[Part<'_>] =
        &[("l.tar", b'0', "", &layer), ("c.json", b'0', "", &good), ("manifest.json", b'0', "", list)];
    let with = |extra: Part<'static>| archive(&[&[extra], whole].concat());
    let mut absurd = archive(whole);
    absurd[124..136].copy_from_slice(b"77777777777\0");
    let sum: u32 = absurd[..512]
        .iter()
        .enumerate()
        .map(|(i, b)| if (148..156).contains(&i) { 32 } else { u32::from(*b) })
        .sum();
    absurd[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let huge_list = vec![b' '; 9 << 20];
    for (what, bytes, expected) in [
        ("nothing", Vec::new(), "neither"),
        ("text", b"<html>not found</html>".repeat(50), ""),
        ("an escape", with(("../../x", b'0', "", b"x")), "leads out of the archive"),
        ("an absolute name", with(("/etc/x", b'0', "", b"x")), "leads out of the archive"),
        ("an absolute link", with(("x", b'2', "/etc/passwd", b"")), "leads out of the archive"),
        ("a link up", with(("x", b'2', "../../etc/passwd", b"")), "leads out of the archive"),
        ("a device", with(("x", b'3', "", b"")), "no business"),
        ("other bytes twice", with(("c.json", b'0', "", b"{}")), "twice"),
        ("half of it", archive(whole)[..1500].to_vec(), "ends in the middle"),
        ("an absurd size", absurd, "ends in the middle"),
        ("a cut gzip", gzip(&archive(whole))[..200].to_vec(), "gzip"),
        ("no layer", archive(&whole[1..]), "has no `l.tar`"),
        ("no config", archive(&[whole[0], whole[2]]), "has no `c.json`"),
        ("a loop", archive(&[("l.tar", b'2', "l.tar", b""), whole[1], whole[2]]), "has no `l.tar`"),
        (
            "a config outside",
            archive(&[whole[0], whole[1], ("manifest.json", b'0', "", outside)]),
            "has no `../../etc",
        ),
        ("a wrong name", archive(&[whole[0], whole[1], ("manifest.json", b'0', "", bad_name)]), "`../app`"),
        ("no JSON", archive(&[("manifest.json", b'0', "", b"[{")]), "not docker's list"),
        ("too large a list", archive(&[("manifest.json", b'0', "", &huge_list)]), "is the limit"),
        ("another layer", archive(&[whole[0], ("c.json", b'0', "", &wrong), whole[2]]), ""),
        ("no manifest", archive(&[("index.json", b'0', "", absent.as_bytes())]), "no manifest"),
        ("a root file system", archive(&[("etc/passwd", b'0', "", b"root")]), "neither"),
        ("before 1.10", archive(&[("repositories", b'0', "", b"{}")]), "before 1.10"),
    ] {
        let (directory, store) = store();
        let spool = directory.path().join("spool");
        std::fs::create_dir(&spool).unwrap();
        let answer = Archive::read(&bytes[..], &spool).and_then(|archive| load(&store, &archive));
        let error = answer.expect_err(what);
        assert!(error.to_string().contains(expected), "{what}: {error}");
        assert!(!matches!(error.kind(), Kind::Internal), "{what}: {error:?}");
        assert!(store.images().unwrap().is_empty(), "{what}");
        store.gc_with(&GcOptions { grace: Duration::ZERO }).unwrap();
        let usage = store.disk_usage().unwrap();
        assert_eq!((usage.layers, usage.blobs, usage.partials, usage.temporary), (0, 0, 0, 0), "{what}");
        assert_eq!(std::fs::read_dir(&spool).unwrap().count(), 0, "{what}");
    }
}

#[test]
fn an_archive_that_failed_is_never_finished() {
    let mut sample = Sample::image(&["one"]);
    let layer = sample.root.as_ref().unwrap().image().unwrap().layers[0].digest.clone();
    *sample.blobs.get_mut(&layer).unwrap().last_mut().unwrap() ^= 1;
    let writer = ArchiveWriter::new(Vec::new(), ArchiveFormat::Docker).unwrap();
    let sink = writer.sink(&[]);
    assert_eq!(copy(&sample, &sink, &ALL, &Silent).unwrap_err().kind(), Kind::Corrupt);
    drop(sink);
    assert!(writer.finish().is_err());
}

#[test]
fn a_root_file_system_becomes_an_image() {
    let rootfs = tar(&[("bin/sh", &noise(5000, 4)), ("etc/passwd", b"root:x:0:0")]);
    let config = ImageConfig { os: "linux".into(), architecture: "amd64".into(), ..Default::default() };
    let name: Reference = "base:1".parse().unwrap();
    let (_directory, store) = store();
    let lease = store.lease().unwrap();
    let import = |bytes: &[u8]| store.import(bytes, config.clone(), Some(&name), &lease);
    let manifest = import(&rootfs).unwrap();
    for packed in [gzip(&rootfs), zstd(&rootfs)] {
        assert_eq!(import(&packed).unwrap(), manifest);
    }
    let image = store.platform_image(&store.resolve("base:1").unwrap().target, None).unwrap();
    assert_eq!(image.diff_ids, [Digest::of(&rootfs)]);
    assert!(import(b"no tar, but long enough not to be padding".repeat(30).as_slice()).is_err());
    assert!(store.check(&CheckOptions::default()).unwrap().is_clean());
    // It came from nowhere, and can still be saved.
    let mut out = Vec::new();
    out.write_all(&save(&store, ArchiveFormat::Docker)).unwrap();
    let (directory, other) = crate::sample::store();
    load(&other, &Archive::read(&out[..], directory.path()).unwrap()).unwrap();
    assert_eq!(names(&other), names(&store));
}

#[test]
fn official_images_load_for_all_platforms() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let images = [root.join("../shared/images"), root.join("../../shared/images")];
    let Some(images) = images.iter().find(|path| path.is_dir()) else { return };
    for (name, tags) in [("busybox", &["busybox:1.37"][..]), ("alpine", &["alpine:3.18", "alpine:3.20"])] {
        let (directory, store) = store();
        let archive = Archive::open(&images.join(name), directory.path()).unwrap();
        load(&store, &archive).unwrap();
        for tag in tags {
            let image = store.resolve(tag).unwrap();
            assert!(image.manifests().unwrap().iter().all(|m| m.available), "{tag}");
            for platform in ["linux/amd64", "linux/arm64"] {
                store.platform_image(&image.target, Some(&platform.parse().unwrap())).unwrap();
            }
        }
        assert!(store.check(&CheckOptions::default()).unwrap().is_clean());
    }
}
