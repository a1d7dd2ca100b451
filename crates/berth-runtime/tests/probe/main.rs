//! Stands for berth in the tests (it answers the hidden roles), and measures: `runtime-probe N` runs `busybox true`
//! N times and prints the median time of each step.

#[path = "../common/mod.rs"]
mod common;

use berth_runtime::{Streams, create};
use std::time::{Duration, Instant};

fn main() -> std::process::ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    if let Some(status) = berth_runtime::role(&arguments) {
        return std::process::ExitCode::from(status as u8);
    }
    if arguments.get(1).is_some_and(|a| a == "start") {
        start(arguments[2].as_ref());
        return std::process::ExitCode::SUCCESS;
    }
    let count = arguments.get(1).and_then(|a| a.to_str()?.parse().ok()).unwrap_or(50);
    measure(count);
    std::process::ExitCode::SUCCESS
}

/// Starts the bundle in a file, for a test that kills us meanwhile.
#[expect(clippy::print_stdout, reason = "the test waits for the word")]
fn start(path: &std::path::Path) {
    let bytes = std::fs::read(path).expect("a bundle");
    let bundle: berth_runtime::Bundle = serde_json::from_slice(&bytes).expect("a bundle");
    println!("begin");
    let mut connection = create(&bundle).expect("created");
    connection.start().expect("started");
    connection.wait().expect("ended");
}

#[expect(clippy::print_stdout, reason = "a measuring tool")]
fn measure(count: usize) {
    let busybox = common::busybox().expect("a static busybox");
    let dir = std::env::temp_dir().join(format!("berth-probe-{}", std::process::id()));
    let lower = dir.join("lower");
    common::make_rootfs(&lower, &busybox);
    let mut steps: [Vec<Duration>; 4] = Default::default();
    for number in 0..count {
        let home = dir.join(number.to_string());
        std::fs::create_dir(&home).expect("a directory");
        let mut bundle =
            common::bundle(&home, &lower, "/proc/self/exe".as_ref(), &format!("c{number}"), &["true"]);
        bundle.cgroup_parent = format!("/berth-probe-{}", std::process::id());
        let start = Instant::now();
        let mut connection = create(&bundle).expect("created");
        let created = start.elapsed();
        connection.attach(Streams { stdin: false, stdout: true, stderr: true }).expect("attached");
        connection.start().expect("started");
        let started = start.elapsed();
        let exit = connection.wait().expect("ended");
        let exited = start.elapsed();
        while connection.next_event().expect("an event") != berth_runtime::Event::Closed {}
        let all = start.elapsed();
        assert_eq!(exit.code, 0);
        for (step, time) in steps.iter_mut().zip([created, started, exited, all]) {
            step.push(time);
        }
    }
    berth_runtime::remove_parent(&format!("/berth-probe-{}", std::process::id())).expect("removed");
    std::fs::remove_dir_all(&dir).expect("removed");
    for (name, mut times) in ["created", "started", "exited", "closed"].into_iter().zip(steps) {
        times.sort();
        println!("{name:8} median {:?} least {:?}", times[count / 2], times[0]);
    }
}
