//! The same binary without root: an ordinary user with a range of users, without one, and on machines that lack something.

use super::support::{Machine, Registry, User, busybox, busybox_tar, has_uplink, skipped};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

/// A user with the image `box`.
fn with_box(test: &str, machine: Machine) -> Option<User> {
    let Some(mut tar) = busybox_tar() else {
        skipped(test, "there is no static busybox at /bin/busybox");
        return None;
    };
    let user = User::new(test, machine)?;
    tar.directory("etc");
    tar.file("etc/passwd", 0o644, b"root:x:0:0::/:/bin/sh\nweb:x:33:33::/:/bin/sh\n");
    tar.file("etc/group", 0o644, b"root:x:0:\nweb:x:33:\n");
    tar.directory("srv");
    tar.file("srv/file", 0o644, b"of the image");
    tar.own(33);
    tar.file("srv/of-web", 0o640, b"of somebody else");
    fs::write(user.path("box.tar"), tar.finish()).unwrap();
    user.ok(&["import", user.path("box.tar").to_str().unwrap(), "box"]);
    Some(user)
}

/// Asks until it is so: the machine does some things in its own time.
fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::yield_now();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// What somebody says who is asked at a port of the host.
fn page(place: &str) -> Option<String> {
    let mut stream = TcpStream::connect(place).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text).filter(|text| !text.is_empty())
}

const SAY_HELLO: &str = "while true; do echo hello | nc -l -p 80; done";

#[test]
fn a_container_runs_and_its_users_are_the_users_own() {
    let Some(user) = with_box("a_container_runs_and_its_users_are_the_users_own", Machine::default()) else {
        return;
    };
    assert_eq!(user.ok(&["run", "--rm", "box", "id", "-u"]), "0\n");
    assert_eq!(
        user.ok(&["run", "--rm", "--user", "web", "box", "id"]),
        "uid=33(web) gid=33(web) groups=33(web)\n"
    );
    let home = user.home();
    fs::create_dir(home.join("src")).unwrap();
    std::os::unix::fs::chown(home.join("src"), Some(user.uid()), Some(user.uid())).unwrap();
    user.ok(&["run", "--rm", "--volume", "./src:/src", "box", "touch", "/src/made"]);
    let made = fs::metadata(home.join("src/made")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&made), user.uid(), "its root is the user");
    user.ok(&[
        "run",
        "--rm",
        "--volume",
        "data:/data",
        "box",
        "sh",
        "-c",
        "echo kept > /data/x; chown 33 /data/x",
    ]);
    let seen = user.ok(&[
        "run",
        "--rm",
        "--volume",
        "data:/data",
        "box",
        "sh",
        "-c",
        "cat /data/x; stat -c %u /data/x",
    ]);
    assert_eq!(seen, "kept\n33\n");
    let privileged = user.ok(&[
        "run",
        "--rm",
        "--privileged",
        "--network",
        "host",
        "box",
        "sh",
        "-c",
        "ls /dev/null /sys/kernel",
    ]);
    assert!(privileged.contains("/dev/null"), "{privileged}");
    user.ok(&[
        "run",
        "--rm",
        "--network",
        "none",
        "--read-only",
        "--tmpfs",
        "/t",
        "--init",
        "box",
        "touch",
        "/t/x",
    ]);
    let limited = user.run(&["run", "--rm", "--memory", "64m", "box", "true"]);
    assert!(limited.succeeded(), "{}", limited.tell());
    // What the first process leaves behind ends with it, though nothing but us holds it together.
    let shared = user.ok(&["run", "--rm", "--pid", "host", "box", "sh", "-c", "sleep 1234567 & echo on"]);
    assert_eq!(shared, "on\n");
    assert!(!user.processes().iter().any(|(_, words)| words.contains("1234567")), "{:?}", user.processes());
    let info = user.ok(&["info"]);
    assert!(info.contains("rootless"), "{info}");
    assert_eq!(user.ok(&["info", "--format", "{{.CgroupDriver}}"]), "none\n");
    let options = user.ok(&["info", "--format", "{{.SecurityOptions}}"]);
    assert!(options.contains("name=rootless"), "{options}");
    user.ok(&["system", "check"]);
    user.ok(&["system", "df"]);
}

