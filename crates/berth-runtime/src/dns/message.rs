//! Questions read and answers written; the bytes between are `simple_dns`' affair.
//!
//! Invariant: of a message from the container only its header and its one question are read.

use simple_dns::rdata::{A, AAAA, PTR, RData};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, ResourceRecord, TYPE};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const HEADER: usize = 12;
/// What everybody takes in a datagram (RFC 1035, 4.2.1).
const DATAGRAM: usize = 512;
/// How long an answer may be remembered: docker's ten minutes.
const SECONDS: u32 = 600;

/// A question.
#[derive(Clone, Debug)]
pub(super) struct Query {
    pub(super) id: u16,
    pub(super) recursion: bool,
    /// Without the last dot, in small letters.
    pub(super) name: String,
    pub(super) kind: Kind,
    /// As it was written: that is how it comes back.
    question: Question<'static>,
}

/// What is wanted of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Ipv4,
    Ipv6,
    Name,
    Mail,
    Other,
}

/// What is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) addresses: Vec<IpAddr>,
    pub(super) names: Vec<String>,
    failed: bool,
}

impl Answer {
    pub(super) fn addresses(addresses: Vec<IpAddr>) -> Self {
        Self { addresses, names: Vec::new(), failed: false }
    }

    pub(super) fn name(name: String) -> Self {
        Self { addresses: Vec::new(), names: vec![name], failed: false }
    }

    /// Nobody could be asked.
    pub(super) fn failure() -> Self {
        Self { addresses: Vec::new(), names: Vec::new(), failed: true }
    }
}

/// The question in `bytes`; otherwise what to say to whoever sent that, if anything.
pub(super) fn read(bytes: &[u8]) -> Result<Query, Option<Vec<u8>>> {
    let Some(header) = bytes.get(..HEADER) else { return Err(None) };
    let is_answer = header[2] & 0x80 != 0;
    if is_answer {
        return Err(None);
    }
    let one_question = header[4..6] == [0, 1];
    // The sections behind the question (an OPT record) are for those who answer at length.
    let mut alone = bytes.to_vec();
    alone[6..HEADER].fill(0);
    let packet = Packet::parse(&alone).ok().filter(|_| one_question);
    let Some(question) = packet.and_then(|mut packet| packet.questions.pop()) else {
        return Err(Some(refusal(header, RCODE::FormatError)));
    };
    if header[2] & 0x78 != 0 {
        return Err(Some(refusal(header, RCODE::NotImplemented)));
    }
    let question = question.into_owned();
    Ok(Query {
        id: u16::from_be_bytes([header[0], header[1]]),
        recursion: header[2] & 1 != 0,
        name: question.qname.to_string().trim_end_matches('.').to_ascii_lowercase(),
        kind: match (question.qtype, question.qclass) {
            (QTYPE::TYPE(TYPE::A), QCLASS::CLASS(CLASS::IN)) => Kind::Ipv4,
            (QTYPE::TYPE(TYPE::AAAA), QCLASS::CLASS(CLASS::IN)) => Kind::Ipv6,
            (QTYPE::TYPE(TYPE::PTR), QCLASS::CLASS(CLASS::IN)) => Kind::Name,
            (QTYPE::TYPE(TYPE::MX), QCLASS::CLASS(CLASS::IN)) => Kind::Mail,
            _ => Kind::Other,
        },
        question,
    })
}

fn refusal(header: &[u8], code: RCODE) -> Vec<u8> {
    let mut packet = Packet::new_reply(u16::from_be_bytes([header[0], header[1]]));
    *packet.rcode_mut() = code;
    packet.build_bytes_vec().unwrap_or_default()
}

/// The bytes of an answer; in a datagram only as many records as everybody can take, with a word that there are more.
pub(super) fn write(query: &Query, answer: &Answer, is_datagram: bool) -> Vec<u8> {
    let mut packet = Packet::new_reply(query.id);
    packet.set_flags(PacketFlag::RECURSION_AVAILABLE);
    if query.recursion {
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
    }
    if answer.failed {
        *packet.rcode_mut() = RCODE::ServerFailure;
    }
    packet.questions.push(query.question.clone());
    let data = answer.addresses.iter().map(|address| match address {
        IpAddr::V4(ip) => RData::A(A { address: (*ip).into() }),
        IpAddr::V6(ip) => RData::AAAA(AAAA { address: (*ip).into() }),
    });
    let names = answer.names.iter().filter_map(|name| Some(RData::PTR(PTR(Name::new(name).ok()?))));
    for data in data.chain(names) {
        let record = ResourceRecord::new(query.question.qname.clone(), CLASS::IN, SECONDS, data);
        packet.answers.push(record);
    }
    let mut bytes = packet.build_bytes_vec_compressed().unwrap_or_default();
    if is_datagram && bytes.len() > DATAGRAM {
        packet.set_flags(PacketFlag::TRUNCATION);
        while bytes.len() > DATAGRAM && packet.answers.pop().is_some() {
            bytes = packet.build_bytes_vec_compressed().unwrap_or_default();
        }
    }
    bytes
}

