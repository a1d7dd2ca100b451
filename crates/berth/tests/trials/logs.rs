//! Where a container's output is kept: compressed when it is old, beside the container when it must not wait.

use super::support::{Sealed, boxed};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
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

/// Ends the process that looks after a container, and waits for that.
fn kill_monitor(berth: &Sealed, name: &str) {
    let pid = field(berth, name, "{{.State.Pid}}");
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it is alive");
    let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1));
    let parent = parent.and_then(|number| number.parse().ok()).and_then(Pid::from_raw).expect("a process");
    let process = pidfd_open(parent, PidfdFlags::empty()).expect("it is alive");
    pidfd_send_signal(&process, Signal::KILL).expect("it is alive");
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
    berth.ok(&[&["run", "-d", "--name", "web"][..], &options, &["box", "sh", "-c", COUNTING]].concat());
    let log = log_of(&berth, "web");
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
    until_compressed(&log, &[1, 2]);
    assert!(berth.ok(&["logs", "web"]).ends_with(&lines(90, 100)));
}
