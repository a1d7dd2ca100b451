//! Making, using and removing a container's cgroups.

use super::{CgroupPlan, Hierarchy, Layout, Version, device};
use crate::cgroup::plan::{GroupPlan, Write};
use berth_oci::{AtPath, Context, Error, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The cgroups of one container, by their directories; kept on disk too, for whoever clears up after a dead monitor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cgroup {
    v1: Vec<PathBuf>,
    v2: Option<PathBuf>,
}

/// What a new process needs to get into the cgroups without naming a path.
#[derive(Debug)]
pub(crate) struct Placement {
    v2: Option<File>,
    tasks: Vec<File>,
}

impl Placement {
    /// For `CLONE_INTO_CGROUP`.
    pub(crate) fn v2(&self) -> Option<BorrowedFd<'_>> {
        self.v2.as_ref().map(AsFd::as_fd)
    }

    /// Called by the new process about itself.
    ///
    /// "0" in `tasks` moves just the calling thread, for which the kernel needs none of its locks against forks; a
    /// number in `cgroup.procs` costs a full RCU grace period (2 to 8 ms) when nobody did it recently.
    pub(crate) fn join(self) -> Result<()> {
        for mut tasks in self.tasks {
            tasks.write_all(b"0").context(|| "cannot enter the container's cgroup")?;
        }
        Ok(())
    }
}

impl Cgroup {
    /// The directories of a plan, made or not.
    pub(crate) fn of(plan: &CgroupPlan) -> Self {
        let paths =
            |version| plan.groups.iter().filter(move |g| g.hierarchy.version == version).map(GroupPlan::path);
        Self { v1: paths(Version::V1).collect(), v2: paths(Version::V2).next() }
    }

    /// Makes them with their limits; answers what the kernel could not do.
    pub(crate) fn create(plan: &CgroupPlan) -> Result<(Self, Vec<String>)> {
        let mut warnings = plan.warnings.clone();
        for group in &plan.groups {
            make(group)?;
            apply(group, &mut warnings)?;
        }
        Ok((Self::of(plan), warnings))
    }

    /// These, and those of a plan.
    pub(crate) fn with(&self, plan: &CgroupPlan) -> Self {
        let Self { v1, v2 } = Self::of(plan);
        let mut all = self.clone();
        all.v1.extend(v1.into_iter().filter(|dir| !self.v1.contains(dir)));
        all.v2 = all.v2.or(v2);
        all
    }

    /// Makes those of the plan that are not there yet, and puts every process of these into them.
    pub(crate) fn extend(&mut self, plan: &CgroupPlan) -> Result<()> {
        let wanted = self.with(plan);
        let mut groups = plan.groups.iter().filter(|group| !group.path().exists()).peekable();
        if groups.peek().is_none() {
            return Ok(());
        }
        for group in groups {
            make(group)?;
            let path = group.path().join("cgroup.procs");
            // Whoever is born meanwhile is born beside its parent: until nobody is left outside.
            loop {
                let inside = Self { v1: vec![group.path()], v2: None }.processes()?;
                let outside: Vec<_> =
                    self.processes()?.into_iter().filter(|pid| inside.binary_search(pid).is_err()).collect();
                if outside.is_empty() {
                    break;
                }
                for pid in outside {
                    match fs::write(&path, pid.to_string()) {
                        // It has ended.
                        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                        written => written.at(&path)?,
                    }
                }
            }
        }
        *self = wanted;
        Ok(())
    }

