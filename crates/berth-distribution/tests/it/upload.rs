//! Pushing to registries that break off, forget, limit and redirect.

use crate::hostile::quick;
use crate::image::{Memory, noise};
use crate::push_pull::{push, reference};
use crate::server::{Asked, Reply, Server};
use berth_oci::{Digest, Kind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// A registry that takes one upload at a time into memory.
#[derive(Default)]
struct Uploads {
    part: Mutex<Vec<u8>>,
    done: Mutex<Vec<Vec<u8>>>,
    /// Bytes of bodies that arrived, those that came twice included.
    received: AtomicUsize,
}

impl Uploads {
    fn location(&self, status: u16) -> Reply {
        let last = self.part.lock().unwrap().len().saturating_sub(1);
        Reply::new(status, "").header("Location", "/up/1?state=x").header("Range", format!("0-{last}"))
    }

    fn answer(&self, asked: &Asked) -> Reply {
        self.received.fetch_add(asked.body.len(), Ordering::SeqCst);
        match (asked.method.as_str(), asked.path()) {
            ("HEAD", path) if path.contains("/blobs/") => Reply::new(404, ""),
            ("POST", _) => {
                self.part.lock().unwrap().clear();
                self.location(202)
            }
            ("PATCH", _) => {
                self.append(asked);
                self.location(202)
            }
            ("GET", _) => self.location(204),
            ("PUT", path) if path.contains("/manifests/") => Reply::new(201, ""),
            ("PUT", _) => self.commit(asked),
            _ => Reply::new(405, ""),
        }
    }

    fn append(&self, asked: &Asked) {
        let mut part = self.part.lock().unwrap();
        if let Some(range) = asked.header("content-range") {
            let first: usize = range.split('-').next().unwrap().parse().unwrap();
            assert_eq!(first, part.len(), "a chunk in the wrong place");
        }
        part.extend_from_slice(&asked.body);
    }

    fn commit(&self, asked: &Asked) -> Reply {
        let mut bytes = std::mem::take(&mut *self.part.lock().unwrap());
        bytes.extend_from_slice(&asked.body);
        let digest = format!("digest={}", Digest::of(&bytes));
        match asked.target.contains(&digest) {
            true => {
                self.done.lock().unwrap().push(bytes);
                Reply::new(201, "")
            }
            false => Reply::json(400, r#"{"errors":[{"code":"DIGEST_INVALID","message":"no"}]}"#),
        }
    }
}

const SIZE: usize = 3 << 20;

/// Pushes a layer of three megabytes; what the registry has in the end, and its server.
fn push_layer(
    uploads: &Arc<Uploads>,
    cut: impl Fn(&Asked) -> Option<usize> + Send + Sync + 'static,
    twist: impl Fn(&Asked) -> Option<Reply> + Send + Sync + 'static,
) -> (Result<(), berth_oci::Error>, Server) {
    let image = Memory::image(1, &[SIZE]);
    let registry = uploads.clone();
    let server =
        Server::start_cutting(cut, move |asked| twist(asked).unwrap_or_else(|| registry.answer(asked)));
    let layer = image.blobs.lock().unwrap()[&image.layer().digest].clone();
    // One blob at a time, so that one upload at a time is enough.
    let client = quick();
    let to = reference(&server.host(), "app:v1");
    let nowhere = |_: &Digest| Vec::new();
    let options = berth_oci::CopyOptions { platforms: berth_oci::Platforms::All, jobs: 1 };
    let sink = client.sink(&to, &nowhere, &berth_oci::Silent).unwrap();
    let answer = berth_oci::copy(&image, &sink, &options, &berth_oci::Silent).map(drop);
    if answer.is_ok() {
        assert!(uploads.done.lock().unwrap().contains(&layer), "the layer did not arrive");
    }
    (answer, server)
}

#[test]
fn an_upload_that_breaks_off_goes_on_where_it_was() {
    let uploads = Arc::new(Uploads::default());
    let seed = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let places: Vec<usize> = noise(seed, 40).chunks(8).map(|b| usize::from(b[0]) * 1000 + 70_000).collect();
    let (turn, cuts) = (AtomicUsize::new(0), places.clone());
    let (answer, server) = push_layer(
        &uploads,
        move |asked| match asked.method.as_str() {
            "PATCH" => cuts.get(turn.fetch_add(1, Ordering::SeqCst)).copied(),
            _ => None,
        },
        |_| None,
    );
    answer.unwrap_or_else(|e| panic!("{e:?}, cutting at {places:?}"));
    let lines = server.lines();
    let patches = lines.iter().filter(|line| line.starts_with("PATCH")).count();
    assert_eq!(patches, places.len() + 1, "{lines:?}");
    let manifest_and_config = 2000;
    let received = uploads.received.load(Ordering::SeqCst);
    assert!(received <= SIZE + manifest_and_config, "{received} bytes: some were sent twice");
}

#[test]
fn an_upload_that_is_forgotten_begins_anew() {
    let uploads = Arc::new(Uploads::default());
    let (turn, lost) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let (answer, server) = push_layer(
        &uploads,
        move |asked| (asked.method == "PATCH" && turn.fetch_add(1, Ordering::SeqCst) == 0).then_some(1 << 20),
        move |asked| {
            (asked.method == "GET" && lost.fetch_add(1, Ordering::SeqCst) == 0)
                .then(|| Reply::json(404, "{}"))
        },
    );
    answer.unwrap();
    assert!(server.lines().iter().filter(|line| line.starts_with("POST")).count() > 2);
}

#[test]
fn a_limit_on_requests_makes_chunks() {
    // Three megabytes go as one request, as four, or not at all: nobody means images who allows less.
    for (limit, is_enough, requests) in [(SIZE, true, 1), (SIZE / 2, true, 1 + 4), (100_000, false, 2)] {
        let uploads = Arc::new(Uploads::default());
        let (answer, server) = push_layer(
            &uploads,
            |_| None,
            move |asked| (asked.method == "PATCH" && asked.body.len() > limit).then(|| Reply::new(413, "")),
        );
        let patches = server.lines().iter().filter(|line| line.starts_with("PATCH")).count();
        assert_eq!((answer.is_ok(), patches), (is_enough, requests));
    }
}

#[test]
fn a_lost_answer_to_the_last_request_is_no_failure() {
    let uploads = Arc::new(Uploads::default());
    let (turn, there) = (Arc::new(AtomicUsize::new(0)), uploads.clone());
    let count = turn.clone();
    let (answer, _) = push_layer(
        &uploads,
        |_| None,
        move |asked| {
            let is_last = asked.method == "PUT" && asked.path().starts_with("/up/") && asked.body.is_empty();
            if is_last && count.fetch_add(1, Ordering::SeqCst) == 0 {
                there.commit(asked);
                return Some(Reply::new(502, ""));
            }
            let is_there = asked.method == "HEAD" && count.load(Ordering::SeqCst) > 0;
            is_there.then(|| Reply::new(200, ""))
        },
    );
    answer.unwrap();
    assert_eq!(turn.load(Ordering::SeqCst), 1, "what is there is not committed again");
}

#[test]
fn a_token_that_ends_and_an_upload_that_moves_are_followed() {
    let tokens = Server::start(|_| Reply::json(200, r#"{"token":"t"}"#));
    let realm = format!(r#"Bearer realm="http://{}/""#, tokens.host());
    let moved = AtomicUsize::new(0);
    let uploads = Arc::new(Uploads::default());
    let (answer, server) = push_layer(
        &uploads,
        |_| None,
        move |asked| match (asked.method.as_str(), asked.header("authorization")) {
            ("PATCH", None) => Some(Reply::json(401, "{}").header("WWW-Authenticate", realm.clone())),
            ("PATCH", Some(_)) if moved.fetch_add(1, Ordering::SeqCst) == 0 => {
                Some(Reply::new(307, "").header("Location", "/elsewhere?x=y"))
            }
            _ => None,
        },
    );
    answer.unwrap();
    let patches = server.asked().into_iter().filter(|a| a.method == "PATCH");
    let seen: Vec<_> = patches.map(|a| (a.path().to_owned(), a.header("authorization").is_some())).collect();
    let (first, then) = ("/up/1".to_owned(), "/up/1".to_owned());
    assert_eq!(seen, [(first, false), (then.clone(), true), (then, true)]);
    assert!(server.lines().iter().any(|line| line == "GET /elsewhere?x=y"), "{:?}", server.lines());
}

#[test]
fn a_registry_that_does_not_count_is_believed_at_the_end() {
    let uploads = Arc::new(Uploads::default());
    let there = uploads.clone();
    let (answer, server) = push_layer(
        &uploads,
        |_| None,
        move |asked| {
            let is_patch = asked.method == "PATCH";
            is_patch.then(|| {
                there.answer(asked);
                Reply::new(202, "").header("Location", "/up/1").header("Range", "0-0")
            })
        },
    );
    answer.unwrap();
    assert_eq!(server.lines().iter().filter(|line| line.starts_with("PATCH")).count(), 1);
}

#[test]
fn refusals_are_told() {
    for (method, reply, kind, words) in [
        (
            "POST",
            Reply::json(403, r#"{"errors":[{"code":"DENIED","message":"no"}]}"#),
            Kind::Denied,
            "push access to",
        ),
        ("POST", Reply::new(202, ""), Kind::Invalid, "without saying where"),
        ("POST", Reply::json(507, "{}"), Kind::Unavailable, "status 507"),
        ("PATCH", Reply::new(500, ""), Kind::Unavailable, "status 500"),
        (
            "PATCH",
            Reply::new(202, "").header("Range", "0-99999999"),
            Kind::Invalid,
            "more bytes than we sent",
        ),
        (
            "PUT",
            Reply::json(400, r#"{"errors":[{"code":"DIGEST_INVALID","message":"no"}]}"#),
            Kind::Invalid,
            "digest invalid: no",
        ),
    ] {
        let uploads = Arc::new(Uploads::default());
        let (answer, _) = push_layer(
            &uploads,
            |_| None,
            move |asked| {
                (asked.method == method && !asked.path().contains("manifests")).then(|| reply.clone())
            },
        );
        let error = answer.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(words), "{error} should say {words}");
    }
}

#[test]
fn a_manifest_that_becomes_another_is_told() {
    let uploads = Arc::new(Uploads::default());
    let other = Digest::of(b"other");
    let (answer, _) = push_layer(
        &uploads,
        |_| None,
        move |asked| {
            let is_manifest = asked.method == "PUT" && asked.path().contains("/manifests/");
            is_manifest.then(|| Reply::new(201, "").header("Docker-Content-Digest", other.as_str()))
        },
    );
    assert_eq!(answer.unwrap_err().kind(), Kind::Corrupt);
    let image = Memory::image(1, &[10]);
    let wrong = reference("127.0.0.1:1", "app").with_digest(Digest::of(b"x"));
    assert_eq!(push(&quick(), &image, &wrong).unwrap_err().kind(), Kind::Unavailable);
}
