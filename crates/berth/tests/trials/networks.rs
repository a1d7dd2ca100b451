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

#[test]
fn a_container_has_addresses_of_its_link_beside_its_own() {
    let Some(sealed) = with_busybox("a_container_has_addresses_of_its_link_beside_its_own") else { return };
    sealed.ok(&["network", "create", "mine"]);
    let run = |name: &str, more: &[&str]| {
        sealed.ok(&[&["run", "-d", "--name", name][..], more, &["box"]].concat());
    };
    run("one", &["--network", "mine", "--link-local-ip", "169.254.9.1"]);
    run("two", &["--network", "name=mine,link-local-ip=169.254.9.2"]);
    run("usual", &["--link-local-ip", "169.254.9.3"]);
    let shown = sealed.ok(&["exec", "one", "ip", "-4", "address", "show", "dev", "eth0"]);
    assert!(shown.contains("inet 169.254.9.1/16"), "{shown}");
    sealed.ok(&["exec", "one", "ping", "-c", "1", "-W", "2", "169.254.9.2"]);
    let asked = "{{json .NetworkSettings.Networks.mine.IPAMConfig}}";
    assert_eq!(inspect(&sealed, "one", asked), r#"{"LinkLocalIPs":["169.254.9.1"]}"#);
    sealed.ok(&["network", "connect", "--link-local-ip", "169.254.9.4", "mine", "usual"]);
    sealed.ok(&["exec", "usual", "ping", "-c", "1", "-W", "2", "-I", "eth1", "169.254.9.1"]);
    if std::path::Path::new("/proc/net/if_inet6").exists() {
        run("six", &["--link-local-ip", "fe80::9"]);
        let shown = sealed.ok(&["exec", "six", "ip", "address", "show", "dev", "eth0"]);
        assert!(shown.contains("inet6 fe80::9/64"), "{shown}");
    }
    for (words, expected) in [
        (&["--link-local-ip", "x"][..], "invalid link-local IP address: x"),
        (&["--link-local-ip", "10.1.2.3"], "invalid link local IP address: 10.1.2.3"),
        (&["--link-local-ip", "169.254.9.1", "--network", "none"], "conflicting options: link-local address"),
        (
            &["--network", "name=mine,link-local-ip=169.254.9.1", "--link-local-ip", "169.254.9.1"],
            "cannot specify both --link-local-ip and per-network link-local IP addresses",
        ),
    ] {
        let outcome = sealed.run(&[&["run", "--rm"][..], words, &["box", "true"]].concat());
        assert_eq!(outcome.output.status.code(), Some(125), "{}", outcome.tell());
        assert!(outcome.stderr().contains(expected), "{}", outcome.tell());
    }
}

/// What a page on port 80 of a container says, asked at `place`.
fn page(place: &str) -> std::io::Result<String> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(place)?;
    stream.write_all(b"GET /hello HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text.rsplit('\n').find(|line| !line.is_empty()).unwrap_or_default().to_owned())
}

/// A port that nobody has at this moment.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Asks until there is an answer: a program that was started does not listen at once.
fn eventually(place: &str) -> String {
    let start = std::time::Instant::now();
    loop {
        match page(place) {
            Ok(text) if !text.is_empty() => return text,
            other => assert!(start.elapsed().as_secs() < 10, "{place}: {other:?}"),
        }
        std::thread::yield_now();
    }
}

const SERVER: &str = "mkdir /www; echo $NAME >/www/hello; exec busybox httpd -f -p 80 -h /www";

/// The places of a container's port 80 on the host.
fn places(sealed: &Sealed, name: &str) -> Vec<String> {
    sealed.ok(&["port", name, "80"]).lines().map(str::to_owned).collect()
}

#[test]
fn ports_lead_in_from_both_families_and_name_their_owner() {
    let Some(sealed) = with_busybox("ports_lead_in_from_both_families_and_name_their_owner") else { return };
    sealed.ok(&["run", "-d", "--name", "web", "-e", "NAME=one", "-p", "80", "box", "sh", "-c", SERVER]);
    let places = places(&sealed, "web");
    let port: u16 = places[0].rsplit(':').next().unwrap().parse().unwrap();
    assert_eq!(places[0], format!("0.0.0.0:{port}"));
    let mut asked = vec![format!("127.0.0.1:{port}"), format!("127.0.0.53:{port}")];
    if std::path::Path::new("/proc/net/if_inet6").exists() {
        assert_eq!(places[1..], [format!("[::]:{port}")]);
        asked.push(format!("[::1]:{port}"));
    }
    for place in asked {
        assert_eq!(eventually(&place), "one", "{place}");
    }
    sealed.ok(&["network", "create", "other"]);
    let fixed = format!("127.0.0.1:{}:80", free_port());
    let run = ["run", "-d", "--name", "moving", "-e", "NAME=two", "-p", &fixed, "box", "sh", "-c", SERVER];
    sealed.ok(&run);
    assert_eq!(eventually(&self::places(&sealed, "moving")[0]), "two");
    sealed.ok(&["network", "connect", "other", "moving"]);
    sealed.ok(&["network", "disconnect", "bridge", "moving"]);
    assert_eq!(format!("{}:80", self::places(&sealed, "moving")[0]), fixed, "its ports went with it");
    assert_eq!(eventually(&self::places(&sealed, "moving")[0]), "two");
    let again = format!("{port}:80");
    let taken = sealed.run(&["run", "--rm", "-p", &again, "box", "true"]);
    assert_eq!(taken.output.status.code(), Some(125));
    assert!(taken.stderr().contains("port is already allocated (by container web)"), "{}", taken.tell());
    let ours = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = ours.local_addr().unwrap().port();
    let taken = sealed.run(&["run", "--rm", "-p", &format!("127.0.0.1:{port}:80"), "box", "true"]);
    let me = format!("address already in use (by pid {} (", std::process::id());
    assert!(taken.stderr().contains(&me), "{}", taken.tell());
    // A place of our own choosing for ports that name none.
    std::fs::write(sealed.path("berth.toml"), "publish-address = \"127.0.0.1\"\n").unwrap();
    sealed.ok(&["run", "-d", "--name", "local", "-p", "80", "box"]);
    let local = self::places(&sealed, "local");
    assert!(local.len() == 1 && local[0].starts_with("127.0.0.1:"), "{local:?}");
}

#[test]
fn eight_processes_never_get_the_same() {
    let Some(sealed) = with_busybox("eight_processes_never_get_the_same") else { return };
    let at_once = |words: &dyn Fn(usize) -> Vec<String>| -> Vec<(bool, String)> {
        let children: Vec<_> = (0..8)
            .map(|number| {
                let words = words(number);
                sealed.spawn(&words.iter().map(String::as_str).collect::<Vec<_>>())
            })
            .collect();
        let outputs = children.into_iter().map(|child| child.wait_with_output().unwrap());
        outputs.map(|out| (out.status.success(), String::from_utf8_lossy(&out.stderr).into_owned())).collect()
    };
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let made = at_once(&|_| words("network create same"));
    assert_eq!(made.iter().filter(|(good, _)| *good).count(), 1, "{made:?}");
    let refused = made.iter().filter(|(good, _)| !good);
    assert!(
        refused.clone().all(|(_, text)| text.contains("network with name same already exists")),
        "{made:?}"
    );
    let made = at_once(&|number| words(&format!("network create --ipv6 n{number}")));
    assert!(made.iter().all(|(good, _)| *good), "{made:?}");
    let format = "{{range .IPAM.Config}}{{.Subnet}} {{end}}";
    let names: Vec<String> = (0..8).map(|number| format!("n{number}")).collect();
    let words_of = |names: &[String]| {
        let mut words = vec!["network", "inspect", "--format", format];
        words.extend(names.iter().map(String::as_str));
        sealed.ok(&words)
    };
    let subnets = words_of(&names);
    let subnets: std::collections::BTreeSet<&str> = subnets.split_whitespace().collect();
    assert_eq!(subnets.len(), 16, "{subnets:?}");
    let run = at_once(&|number| words(&format!("run -d --name c{number} --network same -p 80 box")));
    assert!(run.iter().all(|(good, _)| *good), "{run:?}");
    let told = |name: &str| {
        let place = places(&sealed, name)[0].clone();
        (inspect(&sealed, name, "{{.NetworkSettings.Networks.same.IPAddress}}"), place)
    };
    let (addresses, ports): (std::collections::BTreeSet<_>, std::collections::BTreeSet<_>) =
        (0..8).map(|number| told(&format!("c{number}"))).unzip();
    assert_eq!((addresses.len(), ports.len()), (8, 8));
    let run = at_once(&|_| words("run -d --name only --network same box"));
    assert_eq!(run.iter().filter(|(good, _)| *good).count(), 1, "{run:?}");
    let one = addresses.last().unwrap().rsplit_once('.').unwrap().0.to_owned() + ".200";
    let run = at_once(&|number| words(&format!("run -d --name x{number} --network name=same,ip={one} box")));
    assert_eq!(run.iter().filter(|(good, _)| *good).count(), 1, "{run:?}");
}

fn nft(words: &[&str]) -> Option<String> {
    let output = std::process::Command::new("nft").args(words).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The table of the rules of this berth: the one that names its bridges.
fn table(bridge: &str) -> Option<String> {
    let tables = nft(&["list", "tables"])?;
    let ours = tables.lines().filter_map(|line| line.strip_prefix("table inet "));
    ours.filter(|table| table.starts_with("berth"))
        .find(|table| nft(&["list", "table", "inet", table]).is_some_and(|text| text.contains(bridge)))
        .map(str::to_owned)
}

#[test]
fn what_others_tear_down_is_put_up_again() {
    let Some(sealed) = with_busybox("what_others_tear_down_is_put_up_again") else { return };
    sealed.ok(&["network", "create", "mine"]);
    let run = ["run", "-d", "--name", "web", "--network", "mine", "-e", "NAME=one", "-p", "127.0.0.1::80"];
    sealed.ok(&[&run[..], &["box", "sh", "-c", SERVER]].concat());
    let place = places(&sealed, "web")[0].clone();
    assert_eq!(eventually(&place), "one");
    let bridge = format!("br-{}", &inspect(&sealed, "mine", "{{.Id}}")[..12]);
    if let Some(table) = table(&bridge) {
        // As `nft flush ruleset` does, but for what is not ours.
        nft(&["delete", "table", "inet", &table]).unwrap();
        sealed.ok(&["system", "check", "--repair"]);
        assert_eq!(eventually(&place), "one", "after a check");
        nft(&["delete", "table", "inet", &table]).unwrap();
        sealed.ok(&["run", "--rm", "--network", "mine", "box", "true"]);
        assert_eq!(eventually(&place), "one", "after the next start");
    } else {
        skipped("what_others_tear_down_is_put_up_again (rules)", "there is no nft");
    }
    let subnet = inspect(&sealed, "mine", "{{(index .IPAM.Config 0).Subnet}}");
    let pid = inspect(&sealed, "web", "{{.State.Pid}}");
    let monitor = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let parent = monitor.rsplit(')').next().unwrap().split_whitespace().nth(1).unwrap().to_owned();
    assert!(std::process::Command::new("kill").args(["-9", &parent]).status().unwrap().success());
    let start = std::time::Instant::now();
    while inspect(&sealed, "mine", "{{len .Containers}}") != "0" {
        assert!(start.elapsed().as_secs() < 10, "the killed one is on the network still");
    }
    // As after a boot: nothing in the kernel, nothing in the run directory.
    let gone = std::process::Command::new("ip").args(["link", "delete", &bridge]).status();
    assert!(gone.is_ok_and(|status| status.success()));
    std::fs::remove_dir_all(sealed.path("run/network")).unwrap();
    sealed.ok(&["start", "web"]);
    assert_eq!(eventually(&places(&sealed, "web")[0]), "one", "after a boot");
    assert_eq!(inspect(&sealed, "mine", "{{(index .IPAM.Config 0).Subnet}}"), subnet);
}

#[test]
fn networks_of_others_and_networks_without_a_way_out() {
    let Some(sealed) = with_busybox("networks_of_others_and_networks_without_a_way_out") else { return };
    sealed.ok(&["network", "create", "--internal", "inner"]);
    sealed.ok(&["run", "-d", "--name", "web", "--network", "inner", "--hostname", "me", "box"]);
    let within = |words: &[&str]| {
        let words = [&["run", "--rm", "--network", "container:web", "box"][..], words].concat();
        sealed.ok(&words)
    };
    assert_eq!(within(&["hostname"]), "me\n");
    assert_eq!(within(&["ip", "-4", "-o", "addr"]), sealed.ok(&["exec", "web", "ip", "-4", "-o", "addr"]));
    assert_eq!(within(&["cat", "/etc/hosts"]), sealed.ok(&["exec", "web", "cat", "/etc/hosts"]));
    assert!(!within(&["ip", "route"]).contains("default"));
    sealed.ok(&["run", "--rm", "--network", "inner", "box", "ping", "-c", "1", "-W", "2", "web"]);
    let world = sealed.run(&["exec", "web", "nslookup", "berth.example"]);
    assert!(!world.succeeded(), "an internal network asks nobody: {}", world.tell());
    let own = |network: &str| sealed.ok(&["run", "--rm", "--network", network, "box", "ip", "-o", "link"]);
    assert_eq!(own("none").lines().count(), 1, "loopback alone");
    sealed.ok(&["run", "-d", "--name", "shut", "--network", "inner", "-p", "127.0.0.1::80", "box"]);
    sealed.ok(&["network", "connect", "bridge", "shut"]);
    assert_eq!(places(&sealed, "shut").len(), 1, "its ports lead in by the first way out");
    assert!(own("host").contains(&format!("br-{}", &inspect(&sealed, "inner", "{{.Id}}")[..12])));
    sealed.ok(&["stop", "--time", "0", "web"]);
    let late = sealed.run(&["run", "--rm", "--network", "container:web", "box", "true"]);
    assert_eq!(late.output.status.code(), Some(125));
    let words = "cannot join network namespace of a non running container: container web is exited";
    assert!(late.stderr().contains(words), "{}", late.tell());
}

/// What docker 28 says, but for the rows marked.
#[test]
fn wrong_words_are_told_in_dockers() {
    let Some(sealed) = with_busybox("wrong_words_are_told_in_dockers") else { return };
    sealed.ok(&["network", "create", "mine", "--subnet", "10.211.77.0/24"]);
    sealed.ok(&["create", "--name", "made", "box"]);
    let shared = "container:made";
    let rows: &[(&[&str], i32, &str)] = &[
        (
            &["run", "--network", "nope", "box"],
            125,
            "failed to set up container networking: network nope not found",
        ),
        (
            &["run", "--network", "container:nope", "box"],
            125,
            "joining network namespace of container: No such container: nope",
        ),
        (
            &["run", "--network", shared, "-p", "80:80", "box"],
            125,
            "conflicting options: port publishing and the container type network mode",
        ),
        (
            &["run", "--network", shared, "--hostname", "x", "box"],
            125,
            "conflicting options: hostname and the network mode",
        ),
        (
            &["run", "--network", shared, "--dns", "1.1.1.1", "box"],
            125,
            "conflicting options: dns and the network mode",
        ),
        (
            &["run", "--network", "host", "--network", "mine", "box"],
            125,
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes",
        ),
        (
            &["run", "--network", "mine", "--network", "mine", "box"],
            125,
            "network \"mine\" is specified multiple times",
        ),
        (
            &["run", "--network", "mine,ip=10.211.77.9", "box"],
            125,
            "invalid argument \"mine,ip=10.211.77.9\" for \"--network\" flag: invalid field mine",
        ),
        (
            &["run", "--network", "name=mine,foo=x", "box"],
            125,
            "invalid argument \"name=mine,foo=x\" for \"--network\" flag: invalid field key foo",
        ),
        (&["run", "--network", "", "box"], 125, "no name set for network"),
        (
            &["run", "--ip", "10.99.0.1", "--network", "mine", "box"],
            125,
            "invalid config for network mine: invalid endpoint settings:\nno configured subnet or ip-range contain the IP address 10.99.0.1",
        ),
        (
            &["run", "--ip", "10.99.0.1", "box"],
            125,
            "user specified IP address is supported on user defined networks only",
        ),
        (
            &["run", "--network-alias", "x", "box"],
            125,
            "network-scoped aliases are only supported for user-defined networks",
        ),
        (
            &["run", "--add-host", "a:xyz", "box"],
            125,
            "invalid argument \"a:xyz\" for \"--add-host\" flag: invalid IP address in add-host: \"xyz\"",
        ),
        (&["run", "-p", "99999:80", "box"], 125, "invalid hostPort: 99999"),
        (&["run", "-p", "80:80:80:80", "box"], 125, "invalid IP address: 80:80"),
        (&["network", "create", "mine"], 1, "network with name mine already exists"),
        (&["network", "create", "bridge"], 1, "operation is not permitted on predefined bridge network"),
        (
            &["network", "create", "x", "--subnet", "10.211.77.0/25"],
            1,
            "invalid pool request: Pool overlaps with other one on this address space",
        ),
        (
            &["network", "create", "x", "--subnet", "10.211.77"],
            1,
            "invalid network config:\ninvalid subnet 10.211.77: invalid CIDR block notation",
        ),
        (
            &["network", "create", "x", "--gateway", "10.0.0.1"],
            1,
            "every ip-range or gateway must have a corresponding subnet",
        ),
        (&["network", "create", "x", "-d", "foo"], 1, "plugin \"foo\" not found"),
        (&["network", "create", "x", "-d", "host"], 1, "only one instance of \"host\" network is allowed"),
        (&["network", "create", "x", "-o", "foo=bar"], 1, "a network of driver bridge has no option foo"), // docker passes over it
        (&["network", "create", "x", "-d", "macvlan"], 1, "a network of driver macvlan needs a parent"), // docker makes a dummy
        (&["network", "rm", "nope"], 1, "network nope not found"),
        (&["network", "rm", "host"], 1, "host is a pre-defined network and cannot be removed"),
        (&["network", "inspect", "nope"], 1, "network nope not found"),
        (&["network", "ls", "--filter", "foo=x"], 1, "invalid filter 'foo'"),
        (&["network", "ls", "--filter", "type=foo"], 1, "invalid filter: 'type'='foo'"),
        (&["network", "connect", "nope", "nobody"], 1, "No such container: nobody"),
        (&["network", "connect", "nope", "made"], 1, "network nope not found"),
        (
            &["network", "connect", "host", "made"],
            1,
            "cannot connect container to host network - container must be created in host network mode",
        ),
        (
            &["network", "connect", "none", "made"],
            1,
            "container cannot be connected to multiple networks with one of the networks in private (none) mode",
        ),
        (
            &["network", "connect", "bridge", "made"],
            1,
            "endpoint with name made already exists in network bridge",
        ),
        (
            &["network", "connect", "--ip", "9.9.9.9", "mine", "made"],
            1,
            "no configured subnet or ip-range contain the IP address 9.9.9.9",
        ),
        (&["network", "disconnect", "mine", "made"], 1, "is not connected to network mine"),
    ];
    for (words, code, expected) in rows {
        let outcome = sealed.run(words);
        assert_eq!(outcome.output.status.code(), Some(*code), "{}", outcome.tell());
        assert!(outcome.stderr().contains(expected), "{expected}\n{}", outcome.tell());
    }
}
