//! Tables, chains, rules, sets and elements as messages; transactions that happen whole or not at all.
//!
//! Here: [`Transaction`] (what is to change), [`Tables`] (asks and changes). Not here: which rules there are.
//! Invariant: a refusal names the part of the transaction the kernel did not like.

use std::io;

use berth_oci::{Error, Kind};
use berth_sys::netlink::{Message, Protocol, Refused, Reply, Socket, attribute, attributes};
use rustix::io::Errno;

use super::encode::{DATA_VALUE, expressions};
use super::rule::{Base, Chain, Rule};
use super::{Element, Ruleset, SETS, Set, Type};

/// The family of our own table: IPv4 and IPv6 in one.
pub(in crate::net) const INET: u8 = 1;
/// The family of iptables' tables.
pub(in crate::net) const IPV4: u8 = 2;
/// The family of ip6tables' tables.
pub(in crate::net) const IPV6: u8 = 10;

const SUBSYSTEM: u16 = 10;
const NEW_TABLE: u16 = 0;
const GET_TABLE: u16 = 1;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const GET_CHAIN: u16 = 4;
const NEW_RULE: u16 = 6;
const GET_RULE: u16 = 7;
const DELETE_RULE: u16 = 8;
const NEW_SET: u16 = 9;
const NEW_ELEMENT: u16 = 12;
const GET_ELEMENT: u16 = 13;
const DELETE_ELEMENT: u16 = 14;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;

const NAME: u16 = 1;
const LIST_ELEMENT: u16 = 1;
const SET_IS_RANGES: u32 = 4;
const SET_IS_MAP: u32 = 8;
const ELEMENT_ENDS_RANGE: u32 = 1;
/// Attributes, nests of them included, are below 64 KiB; an element takes below 128 bytes.
const ELEMENTS_PER_MESSAGE: usize = 256;
/// `nft`'s own userdata: kind 0 is the rule's comment.
const COMMENT: u8 = 0;

/// Changes that are to happen together.
#[derive(Debug, Default)]
pub(in crate::net) struct Transaction {
    messages: Vec<Message>,
    labels: Vec<String>,
}

impl Transaction {
    pub(in crate::net) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The table becomes exactly `ruleset`, whatever it was before.
    pub(in crate::net) fn replace(mut self, ruleset: &Ruleset<'_>) -> Self {
        let table = ruleset.table;
        // Deleting a table that is not there is refused, adding one that is there is not: add, delete, add.
        self = self.add_table(table).remove_table(table).add_table(table);
        for (id, set) in (1..).zip(&SETS) {
            self = self.push(format!("set {}", set.name), new_set(table, set, id));
        }
        let chains = Ruleset::chains();
        // A rule may jump only to a chain that is known.
        for chain in &chains {
            self = self.push(format!("chain {}", chain.name), new_chain(table, chain));
        }
        for chain in &chains {
            self = self.append(table, chain);
        }
        self.add(table, &ruleset.elements())
    }

    /// A chain's rules go to its end.
    fn append(mut self, table: &str, chain: &Chain) -> Self {
        for rule in &chain.rules {
            let label = format!("chain {}: {rule}", chain.name);
            let message = rule_message(INET, APPEND, table, chain.name);
            self = self.push(label, message.nest(4, |list| expressions(list, rule)));
        }
        self
    }

    /// The table is this one chain, whatever it was before.
    pub(super) fn replace_with(self, table: &str, chain: &Chain) -> Self {
        self.add_table(table)
            .remove_table(table)
            .add_table(table)
            .push(format!("chain {}", chain.name), new_chain(table, chain))
            .append(table, chain)
    }

    /// The table is no more, whether it was or not.
    pub(in crate::net) fn replace_with_nothing(self, table: &str) -> Self {
        self.add_table(table).remove_table(table)
    }

    /// Elements come to the table's sets.
    pub(in crate::net) fn add(self, table: &str, elements: &[Element]) -> Self {
        self.elements(NEW_ELEMENT, CREATE, table, elements)
    }

    /// Elements leave the table's sets.
    pub(in crate::net) fn remove(self, table: &str, elements: &[Element]) -> Self {
        self.elements(DELETE_ELEMENT, 0, table, elements)
    }

