//! A seccomp profile in docker's JSON becomes the specification's: `includes` and `excludes` are decided here.
//!
//! Not here: docker's default profile, which the runtime has compiled. Invariant: pure.

use super::bug;
use berth_oci::{Error, Result};
use oci_spec::runtime as oci;
use serde::Deserialize;

/// A profile as docker writes it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: oci::LinuxSeccompAction,
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Vec<oci::Arch>,
    #[serde(default)]
    arch_map: Vec<Architecture>,
    #[serde(default)]
    flags: Vec<oci::LinuxSeccompFilterFlag>,
    #[serde(default)]
    syscalls: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Architecture {
    architecture: oci::Arch,
    #[serde(default)]
    sub_architectures: Vec<oci::Arch>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    name: Option<String>,
    #[serde(default)]
    names: Vec<String>,
    action: oci::LinuxSeccompAction,
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<oci::LinuxSeccompArg>>,
    #[serde(default)]
    includes: Condition,
    #[serde(default)]
    excludes: Condition,
}

/// For whom a rule is.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Condition {
    caps: Vec<String>,
    arches: Vec<String>,
    min_kernel: Option<String>,
}

/// Reads docker's JSON; `capabilities` (without `CAP_`) decide which rules count.
///
/// # Errors
/// The text is not a profile, or a rule asks for a kernel version, which this reader refuses to guess.
pub fn seccomp_profile(json: &str, capabilities: &[&str]) -> Result<oci::LinuxSeccomp> {
    let profile: Profile = serde_json::from_str(json)
        .map_err(|error| Error::invalid(format!("decoding seccomp profile failed: {error}")))?;
    if !profile.architectures.is_empty() && !profile.arch_map.is_empty() {
        return Err(Error::invalid(
            "'architectures' and 'archMap' were specified in the seccomp profile, use either",
        ));
    }
    let mut builder = oci::LinuxSeccompBuilder::default()
        .default_action(profile.default_action)
        .architectures(architectures(&profile)?)
        .flags(profile.flags.clone())
        .syscalls(rules(profile.syscalls, capabilities)?);
    if let Some(errno) = profile.default_errno_ret {
        builder = builder.default_errno_ret(errno);
    }
    builder.build().map_err(bug)
}

/// The machine's word in profiles: docker's `arches` are Go's names.
fn machine() -> Result<(&'static str, oci::Arch)> {
    match std::env::consts::ARCH {
        "x86_64" => Ok(("amd64", oci::Arch::ScmpArchX86_64)),
        "aarch64" => Ok(("arm64", oci::Arch::ScmpArchAarch64)),
        other => Err(Error::unsupported(format!("seccomp profiles are not supported on {other}"))),
    }
}

fn architectures(profile: &Profile) -> Result<Vec<oci::Arch>> {
    let own = machine()?.1;
    let mapped = profile.arch_map.iter().find(|map| map.architecture == own);
    Ok(match mapped {
        Some(map) => [own].into_iter().chain(map.sub_architectures.clone()).collect(),
        None => profile.architectures.clone(),
    })
}

fn rules(rules: Vec<Rule>, capabilities: &[&str]) -> Result<Vec<oci::LinuxSyscall>> {
    let mut counted = Vec::new();
    for rule in rules {
        if !rule.counts(capabilities)? {
            continue;
        }
        let names: Vec<String> = rule.name.into_iter().chain(rule.names).collect();
        let mut builder = oci::LinuxSyscallBuilder::default().names(names).action(rule.action);
        if let Some(errno) = rule.errno_ret {
            builder = builder.errno_ret(errno);
        }
        if let Some(args) = rule.args.filter(|args| !args.is_empty()) {
            builder = builder.args(args);
        }
        counted.push(builder.build().map_err(bug)?);
    }
    Ok(counted)
}

impl Rule {
    fn counts(&self, capabilities: &[&str]) -> Result<bool> {
        let has = |cap: &String| capabilities.contains(&cap.strip_prefix("CAP_").unwrap_or(cap));
        let arch = machine()?.0;
        let (wants, spares) = (&self.includes, &self.excludes);
        let wanted =
            (wants.arches.is_empty() || wants.arches.iter().any(|a| a == arch)) && wants.caps.iter().all(has);
        let spared = spares.arches.iter().any(|a| a == arch) || spares.caps.iter().any(has);
        // The oldest kernel that berth runs on is newer than any version a profile asks for (docker's says 4.8).
        let old = |version: &Option<String>| version.as_deref().is_none_or(is_before_5_10);
        if !old(&wants.min_kernel) || spares.min_kernel.is_some() {
            return Err(Error::unsupported("`minKernel` beyond 5.10 in a seccomp profile is not supported"));
        }
        Ok(wanted && !spared)
    }
}

fn is_before_5_10(version: &str) -> bool {
    let mut parts = version.split('.').map_while(|part| part.parse::<u32>().ok());
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) <= (5, 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: &str = r#"{
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]},
                    {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]}],
        "syscalls": [
            {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
            {"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_SYS_ADMIN"]},
             "args": [{"index": 0, "value": 2114060288, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]},
            {"names": ["sync_file_range2"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["ppc64le"]}},
            {"name": "clone3", "action": "SCMP_ACT_ERRNO", "errnoRet": 38, "excludes": {"caps": ["CAP_SYS_ADMIN"]}}
        ]}"#;

    #[test]
    fn rules_count_for_capabilities_and_machines() {
        for (capabilities, expected) in
            [(&["CHOWN"][..], "read write ptrace clone clone3"), (&["SYS_ADMIN"], "read write ptrace bpf")]
        {
            let seccomp = seccomp_profile(PROFILE, capabilities).unwrap();
            let names: Vec<_> =
                seccomp.syscalls().iter().flatten().flat_map(|rule| rule.names().clone()).collect();
            assert_eq!(names.join(" "), expected);
            assert!(seccomp.architectures().as_ref().unwrap().len() > 1);
        }
    }

    #[test]
    fn what_is_no_profile_says_so() {
        for (json, expected) in [
            ("", "decoding seccomp profile failed"),
            ("{}", "decoding seccomp profile failed"),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"archMap":[{"architecture":"SCMP_ARCH_X86"}]}"#,
                "'architectures' and 'archMap'",
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["x"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"6.99"}}]}"#,
                "`minKernel` beyond 5.10",
            ),
        ] {
            let error = seccomp_profile(json, &[]).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
