//! The 512-byte header: where its fields are and which dialect it speaks. Nothing is kept between headers.

use super::number::{field, unsigned_field};
use super::{BLOCK, Device};
use berth_oci::{Error, Result};

/// A header whose checksum was right.
pub(super) struct Header<'a>(&'a [u8; BLOCK]);

/// What wrote a header, as far as it matters for its fields.
#[derive(PartialEq, Eq)]
enum Dialect {
    V7,
    Gnu,
    Ustar,
    Star,
}

impl<'a> Header<'a> {
    /// `None` unless the checksum is right, as unsigned or, as old programs summed, signed bytes.
    pub(super) fn checked(block: &'a [u8; BLOCK]) -> Option<Self> {
        let expected = field(&block[148..156])?;
        let (mut unsigned, mut signed) = (0i64, 0i64);
        for (index, &byte) in block.iter().enumerate() {
            let byte = if (148..156).contains(&index) { b' ' } else { byte };
            unsigned += i64::from(byte);
            signed += i64::from(byte.cast_signed());
        }
        (expected == unsigned || expected == signed).then_some(Self(block))
    }

    fn dialect(&self) -> Dialect {
        match &self.0[257..265] {
            b"ustar  \0" => Dialect::Gnu,
            magic if magic.starts_with(b"ustar\0") && &self.0[508..512] == b"tar\0" => Dialect::Star,
            magic if magic.starts_with(b"ustar\0") => Dialect::Ustar,
            _ => Dialect::V7,
        }
    }

    pub(super) fn type_flag(&self) -> u8 {
        self.0[156]
    }

    pub(super) fn path(&self) -> Vec<u8> {
        let prefix = match self.dialect() {
            Dialect::Ustar => text(&self.0[345..500]),
            Dialect::Star => text(&self.0[345..476]),
            Dialect::Gnu | Dialect::V7 => b"",
        };
        let name = text(&self.0[0..100]);
        match prefix.is_empty() {
            true => name.to_vec(),
            false => [prefix, b"/", name].concat(),
        }
    }

    pub(super) fn link_target(&self) -> &'a [u8] {
        text(&self.0[157..257])
    }

    pub(super) fn mode(&self) -> Result<u16> {
        let mode = number("mode", unsigned_field(&self.0[100..108]))?;
        Ok((mode & 0o7777) as u16)
    }

    pub(super) fn uid(&self) -> Result<u64> {
        number("owner", unsigned_field(&self.0[108..116]))
    }

    pub(super) fn gid(&self) -> Result<u64> {
        number("group", unsigned_field(&self.0[116..124]))
    }

    pub(super) fn size(&self) -> Result<u64> {
        number("size", unsigned_field(&self.0[124..136]))
    }

    pub(super) fn mtime(&self) -> Result<i64> {
        number("modification time", field(&self.0[136..148]))
    }

    /// Linux has twelve bits for the driver and twenty for the device.
    pub(super) fn device(&self) -> Result<Device> {
        if self.dialect() == Dialect::V7 {
            return Ok(Device { major: 0, minor: 0 });
        }
        let major = number("device", unsigned_field(&self.0[329..337]))?;
        let minor = number("device", unsigned_field(&self.0[337..345]))?;
        if major >= 1 << 12 || minor >= 1 << 20 {
            return Err(Error::corrupt(format!("no device can have the number {major}:{minor}")));
        }
        Ok(Device { major: major as u32, minor: minor as u32 })
    }

    /// GNU's sparse header: the four pairs it has room for, whether more follow, and the file's length.
    pub(super) fn sparse(&self) -> Result<(&'a [u8], bool, u64)> {
        let size = number("length of a sparse file", unsigned_field(&self.0[483..495]))?;
        Ok((&self.0[386..482], self.0[482] != 0, size))
    }
}

fn number<T>(name: &str, value: Option<T>) -> Result<T> {
    value.ok_or_else(|| Error::corrupt(format!("its {name} is not a number")))
}

/// A field up to its first zero byte.
pub(super) fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|&b| b == 0).unwrap_or(field.len());
    &field[..end]
}
