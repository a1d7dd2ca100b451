//! Mounts: what is shared, what is private, what does not lead out.

use crate::common::mount;
use crate::sandbox::Sandbox;
use std::fs;
use std::os::unix::fs::symlink;

fn with_mount(script: &str, prepare: impl Fn(&Sandbox) -> oci_spec::runtime::Mount) -> Option<Sandbox> {
    let mut sandbox = Sandbox::shell(script)?;
    let mut mounts = sandbox.bundle.spec.mounts().clone().unwrap();
    mounts.push(prepare(&sandbox));
    sandbox.bundle.spec.set_mounts(Some(mounts));
    Some(sandbox)
}

/// A directory of the host with a file in it.
fn source(sandbox: &Sandbox) -> String {
    let path = sandbox.dir.path().join("source");
    fs::create_dir_all(&path).unwrap();
    fs::write(path.join("file"), "host\n").unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn binds_of_directories_and_files() {
    for (script, options, file, expected) in [
        (
            "cat /new/place/file; echo y > /new/place/y; ls /new/place",
            &["rbind"][..],
            false,
            "host\nfile\ny\n",
        ),
        (
            "cat /new/place/file; touch /new/place/y 2>&1",
            &["rbind", "ro"],
            false,
            "host\ntouch: /new/place/y: Read-only file system\n",
        ),
        ("touch /new/place/y 2>&1", &["bind", "rro"], false, "touch: /new/place/y: Read-only file system\n"),
        ("cat /new/place; test -f /new/place && echo file", &["bind"], true, "host\nfile\n"),
        (
            "cp /bin/busybox /new/place/true; /new/place/true 2>&1",
            &["bind", "noexec"],
            false,
            "sh: /new/place/true: Permission denied\n",
        ),
    ] {
        let sandbox = with_mount(script, |sandbox| {
            let source = source(sandbox);
            let source = if file { format!("{source}/file") } else { source };
            mount("/new/place", "bind", &source, options)
        });
        let Some(sandbox) = sandbox else { return };
        assert_eq!(sandbox.run().unwrap().stdout, expected, "{script}");
    }
}

#[test]
fn a_missing_source_is_an_error_of_the_machine_not_of_the_command() {
    let Some(sandbox) = with_mount("true", |_| mount("/x", "bind", "/no/such/source", &["rbind"])) else {
        return;
    };
    let error = sandbox.run().unwrap_err();
    assert!(error.to_string().contains("`/no/such/source`"), "{error}");
    assert_eq!(berth_runtime::exit_code(&error), 125);
    sandbox.assert_clean();
}

#[test]
fn a_tmpfs_with_options() {
    let script = "grep ' /scratch ' /proc/mounts | cut -d' ' -f3-4; dd if=/dev/zero of=/scratch/x bs=1k count=200 2>&1 | grep -c full";
    let script =
        script.replace("cut -d' ' -f3-4", "awk '{print $3}'").replace("grep -c full", "grep -c 'No space'");
    let Some(sandbox) =
        with_mount(&script, |_| mount("/scratch", "tmpfs", "tmpfs", &["size=100k", "mode=1777"]))
    else {
        return;
    };
    assert_eq!(sandbox.run().unwrap().stdout, "tmpfs\n1\n");
}

/// An image can have any link in any place: a mount on it lands inside the container.
#[test]
fn no_link_of_the_image_leads_a_mount_out() {
    for (link, target) in [("etc/evil", "/etc/evil/deep"), ("evil", "/evil"), ("up", "/up/x")] {
        let Some(sandbox) = with_mount("true", |sandbox| {
            let upper = sandbox.dir.path().join("upper");
            let outside = sandbox.dir.path().join("outside");
            fs::create_dir_all(upper.join("etc")).unwrap();
            fs::create_dir(&outside).unwrap();
            let to = if link == "up" { "../../../../../../../../../../..".into() } else { outside };
            symlink(to, upper.join(link)).unwrap();
            mount(target, "bind", &source(sandbox), &["rbind"])
        }) else {
            return;
        };
        // It works inside, or it is refused; the outside stays as it was.
        drop(sandbox.run());
        let outside = sandbox.dir.path().join("outside");
        assert_eq!(fs::read_dir(outside).unwrap().count(), 0, "{target}");
        sandbox.assert_clean();
    }
}

#[test]
fn proc_behind_a_link_is_refused() {
    let Some(sandbox) = Sandbox::shell("true") else { return };
    let mut bundle = sandbox.bundle.clone();
    let lower = sandbox.dir.path().join("lower");
    fs::create_dir_all(lower.join("elsewhere")).unwrap();
    symlink("elsewhere", lower.join("proc")).unwrap();
    bundle.rootfs = berth_runtime::RootfsMount::Overlay {
        lowers: vec![lower],
        upper: sandbox.dir.path().join("upper"),
        work: sandbox.dir.path().join("work"),
    };
    let sandbox = Sandbox { bundle, dir: tempfile::tempdir().unwrap() };
    let error = sandbox.start().unwrap_err();
    assert!(error.to_string().contains("must be a directory, not a link"), "{error}");
}

#[test]
fn masks_use_the_hosts_null_device_whatever_the_image_has() {
    let Some(sandbox) = Sandbox::shell("cat /proc/timer_list | wc -c; ls -l /dev/null | cut -c1") else {
        return;
    };
    let dev = sandbox.dir.path().join("upper/dev");
    fs::create_dir_all(&dev).unwrap();
    symlink("/proc/self/mem", dev.join("null")).unwrap();
    assert!(sandbox.run().unwrap().stdout.starts_with("0\n"));
}

#[test]
fn the_root_is_writable_above_the_layer_or_read_only() {
    let Some(sandbox) = Sandbox::shell("echo x > /new; cat /new") else { return };
    assert_eq!(sandbox.run().unwrap().stdout, "x\n");
    assert!(sandbox.dir.path().join("upper/new").exists());

    let Some(mut sandbox) = Sandbox::shell("touch /new 2>&1; touch /dev/shm/x && echo shm") else { return };
    let mut root = sandbox.bundle.spec.root().clone().unwrap();
    root.set_readonly(Some(true));
    sandbox.bundle.spec.set_root(Some(root));
    assert_eq!(sandbox.run().unwrap().stdout, "touch: /new: Read-only file system\nshm\n");
}

#[test]
fn many_layers_with_awkward_names() {
    let Some(mut sandbox) = Sandbox::shell("cat /layer; ls / | grep -c '^l[0-9]'") else { return };
    let mut lowers = Vec::new();
    for number in (0..60).rev() {
        let path = sandbox.dir.path().join(format!("la:yer,{number}\\"));
        fs::create_dir(&path).unwrap();
        fs::write(path.join("layer"), format!("{number}\n")).unwrap();
        fs::write(path.join(format!("l{number}")), "").unwrap();
        lowers.push(path);
    }
    if let berth_runtime::RootfsMount::Overlay { lowers: existing, .. } = &mut sandbox.bundle.rootfs {
        lowers.append(existing);
        *existing = lowers;
    }
    assert_eq!(sandbox.run().unwrap().stdout, "59\n60\n");
}

#[test]
fn the_working_directory_is_made_and_cannot_be_outside() {
    let Some(mut sandbox) = Sandbox::shell("pwd") else { return };
    let with = |sandbox: &mut Sandbox, cwd: &str| {
        let mut process = sandbox.bundle.spec.process().clone().unwrap();
        process.set_cwd(cwd.into());
        sandbox.bundle.spec.set_process(Some(process));
    };
    with(&mut sandbox, "/srv/deep");
    assert_eq!(sandbox.run().unwrap().stdout, "/srv/deep\n");
    for number in 3..20 {
        let Some(mut sandbox) = Sandbox::shell("pwd; ls") else { return };
        with(&mut sandbox, &format!("/proc/self/fd/{number}"));
        let outcome = sandbox.run();
        assert!(outcome.is_err(), "{number}: {outcome:?}");
    }
}
