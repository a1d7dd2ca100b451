//! What is said between a client and a monitor: frames on a Unix stream socket.
//!
//! A frame is a kind byte, a length (u32, little endian), and that many bytes: raw data of one of three streams, or
//! one JSON message. Invariant: a frame longer than its limit is refused before it is read, so neither side can make
//! the other allocate at will.

use crate::bundle::{Bundle, Exec, Exit, Started, Streams};
use crate::life::Restart;
use crate::net::NetworkPlan;
use crate::state::State;
use berth_oci::{Error, Kind, Result};
use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};

/// At most this many bytes of a stream in one frame.
pub(crate) const DATA_LIMIT: usize = 64 * 1024;
/// A message (the longest is a bundle) has at most this many bytes.
pub(crate) const MESSAGE_LIMIT: usize = 16 * 1024 * 1024;
/// Kind byte and length.
pub(crate) const HEADER: usize = 5;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Channel {
    Message,
    Stdin,
    Stdout,
    Stderr,
}

impl Channel {
    fn from_byte(byte: u8) -> Result<Self> {
        match byte {
            0 => Ok(Self::Message),
            1 => Ok(Self::Stdin),
            2 => Ok(Self::Stdout),
            3 => Ok(Self::Stderr),
            other => Err(Error::corrupt(format!("the monitor's socket carries an unknown frame {other}"))),
        }
    }

    fn limit(self) -> usize {
        if self == Self::Message { MESSAGE_LIMIT } else { DATA_LIMIT }
    }
}

/// A client's wish. Each is answered by one [`Reply`], in order; `CloseStdin`, `Resize` and `Cleaned` are not.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    Create(Box<Bundle>),
    Start,
    Attach(Streams),
    Exec(Box<Exec>),
    Signal(i32),
    /// This signal, SIGKILL after so many milliseconds if there are any, and no further start by the monitor;
    /// `lasting` where a person wants it so, also after a reboot.
    Stop {
        signal: i32,
        patience_ms: Option<u64>,
        lasting: bool,
    },
    /// Other limits (all of them, devices aside) and another rule for restarts, from now on.
    Update {
        resources: Box<LinuxResources>,
        restart: Restart,
    },
    Pause,
    Resume,
    Wait,
    Status,
    /// On to a further network.
    Connect(Box<NetworkPlan>),
    /// Off the network of this name.
    Disconnect(String),
    CloseStdin,
    Resize {
        rows: u16,
        columns: u16,
    },
    /// From the connection that created the container: I have removed it, do not run `on_exit`.
    Cleaned,
}

/// A monitor's answer. `Exited` also comes unasked to who attached, waits, or started an exec.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    Done,
    Failed(Fault),
    Started(Started),
    State(Box<State>),
    Exited(Exit),
}

/// An [`Error`] on its way through a socket.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Fault {
    kind: String,
    message: String,
    hint: Option<String>,
}

const KINDS: [(&str, Kind); 10] = [
    ("not found", Kind::NotFound),
    ("conflict", Kind::Conflict),
    ("invalid", Kind::Invalid),
    ("denied", Kind::Denied),
    ("unauthorized", Kind::Unauthorized),
    ("unavailable", Kind::Unavailable),
    ("unsupported", Kind::Unsupported),
    ("corrupt", Kind::Corrupt),
    ("cancelled", Kind::Cancelled),
    ("internal", Kind::Internal),
];

impl From<&Error> for Fault {
    fn from(error: &Error) -> Self {
        let kind = KINDS.iter().find(|(_, kind)| *kind == error.kind()).map_or("internal", |(name, _)| name);
        Self { kind: kind.into(), message: error.to_string(), hint: error.hint_text().map(Into::into) }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        let kind =
            KINDS.iter().find(|(name, _)| *name == fault.kind).map_or(Kind::Internal, |(_, kind)| *kind);
        let error = Self::new(kind, fault.message);
        match fault.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

/// The bytes of a frame with a message.
pub(crate) fn encode(message: &impl Serialize) -> Result<Vec<u8>> {
    let mut frame = vec![0; HEADER];
    serde_json::to_writer(&mut frame, message)
        .map_err(|e| Error::internal("cannot write a message to the monitor").caused_by(e))?;
    let length = frame.len() - HEADER;
    if length > MESSAGE_LIMIT {
        return Err(Error::invalid(format!(
            "a message of {length} bytes is longer than the monitor accepts"
        ))
        .hint("the environment or the arguments are too large"));
    }
    frame[..HEADER].copy_from_slice(&header(Channel::Message, length));
    Ok(frame)
}

/// The first bytes of a frame.
pub(crate) fn header(channel: Channel, length: usize) -> [u8; HEADER] {
    let [a, b, c, d] = u32::try_from(length).expect("frames are far below 4 GiB").to_le_bytes();
    [channel as u8, a, b, c, d]
}

/// What a header announces.
pub(crate) fn parse_header(bytes: [u8; HEADER]) -> Result<(Channel, usize)> {
    let [kind, a, b, c, d] = bytes;
    let channel = Channel::from_byte(kind)?;
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    if length > channel.limit() {
        return Err(Error::corrupt(format!("the monitor's socket announces a frame of {length} bytes")));
    }
    Ok((channel, length))
}

/// The message in a frame's payload.
pub(crate) fn decode<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T> {
    serde_json::from_slice(payload).map_err(|e| {
        Error::corrupt("the monitor's socket carries a message that cannot be read")
            .caused_by(e)
            .hint("this berth and the one that started the container may be of different versions")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_survives_the_socket() {
        let error = Error::denied("exec: \"/x\": permission denied").hint("chmod +x");
        let text = serde_json::to_string(&Fault::from(&error)).unwrap();
        let back = Error::from(serde_json::from_str::<Fault>(&text).unwrap());
        assert_eq!(
            (back.kind(), back.to_string(), back.hint_text()),
            (error.kind(), error.to_string(), Some("chmod +x"))
        );
    }

    #[test]
    fn a_frame_that_is_too_long_or_unknown_is_refused() {
        let long = (DATA_LIMIT as u32 + 1).to_le_bytes();
        for (kind, length, ok) in
            [(1, 5u32.to_le_bytes(), true), (2, long, false), (0, long, true), (9, [0; 4], false)]
        {
            let [a, b, c, d] = length;
            assert_eq!(parse_header([kind, a, b, c, d]).is_ok(), ok, "{kind} {length:?}");
        }
    }
}
