//! From `create` to `delete`, and what is refused on the way.

use super::bundle::Bundle;
use serde_json::{Value, json};
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;

#[test]
fn created_started_asked_killed_deleted() {
    let Some(bundle) = Bundle::of("trap 'exit 9' TERM; echo begun; while :; do sleep 0.01; done") else {
        return;
    };
    let id = &*bundle.id;
    let pid_file = bundle.path("pid");
    assert_eq!(bundle.create(&["create", "--pid-file", pid_file.to_str().unwrap(), id]), Some(0));
    let state = bundle.state();
    assert_eq!((&state["status"], &state["id"]), (&json!("created"), &json!(id)));
    assert_eq!(std::fs::read_to_string(&pid_file).unwrap(), state["pid"].to_string());
    assert_eq!(bundle.output(), "", "nothing runs before `start`");
    assert!(bundle.say(&["create", id]).stderr.contains("already exists"));
    bundle.ok(&["start", id]);
    assert_eq!(bundle.state()["status"], "running");
    assert!(bundle.say(&["start", id]).stderr.contains("already running"));
    assert!(bundle.say(&["delete", id]).stderr.contains("not stopped: running"));
    assert_eq!(bundle.ok(&["list", "-q"]), format!("{id}\n"));
    bundle.ok(&["kill", id, "TERM"]);
    bundle.wait();
    assert_eq!(bundle.output(), "begun\n");
    assert!(bundle.say(&["kill", id, "TERM"]).stderr.contains("container not running"));
    bundle.ok(&["delete", id]);
    assert!(bundle.is_gone());
    let said = bundle.say(&["state", id]);
    assert!(said.code == Some(1) && said.stderr.contains("container does not exist"), "{said:?}");
    // docker reads why from here.
    let log = std::fs::read_to_string(bundle.path("log")).unwrap();
    let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert_eq!((&last["level"], &last["msg"]), (&json!("error"), &json!("container does not exist")));
}

#[test]
fn a_container_in_the_foreground_has_our_streams_and_its_code() {
    let Some(mut bundle) = Bundle::of("echo out; echo err >&2; exit 7") else { return };
    let said = bundle.run();
    assert_eq!((said.code, &*said.stdout, &*said.stderr), (Some(7), "out\n", "err\n"));
    assert!(bundle.is_gone());
    bundle.script("kill -KILL $$");
    bundle.config["process"]["args"] = json!(["sh", "-c", "sh -c 'kill -9 $$'; exit $?"]);
    assert_eq!(bundle.run().code, Some(137));
    bundle.config["process"]["args"] = json!(["nosuchcommand"]);
    let said = bundle.run();
    assert!(said.code == Some(1) && said.stderr.contains("executable file not found in $PATH"), "{said:?}");
    assert!(bundle.is_gone());
}

#[test]
fn further_processes_have_what_they_are_given() {
    let Some(bundle) = Bundle::of("while :; do sleep 0.01; done") else { return };
    let id = &*bundle.id;
    assert_eq!(bundle.create(&["run", "--detach", id]), Some(0));
    for (words, code, stdout) in [
        (&["exec", id, "sh", "-c", "echo $0 $A; pwd", "x"][..], 0, "x\n/\n"),
        (&["exec", "--env", "A=b", "--cwd", "/tmp", id, "sh", "-c", "echo $A; pwd"], 0, "b\n/tmp\n"),
        (&["exec", "--user", "5:6", "-g", "7", id, "id"], 0, "uid=5 gid=6 groups=7\n"),
        (&["exec", id, "sh", "-c", "exit 3"], 3, ""),
        (&["exec", id, "grep", "NoNewPrivs", "/proc/self/status"], 0, "NoNewPrivs:\t1\n"),
        (
            &["exec", "--cap", "CAP_NET_RAW", id, "grep", "CapEff", "/proc/self/status"],
            0,
            "CapEff:\t0000000020002420\n",
        ),
    ] {
        let said = bundle.say(words);
        assert_eq!((said.code, &*said.stdout), (Some(code), stdout), "{words:?}: {said:?}");
    }
    let process = bundle.path("process.json");
    let text = json!({ "args": ["sh", "-c", "echo $B"], "cwd": "/", "env": ["B=c", "PATH=/bin"], "user": {"uid":0,"gid":0} });
    std::fs::write(&process, text.to_string()).unwrap();
    assert_eq!(bundle.ok(&["exec", "--process", process.to_str().unwrap(), id]), "c\n");
    let said = bundle.say(&["exec", id, "nosuchcommand"]);
    assert!(said.stderr.contains("not found in $PATH"), "{said:?}");
    bundle.ok(&["pause", id]);
    assert_eq!(bundle.state()["status"], "paused");
    assert!(bundle.say(&["exec", id, "true"]).stderr.contains("paused"));
    bundle.ok(&["resume", id]);
    let pids: Vec<i32> = serde_json::from_str(&bundle.ok(&["ps", "--format", "json", id])).unwrap();
    assert!(pids.contains(&(bundle.state()["pid"].as_i64().unwrap() as i32)), "{pids:?}");
    bundle.ok(&["delete", "--force", id]);
    assert!(bundle.is_gone());
    bundle.ok(&["delete", "--force", id]);
}

