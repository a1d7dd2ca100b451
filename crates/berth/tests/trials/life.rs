//! The life of real containers: started again, checked, stopped, killed, logged, and what is told about it.
//!
//! Nothing here waits for time: what is awaited is an event, told by `berth events`.

use super::support::{Sealed, Story, boxed};
use rustix::process::{Pid, Signal, kill_process};
use std::os::unix::fs::PermissionsExt;

/// A number that a template shows.
fn number(berth: &Sealed, name: &str, template: &str) -> i32 {
    berth.ok(&["inspect", "--format", template, name]).trim().parse().expect("a number")
}

fn field(berth: &Sealed, name: &str, template: &str) -> String {
    berth.ok(&["inspect", "--format", template, name]).trim().to_owned()
}

/// As another program would: berth knows nothing of it. It is gone when this returns.
fn kill_from_outside(pid: i32) {
    let pid = Pid::from_raw(pid).expect("a process");
    let process =
        rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).expect("it is alive");
    kill_process(pid, Signal::KILL).expect("it is alive");
    rustix::event::poll(&mut [rustix::event::PollFd::new(&process, rustix::event::PollFlags::IN)], None)
        .expect("its end is an event");
}

fn monitor_of(berth: &Sealed, name: &str) -> i32 {
    let pid = number(berth, name, "{{.State.Pid}}");
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it is alive");
    let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1));
    parent.and_then(|number| number.parse().ok()).expect("every process has a parent")
}

#[test]
fn a_policy_says_how_often_and_a_person_says_when_it_is_enough() {
    let Some(berth) = boxed("a_policy_says_how_often_and_a_person_says_when_it_is_enough") else { return };
    let mut story = Story::of(&berth);
    berth.ok(&["run", "-d", "--name", "thrice", "--restart", "on-failure:2", "box", "sh", "-c", "exit 3"]);
    for _ in 0..3 {
        story.until("start thrice");
        story.until("die thrice 3");
    }
    // The monitor writes the end after it tells it: `wait` returns when all is done.
    assert_eq!(berth.ok(&["wait", "thrice"]), "3\n");
    assert_eq!(field(&berth, "thrice", "{{.RestartCount}} {{.State.Status}}"), "2 exited");

    berth.ok(&["run", "-d", "--name", "always", "--restart", "always", "box", "sleep", "1000"]);
    story.until("start always");
    kill_from_outside(number(&berth, "always", "{{.State.Pid}}"));
    story.until("die always 137");
    story.until("start always");
    assert_eq!(field(&berth, "always", "{{.RestartCount}} {{.State.Status}}"), "1 running");
    berth.ok(&["stop", "-t", "0", "always"]);
    assert_eq!(field(&berth, "always", "{{.State.Status}}"), "exited");
    // A start by hand counts anew.
    berth.ok(&["start", "always"]);
    assert_eq!(field(&berth, "always", "{{.RestartCount}} {{.State.Running}}"), "0 true");
}

#[test]
fn between_two_runs_a_container_says_so_and_can_be_stopped() {
    let Some(berth) = boxed("between_two_runs_a_container_says_so_and_can_be_stopped") else { return };
    let mut story = Story::of(&berth);
    berth.ok(&["run", "-d", "--name", "web", "--restart", "always", "box", "sh", "-c", "exit 4"]);
    // After the fifth end it rests for 1.6 seconds: long enough to be looked at.
    for _ in 0..5 {
        story.until("die web 4");
    }
    let status = berth.ok(&["ps", "--format", "{{.Status}} {{.State}}"]);
    assert!(status.starts_with("Restarting (4) ") && status.ends_with(" ago restarting\n"), "{status}");
    for (words, expected) in [
        (&["exec", "web", "true"][..], "is restarting, wait until the container is running"),
        (&["pause", "web"], "is restarting, wait until the container is running"),
        (&["rm", "web"], "container is restarting: stop the container before removing or force remove"),
        (&["attach", "web"], "You cannot attach to a restarting container, wait until it is running"),
    ] {
        let outcome = berth.run(words);
        assert!(!outcome.succeeded() && outcome.stderr().contains(expected), "{}", outcome.tell());
    }
    berth.ok(&["stop", "web"]);
    assert_eq!(field(&berth, "web", "{{.State.Status}} {{.State.ExitCode}}"), "exited 4");
}

