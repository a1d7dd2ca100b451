//! Where a container's output is kept: compressed when it is old, beside the container when it must not wait.

use super::support::{Sealed, boxed};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode, inotify, mknodat};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};

/// What never comes is missed after this many seconds.
const PATIENCE: i64 = 60;

fn field(berth: &Sealed, name: &str, template: &str) -> String {
    berth.ok(&["inspect", "--format", template, name]).trim().to_owned()
}

fn log_of(berth: &Sealed, name: &str) -> PathBuf {
    field(berth, name, "{{.LogPath}}").into()
}

fn with_ending(log: &Path, ending: &str) -> PathBuf {
    format!("{}{ending}", log.display()).into()
}

/// Waits for what is to become of the files in a directory.
fn until_files(directory: &Path, are_there: impl Fn() -> bool) {
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC).expect("inotify");
    inotify::add_watch(&watch, directory, inotify::WatchFlags::ALL_EVENTS).expect("it is there");
    while !are_there() {
        let patience = Timespec { tv_sec: PATIENCE, tv_nsec: 0 };
        let count =
            poll(&mut [PollFd::new(&watch, PollFlags::IN)], Some(&patience)).expect("it can be waited for");
        assert!(count > 0, "nothing happens any more: {:?}", std::fs::read_dir(directory).map(|d| d.count()));
        let mut buffer = [MaybeUninit::uninit(); 4096];
        inotify::Reader::new(&watch, &mut buffer).next().expect("an event");
    }
}

fn until_text(log: &Path, expected: &str) {
    until_files(log.parent().expect("a directory"), || {
        std::fs::read_to_string(log).is_ok_and(|text| text.contains(expected))
    });
}

/// Those files, and not the ones that they were made of.
fn until_compressed(log: &Path, numbers: &[u32]) {
    let is_compressed = |number: &u32| {
        with_ending(log, &format!(".{number}.gz")).exists()
            && !with_ending(log, &format!(".{number}")).exists()
    };
    until_files(log.parent().expect("a directory"), || {
        numbers.iter().all(is_compressed) && !with_ending(log, ".gz.partial").exists()
    });
}

fn parent(pid: &str) -> Option<Pid> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Pid::from_raw(stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()?)
}

/// Ends the process that looks after a container, and waits for that.
fn kill_monitor(berth: &Sealed, name: &str) {
    let monitor = parent(&field(berth, name, "{{.State.Pid}}")).expect("it is alive");
    let process = pidfd_open(monitor, PidfdFlags::empty()).expect("it is alive");
    kill_process(monitor, Signal::KILL).expect("it is alive");
    poll(&mut [PollFd::new(&process, PollFlags::IN)], None).expect("its end is an event");
}

const COUNTING: &str = "i=0; while [ $i -lt 100 ]; do i=$((i+1)); echo line $i; done; sleep 1000";

fn lines(from: u32, to: u32) -> String {
    (from..=to).map(|number| format!("line {number}\n")).collect()
}

#[test]
fn old_files_are_compressed_and_read_like_others() {
    let Some(berth) = boxed("old_files_are_compressed_and_read_like_others") else { return };
    for (name, options) in [
        ("json", &["--log-opt", "max-size=2k", "--log-opt", "max-file=3", "--log-opt", "compress=true"][..]),
        ("local", &["--log-driver", "local", "--log-opt", "max-size=2k", "--log-opt", "max-file=3"]),
    ] {
        berth.ok(&[&["run", "-d", "--name", name][..], options, &["box", "sh", "-c", COUNTING]].concat());
        let log = log_of(&berth, name);
        until_text(&log, "line 100");
        until_compressed(&log, &[1, 2]);
        let all = berth.ok(&["logs", name]);
        let first = 101 - u32::try_from(all.lines().count()).expect("a few");
        assert!((2..60).contains(&first), "{all}");
        assert_eq!(all, lines(first, 100));
        for count in [1, 20, 42] {
            assert_eq!(berth.ok(&["logs", "--tail", &count.to_string(), name]), lines(101 - count, 100));
        }
        let stamped = berth.ok(&["logs", "-t", name]);
        let moment = stamped.split(' ').next().expect("a time");
        assert_eq!(berth.ok(&["logs", "--since", moment, name]), all);
        berth.ok(&["kill", name]);
        assert_eq!(berth.ok(&["logs", "-f", name]), all);
    }
}

