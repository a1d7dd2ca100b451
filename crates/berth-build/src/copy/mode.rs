//! `--chmod`: octal or symbolic.

use berth_oci::{Error, Result};

/// What `--chmod` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ModeChange {
    /// These bits.
    Exactly(u32),
    /// `u=rw,go=r`.
    Symbolic(Vec<Clause>),
}

/// One part of a symbolic mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Clause {
    /// Which of `u`, `g`, `o`.
    who: [bool; 3],
    operator: char,
    permissions: String,
}

impl ModeChange {
    /// Reads it.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let wrong = || {
            Error::invalid(format!("invalid chmod parameter: '{text}'"))
                .hint("it is octal, at most 07777, or symbolic like u=rwX,go=rX")
        };
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            let mode = u32::from_str_radix(text, 8).map_err(|_| wrong())?;
            return if mode <= 0o7777 { Ok(Self::Exactly(mode)) } else { Err(wrong()) };
        }
        text.split(',').map(clause).collect::<Option<Vec<_>>>().map(Self::Symbolic).ok_or_else(wrong)
    }

    /// What directories get that have to be made on the way: docker gives them the bits, too, but never what a symbolic
    /// mode says.
    pub(crate) fn for_directories(&self) -> Option<u32> {
        match self {
            Self::Exactly(mode) => Some(mode & 0o777),
            Self::Symbolic(_) => None,
        }
    }

    /// The mode of a file that had `mode`.
    pub(crate) fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        match self {
            Self::Exactly(mode) => *mode,
            Self::Symbolic(clauses) => {
                clauses.iter().fold(mode, |mode, clause| clause.apply(mode, is_directory))
            }
        }
    }
}

fn clause(text: &str) -> Option<Clause> {
    let at = text.find(['+', '-', '='])?;
    let (names, rest) = text.split_at(at);
    let mut who = [false; 3];
    for name in names.chars() {
        match name {
            'u' => who[0] = true,
            'g' => who[1] = true,
            'o' => who[2] = true,
            'a' => who = [true; 3],
            _ => return None,
        }
    }
    if names.is_empty() {
        who = [true; 3];
    }
    let operator = rest.chars().next()?;
    let permissions = &rest[1..];
    permissions.chars().all(|c| "rwxXstugo".contains(c)).then(|| Clause {
        who,
        operator,
        permissions: permissions.to_owned(),
    })
}

impl Clause {
    fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        let mut bits = 0;
        let mut covered = 0;
        for (at, shift) in [6u32, 3, 0].into_iter().enumerate() {
            if !self.who[at] {
                continue;
            }
            covered |= 0o7 << shift;
            for permission in self.permissions.chars() {
                let own = match permission {
                    'r' => 4,
                    'w' => 2,
                    'x' => 1,
                    'X' => u32::from(is_directory || mode & 0o111 != 0),
                    'u' => mode >> 6 & 7,
                    'g' => mode >> 3 & 7,
                    'o' => mode & 7,
                    _ => 0,
                };
                bits |= own << shift;
                bits |= match (permission, at) {
                    ('s', 0) => 0o4000,
                    ('s', 1) => 0o2000,
                    ('t', _) => 0o1000,
                    _ => 0,
                };
            }
        }
        match self.operator {
            '+' => mode | bits,
            '-' => mode & !bits,
            _ => mode & !covered | bits,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_change() {
        for (text, before, is_directory, expected) in [
            ("644", 0o755, false, Some(0o644)),
            ("4755", 0o600, false, Some(0o4755)),
            ("0", 0o755, false, Some(0)),
            ("u=rw,go=r", 0o777, false, Some(0o644)),
            ("a+X", 0o644, false, Some(0o644)),
            ("a+X", 0o644, true, Some(0o755)),
            ("+x", 0o644, false, Some(0o755)),
            ("go-rwx", 0o777, false, Some(0o700)),
            ("u+s,g+s,+t", 0o755, false, Some(0o7755)),
            ("g=u", 0o640, false, Some(0o660)),
            ("10000", 0, false, None),
            ("888", 0, false, None),
            ("", 0, false, None),
            ("u", 0, false, None),
            ("z=r", 0, false, None),
        ] {
            let got = ModeChange::parse(text).ok().map(|change| change.apply(before, is_directory));
            assert_eq!(got, expected, "{text}");
        }
    }
}
