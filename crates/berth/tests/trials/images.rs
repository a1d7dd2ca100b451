//! Images that are here: listed, looked into, named, removed, pruned, saved and loaded.

use super::support::{Page, Sealed, Web, many_layers, write_layout};

const GONE: &str = "Error: No such image: a:1\n";

/// A berth with an image of two layers under these names; answers its id, too.
fn with_image(names: &[&str]) -> (Sealed, String) {
    let berth = Sealed::new();
    let id = add(&berth, "first", names);
    (berth, id)
}

/// Adds another image; its layers' names begin with `seed`.
fn add(berth: &Sealed, seed: &str, names: &[&str]) -> String {
    let layout = berth.path(&format!("layout-{seed}"));
    let image = many_layers(&[format!("{seed}-1"), format!("{seed}-2")], 100_000);
    write_layout(&layout, &[("linux/amd64", &image)]);
    let place = format!("oci:{}", layout.display());
    let digest = berth.ok(&["copy", "--quiet", &place, &format!("store:{}", names[0])]).trim().to_owned();
    for name in &names[1..] {
        berth.ok(&["tag", names[0], name]);
    }
    digest
}

#[test]
fn lists_show_what_was_asked_for() {
    let (berth, id) = with_image(&["a:1", "a:2", "q.io/b:1"]);
    let short = &id[7..19];
    assert_eq!(berth.ok(&["images", "-q"]), format!("{short}\n").repeat(3));
    assert_eq!(berth.ok(&["images", "-q", "--no-trunc", "a:1"]), format!("{id}\n"));
    let names = |words: &[&str]| {
        let words = [&["images", "--format", "{{.Repository}}:{{.Tag}}"], words].concat();
        berth.ok(&words).replace('\n', " ")
    };
    assert_eq!(names(&[]), "a:1 a:2 q.io/b:1 ");
    assert_eq!(names(&["a"]), "a:1 a:2 ");
    assert_eq!(names(&["-f", "reference=a:2", "-f", "reference=q.io/*"]), "a:2 q.io/b:1 ");
    assert_eq!(names(&["-f", "dangling=true"]), "");
    assert_eq!(names(&["-f", "until=1h"]), "a:1 a:2 q.io/b:1 ");
    assert_eq!(names(&["-f", "before=a:1"]), "");
    assert_eq!(names(&["nosuch"]), "");
    let header = berth.ok(&["images", "nosuch"]);
    assert_eq!(header, "REPOSITORY   TAG       IMAGE ID   CREATED   SIZE\n");
    let json: serde_json::Value =
        serde_json::from_str(&berth.ok(&["images", "--format", "json", "a:1"])).unwrap();
    assert_eq!((json["Repository"].as_str(), json["ID"].as_str()), (Some("a"), Some(short)));
    assert_eq!(json["Containers"], "N/A");
    let digests = berth.ok(&["images", "--digests", "--format", "{{.Digest}}", "a:1"]);
    assert_eq!(digests, format!("{id}\n"));
    let wrong = berth.run(&["images", "--format", "{{.Bad}}"]);
    assert!(
        wrong.stderr().contains("can't evaluate field Bad in type *formatter.imageContext"),
        "{}",
        wrong.tell()
    );
}

#[test]
fn an_image_can_be_looked_into() {
    let (berth, id) = with_image(&["a:1", "q.io/b:1"]);
    let documents: serde_json::Value = serde_json::from_str(&berth.ok(&["image", "inspect", "a:1"])).unwrap();
    let document = &documents[0];
    assert_eq!(document["Id"], id.as_str());
    assert_eq!(document["RepoTags"], serde_json::json!(["a:1", "q.io/b:1"]));
    assert_eq!(document["RepoDigests"][0], format!("a@{id}"));
    assert_eq!(document["RootFS"]["Layers"].as_array().unwrap().len(), 2);
    assert_eq!(document["Config"]["Cmd"], serde_json::json!(["/data"]));
    for (format, expected) in [
        ("{{.Id}}", format!("{id}\n")),
        ("{{.ID}} {{len .RootFS.Layers}}", format!("{id} 2\n")),
        ("{{json .Config.Cmd}}", "[\"/data\"]\n".to_owned()),
        ("{{.Config.Labels.none}}[{{index .Config.Labels \"none\"}}]", "<no value>[]\n".to_owned()),
    ] {
        assert_eq!(berth.ok(&["image", "inspect", "-f", format, "a:1"]), expected, "{format}");
    }
    let partly = berth.run(&["image", "inspect", "-f", "{{.Os}}", "a:1", "nosuch"]);
    assert_eq!((partly.output.status.code(), partly.stdout().as_str()), (Some(1), "linux\n"));
    let history = berth.ok(&["history", "--format", "{{.ID}} {{.Size}}", "a:1"]);
    assert_eq!(history.lines().count(), 2, "{history}");
    assert!(berth.run(&["image", "exists", "a:1"]).succeeded());
    assert_eq!(berth.run(&["image", "exists", "a:2"]).output.status.code(), Some(1));
}

