//! A build that fails: what is told, what is kept, and a shell in the middle of it.

use super::build::{Site, holding};
use std::io::Write;
use std::process::Stdio;

#[test]
fn a_failed_step_can_be_entered() {
    let Some(site) = Site::new("a_failed_step_can_be_entered") else { return };
    let berth = &site.berth;
    std::fs::write(berth.path("secret"), "nobody-keeps-this").unwrap();
    site.file("from-context", "seen").file(
        "Dockerfile",
        "FROM box
ENV COLOR=blue
WORKDIR /work
RUN echo before > before; mkdir /tmp; chmod 777 /tmp
USER 7:8
RUN --mount=type=cache,target=/cache,uid=7 --mount=type=bind,target=/ctx --mount=type=tmpfs,target=/mem \
    --mount=type=secret,id=s,uid=7 --mount=type=secret,id=s,env=SECRET \
    echo half > /tmp/half; echo cached > /cache/x; i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo line $i; done; exit 3
",
    );
    let secret = format!("id=s,src={}", berth.path("secret").display());
    let failed = site.run(&["--secret", &secret]);
    assert_eq!(failed.output.status.code(), Some(1), "{}", failed.tell());
    let said = failed.stderr();
    // The end of what it wrote is told again, the whole of it is in the log that is named.
    let tail = said.split("\n------\n").nth(1).unwrap_or_default();
    assert!(tail.ends_with("line 2999\nline 3000") && !tail.contains("line 1\n"), "{tail}");
    let log = said.lines().find_map(|line| line.strip_prefix("The whole log is in ")).unwrap();
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains(" line 1\n") && log.contains(" line 3000\n"));
    let step = said.lines().find_map(|line| line.rsplit_once("berth debug ")).unwrap().1;

    let words = "id -u; id -g; pwd; echo $COLOR$SECRET; cat before /tmp/half /cache/x /ctx/from-context; echo more > /mem/x; \
                 ls /run/secrets/s 2>&1";
    let seen = berth.ok(&["debug", step, "sh", "-c", words]);
    assert!(
        seen.starts_with("7\n8\n/work\nblue\nbefore\nhalf\ncached\nseen"),
        "its user, directory, variables, files and mounts, and no secret: {seen}"
    );
    assert!(seen.contains("/run/secrets/s"), "{seen}");
    assert_eq!(berth.ok(&["ps", "-aq"]), "");
    assert_eq!(berth.ok(&["images", "-aq"]).lines().count(), 1, "only `box`");
    assert_eq!(holding(&berth.root(), b"nobody-keeps-this"), Vec::<std::path::PathBuf>::new());
    let missing = berth.run(&["debug", "ffff"]);
    assert!(missing.stderr().contains("no failed step ffff is kept"), "{}", missing.tell());

    // What it could change for itself is as it has left it, and can be changed again; the context stays as it is.
    site.file("Dockerfile.own", "FROM box\nRUN --mount=target=/own,rw echo x > /own/new; exit 1\n");
    assert!(!site.run(&["-f", site.context.join("Dockerfile.own").to_str().unwrap()]).succeeded());
    let words = "cat /own/new; echo again > /own/from-context; cat /own/from-context";
    assert_eq!(berth.ok(&["debug", "", "sh", "-c", words]), "x\nagain\n");
    assert_eq!(std::fs::read_to_string(site.context.join("from-context")).unwrap(), "seen");

    // The same at once; the exit code stays the build's.
    let context = site.context.to_str().unwrap();
    let mut command =
        berth.command(&["build", "--network", "none", "--shell-on-fail", "--secret", &secret, context], None);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"cat /tmp/half; echo $COLOR; exit 9\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "half\nblue\n");

    // The layers of failed steps do not stay for ever: only so many are kept.
    for number in 0..6 {
        site.file("Dockerfile", &format!("FROM box\nRUN echo {number} > /x; exit 1\n"));
        assert!(!site.run(&[]).succeeded());
    }
    let kept = berth.ok(&["buildx", "du", "--verbose"]);
    assert_eq!(kept.matches("failed: [").count(), 5, "{kept}");
    assert_eq!(berth.ok(&["debug", "", "cat", "/x"]), "5\n", "without a name the last one");
    berth.ok(&["buildx", "prune", "-a", "-f"]);
    assert!(!berth.run(&["debug"]).succeeded());
    berth.check().unwrap();
}