    fn remove_table(self, table: &str) -> Self {
        let message = Message::new(kind(DELETE_TABLE), 0, &header(INET)).text(NAME, table);
        self.push(format!("table {table}"), message)
    }

    /// A rule goes to the head of someone's chain, with a comment to know it again by.
    pub(in crate::net) fn insert(
        self,
        family: u8,
        table: &str,
        chain: &str,
        rule: &Rule,
        comment: &str,
    ) -> Self {
        let text = format!("{comment}\0");
        let length = u8::try_from(text.len()).expect("our comments are short");
        let userdata = [&[COMMENT, length], text.as_bytes()].concat();
        let message = rule_message(family, 0, table, chain)
            .nest(4, |list| expressions(list, rule))
            .attribute(7, &userdata);
        self.push(format!("{table} {chain}: {rule}"), message)
    }

    /// One rule leaves a chain.
    pub(in crate::net) fn delete(self, family: u8, table: &str, chain: &str, handle: u64) -> Self {
        let message = Message::new(kind(DELETE_RULE), 0, &header(family))
            .text(1, table)
            .text(2, chain)
            .attribute(3, &handle.to_be_bytes());
        self.push(format!("{table} {chain}: rule {handle}"), message)
    }

    fn add_table(self, table: &str) -> Self {
        let message = Message::new(kind(NEW_TABLE), CREATE, &header(INET)).text(NAME, table);
        self.push(format!("table {table}"), message)
    }

    fn elements(mut self, what: u16, flags: u16, table: &str, elements: &[Element]) -> Self {
        for set in &SETS {
            let held: Vec<_> = elements.iter().filter(|element| element.set() == set.name).collect();
            for chunk in held.chunks(ELEMENTS_PER_MESSAGE) {
                let message = Message::new(kind(what), flags, &header(INET))
                    .text(1, table)
                    .text(2, set.name)
                    .nest(3, |list| chunk.iter().fold(list, |list, element| one_element(list, element)));
                let shown: Vec<_> = chunk.iter().map(ToString::to_string).collect();
                self = self.push(format!("{} {{ {} }}", set.name, shown.join(", ")), message);
            }
        }
        self
    }

    fn push(mut self, label: String, message: Message) -> Self {
        self.messages.push(message);
        self.labels.push(label);
        self
    }
}

fn new_set(table: &str, set: &Set, id: u32) -> Message {
    let (key_type, key_length) = concatenated(set.key);
    let (value_type, value_length) = concatenated(set.value);
    let map = !set.value.is_empty();
    let flags = if map { SET_IS_MAP } else { 0 } | if set.ranges { SET_IS_RANGES } else { 0 };
    let message = Message::new(kind(NEW_SET), CREATE, &header(INET))
        .text(1, table)
        .text(2, set.name)
        .network_number(3, flags)
        .network_number(4, key_type)
        .network_number(5, key_length)
        .network_number(10, id)
        .attribute(13, &byte_order(set.key));
    if map { message.network_number(6, value_type).network_number(7, value_length) } else { message }
}

/// `nft`'s own userdata, without which it lists interface names as empty: kind 0 is the key's byte order, 1 the
/// machine's and 2 the network's.
fn byte_order(key: &[Type]) -> Vec<u8> {
    let order: u32 = if key == [Type::Interface] { 1 } else { 2 };
    [&[0, 4][..], &order.to_ne_bytes()].concat()
}

/// Type number (six bits for each part, so that `nft` can list it) and length in bytes.
fn concatenated(types: &[Type]) -> (u32, u32) {
    types.iter().fold((0, 0), |(number, length), part| {
        let (own_number, own_length) = match part {
            Type::Address => (7, 4),
            Type::Address6 => (8, 16),
            Type::Protocol => (12, 1),
            Type::Port => (13, 2),
            Type::Interface => (41, 16),
        };
        // A part on its own keeps its length; beside others it fills whole registers.
        let own_length = if types.len() > 1 { u32::next_multiple_of(own_length, 4) } else { own_length };
        (number << 6 | own_number, length + own_length)
    })
}

