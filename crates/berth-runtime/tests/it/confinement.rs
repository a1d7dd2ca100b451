//! What a container cannot see or do.

use crate::common;
use crate::sandbox::Sandbox;
use berth_runtime::Seccomp;
use oci_spec::runtime::{Capability, LinuxIntelRdt};

fn output(script: &str) -> Option<String> {
    let outcome = Sandbox::shell(script)?.run().unwrap();
    Some(outcome.stdout + &outcome.stderr)
}

#[test]
fn system_calls_that_docker_denies() {
    for (script, expected) in [
        ("mount -t tmpfs x /tmp 2>&1", "mount: permission denied"),
        ("umount /proc 2>&1", "Operation not permitted"),
        ("unshare -U true 2>&1", "Operation not permitted"),
        ("unshare -m true 2>&1", "Operation not permitted"),
        ("reboot -f 2>&1", "Operation not permitted"),
        ("hostname other 2>&1", "Operation not permitted"),
        ("date -s 2020-01-01 2>&1", "Operation not permitted"),
    ] {
        let Some(text) = output(script) else { return };
        assert!(text.contains(expected), "{script}: {text}");
    }
}

#[test]
fn capabilities_are_dockers() {
    let Some(text) =
        output("grep -E 'Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs|Seccomp:' /proc/self/status | tr -d '\\t '")
    else {
        return;
    };
    let set = "00000000a80425fb";
    for line in [
        "CapInh:0000000000000000".to_owned(),
        format!("CapPrm:{set}"),
        format!("CapEff:{set}"),
        format!("CapBnd:{set}"),
        "CapAmb:0000000000000000".to_owned(),
        "NoNewPrivs:0".to_owned(),
        "Seccomp:2".to_owned(),
    ] {
        assert!(text.contains(&line), "{line} is not in\n{text}");
    }
}

#[test]
fn another_user_has_its_groups_and_no_capabilities() {
    let Some(mut sandbox) =
        Sandbox::shell("id; echo $HOME; grep CapEff /proc/self/status; echo x > /dev/stdout")
    else {
        return;
    };
    sandbox.bundle.user = Some("web".into());
    let outcome = sandbox.run().unwrap();
    let expected = "uid=33(web) gid=33(web) groups=33(web),44(video)\n/data\nCapEff:\t0000000000000000\nx\n";
    assert_eq!(outcome.stdout, expected, "{outcome:?}");
}

#[test]
fn ambient_capabilities_reach_another_user() {
    let Some(mut sandbox) = Sandbox::shell("grep -E 'CapEff|CapAmb' /proc/self/status") else { return };
    let mut process =
        common::process(&["sh", "-c", "grep -E 'CapEff|CapAmb' /proc/self/status | tr -d '\\t'"]);
    let mut capabilities = process.capabilities().clone().unwrap();
    let bind = std::collections::HashSet::from([Capability::NetBindService]);
    capabilities.set_ambient(Some(bind.clone())).set_inheritable(Some(bind));
    process.set_capabilities(Some(capabilities));
    sandbox.bundle.spec.set_process(Some(process));
    sandbox.bundle.user = Some("web".into());
    assert_eq!(sandbox.run().unwrap().stdout, "CapEff:0000000000000400\nCapAmb:0000000000000400\n");
}

#[test]
fn no_new_privileges_and_the_filter_after_it() {
    let Some(mut sandbox) = Sandbox::shell("grep -E 'NoNewPrivs|Seccomp:' /proc/self/status | tr -d '\\t'")
    else {
        return;
    };
    let mut process = sandbox.bundle.spec.process().clone().unwrap();
    process.set_no_new_privileges(Some(true));
    sandbox.bundle.spec.set_process(Some(process));
    assert_eq!(sandbox.run().unwrap().stdout, "NoNewPrivs:1\nSeccomp:2\n");
}

