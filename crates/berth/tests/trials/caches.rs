//! The build cache on its way to other machines and back, and images in the form in which they leave.

use super::support::{Peer, RealRegistry, Sealed, rig, skipped};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Two machines with the same base image and the same files.
struct Pair {
    here: Sealed,
    there: Sealed,
    context: PathBuf,
}

const DOCKERFILE: &str = "FROM box AS made
WORKDIR /w
RUN echo made > /w/out && echo big > /w/big
FROM box
COPY --from=made /w/out /out
COPY f /f
RUN cat /out /f > /both
";

impl Pair {
    fn new(test: &str) -> Option<Self> {
        let here = rig(test, "CMD true")?;
        let there = Sealed::new();
        let saved = here.path("box.tar.saved");
        here.ok(&["save", "-o", text(&saved), "box"]);
        there.ok(&["load", "-q", "-i", text(&saved)]);
        let context = here.path("context");
        fs::create_dir_all(&context).unwrap();
        fs::write(context.join("f"), "f\n").unwrap();
        fs::write(context.join("Dockerfile"), DOCKERFILE).unwrap();
        Some(Self { here, there, context })
    }

    fn build(&self, berth: &Sealed, flags: &[&str]) -> String {
        let words = [&["build", "--network", "none", "-t", "app"], flags, &[text(&self.context)]].concat();
        let outcome = berth.run(&words);
        assert!(outcome.succeeded(), "{}", outcome.tell());
        outcome.stderr()
    }

    /// How many steps another machine knows, and what came of them.
    fn there(&self, flags: &[&str]) -> usize {
        let said = self.build(&self.there, flags);
        assert_eq!(self.there.ok(&["run", "--rm", "app", "cat", "/both"]), "made\nf\n");
        self.there.check().unwrap();
        said.matches(" CACHED\n").count()
    }

    /// Forgets everything but the base.
    fn forget(&self) {
        self.there.ok(&["rmi", "-f", "app"]);
        self.there.ok(&["buildx", "prune", "-a", "-f"]);
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain name")
}

/// The files below a directory.
fn files(directory: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path())),
            false => drop(found.insert(entry.path())),
        }
    }
    found
}

#[test]
fn steps_are_known_on_another_machine() {
    let Some(pair) = Pair::new("steps_are_known_on_another_machine") else { return };
    let cache = pair.here.path("cache");
    let (to, from) =
        (format!("type=local,mode=max,dest={}", text(&cache)), format!("type=local,src={}", text(&cache)));
    pair.build(&pair.here, &["--cache-to", &to]);
    // Two bases and five steps; of these, the stage that was only copied from is not even fetched.
    assert_eq!(pair.there(&["--cache-from", &from]), 7);
    // Of a cache that holds the image's own steps alone, the others are not known.
    let least = pair.here.path("least");
    pair.build(&pair.here, &["--cache-to", &format!("type=local,dest={}", text(&least))]);
    pair.forget();
    assert_eq!(pair.there(&["--cache-from", &format!("type=local,src={}", text(&least))]), 5);
    // What is there already is not written again.
    let layers = || -> BTreeSet<(PathBuf, std::time::SystemTime)> {
        let is_layer = |path: &PathBuf| fs::read(path).unwrap().starts_with(&[0x1f, 0x8b]);
        let layers = files(&cache).into_iter().filter(is_layer);
        layers.map(|path| (path.clone(), fs::metadata(&path).unwrap().modified().unwrap())).collect()
    };
    let before = layers();
    pair.build(&pair.here, &["--cache-to", &to]);
    assert_eq!(layers(), before);
    pair.forget();
    assert_eq!(pair.there(&["--cache-from", &from]), 7, "what was only seen to be the same is still known");
    // A cache that lies or is gone is a warning; the build goes on without it.
    for entry in fs::read_dir(cache.join("blobs/sha256")).unwrap().flatten() {
        let bytes = fs::read(entry.path()).unwrap();
        if bytes.starts_with(&[0x1f, 0x8b]) {
            fs::write(entry.path(), [&bytes[..bytes.len() - 1], b"x"].concat()).unwrap();
        }
    }
    pair.forget();
    let words = ["build", "--network", "none", "-t", "app", "--cache-from", &from, text(&pair.context)];
    let outcome = pair.there.run(&words);
    assert!(!outcome.succeeded() || pair.there.check().is_ok(), "{}", outcome.tell());
    assert_eq!(pair.there(&["--cache-from", "type=local,src=/nowhere"]), 2);
}

