//! Tables: a name and some configuration in, a plan out, one line an endpoint.

use super::*;
use crate::http::Scheme;

const DIGEST: &str = "@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// `https+http registry/v2/repository [tags digests] (what else)`.
fn line(endpoint: &Endpoint) -> String {
    let schemes: Vec<&str> = endpoint.schemes.iter().map(|s: &Scheme| s.as_str()).collect();
    let mut line =
        format!("{} {}{}{}", schemes.join("+"), endpoint.authority, endpoint.base, endpoint.repository);
    for (is_so, word) in [
        (!endpoint.tags, " -tags"),
        (!endpoint.digests, " -digests"),
        (endpoint.tls.skip_verify, " unverified"),
    ] {
        line.push_str(if is_so { word } else { "" });
    }
    if let Some(namespace) = &endpoint.namespace {
        line.push_str(&format!(" ns={namespace}"));
    }
    line
}

struct Files(tempfile::TempDir, Settings);

impl Files {
    /// Files by name: `own`, `registries.conf`, `registries.conf.d/x.conf`, `daemon.json`, `hosts/<host>/hosts.toml`.
    fn new(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for (name, text) in files {
            fs::create_dir_all(at(name).parent().unwrap()).unwrap();
            fs::write(at(name), text).unwrap();
        }
        let mirrors = MirrorFiles {
            own: Some(at("own")),
            registries_conf: vec![at("registries.conf"), at("registries.conf.d")],
            daemon_json: Some(at("daemon.json")),
            hosts_directories: vec![at("hosts")],
        };
        Self(directory, Settings { mirrors, insecure: vec!["lan.example".into()], ..Settings::default() })
    }

    fn plan(&self, name: &str) -> String {
        match plan(&name.parse().unwrap(), &self.1, |host| host == "localhost:5001") {
            Ok(plan) => plan.iter().map(line).collect::<Vec<_>>().join(" | "),
            Err(error) => self.without_directory(&error.to_string()),
        }
    }

    fn primary(&self, name: &str) -> String {
        match primary(&name.parse().unwrap(), &self.1, |_| false) {
            Ok(endpoint) => line(&endpoint),
            Err(error) => self.without_directory(&error.to_string()),
        }
    }

    fn without_directory(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.0.path().display()), "")
    }
}

#[test]
fn without_configuration_there_is_the_registry() {
    let files = Files::new(&[]);
    for (name, expected) in [
        ("nginx", "https registry-1.docker.io/v2/library/nginx"),
        ("quay.io/a/b", "https quay.io/v2/a/b"),
        ("localhost:5000/a", "http+https localhost:5000/v2/a unverified"),
        ("127.9.9.9:5000/a", "http+https 127.9.9.9:5000/v2/a unverified"),
        ("[::1]:5000/a", "http+https [::1]:5000/v2/a unverified"),
        ("localhost:5001/a", "https localhost:5001/v2/a"),
        ("lan.example/a", "https+http lan.example/v2/a unverified"),
        ("lan.example:5000/a", "https+http lan.example:5000/v2/a unverified"),
    ] {
        assert_eq!(files.plan(name), expected);
    }
}

#[test]
fn our_own_mirrors_are_for_any_registry() {
    let files = Files::new(&[(
        "own",
        "[storage]\nbudget = 4\n[[mirror]]\nfor = 'docker.io'\nlocation = 'http://m1:5000/hub'\n\
         [[mirror]]\nfor = 'docker.io/me'\nlocation = 'm2'\ninsecure = true\n\
         [[mirror]]\nfor = '*.example.com'\nlocation = 'm3/all/'\ntags = false\n[[mirror]]\nfor = '*'\nlocation = 'any'\n",
    )]);
    for (name, expected) in [
        (
            "nginx",
            "http m1:5000/v2/hub/library/nginx | https any/v2/library/nginx | https registry-1.docker.io/v2/library/nginx",
        ),
        (
            "me/app",
            "http m1:5000/v2/hub/me/app | https+http m2/v2/app unverified | https any/v2/me/app | https registry-1.docker.io/v2/me/app",
        ),
        ("a.example.com/x", "https m3/v2/all/x -tags | https any/v2/x | https a.example.com/v2/x"),
    ] {
        assert_eq!(files.plan(name), expected);
        assert_eq!(
            files.primary(name),
            expected.rsplit(" | ").next().unwrap(),
            "nothing else goes to a mirror"
        );
    }
    assert!(
        Files::new(&[("own", "[[mirror]]\nfor='x'\nlocation='ftp://y'")]).plan("nginx").contains("ftp://y")
    );
    let typo = Files::new(&[("own", "[[mirror]]\nfor='x'\nlocation='y'\ninsecur=true")]).plan("nginx");
    assert!(typo.starts_with("`own` is malformed") && typo.contains("insecur"), "{typo}");
}

