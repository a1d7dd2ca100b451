//! Other people's firewalls, which may drop what we let through.
//!
//! Here: two rules per bridge in docker's chain for administrators, where there is one; otherwise a note about
//! whoever drops forwarded packets. Not here: any other change to tables that are not ours. Invariant: every
//! rule of ours in there carries a comment that names our bridge, and goes with the bridge.

use berth_oci::{Kind, Result};

use super::nft::{ForeignChain, INET, IPV4, Match, Rule, Tables, Transaction, Verdict};

const TABLE: &str = "filter";
const CHAIN: &str = "DOCKER-USER";
/// The kernel's number of the place where forwarded packets are judged.
const FORWARD: u32 = 2;

/// Sees to it that packets of `bridge` pass; returns what a person should know.
pub(super) fn admit(tables: &mut Tables, bridge: &str) -> Result<Option<String>> {
    if !tables.has_chain(IPV4, TABLE, CHAIN)? {
        return dropper(tables).map(|found| found.map(|chain| note(&chain, bridge)));
    }
    let comment = comment(bridge);
    if !tables.commented(IPV4, TABLE, CHAIN, &comment)?.is_empty() {
        return Ok(None);
    }
    let both = [Match::From(bridge.into()), Match::To(bridge.into())];
    let transaction = both.into_iter().fold(Transaction::default(), |transaction, side| {
        transaction.insert(IPV4, TABLE, CHAIN, &Rule { when: vec![side], then: Verdict::Accept }, &comment)
    });
    match tables.commit(&transaction) {
        // Docker took its chain away between our question and our rule.
        Err(error) if error.kind() == Kind::NotFound => Ok(None),
        other => other.map(|()| None),
    }
}

/// Takes our rules for `bridge` out again.
pub(super) fn dismiss(tables: &mut Tables, bridge: &str) -> Result<()> {
    let handles = tables.commented(IPV4, TABLE, CHAIN, &comment(bridge))?;
    let transaction = handles
        .into_iter()
        .fold(Transaction::default(), |transaction, handle| transaction.delete(IPV4, TABLE, CHAIN, handle));
    match tables.commit(&transaction) {
        Err(error) if error.kind() == Kind::NotFound => Ok(()),
        other => other,
    }
}

fn comment(bridge: &str) -> String {
    format!("berth {bridge}")
}

fn dropper(tables: &mut Tables) -> Result<Option<ForeignChain>> {
    let chains = tables.chains(IPV4)?.into_iter().chain(tables.chains(INET)?);
    Ok(chains.into_iter().find(|chain| chain.hook == Some(FORWARD) && chain.drops))
}

fn note(chain: &ForeignChain, bridge: &str) -> String {
    let ForeignChain { table, name, .. } = chain;
    format!(
        "the firewall of this host drops forwarded packets (policy of chain {name} in table {table}), containers may \
         not reach the outside: `iptables -I FORWARD -i {bridge} -j ACCEPT` and `iptables -I FORWARD -o {bridge} -j \
         ACCEPT` let them"
    )
}
