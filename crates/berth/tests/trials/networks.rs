//! Networks that people make: who finds whom by name, on and off while running, what goes and what stays.
//!
//! Real containers of Debian's busybox; every root has networks, names and a table of its own.

use super::support::{Sealed, busybox_tar, skipped};

/// A berth with an image called `box`; none where this machine has no static busybox.
fn with_busybox(test: &str) -> Option<Sealed> {
    let Some(tar) = busybox_tar() else {
        skipped(test, "there is no static busybox at /bin/busybox");
        return None;
    };
    let sealed = Sealed::new();
    let path = sealed.path("box.tar");
    std::fs::write(&path, tar.finish()).unwrap();
    sealed.ok(&["import", "--change", "CMD sleep 1000", path.to_str().unwrap(), "box"]);
    Some(sealed)
}

fn inspect(sealed: &Sealed, name: &str, template: &str) -> String {
    sealed.ok(&["inspect", "--format", template, name]).trim_end().to_owned()
}

#[test]
fn containers_find_each_other_by_name() {
    let Some(sealed) = with_busybox("containers_find_each_other_by_name") else { return };
    sealed.ok(&["network", "create", "mine"]);
    sealed.ok(&["network", "create", "other"]);
    let run = |name: &str, more: &[&str]| {
        let words = [&["run", "--detach", "--name", name][..], more, &["box"]].concat();
        sealed.ok(&words);
    };
    run("web", &["--network", "mine", "--network-alias", "front"]);
    run("db", &["--network", "name=mine,alias=front,alias=store", "--network", "other"]);
    run("far", &["--network", "other"]);
    let ip = |name: &str, network: &str| {
        let template = format!("{{{{(index .NetworkSettings.Networks \"{network}\").IPAddress}}}}");
        inspect(&sealed, name, &template)
    };
    let asked = |from: &str, name: &str| {
        let outcome = sealed.run(&["exec", from, "nslookup", name]);
        let text = outcome.stdout();
        let answers = text.split_once("\n\n").map_or("", |(_, answers)| answers).to_owned();
        let found = answers.lines().filter_map(|line| line.strip_prefix("Address: "));
        let mut found: Vec<String> = found.map(str::to_owned).collect();
        found.sort();
        found
    };
    let short = inspect(&sealed, "db", "{{.Id}}")[..12].to_owned();
    let mut both = vec![ip("web", "mine"), ip("db", "mine")];
    both.sort();
    let rows = [
        ("web", "db", vec![ip("db", "mine")]),
        ("web", "DB", vec![ip("db", "mine")]),
        ("web", "store", vec![ip("db", "mine")]),
        ("web", "db.mine", vec![ip("db", "mine")]),
        ("web", short.as_str(), vec![ip("db", "mine")]),
        ("web", "front", both.clone()),
        ("db", "front", both),
        ("db", "far", vec![ip("far", "other")]),
        ("far", "db", vec![ip("db", "other")]),
        ("far", "store", vec![]),
        ("web", "far", vec![]),
    ];
    for (from, name, expected) in rows {
        assert_eq!(asked(from, name), expected, "{from} asked for {name}");
    }
    sealed.ok(&["exec", "web", "ping", "-c", "1", "-W", "2", "db"]);
    let isolated = sealed.run(&["exec", "web", "ping", "-c", "1", "-W", "1", &ip("far", "other")]);
    assert!(!isolated.succeeded(), "{}", isolated.tell());
    let reverse = sealed.ok(&["exec", "web", "nslookup", &ip("db", "mine")]);
    assert!(reverse.contains("db.mine"), "{reverse}");
    sealed.ok(&["rename", "db", "base"]);
    assert_eq!(asked("web", "base"), [ip("base", "mine")]);
    assert!(asked("web", "db").is_empty());
    sealed.ok(&["stop", "--time", "0", "base"]);
    assert!(asked("web", "base").is_empty(), "who has gone is not found");
    sealed.ok(&["start", "base"]);
    assert_eq!(asked("web", "base"), [ip("base", "mine")]);
}

#[test]
fn networks_come_and_go_while_a_container_runs() {
    let Some(sealed) = with_busybox("networks_come_and_go_while_a_container_runs") else { return };
    sealed.ok(&["network", "create", "mine"]);
    sealed.ok(&["run", "--detach", "--name", "peer", "--network", "mine", "box"]);
    sealed.ok(&["run", "--detach", "--name", "web", "--hostname", "me", "box"]);
    let run = |words: &[&str]| sealed.run(words);
    sealed.ok(&["network", "connect", "--alias", "late", "mine", "web"]);
    sealed.ok(&["exec", "web", "ping", "-c", "1", "-W", "2", "peer"]);
    sealed.ok(&["exec", "peer", "ping", "-c", "1", "-W", "2", "late"]);
    let twice = run(&["network", "connect", "mine", "web"]);
    assert!(
        twice.stderr().contains("endpoint with name web already exists in network mine"),
        "{}",
        twice.tell()
    );
    let busy = run(&["network", "rm", "mine"]);
    assert!(busy.stderr().contains("network mine has active endpoints (name:"), "{}", busy.tell());
    let routes = || sealed.ok(&["exec", "web", "ip", "route"]);
    assert!(routes().starts_with("default") && routes().contains("dev eth0"), "{}", routes());
    sealed.ok(&["network", "disconnect", "bridge", "web"]);
    assert!(routes().starts_with("default") && !routes().contains("dev eth0"), "{}", routes());
    let hosts = sealed.ok(&["exec", "web", "cat", "/etc/hosts"]);
    let ip = inspect(&sealed, "web", "{{.NetworkSettings.Networks.mine.IPAddress}}");
    let own: Vec<&str> = hosts.lines().filter(|line| line.ends_with("\tme")).collect();
    assert_eq!(own, [format!("{ip}\tme")]);
    sealed.ok(&["restart", "--time", "0", "web"]);
    assert_eq!(inspect(&sealed, "web", "{{len .NetworkSettings.Networks}}"), "1", "a restart remembers");
    sealed.ok(&["exec", "peer", "ping", "-c", "1", "-W", "2", "late"]);
    sealed.ok(&["network", "disconnect", "mine", "web"]);
    let gone = run(&["network", "disconnect", "mine", "web"]);
    assert!(gone.stderr().contains("is not connected to network mine"), "{}", gone.tell());
    sealed.ok(&["rm", "--force", "peer"]);
    sealed.ok(&["network", "rm", "mine"]);
    sealed.ok(&["restart", "--time", "0", "web"]);
    let back = inspect(&sealed, "web", "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}");
    assert_eq!(back, "bridge", "one that was taken off all networks gets back to its own");
}