    /// Writes other limits into cgroups that are in use; devices stay as they are.
    ///
    /// The kernel refuses a limit that contradicts another for a moment (memory above memory and swap), in whichever
    /// order they come: what is refused at first is tried again after the rest.
    pub(crate) fn change_limits(plan: &CgroupPlan) -> Result<()> {
        let mut refused = Vec::new();
        for group in &plan.groups {
            let limits = group.writes.iter().filter(|write| !write.file.starts_with("devices."));
            for write in limits {
                if set(&group.path(), write).is_err() {
                    refused.push((group, write));
                }
            }
        }
        for (group, write) in refused {
            match set(&group.path(), write) {
                Err(error) if write.optional && error.kind() == io::ErrorKind::NotFound => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(Error::unsupported(format!(
                        "`{}` cannot be changed while the container runs",
                        write.file
                    ))
                    .hint("it has been started without that limit: restart it"));
                }
                Err(error) => {
                    let path = group.path().join(&write.file);
                    return Err(error)
                        .context(|| format!("cannot set `{}` to `{}`", path.display(), write.value));
                }
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// Open handles for a process that is to be put into them.
    pub(crate) fn placement(&self) -> Result<Placement> {
        let tasks = self.v1.iter().map(|dir| dir.join("tasks"));
        let tasks =
            tasks.map(|path| File::options().write(true).open(&path).at(&path)).collect::<Result<_>>()?;
        let v2 = self.v2.as_ref().map(|dir| File::open(dir).at(dir)).transpose()?;
        Ok(Placement { v2, tasks })
    }

    /// How often the kernel killed something in them for want of memory.
    pub(crate) fn oom_kills(&self) -> u64 {
        let files = self.v2.iter().map(|d| d.join("memory.events"));
        let files = files.chain(self.v1.iter().map(|d| d.join("memory.oom_control")));
        files.filter_map(|path| counter(&path, "oom_kill")).max().unwrap_or(0)
    }

    /// All of them.
    pub(crate) fn dirs(&self) -> impl Iterator<Item = &PathBuf> {
        self.v1.iter().chain(&self.v2)
    }

    /// Where memory is counted, and whether in v1's way.
    pub(crate) fn memory(&self) -> Option<(&Path, Version)> {
        let v1 = self.v1.iter().find(|dir| dir.join("memory.oom_control").exists());
        let v2 = self.v2.iter().find(|dir| dir.join("memory.events").exists());
        v1.map(|dir| (dir.as_path(), Version::V1)).or(v2.map(|dir| (dir.as_path(), Version::V2)))
    }

    /// The most bytes that its processes had at once.
    pub(crate) fn memory_peak(&self) -> Option<u64> {
        self.memory_number("memory.max_usage_in_bytes", "memory.peak")
    }

    /// How many bytes they may have; none where that is not limited.
    pub(crate) fn memory_limit(&self) -> Option<u64> {
        // v1's word for "as much as there is" is the largest multiple of a page.
        self.memory_number("memory.limit_in_bytes", "memory.max").filter(|limit| *limit < i64::MAX as u64 / 2)
    }

    fn memory_number(&self, v1: &str, v2: &str) -> Option<u64> {
        let (dir, version) = self.memory()?;
        number(&dir.join(if version == Version::V1 { v1 } else { v2 }))
    }

    /// The most processes that were in it at once, where the kernel counts that.
    pub(crate) fn most_processes(&self) -> Option<u64> {
        self.v1.iter().chain(&self.v2).find_map(|dir| number(&dir.join("pids.peak")))
    }

    /// Stops (or lets go on) every process, and waits until that is so.
    pub(crate) fn freeze(&self, frozen: bool) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        if let Some(dir) = &self.v2 {
            let path = dir.join("cgroup.freeze");
            fs::write(&path, if frozen { "1" } else { "0" }).at(&path)?;
            return wait_for_event(dir, "frozen", frozen.into(), deadline);
        }
        let freezer = self.v1.iter().find(|d| d.join("freezer.state").exists());
        let path = freezer
            .ok_or_else(|| match self.dirs().next() {
                None => not_given("processes cannot be paused"),
                Some(_) => Error::unsupported("this machine has no cgroup that can pause a container"),
            })?
            .join("freezer.state");
        fs::write(&path, if frozen { "FROZEN" } else { "THAWED" }).at(&path)
    }

    /// Whether its processes are stopped where they are.
    pub(crate) fn is_frozen(&self) -> bool {
        if let Some(dir) = &self.v2 {
            return counter(&dir.join("cgroup.events"), "frozen") == Some(1);
        }
        let states = self.v1.iter().filter_map(|dir| fs::read_to_string(dir.join("freezer.state")).ok());
        states.into_iter().any(|state| state.trim() == "FROZEN")
    }

    /// The numbers of all processes in them and below them.
    pub(crate) fn processes(&self) -> Result<Vec<i32>> {
        let mut pids = Vec::new();
        for dir in self.v2.iter().chain(&self.v1) {
            collect_processes(dir, &mut pids).at(dir)?;
            if !pids.is_empty() {
                break;
            }
        }
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }

    /// Sends a signal to every process in them; answers to how many.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) -> Result<usize> {
        let pids = self.processes()?;
        for pid in pids.iter().filter_map(|pid| rustix::process::Pid::from_raw(*pid)) {
            match rustix::process::kill_process(pid, signal) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => return Err(io::Error::from(error)).context(|| "cannot send the signal"),
            }
        }
        Ok(pids.len())
    }

    /// Kills every process in them.
    pub(crate) fn kill(&self) -> Result<()> {
        if let Some(dir) = &self.v2 {
            let path = dir.join("cgroup.kill");
            match fs::write(&path, "1") {
                Ok(()) => return Ok(()),
                // Gone, or a kernel before 5.14.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).at(&path),
            }
        }
        self.v1.iter().chain(&self.v2).try_for_each(|dir| kill_each(dir))
    }

    /// Whether every process has left; waits for it at most this long.
    fn wait_until_empty(&self, deadline: Instant) -> Result<()> {
        match &self.v2 {
            Some(dir) if dir.exists() => wait_for_event(dir, "populated", 0, deadline),
            _ => Ok(()),
        }
    }

    /// Removes them and whatever the container made below them.
    pub(crate) fn remove(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(5);
        self.v1.iter().chain(&self.v2).try_for_each(|dir| self.remove_one(dir, deadline))
    }

    fn remove_one(&self, dir: &Path, deadline: Instant) -> Result<()> {
        loop {
            match remove_tree(dir) {
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline => {
                    self.wait_until_empty(deadline)?;
                    // The event is there, the last task of a v1 cgroup is a scheduler tick from gone.
                    std::thread::yield_now();
                }
                result => return result.at(dir),
            }
        }
    }
}