#[test]
fn registries_conf_is_read_as_podman_reads_it() {
    let files = Files::new(&[
        (
            "registries.conf",
            "unqualified-search-registries = ['docker.io']\n\
             [[registry]]\nprefix = 'docker.io'\nlocation = 'docker.io'\n\
             [[registry.mirror]]\nlocation = 'm1:5000/hub'\n[[registry.mirror]]\nlocation = 'm2'\ninsecure = true\npull-from-mirror = 'digest-only'\n\
             [[registry.mirror]]\nlocation = 'm3'\npull-from-mirror = 'tag-only'\n\
             [[registry]]\nprefix = 'docker.io/library'\nlocation = 'official.example/mirror'\nmirror-by-digest-only = true\n\
             [[registry.mirror]]\nlocation = 'm4'\n\
             [[registry]]\nlocation = 'evil.example'\nblocked = true\n\
             [[registry]]\nprefix = '*.corp.example'\ninsecure = true\n[[registry.mirror]]\nlocation = 'm5'\n\
             [[registry]]\nprefix = 'drop.example'\nlocation = 'first'\n",
        ),
        ("registries.conf.d/50-x.conf", "[[registry]]\nprefix = 'drop.example'\nlocation = 'second'"),
        ("registries.conf.d/README", "not TOML"),
    ]);
    for (name, expected) in [
        (
            "me/app",
            "https m1:5000/v2/hub/me/app | https+http m2/v2/me/app -tags unverified | https m3/v2/me/app -digests | https registry-1.docker.io/v2/me/app",
        ),
        ("nginx", "https m4/v2/nginx -tags | https official.example/v2/mirror/nginx"),
        ("evil.example/x", "evil.example/x is blocked by the configuration"),
        ("evil.example:5000/x", "https evil.example:5000/v2/x"),
        ("a.b.corp.example/x", "https m5/v2/x | https+http a.b.corp.example/v2/x unverified"),
        ("drop.example/x", "https second/v2/x"),
        ("drop.example.org/x", "https drop.example.org/v2/x"),
    ] {
        assert_eq!(files.plan(name), expected, "{name}");
    }
    assert_eq!(files.primary("nginx"), "https registry-1.docker.io/v2/library/nginx");
    assert_eq!(files.primary("a.corp.example/x"), "https+http a.corp.example/v2/x unverified");
    assert!(files.primary("evil.example/x").contains("blocked"));
    let both = "[[registry]]\nlocation='a'\nmirror-by-digest-only=true\n[[registry.mirror]]\nlocation='b'\npull-from-mirror='all'";
    let said = Files::new(&[("registries.conf", &both.replace("='a'", "='quay.io'"))]).plan("quay.io/x");
    assert!(said.contains("registries.conf") && said.contains("cannot be set together"), "{said}");
}

