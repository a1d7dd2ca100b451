//! nginx, PostgreSQL, Redis, Python and Node from Debian's packages, as people run them: built, run, limited, logged,
//! asked, stopped, started again, and looked into when they fail.
//!
//! Needs mmdebstrap and the packages, so it runs where BERTH_TEST_APT is set, to 1 or to a tar with the tree that was
//! made before. Nothing here waits for time.

use super::support::{Sealed, Story, skipped};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

const PACKAGES: &str = "nginx-light,postgresql,redis-server,python3,nodejs";

#[test]
fn programs_of_debian_are_run_as_people_run_them() {
    let name = "programs_of_debian_are_run_as_people_run_them";
    #[expect(clippy::disallowed_methods, reason = "whether packages may be fetched is the caller's to say")]
    let Ok(wish) = std::env::var("BERTH_TEST_APT") else {
        return skipped(name, "BERTH_TEST_APT is not set: packages are not to be fetched");
    };
    let berth = Sealed::new();
    match Path::new(&wish).is_file() {
        true => drop(berth.ok(&["import", &wish, "debian"])),
        false => {
            let Some(tree) = debian(&berth) else { return skipped(name, "there is no mmdebstrap") };
            berth.ok(&["import", &tree, "debian"]);
            std::fs::remove_file(&tree).expect("it is ours");
        }
    }
    nginx(&berth);
    postgresql(&berth);
    redis(&berth);
    python(&berth);
    node(&berth);
}

/// A tree with all of the programs, as a tar.
fn debian(berth: &Sealed) -> Option<String> {
    let release = std::fs::read_to_string("/etc/os-release").ok()?;
    let suite = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    let tree = berth.path("debian.tar").display().to_string();
    let mut command = Command::new("mmdebstrap");
    command.args(["--quiet", "--variant=minbase", "--aptopt=Acquire::Check-Valid-Until \"false\""]);
    command.args([&format!("--include={PACKAGES}"), suite, &tree]);
    // The machine's own sources know where packages come from.
    let sources = ["/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"];
    command.args(sources.iter().find(|path| Path::new(path).exists()));
    let made = command.output().ok()?;
    assert!(made.status.success(), "mmdebstrap: {}", String::from_utf8_lossy(&made.stderr));
    Some(tree)
}

/// Builds an image of this Dockerfile and these files beside it.
fn build(berth: &Sealed, name: &str, dockerfile: &str, files: &[(&str, &str)]) {
    let context = berth.path(&format!("context-{name}"));
    std::fs::create_dir(&context).expect("the directory is ours");
    for (file, text) in files.iter().chain(&[("Dockerfile", dockerfile)]) {
        std::fs::write(context.join(file), text).expect("the directory is ours");
    }
    berth.ok(&["build", "-q", "-t", name, context.to_str().expect("a plain name")]);
}

fn field(berth: &Sealed, name: &str, template: &str) -> String {
    berth.ok(&["inspect", "--format", template, name]).trim().to_owned()
}

/// What the server on a published port answers to a GET.
fn page(berth: &Sealed, name: &str, port: &str, path: &str) -> String {
    let place = berth.ok(&["port", name, port]).lines().next().expect("it is published").to_owned();
    let mut stream = TcpStream::connect(&place).expect("it listens");
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers in text");
    answer
}

fn nginx(berth: &Sealed) {
    let dockerfile = "FROM debian\n\
        RUN ln -sf /dev/stdout /var/log/nginx/access.log && ln -sf /dev/stderr /var/log/nginx/error.log\n\
        COPY index.html /var/www/html/\n\
        EXPOSE 80\n\
        STOPSIGNAL SIGQUIT\n\
        HEALTHCHECK --interval=1s --start-interval=50ms --start-period=60s CMD nginx -t -q && kill -0 $(cat /run/nginx.pid)\n\
        CMD [\"nginx\", \"-g\", \"daemon off;\"]\n";
    build(berth, "web", dockerfile, &[("index.html", "<p>hello</p>\n")]);
    let mut story = Story::of(berth);
    let limits = ["--memory", "64m", "--cpus", "0.5", "--pids-limit", "20"];
    berth.ok(&[&["run", "-d", "--name", "front", "-p", "127.0.0.1::80"][..], &limits, &["web"]].concat());
    story.until("health_status: healthy front");
    assert!(page(berth, "front", "80", "/").ends_with("<p>hello</p>\n"));
    assert!(page(berth, "front", "80", "/missing").contains("404 Not Found"));
    assert!(berth.ok(&["logs", "front"]).contains("\"GET /missing HTTP/1.0\" 404"));
    berth.ok(&["exec", "front", "sh", "-c", "echo '<p>changed</p>' > /var/www/html/index.html"]);
    berth.ok(&["exec", "front", "nginx", "-s", "reload"]);
    assert!(page(berth, "front", "80", "/").ends_with("<p>changed</p>\n"));
    assert!(berth.ok(&["diff", "front"]).contains("C /var/www/html/index.html"));
    assert!(berth.ok(&["top", "front"]).contains("nginx: worker process"));
    let used = berth.ok(&["stats", "--no-stream", "--format", "{{.MemUsage}}", "front"]);
    assert!(used.trim_end().ends_with("/ 64MiB"), "{used}");
    berth.ok(&["stop", "front"]);
    assert_eq!(field(berth, "front", "{{.State.ExitCode}}"), "0");
    berth.ok(&["start", "front"]);
    story.until("health_status: healthy front");
    assert!(page(berth, "front", "80", "/").ends_with("<p>changed</p>\n"), "it keeps what was written");
    // The mistake everybody makes once.
    berth.ok(&["run", "--name", "gone", "web", "nginx"]);
    let why = berth.ok(&["why", "gone"]);
    assert!(why.contains("nginx -g 'daemon off;'"), "{why}");
    berth.ok(&["rm", "-f", "front", "gone"]);
}

