//! `--mount type=image`: an image seen read-only in a container, and kept for as long as that is there.
//!
//! Real containers of Debian's busybox.

use super::support::{Sealed, boxed};
use std::path::Path;

/// A berth with `box`, and `data`: two layers, the second of which takes a file of the first away.
fn with_data(test: &str) -> Option<Sealed> {
    let sealed = boxed(test)?;
    let context = sealed.path("context");
    std::fs::create_dir_all(context.join("conf")).unwrap();
    std::fs::write(context.join("conf/a"), "first\n").unwrap();
    std::fs::write(context.join("conf/gone"), "").unwrap();
    std::os::unix::fs::symlink("/etc", context.join("conf/out")).unwrap();
    std::fs::write(
        context.join("Dockerfile"),
        "FROM box\nCOPY conf /conf\nRUN rm /conf/gone; echo second > /conf/b; chown -R 33:33 /conf\n",
    )
    .unwrap();
    sealed.ok(&["build", "-t", "data", context.to_str().unwrap()]);
    Some(sealed)
}

fn script(sealed: &Sealed, mount: &str, more: &[&str], script: &str) -> String {
    sealed.ok(&[&["run", "--rm", "--mount", mount][..], more, &["box", "sh", "-c", script]].concat())
}

#[test]
fn an_image_is_seen_and_cannot_be_changed() {
    let Some(sealed) = with_data("an_image_is_seen_and_cannot_be_changed") else { return };
    let whole = "type=image,source=data,target=/x";
    assert_eq!(
        script(&sealed, whole, &[], "ls /x/conf; cat /x/conf/a /x/conf/b"),
        "a\nb\nout\nfirst\nsecond\n"
    );
    assert_eq!(
        script(&sealed, whole, &[], "touch /x/y 2>&1; echo $?"),
        "touch: /x/y: Read-only file system\n1\n"
    );
    let one_layer = "type=image,src=box,dst=/x,readonly=false";
    assert_eq!(
        script(&sealed, one_layer, &[], "ls -d /x/bin; touch /x/y 2>/dev/null; echo $?"),
        "/x/bin\n1\n"
    );
    let owner = "stat -c %u:%g /x/conf/a";
    assert_eq!(script(&sealed, whole, &[], owner), "33:33\n");
    if Path::new("/etc/subuid").exists()
        && sealed.run(&["run", "--rm", "--userns", "auto", "box", "true"]).succeeded()
    {
        assert_eq!(script(&sealed, whole, &["--userns", "auto"], owner), "33:33\n", "as its users see it");
    }
    for (subpath, told) in [("conf", "a\nb\nout\n"), ("conf/../conf/b", "/x\n")] {
        let mount = format!("{whole},image-subpath={subpath}");
        assert_eq!(
            script(&sealed, &mount, &[], "ls /x; cp /x/* /x /tmp 2>/dev/null; true"),
            told,
            "{subpath}"
        );
    }
    // A link of the image leads nowhere but into the image.
    let link = format!("{whole},image-subpath=conf/out");
    assert_eq!(script(&sealed, &link, &[], "ls /x"), "passwd\n");
}