/// Removes the cgroups that held the containers of one berth; quiet when there are none, or still containers in it.
pub fn remove_parent(parent: &str) -> Result<()> {
    for hierarchy in Layout::detect()?.hierarchies {
        let path = hierarchy.mount.join(parent.trim_matches('/'));
        match fs::remove_dir(&path) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => result.at(&path)?,
        }
    }
    Ok(())
}

/// The names of the cgroups directly below `parent`, in whichever hierarchy.
pub fn groups_below(parent: &str) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for hierarchy in Layout::detect()?.hierarchies {
        let path = hierarchy.mount.join(parent.trim_matches('/'));
        let entries = match fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries.at(&path)?,
        };
        for entry in entries {
            let entry = entry.at(&path)?;
            if entry.file_type().at(entry.path())?.is_dir() {
                names.extend(entry.file_name().into_string().ok());
            }
        }
    }
    Ok(names)
}

/// Ends what still runs in the cgroups of this name below `parent`, and removes them.
pub fn remove_group(parent: &str, name: &str) -> Result<()> {
    let path = |hierarchy: &Hierarchy| hierarchy.mount.join(parent.trim_matches('/')).join(name);
    let layout = Layout::detect()?;
    let v1 = layout.hierarchies.iter().filter(|h| h.version == Version::V1).map(path).collect();
    let cgroup = Cgroup { v1, v2: layout.v2().map(path) };
    cgroup.kill().and(cgroup.remove())
}

/// What an ordinary user lacks who has no cgroup to make others in.
pub(crate) fn not_given(therefore: &str) -> Error {
    Error::unsupported(format!("no cgroup has been given to this user: {therefore}")).hint(
        "with cgroup v2, berth asks the user's systemd for one: it runs while he is logged in, or always after `loginctl enable-linger`; or run berth as root",
    )
}

/// The parent may be removed by another berth between our two steps: try again then.
fn make(group: &GroupPlan) -> Result<()> {
    let (parent, path) = (group.parent_path(), group.path());
    for _ in 0..16 {
        fs::create_dir_all(&parent).at(&parent)?;
        enable_controllers(group)?;
        inherit_cpuset(group, &parent)?;
        match fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            result => {
                result.at(&path)?;
                return inherit_cpuset(group, &path);
            }
        }
    }
    Err(Error::conflict(format!("`{}` is removed again and again while it is being made", parent.display())))
}

