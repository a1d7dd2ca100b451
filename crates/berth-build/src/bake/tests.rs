//! Bake files of all languages.

use super::*;

fn files(texts: &[(&str, &str)]) -> Vec<BakeFile> {
    texts.iter().map(|(name, text)| BakeFile { name: (*name).to_owned(), text: (*text).to_owned() }).collect()
}

fn nothing(_: &str) -> Option<String> {
    None
}

fn bake(text: &str) -> Bake {
    Bake::read(&files(&[("docker-bake.hcl", text)]), &nothing).unwrap_or_else(|e| panic!("{text}: {e:?}"))
}

fn plan(text: &str, names: &[&str], set: &[&str]) -> Plan {
    let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
    bake(text).plan(&words(names), &words(set), &nothing).unwrap_or_else(|e| panic!("{text}: {e:?}"))
}

fn fault(text: &str) -> String {
    let read = Bake::read(&files(&[("b.hcl", text)]), &nothing);
    match read.and_then(|bake| bake.plan(&[], &[], &nothing)) {
        Ok(plan) => panic!("{text}: {plan:?}"),
        Err(error) => error.to_string(),
    }
}

/// An expression as the tag of a target.
fn value(expression: &str) -> String {
    let text = format!("target \"default\" {{ args = {{ x = jsonencode({expression}) }} }}");
    plan(&text, &[], &[]).targets["default"].args["x"].clone()
}

#[test]
fn targets_inherit_and_groups_gather() {
    let text = r#"
        variable "TAG" { default = "v1" }
        group "default" { targets = ["app", "db"] }
        target "base" {
          args = { A = "1", B = "2" }
          platforms = ["linux/amd64"]
        }
        target "app" {
          inherits = ["base"]
          args = { B = "3" }
          tags = ["me/app:${TAG}"]
          output = [{ type = "image", push = true }]
        }
        target "db" {
          context = "db"
          contexts = { app = "target:base" }
        }
    "#;
    let plan = plan(text, &[], &[]);
    let app = &plan.targets["app"];
    assert_eq!((app.args["A"].as_str(), app.args["B"].as_str()), ("1", "3"));
    assert_eq!((app.tags[0].as_str(), app.platforms[0].as_str()), ("me/app:v1", "linux/amd64"));
    assert_eq!(app.output, ["type=image,push=true"]);
    assert_eq!((app.context.as_deref(), app.dockerfile.as_deref()), (Some("."), Some("Dockerfile")));
    assert!(plan.targets["base"].is_linked && plan.targets["base"].output == ["type=cacheonly"]);
    assert_eq!(plan.groups["default"], ["app", "db"]);
    assert_eq!(bake(text).names(), ["default", "base", "app", "db"]);
}

#[test]
fn variables_come_from_outside_in_their_type() {
    let text = r#"
        variable "N" { default = 1 }
        variable "ON" { default = true }
        variable "S" { }
        variable "L" { default = ["a"] }
        variable "T" { type = number }
        x = N + 1
        target "default" { args = { n = x, on = ON ? "yes" : "no", s = "<${S}>", l = join("+", L), t = "${T == null}" } }
    "#;
    let given = |name: &str| {
        let value = match name {
            "N" => "41",
            "ON" => "false",
            "S" => "s",
            "L" => "b,c",
            _ => return None,
        };
        Some(value.to_owned())
    };
    let args = |lookup: Lookup<'_>| {
        let bake = Bake::read(&files(&[("b.hcl", text)]), lookup).expect("good");
        let target = bake.plan(&[], &[], lookup).expect("good").targets["default"].clone();
        target.args.values().cloned().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(args(&nothing), "a 2 yes <> true");
    assert_eq!(args(&given), "b+c 42 no <s> true");
    let wrong = |name: &str| (name == "ON").then(|| "maybe".to_owned());
    let error = Bake::read(&files(&[("b.hcl", text)]), &wrong).expect_err("no bool").to_string();
    assert_eq!(error, "b.hcl:3: failed to parse ON as bool: \"maybe\"");
}

