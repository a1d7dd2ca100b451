//! Eight processes at once start, stop, pause, kill and remove the same few containers; some of them are killed on
//! the way, and so are containers' monitors. What is left must be true, usable, and gone when it is removed.
//! 500 operations, or BERTH_STORM_OPERATIONS.

use super::support::{Outcome, Random, Sealed, boxed};
use rustix::mount::MountFlags;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const PROCESSES: u64 = 8;
const NAMES: [&str; 5] = ["anna", "bert", "carl", "dora", "emil"];
const NETWORK: &str = "square";
/// Longer than any machine needs to take a network namespace apart.
const PATIENCE: Duration = Duration::from_secs(60);

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
    "is not connected to network",
    "already exists in network",
    "endpoint ",
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

fn operations() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "how long a test runs is the caller's wish")]
    let wanted = std::env::var("BERTH_STORM_OPERATIONS").ok().and_then(|text| text.parse().ok());
    wanted.unwrap_or(500)
}

#[test]
fn eight_processes_leave_nothing_behind() {
    let Some(berth) = boxed("eight_processes_leave_nothing_behind") else { return };
    berth.ok(&["network", "create", NETWORK]);
    let ids = Mutex::new(BTreeSet::new());
    let (left, killed) = (AtomicI64::new(operations().cast_signed()), AtomicU64::new(0));
    thread::scope(|scope| {
        for process in 0..PROCESSES {
            let (berth, ids, left, killed) = (&berth, &ids, &left, &killed);
            scope.spawn(move || {
                let mut random = Random(0x57a2_1000 + process);
                while left.fetch_sub(1, Ordering::Relaxed) > 0 {
                    let outcome = match random.below(12) {
                        0 => kill_a_monitor(berth, &mut random),
                        _ => one_command(berth, &mut random),
                    };
                    judge(&outcome);
                    remember(&outcome, ids);
                    killed.fetch_add(u64::from(outcome.was_killed()), Ordering::Relaxed);
                }
            });
        }
    });
    assert!(killed.into_inner() > 0, "nothing was killed: this was no storm");
    let mut ids = ids.into_inner().expect("no thread has panicked");
    ids.extend(berth.ok(&["ps", "-aq", "--no-trunc"]).lines().map(str::to_owned));
    assert_usable(&berth);
    for id in berth.ok(&["ps", "-aq"]).lines() {
        berth.ok(&["rm", "-f", id]);
    }
    // Whatever was killed, the next command that touches a container takes its cgroups and processes away; only the
    // empty directory of a removal that was killed may lie there until somebody looks for it.
    assert_eq!((cgroups_of(&ids), processes_of(&ids)), Default::default());
    berth.ok(&["system", "check", "--repair"]);
    assert_nothing_is_left(&berth, &ids);
    for name in NAMES {
        assert_eq!(berth.ok(&["run", "--rm", "--name", name, "box", "echo", "well"]), "well\n");
    }
    assert_nothing_is_left(&berth, &ids);
}

/// As a kill at the worst moment, or a berth without these repairs, may have left it.
#[test]
fn what_belongs_to_nobody_is_named_and_taken_away() {
    let Some(berth) = boxed("what_belongs_to_nobody_is_named_and_taken_away") else { return };
    berth.ok(&["run", "-d", "--name", "web", "box", "sleep", "1000"]);
    let id = berth.ok(&["inspect", "--format", "{{.Id}}", "web"]).trim().to_owned();
    let lost = "0123456789abcdef".repeat(4);
    let mut stray = Command::new("sleep").arg("1000").spawn().expect("every machine has it");
    let own = cgroups_of(&BTreeSet::from([id.clone()]));
    for group in own.iter().map(|group| group.replace(&id, &lost)) {
        fs::create_dir(&group).expect("its parent is there");
        fs::write(format!("{group}/cgroup.procs"), stray.id().to_string()).expect("it is ours");
    }
    let run_dir = berth.path("run/containers").join(&lost);
    let mounted = run_dir.join("a b");
    fs::create_dir_all(&mounted).expect("the root is ours");
    rustix::mount::mount("none", &mounted, c"tmpfs", MountFlags::empty(), None).expect("we are root");
    fs::write(mounted.join("file"), "x").expect("it has room");
    let told = berth.ok(&["system", "check"]);
    let repaired = berth.ok(&["system", "check", "--repair"]);
    let again = berth.ok(&["system", "check"]);
    for what in ["run directory `", "cgroup `"] {
        let line = |text: &str| text.lines().find(|line| line.starts_with(what)).map(str::to_owned);
        let (named, removed) = (line(&told).expect(&told), line(&repaired).expect(&repaired));
        assert!(named.contains(&lost) && removed == format!("{named}: removed"), "{told}{repaired}");
    }
    assert_eq!(again.lines().count(), 1, "{again}");
    assert!(!stray.wait().expect("it is our child").success());
    assert!(!run_dir.exists() && cgroups_of(&BTreeSet::from([lost])).is_empty());
    assert_eq!(cgroups_of(&BTreeSet::from([id])), own);
    berth.ok(&["exec", "web", "true"]);
}