fn postgresql(berth: &Sealed) {
    // A volume gets its first content from the image, and with it the owner: without the directory it would be root's.
    let dockerfile = "FROM debian\n\
        ENV PGDATA=/var/lib/postgresql/data\n\
        RUN install -d -o postgres -g postgres -m 700 $PGDATA /var/run/postgresql\n\
        USER postgres\n\
        COPY --chmod=755 serve /serve\n\
        VOLUME /var/lib/postgresql/data\n\
        STOPSIGNAL SIGINT\n\
        HEALTHCHECK --interval=1s --start-interval=100ms --start-period=120s CMD pg_isready -q -h /var/run/postgresql\n\
        CMD [\"/serve\"]\n";
    let serve = "#!/bin/sh -e\nPATH=$PATH:$(echo /usr/lib/postgresql/*/bin)\n\
        [ -e $PGDATA/PG_VERSION ] || initdb --no-sync > /dev/null\nexec postgres\n";
    build(berth, "postgres", dockerfile, &[("serve", serve)]);
    let run = |name: &str| {
        let places = ["-v", "pgdata:/var/lib/postgresql/data", "--shm-size", "128m"];
        berth.ok(&[&["run", "-d", "--name", name][..], &places, &["postgres"]].concat());
    };
    let ask = |name: &str, sql: &str| berth.ok(&["exec", name, "psql", "-Atc", sql]);
    let mut story = Story::of(berth);
    run("first");
    story.until("health_status: healthy first");
    ask("first", "create table t (n int); insert into t select generate_series(1, 1000)");
    berth.ok(&["stop", "-t", "60", "first"]);
    assert_eq!(field(berth, "first", "{{.State.ExitCode}}"), "0");
    assert!(
        berth.ok(&["logs", "first"]).contains("database system is shut down")
            || !berth.run(&["logs", "first"]).stderr().is_empty()
    );
    berth.ok(&["rm", "first"]);
    run("second");
    story.until("health_status: healthy second");
    assert_eq!(ask("second", "select sum(n) from t"), "500500\n");
    // Killed without a word: what was committed is there.
    ask("second", "insert into t values (500)");
    berth.ok(&["kill", "second"]);
    berth.ok(&["start", "second"]);
    story.until("health_status: healthy second");
    assert_eq!(ask("second", "select sum(n) from t"), "501000\n");
    berth.ok(&["rm", "-f", "second"]);
    berth.ok(&["volume", "rm", "pgdata"]);
}

fn redis(berth: &Sealed) {
    berth.ok(&["network", "create", "shop"]);
    let serve = [
        "redis-server",
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
        "--dir",
        "/data",
        "--protected-mode",
        "no",
    ];
    let mut story = Story::of(berth);
    let health = ["--health-cmd", "redis-cli ping", "--health-interval", "100ms"];
    let run = [
        "run",
        "-d",
        "--name",
        "cache",
        "--network",
        "shop",
        "-v",
        "cache:/data",
        "--restart",
        "on-failure:5",
    ];
    berth.ok(&[&run[..], &health, &["debian"], &serve].concat());
    story.until("health_status: healthy cache");
    // Another container finds it by its name.
    let cli = ["run", "--rm", "--network", "shop", "debian", "redis-cli", "-h", "cache"];
    assert_eq!(berth.ok(&[&cli[..], &["set", "k", "v"]].concat()), "OK\n");
    let pid = field(berth, "cache", "{{.State.Pid}}").parse().ok().and_then(rustix::process::Pid::from_raw);
    rustix::process::kill_process(pid.expect("it runs"), rustix::process::Signal::KILL).expect("it is ours");
    story.until("die cache 137");
    story.until("health_status: healthy cache");
    assert_eq!(berth.ok(&[&cli[..], &["get", "k"]].concat()), "v\n");
    assert_eq!(field(berth, "cache", "{{.RestartCount}}"), "1");
    berth.ok(&["stop", "cache"]);
    assert_eq!(field(berth, "cache", "{{.State.ExitCode}}"), "0");
    berth.ok(&["rm", "-v", "cache"]);
    berth.ok(&["volume", "rm", "cache"]);
    berth.ok(&["network", "rm", "shop"]);
}

