//! The kernel's answers. Where it cannot mount, that is said and nothing is asked.

use super::{LayerPlace, Mounts, probe};
use crate::layer::tests::support::{Room, digest};
use crate::layer::{Form, IngestPlan};
use crate::tar::testing::{Archive, Head};
use berth_oci::Digest;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// A run root whose mounts go with it.
struct Ground {
    room: Room,
    mounts: Mounts,
    layers: Vec<(Digest, PathBuf)>,
}

impl Ground {
    /// `None` where EROFS cannot be mounted.
    fn new(archives: &[Archive]) -> Option<Self> {
        let room = Room::new();
        if probe(room.path(), room.path()).unwrap() != Form::Erofs {
            eprintln!("skipped: EROFS cannot be mounted here");
            return None;
        }
        let place = |archive: &Archive| {
            let bytes = archive.clone().end();
            (digest(&bytes), room.place(Form::Erofs, &bytes).unwrap())
        };
        let layers = archives.iter().map(place).collect();
        let mounts = Mounts::new(room.path());
        Some(Self { room, mounts, layers })
    }

    fn places(&self, order: &[usize]) -> Vec<LayerPlace<'_>> {
        let place = |&at: &usize| {
            let (diff_id, directory) = &self.layers[at];
            LayerPlace { diff_id, form: Form::Erofs, directory }
        };
        order.iter().map(place).collect()
    }

    fn count(&self) -> usize {
        let table = fs::read_to_string("/proc/self/mounts").unwrap();
        table.lines().filter(|line| line.contains(self.room.path().to_str().unwrap())).count()
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let left = self.mounts.unmount_unused(&|_| false);
        assert!(left.is_ok() && self.count() == 0, "mounts are left: {left:?}");
    }
}

fn file(name: &str) -> Archive {
    Archive::default().directory("./").file(name, name.as_bytes())
}

#[test]
fn the_answer_of_the_probe_is_remembered() {
    let room = Room::new();
    let first = probe(room.path(), room.path()).unwrap();
    let cache = room.path().join("erofs-probe");
    let text = fs::read_to_string(&cache).unwrap();
    room.assert_only(&["erofs-probe"]);
    // Nobody else writes there; were the answer not read, it would be the old one.
    let other = if first == Form::Erofs { "directory" } else { "erofs" };
    let lines: Vec<_> = text.lines().collect();
    fs::write(&cache, format!("{}\n{other}\n", lines[..lines.len() - 1].join("\n"))).unwrap();
    assert_ne!(probe(room.path(), room.path()).unwrap(), first);
    fs::write(&cache, text.replace(lines[0], "another-boot")).unwrap();
    assert_eq!(probe(room.path(), room.path()).unwrap(), first);
}

#[test]
fn a_layer_is_mounted_once_and_goes_when_nobody_uses_it() {
    let Some(ground) = Ground::new(&[file("a"), file("b")]) else { return };
    let lowers = ground.mounts.acquire("one", &ground.places(&[0, 1])).unwrap();
    assert_eq!(fs::read(lowers[0].join("b")).unwrap(), b"b");
    assert_eq!(fs::read(lowers[1].join("a")).unwrap(), b"a");
    assert_eq!(ground.mounts.acquire("two", &ground.places(&[0])).unwrap(), lowers[1..]);
    assert_eq!(ground.count(), 2);
    let everybody = |_: &str| true;
    ground.mounts.release("one").unwrap();
    ground.mounts.release("one").unwrap();
    assert!(!ground.mounts.unmount(&ground.layers[0].0).unwrap(), "`two` uses it");
    assert_eq!(ground.mounts.unmount_unused(&everybody).unwrap(), 1);
    assert_eq!(ground.count(), 1);
    // `two` died without saying so.
    assert_eq!(ground.mounts.unmount_unused(&|user| user != "two").unwrap(), 1);
    assert_eq!(ground.mounts.unmount_unused(&everybody).unwrap(), 0);
    assert!(ground.mounts.unmount(&ground.layers[0].0).unwrap());
}