#[test]
fn the_machine_starts_what_was_to_run() {
    let Some(berth) = boxed("the_machine_starts_what_was_to_run") else { return };
    for (name, policy) in [("always", "always"), ("stopped", "unless-stopped"), ("other", "unless-stopped")] {
        berth.ok(&[
            "run",
            "-d",
            "--name",
            name,
            "--restart",
            policy,
            "--stop-timeout",
            "0",
            "box",
            "sleep",
            "1000",
        ]);
    }
    berth.ok(&["run", "-d", "--name", "no", "--stop-timeout", "0", "box", "sleep", "1000"]);
    berth.ok(&["stop", "stopped"]);
    berth.ok(&["system", "stop-containers"]);
    assert_eq!(berth.ok(&["ps", "-q"]), "");
    assert_eq!(berth.ok(&["system", "restart-containers"]), "always\nother\n");
    assert_eq!(berth.ok(&["ps", "--format", "{{.Names}}"]), "other\nalways\n");
    // Nothing is left to do.
    assert_eq!(berth.ok(&["system", "restart-containers"]), "");
    // A killed monitor is as good as a power cut.
    let mut story = Story::of(&berth);
    kill_from_outside(monitor_of(&berth, "always"));
    assert_eq!(berth.ok(&["system", "restart-containers"]), "always\n");
    story.until("start always");
}

#[test]
fn health_is_what_the_check_says() {
    let Some(berth) = boxed("health_is_what_the_check_says") else { return };
    let mut story = Story::of(&berth);
    let check =
        ["--health-cmd", "echo looking; test -e /ok", "--health-interval", "50ms", "--health-retries", "2"];
    let words = [&["run", "-d", "--name", "web"][..], &check, &["box", "sleep", "1000"]].concat();
    berth.ok(&words);
    story.until("health_status: unhealthy web");
    let status = berth.ok(&["ps", "--filter", "health=unhealthy", "--format", "{{.Status}}"]);
    assert!(status.ends_with(" (unhealthy)\n"), "{status}");
    let log = field(
        &berth,
        "web",
        "{{(index .State.Health.Log 0).ExitCode}} {{(index .State.Health.Log 0).Output}}",
    );
    assert_eq!(log, "1 looking");
    let why = berth.ok(&["why", "web"]);
    assert!(why.contains("its health check fails") && why.contains("code 1: looking"), "{why}");
    berth.ok(&["exec", "web", "touch", "/ok"]);
    story.until("health_status: healthy web");
    assert_eq!(field(&berth, "web", "{{.State.Health.Status}} {{.State.Health.FailingStreak}}"), "healthy 0");
    assert_eq!(berth.ok(&["ps", "--filter", "health=unhealthy", "-q"]), "");
    berth.ok(&["stop", "-t", "0", "web"]);
    assert_eq!(field(&berth, "web", "{{.State.Health.Status}}"), "unhealthy");

    let slow = ["--health-cmd", "sleep 1000", "--health-interval", "10ms", "--health-timeout", "50ms"];
    let words =
        [&["run", "-d", "--name", "slow", "--health-retries", "1"][..], &slow, &["box", "sleep", "1000"]];
    berth.ok(&words.concat());
    story.until("health_status: unhealthy slow");
    let output = field(
        &berth,
        "slow",
        "{{(index .State.Health.Log 0).ExitCode}} {{(index .State.Health.Log 0).Output}}",
    );
    assert_eq!(output, "-1 Health check exceeded timeout (50ms)");

    let words = ["run", "-d", "--name", "again", "--restart", "on-unhealthy:1", "--health-retries", "1"];
    let words = [&words[..], &["--health-cmd", "false", "--health-interval", "10ms", "box", "sleep", "1000"]];
    berth.ok(&words.concat());
    for _ in 0..2 {
        story.until("start again");
        story.until("health_status: unhealthy again");
        story.until("die again 137");
    }
    berth.ok(&["wait", "again"]);
    assert_eq!(field(&berth, "again", "{{.RestartCount}} {{.State.Status}}"), "1 exited");
}

