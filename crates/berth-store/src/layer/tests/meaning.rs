//! What entries mean, in both forms of a layer: rows of archives and the names they leave.

use super::support::{Room, Shown, mount, overlay};
use crate::layer::Form;
use crate::tar::testing::{Archive, Head, record};
use berth_oci::Kind;

/// `path=first letter of the kind, mode[, what else]` of everything but the root.
fn brief(shown: &Shown) -> Vec<String> {
    let line = |(path, text): (&String, &String)| {
        let mode = text.split(' ').next().unwrap();
        let mark = if text.contains("trusted.overlay.opaque=y") { " opaque" } else { "" };
        format!("{path}={mode}{mark}")
    };
    shown.iter().filter(|(path, _)| !path.is_empty()).map(line).collect()
}

fn check(archive: Archive, expected: &[&str]) {
    let room = Room::new();
    assert_eq!(brief(&room.shown(&archive.end()).unwrap()), expected);
}

fn refuse(archive: Archive, expected: &str) {
    let room = Room::new();
    let error = room.shown(&archive.end()).unwrap_err();
    assert!(error.to_string().contains(expected), "{error}");
    assert!(matches!(error.kind(), Kind::Corrupt | Kind::Unsupported), "{error:?}");
    room.assert_only(&[]);
}

#[test]
fn names_are_normalised_and_parents_made() {
    let archive =
        Archive::default().directory("./").file("./a", b"1").file("/b//c/./d", b"2").directory("e/f/");
    check(archive, &["a=100644", "b=40755", "b/c=40755", "b/c/d=100644", "e=40755", "e/f=40755"]);
}

#[test]
fn the_last_of_a_name_wins() {
    let file = || Archive::default().file("a", b"first");
    check(file().file("a", b"second, longer"), &["a=100644"]);
    check(file().directory("a").file("a/b", b""), &["a=40755", "a/b=100644"]);
    check(Archive::default().file("a/b", b"").file("a", b"x"), &["a=100644"]);
    check(Archive::default().file("a/b", b"").symlink("a", "c"), &["a=120777"]);
    check(file().symlink("a", "b").file("a", b"3"), &["a=100644"]);
    let again = Archive::default().directory("d").file("d/a", b"").head(Head::new(b'5', "d").mode(0o1777));
    check(again, &["d=41777", "d/a=100644"]);
    let both = Archive::default().file("a/b", b"").file("a", b"x").directory("a");
    check(both, &["a=40755"]);
}

#[test]
fn ways_go_through_links_of_the_same_layer() {
    let archive = Archive::default().symlink("lib", "usr/lib").file("lib/a", b"1").file("usr/lib/b", b"2");
    check(archive, &["lib=120777", "usr=40755", "usr/lib=40755", "usr/lib/a=100644", "usr/lib/b=100644"]);
    let up = Archive::default().symlink("d/up", "../../../../etc").file("d/up/passwd", b"");
    check(up, &["d=40755", "d/up=120777", "etc=40755", "etc/passwd=100644"]);
    let absolute = Archive::default().symlink("l", "/etc").file("l/x", b"");
    check(absolute, &["etc=40755", "etc/x=100644", "l=120777"]);
    refuse(
        Archive::default().symlink("a", "b").symlink("b", "a").file("a/x", b""),
        "too many symbolic links",
    );
    refuse(Archive::default().file("a", b"").file("a/b", b""), "`a` is not a directory");
}