/// v2: a controller works in a cgroup when every cgroup above it passes it on.
fn enable_controllers(group: &GroupPlan) -> Result<()> {
    if group.enable.is_empty() {
        return Ok(());
    }
    let wanted: String = group.enable.iter().map(|c| format!("+{c} ")).collect();
    let parent = group.parent_path();
    let mut above: Vec<_> =
        parent.ancestors().take_while(|p| p.starts_with(&group.hierarchy.mount)).collect();
    above.reverse();
    for dir in above {
        let path = dir.join("cgroup.subtree_control");
        match fs::write(&path, &wanted) {
            // Above what has been given to us: whoever gave it has seen to that.
            Err(error)
                if error.kind() == io::ErrorKind::PermissionDenied && !berth_sys::users::is_initial()? => {}
            written => written.at(&path)?,
        }
    }
    Ok(())
}

/// v1's cpuset starts empty, and nothing can enter a cgroup without processors.
fn inherit_cpuset(group: &GroupPlan, dir: &Path) -> Result<()> {
    if group.hierarchy.version == Version::V2
        || !group.hierarchy.has("cpuset")
        || dir == group.hierarchy.mount
    {
        return Ok(());
    }
    let above = dir.parent().expect("a cgroup below its mount has a parent");
    if above != group.hierarchy.mount {
        inherit_cpuset(group, above)?;
    }
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let (from, to) = (above.join(file), dir.join(file));
        if fs::read_to_string(&to).at(&to)?.trim().is_empty() {
            fs::write(&to, fs::read(&from).at(&from)?).at(&to)?;
        }
    }
    Ok(())
}

fn apply(group: &GroupPlan, warnings: &mut Vec<String>) -> Result<()> {
    let dir = group.path();
    for write in &group.writes {
        let path = dir.join(&write.file);
        match set(&dir, write) {
            Ok(()) => {}
            Err(error) if write.optional && error.kind() == io::ErrorKind::NotFound => {
                warnings.push(format!("this kernel has no `{}`: that limit is not applied", write.file));
            }
            Err(error) => {
                return Err(error)
                    .context(|| format!("cannot set `{}` to `{}`", path.display(), write.value));
            }
        }
    }
    // In a user namespace nobody makes devices, and only the machine's root may load such a program.
    if let Some(rules) =
        group.devices.as_ref().filter(|_| berth_sys::users::is_initial().is_ok_and(|own| own))
    {
        attach_devices(&dir, &device::program(rules))?;
    }
    Ok(())
}

fn set(dir: &Path, write: &Write) -> io::Result<()> {
    let file = File::options().write(true).open(dir.join(&write.file))?;
    file.write_all_at(write.value.as_bytes(), 0)
}

fn attach_devices(dir: &Path, program: &[berth_sys::bpf::Instruction]) -> Result<()> {
    let cgroup = File::open(dir).at(dir)?;
    berth_sys::bpf::load_device_program(program)
        .and_then(|program| berth_sys::bpf::attach_device_program(cgroup.as_fd(), program.as_fd()))
        .context(|| "cannot limit the container's devices")
}

pub(super) fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn counter(path: &Path, name: &str) -> Option<u64> {
    value_of(&fs::read_to_string(path).ok()?, name)
}

fn value_of(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Waits until `cgroup.events` says so; the kernel wakes us at each change.
fn wait_for_event(dir: &Path, name: &str, expected: u64, deadline: Instant) -> Result<()> {
    let path = dir.join("cgroup.events");
    let file = File::open(&path).at(&path)?;
    loop {
        let mut bytes = [0; 256];
        let length = file.read_at(&mut bytes, 0).at(&path)?;
        let text = String::from_utf8_lossy(&bytes[..length]);
        if value_of(&text, name) == Some(expected) {
            return Ok(());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::unavailable(format!(
                "`{}` did not reach `{name} {expected}` in time",
                path.display()
            )));
        }
        let timeout = Timespec::try_from(left).expect("a few seconds fit");
        let mut polled = [PollFd::new(&file, PollFlags::PRI)];
        match poll(&mut polled, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(io::Error::from(error)).at(&path),
        }
    }
}

