//! One container in a directory of its own, and the proof that it left nothing behind.

use crate::common;
use berth_runtime::{Bundle, Connection, Event, Exit, State, Streams, create};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Where the root file system for all tests of this process is.
fn lower() -> Option<&'static Path> {
    static LOWER: OnceLock<Option<PathBuf>> = OnceLock::new();
    LOWER
        .get_or_init(|| {
            let busybox = common::busybox()?;
            let dir = std::env::temp_dir().join(format!("berth-runtime-it-{}", std::process::id()));
            common::make_rootfs(&dir, &busybox);
            Some(dir)
        })
        .as_deref()
}

pub(crate) struct Sandbox {
    pub(crate) bundle: Bundle,
    pub(crate) dir: tempfile::TempDir,
}

/// What a container did.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) exit: Exit,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Sandbox {
    /// `None`, with a loud word, where containers cannot be tested.
    pub(crate) fn new(arguments: &[&str]) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let Some(lower) = lower().filter(|_| rustix::process::geteuid().is_root()) else {
            let words =
                "SKIPPED: this test needs root and a static /usr/bin/busybox (apt install busybox-static)\n";
            std::io::stderr().write_all(words.as_bytes()).unwrap();
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        let id = format!("it-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let exe = Path::new(env!("CARGO_BIN_EXE_runtime-probe"));
        Some(Self { bundle: common::bundle(dir.path(), lower, exe, &id, arguments), dir })
    }

    pub(crate) fn shell(script: &str) -> Option<Self> {
        Self::new(&["sh", "-c", script])
    }

    pub(crate) fn state(&self) -> State {
        berth_runtime::state(&self.bundle.dir, &self.bundle.run_dir).unwrap().unwrap()
    }

    /// Creates, attaches, starts.
    pub(crate) fn start(&self) -> berth_oci::Result<Connection> {
        let mut connection = create(&self.bundle)?;
        connection.attach(Streams { stdin: true, stdout: true, stderr: true })?;
        connection.start()?;
        Ok(connection)
    }

    pub(crate) fn run(&self) -> berth_oci::Result<Outcome> {
        let outcome = outcome(&mut self.start()?);
        self.assert_clean();
        Ok(outcome)
    }

    pub(crate) fn cgroups(&self) -> Vec<PathBuf> {
        let parent = self.bundle.cgroup_parent.trim_matches('/');
        let mounts = fs::read_dir("/sys/fs/cgroup").unwrap().map(|e| e.unwrap().path());
        mounts.chain(["/sys/fs/cgroup".into()]).map(|m| m.join(parent)).filter(|p| p.exists()).collect()
    }

    /// No mount, no cgroup below the parent, no process of this container.
    pub(crate) fn assert_clean(&self) {
        let home = self.dir.path().to_str().unwrap();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(home), "mounts are left over");
        for parent in self.cgroups() {
            let left: Vec<_> =
                fs::read_dir(parent).unwrap().filter(|e| e.as_ref().unwrap().path().is_dir()).collect();
            assert!(left.is_empty(), "cgroups are left over: {left:?}");
        }
        assert!(!self.state().is_live(), "{:?}", self.state());
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // A test that failed half-way leaves its container: end it, so that it does not disturb others.
        if let Ok(mut connection) = Connection::open(&self.bundle.run_dir) {
            let _ =
                connection.subscribe().and_then(|()| connection.signal(9)).and_then(|()| connection.wait());
        }
        let _ = berth_runtime::state(&self.bundle.dir, &self.bundle.run_dir);
        let _ = berth_runtime::remove_parent(&self.bundle.cgroup_parent);
    }
}

/// Everything a connection brings until its process has ended.
pub(crate) fn outcome(connection: &mut Connection) -> Outcome {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    loop {
        match connection.next_event().unwrap() {
            Event::Stdout(bytes) => stdout.extend(bytes),
            Event::Stderr(bytes) => stderr.extend(bytes),
            Event::Exited(exit) => {
                let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
                return Outcome { exit, stdout: text(stdout), stderr: text(stderr) };
            }
            Event::Closed => panic!("closed before the exit: {}", String::from_utf8_lossy(&stderr)),
        }
    }
}