#[test]
fn hard_links() {
    let room = Room::new();
    let archive = Archive::default()
        .file("a", b"x")
        .link("b", "./a")
        .link("d/c", "/b")
        .symlink("s", "a")
        .link("t", "s");
    let shown = room.shown(&archive.end()).unwrap();
    assert!(shown["a"].contains(" x3 1 ") && shown["a"] == shown["d/c"], "{shown:?}");
    assert!(shown["s"].contains(" x2 a") && shown["s"] == shown["t"]);
    check(Archive::default().file("a", b"x").link("a", "a"), &["a=100644"]);
    check(Archive::default().file("a", b"x").link("b", "a").file("a", b""), &["a=100644", "b=100644"]);
    refuse(Archive::default().link("b", "a"), "hard link to `a`, which this layer does not have before it");
    refuse(Archive::default().link("b", "../a"), "leads out of the layer");
    refuse(Archive::default().directory("a").link("b", "a"), "hard link to `a`, which is a directory");
    refuse(Archive::default().file(".wh.a", b"").link("b", "a"), "which this layer removes");
    refuse(Archive::default().file("a/b", b"").link("a", "a/b"), "which it would replace");
}

#[test]
fn whiteouts() {
    check(Archive::default().file("d/.wh.a", b""), &["d=40755", "d/a=20000"]);
    check(Archive::default().file(".wh.a", b"").file("a", b"x"), &["a=100644"]);
    check(Archive::default().file("a", b"x").file(".wh.a", b""), &["a=100644"]);
    check(Archive::default().file(".wh.a", b"").directory("a"), &["a=40755 opaque"]);
    check(Archive::default().directory("a").file(".wh.a", b""), &["a=40755 opaque"]);
    check(Archive::default().file(".wh.a", b"").file("a/b", b""), &["a=40755 opaque", "a/b=100644"]);
    let opaque = Archive::default().file("d/.wh.x", b"").file("d/y", b"").file("d/.wh..wh..opq", b"");
    check(opaque, &["d=40755 opaque", "d/y=100644"]);
    check(Archive::default().file(".wh..wh.plnk/1.2", b"x").file(".wh..wh.aufs", b""), &[]);
    refuse(Archive::default().file("d/.wh.", b""), "is not a whiteout");
    refuse(Archive::default().file("d/.wh...", b""), "is not a whiteout");
}

#[test]
fn devices_pipes_and_owners() {
    let archive = Archive::default()
        .head(Head::new(b'3', "tty").mode(0o620).device(4, 300).owner(0, 5))
        .head(Head::new(b'4', "disk").mode(0o660).device(259, 1_048_575))
        .head(Head::new(b'6', "pipe"))
        .with(Head::new(b'0', "su").mode(0o4755).owner(70_000, 12), b"#!")
        .head(Head::new(b'5', "tmp").mode(0o1777).owner(1, 2));
    let room = Room::new();
    let shown = room.shown(&archive.end()).unwrap();
    let number = rustix::fs::makedev(259, 1_048_575).to_string();
    assert!(shown["disk"].starts_with("60660 0:0 ") && shown["disk"].contains(&number), "{shown:?}");
    assert!(shown["su"].starts_with("104755 70000:12 "));
    assert!(shown["tmp"].starts_with("41777 1:2 "));
    assert!(shown["tty"].starts_with("20620 0:5 ") && shown["pipe"].starts_with("10644 "));
    let wrong = Archive::default().head(Head::new(b'3', "x").device(4096, 0));
    refuse(wrong, "no device can have the number 4096:0");
}

#[test]
fn attributes_and_times() {
    let capability: &[u8] = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let big = vec![b'v'; 3000];
    let mut archive = Archive::default().pax(&[
        ("mtime", b"-1.25"),
        ("SCHILY.xattr.security.capability", capability),
        ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
        ("SCHILY.xattr.com.apple.x", b"1"),
    ]);
    archive = archive.file("ping", b"x");
    for name in ["a", "b"] {
        archive =
            archive.pax(&[("SCHILY.xattr.user.same", &big), ("SCHILY.xattr.trusted.own", name.as_bytes())]);
        archive =
            archive.file(name, b"").pax(&[("SCHILY.xattr.trusted.dir", b"1")]).directory(&format!("d{name}"));
    }
    archive = archive.pax(&[("SCHILY.xattr.trusted.link", b"1")]).symlink("s", "a");
    let room = Room::new();
    let shown = room.shown(&archive.end()).unwrap();
    let ping = &shown["ping"];
    assert!(ping.contains("security.capability=\\x01") && !ping.contains("overlay"), "{ping}");
    assert!(ping.contains(" -2.750000000 "), "{ping}");
    assert!(shown["b"].contains("trusted.own=b,user.same=vvv"), "{:?}", shown["b"]);
    assert!(shown["s"].ends_with("trusted.link=1") && shown["da"].ends_with("trusted.dir=1"));
}