#[test]
fn a_matrix_makes_targets_and_a_group_of_them() {
    let text = r#"
        target "app" {
          name = "app-${os}-${replace(v, ".", "-")}"
          matrix = { os = ["a", "b"], v = ["1.0", "2.0"] }
          tags = ["app:${v}-${os}"]
        }
    "#;
    let plan = plan(text, &["app"], &[]);
    let names: Vec<_> = plan.targets.keys().map(String::as_str).collect();
    assert_eq!(names, ["app-a-1-0", "app-a-2-0", "app-b-1-0", "app-b-2-0"]);
    assert_eq!(plan.targets["app-b-1-0"].tags, ["app:1.0-b"]);
    assert_eq!(plan.groups["app"].len(), 4);
}

#[test]
fn expressions_have_their_values() {
    for (expression, expected) in [
        ("1 + 2 * 3", "7"),
        ("\"a${1 + 1}b\"", "\"a2b\""),
        ("\"$${x}\"", "\"${x}\""),
        ("\"%{ if true }x%{ else }y%{ endif }\"", "\"x\""),
        ("\"%{ for i in [1, 2] }${i},%{ endfor }\"", "\"1,2,\""),
        ("[for s in [\"a\", \"b\"] : upper(s) if s != \"a\"]", "[\"B\"]"),
        ("{for k, v in {a = 1} : v => k}", "{\"1\":\"a\"}"),
        ("[{a = 1}, {a = 2}][*].a", "[1,2]"),
        ("{a = [10, 20]}.a[1]", "20"),
        ("7 / 2", "3.5"),
        ("7 % 4 == 3 && !false", "true"),
        ("try(nosuch, \"other\")", "\"other\""),
        ("can(nosuch)", "false"),
        ("format(\"%s-%03d-%.1f%%\", \"a\", 7, 2.25)", "\"a-007-2.2%\""),
        ("join(\",\", sort(distinct([\"b\", \"a\", \"b\"])))", "\"a,b\""),
        ("merge({a = 1}, {a = 2, b = 3})", "{\"a\":2,\"b\":3}"),
        ("lookup({a = 1}, \"b\", 5)", "5"),
        ("split(\",\", \"a,b\")", "[\"a\",\"b\"]"),
        ("regex_replace(\"a1b22\", \"[0-9]+\", \"#\")", "\"a#b#\""),
        ("regexall(\"[0-9]+\", \"a1b22\")", "[\"1\",\"22\"]"),
        ("replace(\"a.b.c\", \".\", \"-\")", "\"a-b-c\""),
        ("substr(\"hello\", 1, 3)", "\"ell\""),
        ("title(\"ab cd\")", "\"Ab Cd\""),
        ("range(1, 4)", "[1,2,3]"),
        ("flatten([[1], [2, [3]]])", "[1,2,3]"),
        ("setproduct([1, 2], [\"a\"])", "[[1,\"a\"],[2,\"a\"]]"),
        ("chunklist([1, 2, 3], 2)", "[[1,2],[3]]"),
        ("zipmap([\"a\"], [1])", "{\"a\":1}"),
        ("coalesce(\"\", null, \"x\")", "\"x\""),
        ("element([1, 2], 3)", "2"),
        ("indexof([\"a\", \"b\"], \"b\")", "1"),
        ("basename(\"/a/b.c\")", "\"b.c\""),
        ("dirname(\"/a/b.c\")", "\"/a\""),
        ("sanitize(\"a.b/c\")", "\"a_b_c\""),
        ("base64decode(base64encode(\"hi\"))", "\"hi\""),
        ("substr(sha256(\"\"), 0, 8)", "\"e3b0c442\""),
        ("jsondecode(\"[1]\")", "[1]"),
        ("urlencode(\"a b&\")", "\"a+b%26\""),
        ("parseint(\"ff\", 16)", "255"),
        ("max([1, 3, 2]...)", "3"),
        ("length({a = 1})", "1"),
        ("keys({b = 1, a = 2})", "[\"a\",\"b\"]"),
        ("<<-EOT\n  a\n    b\n  EOT\n", "\"a\\n  b\\n\""),
    ] {
        assert_eq!(value(expression), expected, "{expression}");
    }
}

#[test]
fn functions_and_other_blocks_can_be_used() {
    let text = r#"
        variable "V" {
          default = "1.2"
          validation {
            condition = length(V) > 2
            error_message = "too short"
          }
        }
        function "tag" {
          params = [name]
          variadic_params = rest
          result = ["${name}:${V}", join("/", rest)]
        }
        target "a" { tags = tag("x", "p", "q") }
        target "default" { tags = concat(target.a.tags, ["z"]) }
    "#;
    assert_eq!(plan(text, &[], &[]).targets["default"].tags, ["x:1.2", "p/q", "z"]);
    let short = |name: &str| (name == "V").then(|| "1".to_owned());
    let error = Bake::read(&files(&[("b.hcl", text)]), &short).expect_err("too short").to_string();
    assert_eq!(error, "b.hcl:5: Validation failed for variable V; too short");
}

