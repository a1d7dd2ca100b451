//! Further processes in a running container.

use crate::common;
use crate::sandbox::{Sandbox, outcome};
use berth_runtime::{Connection, Event, Exec, Status, exit_code};
use std::io::Write;

fn exec(script: &str) -> Exec {
    Exec {
        process: common::process(&["sh", "-c", script]),
        user: None,
        stdin: false,
        unconfined: false,
        id: None,
    }
}

#[test]
fn an_exec_is_inside_and_has_its_own_streams_and_code() {
    let Some(sandbox) = Sandbox::shell("sleep 1000") else { return };
    let _container = sandbox.start().unwrap();
    for (script, user, code, stdout) in [
        ("echo out; echo err >&2; exit 4", None, 4, "out\n"),
        ("grep -c sleep /proc/1/cmdline; hostname", None, 0, "1\nberth\n"),
        ("id -u; id -g; echo $HOME", Some("web"), 0, "33\n33\n/data\n"),
        (
            "mount -t tmpfs x /tmp 2>&1; grep -c Seccomp:.2 /proc/self/status",
            None,
            0,
            "mount: permission denied (are you root?)\n1\n",
        ),
        ("cat /proc/self/cgroup | grep -vc ':/$'", None, 1, "0\n"),
        ("ls /proc/self/fd", None, 0, "0\n1\n2\n3\n"),
        ("kill -9 $$", None, 137, ""),
    ] {
        let mut connection = Connection::open(&sandbox.bundle.run_dir).unwrap();
        let exec = Exec { user: user.map(Into::into), ..exec(script) };
        connection.exec(exec).unwrap();
        let outcome = outcome(&mut connection);
        assert!(outcome.stdout == stdout && outcome.exit.code == code, "{script}: {outcome:?}");
    }
}

#[test]
fn an_exec_reads_its_standard_input_and_its_terminal() {
    let Some(sandbox) = Sandbox::shell("sleep 1000") else { return };
    let _container = sandbox.start().unwrap();
    let mut connection = Connection::open(&sandbox.bundle.run_dir).unwrap();
    connection.exec(Exec { stdin: true, ..exec("wc -c") }).unwrap();
    let mut input = connection.input().unwrap();
    input.write_all(&[b'x'; 100_000]).unwrap();
    input.close().unwrap();
    assert_eq!(outcome(&mut connection).stdout, "100000\n");

    let mut process = common::process(&["sh", "-c", "tty; stty size"]);
    process.set_terminal(Some(true));
    let size = oci_spec::runtime::BoxBuilder::default().height(20u64).width(70u64).build().unwrap();
    process.set_console_size(Some(size));
    let mut connection = Connection::open(&sandbox.bundle.run_dir).unwrap();
    connection.exec(Exec { process, stdin: true, ..exec("") }).unwrap();
    assert_eq!(outcome(&mut connection).stdout, "/dev/pts/0\r\n20 70\r\n");
}

#[test]
fn an_exec_that_cannot_start_says_so_and_the_container_goes_on() {
    let Some(sandbox) = Sandbox::shell("sleep 1000") else { return };
    let _container = sandbox.start().unwrap();
    for (command, user, code, words) in [
        ("nosuch", None, 127, "executable file not found in $PATH"),
        ("/etc", None, 126, "is a directory"),
        ("true", Some("nobody"), 125, "unable to find user nobody"),
    ] {
        let mut connection = Connection::open(&sandbox.bundle.run_dir).unwrap();
        let process = common::process(&[command]);
        let error = connection.exec(Exec { process, user: user.map(Into::into), ..exec("") }).unwrap_err();
        assert!(error.to_string().contains(words) && exit_code(&error) == code, "{error:?}");
    }
    assert_eq!(sandbox.state().status, Status::Running);
}

#[test]
fn a_pause_stops_everything_and_execs_wait_for_its_end() {
    let Some(sandbox) = Sandbox::shell("while true; do echo tick; sleep 0.01; done") else { return };
    let mut container = sandbox.start().unwrap();
    let mut control = Connection::open(&sandbox.bundle.run_dir).unwrap();
    assert!(matches!(container.next_event().unwrap(), Event::Stdout(_)));
    control.pause().unwrap();
    assert_eq!(sandbox.state().status, Status::Paused);
    let error = control.exec(exec("true")).unwrap_err();
    assert!(error.to_string().contains("unpause the container before exec"), "{error}");
    assert!(control.pause().unwrap_err().to_string().contains("already paused"));
    control.resume().unwrap();
    assert_eq!(control.status().unwrap().status, Status::Running);
    control.pause().unwrap();
    // A kill reaches a paused container too.
    control.signal(9).unwrap();
    assert_eq!(outcome(&mut container).exit.code, 137);
    sandbox.assert_clean();
}

#[test]
fn the_container_s_end_ends_its_execs() {
    let Some(sandbox) = Sandbox::shell("sleep 1000") else { return };
    let mut container = sandbox.start().unwrap();
    let mut connection = Connection::open(&sandbox.bundle.run_dir).unwrap();
    connection.exec(exec("echo up; sleep 1000")).unwrap();
    assert_eq!(connection.next_event().unwrap(), Event::Stdout(b"up\n".to_vec()));
    container.signal(9).unwrap();
    assert_eq!(connection.wait().unwrap().code, 137);
    assert_eq!(container.wait().unwrap().code, 137);
    sandbox.assert_clean();
}
