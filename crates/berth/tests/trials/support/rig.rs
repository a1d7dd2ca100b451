//! A berth with one small image to run containers from.

use super::{Sealed, busybox_tar, skipped};

/// A berth with the image `box`, which has a few files in `/srv` and, where `change` says so, volumes of its own.
pub(crate) fn rig(test: &str, change: &str) -> Option<Sealed> {
    let Some(mut tar) = busybox_tar() else {
        skipped(test, "there is no static busybox at /bin/busybox");
        return None;
    };
    for name in ["srv", "srv/sub", "etc"] {
        tar.directory(name);
    }
    tar.file("srv/file", 0o640, b"of the image");
    tar.file("srv/sub/program", 0o4755, b"x");
    tar.link("srv/link", "/etc/passwd");
    tar.file("etc/passwd", 0o644, b"root:x:0:0::/:/bin/sh\n");
    tar.file("etc/group", 0o644, b"root:x:0:\nwheel:x:10:root\naudio:x:29:\n");
    let sealed = Sealed::new();
    let path = sealed.path("box.tar");
    std::fs::write(&path, tar.finish()).unwrap();
    sealed.ok(&["import", "--change", change, path.to_str().unwrap(), "box"]);
    Some(sealed)
}
