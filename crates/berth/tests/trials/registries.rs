//! Pull, push, manifest lists and Ctrl-C, against a registry in memory and against docker's where it is installed.

use super::support::{RealRegistry, Registry, Sealed, many_layers, skipped};
use std::process::Stdio;

#[test]
fn a_pull_speaks_dockers_lines() {
    let (berth, registry) = (Sealed::new(), Registry::start());
    let name = registry.add("lines", &many_layers(&["one".to_owned()], 50_000));
    let (repository, host) = (name.rsplit_once(':').unwrap().0, name.split('/').next().unwrap());
    let path = repository.strip_prefix(&format!("{host}/")).unwrap();
    let tag = name.rsplit_once(':').unwrap().1;
    let first = berth.ok(&["pull", &name]);
    let digest = berth.ok(&["images", "-q", "--no-trunc"]).trim().to_owned();
    let lines = |status: &str| {
        format!("{tag}: Pulling from {path}\nDigest: {digest}\nStatus: {status} {name}\n{name}\n")
    };
    assert_eq!(first, lines("Downloaded newer image for"));
    let sent = registry.sent();
    assert_eq!(berth.ok(&["pull", &name]), lines("Image is up to date for"));
    assert_eq!(registry.sent(), sent, "a known image fetches no blob");
    assert_eq!(berth.ok(&["pull", "-q", &name]), format!("{name}\n"));
    let json = berth.ok(&["--progress", "json", "pull", &name]);
    assert!(json.lines().all(|line| line == name || line.starts_with("{\"status\":")), "{json}");
    let missing = berth.run(&["pull", &format!("{host}/none:1")]);
    assert_eq!(missing.output.status.code(), Some(1));
    assert!(
        missing.stderr().contains(&format!("failed to resolve reference \"{host}/none:1\"")),
        "{}",
        missing.tell()
    );
    let platform = berth.run(&["pull", "--platform", "linux/x/y/z", &name]);
    assert!(!platform.succeeded() && platform.stderr().contains("platform specifier"), "{}", platform.tell());
}

#[test]
fn ctrl_c_leaves_a_pull_that_goes_on() {
    let (berth, registry) = (Sealed::new(), Registry::start());
    let image = many_layers(&["large".to_owned()], 4_000_000);
    let name = registry.add("interrupted", &image);
    registry.let_through(2_000_000);
    let mut command = berth.command(&["pull", &name], None);
    let mut pull = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let stalled = registry.wait_until_stalled(|| pull.try_wait().unwrap().is_some());
    assert!(stalled, "the pull ended before Ctrl-C");
    registry.wait_until_read();
    let pid = rustix::process::Pid::from_child(&pull);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(pull.wait().unwrap().code(), Some(130));
    registry.let_through(u64::MAX);
    berth.ok(&["pull", &name]);
    assert!(registry.sent() < image.size() + 1_000_000, "{} bytes for {}", registry.sent(), image.size());
    berth.check().unwrap();
}

