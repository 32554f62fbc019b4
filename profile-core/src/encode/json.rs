//! OTLP's JSON: names in lowerCamelCase, ids in hex, 64-bit integers as strings.
//! Source: <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>.

use super::sink::{Field, Sink};
use std::fmt::Write;

/// A JSON object being written.
#[derive(Debug)]
pub(super) struct Json {
    text: String,
}

impl Json {
    /// The object that `body` writes.
    pub(super) fn object(body: impl FnOnce(&mut Self)) -> String {
        let mut json = Self { text: String::new() };
        json.braces(body);
        json.text
    }

    fn braces(&mut self, body: impl FnOnce(&mut Self)) {
        self.text.push('{');
        body(self);
        self.text.push('}');
    }

    /// Begins a member or an element.
    fn separate(&mut self) {
        if !self.text.ends_with(['{', '[']) {
            self.text.push(',');
        }
    }

    fn name(&mut self, field: Field) {
        self.separate();
        self.text.push('"');
        self.text.push_str(field.1);
        self.text.push_str("\":");
    }

    /// A member that is an array, which `body` writes; none if there is nothing in it.
    fn array(&mut self, field: Field, body: impl FnOnce(&mut Self)) {
        let before = self.text.len();
        self.name(field);
        self.text.push('[');
        body(self);
        if self.text.ends_with('[') {
            self.text.truncate(before);
        } else {
            self.text.push(']');
        }
    }

    /// Source: RFC 8259, section 7.
    fn quoted(&mut self, text: &str) {
        self.text.push('"');
        let mut rest = text;
        while let Some(at) = rest.find(|c: char| matches!(c, '"' | '\\') || c < ' ') {
            let (plain, special) = rest.split_at(at);
            self.text.push_str(plain);
            let mut chars = special.chars();
            match chars.next() {
                Some(c @ ('"' | '\\')) => self.text.extend(['\\', c]),
                Some(c) => self.shown(format_args!("\\u{:04x}", u32::from(c))),
                None => {}
            }
            rest = chars.as_str();
        }
        self.text.push_str(rest);
        self.text.push('"');
    }

    fn shown(&mut self, value: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _infallible = self.text.write_fmt(value);
    }
}

impl Sink for Json {
    fn message(&mut self, field: Field, body: impl FnOnce(&mut Self)) {
        self.name(field);
        self.braces(body);
    }

    fn list(&mut self, field: Field, body: impl FnOnce(&mut Self)) {
        self.array(field, body);
    }

    fn item(&mut self, _: Field, body: impl FnOnce(&mut Self)) {
        self.separate();
        self.braces(body);
    }

    fn strings<'a>(&mut self, field: Field, strings: impl Iterator<Item = &'a str>) {
        self.array(field, |json| {
            for string in strings {
                json.separate();
                json.quoted(string);
            }
        });
    }

    fn string(&mut self, field: Field, text: &str) {
        if !text.is_empty() {
            self.string_value(field, text);
        }
    }

    fn string_value(&mut self, field: Field, text: &str) {
        self.name(field);
        self.quoted(text);
    }

    fn id(&mut self, field: Field, id: &[u8]) {
        self.name(field);
        self.text.push('"');
        for byte in id {
            self.shown(format_args!("{byte:02x}"));
        }
        self.text.push('"');
    }

    fn number32(&mut self, field: Field, value: u32) {
        if value != 0 {
            self.name(field);
            self.shown(format_args!("{value}"));
        }
    }

    fn numbers32(&mut self, field: Field, values: impl IntoIterator<Item = u32>) {
        self.array(field, |json| {
            for value in values {
                json.separate();
                json.shown(format_args!("{value}"));
            }
        });
    }

    fn number64(&mut self, field: Field, value: u64) {
        if value != 0 {
            self.name(field);
            self.shown(format_args!("\"{value}\""));
        }
    }

    fn numbers64(&mut self, field: Field, values: impl IntoIterator<Item = u64>) {
        self.array(field, |json| {
            for value in values {
                json.separate();
                json.shown(format_args!("\"{value}\""));
            }
        });
    }

    fn fixed64(&mut self, field: Field, value: u64) {
        self.number64(field, value);
    }

    fn int_value(&mut self, field: Field, value: i64) {
        self.name(field);
        self.shown(format_args!("\"{value}\""));
    }

    fn true_value(&mut self, field: Field) {
        self.name(field);
        self.text.push_str("true");
    }
}
