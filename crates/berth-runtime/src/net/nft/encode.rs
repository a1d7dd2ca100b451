//! A rule as the kernel's expressions: load into a register, compare, decide.
//!
//! Here: the numbers of linux/netfilter/nf_tables.h and the expressions built of them. Not here: messages for
//! sets, chains and tables. Invariant: the bytes of a rule are those `nft` makes of its text (a test that has
//! `nft` at hand compares them by listing both).

use std::net::Ipv6Addr;

use berth_sys::netlink::Message;

use super::element::interface;
use super::rule::{Match, Rule, Verdict};

const LIST_ELEMENT: u16 = 1;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
pub(super) const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;

/// Register 1 is 16 bytes wide; registers 8, 9, 10 … are its first, second, third … four bytes.
const REGISTER: u32 = 1;
const SECOND_REGISTER: u32 = 2;
const WORD: u32 = 8;

const META_INPUT: u32 = 6;
const META_OUTPUT: u32 = 7;
const META_FAMILY: u32 = 15;
const META_PROTOCOL: u32 = 16;
const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;
const SOURCE: u32 = 12;
const DESTINATION: u32 = 16;
const SOURCE6: u32 = 8;
const DESTINATION6: u32 = 24;
const IPV4: u8 = 2;
const IPV6: u8 = 10;
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;

/// Appends `rule`'s expressions, each as an element of the list that `message` is filling.
pub(super) fn expressions(mut message: Message, rule: &Rule) -> Message {
    let mut known = None;
    for condition in &rule.when {
        if let Some(family) = family(condition)
            && known.is_none()
        {
            message = only(message, family);
            known = Some(family);
        }
        message = self::condition(message, condition);
    }
    verdict(message, rule.then)
}

/// A table of the family `inet` sees both, and each has its addresses in other bytes.
fn only(message: Message, family: u8) -> Message {
    compare(meta(message, META_FAMILY, REGISTER), EQUAL, &[family])
}

/// The family whose addresses a condition looks at.
fn family(condition: &Match) -> Option<u8> {
    use Match::{
        FromLoopback, FromSubnet, FromSubnet6, ToAddress, ToLoopback, ToLoopback6, ToSubnet, ToSubnet6,
    };
    match condition {
        FromLoopback | FromSubnet | ToLoopback | ToSubnet | ToAddress(_) => Some(IPV4),
        FromSubnet6 | ToSubnet6 | ToLoopback6 => Some(IPV6),
        _ => None,
    }
}

fn condition(message: Message, condition: &Match) -> Message {
    match condition {
        Match::FromBridge => lookup(meta(message, META_INPUT, REGISTER), "bridges", false),
        Match::ToBridge => lookup(meta(message, META_OUTPUT, REGISTER), "bridges", false),
        Match::ToOthers => lookup(meta(message, META_OUTPUT, REGISTER), "bridges", true),
        Match::FromInternal => lookup(meta(message, META_INPUT, REGISTER), "internal", false),
        Match::ToInternal => lookup(meta(message, META_OUTPUT, REGISTER), "internal", false),
        Match::SameBridge => {
            let both = meta(meta(message, META_INPUT, REGISTER), META_OUTPUT, SECOND_REGISTER);
            lookup(both, "links", false)
        }
        Match::From(name) => compare(meta(message, META_INPUT, REGISTER), EQUAL, &interface(name)),
        Match::To(name) => compare(meta(message, META_OUTPUT, REGISTER), EQUAL, &interface(name)),
        Match::FromSubnet => lookup(payload(message, REGISTER, NETWORK, SOURCE, 4), "subnets", false),
        Match::ToSubnet => lookup(payload(message, REGISTER, NETWORK, DESTINATION, 4), "subnets", false),
        Match::FromLoopback => compare(payload(message, REGISTER, NETWORK, SOURCE, 1), EQUAL, &[127]),
        Match::ToLoopback => compare(payload(message, REGISTER, NETWORK, DESTINATION, 1), EQUAL, &[127]),
        Match::FromSubnet6 => lookup(payload(message, REGISTER, NETWORK, SOURCE6, 16), "subnets6", false),
        Match::ToSubnet6 => lookup(payload(message, REGISTER, NETWORK, DESTINATION6, 16), "subnets6", false),
        Match::ToLoopback6 => {
            let loopback = Ipv6Addr::LOCALHOST.octets();
            compare(payload(message, REGISTER, NETWORK, DESTINATION6, 16), EQUAL, &loopback)
        }
        Match::ToAddress(address) => {
            compare(payload(message, REGISTER, NETWORK, DESTINATION, 4), EQUAL, &address.octets())
        }
        Match::ToPort(protocol, port) => {
            let protocol = compare(meta(message, META_PROTOCOL, REGISTER), EQUAL, &[protocol.number()]);
            compare(payload(protocol, REGISTER, TRANSPORT, 2, 2), EQUAL, &port.to_be_bytes())
        }
        Match::ForUs => {
            const RESULT_TYPE: u32 = 3;
            const OF_DESTINATION: u32 = 2;
            const LOCAL: u32 = 2;
            let asked = expression(message, "fib", |fib| {
                fib.network_number(1, REGISTER)
                    .network_number(2, RESULT_TYPE)
                    .network_number(3, OF_DESTINATION)
            });
            compare(asked, EQUAL, &LOCAL.to_ne_bytes())
        }
        Match::Answer => tracked(message, CT_STATE, 2 | 4),
        Match::Rewritten => tracked(message, CT_STATUS, 1 << 5),
    }
}

