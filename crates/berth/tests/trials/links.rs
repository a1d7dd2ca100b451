//! `--link` on the usual network: names in `/etc/hosts`, variables, and what happens when the other one moves or goes.
//!
//! Real containers of Debian's busybox; every root has networks, names and a table of its own.

use super::support::{Machine, Sealed, User, boxed, busybox_tar, skipped};
use std::time::Instant;

fn inspect(sealed: &Sealed, name: &str, template: &str) -> String {
    sealed.ok(&["inspect", "--format", template, name]).trim_end().to_owned()
}

fn ip(sealed: &Sealed, name: &str) -> String {
    inspect(sealed, name, "{{.NetworkSettings.IPAddress}}")
}

#[test]
fn a_linked_container_is_known_by_name_and_in_the_environment() {
    let Some(sealed) = boxed("a_linked_container_is_known_by_name_and_in_the_environment") else { return };
    sealed.ok(&[
        "run", "-d", "--name", "db", "-h", "dbhost", "-e", "X=1", "--expose", "80-81", "box", "sleep", "1000",
    ]);
    sealed.ok(&[
        "run",
        "-d",
        "--name",
        "web",
        "--link",
        "db:my-db",
        "--link",
        "db",
        "-e",
        "DB_NAME=mine",
        "box",
        "sleep",
        "1000",
    ]);
    let ip = ip(&sealed, "db");
    let hosts = sealed.ok(&["exec", "web", "cat", "/etc/hosts"]);
    let lines: Vec<_> = hosts.lines().filter(|line| line.starts_with(&format!("{ip}\t"))).collect();
    assert_eq!(lines, [format!("{ip}\tmy-db dbhost db"), format!("{ip}\tdb dbhost")]);
    sealed.ok(&["exec", "web", "ping", "-c", "1", "-W", "2", "my-db"]);
    let env = sealed.ok(&["exec", "web", "busybox", "env"]);
    for line in [
        format!("MY_DB_PORT=tcp://{ip}:80"),
        format!("MY_DB_PORT_81_TCP_ADDR={ip}"),
        format!("MY_DB_PORT_80_TCP_END=tcp://{ip}:81"),
        "MY_DB_NAME=/web/my-db".to_owned(),
        "MY_DB_ENV_X=1".to_owned(),
        "DB_NAME=mine".to_owned(),
    ] {
        assert!(env.lines().any(|known| known == line), "{line} is not in\n{env}");
    }
    let of_program = sealed.ok(&["exec", "web", "sh", "-c", "tr '\\0' '\\n' < /proc/1/environ"]);
    assert!(of_program.contains(&format!("MY_DB_PORT_80_TCP=tcp://{ip}:80\n")), "{of_program}");
    assert_eq!(
        inspect(&sealed, "web", "{{json .HostConfig.Links}} {{json .NetworkSettings.Networks.bridge.Links}}"),
        r#"["/db:/web/my-db","/db:/web/db"] null"#
    );
    sealed.ok(&["rename", "db", "base"]);
    assert_eq!(
        inspect(&sealed, "web", "{{json .HostConfig.Links}}"),
        r#"["/base:/web/my-db","/base:/web/db"]"#
    );
}

#[test]
fn a_link_follows_the_other_one_and_outlives_it() {
    let Some(sealed) = boxed("a_link_follows_the_other_one_and_outlives_it") else { return };
    let run = |words: &[&str]| {
        sealed.ok(&[&["run", "-d"][..], words, &["box", "sleep", "1000"]].concat());
    };
    run(&["--name", "db"]);
    run(&["--name", "web", "--link", "db:d"]);
    let first = ip(&sealed, "db");
    sealed.ok(&["stop", "--time", "0", "db"]);
    run(&["--name", "thief"]);
    assert_eq!(ip(&sealed, "thief"), first, "the address was free");
    let told = sealed.ok(&["exec", "web", "cat", "/etc/hosts"]);
    assert!(told.contains(&format!("{first}\td ")), "one that has gone keeps its line: {told}");
    sealed.ok(&["start", "db"]);
    let line = format!("{}\td ", ip(&sealed, "db"));
    assert!(!line.starts_with(&first));
    let start = Instant::now();
    // The other's monitor hears of it by itself, and at once.
    loop {
        let hosts = sealed.ok(&["exec", "web", "cat", "/etc/hosts"]);
        if hosts.contains(&line) {
            assert!(!hosts.contains(&format!("{first}\td ")), "{hosts}");
            break;
        }
        assert!(start.elapsed().as_secs() < 30, "{line} is not in {hosts}");
    }
    sealed.ok(&["stop", "--time", "0", "web", "db"]);
    let refused = sealed.run(&["start", "web"]);
    assert!(
        refused.stderr().contains("Cannot link to a non running container: /db AS /web/d"),
        "{}",
        refused.tell()
    );
    sealed.ok(&["rm", "db"]);
    assert!(!sealed.run(&["start", "web"]).succeeded());
    sealed.ok(&["rm", "--link", "web/d"]);
    assert_eq!(inspect(&sealed, "web", "{{json .HostConfig.Links}}"), "null");
    sealed.ok(&["start", "web"]);
}

