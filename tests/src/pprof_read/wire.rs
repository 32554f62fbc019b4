//! The protobuf wire format, as far as pprof needs it: varints and length-delimited fields.
//!
//! Source: <https://protobuf.dev/programming-guides/encoding/>.

use crate::error::Context as _;
use crate::{Error, Result};

/// A field's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Payload<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message, in the order of the bytes.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) const fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn field(&mut self) -> Result<(u64, Payload<'a>)> {
        let tag = varint(&mut self.rest)?;
        let payload = match tag & 7 {
            0 => Payload::Varint(varint(&mut self.rest)?),
            2 => Payload::Bytes(self.delimited()?),
            other => return Err(Error::new(format!("field {} has wire type {other}", tag >> 3))),
        };
        Ok((tag >> 3, payload))
    }

    fn delimited(&mut self) -> Result<&'a [u8]> {
        let length = usize::try_from(varint(&mut self.rest)?).context("a length")?;
        let (bytes, rest) = self.rest.split_at_checked(length).context("a field ends after its message")?;
        self.rest = rest;
        Ok(bytes)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Payload<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[]; // Nothing after an error can be trusted.
        }
        Some(field)
    }
}

impl<'a> Payload<'a> {
    pub(super) fn number(self) -> Result<u64> {
        match self {
            Self::Varint(number) => Ok(number),
            Self::Bytes(_) => Err(Error::new("a number is length-delimited")),
        }
    }

    /// A two's-complement 64-bit integer.
    pub(super) fn signed(self) -> Result<i64> {
        Ok(self.number()?.cast_signed())
    }

    pub(super) fn flag(self) -> Result<bool> {
        Ok(self.number()? != 0)
    }

    pub(super) fn bytes(self) -> Result<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Varint(_) => Err(Error::new("a message is a number")),
        }
    }

    /// Appends a repeated number: one entry, or a packed list of them.
    pub(super) fn append_to(self, numbers: &mut Vec<u64>) -> Result<()> {
        match self {
            Self::Varint(number) => numbers.push(number),
            Self::Bytes(mut packed) => {
                while !packed.is_empty() {
                    numbers.push(varint(&mut packed)?);
                }
            }
        }
        Ok(())
    }
}

/// Seven bits a byte, least significant first; the high bit says that more follow; at most ten bytes.
fn varint(bytes: &mut &[u8]) -> Result<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().context("the message ends within a number")?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Error::new("a number has more than ten bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_bytes_are_read_as_the_encoding_guide_writes_them() {
        // The guide's own examples: 08 96 01 is field 1 = 150; 12 07 "testing" is field 2.
        let fields: Vec<_> = Fields::new(b"\x08\x96\x01\x12\x07testing").map(Result::unwrap).collect();
        assert_eq!(fields, [(1, Payload::Varint(150)), (2, Payload::Bytes(b"testing"))]);
        let minus_two =
            Payload::Varint(varint(&mut &b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"[..]).unwrap());
        assert_eq!(minus_two.signed().unwrap(), -2);
        let mut numbers = Vec::new();
        Payload::Bytes(b"\x03\x8e\x02\x9e\xa7\x05").append_to(&mut numbers).unwrap();
        Payload::Varint(1).append_to(&mut numbers).unwrap();
        assert_eq!(numbers, [3, 270, 86942, 1]);
    }

    #[test]
    fn what_ends_too_early_or_is_of_another_type_is_an_error() {
        for bad in [
            &b"\x08"[..],
            b"\x12\x07test",
            b"\x09\0\0\0\0\0\0\0\0",
            b"\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
        ] {
            let fields: Vec<_> = Fields::new(bad).collect();
            assert!(fields.len() == 1 && fields[0].is_err(), "{bad:?}");
        }
    }
}
