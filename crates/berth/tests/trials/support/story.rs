//! What happens in a berth, as it is told: a test waits for a line of it instead of for time to pass.

use super::{Sealed, busybox_tar, skipped};
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};

/// The events of one berth from the beginning, in order.
pub(crate) struct Story {
    events: Child,
    lines: BufReader<ChildStdout>,
}

/// What never comes is missed after this many seconds.
const PATIENCE: u64 = 120;

impl Story {
    pub(crate) fn of(berth: &Sealed) -> Self {
        let format = "{{.Action}} {{.Actor.Attributes.name}} {{index .Actor.Attributes \"exitCode\"}}";
        let now =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is after 1970");
        let until = (now.as_secs() + PATIENCE).to_string();
        let mut command =
            berth.command(&["events", "--since", "1h", "--until", &until, "--format", format], None);
        let mut events = command.stdout(Stdio::piped()).spawn().expect("the binary starts");
        let lines = BufReader::new(events.stdout.take().expect("it is piped"));
        Self { events, lines }
    }

    /// Reads on until `expected` has happened: `die web 137`, or the beginning of such a line.
    pub(crate) fn until(&mut self, expected: &str) {
        let mut seen = String::new();
        loop {
            let start = seen.len();
            let length = self.lines.read_line(&mut seen).expect("the events are text");
            assert!(length > 0, "`{expected}` has not happened; but this has:\n{seen}");
            let line = seen[start..].trim_end();
            if line == expected || line.starts_with(&format!("{expected} ")) {
                return;
            }
        }
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        let _ = self.events.kill();
        let _ = self.events.wait();
    }
}

/// A berth with the image `box`: a busybox and nothing else.
pub(crate) fn boxed(test: &str) -> Option<Sealed> {
    furnished(Sealed::new(), test)
}

/// The same in a berth that is there already.
pub(crate) fn furnished(sealed: Sealed, test: &str) -> Option<Sealed> {
    let Some(mut tar) = busybox_tar() else {
        skipped(test, "there is no static busybox at /bin/busybox");
        return None;
    };
    tar.directory("etc");
    tar.file("etc/passwd", 0o644, b"root:x:0:0::/:/bin/sh\n");
    let path = sealed.path("box.tar");
    std::fs::write(&path, tar.finish()).expect("the directory is ours");
    sealed.ok(&["import", path.to_str().expect("a plain name"), "box"]);
    Some(sealed)
}