#[test]
fn registries_and_images_carry_the_cache() {
    let Some(pair) = Pair::new("registries_and_images_carry_the_cache") else { return };
    let Some(registry) = RealRegistry::start() else {
        return skipped("registries_and_images_carry_the_cache", "there is no docker-registry");
    };
    let name = |what: &str| format!("{}/{what}:1", registry.host);
    let to = format!("type=registry,mode=max,compression=zstd,ref={}", name("cache"));
    pair.build(&pair.here, &["--cache-to", &to]);
    assert_eq!(pair.there(&["--cache-from", &name("cache"), "--cache-to", &to]), 7);
    // Inside of the image itself.
    pair.forget();
    let image = name("app");
    let push = format!("type=image,push=true,name={image}");
    pair.build(&pair.here, &["-o", &push, "--cache-to", "type=inline"]);
    assert_eq!(pair.there(&["--cache-from", &format!("type=registry,ref={image}")]), 5);
    // An image without one is a warning.
    pair.forget();
    pair.build(&pair.here, &["-o", &push]);
    let said = pair.build(&pair.there, &["--cache-from", &image]);
    assert!(said.contains("there is no build cache in it"), "{said}");
    for (flag, value, expected) in [
        ("--cache-to", format!("type=registry,ref={}", "127.0.0.1:1/x"), "127.0.0.1:1"),
        ("--cache-to", "type=gha".to_owned(), "type=gha is not supported"),
        ("--cache-from", "type=local".to_owned(), "src is required"),
    ] {
        let outcome = pair.here.run(&["build", "--network", "none", flag, &value, text(&pair.context)]);
        assert!(
            !outcome.succeeded() && outcome.stderr().contains(expected),
            "{expected}: {}",
            outcome.tell()
        );
    }
    pair.build(&pair.here, &["--cache-to", "type=registry,ref=127.0.0.1:1/x,ignore-error=true"]);
}

