//! What a container's root can do to the machine, tried from inside by a program of our own, and compared with what
//! docker's containers can do.

use super::support::{Peer, Sealed, skipped};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// All that may succeed: none of it reaches beyond the container.
const ALLOWED: [&str; 8] = [
    "node zero",
    "ptrace first",
    "personality linux32",
    "chroot",
    "setuid",
    "socket raw",
    "socket packet",
    "socket inet",
];

/// The probe as the only file of an image; `None` where there is no compiler for it.
fn archive(directory: &Path) -> Option<PathBuf> {
    let tree = directory.join("tree");
    for name in ["tmp", "proc", "sys", "dev"] {
        std::fs::create_dir_all(tree.join(name)).unwrap();
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/probe/isolation.c");
    let mut compiler = Command::new("cc");
    compiler.args(["-static", "-O1", "-o"]).arg(tree.join("probe")).arg(source);
    if !compiler.status().is_ok_and(|status| status.success()) {
        skipped("isolation", "there is no C compiler for static programs");
        return None;
    }
    let tar = directory.join("probe.tar");
    let status = Command::new("tar").arg("-C").arg(&tree).arg("-cf").arg(&tar).arg(".").status().unwrap();
    assert!(status.success());
    Some(tar)
}

/// `name result` in each line.
fn results(text: &str) -> BTreeMap<String, String> {
    let pair = |line: &str| {
        let (name, result) = line.rsplit_once(' ')?;
        Some((name.to_owned(), result.to_owned()))
    };
    text.lines().filter_map(pair).collect()
}

fn allowed(results: &BTreeMap<String, String>) -> Vec<&str> {
    results.iter().filter(|(_, result)| *result == "ok").map(|(name, _)| name.as_str()).collect()
}

fn as_text(path: &Path) -> &str {
    path.to_str().expect("the test's own path")
}

#[test]
fn what_docker_denies_is_denied() {
    let sealed = Sealed::new();
    let directory = sealed.path("image");
    let Some(tar) = archive(&directory) else { return };
    sealed.ok(&["import", as_text(&tar), "probe"]);
    let ours = results(&sealed.ok(&["run", "--rm", "--network", "none", "probe", "/probe"]));
    assert!(ours.len() > 100, "{ours:?}");
    let unexpected: Vec<_> = allowed(&ours).into_iter().filter(|name| !ALLOWED.contains(name)).collect();
    assert!(unexpected.is_empty(), "a container may {unexpected:?}");
    // Without a profile, capabilities and namespaces still stand.
    let unconfined =
        ["run", "--rm", "--network", "none", "--security-opt", "seccomp=unconfined", "probe", "/probe"];
    let bare = results(&sealed.ok(&unconfined));
    for name in
        ["mount tmpfs", "node mem", "open_by_handle_at", "write core_pattern", "cgroup new", "init_module"]
    {
        assert_ne!(bare.get(name).map(String::as_str), Some("ok"), "without seccomp: {name}");
    }
    // Nor is the probe blind: with all privileges it sees that it can.
    let privileged =
        results(&sealed.ok(&["run", "--rm", "--network", "none", "--privileged", "probe", "/probe"]));
    for name in ["mount tmpfs", "unshare mount", "sethostname", "fsopen"] {
        assert_eq!(privileged.get(name).map(String::as_str), Some("ok"), "privileged: {name}");
    }
    let Some(docker) = Peer::find("docker", "version") else {
        skipped("isolation::what_docker_denies_is_denied", "there is no docker daemon to compare with");
        return;
    };
    let image = format!("berth-probe-{}", std::process::id());
    docker.ok(&["import", as_text(&tar), &image]);
    let theirs = results(&docker.ok(&["run", "--rm", "--network", "none", &image, "/probe"]));
    docker.ok(&["rmi", &image]);
    let more: Vec<_> = allowed(&ours)
        .into_iter()
        .filter(|name| theirs.get(*name).is_none_or(|result| result != "ok"))
        .collect();
    assert!(more.is_empty(), "docker denies {more:?}, which are allowed here");
}
