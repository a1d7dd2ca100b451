//! Where things land, row by row.

use super::*;
use crate::files::{Root, Wanted, pick};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// A tree from words: `a/` a directory, `a=text` a file, `a>b` a link.
fn tree(words: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for word in words.split_whitespace() {
        let at = |name: &str| {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            path
        };
        if let Some((name, text)) = word.split_once('=') {
            fs::write(at(name), text).unwrap();
        } else if let Some((name, target)) = word.split_once('>') {
            symlink(target, at(name)).unwrap();
        } else {
            fs::create_dir_all(at(word)).unwrap();
        }
    }
    directory
}

fn root(path: &Path) -> Root {
    Root::context(path, None).unwrap()
}

/// What copying makes, as words.
fn copied(context: &str, image: &str, source: &str, destination: &str, parents: bool) -> String {
    let (context, image) = (tree(context), tree(image));
    let (context, image) = (root(context.path()), root(image.path()));
    let mut target = Target::new(Some(&image), 0, None);
    let placing = Placing { destination: destination.as_bytes(), owner: None, mode: None };
    let result = pick(&context, &Wanted { path: source, parents, exclude: None })
        .and_then(|choices| choices.iter().try_for_each(|c| place(&mut target, &context, c, &placing)));
    if let Err(error) = result {
        return error.to_string();
    }
    let words = target.made().iter().map(|(path, made)| {
        let path = String::from_utf8_lossy(path);
        match &made.kind {
            MadeKind::Directory => format!("{path}/"),
            MadeKind::Symlink(link) => format!("{path}>{}", String::from_utf8_lossy(link)),
            MadeKind::HardLink(link) => format!("{path}~{}", String::from_utf8_lossy(link)),
            _ => path.into_owned(),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn everything_lands_where_docker_puts_it() {
    for (context, image, source, destination, expected) in [
        ("a=1", "", "a", "b", "b"),
        ("a=1", "", "a", "b/", "b/ b/a"),
        ("a=1", "b/", "a", "b", "b/a"),
        ("a=1", "", "./a", "x/y/b", "x/ x/y/ x/y/b"),
        ("a=1", "b=2", "a", "b", "b"),
        ("a=1", "d/ l>d", "a", "l", "d/a"),
        ("a=1", "d/ l>/d", "a", "l/x", "d/x"),
        ("a=1", "l>../../d", "a", "l/", "d/ d/a"),
        ("d/x=1 d/e/y=2", "", "d", "t", "t/ t/e/ t/e/y t/x"),
        ("d/x=1", "t/", "d", "t/", "t/x"),
        ("d/x=1 d/k>x", "", "d/", "t", "t/ t/k>x t/x"),
        ("d/x=1 l>d", "", "l", "t", "t/ t/x"),
        ("d/x=1 l>d/x", "", "l", "t/", "t/ t/l"),
        ("d/x=1", "t=1", "d", "t", "cannot copy to non-directory: /t"),
        ("d/x/y=1", "t/x=1", "d", "t", "cannot copy to non-directory: /t/x"),
        ("d/x=1", "t/x/", "d", "t", "cannot replace to directory /t/x with file"),
        ("a1=1 a2=2 b=3", "", "a*", "t/", "t/ t/a1 t/a2"),
        ("d1/x=1 d2/y=2", "", "d?", "t/", "t/ t/x t/y"),
        ("a=1", "", "z*", "t/", ""),
        ("a=1 ab>none", "", "a*", "t/", "failed to compute cache key: \"/ab\": not found"),
        ("a=1", "", "z", "t/", "failed to compute cache key: \"/z\": not found"),
        ("a=1", "", "../../a", "t", "t"),
        ("d/a=1", "", "d/../d/a", "t", "t"),
        ("d/x=1 d/y=2", "", "*/x", "t/", "t/ t/x"),
        ("d/x=1", "", "d/[", "t/", "syntax error in pattern `[`"),
    ] {
        assert_eq!(
            copied(context, image, source, destination, false),
            expected,
            "COPY {source} {destination}"
        );
    }
}

#[test]
fn parents_are_kept_from_the_pivot_on() {
    for (source, expected) in [
        ("d/e/x", "t/ t/d/ t/d/e/ t/d/e/x"),
        ("d/./e/x", "t/ t/e/ t/e/x"),
        ("d/*/x", "t/ t/d/ t/d/e/ t/d/e/x t/d/f/ t/d/f/x"),
        ("**/x", "t/ t/d/ t/d/e/ t/d/e/x t/d/f/ t/d/f/x"),
        ("d/e", "t/ t/d/ t/d/e/ t/d/e/x t/d/e/y"),
        ("nope", "failed to compute cache key: \"/nope\": not found"),
    ] {
        let got = copied("d/e/x=1 d/e/y=2 d/f/x=3", "", source, "t/", true);
        assert_eq!(got, expected, "COPY --parents {source}");
    }
}

#[test]
fn hard_links_stay_links() {
    let context = tree("d/a=1");
    fs::hard_link(context.path().join("d/a"), context.path().join("d/b")).unwrap();
    let context = root(context.path());
    let mut target = Target::new(None, 0, None);
    let choices = pick(&context, &Wanted { path: "d", parents: false, exclude: None }).unwrap();
    let placing = Placing { destination: b"t", owner: None, mode: None };
    place(&mut target, &context, &choices[0], &placing).unwrap();
    assert!(matches!(&target.made()[&b"t/b"[..]].kind, MadeKind::HardLink(to) if to == b"t/a"));
}

#[test]
fn archives_stay_inside() {
    use berth_store::tar::{NewEntry, NewKind, Writer};
    let none = std::collections::BTreeMap::new();
    let mut writer = Writer::new(Vec::new());
    for (path, kind) in [
        (&b"dir"[..], NewKind::Directory),
        (b"dir/gone", NewKind::File(1)),
        (b"dir", NewKind::File(1)),
        (b"dir/../escape", NewKind::File(1)),
        (b"out", NewKind::Symlink(b"/../../etc")),
        (b"out/passwd", NewKind::File(1)),
        (b"dir", NewKind::Directory),
        (b"dir/link", NewKind::HardLink(b"escape")),
    ] {
        let entry = NewEntry { path, kind, mode: 0o644, uid: 5, gid: 6, mtime: 7, xattrs: &none };
        writer.entry(&entry, &mut &b"x"[..]).unwrap();
    }
    let bytes = writer.finish().unwrap();
    let image = tree("etc/");
    let (image, room) = (root(image.path()), tempfile::tempdir().unwrap());
    let mut target = Target::new(Some(&image), 0, None);
    assert!(unpack(&mut target, &bytes[..], b"srv/", None, &room.path().join("t")).unwrap());
    let names: Vec<_> = target.made().keys().map(|path| String::from_utf8_lossy(path).into_owned()).collect();
    let expected = ["srv", "srv/dir", "srv/dir/link", "srv/escape", "srv/etc", "srv/etc/passwd", "srv/out"];
    assert_eq!(names, expected);
    let mut writer = Writer::new(Vec::new());
    for (path, kind) in [(&b"link"[..], NewKind::Directory), (b"link/in", NewKind::File(1))] {
        let entry = NewEntry { path, kind, mode: 0o644, uid: 5, gid: 6, mtime: 7, xattrs: &none };
        writer.entry(&entry, &mut &b"x"[..]).unwrap();
    }
    let bytes = writer.finish().unwrap();
    let image = tree("real/in=1 link>real");
    let image = root(image.path());
    let mut over = Target::new(Some(&image), 0, None);
    assert!(unpack(&mut over, &bytes[..], b"/", None, &room.path().join("t")).unwrap());
    let names: Vec<_> = over.made().keys().map(|path| String::from_utf8_lossy(path).into_owned()).collect();
    assert_eq!(names, ["link", "link/in"], "a directory takes the place of a link");
    let mut writer = Writer::new(Vec::new());
    let (path, kind) = (&b"../escape"[..], NewKind::File(1));
    let entry = NewEntry { path, kind, mode: 0o644, uid: 5, gid: 6, mtime: 7, xattrs: &none };
    writer.entry(&entry, &mut &b"x"[..]).unwrap();
    let bytes = writer.finish().unwrap();
    let error = unpack(&mut over, &bytes[..], b"srv/", None, &room.path().join("t")).unwrap_err();
    assert_eq!(error.message(), "invalid entry name \"../escape\" in the archive");
    assert!(!unpack(&mut target, &b"plain text"[..], b"srv/", None, &room.path().join("t")).unwrap());
    assert!(!unpack(&mut target, &b""[..], b"srv/", None, &room.path().join("t")).unwrap());
}

#[test]
fn directories_on_the_way_get_an_octal_mode_too() {
    let (context, image) = (tree("a=1 d/x=2"), tree("there/"));
    let (context, image) = (root(context.path()), root(image.path()));
    for (mode, source, destination, expected) in [
        ("711", "a", "p/q/a", "p 711, p/q 711, p/q/a 711"),
        ("4644", "a", "there/q/a", "there/q 644, there/q/a 4644"),
        ("600", "d", "e", "e 600, e/x 600"),
        ("u=rwx,go=x", "a", "p/a", "p 755, p/a 711"),
    ] {
        let mut target = Target::new(Some(&image), 0, None);
        let mode = ModeChange::parse(mode).unwrap();
        let placing = Placing { destination: destination.as_bytes(), owner: None, mode: Some(&mode) };
        for choice in pick(&context, &Wanted { path: source, parents: false, exclude: None }).unwrap() {
            place(&mut target, &context, &choice, &placing).unwrap();
        }
        let made = target.made().iter();
        let made: Vec<String> =
            made.map(|(path, made)| format!("{} {:o}", String::from_utf8_lossy(path), made.mode)).collect();
        assert_eq!(made.join(", "), expected);
    }
}
