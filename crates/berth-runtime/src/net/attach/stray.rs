//! What the kernel has under our names and nobody owns any more.
//!
//! Not here: taking it away, which [`super::restore`] does. Invariant: only what can be nobody else's is named:
//! interfaces that are called as ours are, in bridges of ours, and elements of our own table.

use berth_oci::Result;

use super::Locked;
use crate::net::ledger::{Lives, Record};
use crate::net::network::{Driver, Home};
use crate::net::nft::PUBLISHED;

/// Addresses, interfaces and published ports of containers that are no more, each as a sentence.
pub fn strays(home: &Home) -> Result<Vec<String>> {
    let mut locked = Locked::open(home)?;
    let mut found = locked.dead_records();
    for (interface, bridge) in locked.stray_interfaces()? {
        found.push(format!("interface `{interface}` of bridge `{bridge}`, which leads to no container"));
    }
    found.extend(locked.stray_elements()?);
    Ok(found)
}

/// The names that we give.
fn is_ours(interface: &str) -> bool {
    let digits = interface.strip_prefix("veth");
    digits.is_some_and(|digits| digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

impl Locked {
    fn dead_records(&self) -> Vec<String> {
        let dead = self.ledger.records().iter().filter(|record| !record.is_alive(&self.presence));
        let addresses = |record: &Record| {
            record.addresses().map(|address| address.to_string()).collect::<Vec<_>>().join(", ")
        };
        dead.map(|record| {
            let (name, network) = (&record.name, &record.network);
            format!(
                "address {} on network `{network}` of container `{name}`, which is not there",
                addresses(record)
            )
        })
        .collect()
    }

    /// Each with the bridge that it is plugged into.
    pub(super) fn stray_interfaces(&mut self) -> Result<Vec<(String, String)>> {
        let known: Vec<_> = self.ledger.records().iter().map(|record| &record.lives).cloned().collect();
        let bridges = self.ledger.networks().iter().filter(|network| network.driver == Driver::Bridge);
        let bridges: Vec<_> = bridges.map(|network| network.bridge.clone()).collect();
        let mut found = Vec::new();
        for bridge in bridges {
            let Some(link) = self.links.find(&bridge)? else { continue };
            let plugged = self.links.plugged_into(link.index)?;
            let strange = |name: &String| is_ours(name) && !known.contains(&Lives::Interface(name.clone()));
            found.extend(plugged.into_iter().filter(strange).map(|name| (name, bridge.clone())));
        }
        Ok(found)
    }

    /// Ports that lead to an address which nobody has.
    fn stray_elements(&mut self) -> Result<Vec<String>> {
        if !self.tables.has(&self.table)? {
            return Ok(Vec::new());
        }
        let alive = self.ledger.records().iter().filter(|record| record.is_alive(&self.presence));
        let expected: Vec<_> = alive.flat_map(Record::elements).collect();
        let mut found = Vec::new();
        for set in PUBLISHED {
            let keys = self.tables.keys(&self.table, set)?;
            let ours = expected.iter().filter(|element| element.set() == set).count();
            let strange =
                keys.iter().filter(|key| !expected.iter().any(|e| e.set() == set && e.key() == **key));
            let strange = strange.count();
            if strange > 0 {
                found.push(format!(
                    "{strange} elements of the map `{set}` in the nft table `{}` lead nowhere",
                    self.table
                ));
            } else if keys.len() < ours {
                found
                    .push(format!("the map `{set}` in the nft table `{}` lacks published ports", self.table));
            }
        }
        Ok(found)
    }
}
