//! The bytes of a message: a 16-byte header, the family's own header, attributes padded to four bytes.
//!
//! Not here: sockets. Invariant: a [`Message`] is well formed at every moment, its lengths always true.

/// Where the family's own header starts.
pub(super) const HEADER: usize = 16;
/// Set in an attribute's type when the attribute holds others.
const NESTED: u16 = 0x8000;
const TYPE_MASK: u16 = 0x3fff;

/// A request: its type, its flags and its payload so far.
#[derive(Clone, Debug)]
pub struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// A message of type `kind` with the family's own `header` (an `ifinfomsg`, an `nfgenmsg`, …).
    #[must_use]
    pub fn new(kind: u16, flags: u16, header: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(header);
        pad(&mut bytes);
        Self { bytes }.sized()
    }

    /// Adds an attribute.
    #[must_use]
    pub fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(value.len() + 4).expect("an attribute of ours is below 64 KiB");
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        pad(&mut self.bytes);
        self.sized()
    }

    /// Adds a text attribute, ended by a zero.
    #[must_use]
    pub fn text(self, kind: u16, value: &str) -> Self {
        self.attribute(kind, format!("{value}\0").as_bytes())
    }

    /// Adds a number in the machine's byte order (rtnetlink's way).
    #[must_use]
    pub fn number(self, kind: u16, value: u32) -> Self {
        self.attribute(kind, &value.to_ne_bytes())
    }

    /// Adds a number in network byte order (nfnetlink's way).
    #[must_use]
    pub fn network_number(self, kind: u16, value: u32) -> Self {
        self.attribute(kind, &value.to_be_bytes())
    }

    /// Adds an attribute that holds what `fill` adds.
    #[must_use]
    pub fn nest(self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        self.nest_after(kind, &[], fill)
    }

    /// Adds an attribute that holds a fixed `header` and then what `fill` adds (veth's peer is such a one).
    #[must_use]
    pub fn nest_after(mut self, kind: u16, header: &[u8], fill: impl FnOnce(Self) -> Self) -> Self {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        // The peer's attribute is not a pure nest; the kernel wants the bit only where attributes start at once.
        let flag = if header.is_empty() { NESTED } else { 0 };
        self.bytes.extend_from_slice(&(kind | flag).to_ne_bytes());
        self.bytes.extend_from_slice(header);
        pad(&mut self.bytes);
        let mut filled = fill(self);
        let length = u16::try_from(filled.bytes.len() - start).expect("a nest of ours is below 64 KiB");
        filled.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        filled.sized()
    }

    /// The bytes with sequence number and further flags filled in.
    pub(super) fn finished(&self, sequence: u32, flags: u16) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        let flags = u16::from_ne_bytes([bytes[6], bytes[7]]) | flags;
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        bytes
    }

    fn sized(mut self) -> Self {
        let length = u32::try_from(self.bytes.len()).expect("a message of ours is below 4 GiB");
        self.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        self
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// A message the kernel sent.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Its type.
    pub kind: u16,
    /// What follows the netlink header: the family's own header, then attributes.
    pub payload: Vec<u8>,
}

impl Reply {
    /// The attributes behind a family header of `header` bytes.
    pub fn attributes(&self, header: usize) -> impl Iterator<Item = (u16, &[u8])> {
        attributes(self.payload.get(header..).unwrap_or_default())
    }
}

/// The attributes in `bytes`; ends at the first that is cut short.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?) & TYPE_MASK;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The first attribute of type `kind` in `bytes`.
#[must_use]
pub fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let message =
            Message::new(7, 1, &[9; 3]).text(1, "lo").nest(2, |nest| nest.number(3, 5).network_number(4, 5));
        let bytes = message.finished(42, 4);
        assert_eq!(u32::from_ne_bytes(bytes[..4].try_into().unwrap()) as usize, bytes.len());
        assert_eq!(bytes[4..12], [7, 0, 5, 0, 42, 0, 0, 0].map(|byte: u8| byte));
        let reply = Reply { kind: 7, payload: bytes[HEADER..].to_vec() };
        let attributes: Vec<_> = reply.attributes(4).collect();
        assert_eq!(attributes[0], (1, &b"lo\0"[..]));
        assert_eq!(attribute(attributes[1].1, 3), Some(&5u32.to_ne_bytes()[..]));
        assert_eq!(attribute(attributes[1].1, 4), Some(&5u32.to_be_bytes()[..]));
    }

    #[test]
    fn a_short_attribute_ends_the_list() {
        for bytes in [&[][..], &[8], &[8, 0, 1, 0, 1], &[3, 0, 1, 0], &[0; 8]] {
            assert_eq!(attributes(bytes).count(), 0, "{bytes:?}");
        }
    }
}