#[test]
fn links_that_cannot_be() {
    let Some(sealed) = boxed("links_that_cannot_be") else { return };
    let start = |words: &[&str]| {
        sealed.ok(&[&["run", "-d"][..], words, &["box", "sleep", "1000"]].concat());
    };
    start(&["--name", "db"]);
    start(&["--name", "alone", "--network", "none"]);
    start(&["--name", "host", "--network", "host"]);
    start(&["--name", "beside", "--network", "container:db"]);
    sealed.ok(&["create", "--name", "made", "box", "true"]);
    let undefined = "can't be used with links. This would result in undefined behavior";
    for (words, expected) in [
        (&["--link", "nope"][..], "could not get container for nope: No such container: nope".to_owned()),
        (&["--link", "db:a:b"], "bad format for links: db:a:b".to_owned()),
        (&["--link", "db:a/b"], "bad format for links: db:a/b".to_owned()),
        (&["--link", "db:a\n1.2.3.4 b"], "bad format for links: db:a\n1.2.3.4 b".to_owned()),
        (&["--link", ""], "empty string specified for links".to_owned()),
        (&["--link", "host"], format!("host type networking {undefined}")),
        (&["--link", "db", "--network", "host"], format!("host type networking {undefined}")),
        (&["--link", "db", "--network", "none"], format!("none type networking {undefined}")),
        (&["--link", "db", "--network", "container:db"], format!("container type network {undefined}")),
        (&["--link", "made:x", "--name", "ab"], "non running container: /made AS /ab/x".to_owned()),
        (&["--link", "alone"], "not attached to default bridge network".to_owned()),
    ] {
        let outcome = sealed.run(&[&["run", "--rm"][..], words, &["box", "true"]].concat());
        assert_eq!(outcome.output.status.code(), Some(125), "{}", outcome.tell());
        assert!(outcome.stderr().contains(&expected), "{expected} is not in {}", outcome.tell());
    }
    let shared =
        ["run", "--rm", "--link", "beside:via", "--link", "db:via", "box", "grep", "via", "/etc/hosts"];
    let told = sealed.ok(&shared);
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(told.starts_with(&format!("{}\tvia ", ip(&sealed, "db"))), "{told}");
    for (path, expected) in [
        ("db", "Conflict, cannot remove the default link name of the container"),
        ("db/x", "No such container: db/x"),
        ("nope/x", "No such container: nope/x"),
    ] {
        let outcome = sealed.run(&["rm", "--link", path]);
        assert!(outcome.stderr().contains(expected), "{}", outcome.tell());
    }
}

#[test]
fn containers_of_an_ordinary_user_are_linked() {
    let test = "containers_of_an_ordinary_user_are_linked";
    let Some(tar) = busybox_tar() else {
        skipped(test, "there is no static busybox at /bin/busybox");
        return;
    };
    let Some(user) = User::new(test, Machine::default()) else { return };
    std::fs::write(user.path("box.tar"), tar.finish()).unwrap();
    user.ok(&["import", user.path("box.tar").to_str().unwrap(), "box"]);
    user.ok(&["run", "-d", "--name", "db", "--expose", "80", "box", "sleep", "1000"]);
    let script = "ping -c 1 -W 2 d >/dev/null && echo $D_PORT_80_TCP_PORT; grep -c '\td ' /etc/hosts";
    assert_eq!(user.ok(&["run", "--rm", "--link", "db:d", "box", "sh", "-c", script]), "80\n1\n");
}
