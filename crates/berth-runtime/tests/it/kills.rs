//! Whoever is killed, the state is true and nothing is left.

use crate::sandbox::{Sandbox, outcome};
use berth_runtime::{Bundle, Connection, Event, Standby, Status, Streams, create};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

/// The monitor: the parent of the container's first process.
fn parent_of(pid: i32) -> Pid {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after_name = stat.rsplit(')').next().unwrap();
    Pid::from_raw(after_name.split_whitespace().nth(1).unwrap().parse().unwrap()).unwrap()
}

pub(crate) fn pidfd(pid: Pid) -> OwnedFd {
    pidfd_open(pid, PidfdFlags::empty()).unwrap()
}

pub(crate) fn wait(pidfd: &OwnedFd) {
    let mut polled = [rustix::event::PollFd::new(pidfd, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut polled, None).unwrap();
}

/// And waits until it and the container's first process have ended.
pub(crate) fn kill_the_monitor(sandbox: &Sandbox) {
    let pid = sandbox.state().pid.unwrap();
    let monitor = parent_of(pid);
    let (init, monitor_fd) = (pidfd(Pid::from_raw(pid).unwrap()), pidfd(monitor));
    kill_process(monitor, Signal::KILL).unwrap();
    wait(&monitor_fd);
    wait(&init);
}

/// What a monitor has for itself; its program's pages are shared with every other.
#[test]
fn a_monitor_is_small() {
    let Some(sandbox) = Sandbox::shell("seq 1 100000; sleep 1000") else { return };
    let mut connection = sandbox.start().unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"100000\n") {
        match connection.next_event().unwrap() {
            Event::Stdout(bytes) => seen.extend(bytes),
            other => panic!("{other:?}"),
        }
    }
    let monitor = parent_of(sandbox.state().pid.unwrap()).as_raw_nonzero();
    let rollup = fs::read_to_string(format!("/proc/{monitor}/smaps_rollup")).unwrap();
    let dirty = rollup.lines().find_map(|line| line.strip_prefix("Private_Dirty:")).unwrap();
    let kilobytes: u64 = dirty.split_whitespace().next().unwrap().parse().unwrap();
    assert!(kilobytes < 3 * 1024, "{kilobytes} kB");
}

#[test]
fn a_killed_monitor_takes_its_container_along() {
    let Some(sandbox) = Sandbox::shell("sleep 1000 & sleep 1000") else { return };
    let _connection = sandbox.start().unwrap();
    kill_the_monitor(&sandbox);
    let state = sandbox.state();
    assert_eq!((state.status, state.exit_code), (Status::Exited, Some(137)));
    assert!(state.error.unwrap().contains("monitor"));
    sandbox.assert_clean();
    // And it can be started again.
    assert_eq!(sandbox.start().unwrap().status().unwrap().status, Status::Running);
}

#[test]
fn shared_memory_belongs_to_who_runs_and_goes_with_the_claim() {
    let Some(mut sandbox) = Sandbox::shell("sleep 1000") else { return };
    let (dir, run_dir) = (sandbox.bundle.dir.clone(), sandbox.bundle.run_dir.clone());
    sandbox.bundle.memory = Some(1 << 20);
    let mut connection = sandbox.start().unwrap();
    let file = berth_runtime::memory::place(&run_dir).join("file");
    fs::write(&file, "kept").unwrap();
    // Another who starts it at the same time comes too late, and takes nothing away.
    assert!(create(&sandbox.bundle).unwrap_err().to_string().contains("is already running"));
    assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
    connection.signal(9).unwrap();
    connection.wait().unwrap();
    while connection.next_event().unwrap() != Event::Closed {}
    // It is there until the container is removed or started again.
    assert!(file.exists());
    let claim = berth_runtime::claim(&dir, &run_dir).unwrap();
    assert!(claim.is_some() && !file.exists());
    sandbox.assert_clean();
}

#[test]
fn a_monitor_on_standby_serves_its_own_container_or_goes() {
    let Some(sandbox) = Sandbox::shell("echo served") else { return };
    let standby = || Standby::start(&sandbox.bundle.exe, &sandbox.bundle.id).unwrap();
    let other = Bundle { id: format!("{}-other", sandbox.bundle.id), ..sandbox.bundle.clone() };
    assert!(standby().create(&other).unwrap_err().to_string().contains("cannot be that of"));
    let unused = standby();
    let monitor = pidfd(monitor_with(&sandbox.bundle.id));
    drop(unused);
    wait(&monitor);
    let mut connection = standby().create(&sandbox.bundle).unwrap();
    connection.attach(Streams { stdin: false, stdout: true, stderr: true }).unwrap();
    connection.start().unwrap();
    assert_eq!(outcome(&mut connection).stdout, "served\n");
}

/// The youngest process that is called so.
pub(crate) fn monitor_with(id: &str) -> Pid {
    let pids =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let is_ours = |pid: &i32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&words).split('\0').nth(2) == Some(id)
    };
    Pid::from_raw(pids.filter(is_ours).max().unwrap()).unwrap()
}