/// A JSON document of a layout, by its digest.
fn document(layout: &Path, digest: &str) -> Value {
    let path = layout.join("blobs").join(digest.replace(':', "/"));
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn layout_of(pair: &Pair, name: &str, flags: &[&str], form: &str) -> (PathBuf, Value) {
    let layout = pair.here.path(name);
    let output = format!("type=oci,tar=false,dest={}{form}", text(&layout));
    pair.build(&pair.here, &[&["-o", &output], flags].concat());
    let index: Value = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    let root = document(&layout, index["manifests"][0]["digest"].as_str().unwrap());
    (layout, root)
}

#[test]
fn images_leave_in_the_form_that_is_wanted() {
    let Some(pair) = Pair::new("images_leave_in_the_form_that_is_wanted") else { return };
    let types = |manifest: &Value| -> BTreeSet<String> {
        let layers = manifest["layers"].as_array().unwrap().iter();
        layers
            .map(|layer| layer["mediaType"].as_str().unwrap().rsplit(['.', '+']).next().unwrap().to_owned())
            .collect()
    };
    let set = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<BTreeSet<_>>();
    for (number, (form, expected)) in [
        ("", set(&["gzip"])),
        (",compression=zstd,compression-level=3", set(&["zstd"])),
        (",compression=uncompressed", set(&["tar"])),
        (",oci-mediatypes=false", set(&["gzip"])),
    ]
    .into_iter()
    .enumerate()
    {
        let (layout, manifest) = layout_of(&pair, &format!("form{number}"), &[], form);
        assert_eq!(types(&manifest), expected, "{form}");
        let is_docker = manifest["mediaType"].as_str().unwrap().contains("docker");
        assert_eq!(is_docker, form.contains("mediatypes"), "{form}");
        // It comes back as it was.
        pair.there.ok(&["copy", &format!("oci:{}", text(&layout)), "store:back"]);
        assert_eq!(pair.there.ok(&["run", "--rm", "back", "cat", "/both"]), "made\nf\n", "{form}");
    }
    // Several outputs of one build.
    let (tar, directory) = (pair.here.path("o.tar"), pair.here.path("o"));
    let docker = format!("type=docker,dest={}", text(&tar));
    pair.build(&pair.here, &["--load", "-o", &docker, "-o", text(&directory)]);
    assert_eq!(fs::read_to_string(directory.join("both")).unwrap(), "made\nf\n");
    pair.there.ok(&["load", "-i", text(&tar)]);
    assert_eq!(pair.there.ok(&["run", "--rm", "app", "cat", "/both"]), "made\nf\n");
    for (output, expected) in [
        ("type=image,compression=zstd", "for images that leave this machine"),
        ("type=oci,dest=x,compression=estargz", "compression=estargz is not supported"),
        ("type=oci,dest=x,oci-mediatypes=false,compression=zstd", "no word for layers with zstd"),
        ("type=oci,dest=x,rewrite-timestamp=true", "needs SOURCE_DATE_EPOCH"),
        ("type=oci,dest=x,nope=1", "nope is not supported"),
        ("type=local", "dest is required"),
    ] {
        let outcome = pair.here.run(&["build", "--network", "none", "-o", output, text(&pair.context)]);
        assert!(!outcome.succeeded() && outcome.stderr().contains(expected), "{output}: {}", outcome.tell());
    }
}

#[test]
fn words_and_statements_go_along() {
    let Some(pair) = Pair::new("words_and_statements_go_along") else { return };
    let status = "Package: base-files\nStatus: install ok installed\nArchitecture: amd64\nVersion: 12.4\n";
    fs::create_dir_all(pair.context.join("dpkg")).unwrap();
    fs::write(pair.context.join("dpkg/status"), status).unwrap();
    fs::write(
        pair.context.join("Dockerfile"),
        format!("{DOCKERFILE}COPY dpkg/status /var/lib/dpkg/status\n"),
    )
    .unwrap();
    let secret = pair.here.path("secret");
    fs::write(&secret, "hidden-word").unwrap();
    let metadata = pair.here.path("metadata.json");
    let flags = [
        "--sbom",
        "--provenance=mode=max",
        "--secret",
        &format!("id=s,src={}", text(&secret)),
        "--annotation",
        "a=manifest",
        "--annotation",
        "index:b=index",
        "--annotation",
        "manifest-descriptor:c=entry",
        "--metadata-file",
        text(&metadata),
    ];
    let (layout, index) = layout_of(&pair, "attested", &flags, "");
    let entries = index["manifests"].as_array().unwrap();
    assert_eq!(entries.len(), 2);
    assert_eq!(
        (&index["annotations"]["b"], &entries[0]["annotations"]["c"]),
        (&"index".into(), &"entry".into())
    );
    let image = document(&layout, entries[0]["digest"].as_str().unwrap());
    assert_eq!(image["annotations"]["a"], "manifest");
    assert_eq!(entries[1]["annotations"]["vnd.docker.reference.digest"], entries[0]["digest"]);
    assert_eq!(entries[1]["annotations"]["vnd.docker.reference.type"], "attestation-manifest");
    assert_eq!(entries[1]["platform"]["os"], "unknown");
    let attestation = document(&layout, entries[1]["digest"].as_str().unwrap());
    let statements: Vec<Value> = attestation["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| document(&layout, layer["digest"].as_str().unwrap()))
        .collect();
    let hex = entries[0]["digest"].as_str().unwrap().trim_start_matches("sha256:");
    assert!(statements.iter().all(|statement| statement["subject"][0]["digest"]["sha256"] == hex));
    let package = &statements[0]["predicate"]["packages"][0];
    assert_eq!((&package["name"], &package["versionInfo"]), (&"base-files".into(), &"12.4".into()));
    let built = &statements[1]["predicate"]["buildDefinition"];
    assert_eq!(built["externalParameters"]["request"]["secrets"][0]["id"], "s");
    assert!(built["resolvedDependencies"][0]["uri"].as_str().unwrap().contains("box"));
    let all: Vec<u8> = files(&layout).iter().flat_map(|path| fs::read(path).unwrap()).collect();
    assert!(!all.windows(11).any(|bytes| bytes == b"hidden-word"));
    let said: Value = serde_json::from_slice(&fs::read(&metadata).unwrap()).unwrap();
    let keys: Vec<&String> = said.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "buildx.build.provenance",
            "containerimage.config.digest",
            "containerimage.descriptor",
            "containerimage.digest",
            "image.name"
        ]
    );
    // The store keeps all of it, and other tools carry it on.
    pair.build(&pair.here, &flags);
    assert_eq!(pair.here.ok(&["run", "--rm", "app", "cat", "/both"]), "made\nf\n");
    pair.here.check().unwrap();
    if let Some(skopeo) = Peer::find("skopeo", "--version") {
        let copied = pair.here.path("copied");
        skopeo.ok(&[
            "copy",
            "--all",
            "--quiet",
            &format!("oci:{}", text(&layout)),
            &format!("oci:{}", text(&copied)),
        ]);
    }
    let refused =
        pair.here.run(&["build", "--network", "none", "--annotation", "index:a=b", text(&pair.context)]);
    assert!(refused.stderr().contains("index annotations not supported"), "{}", refused.tell());
}

