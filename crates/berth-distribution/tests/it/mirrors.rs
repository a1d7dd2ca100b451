//! Mirrors that work, mirrors that do not, and who is asked in which order.

use crate::hostile::{honest, manifest_reply};
use crate::image::Memory;
use crate::push_pull::{pull, push, reference};
use crate::server::{End, Reply, Server};
use berth_distribution::{Client, MirrorFiles, Pause, Settings, Timeouts};
use berth_oci::{Descriptor, Event, Kind, Silent, Source, media_type};
use std::fs;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn client(directory: &tempfile::TempDir, config: &str) -> Client {
    let own = directory.path().join("berth.toml");
    fs::write(&own, config).unwrap();
    Client::new(Settings {
        mirrors: MirrorFiles { own: Some(own), ..MirrorFiles::default() },
        pause: Pause::new(|_| {}),
        timeouts: Timeouts { stall: Duration::from_millis(300), ..Timeouts::default() },
        ..Settings::default()
    })
}

fn mirror(of: &Server, at: &str) -> String {
    format!("[[mirror]]\nfor = '{}'\nlocation = '{at}'\n", of.host())
}

/// A pull through one mirror that answers `reply` to everything; the notes.
fn through(reply: Reply) -> Vec<String> {
    let image = Arc::new(Memory::image(1, &[1000, 2000]));
    let (origin, directory) = (image.clone(), tempfile::tempdir().unwrap());
    let bad = Server::start(move |_| reply.clone());
    let registry = Server::start(move |asked| honest(&origin, asked));
    let notes = Mutex::new(Vec::new());
    let watch = |event: Event<'_>| {
        if let Event::Note(text) = event {
            notes.lock().unwrap().push(text.replace(&bad.host(), "MIRROR"));
        }
        ControlFlow::Continue(())
    };
    let client = client(&directory, &mirror(&registry, &bad.host()));
    let back = pull(&client, &reference(&registry.host(), "team/app:v1"), &watch).unwrap();
    assert_eq!(back.blobs.lock().unwrap().len(), 3);
    assert_eq!(
        bad.asked().len(),
        1,
        "a mirror that failed is not asked for the blobs first: {:?}",
        bad.lines()
    );
    notes.into_inner().unwrap()
}

