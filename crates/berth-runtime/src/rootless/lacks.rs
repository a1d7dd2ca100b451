//! Why a machine does not let an ordinary user have namespaces, and who can change that.
//!
//! Invariant: the kernel's answer is explained by the switches that are there to be read, never guessed.

use berth_oci::Error;
use std::fs;
use std::io;

/// Switches that forbid it: where they stand, the value that forbids, what to say.
const SWITCHES: [(&str, &str, &str); 3] = [
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "as root: `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`, or give berth an AppArmor profile with `userns,`",
    ),
    (
        "/proc/sys/kernel/unprivileged_userns_clone",
        "0",
        "as root: `sysctl -w kernel.unprivileged_userns_clone=1`",
    ),
    ("/proc/sys/user/max_user_namespaces", "0", "as root: `sysctl -w user.max_user_namespaces=15000`"),
];

/// What the kernel's refusal to make or use a user namespace means.
pub(super) fn namespaces(error: &io::Error) -> Error {
    let hint = SWITCHES.iter().find(|(path, forbids, _)| is(path, forbids)).map(|(_, _, hint)| *hint);
    explained(error, hint)
}

fn is(path: &str, value: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|text| text.trim() == value)
}

fn explained(error: &io::Error, hint: Option<&str>) -> Error {
    let (why, usual) = match error.raw_os_error() {
        Some(libc::ENOSPC | libc::EUSERS) => (
            "there are as many as may be".to_owned(),
            "or they lie too deep in one another: `sysctl user.max_user_namespaces`",
        ),
        Some(libc::ENOSYS | libc::EINVAL) => (
            "the kernel does not know them".to_owned(),
            "it has to be built with CONFIG_USER_NS and CONFIG_NET_NS",
        ),
        _ => (
            Error::from(io::Error::from(error.kind())).to_string(),
            "a sandbox, a container or a security module around this process may forbid it; root can run berth without",
        ),
    };
    Error::unsupported(format!("this machine does not let its users have namespaces of their own: {why}"))
        .hint(hint.unwrap_or(usual))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_can_be_done() {
        for (number, hint, expected) in [
            (libc::EPERM, Some("turn it"), "turn it"),
            (libc::EPERM, None, "security module"),
            (libc::ENOSPC, None, "max_user_namespaces"),
            (libc::EINVAL, None, "CONFIG_USER_NS"),
        ] {
            let error = explained(&io::Error::from_raw_os_error(number), hint);
            assert!(error.hint_text().is_some_and(|text| text.contains(expected)), "{error:?}");
        }
    }
}
