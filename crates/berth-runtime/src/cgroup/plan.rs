//! What to make and write, hierarchy by hierarchy, as a value: [`CgroupPlan::new`] is pure.

use super::device::{self, Rule};
use super::{Hierarchy, Layout, Version, v1, v2};
use berth_oci::{Error, Result};
use oci_spec::runtime::LinuxResources;
use std::path::PathBuf;

/// All of a container's cgroups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CgroupPlan {
    pub(crate) groups: Vec<GroupPlan>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupPlan {
    pub(crate) hierarchy: Hierarchy,
    /// From the hierarchy's root: parent, then the container's own.
    pub(crate) parent: String,
    pub(crate) name: String,
    /// v2: controllers to enable on the way down.
    pub(crate) enable: Vec<String>,
    pub(crate) writes: Vec<Write>,
    /// v2: the device program; v1 has its rules among `writes`.
    pub(crate) devices: Option<Vec<Rule>>,
}

/// One value for one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Write {
    pub(crate) file: String,
    pub(crate) value: String,
    /// Some kernels lack the file: then the container runs without this limit and the user is told so.
    pub(crate) optional: bool,
}

impl Write {
    pub(crate) fn new(file: &str, value: impl ToString) -> Self {
        Self { file: file.into(), value: value.to_string(), optional: false }
    }

    pub(crate) fn optional(file: &str, value: impl ToString) -> Self {
        Self { optional: true, ..Self::new(file, value) }
    }
}

impl GroupPlan {
    pub(crate) fn path(&self) -> PathBuf {
        self.parent_path().join(&self.name)
    }

    pub(crate) fn parent_path(&self) -> PathBuf {
        self.hierarchy.mount.join(self.parent.trim_matches('/'))
    }
}

