//! Writing protobuf straight into one buffer: no message structs, no copy of any row.
//!
//! A message within a message is preceded by its length, which is known only when it is written. One byte is left
//! for it, enough for most; a longer message is moved up by the bytes that are missing. The bytes are those that any
//! protobuf library writes for the same message: fields in order, numbers as short as they can be, zero left out.
//! Source: <https://protobuf.dev/programming-guides/encoding/>

/// A protobuf message being written.
#[derive(Debug, Default)]
pub(super) struct Wire {
    bytes: Vec<u8>,
}

/// The wire type of variable-length numbers.
const VARINT: u32 = 0;
/// The wire type of eight bytes.
const FIXED64: u32 = 1;
/// The wire type of anything with a length: text, bytes, messages, packed numbers.
const LENGTH: u32 = 2;

impl Wire {
    /// The message's bytes.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// A field of type `uint64` or `uint32`, or `int64` or `int32` if not negative.
    pub(super) fn number(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.element(field, value);
        }
    }

    /// One element of a repeated field of numbers that is not packed, or a number in a `oneof`: zero is written.
    pub(super) fn element(&mut self, field: u32, value: u64) {
        self.key(field, VARINT);
        self.varint(value);
    }

    /// A field of type `bool`.
    pub(super) fn flag(&mut self, field: u32, value: bool) {
        self.number(field, value.into());
    }

    /// A field of type `fixed64`.
    pub(super) fn fixed64(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.key(field, FIXED64);
            self.bytes.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// A field of type `string` or `bytes`.
    pub(super) fn bytes(&mut self, field: u32, value: &[u8]) {
        if !value.is_empty() {
            self.text(field, value);
        }
    }

    /// One element of a repeated field of strings or bytes, or such a value in a `oneof`: an empty one is written.
    pub(super) fn text(&mut self, field: u32, value: &[u8]) {
        self.key(field, LENGTH);
        self.varint(value.len() as u64);
        self.bytes.extend_from_slice(value);
    }

    /// A repeated field of non-negative numbers, packed.
    pub(super) fn packed(&mut self, field: u32, values: impl IntoIterator<Item = u64>) {
        let mut values = values.into_iter().peekable();
        if values.peek().is_some() {
            self.message(field, |wire| values.for_each(|value| wire.varint(value)));
        }
    }

    /// A field that is a message, which `body` writes. An empty one is written, too.
    pub(super) fn message(&mut self, field: u32, body: impl FnOnce(&mut Self)) {
        self.key(field, LENGTH);
        let start = self.bytes.len() + 1;
        self.bytes.push(0);
        body(self);
        let end = self.bytes.len();
        let (prefix, width) = varint((end - start) as u64);
        if width > 1 {
            self.bytes.resize(end + width - 1, 0);
            self.bytes.copy_within(start..end, start + width - 1);
        }
        for (slot, byte) in self.bytes.iter_mut().skip(start - 1).zip(prefix.iter().take(width)) {
            *slot = *byte;
        }
    }

    fn key(&mut self, field: u32, wire_type: u32) {
        self.varint(u64::from(field << 3 | wire_type));
    }

    fn varint(&mut self, value: u64) {
        let (bytes, width) = varint(value);
        self.bytes.extend(bytes.iter().take(width));
    }
}

/// A variable-length number: seven bits a byte, the lowest first, the top bit of each byte but the last set. How many
/// of the bytes are in use comes second.
pub(super) fn varint(mut value: u64) -> ([u8; 10], usize) {
    let mut bytes = [0; 10];
    let mut width = 0;
    for byte in &mut bytes {
        width += 1;
        *byte = value as u8 & 0x7f;
        value >>= 7;
        if value == 0 {
            break;
        }
        *byte |= 0x80;
    }
    (bytes, width)
}

/// How many bytes a variable-length number has.
pub(super) const fn width(value: u64) -> usize {
    (u64::BITS - (value | 1).leading_zeros()).div_ceil(7) as usize
}

#[cfg(test)]
#[cfg(not(loom))] // whose build has no dev-dependencies
mod tests {
    use super::*;
    use profile_proto::common::v1::{AnyValue, KeyValue, any_value::Value};
    use profile_proto::pprof;
    use proptest::prelude::*;
    use prost::Message;

    proptest! {
        #[test]
        fn numbers_and_nested_messages_have_the_bytes_of_prost(
            ids in proptest::collection::vec(any::<u64>(), 0..2000),
            values in proptest::collection::vec(0..i64::MAX, 0..3),
            key in 0..i64::MAX,
        ) {
            let label = pprof::Label { key, ..Default::default() };
            let sample = pprof::Sample { location_id: ids.clone(), value: values.clone(), label: vec![label] };
            let profile = pprof::Profile { sample: vec![sample], ..Default::default() };
            let mut wire = Wire::default();
            wire.message(2, |wire| {
                wire.packed(1, ids.iter().copied());
                wire.packed(2, values.iter().map(|value| *value as u64));
                wire.message(3, |wire| wire.number(1, key as u64));
            });
            prop_assert_eq!(wire.into_bytes(), profile.encode_to_vec());
        }

        #[test]
        fn text_has_the_bytes_of_prost(key in ".{0,300}", value in ".{0,300}") {
            let text = AnyValue { value: Some(Value::StringValue(value.clone())) };
            let attribute = KeyValue { key: key.clone(), value: Some(text), key_strindex: 0 };
            let mut wire = Wire::default();
            wire.bytes(1, key.as_bytes());
            wire.message(2, |wire| wire.text(1, value.as_bytes()));
            prop_assert_eq!(wire.into_bytes(), attribute.encode_to_vec());
        }
    }

    #[test]
    fn a_width_is_that_of_the_number_as_it_is_written() {
        for value in (0..64).flat_map(|bit| [(1_u64 << bit) - 1, 1 << bit]).chain([u64::MAX]) {
            assert_eq!(width(value), varint(value).1, "{value}");
        }
    }

    #[test]
    fn lengths_around_each_width_of_a_varint_are_right() {
        for length in [0, 1, 127, 128, 16383, 16384, 2_097_151, 2_097_152] {
            let strings = vec!["x".repeat(length)];
            let profile = pprof::Profile { string_table: strings.clone(), ..Default::default() };
            let mut wire = Wire::default();
            wire.message(6, |wire| wire.bytes.extend_from_slice(strings[0].as_bytes()));
            assert!(wire.into_bytes() == profile.encode_to_vec(), "length {length}");
        }
    }
}
