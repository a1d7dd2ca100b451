//! Eight processes at once start, stop, pause, kill and remove the same few containers; some of them are killed on
//! the way, and so are containers' monitors. What is left must be true, usable, and gone when it is removed.
//! Eight seconds, or BERTH_CHAOS_SECONDS.

use super::support::{Outcome, Random, Sealed, boxed};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const PROCESSES: u64 = 8;
const NAMES: [&str; 5] = ["anna", "bert", "carl", "dora", "emil"];

/// What may go wrong because another process was faster or a monitor was killed; anything else is a bug.
const EXPECTED: &[&str] = &[
    "No such container",
    "No such object",
    "is already in use by container",
    "is not running",
    "is not paused",
    "is already paused",
    "is paused",
    "is restarting",
    "is already running",
    "is running: stop the container",
    "container's monitor",
    "has already ended",
    "has been removed",
    "has already been started",
    "monitor of this container was killed",
    "the start of this container was broken off",
    "ended before its program could start",
    "cannot attach",
    "connection reset",
    "Broken pipe",
    "broken pipe",
    "has gone",
];

fn duration() -> Duration {
    #[expect(clippy::disallowed_methods, reason = "how long a test runs is the caller's wish")]
    let seconds = std::env::var("BERTH_CHAOS_SECONDS").ok().and_then(|s| s.parse().ok());
    Duration::from_secs(seconds.unwrap_or(8))
}

