//! Images that were made here, on their way to a registry: compressed, once, and known again afterwards.

use super::support::{Peer, RealRegistry, Sealed, rig, skipped};
use serde_json::Value;
use std::fs;

/// A berth with an image of three layers (imported, built, committed), and a registry.
struct Stage {
    berth: Sealed,
    registry: RealRegistry,
    name: String,
}

impl Stage {
    fn set(test: &str) -> Option<Self> {
        let Some(registry) = RealRegistry::start() else {
            skipped(test, "there is no docker-registry");
            return None;
        };
        let berth = rig(test, "CMD true")?;
        let context = berth.path("context");
        fs::create_dir_all(&context).unwrap();
        fs::write(context.join("Dockerfile"), "FROM box\nRUN seq 1 200000 > /numbers\n").unwrap();
        berth.ok(&["build", "-q", "--network", "none", "-t", "built", context.to_str().unwrap()]);
        berth.ok(&["create", "--name", "made", "built"]);
        let name = format!("{}/made/here:1", registry.host);
        berth.ok(&["commit", "made", &name]);
        Some(Self { berth, registry, name })
    }

    fn inspect(&self, template: &str, name: &str) -> String {
        self.berth.ok(&["image", "inspect", "-f", template, name]).trim().to_owned()
    }
}

/// The digest in the last line of a push.
fn digest(said: &str) -> String {
    let last = said.lines().last().unwrap_or_default();
    last.split_whitespace().nth(2).unwrap_or_default().to_owned()
}

#[test]
fn what_was_made_here_leaves_compressed_and_only_once() {
    let Some(stage) = Stage::set("what_was_made_here_leaves_compressed_and_only_once") else { return };
    let (berth, name) = (&stage.berth, &stage.name);
    let id = stage.inspect("{{.Id}}", name);
    let first = berth.ok(&["push", name]);
    assert_eq!(first.matches(": Pushed\n").count(), 3, "{first}");
    let manifest: Value = serde_json::from_str(&berth.ok(&["manifest", "inspect", name])).unwrap();
    let layers = manifest["layers"].as_array().unwrap();
    assert!(
        layers.iter().all(|layer| layer["mediaType"].as_str().unwrap().ends_with("tar+gzip")),
        "{manifest}"
    );
    let size: u64 = layers.iter().map(|layer| layer["size"].as_u64().unwrap()).sum();
    let plain: u64 =
        fs::read_dir(berth.root().join("layers")).unwrap().flatten().map(|fan| tars(&fan.path())).sum();
    assert!(size < plain / 2, "{size} bytes of {plain}");

    // The image is the one it was; what the registry calls it is known.
    assert_eq!(stage.inspect("{{.Id}}", name), id);
    let pushed = digest(&first);
    assert_ne!(pushed, id);
    let by_digest = format!("{}@{pushed}", name.rsplit_once(':').unwrap().0);
    assert_eq!(stage.inspect("{{json .RepoDigests}}", name), format!("[{by_digest:?}]"));
    assert_eq!(stage.inspect("{{.Id}}", &by_digest), id);
    assert!(berth.ok(&["images", "--digests"]).contains(&pushed));
    for known in [name, &by_digest] {
        let pulled = berth.ok(&["pull", known]);
        assert!(pulled.contains("Image is up to date") && pulled.contains(&pushed), "{pulled}");
        assert_eq!(stage.inspect("{{.Id}}", name), id);
    }

    // Packed layers are no longer asked of the disk: what they become stands in the notes.
    let again = berth.ok(&["push", name]);
    assert_eq!(again.matches(": Layer already exists\n").count(), 3, "{again}");
    assert_eq!(digest(&again), pushed);
    let other = format!("{}/made/elsewhere:2", stage.registry.host);
    berth.ok(&["tag", name, &other]);
    let mounted = berth.ok(&["push", &other]);
    assert_eq!(mounted.matches(": Mounted from made/here\n").count(), 3, "{mounted}");
    assert_eq!(digest(&mounted), pushed);
    let names = stage.inspect("{{json .RepoDigests}}", name);
    assert_eq!(names.matches(&pushed).count(), 2, "{names}");

    // What others get is the same image.
    let there = Sealed::new();
    there.ok(&["pull", "-q", &by_digest]);
    let layers =
        |berth: &Sealed| berth.ok(&["image", "inspect", "-f", "{{json .RootFS.Layers}}", &by_digest]);
    assert_eq!(layers(&there), layers(berth));
    assert_eq!(there.ok(&["run", "--rm", &by_digest, "tail", "-n1", "/numbers"]), "200000\n");
    // That image has the form that the registry gave it, and goes on unchanged.
    let third = format!("{}/made/again:1", stage.registry.host);
    there.ok(&["tag", &by_digest, &third]);
    assert_eq!(digest(&there.ok(&["push", &third])), pushed);
    there.check().unwrap();
    berth.check().unwrap();
}

/// The bytes of the tars below a directory.
fn tars(fan: &std::path::Path) -> u64 {
    let layers = fs::read_dir(fan).unwrap().flatten();
    layers.map(|layer| fs::metadata(layer.path().join("tar")).map_or(0, |tar| tar.len())).sum()
}

#[test]
fn an_index_leaves_with_what_is_attested_of_its_images() {
    let Some(stage) = Stage::set("an_index_leaves_with_what_is_attested_of_its_images") else { return };
    let (berth, context) = (&stage.berth, stage.berth.path("context"));
    let name = format!("{}/made/attested:1", stage.registry.host);
    let words =
        ["build", "-q", "--network", "none", "--provenance=mode=max", "-t", &name, context.to_str().unwrap()];
    berth.ok(&words);
    let pushed = digest(&berth.ok(&["push", &name]));
    let raw = berth.ok(&["buildx", "imagetools", "inspect", "--raw", &name]);
    let index: Value = serde_json::from_str(&raw).unwrap();
    let [image, attestation] = &index["manifests"].as_array().unwrap()[..] else { panic!("{index}") };
    assert_eq!(attestation["annotations"]["vnd.docker.reference.digest"], image["digest"]);
    let there = Sealed::new();
    there.ok(&["pull", "-q", "--all-platforms", &name]);
    assert_eq!(there.ok(&["image", "inspect", "-f", "{{.Id}}", &name]).trim(), pushed);
    let provenance =
        there.ok(&["buildx", "imagetools", "inspect", "--format", "{{json .Provenance}}", &name]);
    assert!(provenance.contains("buildDefinition") || provenance.contains("invocation"), "{provenance}");
    let statements = files_with(&there.root().join("oci/blobs"), "in-toto.io/Statement");
    let hex = image["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    assert!(statements.iter().all(|text| text.contains(hex)) && !statements.is_empty(), "{statements:?}");
    if let Some(skopeo) = Peer::find("skopeo", "--version") {
        let to = format!("oci:{}:all", berth.path("all").display());
        skopeo.ok(&["copy", "--all", "-q", "--src-tls-verify=false", &format!("docker://{name}"), &to]);
    }
}

/// The files below a directory that have this text in them.
fn files_with(directory: &std::path::Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files_with(&entry.path(), text)),
            false => {
                found.extend(fs::read_to_string(entry.path()).ok().filter(|content| content.contains(text)));
            }
        }
    }
    found
}
