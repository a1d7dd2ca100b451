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
    /// What could not be planned as asked, for the user.
    pub(crate) warnings: Vec<String>,
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
        let wanted = layout.hierarchies.iter().filter(|h| is_wanted(layout, h, resources));
        let groups = wanted
            .map(|hierarchy| {
                Ok(GroupPlan {
                    hierarchy: hierarchy.clone(),
                    parent: parent.into(),
                    name: name.into(),
                    enable: v2::enable(hierarchy, resources),
                    writes: match hierarchy.version {
                        Version::V1 => v1::writes(hierarchy, resources)?,
                        Version::V2 => v2::writes(hierarchy, resources)?,
                    },
                    devices: device_program(layout, hierarchy, resources)?,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self { groups, warnings: unkept(layout, resources)? })
    }
}

/// v2 always; of v1 what limits or counts. Joining a hierarchy costs, so the others are left alone.
fn is_wanted(layout: &Layout, hierarchy: &Hierarchy, resources: &LinuxResources) -> bool {
    let has = |controllers: &[&str]| controllers.iter().any(|c| hierarchy.has(c));
    let demanded = || demands(resources).into_iter().any(|(name, wanted, _)| wanted && hierarchy.has(name));
    hierarchy.version == Version::V2
        || has(&["memory", "cpu", "cpuacct", "pids", "devices", "blkio"])
        || demanded()
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

/// A controller, whether it is asked for, and by which field.
type Demand = (&'static str, bool, &'static str);

/// The controllers that `resources` needs.
fn demands(resources: &LinuxResources) -> [Demand; 9] {
    let cpu = resources.cpu().as_ref();
    let network = resources.network().as_ref();
    let is_set = |list: Option<bool>| list == Some(true);
    [
        ("memory", resources.memory().is_some(), "memory"),
        ("cpu", cpu.is_some_and(|c| c.shares().or(c.period()).is_some() || c.quota().is_some()), "cpu"),
        ("cpuset", cpu.is_some_and(|c| c.cpus().is_some() || c.mems().is_some()), "cpu.cpus"),
        ("pids", resources.pids().is_some(), "pids"),
        ("blkio", resources.block_io().is_some(), "blockIO"),
        ("hugetlb", is_set(resources.hugepage_limits().as_ref().map(|h| !h.is_empty())), "hugepageLimits"),
        ("rdma", is_set(resources.rdma().as_ref().map(|r| !r.is_empty())), "rdma"),
        ("net_cls", network.is_some_and(|n| n.class_id().is_some_and(|id| id != 0)), "network.classID"),
        (
            "net_prio",
            is_set(network.and_then(|n| n.priorities().as_ref()).map(|p| !p.is_empty())),
            "network.priorities",
        ),
    ]
}

/// What v2 calls a controller of v1; those for the network it does not have.
fn name_in_v2(controller: &str) -> &str {
    if controller == "blkio" { "io" } else { controller }
}

/// Limits that nothing here can keep. Engines always ask for the usual ones, and a container that starts without one of
/// them beats one that does not start, as long as somebody is told; the others are asked for only by who needs them.
fn unkept(layout: &Layout, resources: &LinuxResources) -> Result<Vec<String>> {
    const USUAL: [&str; 5] = ["memory", "cpu", "cpuset", "pids", "blkio"];
    let is_here = |controller: &str| {
        layout.v1(controller).is_some() || layout.v2().is_some_and(|v2| v2.has(name_in_v2(controller)))
    };
    let missing = demands(resources).into_iter().filter(|(name, wanted, _)| *wanted && !is_here(name));
    missing
        .map(|(name, _, field)| {
            let lacks = match layout.hierarchies.is_empty() {
                true => format!("no cgroup has been given to this user: `linux.resources.{field}`"),
                false => format!("this machine has no cgroup controller `{name}`: `linux.resources.{field}`"),
            };
            match USUAL.contains(&name) {
                true => Ok(format!("{lacks} is not applied")),
                false => Err(Error::unsupported(format!("{lacks} cannot be applied"))),
            }
        })
        .collect()
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
    fn a_limit_that_nobody_keeps_is_told() {
        let layout = Layout { hierarchies: vec![hierarchy(Version::V2, "cpu,memory")] };
        let plan = CgroupPlan::new(&layout, "/b", "c", &resources()).unwrap();
        assert_eq!(
            plan.warnings,
            ["this machine has no cgroup controller `pids`: `linux.resources.pids` is not applied"]
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
