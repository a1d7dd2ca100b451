//! A bundle around a real busybox, and the runtime's state beside it, in a temporary directory.

use crate::support::skipped;
use serde_json::{Value, json};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;

const BUSYBOX: &str = "/usr/bin/busybox";
const APPLETS: &str = "cat chmod cut date dd echo env false grep head hostname id ip kill ln ls mkdir mknod mount ps readlink \
    rm sed sh sleep sort stat stty tail test touch tr true tty umount uname unshare wc";

/// One bundle and one container of it.
pub(super) struct Bundle {
    directory: TempDir,
    /// The container's name; no other container on this machine has it.
    pub(super) id: String,
    /// What will be `config.json`.
    pub(super) config: Value,
}

/// How a command ended.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) code: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Bundle {
    /// A container that runs this script in a shell; `None` where there is no busybox.
    pub(super) fn of(script: &str) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        if !Path::new(BUSYBOX).exists() {
            skipped("oci", "there is no /usr/bin/busybox");
            return None;
        }
        let directory = tempfile::Builder::new().prefix("berth-oci-").tempdir().unwrap();
        let id = format!("berth-oci-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut bundle = Self { directory, id, config: Value::Null };
        for name in ["bin", "etc", "tmp", "proc", "sys", "dev", "root"] {
            std::fs::create_dir_all(bundle.path("rootfs").join(name)).unwrap();
        }
        // A user of a user namespace must be able to pass through.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(bundle.directory.path(), open).unwrap();
        std::fs::copy(BUSYBOX, bundle.path("rootfs/bin/busybox")).unwrap();
        for applet in APPLETS.split_whitespace() {
            symlink("busybox", bundle.path("rootfs/bin").join(applet)).unwrap();
        }
        bundle.ok(&["spec", "--bundle", bundle.path("").to_str().unwrap()]);
        let text = std::fs::read(bundle.path("config.json")).unwrap();
        bundle.config = serde_json::from_slice(&text).unwrap();
        bundle.config["process"]["terminal"] = false.into();
        bundle.config["root"]["readonly"] = false.into();
        bundle.script(script);
        Some(bundle)
    }

    /// Exchanges the script.
    pub(super) fn script(&mut self, script: &str) {
        self.config["process"]["args"] = json!(["sh", "-c", script]);
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A command of the runtime with this bundle's configuration as it is now.
    pub(super) fn command(&self, words: &[&str]) -> Command {
        if !self.config.is_null() {
            std::fs::write(self.path("config.json"), self.config.to_string()).unwrap();
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_berth"));
        command.args(["oci-runtime", "--root"]).arg(self.path("state"));
        command.arg("--log").arg(self.path("log")).args(["--log-format", "json"]).args(words);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(Stdio::null());
        command.current_dir(self.directory.path());
        command
    }

    pub(super) fn say(&self, words: &[&str]) -> Said {
        let output = self.command(words).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// Must succeed; answers what it printed.
    pub(super) fn ok(&self, words: &[&str]) -> String {
        let said = self.say(words);
        assert_eq!(said.code, Some(0), "{words:?}: {said:?}");
        said.stdout
    }

    /// Runs the container in the foreground.
    pub(super) fn run(&self) -> Said {
        self.say(&["run", &self.id])
    }

    /// `create` with streams that nobody holds open.
    pub(super) fn create(&self, words: &[&str]) -> Option<i32> {
        let out = std::fs::File::create(self.path("out")).unwrap();
        let mut command = self.command(words);
        command.stdout(out.try_clone().unwrap()).stderr(out);
        command.status().unwrap().code()
    }

    /// What the container of [`Self::create`] has written.
    pub(super) fn output(&self) -> String {
        std::fs::read_to_string(self.path("out")).unwrap()
    }

    pub(super) fn state(&self) -> Value {
        serde_json::from_str(&self.ok(&["state", &self.id])).unwrap()
    }

    /// Waits until the container's process has ended.
    pub(super) fn wait(&self) {
        let limit = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while self.state()["status"] != "stopped" {
            assert!(std::time::Instant::now() < limit, "{} has not ended", self.id);
            std::thread::yield_now();
        }
    }

    /// Whether nothing of the container is left.
    pub(super) fn is_gone(&self) -> bool {
        let cgroups = std::fs::read_dir("/sys/fs/cgroup").unwrap();
        !self.path("state").join(&self.id).exists()
            && !cgroups.flatten().any(|entry| entry.path().join(&self.id).exists())
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = self.command(&["delete", "--force", &self.id]).output();
    }
}
