//! A first process that only starts the program, passes signals on to it and reaps what others leave behind.
//!
//! It is the process that prepared the container, which stays and lets a copy of itself become the program: nothing
//! of ours has to be in the image. Invariant: it has the identity, the capabilities and the filter of the program,
//! and holds no descriptor but the one that signals come from.

use super::become_program::{die_with_parent, setup};
use berth_oci::Result;
use berth_sys::process::{Forked, alone_with, fork};
use berth_sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, WaitOptions, kill_process, set_child_subreaper, setpgid, wait};

/// Signals that say what a process has done wrong itself, two that cannot be taken, and two that the C library keeps
/// for its threads.
const OWN: [i32; 11] = [
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGABRT,
    libc::SIGTRAP,
    libc::SIGSYS,
    libc::SIGKILL,
    libc::SIGSTOP,
    32,
    33,
];

/// Returns in a copy of this process, which is to become the program. This one stays until that has ended, and ends
/// with its code.
pub(super) fn stay() -> Result<()> {
    let all: Vec<i32> = (1..=64).filter(|number| !OWN.contains(number)).collect();
    // Before there are two of us, so that no signal falls between.
    let signals = SignalFd::take(&all).map_err(setup)?;
    // In the host's PID namespace orphans would not come to us by themselves.
    set_child_subreaper(Some(rustix::process::getpid())).map_err(|e| setup(e.into()))?;
    match fork().map_err(setup)? {
        Forked::Child => {
            drop(signals);
            die_with_parent()?;
            lead_a_group()
        }
        Forked::Parent { pid } => {
            rustix::thread::set_name(c"berth-init").map_err(|e| setup(e.into()))?;
            let Some(child) = Pid::from_raw(pid) else { return Ok(()) };
            alone_with(signals, |signals| reap(&signals, child))
        }
    }
}

/// The keys of a terminal are for the program's group, not for ours.
fn lead_a_group() -> Result<()> {
    setpgid(None, None).map_err(|e| setup(e.into()))?;
    let stdin = rustix::stdio::stdin();
    if rustix::termios::isatty(stdin) {
        // Whoever is in the background may do so only while SIGTTOU is blocked, as it is here.
        rustix::termios::tcsetpgrp(stdin, rustix::process::getpgrp()).map_err(|e| setup(e.into()))?;
    }
    Ok(())
}

/// Until the program has ended; answers its code.
fn reap(signals: &SignalFd, child: Pid) -> i32 {
    loop {
        let mut polled = [PollFd::new(signals, PollFlags::IN)];
        // An interruption is as good as an event.
        let _ = poll(&mut polled, None);
        while let Ok(Some(number)) = signals.next() {
            match number {
                libc::SIGCHLD => {
                    if let Some(code) = reap_all(child) {
                        return code;
                    }
                }
                libc::SIGTTIN | libc::SIGTTOU => {}
                number => pass_on(child, number),
            }
        }
    }
}

fn pass_on(child: Pid, number: i32) {
    if let Some(signal) = berth_sys::signal::numbered(number) {
        // It may have ended just now, which the next signal says.
        let _ = kill_process(child, signal);
    }
}

/// The code of the program, if it is among the dead.
fn reap_all(child: Pid) -> Option<i32> {
    let mut code = None;
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid == child {
            let signalled = status.terminating_signal().map(|signal| 128 + signal);
            code = status.exit_status().or(signalled).or(Some(255));
        }
    }
    code
}
