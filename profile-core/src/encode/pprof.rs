//! pprof: what `go tool pprof` and most profile viewers read.
//!
//! Each sample has two values, `samples`/`count` and `cpu`/`nanoseconds` (the weight times the period), and the
//! string labels `span_id` (16 hex digits), `trace_id` (32), `span_name` and `region`, and the program's own labels.
//! Mappings, locations and functions have the numbers of their table rows as ids. The file has strings that the model's
//! table lacks (label keys and values, build ids); they are appended to it in the file. Strings that only OTLP needs stay
//! in: they are a few, and renumbering would cost more than they do.
//!
//! The bytes are gzip-compressed, as the format asks. Source: <https://github.com/google/pprof/tree/main/proto>;
//! field numbers: `proto/proto/perftools/profiles/profile.proto`.

use super::sections::gzip_parts;
use super::wire::Wire;
use crate::profile::Profile;
use crate::profile::dictionary::{
    Dictionary, Function, Location, Mapping, MappingIndex, StringIndex, SymbolDetail, ValueType,
};
use crate::profile::sample::{Exported, Labels};
use crate::profile::table::{Index, Table};
use std::sync::Arc;

/// The gzip-compressed bytes of `profile`.
pub(super) fn encode(profile: &Profile) -> Vec<u8> {
    let bytes = encode_uncompressed(profile);
    // Writing to memory does not fail; if it did, every reader takes the bytes as they are.
    match gzip_parts(&[&bytes]) {
        Ok(compressed) => compressed,
        Err(_) => bytes,
    }
}

/// The bytes of `profile` before compression.
pub(super) fn encode_uncompressed(profile: &Profile) -> Vec<u8> {
    let dictionary = profile.dictionary();
    let mut strings = Strings { known: &dictionary.strings, more: Table::new() };
    let labels: Vec<_> =
        profile.labels().rows().iter().map(|row| labels(dictionary, &mut strings, row)).collect();
    let [sample_type, period_type] = profile.types();

    let mut wire = Wire::default();
    value_type(&mut wire, 1, sample_type);
    value_type(&mut wire, 1, period_type);
    for exported in profile.exported() {
        let labels = labels.get(exported.labels.position()).map_or(&[][..], |labels| labels);
        wire.message(2, |wire| sample(wire, profile, &exported, labels));
    }
    // Readers take the first mapping for the program itself; Linux puts it below its libraries.
    let mut mappings: Vec<_> = numbered(dictionary.mappings.rows()).collect();
    mappings.sort_by_key(|(_, row)| row.start);
    for (id, row) in mappings {
        let build_id = dictionary.attribute_text(row.build_id).map_or(0, |text| strings.number(text));
        let detail = dictionary.detail(MappingIndex::from_row(id as u32));
        wire.message(3, |wire| mapping(wire, id, row, build_id, detail));
    }
    for (id, row) in numbered(dictionary.locations.rows()) {
        wire.message(4, |wire| location(wire, id, row));
    }
    for (id, row) in numbered(dictionary.functions.rows()) {
        wire.message(5, |wire| function(wire, id, row));
    }
    let comments: Vec<u64> = profile.notes().map(|note| strings.number(note)).collect();
    strings.rows().for_each(|string| wire.text(6, string.as_bytes()));
    wire.number(9, signed(profile.start_unix_nanos().into()));
    wire.number(10, signed(profile.duration().as_nanos()));
    value_type(&mut wire, 11, period_type);
    wire.number(12, signed(profile.period_nanos().into()));
    wire.packed(13, comments);
    wire.number(14, number(period_type.kind));
    wire.into_bytes()
}

/// The strings of the file: those of the dictionary, then those that only pprof needs.
struct Strings<'a> {
    known: &'a Table<StringIndex, Arc<str>>,
    more: Table<StringIndex, Arc<str>>,
}

impl Strings<'_> {
    /// The number of `text` in the file.
    fn number(&mut self, text: &str) -> u64 {
        if let Some(known) = self.known.find(text) {
            return number(known);
        }
        let more = self.more.find(text).unwrap_or_else(|| self.more.intern(text.into()));
        // Row 0 of the second table, the empty string, is not written.
        self.known.len() as u64 + number(more) - 1
    }

    fn rows(&self) -> impl Iterator<Item = &Arc<str>> {
        self.known.rows().iter().chain(self.more.rows().iter().skip(1))
    }
}

/// The keys and values of the labels of a sample.
fn labels(dictionary: &Dictionary, strings: &mut Strings<'_>, labels: &Labels) -> Vec<(u64, u64)> {
    let link = dictionary.links.get(labels.link);
    let mut row = Vec::new();
    if link.span_id.is_valid() {
        row.push((strings.number("span_id"), strings.number(&link.span_id.to_string())));
        row.push((strings.number("trace_id"), strings.number(&link.trace_id.to_string())));
    }
    for index in &labels.attributes {
        if let Some(value) = dictionary.attribute_text(*index) {
            row.push((number(dictionary.attributes.get(*index).key), strings.number(value)));
        }
    }
    row
}

/// `Sample`
fn sample(wire: &mut Wire, profile: &Profile, sample: &Exported, labels: &[(u64, u64)]) {
    let stack = profile.dictionary().stacks.get(sample.stack);
    let nanos = u128::from(sample.weight) * u128::from(profile.period_nanos());
    wire.packed(1, stack.iter().map(|location| number(*location)));
    wire.packed(2, [signed(sample.weight.into()), signed(nanos)]);
    for (key, value) in labels {
        wire.message(3, |wire| {
            wire.number(1, *key);
            wire.number(2, *value);
        });
    }
}

/// `ValueType`
fn value_type(wire: &mut Wire, field: u32, value_type: ValueType) {
    wire.message(field, |wire| {
        wire.number(1, number(value_type.kind));
        wire.number(2, number(value_type.unit));
    });
}

/// `Mapping`
fn mapping(wire: &mut Wire, id: u64, mapping: &Mapping, build_id: u64, detail: SymbolDetail) {
    wire.number(1, id);
    wire.number(2, mapping.start);
    wire.number(3, mapping.limit);
    wire.number(4, mapping.file_offset);
    wire.number(5, number(mapping.file));
    wire.number(6, build_id);
    wire.flag(7, detail.functions);
    wire.flag(8, detail.files);
    wire.flag(9, detail.lines);
    wire.flag(10, detail.inlines);
}

/// `Location`
fn location(wire: &mut Wire, id: u64, location: &Location) {
    wire.number(1, id);
    wire.number(2, number(location.mapping));
    wire.number(3, location.address);
    for line in &location.lines {
        wire.message(4, |wire| {
            wire.number(1, number(line.function));
            wire.number(2, line.line.into());
            wire.number(3, line.column.into());
        });
    }
}

/// `Function`
fn function(wire: &mut Wire, id: u64, function: &Function) {
    wire.number(1, id);
    wire.number(2, number(function.name));
    wire.number(3, number(function.system_name));
    wire.number(4, number(function.file));
    wire.number(5, function.start_line.into());
}

/// The rows of a table with their ids. Row 0 is none: pprof says "none" by id 0.
fn numbered<T>(rows: &[T]) -> impl Iterator<Item = (u64, &T)> {
    (0..).zip(rows).skip(1)
}

fn number<I: Index>(index: I) -> u64 {
    index.row().into()
}

/// A number for a field of type `int64`; the largest one if it does not fit.
fn signed(value: u128) -> u64 {
    value.min(i64::MAX as u128) as u64
}
