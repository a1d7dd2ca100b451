//! Rows of template, data and what Go answers; the messages were taken from docker 28.

use super::{Fields, Options, Template, Value};
use serde_json::json;
use std::rc::Rc;

struct Row;

impl Fields for Row {
    fn type_name(&self) -> Option<&str> {
        Some("*formatter.rowContext")
    }
    fn field(&self, name: &str) -> Option<Value> {
        match name {
            "Name" => Some("default".into()),
            "Size" => Some(Value::Int(5)),
            "Current" => Some(Value::Bool(true)),
            _ => None,
        }
    }
    fn names(&self) -> Vec<String> {
        ["Current", "Name", "Size"].map(str::to_owned).to_vec()
    }
}

fn render(template: &str, data: &Value) -> String {
    let rendered = Template::parse(template).and_then(|t| t.render(data, Options::default()));
    rendered.unwrap_or_else(|error| error.to_string())
}

#[test]
fn rows_render_as_docker_renders_them() {
    let row = Value::Object(Rc::new(Row));
    for (template, expected) in [
        ("{{.Name}}: {{.Size}} {{.Current}}", "default: 5 true"),
        ("{{json .}}", r#"{"Current":true,"Name":"default","Size":5}"#),
        ("{{- /* nothing */ -}} x {{- .Name -}} y", "xdefaulty"),
        ("{{if eq .Name \"a\" \"default\"}}yes{{else}}no{{end}}", "yes"),
        ("{{if false}}a{{else if .Current}}b{{else}}c{{end}}", "b"),
        ("{{with $x := .Name}}{{$x}}/{{.}}{{end}}", "default/default"),
        (
            "{{$n := 1}}{{range $i, $c := split .Name \"a\"}}{{$i}}={{$c}};{{$n = $i}}{{end}}{{$n}}",
            "0=def;1=ult;1",
        ),
        ("{{range split .Name \"a\"}}{{.}}{{break}}{{end}}", "def"),
        ("{{range split .Name \"\"}}{{if eq . \"f\"}}{{continue}}{{end}}{{.}}{{end}}", "deault"),
        ("{{.Name | upper | printf \"%s-%d\" | len}}", "20"),
        (
            "{{printf \"%d %5s|%-9s|%q %x %T\" .Name \"ab\" .Name .Name \"a\" .Name}}",
            "%!d(string=default)    ab|default  |\"default\" 61 string",
        ),
        (
            "{{printf \"%05d %+d %x %c %.2f %t %v\" .Size 3 255 65 1.5 true 1e30}}",
            "00005 +3 ff A 1.50 true 1e+30",
        ),
        ("{{printf \"%d\"}} {{printf \"x\" 1}} {{printf \"%*d\" 4 7}}", "%!d(MISSING) x%!(EXTRA int=1)    7"),
        ("{{index .Name 1}} {{slice .Name 1 3}} {{len .Name}}", "101 ef 7"),
        (
            "{{split .Name \"f\"}} {{json (split .Name \"f\")}} {{title \"a b-c\"}} {{pad .Name 2 3}}| {{truncate .Name 3}}",
            "[de ault] [\"de\",\"ault\"] A B-C   default   | def",
        ),
        ("{{join (split .Name \"f\") \"+\"}} {{lower \"AB\"}}", "de+ault ab"),
        ("{{and .Size 0 (index .Name 99)}} {{or 0 .Name}} {{not .Current}}", "0 default false"),
        ("{{lt 1 2}} {{ge \"b\" \"a\"}} {{ne 1 1}} {{le 2 1}} {{gt 2 1}}", "true true false false true"),
        (
            "{{define \"t\"}}<{{.}}>{{end}}{{template \"t\" .Name}}{{block \"u\" 3}}[{{.}}]{{end}}",
            "<default>[3]",
        ),
        ("{{html \"<a&b>\"}} {{urlquery \"a b/é\"}} {{js \"it's\"}}", "&lt;a&amp;b&gt; a+b%2F%C3%A9 it\\'s"),
        ("{{print 1 2 \"x\" 3}} {{println .Size \"x\"}}", "1 2x3 5 x\n"),
        ("{{\"a\\tb\\x41\\u00e9\"}}{{`raw\\n`}}{{'a'}}{{0x10}}{{1_000}}", "a\tbAéraw\\n97161000"),
        ("{{range $i := 3}}{{$i}}{{end}}", "012"),
        ("{{(split .Name \"f\") | len}}", "2"),
    ] {
        assert_eq!(render(template, &row), expected, "{template}");
    }
}

#[test]
fn what_is_wrong_is_said_in_gos_words() {
    let row = Value::Object(Rc::new(Row));
    for (template, expected) in [
        (
            "{{.Bad}}",
            ":1:2: executing \"\" at <.Bad>: can't evaluate field Bad in type *formatter.rowContext",
        ),
        ("a\n{{.Name.Bad}}", ":2:7: executing \"\" at <.Name.Bad>: can't evaluate field Bad in type string"),
        ("{{.Name", ":1: unclosed action"),
        ("{{nofunc .Name}}", ":1: function \"nofunc\" not defined"),
        ("{{.Name}} {{end}}", ":1: unexpected {{end}}"),
        ("{{if .Name}}x", ":1: unexpected EOF"),
        ("{{if}}x{{end}}", ":1: missing value for if"),
        ("{{}}", ":1: missing value for command"),
        ("{{.Name | }}", ":1: missing value for command"),
        ("{{$x}}", ":1: undefined variable \"$x\""),
        ("{{break}}", ":1: {{break}} outside {{range}}"),
        ("{{\"a}}", ":1: unterminated quoted string"),
        ("{{(1}}", ":1: unclosed left paren"),
        (
            "{{lt .Name 1}}",
            ":1:2: executing \"\" at <lt .Name 1>: error calling lt: incompatible types for comparison",
        ),
        (
            "{{join .Name \",\"}}",
            ":1:7: executing \"\" at <.Name>: wrong type for value; expected []string; got string",
        ),
        ("{{len 3}}", ":1:2: executing \"\" at <len 3>: error calling len: len of type int"),
        ("{{len}}", ":1:2: executing \"\" at <len>: wrong number of args for len: want 1 got 0"),
        (
            "{{index .Name 99}}",
            ":1:2: executing \"\" at <index .Name 99>: error calling index: index out of range: 99",
        ),
        (
            "{{template \"none\"}}",
            ":1:11: executing \"\" at <{{template \"none\"}}>: template \"none\" not defined",
        ),
        ("{{range .Current}}{{end}}", ":1:8: executing \"\" at <.Current>: range can't iterate over true"),
        (
            "{{printf \"%s\" .Nothing.At.All.Of.This}}",
            ":1:22: executing \"\" at <.Nothing.At.All.Of.T...>: can't evaluate field Nothing in type *formatter.rowContext",
        ),
    ] {
        assert_eq!(
            render(template, &row),
            format!("template parsing error: template: {expected}"),
            "{template}"
        );
    }
    let deep = "{{if 1}}".repeat(5000);
    assert!(render(&deep, &row).contains("too deeply"));
    let recursive = "{{define \"t\"}}{{template \"t\"}}{{end}}{{template \"t\"}}";
    assert!(render(recursive, &row).contains("maximum template depth"));
}

#[test]
fn decoded_json_behaves_as_dockers_types() {
    let data = Value::from_json(&json!({
        "Id": "sha256:1", "Size": 3112011, "Config": {"Labels": {"a": "b"}, "Env": null, "Cmd": ["sh"], "Volumes": null},
        "State": {"Health": null}, "HostConfig": {"PidsLimit": null},
    }));
    let inspect = |template: &str| {
        let options = Options { missing_is_error: false, header: false };
        Template::parse(template).and_then(|t| t.render(&data, options)).unwrap_or_else(|e| e.to_string())
    };
    for (template, expected) in [
        ("{{.Id}} {{.ID}} {{.Size}}", "sha256:1 sha256:1 3112011"),
        (
            "{{.Config.Labels.a}} {{.Config.Labels.none}} [{{index .Config.Labels \"none\"}}]",
            "b <no value> []",
        ),
        ("{{json .Config.Labels}} {{json .Config.Env}} {{.Config.Env}}", "{\"a\":\"b\"} null []"),
        ("{{json .State.Health}} {{.State.Health}} {{.HostConfig.PidsLimit}}", "null <nil> <nil>"),
        ("{{len .Config.Env}}{{range .Config.Env}}x{{else}} none{{end}}", "0 none"),
        (
            "{{.State.Health.Status}}",
            "template parsing error: template: :1:8: executing \"\" at <.State.Health.Status>: map has no entry for key \"Health\"",
        ),
        ("{{range $k, $v := .Config.Labels}}{{$k}}={{$v}}{{end}}", "a=b"),
        ("{{.Config.Cmd}} {{join .Config.Cmd \" \"}} {{len .Config.Volumes}}", "[sh] sh 0"),
        (
            "{{.Bad}}",
            "template parsing error: template: :1:2: executing \"\" at <.Bad>: map has no entry for key \"Bad\"",
        ),
        (
            "{{.Size.Bad}}",
            "template parsing error: template: :1:7: executing \"\" at <.Size.Bad>: can't evaluate field Bad in type interface {}",
        ),
        (
            "{{.Config.Env.Bad}}",
            "template parsing error: template: :1:9: executing \"\" at <.Config.Env.Bad>: can't evaluate field Bad in type interface {}",
        ),
    ] {
        assert_eq!(inspect(template), expected, "{template}");
    }
}

#[test]
fn documents_of_docker_s_own_types() {
    let document = serde_json::json!({
        "Name": "here", "Labels": ["a"], "Swarm": { "NodeID": "" }, "Runtimes": { "berth": { "path": "berth" } },
        "Components": [{ "Name": "Engine" }],
    });
    let types =
        &[("", "t.Info"), ("Swarm", "swarm.Info"), ("Runtimes", "t.Runtime"), ("Components", "*t.Part")];
    let value = Value::typed(&document, types);
    for (template, out, error) in [
        ("{{.Name}} {{.Labels}} {{.Swarm.NodeID}}", "here [a] ", None),
        (
            "a{{.Bad}}",
            "a",
            Some("template: x:1:3: executing \"x\" at <.Bad>: can't evaluate field Bad in type t.Info"),
        ),
        (
            "{{.Name.Bad}}",
            "",
            Some("template: x:1:7: executing \"x\" at <.Name.Bad>: can't evaluate field Bad in type string"),
        ),
        (
            "{{.Labels.B}}",
            "",
            Some("template: x:1:9: executing \"x\" at <.Labels.B>: can't evaluate field B in type []string"),
        ),
        (
            "{{.Swarm.B}}",
            "",
            Some("template: x:1:8: executing \"x\" at <.Swarm.B>: can't evaluate field B in type swarm.Info"),
        ),
        (
            "{{range .Runtimes}}{{.b}}{{end}}",
            "",
            Some("template: x:1:21: executing \"x\" at <.b>: can't evaluate field b in type t.Runtime"),
        ),
        (
            "{{range .Components}}{{.Name}}{{.b}}{{end}}",
            "Engine",
            Some("template: x:1:32: executing \"x\" at <.b>: can't evaluate field b in type *t.Part"),
        ),
    ] {
        let mut text = String::new();
        let got = Template::named("x", template).unwrap().execute(&mut text, &value, Options::default());
        assert_eq!((text.as_str(), got.err().as_deref()), (out, error), "{template}");
    }
    let unclosed = Template::named("x", "{{.A").err().map(|error| error.to_string());
    assert_eq!(unclosed.as_deref(), Some("template parsing error: template: x:1: unclosed action"));
}