#[test]
fn a_service_is_reached_watched_and_ended() {
    let Some(user) = with_box("a_service_is_reached_watched_and_ended", Machine::default()) else { return };
    let port = free_port();
    let publish = format!("127.0.0.1:{port}:80");
    // As few descriptors as most sessions give.
    let program = user.path("berth");
    let few = format!("ulimit -Sn 1024; exec '{}' \"$@\"", program.display());
    let run = ["sh", "-c", &few, "sh", "run", "--detach", "--name", "web", "--publish", &publish, "box"];
    let started = user.command(&[&run[..], &["sh", "-c", SAY_HELLO]].concat()).output().unwrap();
    assert!(started.status.success(), "{started:?}");
    let text = until("a published port answers", || page(&format!("127.0.0.1:{port}")));
    assert_eq!(text, "hello\n");
    assert_eq!(user.ok(&["port", "web"]), format!("80/tcp -> 127.0.0.1:{port}\n"));
    assert_eq!(user.ok(&["exec", "web", "cat", "/srv/file"]), "of the image");
    assert!(user.ok(&["top", "web"]).contains("nc -l"), "{}", user.ok(&["top", "web"]));
    until("the request is in the log", || user.ok(&["logs", "web"]).contains("GET / HTTP/1.0").then_some(()));
    let limit = user.ok(&["exec", "web", "sh", "-c", "ulimit -Sn"]);
    assert_eq!(limit, "1024\n", "what serves its port has more, but not the container");
    user.ok(&["stop", "--time", "1", "web"]);
    assert!(user.ok(&["ps", "--all"]).contains("Exited"));
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "the port is free again");
    user.ok(&["start", "web"]);
    until("it answers again", || page(&format!("127.0.0.1:{port}")));
    user.ok(&["rm", "--force", "web"]);
    user.ok(&["run", "--detach", "--name", "web", "box", "sleep", "1000"]);
    for words in
        [&["pause", "web"][..], &["stats", "--no-stream", "web"], &["update", "--memory", "64m", "web"]]
    {
        let refused = user.run(words);
        assert!(refused.stderr().contains("no cgroup has been given to this user"), "{}", refused.tell());
    }
    user.ok(&["rm", "--force", "web"]);
    let low = user.run(&["run", "--rm", "--publish", "127.0.0.1:7:80", "box", "true"]);
    assert!(low.stderr().contains("permission denied"), "{}", low.tell());
}

#[test]
fn networks_have_names_and_a_way_out() {
    let test = "networks_have_names_and_a_way_out";
    let Some(user) = with_box(test, Machine::default()) else { return };
    user.ok(&["network", "create", "shop"]);
    user.ok(&["run", "--detach", "--name", "db", "--network", "shop", "box", "sleep", "1000"]);
    let found = user.ok(&["run", "--rm", "--network", "shop", "box", "ping", "-c", "1", "-W", "2", "db"]);
    assert!(found.contains("1 packets received"), "{found}");
    let macvlan = user.run(&["network", "create", "--driver", "macvlan", "--opt", "parent=lo", "no"]);
    assert!(macvlan.stderr().contains("which only its root may"), "{}", macvlan.tell());
    if !has_uplink() {
        let alone = user.run(&["run", "--rm", "box", "true"]);
        assert!(alone.stderr().contains("do not reach the outside"), "{}", alone.tell());
        return skipped(test, "no way out: this machine has neither pasta nor slirp4netns");
    }
    let quiet = user.run(&["run", "--rm", "box", "true"]);
    assert_eq!(quiet.stderr(), "", "{}", quiet.tell());
    // The machine's own address is the user's network's too: it is no place outside.
    let Some(outside) = Outside::new(user.uid()) else { return skipped(test, "no way out: `ip` is missing") };
    let host = outside.address.as_str();
    let listener = TcpListener::bind((host, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let asked = stream.read(&mut [0; 1024]).unwrap();
        stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 8\r\n\r\noutside\n").unwrap();
        asked
    });
    let address = format!("http://{host}:{port}/");
    assert_eq!(user.ok(&["run", "--rm", "box", "wget", "-q", "-O", "-", &address]), "outside\n");
    answer.join().unwrap();
}

/// An address of this machine that an ordinary user's network does not have, for as long as this lives.
struct Outside {
    address: String,
}

impl Outside {
    fn new(number: u32) -> Option<Self> {
        let outside = Self { address: format!("198.19.{}.{}", number / 250 % 250, number % 250) };
        outside.change("add").then_some(outside)
    }

    fn change(&self, verb: &str) -> bool {
        let mut command = std::process::Command::new("ip");
        let command = command.args(["address", verb, &format!("{}/32", self.address), "dev", "lo"]);
        command.status().is_ok_and(|status| status.success())
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        self.change("del");
    }
}

