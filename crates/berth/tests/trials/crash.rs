//! kill -9 at every durable step of the commands that write: afterwards the next command works, the store is what
//! it says it is, and the same command done again succeeds.

use super::support::{Image, Registry, Sealed, busybox, many_layers, skipped};

/// No command has more durable steps than this; one that has is a bug in these tests or in the fault switch.
const STEP_LIMIT: usize = 400;

/// Runs `words` with a kill at its first durable step, at its second, …, until it gets through.
///
/// `before` makes the state that the command starts from, `after` looks at the state that a kill left.
fn kill_at_every_step(sealed: &Sealed, words: &[&str], before: impl Fn(), after: impl Fn(usize)) -> usize {
    for step in 1..STEP_LIMIT {
        before();
        let outcome = sealed.run_with(words, Some(&step.to_string()));
        if !outcome.was_killed() {
            assert!(outcome.succeeded(), "{}", outcome.tell());
            return step - 1;
        }
        sealed.ok(&["images"]);
        sealed.check().unwrap_or_else(|e| panic!("after kill -9 at step {step} of {}: {e}", words.join(" ")));
        after(step);
        sealed.check().unwrap_or_else(|e| panic!("after the repetition of step {step}: {e}"));
    }
    panic!("{} was killed at {STEP_LIMIT} steps and never got through", words.join(" "));
}

/// Three layers: two that are large enough to be kept in part, and a small one.
fn image() -> Image {
    many_layers(&["a", "b"].map(str::to_owned), 700_000)
}

fn assert_steps(steps: usize, at_least: usize, what: &str) {
    assert!(
        steps >= at_least,
        "{what} has {steps} durable steps: the fault switch is not wired to all of them"
    );
}

/// Content that no name leads to goes with a prune; nothing of a killed command stays for ever.
fn assert_empties(sealed: &Sealed) {
    sealed.ok(&["image", "prune", "--all", "--force"]);
    sealed.check().expect("after the prune");
    for place in ["oci/blobs", "layers", "containers", "ingest", "tmp", "trash"] {
        let left = files_below(&sealed.root().join(place));
        assert!(left.is_empty(), "left behind: {left:?}");
    }
}

fn files_below(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    entries
        .map_while(Result::ok)
        .flat_map(|entry| match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            true => files_below(&entry.path()),
            false => vec![entry.path()],
        })
        .collect()
}

#[test]
fn pull() {
    let (sealed, registry) = (Sealed::new(), Registry::start());
    let reference = registry.add("crash/pull", &image());
    let clean = || {
        sealed.run(&["rmi", "--force", &reference]);
    };
    let again = |_| {
        sealed.ok(&["pull", "--quiet", &reference]);
        sealed.ok(&["image", "inspect", &reference]);
    };
    let steps = kill_at_every_step(&sealed, &["pull", "--quiet", &reference], clean, again);
    assert_steps(steps, 5, "pull");
    assert_empties(&sealed);
}

#[test]
fn load() {
    let (sealed, registry) = (Sealed::new(), Registry::start());
    let reference = registry.add("crash/load", &image());
    sealed.ok(&["pull", "--quiet", &reference]);
    let archive = sealed.path("image.tar");
    let archive = archive.to_str().expect("our own path");
    sealed.ok(&["save", "--output", archive, &reference]);
    let clean = || {
        sealed.run(&["rmi", "--force", &reference]);
    };
    let again = |_| {
        sealed.ok(&["load", "--quiet", "--input", archive]);
        sealed.ok(&["image", "inspect", &reference]);
    };
    let steps = kill_at_every_step(&sealed, &["load", "--quiet", "--input", archive], clean, again);
    assert_steps(steps, 5, "load");
    assert_empties(&sealed);
}

#[test]
fn tag() {
    let (sealed, registry) = (Sealed::new(), Registry::start());
    let (one, two) =
        (registry.add("crash/one", &image()), registry.add("crash/two", &many_layers(&["c".into()], 10)));
    sealed.ok(&["pull", "--quiet", &one]);
    sealed.ok(&["pull", "--quiet", &two]);
    let id = |name: &str| sealed.ok(&["image", "inspect", "--format", "{{.Id}}", name]);
    let (first, second) = (id(&one), id(&two));
    let point_at_one = || {
        sealed.ok(&["tag", &one, "moving:1"]);
    };
    // The name means the old image or the new one, never neither.
    let is_one_of_both = |_| {
        let now = id("moving:1");
        assert!(now == first || now == second, "{now}");
    };
    let steps = kill_at_every_step(&sealed, &["tag", &two, "moving:1"], point_at_one, is_one_of_both);
    assert_eq!(id("moving:1"), second);
    assert_steps(steps, 1, "tag");
}