fn one_command(berth: &Sealed, random: &mut Random) -> Outcome {
    let name = NAMES[usize::try_from(random.below(5)).expect("a small number")];
    let script = "trap 'exit 3' TERM; while :; do sleep 0.05; done";
    let brief = ["--restart", "on-failure:2", "box", "sh", "-c", "exit 1"];
    let words: Vec<&str> = match random.below(22) {
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
        17 => vec![
            "run",
            "-d",
            "--name",
            name,
            "-p",
            "127.0.0.1::80",
            "--network",
            NETWORK,
            "box",
            "sleep",
            "9",
        ],
        18 => vec!["network", "connect", NETWORK, name],
        19 => vec!["network", "disconnect", "-f", NETWORK, name],
        20 => vec!["run", "-d", "--name", name, "-v", "/data", "--ipc", "shareable", "box", "sleep", "9"],
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
    // Who is in a container that is killed dies with it.
    let died_inside = outcome.words.contains("exec ") && outcome.output.status.code() == Some(137);
    assert!(outcome.succeeded() || outcome.was_killed() || died_inside || excused, "{}", outcome.tell());
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

fn assert_nothing_is_left(berth: &Sealed, ids: &BTreeSet<String>) {
    berth.check().expect("after the storm");
    let bridges = bridges(berth);
    let plugged = || bridges.iter().flat_map(|bridge| entries(&bridge.join("brif"))).collect::<Vec<_>>();
    // The kernel takes a network namespace apart after its last process has gone.
    let deadline = Instant::now() + PATIENCE;
    while !plugged().is_empty() && Instant::now() < deadline {
        thread::yield_now();
    }
    assert_eq!(plugged(), Vec::<String>::new());
    let told = berth.ok(&["system", "check"]);
    assert_eq!(told.lines().count(), 1, "{told}");
    assert_eq!(entries(&berth.root().join("containers")), Vec::<String>::new());
    assert_eq!(entries(&berth.path("run/containers")), Vec::<String>::new());
    berth.ok(&["volume", "prune", "-af"]);
    assert_eq!(berth.ok(&["volume", "ls", "-q"]), "");
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("it is there");
    let below = berth.path("run/containers");
    assert!(!mounts.contains(below.to_str().expect("a plain name")), "{mounts}");
    assert_eq!((cgroups_of(ids), processes_of(ids)), Default::default());
}

/// Those of this root's networks.
fn bridges(berth: &Sealed) -> Vec<PathBuf> {
    let bridge = "{{index .Options \"com.docker.network.bridge.name\"}}";
    let default = berth.ok(&["network", "inspect", "bridge", "--format", bridge]);
    let id = berth.ok(&["network", "inspect", NETWORK, "--format", "{{slice .Id 0 12}}"]);
    assert!(!default.trim().is_empty());
    [default.trim().to_owned(), format!("br-{}", id.trim())]
        .map(|name| Path::new("/sys/class/net").join(name))
        .into()
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

/// Their monitors, and whoever cleans up behind them.
fn processes_of(ids: &BTreeSet<String>) -> Vec<String> {
    let words = |pid: &String| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let words = String::from_utf8_lossy(&words).replace('\0', " ");
        let is_ours = ["__monitor", "__cleanup"].iter().any(|role| words.contains(role));
        (is_ours && ids.iter().any(|id| words.contains(id.as_str()))).then_some(words)
    };
    entries(Path::new("/proc")).iter().filter_map(words).collect()
}