#[test]
fn images_are_built_and_leave() {
    let Some(user) = with_box("images_are_built_and_leave", Machine::default()) else { return };
    let context = user.home().join("context");
    fs::create_dir(&context).unwrap();
    let dockerfile = "FROM box\nRUN mkdir /made && echo text > /made/file && chown -R 33 /made && rm -r /srv\n\
                      RUN mkdir /srv && mknod /pipe p\nCOPY given /given\nCMD cat /made/file /given\n";
    fs::write(context.join("Dockerfile"), dockerfile.replace("mknod /pipe p", "touch /srv/new")).unwrap();
    fs::write(context.join("given"), "given\n").unwrap();
    user.ok(&["build", "--tag", "app", context.to_str().unwrap()]);
    assert_eq!(user.ok(&["run", "--rm", "app"]), "text\ngiven\n");
    assert_eq!(user.ok(&["run", "--rm", "app", "ls", "/srv"]), "new\n", "what was removed is not seen again");
    assert_eq!(user.ok(&["run", "--rm", "app", "stat", "-c", "%u", "/made/file"]), "33\n");
    user.ok(&["run", "--name", "changed", "app", "rm", "-r", "/made"]);
    user.ok(&["commit", "changed", "committed"]);
    assert!(!user.run(&["run", "--rm", "committed", "ls", "/made"]).succeeded());
    user.ok(&["rm", "changed"]);
    user.ok(&["save", "--output", "app.tar", "app"]);
    user.ok(&["system", "check"]);
    user.ok(&["rmi", "--force", "app", "committed"]);
    user.ok(&["system", "prune", "--force", "--all"]);
    user.ok(&["load", "--input", "app.tar"]);
    assert_eq!(user.ok(&["run", "--rm", "app"]), "text\ngiven\n");
    user.ok(&["rmi", "app"]);
}

#[test]
fn an_image_comes_from_a_registry_and_goes_back() {
    let test = "an_image_comes_from_a_registry_and_goes_back";
    let Some(image) = busybox(&["echo", "pulled"]) else {
        return skipped(test, "there is no static busybox");
    };
    let Some(user) = User::new(test, Machine::default()) else { return };
    let registry = Registry::start();
    let reference = registry.add("rootless/box", &image);
    user.ok(&["pull", &reference]);
    assert_eq!(user.ok(&["run", "--rm", &reference]), "pulled\n");
    user.ok(&["save", "--output", "box.tar", &reference]);
    user.ok(&["rmi", &reference]);
    user.ok(&["load", "--input", "box.tar"]);
    assert_eq!(user.ok(&["run", "--rm", &reference]), "pulled\n");
    let mut layouts =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|up| up.join("shared/images/alpine"));
    let Some(layout) = layouts.find(|layout| layout.is_dir()) else {
        return skipped(test, "there is no shared/images beside the repository");
    };
    user.ok(&["copy", &format!("oci:{}:alpine:3.20", layout.display()), "store:alpine"]);
    assert_eq!(user.ok(&["run", "--rm", "alpine", "stat", "-c", "%u %g", "/etc/shadow"]), "0 42\n");
    assert_eq!(user.ok(&["run", "--rm", "--user", "nobody", "alpine", "id", "-un"]), "nobody\n");
}

#[test]
fn who_holds_the_namespaces_may_be_killed() {
    let test = "who_holds_the_namespaces_may_be_killed";
    let Some(user) = with_box(test, Machine::default()) else { return };
    let kill_holder = || {
        let holder = user.holder().expect("there is a holder");
        let killed = std::process::Command::new("kill").args(["-9", &holder.to_string()]).status();
        assert!(killed.unwrap().success());
        until("a killed process is gone", || (user.holder() != Some(holder)).then_some(()));
    };
    user.ok(&["network", "create", "shop"]);
    user.ok(&["run", "--detach", "--name", "db", "--network", "shop", "box", "sleep", "1000"]);
    kill_holder();
    assert!(user.ok(&["ps"]).contains("db"), "a container outlives the holder");
    assert!(user.holder().is_some(), "there is another holder");
    user.ok(&["exec", "db", "true"]);
    let found = user.ok(&["run", "--rm", "--network", "shop", "box", "ping", "-c", "1", "-W", "2", "db"]);
    assert!(found.contains("1 packets received"), "a network is the same as before: {found}");
    user.ok(&["rm", "--force", "db"]);
    kill_holder();
    assert_eq!(user.ok(&["run", "--rm", "--network", "shop", "box", "echo", "on"]), "on\n");
    // Everything at once, as the end of a session does it.
    user.ok(&["run", "--detach", "--name", "db", "--network", "shop", "box", "sleep", "1000"]);
    for (pid, _) in user.processes() {
        let _ = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status();
    }
    until("all of it ends", || user.processes().is_empty().then_some(()));
    assert!(user.ok(&["ps", "--all"]).contains("Exited"));
    user.ok(&["start", "db"]);
    user.ok(&["exec", "db", "ping", "-c", "1", "-W", "2", "db"]);
    user.ok(&["system", "reset", "--force"]);
    until("nothing is left", || user.processes().is_empty().then_some(()));
    assert_eq!(fs::read_dir(user.path("run/berth/rootless")).unwrap().count(), 0);
}