#[test]
fn set_overrides() {
    let text = r#"
        target "a" {
          tags = ["x"]
          args = { V = "1" }
        }
        target "b" { inherits = ["a"] }
    "#;
    let plan = plan(
        text,
        &["a", "b"],
        &[
            "*.platform=p",
            "*.platform=q",
            "a.tags+=y",
            "b.args.V=2",
            "a.push=true",
            "b.no-cache=true",
            "a.target=t",
        ],
    );
    let (a, b) = (&plan.targets["a"], &plan.targets["b"]);
    assert_eq!((a.tags.join(" "), a.output.join(" ")), ("x y".to_owned(), "type=image,push=true".to_owned()));
    assert_eq!((a.platforms.join(" "), a.args["V"].as_str()), ("p q".to_owned(), "1"));
    // What a parent is set to is inherited, as in buildx.
    assert_eq!((b.tags.join(" "), b.args["V"].as_str(), b.no_cache), ("x y".to_owned(), "2", Some(true)));
    for (set, message) in [
        ("a", "invalid override key a, expected target.name"),
        ("c.tags=x", "could not find any target matching 'c'"),
        ("a.foo=x", "unknown key: foo"),
        ("a.tags", "invalid override a.tags, expected target.name=value"),
        ("a.args=x", "invalid key args, args requires name"),
        ("a.pull=x", "invalid value x for boolean key pull"),
    ] {
        let error = bake(text).plan(&["a".to_owned()], &[set.to_owned()], &nothing).expect_err(set);
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn json_and_compose_say_the_same() {
    let json = r#"{
        "variable": {"V": {"default": "1"}},
        "group": {"default": {"targets": ["web"]}},
        "target": {"web": {"context": "w", "args": {"A": "${V}!"}, "tags": ["t:${upper(V)}"]}}
    }"#;
    let compose = "
services:
  web:
    image: \"t:${V:-1}\"
    build:
      context: w
      args: {A: \"${V:-1}!\"}
  other:
    image: x
";
    let of = |name: &str, text: &str| {
        let bake = Bake::read(&files(&[(name, text)]), &nothing).expect(name);
        bake.plan(&[], &[], &nothing).expect(name)
    };
    assert_eq!(of("b.json", json), of("compose.yaml", compose));
    assert_eq!(of("b.json", json).json()["target"]["web"]["args"]["A"], "1!");
}

#[test]
fn compose_files_are_read_as_compose_reads_them() {
    let text = "
x-common: &common
  args: [A=1, B]
  labels: {l: 1}
services:
  my.app:
    build:
      <<: *common
      dockerfile_inline: |
        FROM $$x
      additional_contexts: [db=service:d.b, y=z]
      secrets: [s, t]
      ssh: [default, k=p]
      ulimits: {nproc: 5, nofile: {soft: 1, hard: 2}}
      extra_hosts: ['h:1.2.3.4']
      shm_size: 1.5g
      provenance: mode=max
      x-bake:
        platforms: linux/amd64 linux/arm64
        output: [type=docker]
  d.b:
    build: ./db
secrets:
  s: {file: ./s.txt}
  t: {environment: T}
";
    let bake = Bake::read(&files(&[("c.yml", text)]), &nothing).expect("good");
    let plan = bake.plan(&[], &[], &nothing).expect("good");
    let app = &plan.targets["my_app"];
    assert_eq!(app.args.keys().map(String::as_str).collect::<Vec<_>>(), ["A"]);
    assert_eq!(app.dockerfile_inline.as_deref(), Some("FROM $x\n"));
    assert_eq!(app.contexts["db"], "target:d_b");
    assert_eq!(app.secret, ["id=s,src=s.txt", "id=t,env=T"]);
    assert_eq!(app.shm_size.as_deref(), Some("1.5GiB"));
    assert_eq!(
        (app.ssh.join(" "), app.ulimits.join(" ")),
        ("default k=p".to_owned(), "nproc=5:5 nofile=1:2".to_owned())
    );
    assert_eq!(app.extra_hosts["h"], "1.2.3.4");
    assert_eq!(app.platforms, ["linux/amd64", "linux/arm64"]);
    assert_eq!((app.output[0].as_str(), app.attest[0].as_str()), ("type=docker", "type=provenance,mode=max"));
    assert_eq!(plan.targets["d_b"].context.as_deref(), Some("db"));
    for (text, message) in [
        ("services: {a: {build: {context: x, foo: 1}}}", "\"foo\" is not known"),
        ("services: {a: {build: {context: \"${X:?no}\"}}}", "X: no"),
        ("- a", "empty compose file"),
        ("a: [", ""),
    ] {
        let error = Bake::read(&files(&[("c.yml", text)]), &nothing).expect_err(text).to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn mistakes_are_named_with_their_line() {
    for (text, message) in [
        (
            "target \"a\" {\n  tagz = []\n}",
            "b.hcl:2: Unsupported argument; An argument named \"tagz\" is not expected here. (did you mean tags?)",
        ),
        (
            "tarjet \"a\" {}",
            "b.hcl:1: Unsupported block type; Blocks of type \"tarjet\" are not expected here. (did you mean target?)",
        ),
        ("target \"a b\" {}", "b.hcl:1: Invalid name; only \"[a-zA-Z0-9_-]+\" are allowed: \"a b\""),
        ("target \"a\" {\n  tags = [nosuch]\n}", "b.hcl:2: undefined variable \"nosuch\""),
        ("target \"a\" {\n\n  tags = [nosuch()]\n}", "b.hcl:3: undefined function nosuch"),
        (
            "target \"a\" {\n  tags = [timestamp()]\n}",
            "b.hcl:2: the function timestamp is not supported by berth",
        ),
        ("x = y\ny = x\n", "b.hcl:1: variable cycle not allowed for x"),
        (
            "function \"f\" {\n params = []\n result = f()\n}\nx = f()",
            "b.hcl:5: function cycle not allowed for f()",
        ),
        (
            "target \"default\" {\n  contexts = { a = \"target:default\" }\n}",
            "target default cannot link to itself",
        ),
        (
            "target \"default\" {\n  contexts = { a = \"target:b\" }\n}\ntarget \"b\" {\n  contexts = { a = \"target:default\" }\n}",
            "infinite loop from b to default",
        ),
        ("target \"a\" {}", "failed to find target default"),
        ("target \"a\" {\n  tags = 1\n}", "b.hcl:2: Unsuitable value type; a list of strings is required"),
        ("group \"g\" {\n  matrix = {}\n}", "b.hcl:2: matrix is not supported for groups"),
        ("target \"g\" {\n  matrix = {}\n}", "b.hcl:2: matrix requires name"),
        ("x = 1 / 0", "b.hcl:1: division by zero"),
        (
            "x = [for a in range(1000) : [for b in range(1000) : b]]",
            "b.hcl:1: the files take too many steps to evaluate",
        ),
    ] {
        assert_eq!(fault(text), message, "{text}");
    }
    assert!(fault("target \"a\" {").starts_with("b.hcl:1: "));
}

#[test]
fn later_files_complete_earlier_ones() {
    let texts = [
        ("compose.yml", "services: {web: {build: {context: w, args: {A: '1'}}}}"),
        ("docker-bake.hcl", "variable \"V\" { default = \"a\" }\ntarget \"web\" { args = { B = V } }"),
        ("docker-bake.override.hcl", "variable \"V\" { default = \"b\" }\ntarget \"web\" { tags = [\"x\"] }"),
    ];
    let bake = Bake::read(&files(&texts), &nothing).expect("good");
    let web = bake.plan(&[], &[], &nothing).expect("good").targets["web"].clone();
    assert_eq!((web.args["A"].as_str(), web.args["B"].as_str(), web.tags.len()), ("1", "b", 1));
}

#[test]
fn patterns_name_several_targets() {
    let text = "target \"a-1\" {}\ntarget \"a-2\" {}\ntarget \"b\" {}";
    let plan = plan(text, &["a-*"], &[]);
    assert_eq!(plan.targets.keys().map(String::as_str).collect::<Vec<_>>(), ["a-1", "a-2"]);
    assert_eq!(plan.groups["default"], ["a-1", "a-2"]);
}