#[test]
fn removal_takes_names_first() {
    let (berth, id) = with_image(&["a:1", "a:2"]);
    assert_eq!(berth.ok(&["rmi", "a:1"]), "Untagged: a:1\n");
    let again = berth.run(&["rmi", "a:1"]);
    assert!(!again.succeeded() && again.stderr().starts_with(GONE), "{}", again.tell());
    let forced = berth.run(&["rmi", "-f", "a:1"]);
    assert!(forced.succeeded() && forced.stderr().starts_with(GONE), "{}", forced.tell());
    berth.ok(&["tag", "a:2", "b:1"]);
    let by_id = berth.run(&["rmi", &id]);
    assert!(by_id.stderr().contains("(must be forced) - image is referenced in multiple repositories"));
    let gone = berth.ok(&["rmi", "-f", &id[7..19]]);
    assert_eq!(gone, format!("Untagged: a:2\nUntagged: b:1\nDeleted: {id}\n"));
    assert_eq!(berth.ok(&["images", "-q"]), "");
    berth.check().unwrap();
}

#[test]
fn a_dry_run_says_to_the_byte_what_goes() {
    let (berth, first) = with_image(&["a:1"]);
    add(&berth, "second", &["b:1"]);
    berth.ok(&["image", "untag", "a:1"]);
    let total = |text: &str| {
        let line = text.lines().last().unwrap().to_owned();
        line.split_once(": ").unwrap().1.split(" (").next().unwrap().to_owned()
    };
    let disk = || -> u64 {
        let ledger = berth.ok(&["system", "df", "-v"]);
        let bytes = |what: &str| -> u64 {
            let line = ledger.lines().find(|line| line.starts_with(what)).unwrap();
            line.rsplit(' ').next().unwrap().parse().unwrap()
        };
        bytes("Layers") + bytes("Manifests")
    };
    let promise = berth.ok(&["image", "prune", "--dry-run"]);
    assert!(promise.contains(&format!("deleted: {first}\n")), "{promise}");
    let before = disk();
    let report = berth.ok(&["image", "prune", "--force"]);
    assert_eq!(total(&promise), total(&report));
    let promised: u64 = promise.rsplit_once('(').unwrap().1.split(' ').next().unwrap().parse().unwrap();
    assert_eq!(before - disk(), promised);
    let expected = format!("Deleted Images:\nuntagged: {first}\ndeleted: {first}\n\nTotal reclaimed space: ");
    assert!(report.starts_with(&expected), "{report}");
    assert_eq!(berth.ok(&["image", "prune", "--force"]), "Total reclaimed space: 0B\n");

    let unanswered = berth.ok(&["image", "prune", "--all"]);
    assert_eq!(
        unanswered,
        "WARNING! This will remove all images without at least one container associated to them.\n\
         Are you sure you want to continue? [y/N] "
    );
    assert_eq!(berth.ok(&["images", "--format", "{{.Repository}}"]), "b\n");
    let kept = berth.ok(&["image", "prune", "-af", "--filter", "label=keep"]);
    assert_eq!(kept, "Total reclaimed space: 0B\n");
    assert!(berth.ok(&["image", "prune", "-af", "--filter", "label!=keep"]).contains("untagged: b:1\n"));
    assert_eq!(berth.ok(&["images", "-q"]), "");
    berth.check().unwrap();
}

#[test]
fn archives_bring_back_the_same_image() {
    let (berth, id) = with_image(&["a:1", "a:2"]);
    let archive = berth.path("saved.tar");
    let path = archive.to_str().unwrap();
    berth.ok(&["save", "-o", path, "a:1", "a:2"]);
    let other = Sealed::new();
    let loaded = other.ok(&["load", "-i", path]);
    assert_eq!(loaded, "Loaded image: a:1\nLoaded image: a:2\n");
    assert_eq!(other.ok(&["images", "-q", "--no-trunc", "a:1"]), format!("{id}\n"));
    berth.ok(&["save", "-o", path, &id]);
    let by_id = Sealed::new();
    assert_eq!(by_id.ok(&["load", "-i", path]), format!("Loaded image ID: {id}\n"));
    std::fs::write(&archive, b"no archive").unwrap();
    let broken = by_id.run(&["load", "-i", path]);
    assert!(
        !broken.succeeded() && broken.stderr().contains("cannot read the image archive"),
        "{}",
        broken.tell()
    );
    assert!(!berth.run(&["save", "-o", berth.path("x.tar").to_str().unwrap(), "nosuch"]).succeeded());
    let left: Vec<_> =
        std::fs::read_dir(berth.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("x.tar")), "{left:?}");
}