#[test]
fn several_commands_at_once_share_one_holder() {
    let Some(user) = with_box("several_commands_at_once_share_one_holder", Machine::default()) else {
        return;
    };
    let holder = user.holder().unwrap();
    let _ = std::process::Command::new("kill").args(["-9", &holder.to_string()]).status();
    until("a killed process is gone", || user.holder().is_none().then_some(()));
    std::thread::scope(|scope| {
        let commands: Vec<_> = (0..6)
            .map(|number| {
                let user = &user;
                scope.spawn(move || user.ok(&["run", "--rm", "box", "echo", &number.to_string()]))
            })
            .collect();
        for (number, command) in commands.into_iter().enumerate() {
            assert_eq!(command.join().unwrap(), format!("{number}\n"));
        }
    });
    let holders =
        user.processes().into_iter().filter(|(_, words)| words.starts_with("berth-rootless ")).count();
    assert_eq!(holders, 1);
}

#[test]
fn a_session_with_a_cgroup_limits_counts_and_pauses() {
    let test = "a_session_with_a_cgroup_limits_counts_and_pauses";
    let machine = Machine { with_cgroup: true, ..Machine::default() };
    let Some(user) = with_box(test, machine) else { return };
    let Some(service) = user.service() else { return skipped(test, "this machine has no cgroup v2") };
    user.ok(&["run", "--detach", "--name", "web", "--memory", "64m", "box", "sleep", "1000"]);
    user.ok(&["pause", "web"]);
    assert!(user.ok(&["ps"]).contains("(Paused)"));
    user.ok(&["unpause", "web"]);
    assert!(user.ok(&["stats", "--no-stream"]).contains("web"));
    assert_eq!(user.ok(&["info", "--format", "{{.CgroupDriver}}"]), "cgroupfs\n");
    user.ok(&["exec", "web", "true"]);
    let id = user.ok(&["inspect", "--format", "{{.Id}}", "web"]);
    let groups = fs::read_dir(&service).unwrap().flatten().map(|entry| entry.path().join(id.trim()));
    let group = groups.into_iter().find(|path| path.is_dir()).expect("it has a cgroup of its own");
    match fs::read_to_string(group.join("memory.max")) {
        Ok(limit) => assert_eq!(limit, "67108864\n"),
        Err(_) => skipped(test, "no limit of memory: its controller is v1's on this machine"),
    }
    user.ok(&["rm", "--force", "web"]);
    assert!(!group.exists());
}

#[test]
fn without_a_range_there_is_root_alone() {
    let machine = Machine { without_range: true, ..Machine::default() };
    let test = "without_a_range_there_is_root_alone";
    let Some(user) = User::new(test, machine) else { return };
    let first = user.run(&["images"]);
    assert!(first.succeeded(), "{}", first.tell());
    assert!(first.stderr().contains("trial has no range in /etc/subuid"), "{}", first.tell());
    assert!(!user.run(&["images"]).stderr().contains("no range"), "it is told once");
    drop(user);
    let Some(user) = with_box(test, machine) else { return };
    assert_eq!(user.ok(&["run", "--rm", "box", "id", "-u"]), "0\n");
    user.ok(&["run", "--rm", "--tty", "box", "true"]);
    assert_eq!(user.ok(&["run", "--rm", "box", "stat", "-c", "%u", "/srv/of-web"]), "0\n");
}

#[test]
fn a_machine_that_lacks_something_says_so() {
    let machine = Machine { without_newuidmap: true, ..Machine::default() };
    let Some(user) = User::new("a_machine_that_lacks_something_says_so", machine) else { return };
    let refused = user.run(&["images"]);
    assert!(!refused.succeeded());
    assert!(refused.stderr().contains("this machine has no `newuidmap`"), "{}", refused.tell());
    assert!(refused.stderr().contains("uidmap"), "{}", refused.tell());
    assert!(user.run(&["version"]).succeeded(), "what has nothing to do with containers works");
    assert_eq!(user.processes(), []);
}
