//! Registries that answer wrongly, slowly, or not at all, while an image is pulled.

use crate::image::{Memory, noise};
use crate::push_pull::{pull, reference};
use crate::server::{Asked, End, Reply, Server};
use berth_distribution::{Client, Pause, Settings, Timeouts};
use berth_oci::{BlobState, Descriptor, Event, Kind, Manifest, Silent, Source, media_type};
use std::io::Read;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

/// A client that notes its pauses in place of spending them.
pub(crate) fn patient(stall: Duration) -> (Client, Arc<Mutex<Duration>>) {
    let waited = Arc::new(Mutex::new(Duration::ZERO));
    let note = waited.clone();
    let settings = Settings {
        timeouts: Timeouts { stall, ..Timeouts::default() },
        pause: Pause::new(move |time| *note.lock().unwrap() += time),
        ..Settings::default()
    };
    (Client::new(settings), waited)
}

pub(crate) fn quick() -> Client {
    patient(Duration::from_secs(10)).0
}

pub(crate) fn manifest_reply(manifest: &Manifest) -> Reply {
    Reply::new(200, manifest.raw())
        .header("Content-Type", manifest.media_type())
        .header("Docker-Content-Digest", manifest.digest().as_str())
}

/// What a well-behaved registry answers for an image.
pub(crate) fn honest(image: &Memory, asked: &Asked) -> Reply {
    let last = asked.path().rsplit('/').next().unwrap();
    let is_manifest = asked.path().contains("/manifests/");
    match last.parse() {
        Ok(digest) if !is_manifest => match image.blobs.lock().unwrap().get(&digest) {
            Some(bytes) => Reply::part(asked, bytes),
            None => Reply::json(404, r#"{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown"}]}"#),
        },
        Ok(digest) => match image.manifests.lock().unwrap().get(&digest) {
            Some(manifest) => manifest_reply(manifest),
            None => {
                Reply::json(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#)
            }
        },
        Err(_) if is_manifest => manifest_reply(&image.root().unwrap()),
        Err(_) => Reply::new(200, ""),
    }
}

fn error_of(reply: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> (Kind, String, usize) {
    let server = Server::start(reply);
    let error = pull(&quick(), &reference(&server.host(), "app:v1"), &Silent).err().unwrap();
    (error.kind(), format!("{error:?}"), server.asked().len())
}

#[test]
fn wrong_answers_to_a_manifest_are_told() {
    let image = Memory::image(1, &[10]);
    let good = image.root().unwrap();
    let other = Memory::image(2, &[10]).root().unwrap();
    let wrong_digest = Reply::new(200, other.raw())
        .header("Content-Type", other.media_type())
        .header("Docker-Content-Digest", good.digest().as_str());
    let endless = Reply { headers: Vec::new(), end: End::Close, ..Reply::new(200, noise(1, 5 << 20)) };
    let huge = Reply { body: Vec::new(), ..Reply::new(200, "").header("X", "y") };
    let huge = Reply { headers: vec![("Content-Length".into(), "99999999999".into())], ..huge };
    let loops = |location: &str| Reply::new(307, "").header("Location", location);
    for (reply, kind, words, requests) in [
        (
            Reply::new(200, "<!doctype html>").header("Content-Type", "text/html; charset=utf-8"),
            Kind::Invalid,
            "web page",
            1,
        ),
        (Reply::new(200, "<html>"), Kind::Invalid, "got a web page", 1),
        (
            Reply::new(502, "<html>").header("Content-Type", "text/html"),
            Kind::Unavailable,
            "status 502 with a web page",
            6,
        ),
        (wrong_digest, Kind::Corrupt, "has other bytes", 1),
        (endless, Kind::Invalid, "is larger than 4194304 bytes", 1),
        (huge, Kind::Invalid, "is larger than 4194304 bytes", 1),
        (Reply::new(200, r#"{"schemaVersion":1,"fsLayers":[]}"#), Kind::Unsupported, "schema 1", 1),
        (Reply::new(200, "{}"), Kind::Invalid, "schemaVersion", 1),
        (manifest_reply(&good).cut(50, End::Close), Kind::Unavailable, "closed the connection early", 6),
        (loops("/v2/app/manifests/v1"), Kind::Invalid, "redirects more than 10 times", 11),
        (loops("ftp://elsewhere/"), Kind::Invalid, "redirects to nowhere", 1),
        (Reply::new(307, ""), Kind::Invalid, "without saying where", 1),
        (
            Reply::json(403, r#"{"errors":[{"code":"DENIED","message":"no\u001b[31m way"}]}"#),
            Kind::Denied,
            "repository does not exist or may require 'docker login': denied: no[31m way",
            1,
        ),
        (Reply::json(401, "{}"), Kind::Unauthorized, "pull access denied for 127.0.0.1:", 1),
        (
            Reply::json(429, r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}"#)
                .header("Retry-After", "90"),
            Kind::Unavailable,
            "toomanyrequests: slow down (hint: http://127.0.0.1:",
            6,
        ),
        (
            Reply::json(429, r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"for hours"}]}"#),
            Kind::Unavailable,
            "for hours",
            3,
        ),
        (Reply::new(418, "teapot"), Kind::Invalid, "teapot", 1),
    ] {
        let (found, text, asked) = error_of(move |_| reply.clone());
        assert_eq!((found, asked), (kind, requests), "{text}");
        assert!(text.contains(words), "{text} should say {words}");
    }
}

#[test]
fn what_is_not_http_is_told() {
    for answer in ["SSH-2.0-OpenSSH_9.9\r\n", "", "HTTP/1.1 banana\r\n\r\n"] {
        let reply = Reply { status: 0, body: answer.into(), ..Reply::default() };
        let (kind, text, _) = error_of(move |_| reply.clone());
        assert_eq!(kind, Kind::Unavailable, "{text}");
        assert!(text.contains("http://127.0.0.1:"), "{text}");
    }
}

#[test]
fn nobody_there_is_told() {
    let address = Server::start(|_| Reply::new(200, "")).host();
    let error = quick().head(&reference(&address, "app")).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.to_string().contains(&format!("http://{address} refused the connection")), "{error}");
    let error = quick().head(&reference("nosuch.invalid", "app")).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.to_string().contains("cannot resolve host `nosuch.invalid`"), "{error}");
    assert!(error.hint_text().unwrap().contains("/etc/resolv.conf"), "{error:?}");
}

/// Pulls a layer that `twist` makes hard to get; the bytes, the time waited, and what was reported.
fn layer_through(
    size: usize,
    stall: Duration,
    twist: impl Fn(&Asked, usize, Reply) -> Reply + Send + Sync + 'static,
) -> (Result<(), berth_oci::Error>, Duration, Vec<BlobState>, Server) {
    let image = Arc::new(Memory::image(1, &[size]));
    let layer = image.layer();
    let (name, tries, origin) = (layer.digest.clone(), AtomicUsize::new(0), image.clone());
    let server = Server::start(move |asked| {
        let reply = honest(&origin, asked);
        match asked.target.contains(name.as_str()) {
            true => twist(asked, tries.fetch_add(1, Ordering::SeqCst), reply),
            false => reply,
        }
    });
    let (client, waited) = patient(stall);
    let states = Mutex::new(Vec::new());
    let watch = |event: Event<'_>| {
        if let Event::Blob { state, .. } = event {
            states.lock().unwrap().push(state);
        }
        ControlFlow::Continue(())
    };
    let answer = pull(&client, &reference(&server.host(), "app:v1"), &watch).map(|back| {
        assert_eq!(back.blobs.lock().unwrap()[&layer.digest], image.blobs.lock().unwrap()[&layer.digest]);
    });
    let (waited, states) = (*waited.lock().unwrap(), states.into_inner().unwrap());
    (answer, waited, states, server)
}

#[test]
fn a_blob_that_breaks_off_goes_on_where_it_was() {
    let size = 3 << 20;
    // Ten places, different with each run of the test, in ascending order.
    let seed = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let mut places: Vec<usize> = noise(seed, 80)
        .chunks(8)
        .map(|b| u64::from_le_bytes(b.try_into().unwrap()) as usize % size)
        .collect();
    places.sort_unstable();
    places.dedup();
    let (cuts, breaks) = (places.clone(), places.len());
    let (answer, _, states, server) =
        layer_through(size, Duration::from_secs(10), move |asked, turn, reply| {
            let start = asked.range().map_or(0, |(first, _)| first);
            match cuts.get(turn) {
                Some(cut) => reply.cut(cut - start, End::Close),
                None => reply,
            }
        });
    answer.unwrap_or_else(|e| panic!("{e:?}, breaking off at {places:?}"));
    assert!(states.iter().any(|s| matches!(s, BlobState::Retrying { .. })));
    assert_eq!(server.asked().len(), 2 + breaks + 1, "{places:?}");
    let manifest_and_config = 2000;
    assert!(server.body_bytes() <= size as u64 + manifest_and_config, "a byte was sent twice: {places:?}");
}

#[test]
fn a_stuck_body_is_left_and_fetched_elsewhere() {
    let (answer, _, states, server) =
        layer_through(500_000, Duration::from_millis(300), |_, turn, reply| match turn {
            0 => reply.cut(200_000, End::Stall),
            _ => reply,
        });
    answer.unwrap();
    let reason = states.iter().find_map(|s| match s {
        BlobState::Retrying { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    assert!(reason.unwrap().contains("sent nothing for too long"));
    assert!(server.body_bytes() < 502_000);
}

#[test]
fn a_busy_registry_is_given_the_time_it_asks_for() {
    for status in [429, 503] {
        let (answer, waited, states, _) =
            layer_through(1000, Duration::from_secs(10), move |_, turn, reply| match turn {
                0 | 1 => Reply::new(status, "").header("Retry-After", "7"),
                _ => reply,
            });
        answer.unwrap();
        assert_eq!(waited, Duration::from_secs(14));
        assert!(
            states.iter().any(|s| matches!(s, BlobState::Retrying { attempt: 2, wait_ms: 7000, .. })),
            "{states:?}"
        );
    }
}

#[test]
fn patience_ends() {
    let (answer, waited, _, server) = layer_through(1000, Duration::from_secs(10), |_, _, _| {
        Reply::new(500, "").header("Retry-After", "1")
    });
    assert_eq!(answer.unwrap_err().kind(), Kind::Unavailable);
    assert_eq!((waited.as_secs(), server.asked().len()), (5, 1 + 1 + 6));
}

#[test]
fn a_server_without_ranges_is_read_from_the_start() {
    let image = Memory::image(1, &[300_000]);
    let whole = image.blobs.lock().unwrap()[&image.layer().digest].clone();
    let (answer, _, _, _) = layer_through(300_000, Duration::from_secs(10), move |_, turn, _| match turn {
        0 => Reply::new(200, whole.clone()).cut(100_000, End::Close),
        _ => Reply::new(200, whole.clone()),
    });
    answer.unwrap();
}

#[test]
fn a_chunked_body_that_is_cut_goes_on() {
    let image = Memory::image(1, &[300_000]);
    let whole = image.blobs.lock().unwrap()[&image.layer().digest].clone();
    let (answer, _, _, _) =
        layer_through(300_000, Duration::from_secs(10), move |_, turn, reply| match turn {
            0 => {
                let mut body = format!("{:x}\r\n", 200_000).into_bytes();
                body.extend_from_slice(&whole[..150_000]);
                let headers = vec![("Transfer-Encoding".to_owned(), "chunked".to_owned())];
                Reply { status: 200, headers, body, end: End::Close }
            }
            _ => reply,
        });
    answer.unwrap();
}

#[test]
fn wrong_blobs_are_told() {
    for (twist, kind, words) in [
        ("short", Kind::Corrupt, "the registry has 999 bytes for blob"),
        ("other", Kind::Corrupt, "has other bytes"),
        ("range", Kind::Invalid, "another range than asked"),
        ("html", Kind::Invalid, "web page"),
        ("gone", Kind::NotFound, "is not in 127.0.0.1:"),
    ] {
        let (answer, _, _, _) =
            layer_through(1000, Duration::from_secs(10), move |_, turn, reply| match twist {
                "short" => Reply::new(200, noise(9, 999)),
                "other" => Reply::new(200, noise(9, 1000)),
                "range" if turn == 0 => reply.cut(100, End::Close),
                "range" => Reply::new(206, "x").header("Content-Range", "bytes 0-0/1000"),
                "html" => Reply::new(200, "<html>").header("Content-Type", "text/html"),
                _ => Reply::json(404, r#"{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown"}]}"#),
            });
        let error = answer.unwrap_err();
        assert_eq!(error.kind(), kind, "{twist}: {error}");
        assert!(error.to_string().contains(words), "{twist}: {error}");
    }
}

#[test]
fn whoever_looks_can_stop_a_pause() {
    let image = Memory::image(1, &[1000]);
    let layer = image.layer();
    let server = Server::start(|_| Reply::new(503, "").header("Retry-After", "60"));
    let stop = |_: Event<'_>| ControlFlow::Break(());
    let (client, waited) = patient(Duration::from_secs(10));
    let source = client.source(&reference(&server.host(), "app"), &stop).unwrap();
    assert_eq!(source.blob(&layer, 0).err().unwrap().kind(), Kind::Cancelled);
    assert_eq!((*waited.lock().unwrap(), server.asked().len()), (Duration::ZERO, 1));
}

#[test]
fn a_redirected_blob_takes_no_password_along() {
    let bytes = noise(1, 1000);
    let (content, body) = (Descriptor::of(media_type::OCI_LAYER, &bytes), bytes.clone());
    let cdn = Server::start(move |asked| Reply::part(asked, &body));
    let elsewhere = format!("http://localhost:{}/x?signature=s3cr3t", cdn.address.port());
    let registry = Server::start(move |asked| match asked.header("authorization") {
        Some(_) => Reply::new(307, "").header("Location", elsewhere.clone()),
        None => Reply::json(401, "{}").header("WWW-Authenticate", "Basic realm=\"x\""),
    });
    let directory = tempfile::tempdir().unwrap();
    let client = crate::auth::logged_in(&directory, &registry.host(), "me", "pw");
    let source = client.source(&reference(&registry.host(), "app"), &Silent).unwrap();
    let mut found = Vec::new();
    source.blob(&content, 100).unwrap().read_to_end(&mut found).unwrap();
    assert_eq!(found, bytes[100..]);
    assert_eq!(cdn.lines(), ["GET /x?signature=s3cr3t"]);
    assert_eq!(cdn.asked()[0].header("authorization"), None);
    assert_eq!(cdn.asked()[0].header("range"), Some("bytes=100-"));
}

#[test]
fn one_connection_does_for_a_whole_pull() {
    let image = Memory::image(1, &[1000, 300_000]);
    let tokens = Server::start(|_| Reply::json(200, r#"{"token":"t"}"#));
    let realm = format!(r#"Bearer realm="http://{}/""#, tokens.host());
    let registry = Server::start(move |asked| match (asked.header("authorization"), asked.target.as_str()) {
        (None, _) => Reply::json(401, r#"{"errors":[]}"#).header("WWW-Authenticate", realm.clone()),
        (_, "/moved") => {
            honest(&image, &Asked { target: "/v2/app/manifests/v1".to_owned(), ..asked.clone() })
        }
        (_, target) if target.contains("manifests") => Reply::new(307, "moved").header("Location", "/moved"),
        _ => honest(&image, asked),
    });
    let client = quick();
    let source = client.source(&reference(&registry.host(), "app:v1"), &Silent).unwrap();
    for blob in source.root().unwrap().blobs() {
        source.blob(blob, 0).unwrap().read_to_end(&mut Vec::new()).unwrap();
    }
    assert_eq!((registry.connections(), registry.asked().len()), (1, 3 + 3));
}

#[test]
fn a_small_blob_may_come_with_its_descriptor() {
    let server = Server::start(|_| Reply::new(500, ""));
    let client = quick();
    let source = client.source(&reference(&server.host(), "app"), &Silent).unwrap();
    let mut descriptor = Descriptor::of(media_type::OCI_EMPTY, b"{}");
    descriptor.data = Some("e30=".to_owned());
    let mut found = String::new();
    source.blob(&descriptor, 1).unwrap().read_to_string(&mut found).unwrap();
    assert_eq!((found.as_str(), server.asked().len()), ("}", 0));
    descriptor.data = Some("e31=".to_owned());
    assert!(source.blob(&descriptor, 0).is_err(), "wrong data is no data");
}

#[test]
fn foreign_layers_come_from_their_own_address() {
    let bytes = noise(1, 1000);
    let (mut descriptor, body) = (Descriptor::of(media_type::OCI_LAYER, &bytes), bytes.clone());
    let elsewhere = Server::start(move |asked| Reply::part(asked, &body));
    let registry = Server::start(|_| Reply::json(404, "{}"));
    descriptor.urls = vec!["ftp://nowhere/".into(), format!("http://{}/layer", elsewhere.host())];
    let client = quick();
    let source = client.source(&reference(&registry.host(), "app"), &Silent).unwrap();
    let mut found = Vec::new();
    source.blob(&descriptor, 0).unwrap().read_to_end(&mut found).unwrap();
    assert_eq!(found, bytes);
}

#[test]
fn a_large_blob_comes_over_several_connections() {
    let size = 80 << 20;
    let image = Arc::new(Memory::image(1, &[size]));
    let (layer, origin) = (image.layer(), image.clone());
    let (count, pair) = (Arc::new(AtomicUsize::new(0)), Arc::new(Barrier::new(2)));
    let parallel = count.clone();
    let server = Server::start(move |asked| {
        let reply = honest(&origin, asked);
        let is_small =
            asked.range().is_some_and(|(first, last)| last.is_some_and(|last| last - first < 4 << 20));
        match is_small.then(|| parallel.fetch_add(1, Ordering::SeqCst)) {
            // The first two wait for each other: they come over different connections.
            Some(0 | 1) => {
                pair.wait();
                reply
            }
            // Another breaks in the middle of its range.
            Some(5) => reply.cut(1 << 20, End::Close),
            _ => reply,
        }
    });
    let settings = Settings { fast_link: u64::MAX, ..Settings::default() };
    let client = Client::new(settings);
    let source = client.source(&reference(&server.host(), "app"), &Silent).unwrap();
    let mut found = vec![0; size];
    let mut reader = source.blob(&layer, 0).unwrap();
    reader.read_exact(&mut found).unwrap();
    assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    assert!(found == image.blobs.lock().unwrap()[&layer.digest]);
    assert_eq!(server.body_bytes(), size as u64);
    // One for the beginning, four in parallel, one in place of the broken one.
    assert!(server.connections() <= 6, "{}", server.connections());
    assert!(server.most_open() <= 4, "{}", server.most_open());
    assert!(count.load(Ordering::SeqCst) > 5, "{count:?}");
}

#[test]
fn a_limit_is_told_once() {
    let image = Memory::image(1, &[10]);
    let server = Server::start(move |asked| {
        honest(&image, asked)
            .header("RateLimit-Limit", "100;w=21600")
            .header("RateLimit-Remaining", "76;w=21600")
    });
    let notes = Mutex::new(Vec::new());
    let watch = |event: Event<'_>| {
        if let Event::Note(text) = event {
            notes.lock().unwrap().push(text.to_owned());
        }
        ControlFlow::Continue(())
    };
    pull(&quick(), &reference(&server.host(), "app"), &watch).unwrap();
    assert_eq!(*notes.lock().unwrap(), [format!("{}: 76 of 100 pulls left in 6 hours", server.host())]);
}

#[test]
fn a_search_is_docker_hubs() {
    let answer = r#"{"num_results":2,"query":"nginx","results":[
        {"name":"library/nginx","description":"Official build","star_count":7,"is_official":true,"is_automated":false},
        {"name":"me/nginx","description":null,"star_count":0,"is_official":false},
        {"name":"me/third"}]}"#;
    let server = Server::start(move |_| Reply::json(200, answer));
    let found = quick().search(&server.host(), "nginx web", 2).unwrap();
    assert_eq!(server.lines(), ["GET /v1/search?q=nginx%20web&n=2"]);
    let shown: Vec<_> = found.iter().map(|r| (r.name.as_str(), r.star_count, r.is_official)).collect();
    assert_eq!(shown, [("nginx", 7, true), ("me/nginx", 0, false)]);
    let neither = Server::start(|_| Reply::new(404, "404 page not found"));
    let error = quick().search(&neither.host(), "x", 5).unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported);
    assert!(error.to_string().contains("neither a search nor a catalog"), "{error}");
}

#[test]
fn a_registry_without_head_is_asked_for_the_manifest() {
    let image = Memory::image(1, &[10]);
    let root = image.root().unwrap();
    let server = Server::start(move |asked| match asked.method.as_str() {
        "HEAD" => Reply::new(405, ""),
        _ => honest(&image, asked),
    });
    assert_eq!(quick().head(&reference(&server.host(), "app")).unwrap(), root.descriptor());
}

#[test]
fn lists_that_lead_away_or_never_end_are_left() {
    let page = r#"{"name":"app","tags":["a"]}"#;
    let server = Server::start(move |_| {
        Reply::json(200, page).header("Link", r#"<http://evil.example/x>; rel="next""#)
    });
    let error = quick().tags(&reference(&server.host(), "app")).unwrap_err();
    assert!(error.to_string().contains("on another server"), "{error}");
    let server = Server::start(move |asked| match asked.target.contains("last=b") {
        true => Reply::json(200, r#"{"tags":null}"#).header("Link", asked.target.clone()),
        false => Reply::json(200, page).header("Link", r#"</v2/app/tags/list?last=b>; rel=next"#),
    });
    assert_eq!(quick().tags(&reference(&server.host(), "app")).unwrap(), ["a"]);
}