#[test]
fn a_terminal_goes_to_the_console_socket() {
    let Some(mut bundle) = Bundle::of("tty; stty size; test -t 0 && echo yes") else { return };
    bundle.config["process"]["terminal"] = true.into();
    bundle.config["process"]["consoleSize"] = json!({ "height": 33, "width": 44 });
    let id = bundle.id.clone();
    let said = bundle.say(&["create", &id]);
    assert!(said.stderr.contains("--console-socket"), "{said:?}");
    assert!(bundle.is_gone());
    let path = bundle.path("console");
    let listener = UnixListener::bind(&path).unwrap();
    let words = ["create", "--console-socket", path.to_str().unwrap(), &id];
    assert_eq!(bundle.create(&words), Some(0), "{}", bundle.output());
    let (socket, _) = listener.accept().unwrap();
    let mut terminal = std::fs::File::from(receive(&socket));
    bundle.ok(&["start", &id]);
    let mut text = Vec::new();
    // The end of a terminal is an error.
    let _ = terminal.read_to_end(&mut text);
    assert_eq!(String::from_utf8(text).unwrap(), "/dev/pts/0\r\n33 44\r\nyes\r\n");
}

fn receive(socket: impl AsFd) -> std::os::fd::OwnedFd {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 64];
    let flags = RecvFlags::CMSG_CLOEXEC;
    recvmsg(socket, &mut [std::io::IoSliceMut::new(&mut bytes)], &mut control, flags).unwrap();
    let fds = control.drain().find_map(|m| match m {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    fds.expect("a descriptor came along")
}

#[test]
fn a_bundle_that_makes_no_sense_is_refused_and_leaves_nothing() {
    let changes: [(&str, Value, &str); 8] = [
        ("/process/args", json!([]), "no command specified"),
        ("/process/cwd", json!("tmp"), "needs to be an absolute path"),
        ("/root/path", json!("nothing"), "nothing"),
        ("/linux/namespaces/0/path", json!("/proc/self/ns/nothing"), "/proc/self/ns/nothing"),
        (
            "/linux/uidMappings",
            json!([{ "containerID": 0, "hostID": 0, "size": 1 }]),
            "need a user namespace",
        ),
        ("/linux/namespaces/0/type", json!("mount"), "has mnt twice"),
        ("/linux/intelRdt", json!({}), "`linux.intelRdt`"),
        ("/linux/cgroupsPath", json!("a.slice:b:c"), "systemd's form"),
    ];
    for (place, value, words) in changes {
        let Some(mut bundle) = Bundle::of("true") else { return };
        let (parent, name) = place.rsplit_once('/').unwrap();
        bundle.config.pointer_mut(parent).unwrap()[name] = value;
        let said = bundle.run();
        assert!(said.code == Some(1) && said.stderr.contains(words), "{place}: {said:?}");
        assert!(bundle.is_gone(), "{place}");
    }
}

/// What a program in Go has not said is there, and empty; a destination from the time before they were absolute is the
/// root's.
#[test]
fn empty_words_say_nothing() {
    let Some(mut bundle) = Bundle::of("cat /proc/sys/kernel/hostname; cat /mnt/file") else { return };
    for namespace in bundle.config["linux"]["namespaces"].as_array_mut().unwrap() {
        namespace["path"] = "".into();
    }
    for (place, field) in [("linux", "rootfsPropagation"), ("linux", "cgroupsPath"), ("linux", "mountLabel")]
        .into_iter()
        .chain([("process", "apparmorProfile"), ("process", "selinuxLabel")])
    {
        bundle.config[place][field] = "".into();
    }
    bundle.config["hostname"] = "inside".into();
    std::fs::write(bundle.path("file"), "shown\n").unwrap();
    let mount = json!({ "destination": "mnt/file", "type": "", "source": "file", "options": ["rbind", "", "silent", "iversion"] });
    bundle.config["mounts"].as_array_mut().unwrap().push(mount);
    let said = bundle.run();
    assert_eq!((said.code, &*said.stdout), (Some(0), "inside\nshown\n"), "{said:?}");
}