#[test]
fn a_killed_container_is_137() {
    let Some(sandbox) = Sandbox::shell("sleep 1000") else { return };
    let mut connection = sandbox.start().unwrap();
    kill_process(Pid::from_raw(sandbox.state().pid.unwrap()).unwrap(), Signal::KILL).unwrap();
    assert_eq!(connection.wait().unwrap().code, 137);
    sandbox.assert_clean();
}

#[test]
fn signals_reach_the_program_and_stop_it_in_its_own_way() {
    let Some(sandbox) =
        Sandbox::shell("trap 'echo bye; exit 9' TERM; echo up; while true; do sleep 0.05; done")
    else {
        return;
    };
    let mut connection = sandbox.start().unwrap();
    assert_eq!(connection.next_event().unwrap(), Event::Stdout(b"up\n".to_vec()));
    connection.signal(15).unwrap();
    let outcome = crate::sandbox::outcome(&mut connection);
    assert_eq!((outcome.exit.code, &*outcome.stdout), (9, "bye\n"));
}

#[test]
fn a_creator_that_goes_before_the_start_leaves_nothing() {
    let Some(sandbox) = Sandbox::shell("exit 6") else { return };
    drop(create(&sandbox.bundle).unwrap());
    wait_for_the_monitor(&sandbox);
    let state = sandbox.state();
    assert_eq!((state.status, state.exit_code), (Status::Exited, Some(128)), "{state:?}");
    sandbox.assert_clean();
    // And it can be created again.
    assert_eq!(sandbox.run().unwrap().exit.code, 6);
}

/// Its lock is free when it has ended.
fn wait_for_the_monitor(sandbox: &Sandbox) {
    let lock = fs::File::open(sandbox.bundle.run_dir.join("monitor.lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockShared).unwrap();
}

#[test]
fn a_running_container_is_not_created_twice() {
    let Some(sandbox) = Sandbox::shell("sleep 1000") else { return };
    let _connection = sandbox.start().unwrap();
    let error = create(&sandbox.bundle).unwrap_err();
    assert_eq!(error.kind(), berth_oci::Kind::Conflict);
}

/// The probe creates a container and tells us; it is killed at once, in the middle of the start.
#[test]
fn a_caller_killed_in_the_middle_of_a_start_leaves_a_true_state() {
    for round in 0..8 {
        let Some(sandbox) = Sandbox::shell("sleep 1000") else { return };
        let plan = sandbox.dir.path().join("bundle.json");
        fs::write(&plan, serde_json::to_vec(&sandbox.bundle).unwrap()).unwrap();
        let mut caller = Command::new(env!("CARGO_BIN_EXE_runtime-probe"))
            .arg("start")
            .arg(&plan)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Told when it begins: what it has done when the signal arrives differs from round to round.
        let mut line = String::new();
        BufReader::new(caller.stdout.take().unwrap()).read_line(&mut line).unwrap();
        for _ in 0..round * 3 {
            std::thread::yield_now();
        }
        caller.kill().unwrap();
        caller.wait().unwrap();
        check_after_death(&sandbox);
    }
}

/// Running or not, what the state says is so; what runs can be ended.
fn check_after_death(sandbox: &Sandbox) {
    let state = || berth_runtime::state(&sandbox.bundle.dir, &sandbox.bundle.run_dir).unwrap();
    // Somebody who has the lock may not listen yet; it will, or end.
    while state().is_some_and(|state| state.is_live()) {
        let Ok(mut connection) = Connection::open(&sandbox.bundle.run_dir) else {
            std::thread::yield_now();
            continue;
        };
        // Either it runs and this ends it, or its start was broken off and this comes too late.
        let ended =
            connection.subscribe().and_then(|()| connection.signal(9)).and_then(|()| connection.wait());
        assert!(ended.is_err() || [128, 137].contains(&ended.as_ref().unwrap().code), "{ended:?}");
    }
    if state().is_some() {
        wait_for_the_monitor(sandbox);
        sandbox.assert_clean();
    }
}

#[test]
fn on_exit_runs_when_nobody_has_cleaned_up() {
    let Some(mut sandbox) = Sandbox::shell("true") else { return };
    let marker = sandbox.dir.path().join("marker");
    let command = ["/usr/bin/busybox", "touch", marker.to_str().unwrap()].map(str::to_owned);
    sandbox.bundle.on_exit = Some(command.to_vec());
    // One that says it has removed the container itself.
    let mut connection = sandbox.start().unwrap();
    connection.wait().unwrap();
    connection.cleaned().unwrap();
    while connection.next_event().unwrap() != Event::Closed {}
    assert!(!marker.exists());
    // One that goes away; another client sees the end of the cleaning.
    let connection = sandbox.start().unwrap();
    let mut other = Connection::open(&sandbox.bundle.run_dir);
    drop(connection);
    if let Ok(other) = &mut other {
        while !matches!(other.next_event(), Ok(Event::Closed) | Err(_)) {}
    }
    wait_for(&marker);
}

fn wait_for(path: &Path) {
    use rustix::fs::inotify;
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC).unwrap();
    inotify::add_watch(&watch, path.parent().unwrap(), inotify::WatchFlags::CREATE).unwrap();
    while !path.exists() {
        let mut polled = [rustix::event::PollFd::new(&watch, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut polled, None).unwrap();
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        inotify::Reader::new(&watch, &mut buffer).next().unwrap();
    }
}