#[test]
fn images_of_registries_are_joined_where_they_are() {
    const TEST: &str = "images_of_registries_are_joined_where_they_are";
    let Some(pair) = Pair::new(TEST) else { return };
    let Some(registry) = RealRegistry::start() else { return skipped(TEST, "there is no docker-registry") };
    let name = |what: &str| format!("{}/{what}", registry.host);
    fs::write(pair.context.join("Dockerfile"), "FROM scratch\nCOPY f /\n").unwrap();
    for (platform, repository) in [("linux/amd64", "one:a"), ("linux/arm64", "two:b")] {
        let output = format!("type=registry,name={}", name(repository));
        pair.build(&pair.here, &["--platform", platform, "-o", &output, "--provenance=true"]);
    }
    let tools = |words: &[&str]| pair.here.ok(&[&["buildx", "imagetools"], words].concat());
    let (a, b, all) = (name("one:a"), name("two:b"), name("all:1"));
    let dry = tools(&["create", "--dry-run", "-t", &all, &a, &b]);
    assert_eq!(serde_json::from_str::<Value>(&dry).unwrap()["manifests"].as_array().unwrap().len(), 4);
    tools(&["create", "-t", &all, "--annotation", "index:k=v", &a, &b]);
    let shown = tools(&["inspect", &all]);
    assert!(
        shown.contains("Platform:    linux/amd64") && shown.contains("Platform:    linux/arm64"),
        "{shown}"
    );
    let raw: Value = serde_json::from_str(&tools(&["inspect", "--raw", &all])).unwrap();
    assert_eq!(raw["annotations"]["k"], "v");
    let format = |format: &str| tools(&["inspect", "--format", format, &all]);
    assert_eq!(
        format("{{range .Manifest.manifests}}{{.platform.architecture}} {{end}}"),
        "amd64 unknown arm64 unknown \n"
    );
    assert!(format("{{json .Image}}").contains("\"linux/arm64\""));
    assert!(format("{{json .Provenance}}").contains("buildDefinition"));
    // One alone stays what it is; one more is added to what is there.
    tools(&["create", "-t", &name("same:1"), &a]);
    assert_eq!(tools(&["inspect", "--raw", &name("same:1")]), tools(&["inspect", "--raw", &a]));
    tools(&["create", "--append", "-t", &name("same:1"), &b]);
    assert_eq!(tools(&["inspect", &name("same:1")]).matches("Platform:    linux/").count(), 2);
    tools(&["create", "-t", &name("less:1"), "--platform", "linux/arm64", &all]);
    let less: Value = serde_json::from_str(&tools(&["inspect", "--raw", &name("less:1")])).unwrap();
    assert_eq!(less["manifests"].as_array().unwrap().len(), 2, "the image and what is attested of it");
    for (words, expected) in [
        (vec!["create", &*a], "can't push without a tag"),
        (vec!["create", "-t", &*all], "no sources specified"),
        (vec!["create", "-t", &*all, "--annotation", "manifest:a=b", &*a], "a manifest cannot be changed"),
        (vec!["inspect", &*name("nope:1")], "no such manifest"),
    ] {
        let outcome = pair.here.run(&[&["buildx", "imagetools"], &words[..]].concat());
        assert!(
            !outcome.succeeded() && outcome.stderr().contains(expected),
            "{expected}: {}",
            outcome.tell()
        );
    }
    assert!(pair.here.ok(&["buildx", "ls"]).contains("default"));
    assert!(pair.here.ok(&["buildx", "inspect"]).contains("linux/"));
}