#[test]
fn a_stop_has_patience_of_its_own() {
    let Some(berth) = boxed("a_stop_has_patience_of_its_own") else { return };
    let mut story = Story::of(&berth);
    // The first process of a container ignores what it does not handle.
    berth.ok(&["run", "-d", "--name", "deaf", "box", "sleep", "1000"]);
    let mut stop = berth.spawn(&["stop", "-t", "1", "deaf"]);
    story.until("kill deaf");
    stop.kill().unwrap();
    stop.wait().unwrap();
    story.until("die deaf 137");
    let why = berth.ok(&["why", "deaf"]);
    assert!(why.contains("stop -t 1 deaf") && why.contains("SIGTERM; it did not do so in time"), "{why}");
    // One that listens ends at once, however long the patience.
    let script = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done";
    berth.ok(&["run", "-d", "--name", "polite", "box", "sh", "-c", script]);
    while berth.ok(&["logs", "polite"]) != "ready\n" {}
    let began = std::time::Instant::now();
    berth.ok(&["stop", "-t", "600", "polite"]);
    assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
    assert_eq!(field(&berth, "polite", "{{.State.ExitCode}}"), "7");
    // And one whose time is over is stopped by nobody.
    berth.ok(&[
        "run",
        "-d",
        "--name",
        "brief",
        "--max-runtime",
        "50ms",
        "--stop-timeout",
        "0",
        "box",
        "sleep",
        "1000",
    ]);
    story.until("die brief 137");
    assert!(berth.ok(&["why", "brief"]).contains("--max-runtime allows (50ms)"));
}

