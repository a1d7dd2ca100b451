//! Standard input, terminals, logs, several clients.

use crate::sandbox::{Sandbox, outcome};
use berth_runtime::log::{Options, Reader, Stream};
use berth_runtime::{Connection, Event, Stdin, Streams};
use std::io::Write;

#[test]
fn standard_input_ends_and_the_output_still_comes() {
    let Some(mut sandbox) = Sandbox::shell("wc -c; echo done") else { return };
    sandbox.bundle.stdin = Stdin::Once;
    let mut connection = sandbox.start().unwrap();
    let mut input = connection.input().unwrap();
    // More than all buffers on the way hold.
    let writer = std::thread::spawn(move || {
        input.write_all(&vec![b'x'; 3 << 20]).unwrap();
        input.close().unwrap();
    });
    let outcome = outcome(&mut connection);
    writer.join().unwrap();
    assert_eq!(outcome.stdout, format!("{}\ndone\n", 3 << 20));
}

#[test]
fn a_client_that_goes_away_ends_the_standard_input_it_owned() {
    let Some(mut sandbox) = Sandbox::shell("cat > /got; exit 5") else { return };
    sandbox.bundle.stdin = Stdin::Once;
    let connection = sandbox.start().unwrap();
    connection.input().unwrap().write_all(b"last words").unwrap();
    let mut other = Connection::open(&sandbox.bundle.run_dir).unwrap();
    other.subscribe().unwrap();
    drop(connection);
    assert_eq!(other.wait().unwrap().code, 5);
    assert_eq!(std::fs::read_to_string(sandbox.dir.path().join("upper/got")).unwrap(), "last words");
}

#[test]
fn large_output_is_complete_for_a_client_and_the_log() {
    let Some(mut sandbox) = Sandbox::shell("seq 1 200000; seq 1 1000 >&2") else { return };
    let path = sandbox.dir.path().join("log.json");
    sandbox.bundle.log = berth_runtime::Log::json_file(path.clone());
    let outcome = sandbox.run().unwrap();
    let expected: String = (1..=200_000).map(|n| format!("{n}\n")).collect();
    assert!(outcome.stdout == expected, "{} bytes", outcome.stdout.len());
    assert_eq!(outcome.stderr.lines().count(), 1000);
    let mut reader = Reader::open(&path, Options::default()).unwrap();
    let entries: Vec<_> = std::iter::from_fn(|| reader.next_entry().unwrap()).collect();
    let logged: String = entries.iter().filter(|e| e.stream == Stream::Stdout).map(|e| &*e.log).collect();
    assert!(logged == expected, "{} bytes", logged.len());
}

#[test]
fn a_terminal_has_a_size_a_name_and_one_stream() {
    let Some(mut sandbox) = Sandbox::shell(
        "tty; stty size; test -c /dev/console && echo console; read x; echo got $x; stty size; echo e >&2",
    ) else {
        return;
    };
    let mut process = sandbox.bundle.spec.process().clone().unwrap();
    process.set_terminal(Some(true));
    sandbox.bundle.spec.set_process(Some(process));
    sandbox.bundle.stdin = Stdin::Once;
    let mut connection = berth_runtime::create(&sandbox.bundle).unwrap();
    connection.attach(Streams { stdin: true, stdout: true, stderr: true }).unwrap();
    let mut input = connection.input().unwrap();
    input.resize(33, 99).unwrap();
    connection.start().unwrap();
    let mut seen = String::new();
    while !seen.contains("console") {
        match connection.next_event().unwrap() {
            Event::Stdout(bytes) => seen.push_str(&String::from_utf8_lossy(&bytes)),
            other => panic!("{other:?}"),
        }
    }
    input.resize(44, 111).unwrap();
    input.write_all(b"word\r").unwrap();
    let rest = outcome(&mut connection);
    let all = seen + &rest.stdout;
    assert_eq!(
        all, "/dev/pts/0\r\n33 99\r\nconsole\r\nword\r\ngot word\r\n44 111\r\ne\r\n",
        "{:?}",
        rest.stderr
    );
    sandbox.assert_clean();
}

#[test]
fn several_clients_see_the_same_and_a_late_one_is_told_that_it_is_late() {
    let Some(mut sandbox) = Sandbox::shell("read x; echo $x") else { return };
    sandbox.bundle.stdin = Stdin::Open;
    let mut first = sandbox.start().unwrap();
    let mut second = Connection::open(&sandbox.bundle.run_dir).unwrap();
    second.attach(Streams { stdin: true, stdout: true, stderr: true }).unwrap();
    second.input().unwrap().write_all(b"hello\n").unwrap();
    assert_eq!((&*outcome(&mut first).stdout, &*outcome(&mut second).stdout), ("hello\n", "hello\n"));
    while first.next_event().unwrap() != Event::Closed {}
    let error = Connection::open(&sandbox.bundle.run_dir).unwrap_err();
    assert!(error.to_string().starts_with("the container is not running"), "{error}");
}
