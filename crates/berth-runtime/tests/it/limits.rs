//! Memory, processes, limits of a process.

use crate::sandbox::Sandbox;
use oci_spec::runtime::{
    LinuxMemoryBuilder, LinuxPidsBuilder, LinuxResources, LinuxResourcesBuilder, PosixRlimitBuilder,
    PosixRlimitType,
};

fn limited(script: &str, resources: LinuxResources) -> Option<Sandbox> {
    let mut sandbox = Sandbox::shell(script)?;
    let mut linux = sandbox.bundle.spec.linux().clone().unwrap();
    linux.set_resources(Some(resources));
    sandbox.bundle.spec.set_linux(Some(linux));
    Some(sandbox)
}

#[test]
fn memory_that_runs_out_is_137_and_said_to_be_so() {
    let memory = LinuxMemoryBuilder::default().limit(16 << 20).swap(16 << 20).build().unwrap();
    let resources = LinuxResourcesBuilder::default().memory(memory).build().unwrap();
    let Some(sandbox) = limited("exec tail /dev/zero", resources) else { return };
    let outcome = sandbox.run().unwrap();
    assert_eq!((outcome.exit.code, outcome.exit.oom_killed), (137, true));
    assert!(sandbox.state().oom_killed);
}

#[test]
fn processes_are_limited() {
    let pids = LinuxPidsBuilder::default().limit(8).build().unwrap();
    let resources = LinuxResourcesBuilder::default().pids(pids).build().unwrap();
    let script = "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 100 & done 2>&1";
    let Some(sandbox) = limited(script, resources) else { return };
    let outcome = sandbox.run().unwrap();
    assert!((outcome.stdout + &outcome.stderr).contains("can't fork"));
}

#[test]
fn limits_are_set_or_lowered_with_a_warning() {
    let Some(mut sandbox) = Sandbox::shell("ulimit -n; ulimit -Hn") else { return };
    let limit =
        |typ, soft, hard| PosixRlimitBuilder::default().typ(typ).soft(soft).hard(hard).build().unwrap();
    let mut process = sandbox.bundle.spec.process().clone().unwrap();
    let limits = vec![
        limit(PosixRlimitType::RlimitNofile, 64u64, 128u64),
        limit(PosixRlimitType::RlimitCore, u64::MAX, u64::MAX),
        limit(PosixRlimitType::RlimitNproc, 1u64 << 40, 1u64 << 40),
    ];
    process.set_rlimits(Some(limits));
    process.set_oom_score_adj(Some(-500));
    sandbox.bundle.spec.set_process(Some(process));
    let mut connection = berth_runtime::create(&sandbox.bundle).unwrap();
    connection.attach(berth_runtime::Streams { stdin: false, stdout: true, stderr: true }).unwrap();
    let started = connection.start().unwrap();
    assert_eq!(crate::sandbox::outcome(&mut connection).stdout, "64\n128\n");
    let may_raise = rustix::thread::capabilities(None).unwrap().effective;
    if !may_raise.contains(rustix::thread::CapabilitySet::SYS_RESOURCE) {
        let words = started.warnings.join("\n");
        assert!(words.contains("`nproc`") && words.contains("oom_score_adj"), "{words}");
    }
}
