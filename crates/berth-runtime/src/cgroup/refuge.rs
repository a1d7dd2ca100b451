//! Where a monitor is not taken for a part of the service that started its container.
//!
//! systemd ends a service by what is in the service's cgroup: whoever calls `berth run -d` there would take the
//! monitor, and the container with it, along when it stops. Nothing moves where there is nothing to flee from: to
//! enter a v2 cgroup from outside costs milliseconds. systemd.kill(5), `KillMode=`.

use super::{Hierarchy, Layout, Version};
use berth_oci::{AtPath, Result};
use std::fs;

/// Takes this process out of the cgroup of a systemd service, into one beside `parent`, where the containers are.
///
/// # Errors
/// The cgroup cannot be made or entered.
pub(crate) fn leave_service(layout: &Layout, parent: &str) -> Result<()> {
    let path = "/proc/self/cgroup";
    let own = fs::read_to_string(path).at(path)?;
    for hierarchy in layout.hierarchies.iter().filter(|h| is_of_service(&own, h)) {
        let refuge = hierarchy.mount.join(format!("{}-monitors", parent.trim_matches('/')));
        fs::create_dir_all(&refuge).at(&refuge)?;
        let processes = refuge.join("cgroup.procs");
        fs::write(&processes, "0").at(&processes)?;
    }
    Ok(())
}

/// Whether systemd looks for a service's processes in that hierarchy, and finds us there. `own` is
/// `/proc/self/cgroup`, cgroups(7).
fn is_of_service(own: &str, hierarchy: &Hierarchy) -> bool {
    let prefix = match hierarchy.version {
        Version::V2 => "0::/",
        Version::V1 if hierarchy.has("systemd") => "name=systemd:/",
        Version::V1 => return false,
    };
    own.lines()
        .filter_map(|line| Some(line.split_once(prefix)?.1))
        .any(|place| place.split('/').any(|part| part.ends_with(".service")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hierarchy(version: Version, name: &str) -> Hierarchy {
        Hierarchy { version, controllers: vec![name.into()], mount: "/sys/fs/cgroup".into() }
    }

    #[test]
    fn a_service_is_known_by_its_place() {
        let (v2, v1, memory) = (
            hierarchy(Version::V2, "pids"),
            hierarchy(Version::V1, "systemd"),
            hierarchy(Version::V1, "memory"),
        );
        for (own, hierarchy, expected) in [
            ("0::/system.slice/web.service\n", &v2, true),
            ("0::/user.slice/user-0.slice/user@0.service/app.slice/a.scope\n", &v2, true),
            ("0::/user.slice/user-0.slice/session-1.scope\n", &v2, false),
            ("0::/\n", &v2, false),
            ("4:memory:/a.service\n1:name=systemd:/system.slice/web.service\n0::/\n", &v1, true),
            ("4:memory:/a.service\n1:name=systemd:/system.slice/web.service\n0::/\n", &v2, false),
            ("4:memory:/a.service\n1:name=systemd:/\n0::/\n", &memory, false),
        ] {
            assert_eq!(is_of_service(own, hierarchy), expected, "{own}");
        }
    }
}
