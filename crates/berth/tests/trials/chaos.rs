//! Sixteen processes at once pull, tag, remove, prune and list; some are killed on the way. What is left must be a
//! store that keeps its promises. Ten seconds, or BERTH_CHAOS_SECONDS.

use super::support::{Outcome, Random, Registry, Sealed, many_layers};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const PROCESSES: u64 = 16;
/// Images share layers: what one removes another is just pulling.
const IMAGES: u64 = 6;

/// What may go wrong because another process was faster; anything else is a bug.
const EXPECTED: &[&str] = &["No such image", "is being used", "must be forced", "conflict"];

fn duration() -> Duration {
    #[expect(clippy::disallowed_methods, reason = "how long a test runs is the caller's wish")]
    let seconds = std::env::var("BERTH_CHAOS_SECONDS").ok().and_then(|s| s.parse().ok());
    Duration::from_secs(seconds.unwrap_or(10))
}

#[test]
fn sixteen_processes_leave_a_consistent_store() {
    let (sealed, registry) = (Sealed::new(), Registry::start());
    let references: Vec<String> = (0..IMAGES)
        .map(|number| {
            let layers =
                [format!("base-{}", number % 2), format!("middle-{}", number % 3), format!("own-{number}")];
            registry.add(&format!("chaos/{number}"), &many_layers(&layers, 400_000))
        })
        .collect();
    let (end, done, killed) = (Instant::now() + duration(), AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for process in 0..PROCESSES {
            let (sealed, references, done, killed) = (&sealed, &references, &done, &killed);
            scope.spawn(move || {
                let mut random = Random(0xc4a0_5000 + process);
                while Instant::now() < end {
                    let outcome = one_command(sealed, references, &mut random);
                    judge(&outcome);
                    killed.fetch_add(u64::from(outcome.was_killed()), Ordering::Relaxed);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    sealed.check().expect("after the storm");
    assert_readable(&sealed);
    let (done, killed) = (done.into_inner(), killed.into_inner());
    assert!(done > PROCESSES && killed > 0, "{done} commands, {killed} killed: this was no storm");
    for reference in &references {
        sealed.ok(&["pull", "--quiet", reference]);
    }
    sealed.ok(&["image", "prune", "--all", "--force"]);
    sealed.check().expect("after the last prune");
    assert_eq!(sealed.ok(&["images", "--all", "--quiet"]), "");
}

fn one_command(sealed: &Sealed, references: &[String], random: &mut Random) -> Outcome {
    let pick = usize::try_from(random.below(IMAGES)).expect("a small number");
    let reference = references[pick].as_str();
    let name = format!("moving:{}", random.below(4));
    let words: Vec<&str> = match random.below(10) {
        0..=3 => vec!["pull", "--quiet", reference],
        4 | 5 => vec!["tag", reference, &name],
        6 => vec!["rmi", "--force", reference],
        7 => vec!["rmi", &name],
        8 => vec!["image", "prune", "--force"],
        _ => vec!["images"],
    };
    // One in eight dies somewhere on its way.
    let fault = (random.below(8) == 0).then(|| (1 + random.below(12)).to_string());
    sealed.run_with(&words, fault.as_deref())
}

fn judge(outcome: &Outcome) {
    let excused = EXPECTED.iter().any(|words| outcome.stderr().contains(words));
    assert!(outcome.succeeded() || outcome.was_killed() || excused, "{}", outcome.tell());
}

/// Every image that the store lists can be written out whole.
fn assert_readable(sealed: &Sealed) {
    let names = sealed.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    for name in names.lines().filter(|name| !name.contains("<none>")) {
        sealed.ok(&["save", "--output", "/dev/null", name]);
    }
}
