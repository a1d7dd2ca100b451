//! The bus's messages, as far as systemd's manager is asked anything: calls with texts, numbers and properties.
//!
//! Not here: the connection. Source: the D-Bus specification, "Message Protocol". Invariant: what comes in is bounded
//! and read by its own lengths; nothing of it is trusted to be well formed.

use berth_oci::{Error, Result};

/// A value of a property, or an argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Whether(bool),
    Number(u64),
    /// Numbers of processes.
    Processes(Vec<u32>),
    /// A bit for each processor or memory node.
    Bits(Vec<u8>),
}

impl Value {
    fn signature(&self) -> &'static str {
        match self {
            Self::Text(_) => "s",
            Self::Whether(_) => "b",
            Self::Number(_) => "t",
            Self::Processes(_) => "au",
            Self::Bits(_) => "ay",
        }
    }
}

/// A message that is written; everything in it lies at a multiple of its own size.
#[derive(Debug, Default)]
pub(super) struct Body(Vec<u8>);

impl Body {
    fn align(&mut self, size: usize) {
        self.0.resize(self.0.len().next_multiple_of(size), 0);
    }

    fn number(&mut self, value: u32) {
        self.align(4);
        self.0.extend(value.to_le_bytes());
    }

    pub(super) fn text(mut self, text: &str) -> Self {
        self.add_text(text);
        self
    }

    pub(super) fn whether(mut self, value: bool) -> Self {
        self.number(value.into());
        self
    }

    fn add_text(&mut self, text: &str) {
        self.number(length(text.len()));
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    fn signature(&mut self, signature: &str) {
        self.0.push(signature.len() as u8);
        self.0.extend(signature.as_bytes());
        self.0.push(0);
    }

    fn variant(&mut self, value: &Value) {
        self.signature(value.signature());
        match value {
            Value::Text(text) => self.add_text(text),
            Value::Whether(value) => self.number((*value).into()),
            Value::Number(number) => {
                self.align(8);
                self.0.extend(number.to_le_bytes());
            }
            Value::Processes(numbers) => {
                self.number(length(numbers.len() * 4));
                numbers.iter().for_each(|number| self.0.extend(number.to_le_bytes()));
            }
            Value::Bits(bytes) => {
                self.number(length(bytes.len()));
                self.0.extend(bytes);
            }
        }
    }

    /// An array of structures of this alignment: its length counts from the first of them.
    fn array<T>(&mut self, entries: &[T], mut add: impl FnMut(&mut Self, &T)) {
        self.number(0);
        let at = self.0.len() - 4;
        self.align(8);
        let start = self.0.len();
        for entry in entries {
            self.align(8);
            add(self, entry);
        }
        let size = length(self.0.len() - start);
        self.0[at..at + 4].copy_from_slice(&size.to_le_bytes());
    }

    /// `a(sv)`
    pub(super) fn properties(mut self, properties: &[(&str, Value)]) -> Self {
        self.array(properties, |body, (name, value)| {
            body.add_text(name);
            body.variant(value);
        });
        self
    }

    /// `a(sa(sv))` with nothing in it.
    pub(super) fn no_further_units(mut self) -> Self {
        self.array::<()>(&[], |_, ()| {});
        self
    }
}

fn length(value: usize) -> u32 {
    u32::try_from(value).expect("our own messages are short")
}

/// Whom a call is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub(super) destination: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) member: &'a str,
    /// The types of the body.
    pub(super) signature: &'a str,
}

const LITTLE_ENDIAN: u8 = b'l';
const METHOD_CALL: u8 = 1;
const VERSION: u8 = 1;

/// A whole call.
pub(super) fn call(call: Call<'_>, serial: u32, body: &Body) -> Vec<u8> {
    let mut message = Body(vec![LITTLE_ENDIAN, METHOD_CALL, 0, VERSION]);
    message.number(length(body.0.len()));
    message.number(serial);
    let fields = [
        (1, "o", call.path),
        (2, "s", call.interface),
        (3, "s", call.member),
        (6, "s", call.destination),
        (8, "g", call.signature),
    ];
    let used: Vec<_> = fields.into_iter().filter(|(_, _, text)| !text.is_empty()).collect();
    message.array(&used, |message, (code, kind, text)| {
        message.0.push(*code);
        message.signature(kind);
        match *kind {
            "g" => message.signature(text),
            _ => message.add_text(text),
        }
    });
    message.align(8);
    message.0.extend(&body.0);
    message.0
}

/// What the other side has said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// 2: an answer, 3: a refusal, 4: a signal.
    pub(super) kind: u8,
    /// The call that it answers.
    pub(super) reply_to: u32,
    /// The signal's name.
    pub(super) member: String,
    /// The refusal's name.
    pub(super) error: String,
    /// The texts at the beginning of its body, numbers left out.
    pub(super) texts: Vec<String>,
}

/// The bytes that say how long a message is.
pub(super) const PREFIX: usize = 16;
const MOST: u32 = 1 << 20;

