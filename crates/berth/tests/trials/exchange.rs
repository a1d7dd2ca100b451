//! Images go to other tools and come back: through a real registry and through archives, digests unchanged, all
//! platforms included. A test says loudly when the tool that it needs is not there.

use super::support::{Image, Peer, RealRegistry, Sealed, many_layers_for, skipped, write_layout};
use std::path::{Path, PathBuf};

/// An image for two platforms, as an OCI layout; answers its index's digest.
fn two_platforms(directory: &Path) -> String {
    let make = |name: &str, architecture: &str| -> Image {
        many_layers_for(architecture, &[format!("{name}-{architecture}"), "shared".to_owned()], 300_000)
    };
    let (amd64, arm64) = (make("exchange", "amd64"), make("exchange", "arm64"));
    write_layout(directory, &[("linux/amd64", &amd64), ("linux/arm64", &arm64)]).to_string()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the test's own path")
}

/// What the trials of this file need, or the name of what is missing.
struct Stage {
    sealed: Sealed,
    skopeo: Peer,
    registry: RealRegistry,
    layout: PathBuf,
    digest: String,
}

impl Stage {
    fn set(test: &str) -> Option<Self> {
        let sealed = Sealed::new();
        let Some(skopeo) = Peer::find("skopeo", "--version") else {
            skipped(test, "there is no skopeo");
            return None;
        };
        let Some(registry) = RealRegistry::start() else {
            skipped(test, "there is no docker-registry");
            return None;
        };
        let layout = sealed.path("layout");
        let digest = two_platforms(&layout);
        Some(Self { sealed, skopeo, registry, layout, digest })
    }

    fn name(&self, repository: &str) -> String {
        format!("{}/{repository}:1", self.registry.host)
    }

    /// Puts the image into the registry with skopeo.
    fn fill(&self, repository: &str) -> String {
        let (from, to) =
            (format!("oci:{}:image", text(&self.layout)), format!("docker://{}", self.name(repository)));
        self.skopeo.ok(&["copy", "--all", "--quiet", "--dest-tls-verify=false", &from, &to]);
        self.name(repository)
    }

    /// The digest of what the registry has under this name, as skopeo sees it.
    fn digest_in_registry(&self, reference: &str) -> String {
        let raw =
            self.skopeo.ok(&["inspect", "--raw", "--tls-verify=false", &format!("docker://{reference}")]);
        berth_oci::Digest::of(raw.as_bytes()).to_string()
    }

    fn id(&self, reference: &str) -> String {
        self.sealed.ok(&["image", "inspect", "--format", "{{.Id}}", reference]).trim().to_owned()
    }
}

#[test]
fn through_a_registry() {
    let Some(stage) = Stage::set("exchange::through_a_registry") else { return };
    let (from, to) = (stage.fill("in"), stage.name("out"));
    stage.sealed.ok(&["pull", "--quiet", "--all-platforms", &from]);
    assert_eq!(stage.id(&from), stage.digest);
    stage.sealed.ok(&["tag", &from, &to]);
    stage.sealed.ok(&["push", "--quiet", &to]);
    assert_eq!(stage.digest_in_registry(&to), stage.digest);
    // Every blob of every platform has arrived, not only the index.
    let back = format!("oci:{}:back", text(&stage.sealed.path("back")));
    stage.skopeo.ok(&[
        "copy",
        "--all",
        "--quiet",
        "--src-tls-verify=false",
        &format!("docker://{to}"),
        &back,
    ]);
}

#[test]
fn one_platform_keeps_the_digest_of_all() {
    let Some(stage) = Stage::set("exchange::one_platform_keeps_the_digest_of_all") else { return };
    let from = stage.fill("one");
    stage.sealed.ok(&["pull", "--quiet", "--platform", "linux/arm64", &from]);
    assert_eq!(stage.id(&from), stage.digest);
    let architecture = stage.sealed.ok(&["image", "inspect", "--format", "{{.Architecture}}", &from]);
    assert_eq!(architecture.trim(), "arm64");
}

#[test]
fn archives_with_skopeo() {
    let Some(stage) = Stage::set("exchange::archives_with_skopeo") else { return };
    let archive = stage.sealed.path("from-skopeo.tar");
    let from = format!("oci:{}:image", text(&stage.layout));
    let to = format!("oci-archive:{}:exchange/archive:1", text(&archive));
    stage.skopeo.ok(&["copy", "--all", "--quiet", &from, &to]);
    stage.sealed.ok(&["load", "--quiet", "--input", text(&archive)]);
    assert_eq!(stage.id("exchange/archive:1"), stage.digest);
    let written = stage.sealed.path("from-berth.tar");
    stage.sealed.ok(&["save", "--output", text(&written), "exchange/archive:1"]);
    let back = stage.sealed.path("back");
    let source = format!("oci-archive:{}", text(&written));
    stage.skopeo.ok(&["copy", "--all", "--quiet", &source, &format!("oci:{}:back", text(&back))]);
    let index = std::fs::read_to_string(back.join("index.json")).expect("skopeo wrote it");
    assert!(index.contains(&stage.digest), "{index}");
}