#[test]
fn a_crash_while_a_log_is_compressed_costs_no_line() {
    let Some(berth) = boxed("a_crash_while_a_log_is_compressed_costs_no_line") else { return };
    let options = ["--log-opt", "max-size=2k", "--log-opt", "max-file=3", "--log-opt", "compress=true"];
    let script = format!("[ -e /x ] && echo again && sleep 1000; echo > /x; {COUNTING}");
    berth.ok(&[&["run", "-d", "--name", "web"][..], &options, &["box", "sh", "-c", &script]].concat());
    let log = log_of(&berth, "web");
    until_text(&log, "line 100");
    until_compressed(&log, &[1, 2]);
    let all = berth.ok(&["logs", "web"]);
    kill_monitor(&berth, "web");
    // The compressed file had its name, the other one was still there; the next one had been begun.
    let (plain, partial) = (with_ending(&log, ".1"), with_ending(&log, ".gz.partial"));
    let packed = std::fs::File::open(with_ending(&log, ".1.gz")).unwrap();
    let text = std::io::read_to_string(flate2::read::GzDecoder::new(packed)).unwrap();
    std::fs::write(&plain, text).unwrap();
    std::fs::write(&partial, "half").unwrap();
    assert_eq!(berth.ok(&["logs", "web"]), all);
    berth.ok(&["start", "web"]);
    until_text(&log, "again");
    until_compressed(&log, &[1, 2]);
    let after = berth.ok(&["logs", "web"]);
    assert!((all + "again\n").ends_with(&after) && after.starts_with("line "), "{after}");
}

/// The process that writes a container's log.
fn writer_of(berth: &Sealed, name: &str) -> Pid {
    let monitor = parent(&field(berth, name, "{{.State.Pid}}")).expect("it is alive");
    let processes = std::fs::read_dir("/proc")
        .expect("there is one")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let is_it = |pid: &String| {
        let words = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.contains("__log-writer") && parent(pid) == Some(monitor)
    };
    processes.filter(is_it).find_map(|pid| Pid::from_raw(pid.parse().ok()?)).expect("it is alive")
}

#[test]
fn a_log_that_is_stuck_holds_nobody_up() {
    let Some(berth) = boxed("a_log_that_is_stuck_holds_nobody_up") else { return };
    let (go, done) = (berth.path("go"), berth.path("done"));
    for path in [&go, &done] {
        mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).unwrap();
    }
    let bind = format!("{}:/x", berth.path("").display());
    let options = ["--log-opt", "mode=non-blocking", "--log-opt", "max-buffer-size=64k", "-v", &bind];
    let script = "echo first; cat /x/go; seq 1 200000; echo > /x/done; cat /x/go; echo last";
    berth.ok(&[&["run", "-d", "--name", "web"][..], &options, &["box", "sh", "-c", script]].concat());
    let writer = writer_of(&berth, "web");
    kill_process(writer, Signal::STOP).unwrap();
    std::fs::write(&go, "").unwrap();
    // It has written everything, though nobody has taken it; and its monitor does what it does.
    std::fs::read(&done).unwrap();
    berth.ok(&["exec", "web", "true"]);
    kill_process(writer, Signal::CONT).unwrap();
    std::fs::write(&go, "").unwrap();
    assert_eq!(berth.ok(&["wait", "web"]), "0\n");
    let logs = berth.ok(&["logs", "web"]);
    let numbers: Vec<u32> = logs.lines().filter_map(|line| line.parse().ok()).collect();
    assert!(logs.starts_with("first\n1\n"), "{logs}");
    assert!(numbers.is_sorted_by(|one, next| one < next) && numbers.len() < 200_000, "{}", numbers.len());
    let lost = 200_000 - numbers.len();
    let error = field(&berth, "web", "{{.State.Error}}");
    assert!(
        error.starts_with("the log is incomplete: ") && error.ends_with(" lines had no room in its buffer")
    );
    let told: usize = error.split(' ').nth(4).and_then(|count| count.parse().ok()).expect("a number");
    assert!([lost, lost + 1].contains(&told), "{lost}: {error}");
}