#[test]
fn a_layer_that_comes_twice_is_one_lower() {
    let Some(ground) = Ground::new(&[file("a"), file("b")]) else { return };
    let lowers = ground.mounts.acquire("one", &ground.places(&[0, 1, 0])).unwrap();
    assert!(lowers.len() == 2 && lowers[0].join("a").exists());
}

#[test]
fn an_opaque_root_hides_all_layers_below() {
    let opaque = Archive::default().directory("./").file(".wh..wh..opq", b"").file("only", b"");
    let Some(ground) = Ground::new(&[file("a"), opaque, file("b")]) else { return };
    let lowers = ground.mounts.acquire("one", &ground.places(&[0, 1, 2])).unwrap();
    assert_eq!(lowers.len(), 2);
    assert!(lowers[1].join("only").exists());
}

#[test]
fn many_processes_mount_the_same_layer_once() {
    let Some(ground) = Ground::new(&[file("a"), file("b")]) else { return };
    std::thread::scope(|scope| {
        for number in 0..8 {
            let ground = &ground;
            scope.spawn(move || {
                for round in 0..10 {
                    let user = format!("{number}-{round}");
                    let lowers = ground.mounts.acquire(&user, &ground.places(&[0, 1])).unwrap();
                    assert_eq!(fs::read(lowers[1].join("a")).unwrap(), b"a");
                    assert_eq!(fs::read(lowers[0].join("b")).unwrap(), b"b");
                    ground.mounts.release(&user).unwrap();
                    ground.mounts.unmount_unused(&|_| true).unwrap();
                }
            });
        }
    });
    assert_eq!(ground.mounts.unmount_unused(&|_| true).unwrap(), 0);
}

#[test]
fn a_hundred_and_twenty_layers_are_lowers_of_one_overlay() {
    let archives: Vec<_> = (0..120).map(|number| file(&format!("f{number}"))).collect();
    let Some(ground) = Ground::new(&archives) else { return };
    let lowers = ground.mounts.acquire("one", &ground.places(&(0..120).collect::<Vec<_>>())).unwrap();
    let overlay = crate::layer::tests::support::overlay(&lowers);
    assert_eq!(fs::read_dir(overlay.path()).unwrap().count(), 120);
}

#[test]
fn the_upper_directory_is_like_the_root_of_the_image() {
    let root = Archive::default().head(Head::new(b'5', "./").mode(0o1750).owner(3, 4)).file("a", b"");
    let Some(ground) = Ground::new(&[root]) else { return };
    let own = ground.room.path().join("container");
    let rootfs = ground.mounts.rootfs("one", &ground.places(&[0]), &[], &own).unwrap();
    let upper = rootfs.upper.metadata().unwrap();
    assert_eq!((upper.mode() & 0o7777, upper.uid(), upper.gid()), (0o1750, 3, 4));
    assert!(rootfs.work.is_dir() && rootfs.lowers.len() == 1);
    assert_eq!(ground.mounts.rootfs("one", &ground.places(&[0]), &[], &own).unwrap(), rootfs);
    let empty = ground.mounts.rootfs("two", &[], &[], &ground.room.path().join("other")).unwrap();
    assert_eq!(empty.upper.metadata().unwrap().mode() & 0o7777, 0o755);
    assert_eq!(fs::read_dir(&empty.lowers[0]).unwrap().count(), 0);
}

#[test]
fn long_paths_are_mounted_through_descriptors() {
    let Some(ground) = Ground::new(&[]) else { return };
    let deep = ground.room.path().join("d".repeat(120)).join("e".repeat(120));
    fs::create_dir_all(&deep).unwrap();
    let bytes = file("a").end();
    let plan = IngestPlan { temporary: &deep, ..ground.room.plan(Form::Erofs) };
    let layer = crate::layer::ingest(&plan, &|_| Ok(Box::new(std::io::Cursor::new(bytes.clone())))).unwrap();
    let diff_id = layer.diff_id.clone();
    let place = deep.join("layer");
    layer.commit(&place).unwrap();
    let layers = [LayerPlace { diff_id: &diff_id, form: Form::Erofs, directory: &place }];
    let lowers = ground.mounts.acquire("one", &layers).unwrap();
    assert_eq!(fs::read(lowers[0].join("a")).unwrap(), b"a");
}
