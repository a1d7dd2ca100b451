//! The caller's terminal while a container has it: raw mode, its size, and the keys that leave the container.
//!
//! Invariant: the terminal is as it was when a [`RawMode`] ends, however the command ends short of SIGKILL.

use berth_oci::{Error, Result};
use rustix::termios::{self, OptionalActions, Termios};
use std::io;

/// Keys go through as they are, until this is dropped.
pub(crate) struct RawMode {
    before: Termios,
}

impl RawMode {
    /// Makes stdin's terminal raw.
    ///
    /// # Errors
    /// Stdin is no terminal, or it went away.
    pub(crate) fn enter() -> Result<Self> {
        let stdin = io::stdin();
        let before = termios::tcgetattr(&stdin).map_err(io::Error::from)?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(&stdin, OptionalActions::Now, &raw).map_err(io::Error::from)?;
        Ok(Self { before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // A terminal that has hung up needs no settings.
        let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// Rows and columns of the terminal on stdout or, behind a pipe, on stdin.
pub(crate) fn size() -> Option<(u16, u16)> {
    let size = termios::tcgetwinsize(io::stdout()).or_else(|_| termios::tcgetwinsize(io::stdin())).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// The keys that leave a container without ending it, and how much of them has been typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DetachKeys {
    keys: Vec<u8>,
    typed: usize,
}

impl Default for DetachKeys {
    /// Ctrl-P, Ctrl-Q.
    fn default() -> Self {
        Self { keys: vec![16, 17], typed: 0 }
    }
}

/// What is left of input once the keys have been looked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sifted {
    /// What the container gets.
    pub(crate) bytes: Vec<u8>,
    /// Whether the keys were there; nothing behind them counts.
    pub(crate) detach: bool,
}

impl DetachKeys {
    /// Reads `ctrl-p,ctrl-q` or `a,b`; no keys at all where the text is empty.
    ///
    /// # Errors
    /// A key is neither a character nor `ctrl-` and one of `a-z@[\]^_`.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let keys = text.split(',').filter(|_| !text.is_empty()).map(key).collect::<Result<_>>();
        Ok(Self {
            keys: keys.map_err(|e| Error::invalid(format!("invalid detach keys ({text}): {e}")))?,
            typed: 0,
        })
    }

    /// Takes the keys out of what was typed; half a sequence waits for its other half.
    pub(crate) fn sift(&mut self, input: &[u8]) -> Sifted {
        let mut bytes = Vec::with_capacity(input.len());
        for byte in input {
            if self.keys.get(self.typed) == Some(byte) {
                self.typed += 1;
                if self.typed == self.keys.len() {
                    return Sifted { bytes, detach: true };
                }
                continue;
            }
            bytes.extend_from_slice(&self.keys[..self.typed]);
            self.typed = usize::from(self.keys.first() == Some(byte) && self.keys.len() > 1);
            if self.typed == 0 {
                bytes.push(*byte);
            }
        }
        Sifted { bytes, detach: false }
    }
}

fn key(text: &str) -> Result<u8> {
    match (text.as_bytes(), text.strip_prefix("ctrl-").map(str::as_bytes)) {
        ([character], _) => Ok(*character),
        (_, Some([letter @ (b'a'..=b'z' | b'@' | b'[' | b'\\' | b']' | b'^' | b'_')])) => Ok(letter & 0x1f),
        _ => Err(Error::invalid(format!("unknown key `{text}`"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_characters_or_control() {
        for (text, expected) in [
            ("ctrl-p,ctrl-q", Ok(vec![16, 17])),
            ("a", Ok(vec![b'a'])),
            ("ctrl-@,ctrl-[,ctrl-_", Ok(vec![0, 27, 31])),
            ("", Ok(vec![])),
            ("foo", Err("invalid detach keys (foo): unknown key `foo`")),
            ("ctrl-A", Err("invalid detach keys (ctrl-A): unknown key `ctrl-A`")),
            ("a,,b", Err("invalid detach keys (a,,b): unknown key ``")),
        ] {
            let got = DetachKeys::parse(text).map(|k| k.keys).map_err(|e| e.to_string());
            assert_eq!(got, expected.map_err(str::to_owned), "{text}");
        }
    }

    #[test]
    fn keys_are_found_across_reads() {
        for (keys, reads, expected, detach) in [
            ("ctrl-p,ctrl-q", &["ab"][..], "ab", false),
            ("ctrl-p,ctrl-q", &["a\x10\x11b"], "a", true),
            ("ctrl-p,ctrl-q", &["a\x10", "\x11"], "a", true),
            ("ctrl-p,ctrl-q", &["\x10", "x"], "\x10x", false),
            ("ctrl-p,ctrl-q", &["\x10\x10\x11"], "\x10", true),
            ("ctrl-p,ctrl-q", &["\x11\x10"], "\x11", false),
            ("x", &["abx"], "ab", true),
            ("", &["\x10\x11"], "\x10\x11", false),
        ] {
            let mut sifter = DetachKeys::parse(keys).unwrap();
            let sifted: Vec<Sifted> = reads.iter().map(|read| sifter.sift(read.as_bytes())).collect();
            let bytes: Vec<u8> = sifted.iter().flat_map(|s| s.bytes.clone()).collect();
            assert_eq!(String::from_utf8(bytes).unwrap(), expected, "{reads:?}");
            assert_eq!(sifted.last().unwrap().detach, detach, "{reads:?}");
        }
    }
}
