//! Names, look-ups and records of images.

use crate::sample::{Sample, location, pull, store};
use berth_oci::{Digest, Kind, Platform};
use berth_store::Store;

#[test]
fn an_image_is_found_by_everything_docker_finds_it_by() {
    let (_directory, store) = store();
    let sample = Sample::image(&["one"]);
    pull(&store, &sample, "app:v1").unwrap();
    let target = sample.target();
    let config = sample.root.as_ref().unwrap().image().unwrap().config.digest.clone();
    let by_digest = format!("app@{target}");
    for text in [
        "app:v1",
        "docker.io/library/app:v1",
        target.as_str(),
        target.hex(),
        target.short(),
        &target.hex()[..4],
        config.as_str(),
        config.short(),
        &by_digest,
        &format!("app:other@{target}"),
    ] {
        assert_eq!(&store.resolve(text).unwrap_or_else(|e| panic!("{text}: {e}")).target, target);
    }
    let elsewhere = format!("other@{target}");
    for (text, message) in [
        ("app", "No such image: app:latest".to_owned()),
        ("beef", "No such image: beef:latest".to_owned()),
        ("app:v2", "No such image: app:v2".to_owned()),
        (&elsewhere, format!("No such image: other@{target}")),
        ("sha256:beef", "No such image: sha256:beef".to_owned()),
        ("UPPER", "invalid reference format: repository name (library/UPPER) must be lowercase".to_owned()),
    ] {
        assert_eq!(store.resolve(text).unwrap_err().message(), message, "{text}");
    }
}

#[test]
fn names_move_and_leave_dangling_images() {
    let (_directory, store) = store();
    let (one, two) = (Sample::image(&["one"]), Sample::image(&["two"]));
    pull(&store, &one, "app").unwrap();
    pull(&store, &two, "app").unwrap();
    let images = store.images().unwrap();
    assert_eq!(images.len(), 2);
    let dangling: Vec<_> = images.iter().filter(|i| i.is_dangling()).map(|i| &i.target).collect();
    assert_eq!(dangling, [one.target()]);
    let name = "app:old".parse().unwrap();
    store.tag(one.target(), &name).unwrap();
    assert_eq!(store.resolve("app:old").unwrap().target, *one.target());
    assert_eq!(store.untag(&name).unwrap(), *one.target());
    assert_eq!(store.untag(&name).unwrap_err().kind(), Kind::NotFound);
    let missing = Digest::of(b"missing");
    assert_eq!(store.tag(&missing, &name).unwrap_err().kind(), Kind::NotFound);
    let digested = format!("app@{missing}").parse().unwrap();
    assert_eq!(store.tag(one.target(), &digested).unwrap_err().kind(), Kind::Invalid);
    store.remove_image(two.target()).unwrap();
    assert_eq!(store.remove_image(two.target()).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(store.resolve("app").unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn a_record_knows_what_lists_show() {
    let (_directory, store) = store();
    let sample = Sample::image(&["one", "two"]);
    pull(&store, &sample, "app").unwrap();
    store.tag(sample.target(), &"app:v1".parse().unwrap()).unwrap();
    let image = store.image(sample.target()).unwrap();
    assert_eq!(image.names.iter().map(|n| n.familiar()).collect::<Vec<_>>(), ["app:latest", "app:v1"]);
    assert_eq!(image.created.unwrap().to_string(), "2026-01-02T03:04:05Z");
    assert_eq!(image.labels().unwrap()["made-by"], "test");
    assert_eq!(image.origin.as_ref().unwrap().to_string(), "registry.example/app");
    let [manifest] = image.manifests().unwrap() else { panic!("one manifest") };
    assert!(manifest.available);
    assert_eq!(manifest.descriptor.platform, Some(Platform::host()));
    assert_eq!(manifest.unpacked_size, 2 * 2048);
    assert!(image.size > manifest.unpacked_size && manifest.content_size > 0);
    assert_eq!((image.last_used, image.pinned), (None, false));
    store.touch(sample.target()).unwrap();
    store.pin(sample.target(), true).unwrap();
    let image = store.image(sample.target()).unwrap();
    assert!(image.last_used.is_some() && image.pinned);
}

#[test]
fn a_prefix_that_fits_two_images_says_so() {
    let (_directory, store) = store();
    // Sixteen digits and so many images: some two of them begin alike.
    let mut by_prefix = std::collections::HashMap::new();
    for number in 0..5000_u32 {
        let sample = Sample::image(&[&number.to_string()]);
        let prefix = sample.target().hex()[..4].to_owned();
        if let Some(other) = by_prefix.insert(prefix.clone(), sample) {
            pull(&store, &other, "one").unwrap();
            pull(&store, &by_prefix[&prefix], "two").unwrap();
            let error = store.resolve(&prefix).unwrap_err();
            assert_eq!(error.kind(), Kind::Conflict);
            assert!(error.message().starts_with("ambiguous reference"), "{error}");
            return;
        }
    }
    panic!("no two of five thousand digests begin with the same four digits");
}

#[test]
fn an_index_is_one_image_with_what_is_here_of_it() {
    let (_directory, store) = store();
    let sample = Sample::index(&["linux/amd64", "linux/arm64"]);
    let lease = store.lease().unwrap();
    let sink = store.sink(Some(&"app".parse().unwrap()), Default::default(), &lease);
    let one = berth_oci::CopyOptions {
        platforms: berth_oci::Platforms::One("linux/arm64".parse().unwrap()),
        jobs: 1,
    };
    berth_oci::copy(&sample, &sink, &one, &berth_oci::Silent).unwrap();
    let image = store.resolve("app").unwrap();
    let available: Vec<bool> = image.manifests().unwrap().iter().map(|m| m.available).collect();
    assert_eq!((&image.target, &available[..]), (sample.target(), &[false, true][..]));
    let arm = "linux/arm64".parse().unwrap();
    let found = store.platform_image(sample.target(), Some(&arm)).unwrap();
    assert_eq!((found.config.architecture.as_str(), found.diff_ids.len()), ("arm64", 1));
    assert_eq!(store.platform_image(sample.target(), None).unwrap(), found);
    let amd = "linux/amd64".parse().unwrap();
    let error = store.platform_image(sample.target(), Some(&amd)).unwrap_err();
    assert!(error.message().contains("does not provide the specified platform (linux/amd64)"), "{error}");

    pull(&store, &sample, "app").unwrap();
    assert!(store.resolve("app").unwrap().manifests().unwrap().iter().all(|m| m.available));
    store.platform_image(sample.target(), Some(&amd)).unwrap();
    let child = &sample.root.as_ref().unwrap().children()[0].digest;
    assert_eq!(store.resolve(child.short()).unwrap().target, *sample.target());
}

#[test]
fn the_log_of_the_database_stays_short_among_short_commands() {
    let (directory, store) = store();
    let sample = Sample::image(&["one"]);
    pull(&store, &sample, "app").unwrap();
    drop(store);
    let location = location(&directory);
    let log = location.root.join("db.sqlite-wal");
    // Each opens the store, writes once and closes it, as a command does; none finds another at work.
    for number in 0..300 {
        let name = format!("app:{number}").parse().unwrap();
        Store::open(&location).unwrap().tag(sample.target(), &name).unwrap();
    }
    let length = std::fs::metadata(&log).unwrap().len();
    assert!((1..=160 * 4120).contains(&length), "{length} bytes");
    assert_eq!(Store::open(&location).unwrap().resolve("app:299").unwrap().names.len(), 301);
}
