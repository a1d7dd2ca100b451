//! `buildx bake`: a file becomes several images.

use super::support::Sealed;
use std::fs;
use std::path::PathBuf;

const FILE: &str = r#"
variable "TAG" { default = "v1" }
variable "DIR" {}
group "default" { targets = ["app", "other"] }
target "base" {
  context = DIR
  dockerfile-inline = <<-EOT
    FROM scratch
    COPY a /a
  EOT
}
target "app" {
  context = DIR
  contexts = { below = "target:base" }
  dockerfile-inline = "FROM below\nCOPY b /b\n"
  tags = ["t/app:${TAG}"]
  labels = { l = upper("x") }
}
target "other" {
  context = DIR
  tags = ["t/other"]
}
"#;

/// The bake file and the variable that says where it is.
fn definition(berth: &Sealed) -> (String, String) {
    let directory: PathBuf = berth.path("context");
    fs::create_dir_all(&directory).expect("it is ours");
    for (name, text) in [("a", "1"), ("b", "2"), ("Dockerfile", "FROM scratch\nCOPY a /\n")] {
        fs::write(directory.join(name), text).expect("it is ours");
    }
    let file = directory.join("docker-bake.hcl");
    fs::write(&file, FILE).expect("it is ours");
    (file.to_string_lossy().into_owned(), format!("DIR={}", directory.display()))
}

#[test]
fn a_file_is_printed_and_listed() {
    let berth = Sealed::new();
    let (file, place) = definition(&berth);
    let printed =
        berth.ok(&["buildx", "bake", "-f", &file, "--var", &place, "--print", "--set", "app.tags+=z"]);
    let json: serde_json::Value = serde_json::from_str(&printed).expect("it is JSON");
    assert_eq!(json["target"]["app"]["tags"], serde_json::json!(["t/app:v1", "z"]));
    assert_eq!(json["target"]["base"]["output"][0]["type"], "cacheonly");
    assert_eq!(json["group"]["default"]["targets"], serde_json::json!(["app", "other"]));
    let listed = berth.ok(&["buildx", "bake", "-f", &file, "--list=targets"]);
    assert!(listed.starts_with("TARGET\tDESCRIPTION\ndefault\tapp, other\n"), "{listed}");
}

#[test]
fn targets_are_built_on_one_another() {
    let berth = Sealed::new();
    let (file, place) = definition(&berth);
    berth.ok(&["buildx", "bake", "-f", &file, "--var", &place, "--var", "TAG=v2"]);
    let labels = berth.ok(&["inspect", "--format", "{{json .Config.Labels}}", "t/app:v2"]);
    assert_eq!(labels.trim(), r#"{"l":"X"}"#);
    let layers = berth.ok(&["inspect", "--format", "{{len .RootFS.Layers}}", "t/app:v2"]);
    assert_eq!(layers.trim(), "2");
    let names = berth.ok(&["images", "--format", "{{.Repository}}"]);
    let mut names: Vec<&str> = names.lines().filter(|name| *name != "<none>").collect();
    names.sort_unstable();
    assert_eq!(names, ["t/app", "t/other"]);
    assert_eq!(berth.check(), Ok(()));
}

#[test]
fn mistakes_name_target_and_line() {
    let berth = Sealed::new();
    let (file, place) = definition(&berth);
    for (words, message) in [
        (&["nosuch"][..], "failed to find target nosuch"),
        (&["--set", "app.foo=1"], "unknown key: foo"),
        (&["--set", "app.output=type=nosuch"], "nosuch"),
    ] {
        let told = berth.run(&[&["buildx", "bake", "-f", &file, "--var", &place], words].concat());
        assert!(!told.succeeded() && told.stderr().contains(message), "{}", told.tell());
    }
    fs::write(&file, "target \"a\" {\n  tagz = []\n}\n").expect("it is ours");
    let told = berth.run(&["buildx", "bake", "-f", &file, "a"]);
    assert!(told.stderr().contains(":2: Unsupported argument"), "{}", told.tell());
    assert!(told.stderr().contains("   2 | >>>   tagz = []\n"), "{}", told.tell());
}
