//! Other people's firewalls, which may drop what we let through.
//!
//! Here: two rules per bridge in docker's chain for administrators, where there is one; otherwise a note about
//! whoever drops forwarded packets. Not here: any other change to tables that are not ours. Invariant: every
//! rule of ours in there carries a comment that names our bridge, and goes with the bridge.

use berth_oci::{Kind, Result};

use super::nft::{ForeignChain, INET, IPV4, IPV6, Match, Rule, Tables, Transaction, Verdict};

const TABLE: &str = "filter";
const CHAIN: &str = "DOCKER-USER";
/// The kernel's number of the place where forwarded packets are judged.
const FORWARD: u32 = 2;

/// Sees to it that packets of `bridge` pass, IPv6's too where it has them; returns what a person should know.
pub(super) fn admit(tables: &mut Tables, bridge: &str, ipv6: bool) -> Result<Option<String>> {
    let found = admit_family(tables, bridge, IPV4)?;
    match ipv6 {
        true => Ok(admit_family(tables, bridge, IPV6)?.or(found)),
        false => Ok(found),
    }
}

fn admit_family(tables: &mut Tables, bridge: &str, family: u8) -> Result<Option<String>> {
    if !tables.has_chain(family, TABLE, CHAIN)? {
        return dropper(tables, family).map(|found| found.map(|chain| note(&chain, bridge, family)));
    }
    let comment = comment(bridge);
    if !tables.commented(family, TABLE, CHAIN, &comment)?.is_empty() {
        return Ok(None);
    }
    let both = [Match::From(bridge.into()), Match::To(bridge.into())];
    let transaction = both.into_iter().fold(Transaction::default(), |transaction, side| {
        transaction.insert(family, TABLE, CHAIN, &Rule { when: vec![side], then: Verdict::Accept }, &comment)
    });
    match tables.commit(&transaction) {
        // Docker took its chain away between our question and our rule.
        Err(error) if error.kind() == Kind::NotFound => Ok(None),
        other => other.map(|()| None),
    }
}

/// Takes our rules for `bridge` out again.
pub(super) fn dismiss(tables: &mut Tables, bridge: &str) -> Result<()> {
    for family in [IPV4, IPV6] {
        let handles = tables.commented(family, TABLE, CHAIN, &comment(bridge))?;
        let transaction = handles.into_iter().fold(Transaction::default(), |transaction, handle| {
            transaction.delete(family, TABLE, CHAIN, handle)
        });
        match tables.commit(&transaction) {
            Err(error) if error.kind() != Kind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn comment(bridge: &str) -> String {
    format!("berth {bridge}")
}

fn dropper(tables: &mut Tables, family: u8) -> Result<Option<ForeignChain>> {
    let chains = tables.chains(family)?.into_iter().chain(tables.chains(INET)?);
    Ok(chains.into_iter().find(|chain| chain.hook == Some(FORWARD) && chain.drops))
}

fn note(chain: &ForeignChain, bridge: &str, family: u8) -> String {
    let ForeignChain { table, name, .. } = chain;
    let iptables = if family == IPV6 { "ip6tables" } else { "iptables" };
    format!(
        "the firewall of this host drops forwarded packets (policy of chain {name} in table {table}), containers may \
         not reach the outside: `{iptables} -I FORWARD -i {bridge} -j ACCEPT` and `{iptables} -I FORWARD -o {bridge} -j \
         ACCEPT` let them"
    )
}
