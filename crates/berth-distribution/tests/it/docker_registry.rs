//! Debian's `docker-registry` on a port of its own. Tests that need it say so loudly where it is not installed.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const PROGRAM: &str = "docker-registry";

/// A registry that lives as long as the value.
pub(crate) struct DockerRegistry {
    child: Child,
    pub(crate) address: String,
    _directory: tempfile::TempDir,
}

impl DockerRegistry {
    /// Without any authentication.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with("")
    }

    /// With further sections of its configuration, `auth:` for one.
    pub(crate) fn start_with(sections: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("config.yml");
        write_config(&config, directory.path(), sections);
        let spawned = Command::new(PROGRAM)
            .arg("serve")
            .arg(&config)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                // Past the harness, which keeps to itself what a passing test prints.
                let words =
                    format!("SKIPPED: `{PROGRAM}` is not installed (apt-get install docker-registry)\n");
                std::io::stderr().write_all(words.as_bytes()).unwrap();
                return None;
            }
            Err(error) => panic!("cannot start {PROGRAM}: {error}"),
        };
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = loop {
            let line = lines.next().expect("the registry ended before it listened").unwrap();
            if let Some((_, rest)) = line.split_once("listening on ") {
                break rest.split(['"', ' ', ',']).next().unwrap().to_owned();
            }
        };
        // Nobody reads its log, but it must be able to write it.
        std::thread::spawn(move || lines.for_each(drop));
        Some(Self { child, address, _directory: directory })
    }
}

fn write_config(path: &Path, root: &Path, sections: &str) {
    let mut file = std::fs::File::create(path).unwrap();
    write!(
        file,
        "version: 0.1\nlog: {{ level: info }}\nstorage:\n  filesystem: {{ rootdirectory: {} }}\n  delete: {{ enabled: true }}\n\
         http: {{ addr: '127.0.0.1:0', secret: x }}\n{sections}\n",
        root.join("data").display()
    )
    .unwrap();
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