/// How many bytes follow the prefix.
pub(super) fn rest(prefix: &[u8; PREFIX]) -> Result<usize> {
    let number = |at: usize| u32::from_le_bytes(prefix[at..at + 4].try_into().expect("four bytes"));
    let (body, fields) = (number(4), number(12));
    if prefix[0] != LITTLE_ENDIAN || body > MOST || fields > MOST {
        return Err(Error::corrupt("systemd has sent something that is no message of the bus"));
    }
    Ok((fields as usize).next_multiple_of(8) + body as usize)
}

/// Reads a whole message.
pub(super) fn hear(message: &[u8]) -> Option<Heard> {
    let mut heard = Heard { kind: *message.get(1)?, ..Heard::default() };
    let mut reader = Reader { bytes: message, at: PREFIX };
    let end = PREFIX + u32::from_le_bytes(message.get(12..16)?.try_into().ok()?) as usize;
    let mut body_types = String::new();
    while reader.at < end {
        reader.align(8);
        let code = reader.byte()?;
        let kind = reader.signature()?;
        let (mut text, mut number) = (String::new(), 0);
        match kind.as_str() {
            "s" | "o" => text = reader.text()?,
            "g" => text = reader.signature()?,
            "u" => number = reader.number()?,
            _ => return None,
        }
        match code {
            3 => heard.member = text,
            4 => heard.error = text,
            5 => heard.reply_to = number,
            8 => body_types = text,
            _ => {}
        }
    }
    reader.align(8);
    for kind in body_types.chars() {
        match kind {
            's' | 'o' => heard.texts.push(reader.text()?),
            'u' | 'b' | 'i' => drop(reader.number()?),
            _ => break,
        }
    }
    Some(heard)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn align(&mut self, size: usize) {
        self.at = self.at.next_multiple_of(size);
    }

    fn byte(&mut self) -> Option<u8> {
        self.at += 1;
        self.bytes.get(self.at - 1).copied()
    }

    fn number(&mut self) -> Option<u32> {
        self.align(4);
        self.at += 4;
        Some(u32::from_le_bytes(self.bytes.get(self.at - 4..self.at)?.try_into().ok()?))
    }

    fn take(&mut self, length: usize) -> Option<String> {
        let end = self.at.checked_add(length)?;
        let text = String::from_utf8_lossy(self.bytes.get(self.at..end)?).into_owned();
        self.at = end.checked_add(1)?;
        Some(text)
    }

    fn text(&mut self) -> Option<String> {
        let length = self.number()? as usize;
        self.take(length)
    }

    fn signature(&mut self) -> Option<String> {
        let length = self.byte()?.into();
        self.take(length)
    }
}

#[cfg(test)]
pub(super) mod tests_support {
    use super::Body;

    /// An answer (2) or a refusal (3) to the call with this number.
    pub(in crate::systemd) fn reply(kind: u8, to: u32, signature: &str, body: &Body) -> Vec<u8> {
        let mut message = Body(vec![super::LITTLE_ENDIAN, kind, 0, super::VERSION]);
        message.number(super::length(body.0.len()));
        message.number(1);
        message.array(&[5, 8], |message, code| {
            message.0.push(*code);
            match code {
                5 => {
                    message.signature("u");
                    message.number(to);
                }
                _ => {
                    message.signature("g");
                    message.signature(signature);
                }
            }
        });
        message.align(8);
        message.0.extend(&body.0);
        message.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_the_bytes_that_the_specification_says() {
        let body = Body::default().text("a.scope").properties(&[("Delegate", Value::Whether(true))]);
        let message = call(
            Call { destination: "", path: "/o", interface: "i", member: "M", signature: "sa(sv)" },
            7,
            &body,
        );
        assert_eq!(message[..4], [b'l', 1, 0, 1]);
        assert_eq!(message[8..12], 7u32.to_le_bytes());
        let prefix: [u8; PREFIX] = message[..PREFIX].try_into().unwrap();
        assert_eq!(PREFIX + rest(&prefix).unwrap(), message.len());
        let text = b"\x07\0\0\0a.scope\0";
        let at = message.windows(text.len()).position(|part| part == text).unwrap();
        assert_eq!(at % 8, 0, "a body begins at a multiple of eight");
        // Length of the array, padding to its first structure; name, signature, padding, the value.
        let properties = b"\x14\0\0\0\x08\0\0\0Delegate\0\x01b\0\x01\0\0\0";
        assert_eq!(message[at + 12..], properties[..], "{message:?}");
        // Our own words are understood by our own ears.
        let heard = hear(&message).unwrap();
        assert_eq!((heard.kind, heard.member.as_str(), heard.texts[0].as_str()), (1, "M", "a.scope"));
    }

    #[test]
    fn nonsense_is_refused_and_never_read_beyond() {
        let mut whole = call(
            Call { destination: "d", path: "/o", interface: "i", member: "M", signature: "s" },
            1,
            &Body::default().text("text"),
        );
        for end in 0..whole.len() {
            let _ = hear(&whole[..end]);
        }
        for at in 0..whole.len() {
            let before = std::mem::replace(&mut whole[at], 0xff);
            let _ = hear(&whole);
            whole[at] = before;
        }
        assert!(rest(&[0; PREFIX]).is_err());
        let mut long = [0xff; PREFIX];
        long[0] = b'l';
        assert!(rest(&long).is_err());
    }
}