fn new_chain(table: &str, chain: &Chain) -> Message {
    let message = Message::new(kind(NEW_CHAIN), CREATE, &header(INET)).text(1, table).text(3, chain.name);
    let Some(Base { kind, hook, priority }) = chain.base else { return message };
    let hook = match hook {
        "prerouting" => 0,
        "forward" => 2,
        "output" => 3,
        "postrouting" => 4,
        _ => unreachable!("no chain of ours hooks there"),
    };
    message
        .nest(4, |place| place.network_number(1, hook).attribute(2, &i32::to_be_bytes(priority)))
        .network_number(5, 1)
        .text(7, kind)
}

fn rule_message(family: u8, flags: u16, table: &str, chain: &str) -> Message {
    Message::new(kind(NEW_RULE), CREATE | flags, &header(family)).text(1, table).text(2, chain)
}

fn one_element(list: Message, element: &Element) -> Message {
    let list = list.nest(LIST_ELEMENT, |item| {
        let item = item.nest(1, |key| key.attribute(DATA_VALUE, &element.key()));
        match element.value() {
            Some(value) => item.nest(2, |data| data.attribute(DATA_VALUE, &value)),
            None => item,
        }
    });
    match element.end() {
        None => list,
        Some(end) => list.nest(LIST_ELEMENT, |item| {
            item.nest(1, |key| key.attribute(DATA_VALUE, &end)).network_number(3, ELEMENT_ENDS_RANGE)
        }),
    }
}

fn kind(message: u16) -> u16 {
    SUBSYSTEM << 8 | message
}

fn header(family: u8) -> [u8; 4] {
    [family, 0, 0, 0]
}

fn bracket(message: u16) -> Message {
    let [high, low] = SUBSYSTEM.to_be_bytes();
    Message::new(message, 0, &[0, 0, high, low])
}

/// A chain that the kernel enters, of whatever table.
#[derive(Debug)]
pub(in crate::net) struct ForeignChain {
    pub(in crate::net) table: String,
    pub(in crate::net) name: String,
    pub(in crate::net) hook: Option<u32>,
    pub(in crate::net) drops: bool,
}

/// The kernel's tables, seen from one network namespace.
#[derive(Debug)]
pub(in crate::net) struct Tables {
    socket: Socket,
}

impl Tables {
    pub(in crate::net) fn open() -> berth_oci::Result<Self> {
        let socket = Socket::open(Protocol::Netfilter).map_err(|error| explain(error.into(), "a socket"))?;
        Ok(Self { socket })
    }

    /// Makes the changes, all or none.
    pub(in crate::net) fn commit(&mut self, transaction: &Transaction) -> berth_oci::Result<()> {
        if transaction.is_empty() {
            return Ok(());
        }
        let (begin, end) = (bracket(BATCH_BEGIN), bracket(BATCH_END));
        self.socket.transact_between(Some((&begin, &end)), &transaction.messages).map_err(|refused| {
            let label = refused.index.map_or("the transaction", |index| &transaction.labels[index]);
            explain(refused, label)
        })
    }

    /// Is our table there?
    pub(in crate::net) fn has(&mut self, table: &str) -> berth_oci::Result<bool> {
        let question = Message::new(kind(GET_TABLE), 0, &header(INET)).text(NAME, table);
        found(self.socket.ask(&question))
            .map(|found| found.is_some())
            .map_err(|refused| explain(refused, table))
    }

    /// Is there such a chain?
    pub(in crate::net) fn has_chain(
        &mut self,
        family: u8,
        table: &str,
        chain: &str,
    ) -> berth_oci::Result<bool> {
        let question = Message::new(kind(GET_CHAIN), 0, &header(family)).text(1, table).text(3, chain);
        found(self.socket.ask(&question))
            .map(|found| found.is_some())
            .map_err(|refused| explain(refused, chain))
    }

    /// Every chain of a family.
    pub(in crate::net) fn chains(&mut self, family: u8) -> berth_oci::Result<Vec<ForeignChain>> {
        let question = Message::new(kind(GET_CHAIN), 0, &header(family));
        let replies =
            self.socket.list(&question).map_err(|refused| explain(refused, "the list of chains"))?;
        Ok(replies.iter().map(foreign_chain).collect())
    }