#[test]
fn why_names_what_happened() {
    let Some(berth) = boxed("why_names_what_happened") else { return };
    let scripts = [
        ("crlf.sh", "#!/bin/sh\r\necho hi\r\n"),
        ("lost.sh", "#!/usr/bin/nothing\n"),
        ("env.sh", "#!/bin/env nothing\n"),
        ("torn", "\u{7f}ELF\u{2}\u{1}\u{1}"),
        (
            "arm",
            "\u{7f}ELF\u{2}\u{1}\u{1}\0\0\0\0\0\0\0\0\0\u{2}\0\u{b7}\0\u{1}\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        ),
    ];
    for (name, text) in scripts {
        let path = berth.path(name);
        // `\u{b7}` is two bytes in UTF-8 and one in an ELF header.
        let bytes: Vec<u8> = text.chars().map(|c| c as u8).collect();
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    // A program of which only the beginning has arrived: the kernel starts it, and kills it.
    let whole = std::fs::read("/bin/busybox").unwrap();
    std::fs::write(berth.path("short"), &whole[..5000]).unwrap();
    std::fs::set_permissions(berth.path("short"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let directory = berth.path("");
    let bind = format!("{}:/x:ro", directory.display());
    let library = "echo 'x: error while loading shared libraries: libx.so.1: cannot open' >&2; exit 127";
    for (name, words, code, expected) in [
        ("gone", &["nope"][..], 127, "executable file not found in $PATH"),
        ("crlf", &["/x/crlf.sh"], 127, "ends in CR LF"),
        ("lost", &["/x/lost.sh"], 127, "the interpreter `/usr/bin/nothing`"),
        ("env", &["/x/env.sh"], 127, "the interpreter `nothing` of the script `/x/env.sh`"),
        ("torn", &["/x/torn"], 126, "`/x/torn` is damaged"),
        ("line", &["echo hi"], 127, "give its arguments as words of their own"),
        ("arm", &["/x/arm"], 126, "is a program for arm64"),
        ("plain", &["/x/berth.toml"], 126, "permission denied"),
        ("mode", &["/x/berth.toml"], 126, "`/x/berth.toml` is there, and may not be executed"),
        ("library", &["sh", "-c", library], 127, "needs the shared library libx.so.1"),
        ("shell", &["sh"], 0, "probably the shell had nothing to read"),
        ("daemon", &["sh", "-c", "true # nginx"], 0, "keep it in the foreground: nginx -g 'daemon off;'"),
        ("done", &["true"], 0, "its program did its work"),
        ("failed", &["sh", "-c", "echo last words; exit 9"], 9, "| last words"),
    ] {
        if name == "arm" && !cfg!(target_arch = "x86_64") {
            continue;
        }
        let outcome = berth.run(&[&["run", "--name", name, "-v", &bind, "box"][..], words].concat());
        assert_eq!(outcome.output.status.code(), Some(code), "{}", outcome.tell());
        let why = berth.ok(&["why", name]);
        assert!(why.contains(expected), "{why}");
    }
    // One kernel calls it SIGSEGV, another SIGBUS.
    let outcome = berth.run(&["run", "--name", "short", "-v", &bind, "box", "/x/short"]);
    assert!(matches!(outcome.output.status.code(), Some(135 | 139)), "{}", outcome.tell());
    let why = berth.ok(&["why", "short"]);
    assert!(why.contains("is damaged: it has 5000 bytes"), "{why}");
    berth.ok(&["run", "-d", "--name", "shot", "box", "sleep", "1000"]);
    kill_from_outside(number(&berth, "shot", "{{.State.Pid}}"));
    assert_eq!(berth.ok(&["wait", "shot"]), "137\n");
    assert!(berth.ok(&["why", "shot"]).contains("SIGKILL ended it; berth did not send it"));
}

#[test]
fn memory_that_runs_out_is_told() {
    let Some(berth) = boxed("memory_that_runs_out_is_told") else { return };
    let mut story = Story::of(&berth);
    let outcome = berth.run(&["run", "--name", "first", "-m", "8m", "box", "tail", "/dev/zero"]);
    assert_eq!(outcome.output.status.code(), Some(137), "{}", outcome.tell());
    assert!(
        outcome.stderr().contains("it reached its memory limit of 8MiB (--memory)"),
        "{}",
        outcome.tell()
    );
    assert_eq!(field(&berth, "first", "{{.State.OOMKilled}}"), "true");
    let why = berth.ok(&["why", "first"]);
    assert!(why.contains("the kernel killed tail (pid ") && why.contains("it had "), "{why}");
    story.until("oom first");
    // A child that is killed while the first process goes on: known before the end.
    let script = "tail /dev/zero; sleep 1000";
    berth.ok(&["run", "-d", "--name", "child", "-m", "8m", "box", "sh", "-c", script]);
    story.until("oom child");
    assert_eq!(field(&berth, "child", "{{.State.OOMKilled}} {{.State.Running}}"), "true true");
}

#[test]
fn logs_are_bounded_and_followed_over_rotations_and_restarts() {
    let Some(berth) = boxed("logs_are_bounded_and_followed_over_rotations_and_restarts") else { return };
    let rotate =
        ["--log-opt", "max-size=2k", "--log-opt", "max-file=3", "--log-opt", "labels=a", "-l", "a=b"];
    let script = "i=0; while [ $i -lt 100 ]; do i=$((i+1)); echo line $i; done";
    berth.ok(&[&["run", "--name", "web"][..], &rotate, &["box", "sh", "-c", script]].concat());
    let path = std::path::PathBuf::from(field(&berth, "web", "{{.LogPath}}"));
    let files: Vec<_> =
        std::fs::read_dir(path.parent().unwrap()).unwrap().map(|e| e.unwrap().path()).collect();
    let logs: Vec<_> = files.iter().filter(|f| f.to_string_lossy().contains("-json.log")).collect();
    assert_eq!(logs.len(), 3, "{files:?}");
    assert!(logs.iter().all(|f| f.metadata().unwrap().permissions().mode() & 0o777 == 0o640));
    let all = berth.ok(&["logs", "web"]);
    assert!(all.ends_with("line 99\nline 100\n") && !all.contains("line 1\n"), "{all}");
    assert_eq!(berth.ok(&["logs", "--tail", "2", "web"]), "line 99\nline 100\n");
    assert_eq!(berth.ok(&["logs", "--tail", "1", "--details", "web"]), "a=b line 100\n");
    assert_eq!(berth.ok(&["logs", "--until", "1h", "web"]), "");
    assert_eq!(berth.ok(&["logs", "--since", "1h", "--tail", "1", "web"]), "line 100\n");
    // Followed from before its first start until it has ended for good, over a restart.
    let script = "echo one; echo two >&2; exit 1";
    let words = ["run", "-d", "--name", "again", "--restart", "on-failure:2", "box", "sh", "-c", script];
    berth.ok(&words);
    let followed = berth.run(&["logs", "-f", "again"]);
    assert_eq!(
        (followed.stdout(), followed.stderr()),
        ("one\n".repeat(3), "two\n".repeat(3)),
        "{}",
        followed.tell()
    );
    for (words, expected) in [
        (&["--log-driver", "none"][..], "configured logging driver does not support reading"),
        (&["--log-driver", "local"], ""),
    ] {
        berth.ok(&[&["run", "--name", "kept"][..], words, &["box", "echo", "kept"]].concat());
        let outcome = berth.run(&["logs", "kept"]);
        match expected {
            "" => assert_eq!(outcome.stdout(), "kept\n"),
            expected => assert!(outcome.stderr().contains(expected), "{}", outcome.tell()),
        }
        berth.ok(&["rm", "kept"]);
    }
}

#[test]
fn a_syslog_server_hears_what_a_container_says() {
    let Some(berth) = boxed("a_syslog_server_hears_what_a_container_says") else { return };
    let server = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
    let address = format!("syslog-address=udp://{}", server.local_addr().unwrap());
    let log = |option: &'static str| {
        ["--log-driver", "syslog", "--log-opt", &address, "--log-opt", option].map(str::to_owned)
    };
    let said = |name: &str, options: &[String], script: &str| {
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        berth.ok(&[&["run", "-d", "--name", name][..], &options, &["box", "sh", "-c", script]].concat());
        let mut bytes = [0; 1024];
        let length = server.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    let message = said("one", &log("tag={{.Name}}/x"), "echo hello");
    assert!(
        message.starts_with("<30>") && message.contains(" one/x[") && message.ends_with(": hello\n"),
        "{message}"
    );
    assert_eq!(berth.ok(&["logs", "-f", "one"]), "hello\n");
    let message = said("two", &log("syslog-facility=local1"), "echo wrong >&2");
    let id = berth.ok(&["inspect", "-f", "{{slice .Id 0 12}}", "two"]);
    assert!(message.starts_with("<139>") && message.contains(&format!(" {}[", id.trim())), "{message}");
    let message = said("three", &log("syslog-format=rfc5424"), "printf part");
    assert!(message.starts_with("<30>1 ") && message.ends_with(" - part\n"), "{message}");
    // Nobody listens there: the container does not start, and says why.
    let words = ["--log-driver", "syslog", "--log-opt", "syslog-address=tcp://127.0.0.1:1", "box", "true"];
    let outcome = berth.run(&[&["run", "--name", "four"][..], &words].concat());
    assert!(
        outcome.stderr().contains("there is no syslog server at `tcp://127.0.0.1:1`"),
        "{}",
        outcome.tell()
    );
    assert_eq!(outcome.output.status.code(), Some(125), "{}", outcome.tell());
}

#[test]
fn everything_that_happens_is_told_in_order() {
    let Some(berth) = boxed("everything_that_happens_is_told_in_order") else { return };
    berth.ok(&["run", "-d", "--name", "web", "-l", "a=b", "box", "sleep", "1000"]);
    berth.ok(&["exec", "web", "true"]);
    berth.ok(&["pause", "web"]);
    berth.ok(&["unpause", "web"]);
    berth.ok(&["rename", "web", "db"]);
    berth.ok(&["restart", "-t", "0", "db"]);
    berth.ok(&["update", "--cpu-shares", "512", "db"]);
    berth.ok(&["kill", "db"]);
    berth.ok(&["rm", "db"]);
    let told = berth.ok(&[
        "events",
        "--since",
        "1h",
        "--until",
        "0s",
        "--filter",
        "type=container",
        "--format",
        "{{.Action}}",
    ]);
    let expected = "create start exec_create:|true| exec_start:|true| exec_die pause unpause rename kill kill die \
                    stop start restart update kill die destroy";
    assert_eq!(told.trim().replace(' ', "|").replace('\n', " "), expected);
    let some = |filter: &str| {
        berth.ok(&["events", "--since", "1h", "--until", "0s", "--filter", filter, "--format", "{{.Action}}"])
    };
    assert_eq!(some("event=die"), "die\ndie\n");
    assert_eq!(some("container=nope"), "");
    assert_eq!(some("label=a=b").lines().count(), told.lines().count());
}

#[test]
fn an_init_passes_signals_on_and_reaps() {
    let Some(berth) = boxed("an_init_passes_signals_on_and_reaps") else { return };
    // Orphans that end are reaped: only the init and the shell are left in the end.
    let script = "for i in 1 2 3; do (sh -c true &); done; \
                  while set -- /proc/[0-9]*; [ $# != 2 ]; do sleep 0.01; done; [ $2 = /proc/$$ ] && echo $1";
    assert_eq!(berth.ok(&["run", "--rm", "--init", "box", "sh", "-c", script]), "/proc/1\n");
    let outcome = berth.run(&["run", "--rm", "--init", "box", "sh", "-c", "kill -USR1 $$; sleep 100"]);
    assert_eq!(outcome.output.status.code(), Some(138), "{}", outcome.tell());
    let outcome = berth.run(&["run", "--rm", "--init", "box", "nope"]);
    assert_eq!(outcome.output.status.code(), Some(127), "{}", outcome.tell());
    // What would be deaf as the first process is not as the second.
    berth.ok(&["run", "-d", "--name", "web", "--init", "box", "sleep", "1000"]);
    berth.ok(&["stop", "-t", "600", "web"]);
    assert_eq!(field(&berth, "web", "{{.State.ExitCode}} {{.HostConfig.Init}}"), "143 true");
}

#[test]
fn limits_change_while_it_runs_and_stats_show_them() {
    let Some(berth) = boxed("limits_change_while_it_runs_and_stats_show_them") else { return };
    berth.ok(&["run", "-d", "--name", "web", "-m", "64m", "box", "sleep", "1000"]);
    let limit =
        || berth.ok(&["stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}} {{.PIDs}}", "web"]);
    assert!(limit().starts_with("web ") && limit().ends_with(" / 64MiB 1\n"), "{}", limit());
    let outcome = berth.run(&["update", "-m", "300m", "web"]);
    assert!(outcome.stderr().contains("update the memoryswap at the same time"), "{}", outcome.tell());
    berth.ok(&["update", "-m", "300m", "--memory-swap", "-1", "--restart", "always", "web"]);
    assert!(limit().ends_with(" / 300MiB 1\n"), "{}", limit());
    // What the kernel refuses is not written down either.
    berth.run(&["update", "-m", "6m", "--memory-reservation", "1", "web"]);
    assert_eq!(field(&berth, "web", "{{.HostConfig.Memory}}"), (300 << 20).to_string());
    // And it holds for the next run by the same monitor.
    let mut story = Story::of(&berth);
    kill_from_outside(number(&berth, "web", "{{.State.Pid}}"));
    story.until("die web 137");
    story.until("start web");
    assert!(limit().ends_with(" / 300MiB 1\n"), "{}", limit());
    assert!(berth.ok(&["stats", "--no-stream"]).starts_with("CONTAINER ID   NAME "));
}

#[test]
fn a_container_that_is_to_go_goes_even_when_its_monitor_was_killed() {
    let Some(berth) = boxed("a_container_that_is_to_go_goes_even_when_its_monitor_was_killed") else {
        return;
    };
    let mut run = berth.spawn(&["run", "--rm", "--name", "web", "box", "sleep", "1000"]);
    let mut story = Story::of(&berth);
    story.until("start web");
    let monitor = monitor_of(&berth, "web");
    run.kill().unwrap();
    kill_from_outside(monitor);
    run.wait().unwrap();
    // Nobody is left who would remove it but the next command.
    assert_eq!(berth.ok(&["ps", "-a", "-q"]), "");
    assert!(!berth.run(&["inspect", "web"]).succeeded());
    assert_eq!(std::fs::read_dir(berth.root().join("containers")).unwrap().count(), 0);
}

#[test]
fn who_is_inside_when_the_monitor_is_killed_was_killed() {
    use std::io::Read;
    let Some(berth) = boxed("who_is_inside_when_the_monitor_is_killed_was_killed") else { return };
    berth.ok(&["run", "-d", "--name", "web", "box", "sleep", "1000"]);
    let mut inside = berth.spawn(&["exec", "web", "sh", "-c", "echo in; sleep 1000"]);
    let mut first = [0; 3];
    inside.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    kill_from_outside(monitor_of(&berth, "web"));
    let output = inside.wait_with_output().unwrap();
    assert_eq!((&first, output.status.code()), (b"in\n", Some(137)));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "Error: container web's monitor was killed\n");
}

/// Its record goes first: who has read that before, and starts it afterwards, must see that it has gone.
#[test]
fn a_container_without_a_record_does_not_start() {
    let Some(berth) = boxed("a_container_without_a_record_does_not_start") else { return };
    berth.ok(&["volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "slow"]);
    berth.ok(&["create", "--name", "web", "--network", "none", "-v", "slow:/data", "box", "sleep", "1000"]);
    let id = berth.ok(&["inspect", "--format", "{{.Id}}", "web"]).trim().to_owned();
    // Who starts it waits here for its volume, with what it has read.
    let lock =
        std::fs::File::options().write(true).open(berth.root().join("locks/volumes/slow.use")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let start = berth.spawn(&["start", "web"]);
    let waits = |locks: &str| {
        locks.lines().any(|line| line.contains("-> FLOCK") && line.contains(&format!(" {} ", start.id())))
    };
    while !waits(&std::fs::read_to_string("/proc/locks").unwrap()) {
        std::thread::yield_now();
    }
    let directory = berth.root().join("containers").join(&id);
    let killed = ["1", "2"].map(|step| berth.run_with(&["rm", "web"], Some(step)));
    assert!(killed.iter().any(super::support::Outcome::was_killed) && directory.exists());
    assert_eq!(berth.ok(&["ps", "-aq"]), "");
    drop(lock);
    let output = start.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && told.contains("has been removed"), "{told}");
    assert!(!directory.exists() && !berth.path("run/containers").join(&id).exists());
    assert_eq!(berth.ok(&["system", "check"]).lines().count(), 1);
}

/// A cgroup as systemd makes them for services, where this machine's systemd would look for it; gone when dropped.
struct Service(std::path::PathBuf);

impl Service {
    fn new() -> Option<Self> {
        let root = ["systemd", "unified", "."].map(|name| std::path::Path::new("/sys/fs/cgroup").join(name));
        let root = root.into_iter().find(|root| root.join("cgroup.procs").exists())?;
        let home = root.join(format!("berth-trial-{}.service", std::process::id()));
        std::fs::create_dir(&home).ok()?;
        Some(Self(home))
    }

    fn processes(&self) -> String {
        std::fs::read_to_string(self.0.join("cgroup.procs")).expect("it is there")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn a_container_is_no_part_of_the_service_that_starts_it() {
    let test = "a_container_is_no_part_of_the_service_that_starts_it";
    let Some(berth) = boxed(test) else { return };
    let Some(service) = Service::new() else {
        return super::support::skipped(test, "no cgroup can be made here");
    };
    let run = berth.command(&["run", "-d", "--name", "free", "box", "sleep", "1000"], None);
    let mut inside = std::process::Command::new("/bin/sh");
    inside.args(["-c", "echo $$ > \"$0/cgroup.procs\" && exec \"$@\""]).arg(&service.0);
    inside.arg(run.get_program()).args(run.get_args());
    for (name, value) in run.get_envs() {
        match value {
            Some(value) => inside.env(name, value),
            None => inside.env_remove(name),
        };
    }
    let done = inside.output().expect("sh");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    // What systemd would kill with the service: nobody.
    assert_eq!(service.processes(), "");
    let monitor = monitor_of(&berth, "free");
    assert!(std::fs::read_to_string(format!("/proc/{monitor}/cgroup")).unwrap().contains("-monitors"));
    berth.ok(&["rm", "-f", "free"]);
}