#[test]
fn a_mirror_that_fails_is_passed_over_with_a_note() {
    let wrong = manifest_reply(&Memory::image(9, &[1]).root().unwrap());
    let wrong = Reply { headers: wrong.headers[..2].to_vec(), ..wrong };
    let other = Memory::image(8, &[1]).root().unwrap();
    let wrong = wrong.header("Docker-Content-Digest", other.digest().as_str());
    for (reply, words) in [
        (
            Reply::json(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#),
            "manifest unknown",
        ),
        (Reply::json(401, "{}"), "status 401"),
        (Reply::new(429, "").header("Retry-After", "3000"), "status 429"),
        (Reply::new(500, "oops"), "oops"),
        (Reply::new(200, "<html>").header("Content-Type", "text/html"), "web page"),
        (Reply::new(200, "x".repeat(100)).cut(10, End::Close), "closed the connection early"),
        (Reply::new(200, "x".repeat(100)).cut(10, End::Stall), "sent nothing for too long"),
        (wrong, "has other bytes"),
    ] {
        let notes = through(reply);
        assert_eq!(notes.len(), 1, "{notes:?}");
        assert!(
            notes[0].starts_with("mirror MIRROR was passed over:") && notes[0].contains(words),
            "{notes:?}"
        );
    }
}

#[test]
fn a_mirror_that_works_does_all_the_work() {
    let image = Arc::new(Memory::image(1, &[1000]));
    let (origin, directory) = (image.clone(), tempfile::tempdir().unwrap());
    let mirror_server = Server::start(move |asked| honest(&origin, asked));
    let registry = Server::start(|_| Reply::new(500, ""));
    let config =
        mirror(&registry, "127.0.0.1:1") + &mirror(&registry, &format!("{}/hub", mirror_server.host()));
    let client = client(&directory, &config);
    pull(&client, &reference(&registry.host(), "team/app:v1"), &Silent).unwrap();
    assert!(registry.asked().is_empty());
    assert_eq!(mirror_server.lines()[0], "GET /v2/hub/team/app/manifests/v1");
    assert_eq!(
        push(&client, &image, &reference(&registry.host(), "x")).unwrap_err().kind(),
        Kind::Unavailable
    );
    assert!(
        mirror_server.lines().iter().all(|line| line.starts_with("GET ")),
        "nothing is pushed to a mirror"
    );
}

#[test]
fn a_mirror_that_lacks_a_blob_is_helped_out() {
    let image = Arc::new(Memory::image(1, &[1000, 200_000]));
    let layer = image.root().unwrap().image().unwrap().layers[1].digest.clone();
    let (origin, half, directory) = (image.clone(), image.clone(), tempfile::tempdir().unwrap());
    let missing = layer.clone();
    let mirror_server = Server::start(move |asked| match asked.target.contains(missing.as_str()) {
        // It breaks off first, and is gone then.
        true if asked.range().is_none() => honest(&half, asked).cut(100_000, End::Close),
        true => Reply::json(404, "{}"),
        false => honest(&half, asked),
    });
    let registry = Server::start(move |asked| honest(&origin, asked));
    let client = client(&directory, &mirror(&registry, &mirror_server.host()));
    pull(&client, &reference(&registry.host(), "app:v1"), &Silent).unwrap();
    let asked = registry.asked();
    assert_eq!((asked.len(), asked[0].range()), (1, Some((100_000, None))), "{:?}", registry.lines());
}

#[test]
fn a_mirror_that_sends_wrong_bytes_is_used_no_more() {
    let image = Arc::new(Memory::image(1, &[1000, 2000, 3000]));
    let (origin, bent, directory) = (image.clone(), image.clone(), tempfile::tempdir().unwrap());
    let mirror_server = Server::start(move |asked| match asked.target.contains("/blobs/") {
        true => Reply { body: vec![b'x'; honest(&bent, asked).body.len()], ..honest(&bent, asked) },
        false => honest(&bent, asked),
    });
    let registry = Server::start(move |asked| honest(&origin, asked));
    let notes = Mutex::new(Vec::new());
    let watch = |event: Event<'_>| {
        if let Event::Note(text) = event {
            notes.lock().unwrap().push(text.to_owned());
        }
        ControlFlow::Continue(())
    };
    let configured = client(&directory, &mirror(&registry, &mirror_server.host()));
    let back = pull(&configured, &reference(&registry.host(), "app:v1"), &watch).unwrap();
    assert_eq!(back.blobs.lock().unwrap().len(), 4);
    let notes = notes.into_inner().unwrap();
    assert!(!notes.is_empty() && notes.iter().all(|note| note.contains(&mirror_server.host())), "{notes:?}");
    // Where nobody else has it, wrong bytes are an error.
    let alone = tempfile::tempdir().unwrap();
    let error =
        pull(&client(&alone, ""), &reference(&mirror_server.host(), "app:v1"), &Silent).err().unwrap();
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");
}

#[test]
fn containerds_ns_tells_a_mirror_whom_it_stands_for() {
    let image = Arc::new(Memory::image(1, &[1000]));
    let (origin, directory) = (image.clone(), tempfile::tempdir().unwrap());
    let mirror_server = Server::start(move |asked| honest(&origin, asked));
    let hosts = directory.path().join("quay.example");
    fs::create_dir(&hosts).unwrap();
    let host = format!("[host.'http://{}'.header]\nX-Key = 'k'\n", mirror_server.host());
    fs::write(hosts.join("hosts.toml"), host).unwrap();
    let mirrors = MirrorFiles { hosts_directories: vec![directory.path().into()], ..MirrorFiles::default() };
    let client = Client::new(Settings { mirrors, ..Settings::default() });
    pull(&client, &reference("quay.example", "a/b:v1"), &Silent).unwrap();
    let elsewhere = Server::start(|_| Reply::new(200, "x"));
    let mut foreign = Descriptor::of(media_type::OCI_LAYER, b"x");
    foreign.urls = vec![format!("http://{}/layer", elsewhere.host())];
    client.source(&reference("quay.example", "a/b:v1"), &Silent).unwrap().blob(&foreign, 0).unwrap();
    assert_eq!(elsewhere.asked()[0].header("x-key"), None, "what is for the mirror stays with it");
    assert_eq!(mirror_server.lines()[0], "GET /v2/a/b/manifests/v1?ns=quay.example");
    assert!(mirror_server.asked().iter().all(|asked| asked.header("x-key") == Some("k")));
}