/// Is one of `bits` set in what connection tracking knows?
fn tracked(message: Message, key: u32, bits: u32) -> Message {
    let loaded = expression(message, "ct", |ct| ct.network_number(1, REGISTER).network_number(2, key));
    let masked = expression(loaded, "bitwise", |bitwise| {
        bitwise
            .network_number(1, REGISTER)
            .network_number(2, REGISTER)
            .network_number(3, 4)
            .nest(4, |data| data.attribute(DATA_VALUE, &bits.to_ne_bytes()))
            .nest(5, |data| data.attribute(DATA_VALUE, &[0; 4]))
    });
    compare(masked, NOT_EQUAL, &[0; 4])
}

fn verdict(message: Message, verdict: Verdict) -> Message {
    const ACCEPT: i32 = 1;
    const DROP: i32 = 0;
    const JUMP: i32 = -3;
    match verdict {
        Verdict::Accept => immediate(message, ACCEPT, None),
        Verdict::Drop => immediate(message, DROP, None),
        Verdict::Jump(chain) => immediate(message, JUMP, Some(chain)),
        Verdict::Masquerade => expression(message, "masq", |masquerade| masquerade),
        Verdict::Publish => {
            let key = protocol_and_port(only(message, IPV4), WORD);
            destination(found(key, "published"), IPV4, WORD + 1)
        }
        Verdict::PublishAt => {
            let address = payload(only(message, IPV4), REGISTER, NETWORK, DESTINATION, 4);
            destination(found(protocol_and_port(address, WORD + 1), "published_at"), IPV4, WORD + 1)
        }
        Verdict::Publish6 => {
            let key = protocol_and_port(only(message, IPV6), WORD);
            destination(found(key, "published6"), IPV6, WORD + 4)
        }
        Verdict::PublishAt6 => {
            let address = payload(only(message, IPV6), REGISTER, NETWORK, DESTINATION6, 16);
            destination(found(protocol_and_port(address, WORD + 4), "published6_at"), IPV6, WORD + 4)
        }
        Verdict::Redirect(address, port) => {
            let address = load(message, REGISTER, &address.octets());
            destination(load(address, SECOND_REGISTER, &port.to_be_bytes()), IPV4, SECOND_REGISTER)
        }
    }
}

fn protocol_and_port(message: Message, word: u32) -> Message {
    // The first of four words goes by the name of its 16-byte register, as `nft` has it.
    let first = if word == WORD { REGISTER } else { word };
    payload(meta(message, META_PROTOCOL, first), word + 1, TRANSPORT, 2, 2)
}

/// Looks the key up; a key that is not found ends the rule.
fn found(message: Message, map: &str) -> Message {
    expression(message, "lookup", |lookup| {
        lookup.text(1, map).network_number(2, REGISTER).network_number(3, REGISTER)
    })
}

/// Rewrites the destination to the address in the first register and the port in `port`.
fn destination(message: Message, family: u8, port: u32) -> Message {
    const DESTINATION_NAT: u32 = 1;
    expression(message, "nat", |nat| {
        nat.network_number(1, DESTINATION_NAT)
            .network_number(2, u32::from(family))
            .network_number(3, REGISTER)
            .network_number(5, port)
    })
}

/// Puts bytes into a register.
fn load(message: Message, register: u32, value: &[u8]) -> Message {
    expression(message, "immediate", |immediate| {
        immediate.network_number(1, register).nest(2, |data| data.attribute(DATA_VALUE, value))
    })
}

fn immediate(message: Message, code: i32, chain: Option<&str>) -> Message {
    expression(message, "immediate", |immediate| {
        immediate.network_number(1, 0).nest(2, |data| {
            data.nest(DATA_VERDICT, |verdict| {
                let verdict = verdict.attribute(1, &code.to_be_bytes());
                match chain {
                    Some(chain) => verdict.text(2, chain),
                    None => verdict,
                }
            })
        })
    })
}

fn meta(message: Message, key: u32, register: u32) -> Message {
    expression(message, "meta", |meta| meta.network_number(1, register).network_number(2, key))
}

fn payload(message: Message, register: u32, base: u32, offset: u32, length: u32) -> Message {
    expression(message, "payload", |payload| {
        payload
            .network_number(1, register)
            .network_number(2, base)
            .network_number(3, offset)
            .network_number(4, length)
    })
}

fn compare(message: Message, operator: u32, value: &[u8]) -> Message {
    expression(message, "cmp", |cmp| {
        cmp.network_number(1, REGISTER)
            .network_number(2, operator)
            .nest(3, |data| data.attribute(DATA_VALUE, value))
    })
}

fn lookup(message: Message, set: &str, inverted: bool) -> Message {
    expression(message, "lookup", |lookup| {
        let lookup = lookup.text(1, set).network_number(2, REGISTER);
        if inverted { lookup.network_number(5, 1) } else { lookup }
    })
}

fn expression(message: Message, name: &str, data: impl FnOnce(Message) -> Message) -> Message {
    message.nest(LIST_ELEMENT, |element| element.text(EXPRESSION_NAME, name).nest(EXPRESSION_DATA, data))
}
