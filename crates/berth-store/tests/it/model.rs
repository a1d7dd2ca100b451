//! Several processes do random things to one store at once; afterwards it is whole.

use crate::sample::{Sample, noise, pull};
use berth_oci::Kind;
use berth_store::{CheckOptions, GcOptions, Location, NewContainer, Reclaimed, Store};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PLAN: &str = "model-plan";
const PROCESSES: u64 = 4;
const ALL: GcOptions = GcOptions { grace: Duration::ZERO };

fn here(directory: &Path) -> Location {
    Location { root: directory.join("root"), runroot: directory.join("run") }
}

/// Images that share some of their layers.
fn sample(number: u64) -> Sample {
    let shared = format!("shared {}", number % 3);
    let large = String::from_utf8_lossy(&noise(40_000, number % 4)).into_owned();
    Sample::image(&[&shared, &format!("own {number}"), &large])
}

fn step(store: &Store, random: u64) -> berth_oci::Result<()> {
    let (what, number, name) = (random % 8, random / 8 % 6, format!("app:{}", random / 64 % 5));
    match what {
        0..=2 => {
            let lease = store.lease()?;
            let manifest = pull(store, &sample(number), &name)?;
            // Others may have removed the record since, but while it is there, so is all of the image.
            if lease.protect(&[berth_store::Protected::Image(manifest.digest())])? {
                store.platform_image(manifest.digest(), None)?;
            }
            Ok(())
        }
        3 => store.resolve(&name).and_then(|image| store.tag(&image.target, &"other".parse()?)),
        4 => store.untag(&name.parse()?).map(drop),
        5 => store.resolve(&name).and_then(|image| store.remove_image(&image.target)),
        6 => store.gc_with(&ALL).map(drop),
        _ => {
            let image = store.resolve(&name)?;
            let id = format!("{random:016x}");
            let target = &image.target;
            let new = NewContainer {
                id: &id,
                name: &id,
                image: Some((target, target)),
                document: "{}",
                volumes: &[],
                images: &[],
            };
            store.add_container(&new)?;
            store.platform_image(target, None).expect("a container keeps its image");
            store.remove_container(&id).map(drop)
        }
    }
}

/// Runs in the children; does nothing in the parent, which has no plan.
#[test]
fn child() {
    let Ok(seed) = std::fs::read_to_string(PLAN) else { return };
    let store = Store::open(&here(Path::new(".."))).unwrap();
    let mut random = noise(1 << 20, seed.parse().unwrap());
    let end = Instant::now() + Duration::from_secs(4);
    while Instant::now() < end && random.len() >= 8 {
        let bytes = random.split_off(random.len() - 8);
        let number = u64::from_le_bytes(bytes.try_into().unwrap());
        match step(&store, number) {
            Err(e) if !matches!(e.kind(), Kind::NotFound | Kind::Conflict) => panic!("{number}: {e:?}"),
            _ => {}
        }
    }
}

fn spawn(directory: &Path, seed: u64) -> Child {
    let own = directory.join(format!("child{seed}"));
    std::fs::create_dir(&own).unwrap();
    std::fs::write(own.join(PLAN), seed.to_string()).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "model::child"]).current_dir(own).stdout(Stdio::null()).spawn().unwrap()
}

#[test]
fn many_processes_leave_a_whole_store() {
    let directory = tempfile::tempdir().unwrap();
    let children: Vec<Child> = (1..=PROCESSES).map(|seed| spawn(directory.path(), seed * 7919)).collect();
    let mut children = children.into_iter();
    // One of them is killed in the middle of whatever it does.
    let mut victim = children.next().unwrap();
    let killed_at = Instant::now() + Duration::from_secs(2);
    // The point of this test is to hit a moment that nobody chose.
    std::thread::sleep(killed_at - Instant::now());
    victim.kill().unwrap();
    victim.wait().unwrap();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let store = Store::open(&here(directory.path())).unwrap();
    let report = store.check(&CheckOptions::default()).unwrap();
    assert!(report.is_sound(), "{report:#?}");
    store.gc_with(&ALL).unwrap();
    store.check(&CheckOptions { repair: true }).unwrap();
    let report = store.check(&CheckOptions::default()).unwrap();
    assert!(report.is_clean(), "{report:#?}");
    let targets: Vec<_> = store.images().unwrap().into_iter().map(|image| image.target).collect();
    store.remove_images(&targets).unwrap();
    for container in store.containers().unwrap() {
        store.remove_container(&container.id).unwrap();
    }
    store.gc_with(&ALL).unwrap();
    assert_eq!(store.gc_with(&ALL).unwrap(), Reclaimed::default());
    let usage = store.disk_usage().unwrap();
    assert_eq!((usage.layers, usage.blobs, usage.temporary, usage.partials), (0, 0, 0, 0));
}