fn python(berth: &Sealed) {
    let app = "import http.server, os, sys\n\
        class Handler(http.server.BaseHTTPRequestHandler):\n\
        \x20   def do_GET(self):\n\
        \x20       if self.path == '/crash': os._exit(3)\n\
        \x20       self.send_response(200); self.end_headers()\n\
        \x20       self.wfile.write(os.environ['GREETING'].encode())\n\
        print('listening', flush=True)\n\
        http.server.HTTPServer(('', 8000), Handler).serve_forever()\n";
    let dockerfile = "FROM debian\nWORKDIR /app\nCOPY app.py .\nENV GREETING=hello\nUSER nobody\nEXPOSE 8000\nCMD [\"python3\", \"app.py\"]\n";
    build(berth, "app", dockerfile, &[("app.py", app)]);
    std::fs::write(berth.path("settings"), "# for the app\nGREETING=from a file\n").expect("it is ours");
    let settings = berth.path("settings").display().to_string();
    let mut story = Story::of(berth);
    let flags = ["--env-file", &settings, "--restart", "on-failure:2", "--read-only", "--init", "-P"];
    berth.ok(&[&["run", "-d", "--name", "py"][..], &flags, &["app"]].concat());
    until_logged(berth, "py", "listening", 1);
    assert!(page(berth, "py", "8000", "/").ends_with("from a file"));
    let place = berth.ok(&["port", "py", "8000"]).lines().next().expect("it is published").to_owned();
    let mut stream = TcpStream::connect(&place).expect("it listens");
    write!(stream, "GET /crash HTTP/1.0\r\n\r\n").expect("it reads");
    story.until("die py 3");
    story.until("start py");
    until_logged(berth, "py", "listening", 2);
    assert!(page(berth, "py", "8000", "/").ends_with("from a file"));
    // A stop is answered at once: the init passes the signal on to a program that has no handler for it.
    berth.ok(&["stop", "-t", "1000", "py"]);
    assert_eq!(field(berth, "py", "{{.State.ExitCode}}"), "143");
    let broken = berth.run(&["run", "--name", "broken", "app", "python3", "-c", "import nonsense"]);
    assert_eq!(broken.output.status.code(), Some(1));
    let why = berth.ok(&["why", "broken"]);
    assert!(why.contains("No module named 'nonsense'"), "{why}");
    berth.ok(&["cp", "py:/app/app.py", berth.path("app.py").to_str().expect("a plain name")]);
    assert_eq!(std::fs::read_to_string(berth.path("app.py")).expect("it was copied"), app);
    berth.ok(&["rm", "py", "broken"]);
}

fn node(berth: &Sealed) {
    let app = "const http = require('http');\n\
        const server = http.createServer((request, response) => response.end('node ' + process.version));\n\
        server.listen(3000, () => console.log('listening'));\n\
        process.on('SIGTERM', () => server.close(() => { console.log('bye'); process.exit(0); }));\n";
    let dockerfile = "FROM debian\nCOPY app.js /\nEXPOSE 3000\nCMD [\"node\", \"/app.js\"]\n";
    build(berth, "js", dockerfile, &[("app.js", app)]);
    berth.ok(&["run", "-d", "--name", "api", "-p", "127.0.0.1::3000", "--memory", "256m", "js"]);
    until_logged(berth, "api", "listening", 1);
    assert!(page(berth, "api", "3000", "/").contains("node v"));
    berth.ok(&["update", "--memory", "300m", "--memory-swap", "300m", "--cpuset-cpus", "0", "api"]);
    assert_eq!(berth.ok(&["exec", "api", "node", "-p", "require('os').availableParallelism()"]), "1\n");
    berth.ok(&["pause", "api"]);
    berth.ok(&["unpause", "api"]);
    berth.ok(&["stop", "-t", "1000", "api"]);
    assert!(berth.ok(&["logs", "--tail", "1", "api"]).contains("bye"));
    assert_eq!(field(berth, "api", "{{.State.ExitCode}}"), "0");
    let greedy = "const all = []; for (;;) all.push(Buffer.alloc(1 << 20, 1));";
    let limits = ["--memory", "96m", "--memory-swap", "96m"];
    let killed =
        berth.run(&[&["run", "--name", "greedy"][..], &limits, &["js", "node", "-e", greedy]].concat());
    assert_eq!(killed.output.status.code(), Some(137), "{}", killed.tell());
    assert_eq!(field(berth, "greedy", "{{.State.OOMKilled}}"), "true");
    let why = berth.ok(&["why", "greedy"]);
    assert!(why.contains("memory limit of 96MiB"), "{why}");
    berth.ok(&["rm", "api", "greedy"]);
}

/// Reads on until a line has been written so many times.
fn until_logged(berth: &Sealed, name: &str, line: &str, times: usize) {
    use std::io::{BufRead, BufReader};
    let mut logs = berth.command(&["logs", "-f", name], None);
    let mut child = logs.stdout(std::process::Stdio::piped()).spawn().expect("the binary starts");
    let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let found = lines.map_while(Result::ok).filter(|text| text == line).take(times).count();
    child.kill().expect("it is ours");
    child.wait().expect("it is ours");
    assert_eq!(found, times, "{name} has not written `{line}`");
}