#[test]
fn global_records_count_until_others_do() {
    let global = record("mtime", b"5");
    let archive = Archive::default().with(Head::new(b'g', "pax_global_header"), &global).file("a", b"");
    let room = Room::new();
    let shown = room.shown(&archive.pax(&[("mtime", b"7")]).file("b", b"").end()).unwrap();
    assert!(shown["a"].contains(" 5.0") && shown["b"].contains(" 7.0"), "{shown:?}");
}

#[test]
fn sparse_files() {
    let map = |text: &str| {
        let mut map = text.as_bytes().to_vec();
        map.resize(map.len().next_multiple_of(512), 0);
        map
    };
    let words: &[(&str, &[u8])] =
        &[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"10000")];
    let mut expected = vec![0; 10_000];
    expected[700..705].copy_from_slice(b"hello");
    expected[9998..].copy_from_slice(b"!?");
    let name: &[(&str, &[u8])] = &[("GNU.sparse.name", b"sparse")];
    let one = Archive::default()
        .pax(&[words, name].concat())
        .file("GNUSparseFile.0/sparse", &[&map("2\n700\n5\n9998\n2\n")[..], b"hello!?"].concat());
    let old_words: &[(&str, &[u8])] = &[("GNU.sparse.size", b"10000"), ("GNU.sparse.map", b"700,5,9998,2")];
    let two = Archive::default().pax(old_words).file("sparse", b"hello!?");
    let gnu = Head::new(b'S', "sparse").bytes(257, b"ustar  \0");
    let gnu = gnu.octal(386, 12, 700).octal(398, 12, 5).octal(410, 12, 9998).octal(422, 12, 2);
    let three = Archive::default().with(gnu.octal(483, 12, 10_000), b"hello!?");
    let room = Room::new();
    let plain = room.shown(&Archive::default().file("sparse", &expected).end()).unwrap();
    for archive in [one, two, three] {
        assert_eq!(room.shown(&archive.end()).unwrap(), plain);
    }
    let short = Archive::default().pax(old_words).file("sparse", b"hello");
    refuse(short, "stores 5 of 7 bytes");
    let hole =
        Archive::default().pax(&[("GNU.sparse.size", b"5000"), ("GNU.sparse.map", b"")]).file("h", b"");
    let shown = room.shown(&hole.end()).unwrap();
    assert!(shown["h"].contains(" 5000 "), "{shown:?}");
}

#[test]
fn an_overlay_of_layers_shows_what_the_image_should_be() {
    let room = Room::new();
    let lower = Archive::default().file("gone", b"").file("kept", b"1").file("d/a", b"").file("d/b", b"");
    let lower = lower.file("o/x", b"").file("r/s/t", b"");
    let upper = Archive::default().file(".wh.gone", b"").file("d/.wh.a", b"").file("d/c", b"");
    let upper = upper.file("o/.wh..wh..opq", b"").file("o/y", b"").file(".wh.r", b"").file("r/new", b"");
    let places = [upper, lower].map(|archive| room.place(Form::Erofs, &archive.end()).unwrap());
    let Some(mounts) = places.iter().map(|place| mount(place)).collect::<Option<Vec<_>>>() else { return };
    let lowers: Vec<_> = mounts.iter().map(super::support::Mounted::path).collect();
    let shown = super::support::show(&overlay(&lowers).path());
    let names: Vec<_> = shown.keys().map(String::as_str).collect();
    assert_eq!(names, ["", "d", "d/b", "d/c", "kept", "o", "o/y", "r", "r/new"]);
}
