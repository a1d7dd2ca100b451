//! What builds keep: seen, bounded, and cache mounts as things with names.

use super::build::Site;

#[test]
fn the_cache_can_be_seen_and_bounded() {
    let Some(site) = Site::new("the_cache_can_be_seen_and_bounded") else { return };
    let berth = &site.berth;
    let only_cache = ["--output", "type=cacheonly"];
    site.file("large", &"x".repeat(2_000_000)).file("small", "x");
    site.file(
        "Dockerfile",
        "FROM box AS one\nCOPY large /large\nFROM box AS two\nCOPY small /small\nRUN --mount=type=cache,id=things,target=/c echo kept > /c/x\n",
    );
    site.build(&[&["--target", "one"], &only_cache[..]].concat());
    site.build(&[&["--target", "two"], &only_cache[..]].concat());
    let listed = |filter: &[&str]| {
        let mut words = vec!["buildx", "du", "--format", "{{.Type}} {{.Description}}"];
        words.extend(filter.iter().flat_map(|filter| ["--filter", filter]));
        let mut lines: Vec<String> = berth.ok(&words).lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let (large, small) = ("regular [one 2/2] COPY large /large", "regular [two 2/3] COPY small /small");
    assert_eq!(listed(&[])[0], "exec.cachemount cached mount things");
    assert_eq!(listed(&["type=regular", "description~=COPY"]), [large, small]);
    assert_eq!(listed(&["until=1h"]), Vec::<String>::new());
    assert_eq!(listed(&["mutable=true"]).len(), 1);
    let table = berth.ok(&["buildx", "du"]);
    assert!(table.starts_with("ID ") && table.contains("\nPrivate:\t"), "{table}");
    let wrong = berth.run(&["buildx", "du", "--filter", "color=red"]);
    assert!(wrong.stderr().contains("invalid filter 'color'"), "{}", wrong.tell());

    // The large one goes, though it is no older.
    let pruned = berth.ok(&["builder", "prune", "-f", "--keep-storage", "1MB"]);
    assert!(pruned.contains("Total:\t2.0"), "{pruned}");
    assert_eq!(listed(&["type=regular", "description~=COPY"]), [small]);
    let said = site.build(&[&["--target", "one", "--explain"], &only_cache[..]].concat());
    assert!(said.contains("MISS because its result was removed from the cache"), "{said}");
    // One limit for a build: what it makes beyond that does not stay.
    site.build(&[&["--target", "one", "--no-cache", "--max-cache", "1MB"], &only_cache[..]].concat());
    assert_eq!(listed(&["type=regular", "description~=COPY"]), [small]);
    // What an image has, too, is not the cache's to give back; all of it goes when asked for.
    site.build(&["--target", "two", "-t", "app"]);
    let pruned = berth.ok(&["buildx", "prune", "-f", "--filter", "type=regular"]);
    assert!(pruned.contains("Total:\t0B"), "{pruned}");
    assert_eq!(listed(&["shared=true", "description~=COPY"]), [small]);
    berth.ok(&["buildx", "prune", "-a", "-f", "--filter", "type=regular"]);
    assert_eq!(listed(&[]), ["exec.cachemount cached mount things"]);
    assert!(berth.ok(&["run", "--rm", "app", "ls", "/small"]).contains("/small"));
    berth.check().unwrap();
}

#[test]
fn cache_mounts_have_names() {
    let Some(site) = Site::new("cache_mounts_have_names") else { return };
    let berth = &site.berth;
    site.file("Dockerfile", "FROM box\nRUN --mount=type=cache,id=npm,target=/c echo one >> /c/x; cat /c/x\n");
    site.build(&[]);
    assert_eq!(berth.ok(&["buildx", "mount", "ls", "-q"]), "npm\n");
    let archive = berth.path("npm.tar");
    berth.ok(&["buildx", "mount", "export", "-o", archive.to_str().unwrap(), "npm"]);
    berth.ok(&["buildx", "mount", "rm", "npm"]);
    assert_eq!(berth.ok(&["buildx", "mount", "ls", "-q"]), "");
    // On another machine, or under another name.
    berth.ok(&["buildx", "mount", "import", "npm", archive.to_str().unwrap()]);
    berth.ok(&["buildx", "mount", "import", "other", archive.to_str().unwrap()]);
    assert_eq!(berth.ok(&["buildx", "mount", "ls", "--format", "{{.Name}}"]), "npm\nother\n");
    let said = site.build(&["--no-cache"]);
    assert!(said.contains(" one\n") && said.matches(" one\n").count() == 2, "{said}");
    for (words, error) in [
        (&["buildx", "mount", "export", "nothing"][..], "there is no cache mount nothing"),
        (&["buildx", "mount", "rm", "nothing"], "the cache mount nothing is not there, or in use"),
    ] {
        let outcome = berth.run(words);
        assert!(outcome.stderr().contains(error), "{}", outcome.tell());
    }
    // Nobody takes one away from a step that has it.
    let block = "FROM box\nRUN --mount=type=cache,id=npm,target=/c touch /c/held; while [ -e /c/held ]; do sleep 0.05; done\n";
    site.file("Dockerfile", block);
    let context = site.context.to_str().unwrap();
    let build = berth.spawn(&["build", "--network", "none", context]);
    let held = || {
        let mounts = std::fs::read_dir(berth.root().join("builds/mounts")).unwrap();
        mounts.flatten().map(|entry| entry.path().join("data/held")).find(|path| path.exists())
    };
    let path = loop {
        match held() {
            Some(path) => break path,
            None => std::thread::yield_now(),
        }
    };
    let refused = berth.run(&["buildx", "mount", "rm", "npm"]);
    assert!(refused.stderr().contains("in use"), "{}", refused.tell());
    std::fs::remove_file(path).unwrap();
    assert!(build.wait_with_output().unwrap().status.success());
}