/// Whether `bytes` answer `query`: another's answer, or a guess, does not.
pub(super) fn answers(bytes: &[u8], query: &Query) -> bool {
    let Some(header) = bytes.get(..HEADER) else { return false };
    let mut alone = bytes.to_vec();
    alone[6..HEADER].fill(0);
    let same_question = header[4..6] == [0, 0]
        || Packet::parse(&alone).is_ok_and(|packet| match packet.questions.first() {
            Some(question) => {
                question.qtype == query.question.qtype
                    && question.qname.to_string().trim_end_matches('.').eq_ignore_ascii_case(&query.name)
            }
            None => false,
        });
    header[2] & 0x80 != 0 && header[..2] == query.id.to_be_bytes() && same_question
}

/// Whether a server only says that it cannot, or will not.
pub(super) fn is_failure(bytes: &[u8]) -> bool {
    bytes.get(3).is_some_and(|byte| matches!(byte & 0xf, 2 | 5))
}

/// The address in `4.3.2.1.in-addr.arpa` or the like.
pub(super) fn reverse(name: &str) -> Option<IpAddr> {
    if let Some(digits) = name.strip_suffix(".in-addr.arpa") {
        let bytes = digits.split('.').rev().map(|part| part.parse().ok()).collect::<Option<Vec<u8>>>()?;
        return Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into());
    }
    let digits = name.strip_suffix(".ip6.arpa")?.split('.').rev();
    let digit = |text: &str| u128::from_str_radix(text, 16).ok().filter(|_| text.len() == 1);
    let digits = digits.map(digit).collect::<Option<Vec<u128>>>()?;
    (digits.len() == 32)
        .then(|| Ipv6Addr::from(digits.iter().fold(0, |number, digit| number << 4 | digit)).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(name: &str, kind: TYPE) -> Vec<u8> {
        let mut packet = Packet::new_query(7);
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        let name = Name::new(name).unwrap().into_owned();
        packet.questions.push(Question::new(name, kind.into(), CLASS::IN.into(), false));
        packet.build_bytes_vec().unwrap()
    }

    #[test]
    fn a_question_is_read_and_answered() {
        let query = read(&query("Web.Example", TYPE::A)).unwrap();
        assert_eq!((query.id, query.name.as_str(), query.kind), (7, "web.example", Kind::Ipv4));
        let bytes = write(&query, &Answer::addresses(vec!["10.0.0.2".parse().unwrap()]), true);
        assert!(answers(&bytes, &query));
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!(packet.questions[0].qname.to_string(), "Web.Example");
        assert!(matches!(&packet.answers[0].rdata, RData::A(a) if a.address == 0x0a00_0002));
        assert!(packet.has_flags(PacketFlag::RECURSION_AVAILABLE | PacketFlag::RECURSION_DESIRED));
    }

    #[test]
    fn too_much_for_a_datagram_is_cut_and_said() {
        let query = read(&query("web", TYPE::A)).unwrap();
        let many = Answer::addresses((0..200).map(|host| Ipv4Addr::new(10, 0, 0, host).into()).collect());
        let (cut, whole) = (write(&query, &many, true), write(&query, &many, false));
        assert!(cut.len() <= DATAGRAM && whole.len() > DATAGRAM);
        assert!(Packet::parse(&cut).unwrap().has_flags(PacketFlag::TRUNCATION));
        assert_eq!(Packet::parse(&whole).unwrap().answers.len(), 200);
    }

    #[test]
    fn nonsense_is_refused_or_ignored() {
        let good = query("web", TYPE::A);
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            bytes
        };
        let code = |bytes: &[u8]| match read(bytes) {
            Ok(_) => "fine".to_owned(),
            Err(None) => "silence".to_owned(),
            Err(Some(reply)) => format!("{:?}", Packet::parse(&reply).unwrap().rcode()),
        };
        let rows = [
            (good.clone(), "fine"),
            (Vec::new(), "silence"),
            (good[..11].to_vec(), "silence"),
            (with(2, 0x80), "silence"),
            (with(5, 2), "FormatError"),
            (with(5, 0), "FormatError"),
            (good[..good.len() - 3].to_vec(), "FormatError"),
            (with(12, 0xff), "FormatError"),
            (with(2, 0x29), "NotImplemented"),
            ([&good[..], &[0; 400]].concat(), "fine"),
        ];
        for (bytes, expected) in rows {
            assert_eq!(code(&bytes), expected, "{bytes:?}");
        }
        assert!(!answers(&good, &read(&good).unwrap()), "a question is no answer");
    }

    #[test]
    fn addresses_backwards() {
        let rows = [
            ("2.0.0.10.in-addr.arpa", Some("10.0.0.2")),
            ("0.0.10.in-addr.arpa", None),
            ("256.0.0.10.in-addr.arpa", None),
            ("2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa", Some("fd00::2")),
            ("0.d.f.ip6.arpa", None),
            ("web", None),
        ];
        for (name, expected) in rows {
            assert_eq!(reverse(name).map(|ip| ip.to_string()).as_deref(), expected, "{name}");
        }
    }
}