#[test]
fn rmi() {
    let (sealed, registry) = (Sealed::new(), Registry::start());
    let reference = registry.add("crash/rmi", &image());
    let pulled = || {
        sealed.ok(&["pull", "--quiet", &reference]);
    };
    let again = |_| {
        let outcome = sealed.run(&["rmi", "--force", &reference]);
        assert!(outcome.succeeded() || outcome.stderr().contains("No such image"), "{}", outcome.tell());
        assert_eq!(sealed.ok(&["images", "--quiet"]), "");
        // What this kill left is not for the next round to clear away: that would be steps of its own.
        sealed.ok(&["image", "prune", "--force"]);
    };
    let steps = kill_at_every_step(&sealed, &["rmi", &reference], pulled, again);
    assert_steps(steps, 2, "rmi");
    assert_empties(&sealed);
}

#[test]
fn run() {
    let Some(busybox) = busybox(&["/bin/true"]) else {
        return skipped("crash::run", "there is no static /bin/busybox (package busybox-static)");
    };
    let (sealed, registry) = (Sealed::new(), Registry::start());
    let reference = registry.add("crash/run", &busybox);
    sealed.ok(&["pull", "--quiet", &reference]);
    let words = ["run", "--rm", "--network", "none", "--name", "victim", &reference];
    let free_the_name = || {
        sealed.ok(&["rm", "--force", "victim"]);
    };
    let again = |_| {
        sealed.ok(&["ps", "--all"]);
        sealed.ok(&["rm", "--force", "victim"]);
        assert_eq!(sealed.ok(&["ps", "--all", "--quiet"]), "");
        sealed.ok(&words);
    };
    let steps = kill_at_every_step(&sealed, &words, free_the_name, again);
    assert_steps(steps, 2, "run");
    assert_empties(&sealed);
}

/// A command that changes what is written down about a container or a volume.
struct Change {
    words: &'static [&'static str],
    /// What is there before it, made anew each time.
    before: &'static [&'static [&'static str]],
    /// What shows whether it has happened, and what that says before and after; nothing else is ever said.
    shows: &'static [&'static str],
    says: [&'static str; 2],
    steps: usize,
}

const CREATE: &[&str] = &["create", "--name", "victim", "--network", "none", "crash"];
const NAMES: &[&str] = &["ps", "--all", "--format", "{{.Names}}"];
const VOLUMES: &[&str] = &["volume", "ls", "--quiet"];

const CHANGES: &[Change] = &[
    Change { words: CREATE, before: &[], shows: NAMES, says: ["", "victim\n"], steps: 2 },
    Change {
        words: &["rename", "victim", "other"],
        before: &[CREATE],
        shows: NAMES,
        says: ["victim\n", "other\n"],
        steps: 2,
    },
    Change {
        words: &["update", "--memory", "64m", "--memory-swap", "64m", "victim"],
        before: &[CREATE],
        shows: &["inspect", "--format", "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}}", "victim"],
        says: ["0 0\n", "67108864 67108864\n"],
        steps: 2,
    },
    Change { words: &["rm", "victim"], before: &[CREATE], shows: NAMES, says: ["victim\n", ""], steps: 2 },
    Change {
        words: &["volume", "create", "kept"],
        before: &[],
        shows: VOLUMES,
        says: ["", "kept\n"],
        steps: 2,
    },
    Change {
        words: &["volume", "rm", "kept"],
        before: &[&["volume", "create", "kept"]],
        shows: VOLUMES,
        says: ["kept\n", ""],
        steps: 2,
    },
    Change {
        words: &["create", "--name", "victim", "--network", "none", "-v", "kept:/x", "crash"],
        before: &[],
        shows: NAMES,
        says: ["", "victim\n"],
        steps: 4,
    },
    Change {
        words: &["commit", "victim", "made"],
        before: &[CREATE],
        shows: &["images", "--format", "{{.Repository}}", "made"],
        says: ["", "made\n"],
        steps: 4,
    },
];

#[test]
fn what_is_written_down_is_as_before_or_as_after() {
    let Some(busybox) = busybox(&["/bin/true"]) else {
        return skipped("crash::records", "there is no static /bin/busybox (package busybox-static)");
    };
    let (sealed, registry) = (Sealed::new(), Registry::start());
    let reference = registry.add("crash/records", &busybox);
    sealed.ok(&["pull", "--quiet", &reference]);
    sealed.ok(&["tag", &reference, "crash"]);
    for change in CHANGES {
        let clear = || {
            sealed.ok(&["rm", "--force", "victim", "other"]);
            sealed.ok(&["volume", "rm", "--force", "kept"]);
            sealed.ok(&["rmi", "--force", "made"]);
        };
        let before = || {
            clear();
            change.before.iter().for_each(|words| drop(sealed.ok(words)));
            assert_eq!(sealed.ok(change.shows), change.says[0], "before {:?}", change.words);
        };
        let after = |step| {
            let said = sealed.ok(change.shows);
            assert!(change.says.contains(&&*said), "after step {step} of {:?}: {said}", change.words);
            if said == change.says[0] {
                sealed.ok(change.words);
            }
            assert_eq!(sealed.ok(change.shows), change.says[1], "after {:?} once more", change.words);
        };
        let steps = kill_at_every_step(&sealed, change.words, before, after);
        assert_steps(steps, change.steps, &change.words.join(" "));
        clear();
    }
    assert_empties(&sealed);
}