#[test]
fn without_a_profile_there_is_no_filter() {
    let Some(mut sandbox) = Sandbox::shell("grep Seccomp: /proc/self/status | tr -d '\\t'") else { return };
    sandbox.bundle.seccomp = Seccomp::Spec;
    assert_eq!(sandbox.run().unwrap().stdout, "Seccomp:0\n");
}

#[test]
fn masked_and_read_only_paths() {
    for (script, expected) in [
        ("wc -c < /proc/timer_list", "0\n"),
        ("wc -c < /proc/interrupts", "0\n"),
        ("ls /sys/firmware | wc -l", "0\n"),
        ("echo 1 > /proc/sys/kernel/panic", "Read-only file system"),
        ("echo 0 > /proc/sys/vm/drop_caches", "Read-only file system"),
        ("touch /sys/x", "Read-only file system"),
        ("mkdir /sys/fs/cgroup/pids/x /sys/fs/cgroup/x", "Read-only file system"),
    ] {
        let Some(text) = output(&format!("({script}) 2>&1")) else { return };
        assert!(text.contains(expected), "{script}: {text}");
    }
}

#[test]
fn a_container_sees_its_own_processes_cgroup_and_network() {
    let Some(text) = output(
        "ps > /dev/shm/ps; wc -l < /dev/shm/ps; cat /proc/self/cgroup | sort -r | head -1; ip link | grep -c UP; ls /proc/self/fd",
    ) else {
        return;
    };
    let lines: Vec<_> = text.lines().collect();
    // ps, sh and the heading.
    assert_eq!(lines[0], "3", "{text}");
    assert!(lines[1].ends_with(":/"), "{text}");
    assert_eq!(lines[2], "1", "only loopback: {text}");
    // ls has its directory open, and nothing of ours.
    assert_eq!(lines[3..], ["0", "1", "2", "3"], "{text}");
}

#[test]
fn devices_are_there_and_no_others_can_be_used() {
    for (script, expected) in [
        ("head -c 3 /dev/zero | wc -c; echo x > /dev/null; head -c 1 /dev/urandom | wc -c", "3\n1\n"),
        ("echo x > /dev/full", "No space left on device"),
        ("mknod /tmp/mem c 1 1; cat /tmp/mem", "Operation not permitted"),
        ("mknod /tmp/vda b 254 0; head -c 1 /tmp/vda", "Operation not permitted"),
        ("readlink /dev/fd; readlink /dev/ptmx", "/proc/self/fd\npts/ptmx\n"),
        ("stat -c '%a %t:%T' /dev/null /dev/tty", "666 1:3\n666 5:0\n"),
        ("grep -E ' /dev/(shm|mqueue|pts) ' /proc/mounts | wc -l", "3\n"),
    ] {
        let Some(text) = output(&format!("({script}) 2>&1")) else { return };
        assert!(text.contains(expected), "{script}: {text}");
    }
}

#[test]
fn the_host_s_program_cannot_be_written() {
    // The classic: open the runtime's program through /proc, wait until it is no longer running, overwrite it.
    let Some(text) = output("for p in /proc/[0-9]*; do readlink $p/exe; done | grep -v busybox | wc -l")
    else {
        return;
    };
    assert_eq!(text, "0\n");
    let Some(sandbox) = Sandbox::new(&["/proc/self/exe"]) else { return };
    // The program itself may run there (it only prints that it cannot measure): it is on a read-only mount.
    drop(sandbox.run());
    assert!(std::fs::metadata(env!("CARGO_BIN_EXE_runtime-probe")).unwrap().len() > 0);
}

#[test]
fn what_cannot_be_done_is_refused() {
    let Some(mut sandbox) = Sandbox::shell("true") else { return };
    let mut linux = sandbox.bundle.spec.linux().clone().unwrap();
    linux.set_intel_rdt(Some(LinuxIntelRdt::default()));
    sandbox.bundle.spec.set_linux(Some(linux));
    let error = sandbox.start().unwrap_err();
    assert!(error.to_string().contains("`linux.intelRdt`"), "{error}");
}