impl CgroupPlan {
    /// The cgroups of container `name` under `parent`, with the limits of `resources`.
    pub(crate) fn new(layout: &Layout, parent: &str, name: &str, resources: &LinuxResources) -> Result<Self> {
        refuse_unsupported(resources)?;
        let wanted = layout.hierarchies.iter().filter(|h| is_wanted(layout, h, resources));
        let groups = wanted
            .map(|hierarchy| {
                Ok(GroupPlan {
                    hierarchy: hierarchy.clone(),
                    parent: parent.into(),
                    name: name.into(),
                    enable: v2::enable(hierarchy),
                    writes: match hierarchy.version {
                        Version::V1 => v1::writes(hierarchy, resources)?,
                        Version::V2 => v2::writes(hierarchy, resources)?,
                    },
                    devices: device_program(layout, hierarchy, resources)?,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self { groups })
    }
}

/// v2 always; of v1 what limits or counts. Joining a hierarchy costs, so the others are left alone.
fn is_wanted(layout: &Layout, hierarchy: &Hierarchy, resources: &LinuxResources) -> bool {
    let has = |controllers: &[&str]| controllers.iter().any(|c| hierarchy.has(c));
    let cpuset = resources.cpu().as_ref().is_some_and(|cpu| cpu.cpus().is_some() || cpu.mems().is_some());
    hierarchy.version == Version::V2
        || has(&["memory", "cpu", "cpuacct", "pids", "devices", "blkio"])
        || (cpuset && has(&["cpuset"]))
        || (layout.v2().is_none() && has(&["freezer"]))
}

/// Device access is v1's where v1 has it, a program on v2 otherwise.
fn device_program(
    layout: &Layout,
    hierarchy: &Hierarchy,
    resources: &LinuxResources,
) -> Result<Option<Vec<Rule>>> {
    let ours = hierarchy.version == Version::V2 && layout.v1("devices").is_none();
    if ours { device::rules(resources.devices().as_deref().unwrap_or_default()).map(Some) } else { Ok(None) }
}

fn refuse_unsupported(resources: &LinuxResources) -> Result<()> {
    let cpu = resources.cpu().as_ref();
    let memory = resources.memory().as_ref();
    let refused = [
        ("linux.resources.rdma", resources.rdma().is_some()),
        ("linux.resources.network", resources.network().is_some()),
        (
            "linux.resources.hugepageLimits",
            resources.hugepage_limits().as_ref().is_some_and(|h| !h.is_empty()),
        ),
        ("linux.resources.cpu.realtimeRuntime", cpu.is_some_and(|c| c.realtime_runtime().unwrap_or(0) != 0)),
        ("linux.resources.cpu.realtimePeriod", cpu.is_some_and(|c| c.realtime_period().unwrap_or(0) != 0)),
        ("linux.resources.cpu.burst", cpu.is_some_and(|c| c.burst().unwrap_or(0) != 0)),
        ("linux.resources.cpu.idle", cpu.is_some_and(|c| c.idle().unwrap_or(0) != 0)),
        ("linux.resources.memory.kernel", memory.is_some_and(|m| m.kernel().unwrap_or(0) > 0)),
        ("linux.resources.memory.kernelTCP", memory.is_some_and(|m| m.kernel_tcp().unwrap_or(0) > 0)),
    ];
    match refused.iter().find(|(_, is_set)| *is_set) {
        Some((what, _)) => {
            Err(Error::unsupported(format!("`{what}` of the runtime specification is not supported")))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use oci_spec::runtime::{LinuxCpuBuilder, LinuxMemoryBuilder, LinuxPidsBuilder, LinuxResourcesBuilder};

    pub(crate) fn hierarchy(version: Version, names: &str) -> Hierarchy {
        let controllers = names.split(',').map(Into::into).collect();
        let mount = if version == Version::V2 && names.contains(',') {
            "/sys/fs/cgroup".into()
        } else {
            PathBuf::from("/sys/fs/cgroup").join(names)
        };
        Hierarchy { version, controllers, mount }
    }

    fn resources() -> LinuxResources {
        let memory = LinuxMemoryBuilder::default().limit(64 << 20).swap(128 << 20).build().unwrap();
        let cpu = LinuxCpuBuilder::default().quota(50_000).period(100_000u64).shares(512u64).build().unwrap();
        let pids = LinuxPidsBuilder::default().limit(100).build().unwrap();
        LinuxResourcesBuilder::default().memory(memory).cpu(cpu).pids(pids).build().unwrap()
    }

    fn lines(layout: &Layout) -> Vec<String> {
        let plan = CgroupPlan::new(layout, "/berth", "c1", &resources()).unwrap();
        let writes = |g: &GroupPlan| {
            let path = g.path();
            g.writes
                .iter()
                .filter(|w| !w.file.starts_with("devices."))
                .map(move |w| format!("{}={}", path.join(&w.file).display(), w.value))
                .collect::<Vec<_>>()
        };
        plan.groups.iter().flat_map(writes).collect()
    }

    #[test]
    fn limits_in_each_layout() {
        let hybrid = Layout {
            hierarchies: ["blkio", "cpu", "cpuset", "devices", "memory", "pids", "systemd"]
                .map(|n| hierarchy(Version::V1, n))
                .into_iter()
                .chain([hierarchy(Version::V2, "unified")])
                .collect(),
        };
        assert_eq!(
            lines(&hybrid),
            [
                "/sys/fs/cgroup/cpu/berth/c1/cpu.shares=512",
                "/sys/fs/cgroup/cpu/berth/c1/cpu.cfs_period_us=100000",
                "/sys/fs/cgroup/cpu/berth/c1/cpu.cfs_quota_us=50000",
                "/sys/fs/cgroup/memory/berth/c1/memory.limit_in_bytes=67108864",
                "/sys/fs/cgroup/memory/berth/c1/memory.memsw.limit_in_bytes=134217728",
                "/sys/fs/cgroup/pids/berth/c1/pids.max=100",
            ]
        );
        let v2 = Layout { hierarchies: vec![hierarchy(Version::V2, "cpu,io,memory,pids")] };
        assert_eq!(
            lines(&v2),
            [
                "/sys/fs/cgroup/berth/c1/memory.max=67108864",
                "/sys/fs/cgroup/berth/c1/memory.swap.max=67108864",
                "/sys/fs/cgroup/berth/c1/cpu.weight=59",
                "/sys/fs/cgroup/berth/c1/cpu.max=50000 100000",
                "/sys/fs/cgroup/berth/c1/pids.max=100",
            ]
        );
    }

    #[test]
    fn v2_has_its_device_program_only_without_v1_devices() {
        let v2 = hierarchy(Version::V2, "cpu,pids");
        let both = Layout { hierarchies: vec![hierarchy(Version::V1, "devices"), v2.clone()] };
        let alone = Layout { hierarchies: vec![v2] };
        let has_program = |layout: &Layout| {
            let plan = CgroupPlan::new(layout, "/b", "c", &LinuxResources::default()).unwrap();
            plan.groups.iter().any(|g| g.devices.is_some())
        };
        assert_eq!((has_program(&both), has_program(&alone)), (false, true));
    }
}
