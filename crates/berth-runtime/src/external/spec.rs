//! The bundle's specification as another runtime needs it: with what our own looks up and decides itself.
//!
//! Invariant: pure; nothing in the result is of our own making but OCI's words.

use crate::bundle::{Bundle, Seccomp};
use crate::seccomp;
use crate::user::Identity;
use berth_oci::{Error, Result};
use oci_spec::runtime::{Process, Spec, UserBuilder};

/// For the container's first process, as this user, in this cgroup.
pub(super) fn adapted(bundle: &Bundle, identity: Option<&Identity>, cgroup: Option<&str>) -> Result<Spec> {
    let mut spec = bundle.spec.clone();
    // Older ones ask for this; newer words they know, or say that they do not.
    spec.set_version("1.0.2".to_owned());
    let process = spec.process().clone().ok_or_else(|| Error::invalid("no process"))?;
    let capabilities = process.capabilities().as_ref().and_then(|c| c.bounding().clone()).unwrap_or_default();
    spec.set_process(Some(adapted_process(process, identity)?));
    let mut linux = spec.linux().clone().unwrap_or_default();
    linux.set_cgroups_path(cgroup.map(Into::into));
    if bundle.seccomp == Seccomp::Default {
        linux.set_seccomp(Some(seccomp::default_spec(&capabilities)?));
    }
    spec.set_linux(Some(linux));
    Ok(spec)
}

/// For any process, as this user.
pub(super) fn adapted_process(mut process: Process, identity: Option<&Identity>) -> Result<Process> {
    let Some(identity) = identity else { return Ok(process) };
    let asked = process.user().additional_gids().clone().unwrap_or_default();
    let more = asked.into_iter().filter(|gid| !identity.groups.contains(gid));
    let groups: Vec<u32> = identity.groups.iter().copied().chain(more).collect();
    let user = UserBuilder::default().uid(identity.uid).gid(identity.gid).additional_gids(groups);
    process.set_user(user.build().map_err(|error| Error::internal(error.to_string()))?);
    let mut env = process.env().clone().unwrap_or_default();
    if !env.iter().any(|variable| variable.starts_with("HOME=")) {
        env.push(format!("HOME={}", identity.home.as_deref().unwrap_or("/")));
        process.set_env(Some(env));
    }
    Ok(process)
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::ProcessBuilder;

    #[test]
    fn a_process_gets_its_user_by_number() {
        let user = UserBuilder::default().uid(0u32).gid(0u32).additional_gids(vec![5, 7]).build().unwrap();
        let process = |env: &[&str]| {
            let env: Vec<String> = env.iter().map(|variable| (*variable).to_owned()).collect();
            ProcessBuilder::default().user(user.clone()).env(env).build().unwrap()
        };
        let identity = Identity { uid: 33, gid: 44, groups: vec![5], home: Some("/srv".into()) };
        let adapted = adapted_process(process(&["A=1"]), Some(&identity)).unwrap();
        assert_eq!((adapted.user().uid(), adapted.user().gid()), (33, 44));
        assert_eq!(adapted.user().additional_gids().as_deref(), Some(&[5, 7][..]));
        assert_eq!(adapted.env().as_deref().unwrap(), ["A=1", "HOME=/srv"]);
        let adapted = adapted_process(process(&["HOME=/x"]), Some(&identity)).unwrap();
        assert_eq!(adapted.env().as_deref().unwrap(), ["HOME=/x"]);
        let nobody = adapted_process(process(&[]), None).unwrap();
        assert_eq!(nobody.user().uid(), 0);
    }
}