/// Lets a process go on that somebody has put into a frozen cgroup of v1, where a signal would wait for ever.
pub(crate) fn thaw(pid: i32) -> Result<()> {
    let Some(freezer) = Layout::detect()?.v1("freezer").cloned() else { return Ok(()) };
    // It may have ended by now.
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let place = text.lines().find_map(|line| line.split_once(":freezer:").map(|(_, place)| place));
    let Some(place) = place.map(|place| place.trim_matches('/')).filter(|place| !place.is_empty()) else {
        return Ok(());
    };
    let path = freezer.mount.join(place).join("freezer.state");
    match fs::read_to_string(&path) {
        Ok(state) if state.trim() != "THAWED" => fs::write(&path, "THAWED").at(&path),
        _ => Ok(()),
    }
}

fn kill_each(dir: &Path) -> Result<()> {
    let Ok(text) = fs::read_to_string(dir.join("cgroup.procs")) else { return Ok(()) };
    for pid in text.lines().filter_map(|line| rustix::process::Pid::from_raw(line.parse().ok()?)) {
        match rustix::process::kill_process(pid, rustix::process::Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => {
                return Err(io::Error::from(error)).context(|| "cannot kill the container's processes");
            }
        }
    }
    Ok(())
}

fn collect_processes(dir: &Path, into: &mut Vec<i32>) -> io::Result<()> {
    let text = match fs::read_to_string(dir.join("cgroup.procs")) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => return Ok(()),
        result => result?,
    };
    into.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect_processes(&entry.path(), into)?;
        }
    }
    Ok(())
}

/// Deepest first; files in there are the kernel's.
fn remove_tree(dir: &Path) -> io::Result<()> {
    match fs::remove_dir(dir) {
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        result => return result,
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::{LinuxPidsBuilder, LinuxResourcesBuilder};

    #[test]
    fn a_counter_is_found_by_its_whole_name() {
        let text = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        assert_eq!(value_of(text, "oom_kill"), Some(3));
        assert_eq!(value_of(text, "oom"), None);
    }

    #[test]
    fn cgroups_come_with_their_limits_and_go_with_what_is_below() {
        let layout = Layout::detect().unwrap();
        let parent = format!("/berth-test-group-{}", std::process::id());
        let pids = LinuxPidsBuilder::default().limit(17).build().unwrap();
        let resources = LinuxResourcesBuilder::default().pids(pids).build().unwrap();
        let plan = CgroupPlan::new(&layout, &parent, "c", &resources).unwrap();
        let (cgroup, _) = Cgroup::create(&plan).unwrap();
        let all: Vec<_> = cgroup.v1.iter().chain(&cgroup.v2).cloned().collect();
        let limits: Vec<_> = all.iter().filter_map(|d| fs::read_to_string(d.join("pids.max")).ok()).collect();
        fs::create_dir(all[0].join("below")).unwrap();
        assert_eq!(groups_below(&parent).unwrap(), BTreeSet::from(["c".to_owned()]));
        cgroup.remove().unwrap();
        assert_eq!(groups_below(&parent).unwrap(), BTreeSet::new());
        // One that nobody remembers, with a process in it.
        let (forgotten, _) = Cgroup::create(&plan).unwrap();
        let mut inside = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        for dir in forgotten.dirs() {
            fs::write(dir.join("cgroup.procs"), inside.id().to_string()).unwrap();
        }
        remove_group(&parent, "c").unwrap();
        assert!(!inside.wait().unwrap().success());
        remove_parent(&parent).unwrap();
        assert_eq!(limits, ["17\n"]);
        assert!(all.iter().all(|d| !d.exists() && !d.parent().unwrap().exists()), "{all:?}");
    }

    #[test]
    fn the_kernel_accepts_the_device_program() {
        let layout = Layout::detect().unwrap();
        let Some(v2) = layout.v2() else { return };
        let dir = v2.mount.join(format!("berth-test-device-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let result = attach_devices(&dir, &device::program(&device::rules(&[]).unwrap()));
        fs::remove_dir(&dir).unwrap();
        result.unwrap();
    }
}
