//! Rows: documents that are none, and what good ones change.

use super::*;
use crate::spec::{CdiName, GpuRequest};
use oci_spec::runtime as oci;
use serde_json::{Value, json};

fn registry(files: &[(&str, &str)]) -> Registry {
    let home = tempfile::tempdir().unwrap();
    let (first, second) = (home.path().join("first"), home.path().join("second"));
    for (path, text) in files {
        let path = home.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    Registry::read(&[first, second, home.path().join("none")]).unwrap()
}

const GPU: &str = r#"
cdiVersion: "0.6.0"
kind: nvidia.com/gpu
containerEdits:
  env: [VISIBLE=yes, PATH=/gpu]
  deviceNodes:
    - {path: /dev/fakectl, hostPath: /dev/full}
  mounts:
    - {hostPath: /lib/libfake.so.1, containerPath: /usr/lib/libfake.so.1, options: [ro, nosuid, bind]}
  hooks:
    - {hookName: createContainer, path: /usr/bin/hook, args: [hook, update-ldcache], timeout: 5}
devices:
  - name: "0"
    containerEdits:
      deviceNodes: [{path: /dev/fakegpu0, type: c, major: 195, minor: 0, permissions: rw}]
  - name: all
    containerEdits: {env: [ALL=1]}
"#;

#[test]
fn documents_that_are_none() {
    let device = r#""devices":[{"name":"a","containerEdits":{"env":["A=1"]}}]"#;
    for (text, expected) in [
        (format!(r#"{{"cdiVersion":"0.3.0","kind":"v.com/c",{device}}}"#), "fine"),
        (format!(r#"{{"cdiVersion":"9.0.0","kind":"v.com/c",{device}}}"#), "`9.0.0` is not a version"),
        (format!(r#"{{"cdiVersion":"0.3.0","kind":"v.com",{device}}}"#), "`v.com` is not a kind of device"),
        (format!(r#"{{"cdiVersion":"0.3.0","kind":"v.com/c","x":1,{device}}}"#), "unknown field `x`"),
        (format!(r#"{{"kind":"v.com/c",{device}}}"#), "missing field `cdiVersion`"),
        (r#"{"cdiVersion":"0.3.0","kind":"v.com/c"}"#.into(), "it describes no device"),
        (
            r#"{"cdiVersion":"0.3.0","kind":"v.com/c","devices":[{"name":"a","containerEdits":{}}]}"#.into(),
            "the device `a` changes nothing",
        ),
        (
            r#"{"cdiVersion":"0.3.0","kind":"v.com/c","devices":[{"name":"0","containerEdits":{"env":["A=1"]}}]}"#.into(),
            "it has fields of CDI 0.5.0, and says that it is 0.3.0",
        ),
        (
            r#"{"cdiVersion":"0.5.0","kind":"v.com/c","devices":[{"name":"a","containerEdits":{"additionalGids":[5]}}]}"#.into(),
            "it has fields of CDI 0.7.0, and says that it is 0.5.0",
        ),
        (
            r#"{"cdiVersion":"0.5.0","kind":"v.com/c","devices":[{"name":"a","containerEdits":{"env":["A"]}}]}"#.into(),
            "`A` is not a variable with a value",
        ),
        (
            r#"{"cdiVersion":"0.5.0","kind":"v.com/c","devices":[{"name":"a","containerEdits":{"deviceNodes":[{"path":"x"}]}}]}"#.into(),
            "`x` is not the path of a device",
        ),
        (
            r#"{"cdiVersion":"0.5.0","kind":"v.com/c","devices":[{"name":"a","containerEdits":{"hooks":[{"hookName":"x","path":"/x"}]}}]}"#.into(),
            "`x` with `/x` is not a hook",
        ),
        (GPU.to_owned(), "fine"),
        ("cdiVersion: [".into(), "while parsing"),
        ("- a\n".into(), "expected struct Document"),
    ] {
        let got = Document::parse(&text).map_or_else(|e| e.to_string(), |_| "fine".to_owned());
        assert!(got.contains(expected), "{text}: {got}");
    }
}

#[test]
fn names_lead_to_devices() {
    let json = |kind: &str, name: &str, value: &str| {
        json!({"cdiVersion": "0.5.0", "kind": kind, "devices": [
            {"name": name, "containerEdits": {"env": [format!("FROM={value}")]}}
        ]})
        .to_string()
    };
    let registry = registry(&[
        ("first/gpu.yaml", GPU),
        ("first/a.json", &json("v.com/c", "x", "first")),
        ("second/a.json", &json("v.com/c", "x", "second")),
        ("first/twice1.json", &json("v.com/c", "twice", "1")),
        ("first/twice2.json", &json("v.com/c", "twice", "2")),
        ("first/readme.txt", "nothing"),
        ("first/broken.json", "{"),
    ]);
    let changes = |names: &[&str]| {
        let names: Vec<CdiName> = names.iter().map(|name| name.parse().unwrap()).collect();
        let changes = registry.changes(&names);
        changes.map_or_else(
            |e| e.to_string(),
            |c| c.0.iter().flat_map(|e| e.env.clone()).collect::<Vec<_>>().join(" "),
        )
    };
    assert_eq!(changes(&["v.com/c=x"]), "FROM=second", "a later directory outdoes an earlier one");
    assert_eq!(changes(&["nvidia.com/gpu=0", "nvidia.com/gpu=all"]), "VISIBLE=yes PATH=/gpu ALL=1");
    assert_eq!(
        changes(&["v.com/c=y", "w.com/c=z", "v.com/c=x"]),
        "CDI device injection failed: unresolvable CDI devices v.com/c=y, w.com/c=z"
    );
    assert!(changes(&["v.com/c=twice"]).starts_with("conflicting device \"v.com/c=twice\" (specs "));
    let hint = registry.unresolvable(&[]).hint_text().unwrap().to_owned();
    assert!(hint.contains("broken.json"), "{hint}");
}

#[test]
fn gpus_are_named() {
    let some = registry(&[("first/gpu.yaml", GPU)]);
    let names = |registry: &Registry, text: &str| {
        let request: GpuRequest = text.parse().unwrap();
        registry.gpus(&request).map_or_else(
            |e| e.to_string(),
            |names| names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        )
    };
    for (text, expected) in [
        ("all", "nvidia.com/gpu=all"),
        ("2", "nvidia.com/gpu=0 nvidia.com/gpu=1"),
        ("\"device=0,GPU-7\"", "nvidia.com/gpu=0 nvidia.com/gpu=GPU-7"),
        ("device=other.com/gpu=3", "other.com/gpu=3"),
        ("count=1,device=0", "cannot set both Count and DeviceIDs on device request"),
        ("driver=amd", "could not select device driver \"amd\" with capabilities: [[gpu]]"),
    ] {
        assert_eq!(names(&some, text), expected, "{text}");
    }
    let nothing = registry(&[]);
    assert_eq!(
        names(&nothing, "capabilities=utility"),
        "could not select device driver \"\" with capabilities: [[gpu utility]]"
    );
}

#[test]
fn what_a_device_changes() {
    let registry = registry(&[("first/gpu.yaml", GPU)]);
    let changes = registry.changes(&["nvidia.com/gpu=0".parse().unwrap()]).unwrap();
    let mut spec = oci::Spec::default();
    apply(&mut spec, &changes).unwrap();
    let whole = serde_json::to_value(&spec).unwrap();
    let at = |pointer: &str| whole.pointer(pointer).cloned().unwrap_or(Value::Null);
    let env = at("/process/env");
    assert!(
        env.as_array().unwrap().contains(&json!("VISIBLE=yes"))
            && env.as_array().unwrap().contains(&json!("PATH=/gpu"))
    );
    let devices = at("/linux/devices");
    let device = |path: &str| devices.as_array().unwrap().iter().find(|d| d["path"] == path).unwrap().clone();
    assert_eq!((&device("/dev/fakectl")["major"], &device("/dev/fakectl")["minor"]), (&json!(1), &json!(7)));
    assert_eq!(device("/dev/fakegpu0")["major"], json!(195));
    let rules = at("/linux/resources/devices");
    let rule = json!({"allow": true, "type": "c", "major": 195, "minor": 0, "access": "rw"});
    assert!(rules.as_array().unwrap().contains(&rule), "{rules}");
    let mounts = at("/mounts");
    assert!(mounts.as_array().unwrap().iter().any(|m| m["destination"] == "/usr/lib/libfake.so.1"));
    let hook = json!([{"path": "/usr/bin/hook", "args": ["hook", "update-ldcache"], "timeout": 5}]);
    assert_eq!(at("/hooks/createContainer"), hook);
}
