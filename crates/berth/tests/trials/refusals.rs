//! What `run` refuses: one row for each mistake, with docker's words, its exit code, and nothing left behind.
//!
//! Not here: words that the command line itself does not know (`words.rs`), full and read-only disks (`disk.rs`), ports
//! that somebody has (`networks.rs`), programs that cannot be started (`life.rs`).

use super::support::boxed;

#[test]
fn a_mistake_is_told_and_leaves_nothing() {
    let Some(berth) = boxed("a_mistake_is_told_and_leaves_nothing") else { return };
    berth.ok(&["create", "--name", "taken", "box", "true"]);
    let file = |name: &str, text: &[u8]| {
        std::fs::write(berth.path(name), text).expect("the directory is ours");
        berth.path(name).display().to_string()
    };
    let (spaces, nameless, binary) = (file("a", b"A=1\nB C=2\n"), file("b", b"=1\n"), file("c", b"A=\xff\n"));
    let before = berth.ok(&["ps", "-aq"]);
    for (words, message) in [
        // Ports.
        (&["-p", "http:80"][..], "invalid hostPort: http"),
        (&["-p", "80:http"], "invalid containerPort: http"),
        (&["-p", "99999:80"], "invalid hostPort: 99999"),
        (&["-p", "80:80/xyz"], "invalid proto: xyz"),
        (&["-p", "1.2.3:80:80"], "invalid IP address: 1.2.3"),
        (&["-p", "80-82:80-81"], "invalid ranges specified for container and host Ports: 80-81 and 80-82"),
        (&["--expose", "9-8"], "invalid range format for --expose: 9-8"),
        // Mounts.
        (&["-v", "/a:/b:zz"], "invalid mode: zz"),
        (&["-v", "/a:/"], "destination can't be '/'"),
        (&["-v", "/a:/b", "-v", "/c:/b"], "Duplicate mount point: /b"),
        (
            &["--mount", "type=bind,source=/nonexistent,target=/x"],
            "bind source path does not exist: /nonexistent",
        ),
        (&["--mount", "type=zzz,target=/x"], "mount type unknown"),
        (&["--mount", "type=bind,target=/x"], "field Source must not be empty"),
        (&["--mount", "type=bind,source=/tmp"], "target is required"),
        (&["--mount", "foo"], "invalid field 'foo' must be a key=value pair"),
        (&["--mount", "foo=1"], "unexpected key 'foo' in 'foo=1'"),
        (&["--tmpfs", "x"], "mount path must be absolute"),
        (&["--volumes-from", "nobody"], "No such container: nobody"),
        // Variables and their files.
        (&["-e", "=x"], "invalid environment variable: =x"),
        (&["--env-file", "/nonexistent"], "open /nonexistent: no such file or directory"),
        (&["--env-file", &spaces], "variable 'B C' contains whitespaces"),
        (&["--env-file", &nameless], "no variable name on line '=1'"),
        (&["--env-file", &binary], "invalid utf8 bytes at line 1"),
        // Names.
        (&["--name", "a/b"], "Invalid container name (a/b), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"),
        (&["--name", "taken"], "The container name \"/taken\" is already in use by container"),
        // Limits.
        (&["-m", "5m"], "Minimum memory limit allowed is 6MB"),
        (&["-m", "much"], "invalid size: 'much'"),
        (
            &["-m", "10m", "--memory-swap", "9m"],
            "Minimum memoryswap limit should be larger than memory limit",
        ),
        (&["--cpus", "-1"], "range of CPUs is from 0.01"),
        (&["--cpu-period", "10"], "CPU cfs period can not be less than 1ms"),
        (&["--cpu-quota", "10"], "CPU cfs quota can not be less than 1ms"),
        (&["--blkio-weight", "5"], "Range of blkio weight is from 10 to 1000"),
        (&["--pids-limit", "many"], "invalid argument \"many\" for \"--pids-limit\" flag"),
        (&["--cpuset-cpus", "9999"], "Requested CPUs are not available - requested 9999"),
        (&["--oom-score-adj", "2000"], "Invalid value 2000, range for oom score adj is [-1000, 1000]"),
        (&["--ulimit", "nofile=5:1"], "ulimit soft limit must be less than or equal to hard limit"),
        (&["--shm-size", "x"], "invalid size: 'x'"),
        // Users.
        (&["-u", "nobodyhere"], "unable to find user nobodyhere: no matching entries in passwd file"),
        (&["-u", "0:nogroup2"], "unable to find group nogroup2: no matching entries in group file"),
        (&["-u", "99999999999"], "uids and gids must be in range 0-2147483647"),
        // The rest of what a person may get wrong.
        (&["--network", "nowhere"], "network nowhere not found"),
        (&["--restart", "sometimes"], "conflicting options: cannot specify both --restart and --rm"),
        (&["--log-driver", "tape"], "plugin \"tape\" not found"),
        (&["--log-driver", "syslog", "--log-opt", "syslog-address=x"], "unsupported scheme: ''"),
        (&["--log-driver", "syslog", "--log-opt", "syslog-facility=x"], "invalid syslog facility"),
        (
            &["--log-driver", "syslog", "--log-opt", "max-size=1m"],
            "unknown log opt 'max-size' for syslog log driver",
        ),
        (&["--cap-add", "NOPE"], "NOPE"),
        (&["--sysctl", "foo"], "sysctl 'foo' is not allowed"),
        (&["--device", "/dev/nosuch"], "error gathering device information"),
        (&["-w", "relative"], "it needs to be an absolute path"),
        (&["--stop-signal", "NOPE"], "invalid signal: NOPE"),
    ] {
        let outcome = berth.run(&[&["run", "--rm"][..], words, &["box", "true"]].concat());
        assert_eq!(outcome.output.status.code(), Some(125), "{}", outcome.tell());
        assert!(outcome.stderr().contains(message), "wanted: {message}\ngot: {}", outcome.tell());
        assert_eq!(berth.ok(&["ps", "-aq"]), before, "{words:?}");
    }
    for (image, message) in [
        ("UPPER", "repository name (library/UPPER) must be lowercase"),
        ("nowhere.invalid/x:1", "Unable to find image 'nowhere.invalid/x:1' locally"),
    ] {
        let outcome = berth.run(&["run", "--rm", image, "true"]);
        assert_eq!(outcome.output.status.code(), Some(125), "{}", outcome.tell());
        assert!(outcome.stderr().contains(message), "wanted: {message}\ngot: {}", outcome.tell());
    }
    let outcome = berth.run(&["run", "--rm", "--pull", "never", "nowhere.invalid/x:1"]);
    assert!(outcome.stderr().contains("No such image: nowhere.invalid/x:1"), "{}", outcome.tell());
    assert_eq!(berth.ok(&["ps", "-aq"]), before);
    assert_eq!(berth.ok(&["volume", "ls", "-q"]), "");
}