#[test]
fn dockers_mirrors_are_for_docker_hub() {
    let files = Files::new(&[(
        "daemon.json",
        r#"{"registry-mirrors":["https://m1/","http://m2:5000","m3"],"insecure-registries":["10.0.0.0/8","m3"],"debug":true}"#,
    )]);
    for (name, expected) in [
        (
            "nginx",
            "https m1/v2/library/nginx | http m2:5000/v2/library/nginx | https+http m3/v2/library/nginx unverified | https registry-1.docker.io/v2/library/nginx",
        ),
        ("quay.io/x", "https quay.io/v2/x"),
        ("10.1.2.3:5000/x", "https+http 10.1.2.3:5000/v2/x unverified"),
    ] {
        assert_eq!(files.plan(name), expected);
    }
    assert!(
        Files::new(&[("daemon.json", r#"{"registry-mirrors":["https://m/p"]}"#)])
            .plan("x")
            .contains("has a path")
    );
    assert!(Files::new(&[("daemon.json", "{")]).plan("x").starts_with("`daemon.json` is malformed"));
}

#[test]
fn hosts_toml_is_read_as_containerd_reads_it() {
    let files = Files::new(&[
        (
            "hosts/docker.io/hosts.toml",
            "server = 'https://registry-1.docker.io'\n[host.'https://z.mirror']\ncapabilities = ['pull']\n\
             [host.'http://a.mirror:5000']\ncapabilities = ['pull', 'resolve', 'push']\n\
             [host.'https://harbor/v2/proxy']\noverride_path = true\nskip_verify = true\ndial_timeout = '1m30s'\n\
             [host.'https://harbor/v2/proxy'.header]\nx-key = ['a', 'b']\n[host.'https://push.only']\ncapabilities = ['push']\n",
        ),
        (
            "hosts/reg.example_5000_/hosts.toml",
            "server = 'https://other.example/deep'\nca = 'ca.pem'\nclient = [['c.pem', '/k.pem']]\n[host.'https://m']\n",
        ),
        ("hosts/_default/hosts.toml", "[host.'https://cache']"),
    ]);
    for (name, expected) in [
        (
            "nginx",
            "https z.mirror/v2/library/nginx -tags ns=docker.io | http a.mirror:5000/v2/library/nginx ns=docker.io | \
             https+http harbor/v2/proxy/library/nginx unverified ns=docker.io | https registry-1.docker.io/v2/library/nginx",
        ),
        (
            "reg.example:5000/x",
            "https m/v2/x ns=reg.example:5000 | https other.example/deep/v2/x ns=reg.example:5000",
        ),
        ("quay.io/x", "https cache/v2/x ns=quay.io | https quay.io/v2/x"),
    ] {
        assert_eq!(files.plan(name), expected);
    }
    let plan = plan(&"nginx".parse().unwrap(), &files.1, |_| false).unwrap();
    assert_eq!(plan[2].headers, [("x-key".to_owned(), "a".to_owned()), ("x-key".to_owned(), "b".to_owned())]);
    assert_eq!(plan[2].dial_timeout.unwrap().as_secs(), 90);
    let server = primary(&"reg.example:5000/x".parse().unwrap(), &files.1, |_| false).unwrap();
    let directory = files.0.path().join("hosts/reg.example_5000_");
    assert_eq!(server.tls.authorities, [directory.join("ca.pem")]);
    assert_eq!(server.tls.identities, [(directory.join("c.pem"), "/k.pem".into())]);
    for (text, expected) in [
        ("[host.'https://m']\ndial_timeout='soon'", "`soon` is not a time"),
        ("[host.'https://m']\nclient=7", "`client` should be"),
        ("server='a b'", "`a b` is not the address"),
    ] {
        let said = Files::new(&[("hosts/_default/hosts.toml", text)]).plan("nginx");
        assert!(said.contains(expected) && said.contains("hosts.toml"), "{said}");
    }
}

#[test]
fn all_kinds_add_up_and_nobody_is_asked_twice() {
    let files = Files::new(&[
        ("own", "[[mirror]]\nfor = 'docker.io'\nlocation = 'm1'"),
        ("registries.conf", "[[registry]]\nlocation = 'docker.io'\n[[registry.mirror]]\nlocation = 'm2'"),
        ("daemon.json", r#"{"registry-mirrors":["https://m1","https://m3"]}"#),
    ]);
    assert_eq!(
        files.plan(&format!("nginx{DIGEST}")),
        "https m1/v2/library/nginx | https m2/v2/library/nginx | https m3/v2/library/nginx | https registry-1.docker.io/v2/library/nginx"
    );
}
