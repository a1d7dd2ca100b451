//! Proxies: what goes through them, and what they say no to.

use crate::push_pull::reference;
use crate::server::{Reply, Server};
use berth_distribution::{Client, MirrorFiles, Pause, Proxies, Settings};
use berth_oci::Kind;
use std::fs;

/// A client for `registry.example`, which only the proxy can reach, over plain HTTP.
fn client(directory: &tempfile::TempDir, proxy: &str, no_proxy: &str) -> Client {
    let own = directory.path().join("berth.toml");
    fs::write(&own, "[[mirror]]\nfor = 'registry.example'\nlocation = 'http://registry.invalid:5000'\n")
        .unwrap();
    Client::new(Settings {
        mirrors: MirrorFiles { own: Some(own), ..MirrorFiles::default() },
        proxies: Proxies {
            http: Some(proxy.to_owned()),
            https: Some(proxy.to_owned()),
            no_proxy: no_proxy.to_owned(),
        },
        pause: Pause::new(|_| {}),
        ..Settings::default()
    })
}

#[test]
fn a_proxy_carries_the_request_and_gets_its_password() {
    let proxy = Server::start(|asked| match asked.method.as_str() {
        // No body follows: what comes next on this connection is for the registry.
        "CONNECT" => Reply { headers: Vec::new(), ..Reply::new(200, "") },
        _ => {
            let digest = format!("sha256:{}", "a".repeat(64));
            let reply = Reply { headers: vec![("Content-Length".into(), "7".into())], ..Reply::new(200, "") };
            reply
                .header("Docker-Content-Digest", digest)
                .header("Content-Type", "application/vnd.oci.image.index.v1+json")
        }
    });
    let directory = tempfile::tempdir().unwrap();
    let address = format!("http://me:p%40ss@{}", proxy.host());
    let found = client(&directory, &address, "").head(&reference("registry.example", "a/b:v1")).unwrap();
    assert_eq!(found.size, 7);
    assert_eq!(proxy.lines(), ["CONNECT registry.invalid:5000", "HEAD /v2/a/b/manifests/v1"]);
    // base64 of `me:p@ss`
    assert_eq!(proxy.asked()[0].header("proxy-authorization"), Some("Basic bWU6cEBzcw=="));
    assert_eq!(proxy.asked()[1].header("proxy-authorization"), None);
}

#[test]
fn a_proxy_that_refuses_or_is_not_there_is_told() {
    let proxy = Server::start(|_| Reply::new(407, ""));
    let directory = tempfile::tempdir().unwrap();
    for (address, no_proxy, kind, words) in [
        (format!("http://me:s3cret@{}", proxy.host()), "", Kind::Unavailable, "the proxy did not connect us"),
        (
            "http://me:s3cret@127.0.0.1:1".to_owned(),
            "",
            Kind::Unavailable,
            "cannot get through the proxy 127.0.0.1:1: ",
        ),
        ("gopher://me:s3cret@x".to_owned(), "", Kind::Invalid, "address of the proxy is malformed"),
        (
            format!("http://{}", proxy.host()),
            "registry.invalid,.example",
            Kind::Unavailable,
            "cannot resolve host",
        ),
    ] {
        let error =
            client(&directory, &address, no_proxy).head(&reference("registry.example", "a")).unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        let text = format!("{error:?}");
        assert!(text.contains(words) && !text.contains("s3cret"), "{text}");
    }
}