#[test]
fn docker_archives_with_skopeo() {
    let Some(stage) = Stage::set("exchange::docker_archives_with_skopeo") else { return };
    let archive = stage.sealed.path("docker.tar");
    let from = format!("oci:{}:image", text(&stage.layout));
    let to = format!("docker-archive:{}:exchange/docker:1", text(&archive));
    stage.skopeo.ok(&["copy", "--quiet", "--override-arch", "amd64", &from, &to]);
    let said = stage.sealed.ok(&["load", "--input", text(&archive)]);
    assert!(said.contains("Loaded image: exchange/docker:1"), "{said}");
    let written = stage.sealed.path("again.tar");
    stage.sealed.ok(&["save", "--output", text(&written), "exchange/docker:1"]);
    let config = |path: &Path| {
        let source = format!("docker-archive:{}", text(path));
        stage.skopeo.ok(&["inspect", "--config", "--raw", &source])
    };
    assert_eq!(config(&written), config(&archive));
}

/// The same four ways with a whole engine on the other side.
fn with_engine(stage: &Stage, engine: &Peer, insecure: &[&str]) {
    let there = stage.fill("engine");
    // By registry: theirs to us, ours to them.
    engine.ok(&[&["pull", "-q"], insecure, &[&there]].concat());
    let theirs = stage.name("theirs");
    engine.ok(&["tag", &there, &theirs]);
    engine.ok(&[&["push", "-q"], insecure, &[&theirs]].concat());
    stage.sealed.ok(&["pull", "--quiet", &theirs]);
    assert_eq!(stage.id(&theirs), stage.digest_in_registry(&theirs));
    let ours = stage.name("ours");
    stage.sealed.ok(&["pull", "--quiet", "--all-platforms", &there]);
    stage.sealed.ok(&["tag", &there, &ours]);
    stage.sealed.ok(&["push", "--quiet", &ours]);
    engine.ok(&[&["pull", "-q"], insecure, &[&ours]].concat());
    assert_eq!(stage.digest_in_registry(&ours), stage.digest);
    // By archive: ours to them, theirs to us.
    let archive = stage.sealed.path("ours.tar");
    stage.sealed.ok(&["tag", &there, "exchange/ours:1"]);
    stage.sealed.ok(&["save", "--output", text(&archive), "exchange/ours:1"]);
    let said = engine.ok_reading(&["load"], &archive);
    assert!(said.contains("exchange/ours:1"), "{said}");
    let archive = stage.sealed.path("theirs.tar");
    engine.ok_writing(&["save", &there], &archive);
    stage.sealed.ok(&["rmi", "--force", &there]);
    let said = stage.sealed.ok(&["load", "--input", text(&archive)]);
    assert!(said.contains("Loaded image"), "{said}");
    for name in [&there, &theirs, &ours, "exchange/ours:1"] {
        engine.ok(&["rmi", "-f", name]);
    }
}

#[test]
fn with_docker() {
    let Some(docker) = Peer::find("docker", "version") else {
        return skipped("exchange::with_docker", "no docker daemon answers; DOCKER_HOST names one");
    };
    let Some(stage) = Stage::set("exchange::with_docker") else { return };
    with_engine(&stage, &docker, &[]);
}

#[test]
fn with_podman() {
    let Some(podman) = Peer::find("podman", "--version") else {
        return skipped(
            "exchange::with_podman",
            "there is no podman; BERTH_TEST_PEERS may name a Debian tree that has it",
        );
    };
    let Some(stage) = Stage::set("exchange::with_podman") else { return };
    with_engine(&stage, &podman, &["--tls-verify=false"]);
}

/// The official images, where somebody has put them beside this repository.
#[test]
fn official_images_run() {
    let images =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(3).expect("crates/berth").join("shared/images");
    if !images.join("busybox/index.json").exists() {
        return skipped("exchange::official_images_run", "there is no ../shared/images");
    }
    let Some(stage) = Stage::set("exchange::official_images_run") else { return };
    for (name, tag) in [("busybox", "1.37"), ("alpine", "3.18"), ("alpine", "3.20")] {
        let reference = format!("{}/library/{name}:{tag}", stage.registry.host);
        let from = format!("oci:{}:{name}:{tag}", text(&images.join(name)));
        stage.skopeo.ok(&[
            "copy",
            "--all",
            "--quiet",
            "--dest-tls-verify=false",
            &from,
            &format!("docker://{reference}"),
        ]);
        stage.sealed.ok(&["pull", "--quiet", &reference]);
        assert_eq!(stage.id(&reference), stage.digest_in_registry(&reference));
        let said = stage.sealed.ok(&["run", "--rm", "--network", "none", &reference, "echo", "it runs"]);
        assert_eq!(said, "it runs\n");
    }
}
