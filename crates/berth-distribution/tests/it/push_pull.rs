//! Images to a real registry and back.

use crate::docker_registry::DockerRegistry;
use crate::image::Memory;
use berth_distribution::{Client, Settings};
use berth_oci::{
    BlobState, CopyOptions, Digest, Event, Kind, Manifest, Platforms, Progress, Reference, Result, Silent,
    Sink, Source, copy,
};
use std::ops::ControlFlow;
use std::sync::Mutex;

pub(crate) fn client() -> Client {
    Client::new(Settings::default())
}

pub(crate) fn reference(registry: &str, name: &str) -> Reference {
    format!("{registry}/{name}").parse().unwrap()
}

fn nowhere(_: &Digest) -> Vec<Reference> {
    Vec::new()
}

pub(crate) fn all() -> CopyOptions {
    CopyOptions { platforms: Platforms::All, jobs: 3 }
}

pub(crate) fn push(client: &Client, image: &Memory, to: &Reference) -> Result<Manifest> {
    copy(image, &client.sink(to, &nowhere, &Silent)?, &all(), &Silent)
}

pub(crate) fn pull(client: &Client, from: &Reference, progress: &dyn Progress) -> Result<Memory> {
    let memory = Memory::default();
    copy(&client.source(from, progress)?, &memory, &all(), progress)?;
    Ok(memory)
}

#[test]
fn an_image_survives_the_way_there_and_back() {
    let Some(registry) = DockerRegistry::start() else { return };
    let image = Memory::image(1, &[1000, 5 << 20, 0]);
    let arm = image.add_image(2, &[1000, 70_000]);
    let amd = image.add_image(3, &[2 << 20]);
    let index = image.add_index(&[("linux/amd64", &amd), ("linux/arm64", &arm)]);
    let name = reference(&registry.address, "team/app:v1");
    assert_eq!(push(&client(), &image, &name).unwrap(), index);
    let back = pull(&client(), &name, &Silent).unwrap();
    assert_eq!(back.root().unwrap(), index);
    assert_eq!(back.manifests.lock().unwrap().len(), 3);
    for (digest, bytes) in back.blobs.lock().unwrap().iter() {
        assert_eq!(image.blobs.lock().unwrap()[digest], *bytes);
    }
    assert_eq!(client().head(&name).unwrap(), index.descriptor());
    let by_digest = name.with_digest(arm.digest().clone());
    assert_eq!(pull(&client(), &by_digest, &Silent).unwrap().root().unwrap(), arm);
}

#[test]
fn what_is_there_is_not_sent_again_and_neighbours_are_mounted() {
    let Some(registry) = DockerRegistry::start() else { return };
    let image = Memory::image(1, &[100_000, 3 << 20]);
    let first = reference(&registry.address, "one:v1");
    push(&client(), &image, &first).unwrap();
    let states = Mutex::new(Vec::new());
    let watch = |event: Event<'_>| {
        if let Event::Blob { state, .. } = event {
            states.lock().unwrap().push(state);
        }
        ControlFlow::Continue(())
    };
    let push_to = |name: &str, hints: &(dyn Fn(&Digest) -> Vec<Reference> + Sync)| {
        states.lock().unwrap().clear();
        let to = reference(&registry.address, name);
        copy(&image, &client().sink(&to, hints, &watch).unwrap(), &all(), &watch).unwrap();
        states.lock().unwrap().clone()
    };
    assert!(push_to("one:v2", &nowhere).iter().all(|s| *s == BlobState::Exists));
    let sibling = |_: &Digest| vec![first.clone()];
    let mounted = push_to("two:v1", &sibling);
    assert!(!mounted.iter().any(|s| matches!(s, BlobState::Transferring { .. })), "{mounted:?}");
    let from_one = BlobState::Mounted { from: "one".to_owned() };
    assert_eq!(mounted.iter().filter(|s| **s == from_one).count(), 3);
    let wrong = |_: &Digest| vec![reference(&registry.address, "nosuch")];
    assert!(push_to("three:v1", &wrong).iter().any(|s| matches!(s, BlobState::Transferring { .. })));
}

#[test]
fn what_is_not_there_is_said_in_dockers_words() {
    let Some(registry) = DockerRegistry::start() else { return };
    let name = reference(&registry.address, "nosuch:v9");
    let error = pull(&client(), &name, &Silent).err().unwrap();
    assert_eq!(error.kind(), Kind::NotFound);
    let said = error.to_string();
    assert!(said.starts_with(&format!("manifest for {name} not found: manifest unknown")), "{said}");
    assert_eq!(client().head(&name).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(client().tags(&name).unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn lists_and_deletion() {
    let Some(registry) = DockerRegistry::start() else { return };
    let image = Memory::image(1, &[1000]);
    for tag in ["b", "a", "c"] {
        push(&client(), &image, &reference(&registry.address, &format!("team/app:{tag}"))).unwrap();
    }
    push(&client(), &image, &reference(&registry.address, "other")).unwrap();
    let name = reference(&registry.address, "team/app");
    let mut tags = client().tags(&name).unwrap();
    tags.sort();
    assert_eq!(tags, ["a", "b", "c"]);
    assert_eq!(client().catalog(&registry.address).unwrap(), ["other", "team/app"]);
    let found = client().search(&registry.address, "app", 25).unwrap();
    assert_eq!(found.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), ["team/app"]);
    let digest = image.root().unwrap().digest().clone();
    client().delete_manifest(&name.with_digest(digest)).unwrap();
    assert_eq!(client().head(&name.with_tag("a").unwrap()).unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn referrers_are_found_by_their_tag_where_there_is_no_api() {
    let Some(registry) = DockerRegistry::start() else { return };
    let image = Memory::image(1, &[1000]);
    let name = reference(&registry.address, "signed:v1");
    let subject = push(&client(), &image, &name).unwrap().descriptor();
    let mut expected = Vec::new();
    for seed in [7, 8] {
        let artifact = Memory::default();
        let config = artifact.add_blob("application/vnd.example.sbom", format!("{seed}").into_bytes());
        let manifest = artifact.add_manifest(config, Vec::new(), Some(subject.clone()));
        push(&client(), &artifact, &name.with_digest(manifest.digest().clone())).unwrap();
        expected.push(manifest.digest().clone());
    }
    let found = client().referrers(&name, &subject.digest, None).unwrap();
    assert_eq!(found.iter().map(|d| d.digest.clone()).collect::<Vec<_>>(), expected);
    let of_type = |kind| client().referrers(&name, &subject.digest, Some(kind)).unwrap().len();
    assert_eq!((of_type("application/vnd.example.sbom"), of_type("other")), (2, 0));
}

#[test]
fn a_wrong_blob_is_refused_by_whoever_gets_it() {
    let Some(registry) = DockerRegistry::start() else { return };
    for length in [1000, 3 << 20] {
        let image = Memory::image(1, &[length]);
        let digest = image.layer().digest;
        image.blobs.lock().unwrap().get_mut(&digest).unwrap()[7] ^= 1;
        let name = reference(&registry.address, "wrong:v1");
        let error = push(&client(), &image, &name).unwrap_err();
        assert!(matches!(error.kind(), Kind::Corrupt | Kind::Invalid), "{error:?}");
        let sink = client();
        let sink = sink.sink(&name, &nowhere, &Silent).unwrap();
        assert!(!sink.has_blob(&image.layer()).unwrap());
    }
}