#[test]
fn a_process_beside_it_writes_all_of_a_log() {
    let Some(berth) = boxed("a_process_beside_it_writes_all_of_a_log") else { return };
    let go = berth.path("go");
    mknodat(CWD, &go, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let bind = format!("{}:/x", berth.path("").display());
    let options = ["--log-opt", "mode=non-blocking", "--log-opt", "max-size=20k", "--log-opt", "compress=1"];
    let script = "seq 1 2000; cat /x/go; printf part";
    let words = [&["run", "-d", "--name", "web", "-v", &bind][..], &options, &["box", "sh", "-c", script]];
    berth.ok(&words.concat());
    let log = log_of(&berth, "web");
    until_text(&log, "\"2000\\n\"");
    until_compressed(&log, &[1, 2]);
    let writer = pidfd_open(writer_of(&berth, "web"), PidfdFlags::empty()).unwrap();
    std::fs::write(&go, "").unwrap();
    berth.ok(&["wait", "web"]);
    let outcome = berth.run(&["logs", "--tail", "100", "web"]);
    let expected: String = (1902..=2000).map(|number| format!("{number}\n")).collect();
    assert_eq!(outcome.stdout(), expected + "part");
    poll(&mut [PollFd::new(&writer, PollFlags::IN)], None).expect("it ends with the container");
    assert_eq!(field(&berth, "web", "{{.State.Error}}"), "");
    // What cannot be written is said before the container starts.
    let nobody = ["--log-driver", "syslog", "--log-opt", "syslog-address=tcp://127.0.0.1:1"];
    let words = [&["run", "--name", "no", "--log-opt", "mode=non-blocking"][..], &nobody, &["box", "true"]];
    let outcome = berth.run(&words.concat());
    assert!(outcome.stderr().contains("there is no syslog server at"), "{}", outcome.tell());
    assert_eq!(outcome.output.status.code(), Some(125), "{}", outcome.tell());
}

#[test]
fn a_writer_that_is_killed_is_replaced() {
    let Some(berth) = boxed("a_writer_that_is_killed_is_replaced") else { return };
    let script = "echo first; while read line; do echo got $line; done";
    let words = ["run", "-di", "--name", "web", "--log-opt", "mode=non-blocking", "box", "sh", "-c", script];
    berth.ok(&words);
    let log = log_of(&berth, "web");
    until_text(&log, "first");
    let writer = writer_of(&berth, "web");
    let ended = pidfd_open(writer, PidfdFlags::empty()).unwrap();
    kill_process(writer, Signal::KILL).unwrap();
    poll(&mut [PollFd::new(&ended, PollFlags::IN)], None).unwrap();
    let mut attached = berth.command(&["attach", "web"], None);
    let mut attached =
        attached.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::null()).spawn().unwrap();
    let mut input = attached.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, b"it\n").unwrap();
    until_text(&log, "got it");
    berth.ok(&["kill", "web"]);
    berth.ok(&["wait", "web"]);
    attached.wait().unwrap();
    assert_eq!(berth.ok(&["logs", "web"]), "first\ngot it\n");
    let error = field(&berth, "web", "{{.State.Error}}");
    assert_eq!(error, "the log is incomplete: the process that wrote it was ended by somebody");
}