    /// The keys of a set or a map of ours, as [`Element::key`] writes them.
    pub(in crate::net) fn keys(&mut self, table: &str, set: &str) -> berth_oci::Result<Vec<Vec<u8>>> {
        let question = Message::new(kind(GET_ELEMENT), 0, &header(INET)).text(1, table).text(2, set);
        let replies = found(self.socket.list(&question)).map_err(|refused| explain(refused, set))?;
        let mut keys = Vec::new();
        for reply in replies.unwrap_or_default() {
            let elements = reply.attributes(4).filter(|(kind, _)| *kind == 3);
            for (_, item) in elements.flat_map(|(_, list)| attributes(list)) {
                let key = attribute(item, 1).and_then(|nest| attribute(nest, DATA_VALUE));
                keys.extend(key.map(<[u8]>::to_vec));
            }
        }
        Ok(keys)
    }

    /// The handles of the rules in a chain that carry `comment`.
    pub(in crate::net) fn commented(
        &mut self,
        family: u8,
        table: &str,
        chain: &str,
        comment: &str,
    ) -> berth_oci::Result<Vec<u64>> {
        let question = Message::new(kind(GET_RULE), 0, &header(family)).text(1, table).text(2, chain);
        let replies = found(self.socket.list(&question)).map_err(|refused| explain(refused, chain))?;
        let (replies, wanted) = (replies.unwrap_or_default(), format!("{comment}\0"));
        let handles = replies.iter().filter_map(|reply| {
            let userdata = reply.attributes(4).find(|(kind, _)| *kind == 7)?.1;
            (userdata.get(2..)? == wanted.as_bytes()).then(|| rule_handle(reply))?
        });
        Ok(handles.collect())
    }
}

fn rule_handle(reply: &Reply) -> Option<u64> {
    let (_, handle) = reply.attributes(4).find(|(kind, _)| *kind == 3)?;
    Some(u64::from_be_bytes(handle.try_into().ok()?))
}

fn foreign_chain(reply: &Reply) -> ForeignChain {
    let body = reply.payload.get(4..).unwrap_or_default();
    let text = |kind| {
        attribute(body, kind).map_or_else(String::new, |value| {
            String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
        })
    };
    let number = |value: Option<&[u8]>| Some(u32::from_be_bytes(value?.try_into().ok()?));
    let hook = attribute(body, 4)
        .and_then(|nest| number(attributes(nest).find(|(kind, _)| *kind == 1).map(|it| it.1)));
    ForeignChain {
        table: text(1),
        name: text(3),
        hook,
        drops: hook.is_some() && number(attribute(body, 5)) == Some(0),
    }
}

/// What is not there is an answer too.
fn found<T>(answer: Result<T, Refused>) -> Result<Option<T>, Refused> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(refused) if refused.is(Errno::NOENT) => Ok(None),
        Err(refused) => Err(refused),
    }
}

/// The kernel's refusal as an error: which part, why, and what helps. A part that is missing is `NotFound`, one
/// that is there already `Conflict`: then what we believed about the table is no longer so.
fn explain(refused: Refused, part: &str) -> Error {
    let errno = refused.error.raw_os_error().map(Errno::from_raw_os_error);
    let kind = match errno {
        Some(Errno::NOENT) => Kind::NotFound,
        Some(Errno::EXIST) => Kind::Conflict,
        Some(Errno::PERM | Errno::ACCESS) => Kind::Denied,
        Some(Errno::PROTONOSUPPORT | Errno::OPNOTSUPP) => Kind::Unsupported,
        _ => Kind::Internal,
    };
    let error = Error::new(kind, format!("nftables refused {part}")).caused_by(io::Error::from(refused));
    match kind {
        Kind::Denied => error.hint("networks need root: use `--network host` or `--network none` without it"),
        Kind::Unsupported | Kind::Internal => {
            error.hint("the kernel needs nf_tables with nat, fib and masquerade: `modprobe -a nf_tables nft_nat nft_masq nft_fib_inet`")
        }
        _ => error,
    }
}