#[test]
fn eight_processes_leave_nothing_behind() {
    let Some(berth) = boxed("eight_processes_leave_nothing_behind") else { return };
    let ids = Mutex::new(BTreeSet::new());
    let (end, done, killed) = (Instant::now() + duration(), AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for process in 0..PROCESSES {
            let (berth, ids, done, killed) = (&berth, &ids, &done, &killed);
            scope.spawn(move || {
                let mut random = Random(0x57a2_1000 + process);
                while Instant::now() < end {
                    let outcome = match random.below(12) {
                        0 => kill_a_monitor(berth, &mut random),
                        _ => one_command(berth, &mut random),
                    };
                    judge(&outcome);
                    remember(&outcome, ids);
                    killed.fetch_add(u64::from(outcome.was_killed()), Ordering::Relaxed);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let (done, killed) = (done.into_inner(), killed.into_inner());
    assert!(done > PROCESSES && killed > 0, "{done} commands, {killed} killed: this was no storm");
    let mut ids = ids.into_inner().expect("no thread has panicked");
    ids.extend(berth.ok(&["ps", "-aq", "--no-trunc"]).lines().map(str::to_owned));
    assert_usable(&berth);
    let bridge = "{{index .Options \"com.docker.network.bridge.name\"}}";
    let bridge = berth.ok(&["network", "inspect", "bridge", "--format", bridge]).trim().to_owned();
    for id in berth.ok(&["ps", "-aq"]).lines() {
        berth.ok(&["rm", "-f", id]);
    }
    // What a killed removal has left belongs to nobody.
    berth.ok(&["system", "check", "--repair"]);
    assert_nothing_is_left(&berth, &ids, &bridge);
    for name in NAMES {
        assert_eq!(berth.ok(&["run", "--rm", "--name", name, "box", "echo", "well"]), "well\n");
    }
    assert_nothing_is_left(&berth, &ids, &bridge);
}

fn one_command(berth: &Sealed, random: &mut Random) -> Outcome {
    let name = NAMES[usize::try_from(random.below(5)).expect("a small number")];
    let script = "trap 'exit 3' TERM; while :; do sleep 0.05; done";
    let brief = ["--restart", "on-failure:2", "box", "sh", "-c", "exit 1"];
    let words: Vec<&str> = match random.below(18) {
        0..=2 => vec!["run", "-d", "--name", name, "box", "sh", "-c", script],
        3 => vec!["run", "-d", "--rm", "--name", name, "--init", "box", "sleep", "1"],
        4 => vec!["run", "-d", "--name", name, "--restart", "always", "box", "sleep", "0.1"],
        5 => [&["run", "-d", "--name", name][..], &brief].concat(),
        6 => vec![
            "run",
            "-d",
            "--name",
            name,
            "--health-cmd",
            "true",
            "--health-interval",
            "30ms",
            "box",
            "sleep",
            "9",
        ],
        7 => vec!["run", "--rm", "box", "true"],
        8 => vec!["start", name],
        9 => vec!["stop", "-t", "0", name],
        10 => vec!["restart", "-t", "0", name],
        11 => vec!["kill", name],
        12 => vec!["pause", name],
        13 => vec!["unpause", name],
        14 => vec!["exec", name, "true"],
        15 => vec!["rm", "-f", name],
        16 => vec!["logs", name],
        _ => vec!["ps", "-a"],
    };
    if random.below(5) > 0 {
        return berth.run(&words);
    }
    // Killed at some point of its work: how far it comes differs each time.
    let mut child =
        berth.command(&words, None).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    for _ in 0..random.below(4000) {
        thread::yield_now();
    }
    child.kill().expect("it is ours");
    Outcome { words: words.join(" "), output: child.wait_with_output().expect("it is ours") }
}

/// Of whichever container runs.
fn kill_a_monitor(berth: &Sealed, random: &mut Random) -> Outcome {
    let name = NAMES[usize::try_from(random.below(5)).expect("a small number")];
    let outcome = berth.run(&["inspect", "--format", "{{.State.Pid}} {{.Id}}", name]);
    let told = outcome.stdout();
    if let Some((pid, id)) = told.trim().split_once(' ')
        && let Some(monitor) = parent_of(pid)
        && is_monitor(monitor, id)
    {
        // It may have ended by itself just now.
        let _ = kill_process(Pid::from_raw(monitor).expect("not zero"), Signal::KILL);
    }
    outcome
}

fn parent_of(pid: &str) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
}

/// Numbers are given again: nobody else's process is to be killed.
fn is_monitor(pid: i32, id: &str) -> bool {
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = String::from_utf8_lossy(&words).into_owned();
    words.contains("__monitor") && words.contains(id)
}

fn judge(outcome: &Outcome) {
    let excused = EXPECTED.iter().any(|words| outcome.stderr().contains(words));
    assert!(outcome.succeeded() || outcome.was_killed() || excused, "{}", outcome.tell());
}

/// The ids of containers that a command printed.
fn remember(outcome: &Outcome, ids: &Mutex<BTreeSet<String>>) {
    let is_id = |line: &&str| line.len() == 64 && line.bytes().all(|b| b.is_ascii_hexdigit());
    let printed = outcome.stdout();
    ids.lock().expect("no thread has panicked").extend(printed.lines().filter(is_id).map(str::to_owned));
}

/// What runs can be entered; what does not can be started and stopped.
fn assert_usable(berth: &Sealed) {
    for name in berth.ok(&["ps", "-a", "--format", "{{.Names}}"]).lines() {
        let status = berth.run(&["inspect", "--format", "{{.State.Status}}", name]).stdout();
        let outcome = match status.trim() {
            "paused" => berth.run(&["unpause", name]),
            "running" => berth.run(&["exec", name, "true"]),
            _ => berth.run(&["start", name]),
        };
        judge(&outcome);
        judge(&berth.run(&["stop", "-t", "0", name]));
        let after = berth.run(&["inspect", "--format", "{{.State.Status}}", name]).stdout();
        // One that was to go is gone.
        assert!(matches!(after.trim(), "exited" | "created" | ""), "{name} was {status}and is {after}");
    }
}

fn assert_nothing_is_left(berth: &Sealed, ids: &BTreeSet<String>, bridge: &str) {
    berth.check().expect("after the storm");
    assert_eq!(entries(&berth.root().join("containers")), Vec::<String>::new());
    assert_eq!(entries(&berth.path("run/containers")), Vec::<String>::new());
    assert_eq!(entries(Path::new(&format!("/sys/class/net/{bridge}/brif"))), Vec::<String>::new());
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("it is there");
    let below = berth.path("run/containers");
    assert!(!mounts.contains(below.to_str().expect("a plain name")), "{mounts}");
    assert_eq!(cgroups_of(ids), Vec::<String>::new());
    assert_eq!(monitors_of(ids), Vec::<String>::new());
}

fn entries(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}

/// Their cgroups, in whichever hierarchy: a mount, a parent, the container's own.
fn cgroups_of(ids: &BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    let mut pending = vec![(Path::new("/sys/fs/cgroup").to_owned(), 0)];
    while let Some((directory, depth)) = pending.pop() {
        for name in entries(&directory) {
            let path = directory.join(&name);
            if ids.contains(&name) {
                found.push(path.display().to_string());
            } else if depth < 2 && path.is_dir() && !path.is_symlink() {
                pending.push((path, depth + 1));
            }
        }
    }
    found
}

fn monitors_of(ids: &BTreeSet<String>) -> Vec<String> {
    let words = |pid: &String| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let words = String::from_utf8_lossy(&words).replace('\0', " ");
        (words.contains("__monitor") && ids.iter().any(|id| words.contains(id.as_str()))).then_some(words)
    };
    entries(Path::new("/proc")).iter().filter_map(words).collect()
}
