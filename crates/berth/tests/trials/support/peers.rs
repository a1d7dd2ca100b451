//! Other people's tools, where this machine has them: skopeo, docker-registry, a docker with its daemon, podman.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A tool that can be called.
pub(crate) struct Peer {
    words: Vec<String>,
}

impl Peer {
    /// The tool, if it answers `probe`: this machine's, or that of the Debian tree that `BERTH_TEST_PEERS` names.
    pub(crate) fn find(name: &str, probe: &str) -> Option<Self> {
        #[expect(clippy::disallowed_methods, reason = "where the peers of a test are is the caller's wish")]
        let tree = std::env::var("BERTH_TEST_PEERS").ok();
        let chrooted = tree.map(|tree| vec!["chroot".to_owned(), tree, name.to_owned()]);
        let ways = [Some(vec![name.to_owned()]), chrooted];
        let answers =
            |peer: &Self| peer.command(&[probe]).output().is_ok_and(|output| output.status.success());
        ways.into_iter().flatten().map(|words| Self { words }).find(answers)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).args(words).stdin(Stdio::null());
        command
    }

    /// Runs it; it must succeed. Answers what it printed.
    pub(crate) fn ok(&self, words: &[&str]) -> String {
        finish(self.command(words), &format!("{} {}", self.words.join(" "), words.join(" ")))
    }

    /// The same with a file as its standard input.
    pub(crate) fn ok_reading(&self, words: &[&str], input: &Path) -> String {
        let mut command = self.command(words);
        command.stdin(File::open(input).expect("the test has just written it"));
        finish(command, &format!("{} {}", self.words.join(" "), words.join(" ")))
    }

    /// The same with a file as its standard output.
    pub(crate) fn ok_writing(&self, words: &[&str], output: &Path) {
        let mut command = self.command(words);
        command.stdout(File::create(output).expect("the test's own directory"));
        let status = command.status().expect("it answered the probe");
        assert!(status.success(), "{} {}: {status}", self.words.join(" "), words.join(" "));
    }
}

fn finish(mut command: Command, told: &str) -> String {
    let output = command.output().expect("it answered the probe");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}: {}\n{stderr}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// docker-registry on a port of its own, with an empty directory.
pub(crate) struct RealRegistry {
    pub(crate) host: String,
    process: Child,
    _directory: TempDir,
}

impl RealRegistry {
    /// Starts it, if this machine has it.
    pub(crate) fn start() -> Option<Self> {
        let directory = tempfile::tempdir().expect("a place for tests");
        // The port is free now and taken in a moment; who loses that race gets an error and tries the next one.
        for _ in 0..20 {
            let port = TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?.port();
            let host = format!("127.0.0.1:{port}");
            let config = directory.path().join("config.yml");
            let text = format!(
                "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\nhttp:\n  addr: {host}\n",
                directory.path().join("data").display()
            );
            std::fs::write(&config, text).expect("the test's own directory");
            let command = Command::new("docker-registry")
                .arg("serve")
                .arg(&config)
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn();
            let mut process = command.ok()?;
            if listens(&mut process) && TcpStream::connect(&host).is_ok() {
                return Some(Self { host, process, _directory: directory });
            }
            let _ = process.kill();
            let _ = process.wait();
        }
        None
    }
}

/// Reads its log until it says that it listens; the rest of the log goes nowhere, but must be read.
fn listens(process: &mut Child) -> bool {
    let mut log = BufReader::new(process.stderr.take().expect("it was piped"));
    let mut line = String::new();
    while log.read_line(&mut line).is_ok_and(|count| count > 0) {
        if line.contains("listening on") {
            std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
            return true;
        }
        line.clear();
    }
    false
}

impl Drop for RealRegistry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
