//! Builds and containers for another processor, under an emulator.

use super::support::{Sealed, skipped};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An emulator for arm64 that the kernel knows while this is held.
struct Emulator {
    /// What this test has registered, and where.
    own: Option<(PathBuf, PathBuf)>,
}

const QEMU: &str = "/usr/bin/qemu-aarch64-static";
const MAGIC: &str = r"\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00";
const MASK: &str = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff";

impl Emulator {
    /// The machine's, or one that is registered now; `None`: neither can be had.
    fn get(berth: &Sealed) -> Option<Self> {
        if berth.ok(&["buildx", "inspect"]).contains("linux/arm64") {
            return Some(Self { own: None });
        }
        if !Path::new(QEMU).exists() {
            return None;
        }
        let directory = berth.path("binfmt");
        fs::create_dir_all(&directory).ok()?;
        let point = directory.to_str()?;
        let mounted =
            Command::new("mount").args(["-t", "binfmt_misc", "binfmt_misc", point]).output().ok()?;
        if !mounted.status.success() {
            return None;
        }
        let name = format!("berth-trial-{}", std::process::id());
        let emulator = Self { own: Some((directory.clone(), directory.join(&name))) };
        fs::write(directory.join("register"), format!(":{name}:M::{MAGIC}:{MASK}:{QEMU}:OCF")).ok()?;
        Some(emulator)
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let Some((directory, entry)) = &self.own else { return };
        let _ = fs::write(entry, "-1");
        let _ = Command::new("umount").arg(directory).status();
    }
}

#[test]
fn one_dockerfile_serves_two_processors() {
    const TEST: &str = "one_dockerfile_serves_two_processors";
    let layout = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/images/alpine");
    if !layout.exists() {
        return skipped(TEST, "there is no image for two platforms beside the repository");
    }
    let berth = Sealed::new();
    let Some(_emulator) = Emulator::get(&berth) else {
        return skipped(TEST, "there is no emulator, and none can be registered");
    };
    berth.ok(&["copy", &format!("oci:{}:alpine:3.20", layout.display()), "store:alpine"]);
    let context = berth.path("context");
    fs::create_dir_all(&context).unwrap();
    let dockerfile = "FROM --platform=$BUILDPLATFORM alpine AS native
ARG BUILDARCH TARGETARCH
RUN uname -m > /native && echo $TARGETARCH >> /native
FROM alpine
COPY --from=native /native /
RUN uname -m > /own
CMD [\"cat\", \"/native\", \"/own\"]
";
    fs::write(context.join("Dockerfile"), dockerfile).unwrap();
    let platforms = "linux/amd64,linux/arm64";
    berth.ok(&[
        "build",
        "--network",
        "none",
        "--platform",
        platforms,
        "-t",
        "app",
        context.to_str().unwrap(),
    ]);
    let native = if cfg!(target_arch = "x86_64") { "x86_64" } else { "aarch64" };
    for (platform, machine, architecture) in
        [("linux/amd64", "x86_64", "amd64"), ("linux/arm64", "aarch64", "arm64")]
    {
        let said = berth.ok(&["run", "--rm", "--network", "none", "--platform", platform, "app"]);
        assert_eq!(said, format!("{native}\n{architecture}\n{machine}\n"), "{platform}");
    }
    let said =
        berth.ok(&["run", "--rm", "--network", "none", "--platform", "linux/arm64", "alpine", "uname", "-m"]);
    assert_eq!(said, "aarch64\n");
}

#[test]
fn whoever_lacks_an_emulator_hears_it() {
    let berth = Sealed::new();
    let context = berth.path("context");
    fs::create_dir_all(&context).unwrap();
    fs::write(context.join("Dockerfile"), "FROM --platform=linux/loong64 scratch\nRUN [\"x\"]\n").unwrap();
    let outcome = berth.run(&["build", "--network", "none", context.to_str().unwrap()]);
    let said = outcome.stderr();
    assert!(said.contains("programs for linux/loong64 do not run on this machine"), "{}", outcome.tell());
    assert!(said.contains("qemu-user-static"), "{}", outcome.tell());
}