#[test]
fn a_push_speaks_dockers_lines_and_lists_can_be_made() {
    let Some(registry) = RealRegistry::start() else {
        skipped("a_push_speaks_dockers_lines_and_lists_can_be_made", "there is no docker-registry");
        return;
    };
    let (berth, source) = (Sealed::new(), Registry::start());
    let from = source.add("pushed", &many_layers(&["a".to_owned(), "b".to_owned()], 50_000));
    berth.ok(&["pull", "-q", &from]);
    let repository = format!("{}/pushed/image", registry.host);
    let name = format!("{repository}:1");
    berth.ok(&["tag", &from, &name]);
    let digest = berth.ok(&["images", "-q", "--no-trunc", &name]).trim().to_owned();
    let first = berth.ok(&["push", &name]);
    assert!(first.starts_with(&format!("The push refers to repository [{repository}]\n")), "{first}");
    assert_eq!(first.matches(": Pushed\n").count(), 2, "{first}");
    assert!(first.lines().last().unwrap().starts_with(&format!("1: digest: {digest} size: ")), "{first}");
    let again = berth.ok(&["push", &name]);
    assert_eq!(again.matches(": Layer already exists\n").count(), 2, "{again}");
    let missing = berth.run(&["push", &format!("{repository}:2")]);
    assert!(
        missing.stderr().starts_with(&format!("Error: tag does not exist: {repository}:2\n")),
        "{}",
        missing.tell()
    );

    let list = format!("{}/pushed/list:1", registry.host);
    assert_eq!(berth.ok(&["manifest", "create", &list, &name]), format!("Created manifest list {list}\n"));
    let again = berth.run(&["manifest", "create", &list, &name]);
    assert!(again.stderr().contains("refusing to amend an existing manifest list with no --amend flag"));
    berth.ok(&["manifest", "annotate", "--arch", "arm64", &list, &name]);
    let pushed = berth.ok(&["manifest", "push", "--purge", &list]);
    assert!(
        pushed.starts_with(&format!(
            "Pushed ref {}/pushed/list@{digest} with digest: {digest}\n",
            registry.host
        ))
    );
    let shown: serde_json::Value = serde_json::from_str(&berth.ok(&["manifest", "inspect", &list])).unwrap();
    assert_eq!(shown["manifests"][0]["platform"]["architecture"], "arm64");
    let pulled = berth.run(&["pull", "-q", "--platform", "linux/arm64", &list]);
    assert!(pulled.succeeded(), "{}", pulled.tell());
    let gone = berth.run(&["manifest", "rm", &list]);
    assert_eq!(gone.stderr().lines().next(), Some(format!("Error: No such manifest: {list}").as_str()));
}

#[test]
fn layers_whose_origin_is_gone_are_compressed_again() {
    let Some(registry) = RealRegistry::start() else {
        skipped("layers_whose_origin_is_gone_are_compressed_again", "there is no docker-registry");
        return;
    };
    let (berth, source) = (Sealed::new(), Registry::start());
    let from = source.add("gone", &many_layers(&["x".to_owned()], 300_000));
    berth.ok(&["pull", "-q", &from]);
    source.forget_blobs();
    let name = format!("{}/anew:1", registry.host);
    berth.ok(&["tag", &from, &name]);
    let pushed = berth.run(&["push", &name]);
    assert!(pushed.succeeded() && pushed.stderr().contains("another digest"), "{}", pushed.tell());
    let other = Sealed::new();
    other.ok(&["pull", "-q", &name]);
    let layers =
        |berth: &Sealed, name: &str| berth.ok(&["image", "inspect", "-f", "{{.RootFS.Layers}}", name]);
    assert_eq!(layers(&berth, &from), layers(&other, &name));
    let archive = berth.path("plain.tar");
    let saved = berth.run(&["save", "-o", archive.to_str().unwrap(), &from]);
    assert!(saved.succeeded() && saved.stderr().contains("another digest"), "{}", saved.tell());
    let third = Sealed::new();
    third.ok(&["load", "-i", archive.to_str().unwrap()]);
    assert_eq!(layers(&berth, &from), layers(&third, &from));
}

#[test]
fn credentials_are_kept_and_forgotten() {
    let (berth, registry) = (Sealed::new(), Registry::start());
    let name = registry.add("open", &many_layers(&["y".to_owned()], 1000));
    let host = name.split('/').next().unwrap();
    let login = berth.run(&["login", "-u", "me", "-p", "secret", host]);
    assert_eq!(login.stdout(), "Login Succeeded\n", "{}", login.tell());
    assert!(login.stderr().contains("Using --password via the CLI is insecure"));
    let file = std::fs::read_to_string(berth.path("docker/config.json")).unwrap();
    assert!(file.contains(host), "{file}");
    assert_eq!(berth.ok(&["logout", host]), format!("Removing login credentials for {host}\n"));
    let file = std::fs::read_to_string(berth.path("docker/config.json")).unwrap();
    assert!(!file.contains(host), "{file}");
}
