//! Interfaces of the host that a bundle gives to its container, as `linux.netDevices` says.
//!
//! Here: taking them over, with the addresses that they have. Not here: interfaces that we make. Invariant: one that was
//! given away comes back, or goes, with the container's namespace: that is the kernel's business.

use super::link::Links;
use super::{attach, network::Address};
use berth_oci::{Context, Error, Result};
use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;

/// Moves interfaces of the calling thread's namespace into another, each by its name here and the one it has there.
pub(crate) fn give(devices: &BTreeMap<&str, &str>, namespace: BorrowedFd<'_>) -> Result<()> {
    let open = || Links::open().context(|| "cannot speak to the kernel about interfaces");
    let mut links = open()?;
    for (name, inside) in devices {
        let link = links.find(name)?.ok_or_else(|| {
            Error::invalid(format!("there is no network interface `{name}`"))
                .hint("`linux.netDevices` names interfaces of the host")
        })?;
        let addresses: Vec<Address> = links.addresses_of(link.index)?;
        links.give(link.index, name, inside, namespace)?;
        attach::inside(namespace, || open()?.configure(inside, &addresses))?;
    }
    Ok(())
}