#[test]
fn an_image_stays_as_long_as_a_container_sees_it() {
    let Some(sealed) = with_data("an_image_stays_as_long_as_a_container_sees_it") else { return };
    sealed.ok(&[
        "run",
        "-d",
        "--name",
        "web",
        "--mount",
        "type=image,source=data,target=/x,image-subpath=conf,readonly",
        "box",
        "sleep",
        "1000",
    ]);
    assert_eq!(
        sealed.ok(&["inspect", "-f", "{{json .HostConfig.Mounts}} {{json .Mounts}}", "web"]).trim_end(),
        concat!(
            r#"[{"Type":"image","Source":"data","Target":"/x","ReadOnly":true,"ImageOptions":{"Subpath":"conf"}}] "#,
            r#"[{"Type":"image","Name":"data","Source":"","Destination":"/x","Mode":"","RW":false,"#,
            r#""Propagation":"rprivate"}]"#
        )
    );
    assert_eq!(sealed.ok(&["ps", "--format", "{{.Mounts}}", "--filter", "volume=data"]), "data\n");
    let kept = sealed.run(&["rmi", "data"]);
    assert!(kept.stderr().contains("(must be forced) - container "), "{}", kept.tell());
    sealed.ok(&["image", "prune", "--all", "--force"]);
    let read = || sealed.ok(&["exec", "web", "cat", "/x/b"]);
    assert_eq!(read(), "second\n");
    // A name is anybody's; what it meant is the container's.
    sealed.ok(&["tag", "box", "data"]);
    sealed.ok(&["image", "prune", "--all", "--force"]);
    sealed.ok(&["diff", "web"]);
    sealed.ok(&["restart", "--time", "0", "web"]);
    assert_eq!(read(), "second\n");
    let borrowed = ["run", "--rm", "--volumes-from", "web", "box", "cat", "/x/a"];
    assert_eq!(sealed.ok(&borrowed), "first\n");
    let dangling = sealed.ok(&["images", "--quiet", "--no-trunc", "--filter", "dangling=true"]);
    let by_id = sealed.run(&["rmi", "--force", dangling.trim_end()]);
    assert!(by_id.stderr().contains("image is being used by running container"), "{}", by_id.tell());
    sealed.ok(&["stop", "--time", "0", "web"]);
    sealed.ok(&["rmi", "--force", dangling.trim_end()]);
    sealed.ok(&["system", "prune", "--force", "--filter", "label=nobody"]);
    sealed.ok(&["start", "web"]);
    assert_eq!(read(), "second\n", "its content is the container's");
    sealed.check().unwrap();
    sealed.ok(&["rm", "--force", "web"]);
    sealed.ok(&["image", "prune", "--force"]);
    sealed.check().unwrap();
}

#[test]
fn images_that_cannot_be_mounted() {
    let Some(sealed) = boxed("images_that_cannot_be_mounted") else { return };
    let outside =
        "invalid mount config for type \"image\": subpath must be a relative path within the volume";
    for (mount, expected) in [
        ("type=image,target=/x", "invalid mount config for type \"image\": field Source must not be empty"),
        ("type=image,source=box", "target is required"),
        ("type=image,source=nope:1,target=/x", "No such image: nope:1"),
        ("type=image,source=box,target=x", "invalid mount path: 'x' mount path must be absolute"),
        ("type=image,source=box,target=/", "destination can't be '/'"),
        ("type=image,source=box,target=/x,image-subpath=/etc", outside),
        ("type=image,source=box,target=/x,image-subpath=a/../../etc", outside),
        ("type=image,source=box,target=/x,image-subpath=nope", "cannot access path `nope`"),
        ("type=image,source=box,target=/x,image-subpath", "must be a key=value pair"),
        ("type=image,source=box,target=/x,image-foo=1", "unexpected key 'image-foo' in 'image-foo=1'"),
        (
            "type=image,source=box,target=/x,volume-nocopy",
            "cannot mix 'volume-*' options with mount type 'image'",
        ),
        (
            "type=bind,source=/etc,target=/x,image-subpath=y",
            "cannot mix 'image-*' options with mount type 'bind'",
        ),
        ("type=image,source=box,target=/x,idmap", "the owners of an image's files are the image's"),
    ] {
        let outcome = sealed.run(&["run", "--rm", "--mount", mount, "box", "true"]);
        // What is not found counts as the program, as it does for docker.
        let code = if expected.starts_with("cannot access") { 127 } else { 125 };
        assert_eq!(outcome.output.status.code(), Some(code), "{}", outcome.tell());
        assert!(outcome.stderr().contains(expected), "{expected} is not in {}", outcome.tell());
    }
}