fn imported_from_the_web(berth: &Sealed, tar: Vec<u8>) {
    let web = Web::start(&berth.path("repositories"));
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, &tar).unwrap();
    web.put("/files.tar", Page::new(tar)).put("/files.tgz", Page::new(packed.finish().unwrap()));
    web.put("/moved", Page { moved_to: Some(web.url("/files.tgz")), ..Page::default() });
    web.put("/page", Page::new("\n<!DOCTYPE html><p>choose a mirror")).put("/rubbish", Page::new("rubbish"));
    for path in ["/files.tar", "/files.tgz", "/moved"] {
        let url = web.url(path);
        let said = berth.ok(&["import", "-c", "CMD x", &url, "web:1"]);
        let id = berth.ok(&["image", "inspect", "-f", "{{.Id}}", "web:1"]);
        assert_eq!(said, format!("Downloading from {url}\n{id}"));
        let comment = berth.ok(&["image", "inspect", "-f", "{{.Config.Cmd}} {{.Comment}}", "web:1"]);
        assert!(comment.ends_with(&format!(" x] Imported from {url}\n")), "{comment}");
        berth.ok(&["rmi", "web:1"]);
    }
    for (path, expected) in [
        ("/nope", "/nope: not found (status 404)"),
        ("/page", "/page is a web page, not an archive"),
        ("/rubbish", "the archive ends in the middle of entry 1"),
    ] {
        let outcome = berth.run(&["import", &web.url(path), "web:1"]);
        assert!(!outcome.succeeded() && outcome.stderr().contains(expected), "{}", outcome.tell());
    }
    web.asked();
    let outcome = berth.run(&["import", "-c", "FROM x", &web.url("/files.tar")]);
    assert!(!outcome.succeeded() && web.asked().is_empty(), "{}", outcome.tell());
}

#[test]
fn a_tarball_becomes_an_image() {
    let berth = Sealed::new();
    let directory = berth.path("files");
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("hello"), b"world").unwrap();
    let tarball = berth.path("files.tar");
    let made = std::process::Command::new("tar")
        .arg("-cf")
        .arg(&tarball)
        .arg("-C")
        .arg(&directory)
        .arg(".")
        .status();
    assert!(made.unwrap().success());
    let path = tarball.to_str().unwrap();
    let changes = ["-c", "CMD [\"/hello\"]", "-c", "ENV A=b", "-c", "LABEL keep=1", "-m", "made here"];
    let id = berth.ok(&[&["import"], &changes[..], &[path, "made:1"]].concat());
    let inspect = |format: &str| berth.ok(&["image", "inspect", "-f", format, "made:1"]);
    assert_eq!(inspect("{{.Id}}"), id);
    assert_eq!(inspect("{{.Config.Cmd}} {{.Config.Env}} {{.Config.Labels.keep}}"), "[/hello] [A=b] 1\n");
    assert_eq!(inspect("{{.Comment}}"), "made here\n");
    assert_eq!(berth.ok(&["images", "-q", "-f", "label=keep=1"]).lines().count(), 1);
    let wrong = berth.run(&["import", "-c", "FROM x", path]);
    assert!(wrong.stderr().starts_with("Error: FROM is not a valid change command"), "{}", wrong.tell());
    imported_from_the_web(&berth, std::fs::read(&tarball).unwrap());
    std::fs::write(&tarball, b"this is no tar").unwrap();
    assert!(!berth.run(&["import", path]).succeeded());
    berth.check().unwrap();
}

#[test]
fn the_ledger_adds_up_to_the_disk() {
    let (berth, _) = with_image(&["a:1"]);
    add(&berth, "second", &["b:1"]);
    let ledger = berth.ok(&["system", "df", "-v"]);
    let total: u64 = ledger.trim_end().rsplit(' ').next().unwrap().parse().unwrap();
    let du =
        std::process::Command::new("du").args(["-s", "--block-size=1"]).arg(berth.root()).output().unwrap();
    let du: u64 = String::from_utf8_lossy(&du.stdout).split_whitespace().next().unwrap().parse().unwrap();
    // The database's journal may have grown or gone with the very command that measured it.
    assert!(total.abs_diff(du) <= 1 << 20, "df says {total}, du says {du}\n{ledger}");
    let images = berth.ok(&["system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Active}}"]);
    assert!(images.starts_with("Images 2 0\nContainers 0 0\n"), "{images}");
}

#[test]
fn system_prune_takes_containers_and_then_their_images() {
    let (berth, id) = with_image(&["a:1"]);
    let container = berth.ok(&["create", "--network", "none", "a:1"]).trim().to_owned();
    let question = berth.ok(&["system", "prune", "-a"]);
    assert!(question.starts_with("WARNING! This will remove:\n  - all stopped containers\n"), "{question}");
    let used = berth.ok(&["image", "prune", "-af"]);
    assert_eq!(used, "Total reclaimed space: 0B\n", "a container uses the image");
    let promise = berth.ok(&["system", "prune", "-a", "--dry-run"]);
    assert!(
        promise.starts_with(&format!("Containers to delete:\n{container}\n\nImages to delete:\n")),
        "{promise}"
    );
    let report = berth.ok(&["system", "prune", "-af"]);
    assert!(report.contains(&format!("untagged: a:1\ndeleted: {id}\n")), "{report}");
    let amount =
        |text: &str| text.lines().last().unwrap().split([':', '(']).nth(1).unwrap().trim().to_owned();
    assert_eq!(amount(&promise), amount(&report));
    assert_eq!(berth.ok(&["ps", "-aq"]) + &berth.ok(&["images", "-q"]), "");
    berth.check().unwrap();
}
