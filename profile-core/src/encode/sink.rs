//! What the OTLP encoder writes to: one walk over the model, two forms of the same messages.
//!
//! A field has a number in protobuf and a name in JSON. Zero and empty values are left out in both, but for elements of
//! lists and for values of a `oneof`.

use super::wire::Wire;

/// A field of a message: its number, and its name in JSON.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field(pub(super) u32, pub(super) &'static str);

/// A message being written.
pub(super) trait Sink {
    /// A field that is a message, which `body` writes; an empty one is written, too.
    fn message(&mut self, field: Field, body: impl FnOnce(&mut Self));

    /// A repeated field of messages; `body` writes them, each by [`item`](Self::item).
    fn list(&mut self, field: Field, body: impl FnOnce(&mut Self));

    /// One message of a list.
    fn item(&mut self, field: Field, body: impl FnOnce(&mut Self));

    /// A repeated field of strings.
    fn strings<'a>(&mut self, field: Field, strings: impl Iterator<Item = &'a str>);

    /// A field of type `string`.
    fn string(&mut self, field: Field, text: &str);

    /// A string in a `oneof`.
    fn string_value(&mut self, field: Field, text: &str);

    /// A trace or span id, of type `bytes`.
    fn id(&mut self, field: Field, id: &[u8]);

    /// A field of type `int32` or `uint32`, not negative.
    fn number32(&mut self, field: Field, value: u32);

    /// A repeated field of such numbers.
    fn numbers32(&mut self, field: Field, values: impl IntoIterator<Item = u32>);

    /// A field of type `int64` or `uint64`, not negative.
    fn number64(&mut self, field: Field, value: u64);

    /// A repeated field of such numbers.
    fn numbers64(&mut self, field: Field, values: impl IntoIterator<Item = u64>);

    /// A field of type `fixed64`.
    fn fixed64(&mut self, field: Field, value: u64);

    /// An `int64` in a `oneof`.
    fn int_value(&mut self, field: Field, value: i64);

    /// A true `bool` in a `oneof`.
    fn true_value(&mut self, field: Field);
}

impl Sink for Wire {
    fn message(&mut self, field: Field, body: impl FnOnce(&mut Self)) {
        Self::message(self, field.0, body);
    }

    fn list(&mut self, _: Field, body: impl FnOnce(&mut Self)) {
        body(self);
    }

    fn item(&mut self, field: Field, body: impl FnOnce(&mut Self)) {
        Self::message(self, field.0, body);
    }

    fn strings<'a>(&mut self, field: Field, strings: impl Iterator<Item = &'a str>) {
        strings.for_each(|string| self.text(field.0, string.as_bytes()));
    }

    fn string(&mut self, field: Field, text: &str) {
        self.bytes(field.0, text.as_bytes());
    }

    fn string_value(&mut self, field: Field, text: &str) {
        self.text(field.0, text.as_bytes());
    }

    fn id(&mut self, field: Field, id: &[u8]) {
        self.bytes(field.0, id);
    }

    fn number32(&mut self, field: Field, value: u32) {
        self.number(field.0, value.into());
    }

    fn numbers32(&mut self, field: Field, values: impl IntoIterator<Item = u32>) {
        self.packed(field.0, values.into_iter().map(u64::from));
    }

    fn number64(&mut self, field: Field, value: u64) {
        self.number(field.0, value);
    }

    fn numbers64(&mut self, field: Field, values: impl IntoIterator<Item = u64>) {
        self.packed(field.0, values);
    }

    fn fixed64(&mut self, field: Field, value: u64) {
        Self::fixed64(self, field.0, value);
    }

    fn int_value(&mut self, field: Field, value: i64) {
        // A negative number is written as its two's complement.
        self.element(field.0, value as u64);
    }

    fn true_value(&mut self, field: Field) {
        self.element(field.0, true.into());
    }
}
