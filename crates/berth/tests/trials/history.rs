//! What is written down of builds, and what thirty of them teach.

use super::build::Site;
use super::explain::move_base;
use berth_build::history::BuildReport;
use berth_store::{HistoryLimits, Location, Store};
use serde_json::Value;

#[test]
fn builds_are_written_down() {
    let Some(site) = Site::new("builds_are_written_down") else { return };
    let berth = &site.berth;
    site.file("Dockerfile", "FROM box AS never\nRUN false\nFROM box\nRUN echo spoken > /x; cat /x\n");
    let trace = berth.path("trace.json");
    let said = site.build(&["-t", "app", &format!("--profile={}", trace.display())]);
    assert!(said.contains("The build took 0."), "{said}");
    site.build(&["--profile"]);
    site.file("Dockerfile", "FROM box\nRUN echo last words; exit 4\n");
    assert!(!site.run(&[]).succeeded());

    let listed = berth.ok(&["buildx", "history", "ls", "--format", "{{.Name}} {{.Status}}"]);
    assert_eq!(listed, "context Error\ncontext Completed\ncontext Completed\n");
    let json = berth.ok(&["buildx", "history", "ls", "--format", "json", "--filter", "status=error"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["total_steps"], &json["cached_steps"]), (&2.into(), &1.into()));

    let inspect = |reference: &str| -> Value {
        let text = berth.ok(&["buildx", "history", "inspect", "--format", "json", reference]);
        serde_json::from_str(&text).unwrap()
    };
    let (first, second, last) = (inspect("^2"), inspect("^1"), inspect("^0"));
    assert_eq!(first["ImageNames"][0], "docker.io/library/app:latest");
    assert_eq!(first["SkippedStages"][0], "never");
    let run = |build: &Value| build["Steps"].as_array().unwrap().last().unwrap().clone();
    let words = |step: &Value| [step["outcome"].clone(), step["reasons"][0]["kind"].clone()];
    assert_eq!(words(&run(&first)), ["done", "first-build"]);
    assert_eq!(words(&run(&second)), [Value::from("cached"), Value::Null]);
    assert_eq!(words(&run(&last)), ["failed", "new-instruction"]);
    assert!(run(&first)["cpu_ms"].as_u64().is_some() && run(&first)["bytes"].as_u64() > Some(0));
    assert_eq!(run(&second)["cost_ms"], run(&first)["took_ms"], "what was saved is what it took");

    // The log of the build that failed is whole, and its place was told.
    let log = berth.ok(&["buildx", "history", "logs"]);
    assert!(log.contains(" last words\n") && log.contains(" ERROR: process "), "{log}");
    assert!(berth.ok(&["buildx", "history", "logs", "^2"]).contains(" spoken\n"));
    let pretty = berth.ok(&["buildx", "history", "inspect"]);
    assert!(
        pretty.contains("\nStatus:\t\tError\nError:\t\tprocess \"/bin/sh -c echo last words"),
        "{pretty}"
    );

    for text in [std::fs::read_to_string(trace).unwrap(), berth.ok(&["buildx", "history", "trace", "^2"])] {
        let trace: Value = serde_json::from_str(&text).unwrap();
        let steps = trace["traceEvents"].as_array().unwrap().iter().filter(|event| event["ph"] == "X");
        assert_eq!(steps.filter(|step| step["cat"] == "RUN" && step["dur"].as_u64() > Some(0)).count(), 1);
    }
    let id = first["Ref"].as_str().unwrap();
    berth.ok(&["buildx", "history", "rm", id]);
    let gone = berth.run(&["buildx", "history", "inspect", id]);
    assert!(gone.stderr().contains(&format!("no record found for \"{id}\"")), "{}", gone.tell());
    berth.ok(&["buildx", "history", "rm", "--all"]);
    assert_eq!(berth.ok(&["buildx", "history", "ls", "--format", "{{.Ref}}"]), "");
}

/// Thirty builds of one project by people who make the usual mistakes. What they did is real; how long it took is
/// what such steps take, written into their records.
#[test]
fn thirty_builds_yield_the_right_advice() {
    let Some(site) = Site::new("thirty_builds_yield_the_right_advice") else { return };
    move_base(&site, "0");
    site.file(
        "Dockerfile",
        "FROM moving\nARG GIT_SHA=0\nRUN echo tools > /tools\nCOPY . /src\nRUN : npm ci; echo > /deps\nRUN cat /src/app.js > /out\n",
    )
    .file("app.js", "0")
    .file("style.css", "0")
    .file(".git/HEAD", "0")
    .file("package.json", "{}");
    let mut sha = "0".to_owned();
    for number in 1..=30 {
        let version = number.to_string();
        let mut flags = vec!["-q"];
        match number {
            1 => {}
            2..=13 => drop(site.file(if number % 3 == 0 { "style.css" } else { "app.js" }, &version)),
            14..=17 => sha = version,
            18..=20 => move_base(&site, &version),
            21..=23 => flags.push("--no-cache"),
            24..=27 => drop(site.file(".git/HEAD", &version)),
            _ => drop(site.berth.ok(&["buildx", "prune", "-a", "-f"])),
        }
        let argument = format!("GIT_SHA={sha}");
        flags.extend(["--build-arg", &argument]);
        site.build(&flags);
    }
    let context = site.context.to_str().unwrap();
    let advice = || site.berth.ok(&["buildx", "history", "advice", context]);
    assert_eq!(advice(), "30 builds, and nothing to be said about them.\n", "nothing has cost anything yet");
    let location = Location { root: site.berth.root(), runroot: site.berth.path("run") };
    let store = Store::open(&location).unwrap();
    for mut row in store.builds(None, 100).unwrap() {
        let mut report = BuildReport::parse(&row.document).unwrap();
        for step in &mut report.steps {
            let seconds = match step.text.split(' ').nth(1).unwrap() {
                "echo" => 30,
                ":" => 25,
                "cat" => 5,
                _ => 0,
            };
            step.took_ms = seconds * 1000;
        }
        row.document = serde_json::to_string(&report).unwrap();
        store.put_build(&row, &HistoryLimits::default()).unwrap();
    }
    let text = advice();
    let expected = [
        "`COPY . /src` missed 12 of 30 builds because of 2 files (app.js, style.css); below \
         `RUN : npm ci; echo > /deps` it would have saved 5 minutes (copy package.json and package-lock.json alone \
         before it)",
        "`ARG GIT_SHA` had another value in 4 of 30 builds, and `RUN echo tools > /tools`, which does not use it, was \
         done anew each time; below that step it would have saved",
        "the base image moving:latest was another one in 3 of 30 builds, which took 3 minutes to do again",
        "--no-cache was given to 3 of 30 builds, and ",
        "`COPY . /src` was done anew in 4 of 30 builds because of nothing but `.git`; a line in .dockerignore for each \
         would have saved 2 minutes",
        // How many of the steps below make the very same bytes again depends on the second they are made in.
        "steps were done again only because their results had been removed, which took ",
    ];
    for line in expected {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert_eq!(text.lines().count(), expected.len(), "{text}");
}
