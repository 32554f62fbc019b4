//! OTLP profiles, v1development, layout of OTLP 1.10 and 1.11.
//!
//! The bytes are an `ExportProfilesServiceRequest`, which are those of a `ProfilesData` too. A batch is one resource,
//! one scope (this library), and one `Profile` message for each profile of the batch, over one dictionary. The
//! profiles come first in the request and its dictionary last, so both are written in one pass: the tables of a
//! single profile are written as they are; those of several are copied into a common dictionary row by row, as the
//! samples ask for them. Samples themselves are never copied.
//!
//! What the receivers demand beyond the protocol shows in what is written: one value a sample and no timestamps, the
//! types `samples`/`count` over a period of `cpu`/`nanoseconds`, resource and scope always there, attribute keys and
//! values of the resource in place rather than by reference, an empty message in row 0 of each table.
//!
//! Field numbers: `proto/proto/opentelemetry/proto/profiles/v1development/profiles.proto`.

use super::wire::Wire;
use crate::profile::Profile;
use crate::profile::ProfileBatch;
use crate::profile::dictionary::{
    Attribute, AttributeIndex, AttributeValue, Dictionary, Function, LinkIndex, Location, Mapping,
    MappingIndex, SymbolDetail, ValueType,
};
use crate::profile::merge::{Import, Numbering, Own};
use crate::profile::sample::{Exported, Labels, LabelsIndex};
use crate::profile::table::Index;
use crate::resource::{Resource, Value};
use std::sync::Arc;

/// The name of the scope: what Parca calls the profile's type.
const SCOPE_NAME: &str = env!("CARGO_PKG_NAME");
const SCOPE_VERSION: &str = env!("CARGO_PKG_VERSION");

/// The most samples of one `Profile` message; a larger profile becomes several of the same times. Pyroscope refuses
/// profiles of more than 16,000 samples.
pub(super) const MAX_SAMPLES: usize = 10_000;

/// The bytes of `batch`; none if it is empty.
pub(super) fn encode(batch: &ProfileBatch) -> Vec<u8> {
    let mut wire = Wire::default();
    match batch.profiles() {
        [] => {}
        [only] => {
            wire.message(1, |wire| resource_profiles(wire, batch, |wire| profile(wire, only, &mut Own)));
            wire.message(2, |wire| dictionary(wire, only.dictionary()));
        }
        several => {
            let mut shared = Dictionary::default();
            wire.message(1, |wire| {
                resource_profiles(wire, batch, |wire| {
                    for one in several {
                        profile(wire, one, &mut Import::new(one.dictionary(), &mut shared));
                    }
                });
            });
            wire.message(2, |wire| dictionary(wire, &shared));
        }
    }
    wire.into_bytes()
}

/// `ResourceProfiles`, with one `ScopeProfiles` whose profiles `profiles` writes.
fn resource_profiles(wire: &mut Wire, batch: &ProfileBatch, profiles: impl FnOnce(&mut Wire)) {
    wire.message(1, |wire| resource(wire, batch.resource()));
    wire.message(2, |wire| {
        wire.message(1, |wire| {
            wire.bytes(1, SCOPE_NAME.as_bytes());
            wire.bytes(2, SCOPE_VERSION.as_bytes());
        });
        profiles(wire);
    });
}

/// `Resource`
fn resource(wire: &mut Wire, resource: &Resource) {
    for (key, value) in resource.attributes() {
        wire.message(1, |wire| {
            wire.bytes(1, key.as_bytes());
            wire.message(2, |wire| match value {
                Value::String(text) => wire.text(1, text.as_bytes()),
                // A negative number is written as its two's complement.
                Value::Int(number) => wire.element(3, *number as u64),
            });
        });
    }
}

/// The `Profile` messages of one profile, in the field `profiles` of `ScopeProfiles`.
fn profile(wire: &mut Wire, profile: &Profile, numbers: &mut impl Numbering) {
    let labels: Vec<Labels> = profile.labels().rows().iter().map(|row| numbered(row, numbers)).collect();
    let mut samples = profile.exported().peekable();
    while samples.peek().is_some() {
        wire.message(2, |wire| {
            let [sample_type, period_type] = profile.types().map(|kind| numbers.value_type(kind));
            value_type(wire, 1, sample_type);
            samples.by_ref().take(MAX_SAMPLES).for_each(|one| sample(wire, &one, &labels, numbers));
            wire.fixed64(3, profile.start_unix_nanos());
            wire.number(4, u64::try_from(profile.duration().as_nanos()).unwrap_or(u64::MAX));
            value_type(wire, 5, period_type);
            wire.number(6, signed(profile.period_nanos()));
            if profile.comment() != AttributeIndex::default() {
                wire.packed(11, [row(numbers.attribute(profile.comment()))]);
            }
        });
    }
}

/// `labels` with the numbers that its rows have where they are written.
fn numbered(labels: &Labels, numbers: &mut impl Numbering) -> Labels {
    Labels {
        link: numbers.link(labels.link),
        attributes: labels.attributes.iter().map(|index| numbers.attribute(*index)).collect(),
    }
}

/// `Sample`
fn sample(wire: &mut Wire, sample: &Exported, labels: &[Labels], numbers: &mut impl Numbering) {
    wire.message(2, |wire| {
        wire.number(1, row(numbers.stack(sample.stack)));
        if let Some(labels) = labels.get(LabelsIndex::position(sample.labels)) {
            wire.packed(2, labels.attributes.iter().map(|index| row(*index)));
            wire.number(3, row::<LinkIndex>(labels.link));
        }
        wire.packed(4, [signed(sample.weight)]);
    });
}

/// `ValueType`
fn value_type(wire: &mut Wire, field: u32, value_type: ValueType) {
    wire.message(field, |wire| {
        wire.number(1, row(value_type.kind));
        wire.number(2, row(value_type.unit));
    });
}

/// `ProfilesDictionary`
///
/// What the locations of the mappings carry is said by attributes that only mappings have. They are settled only now,
/// when all profiles are in, and come after the rows of the tables.
fn dictionary(wire: &mut Wire, dictionary: &Dictionary) {
    let details = Details::of(dictionary);
    for (number, mapping_row) in (0..).zip(dictionary.mappings.rows()) {
        let detail = dictionary.detail(MappingIndex::from_row(number));
        wire.message(1, |wire| mapping(wire, mapping_row, details.numbers(detail)));
    }
    for location_row in dictionary.locations.rows() {
        wire.message(2, |wire| location(wire, location_row));
    }
    for function_row in dictionary.functions.rows() {
        wire.message(3, |wire| function(wire, function_row));
    }
    for (number, link) in dictionary.links.rows().iter().enumerate() {
        // Row 0 is an empty message, not one with zero bytes in it: profcheck and Parca insist.
        wire.message(4, |wire| {
            if number > 0 {
                wire.bytes(1, &link.trace_id.to_bytes());
                wire.bytes(2, &link.span_id.to_bytes());
            }
        });
    }
    let strings = dictionary.strings.rows().iter().map(|string| &**string);
    for string in strings.chain(details.new_strings.iter().copied()) {
        wire.text(5, string.as_bytes());
    }
    for attribute_row in dictionary.attributes.rows() {
        wire.message(6, |wire| attribute(wire, attribute_row));
    }
    for (_, key) in &details.keys {
        wire.message(6, |wire| {
            wire.number(1, *key);
            wire.message(2, |wire| wire.element(2, true.into()));
        });
    }
    for stack in dictionary.stacks.rows() {
        wire.message(7, |wire| wire.packed(1, stack.iter().map(|location| row(*location))));
    }
}

/// The attributes that say what the locations of mappings carry.
struct Details {
    /// Which are needed, and the numbers of their keys among the strings.
    keys: Vec<(&'static str, u64)>,
    /// The keys that the table of strings lacks; they come after it.
    new_strings: Vec<&'static str>,
    /// The number of the first of the attributes.
    first: u64,
}

impl Details {
    fn of(dictionary: &Dictionary) -> Self {
        let first = dictionary.attributes.len() as u64;
        let mut details = Self { keys: Vec::new(), new_strings: Vec::new(), first };
        for number in 0..dictionary.mappings.len() as u32 {
            for key in dictionary.detail(MappingIndex::from_row(number)).keys() {
                if details.keys.iter().all(|(known, _)| *known != key) {
                    let number = dictionary.strings.find(key).map(row).unwrap_or_else(|| {
                        details.new_strings.push(key);
                        (dictionary.strings.len() + details.new_strings.len() - 1) as u64
                    });
                    details.keys.push((key, number));
                }
            }
        }
        details
    }

    /// The numbers of the attributes for `detail`.
    fn numbers(&self, detail: SymbolDetail) -> impl Iterator<Item = u64> {
        let known = detail.keys().filter_map(|key| self.keys.iter().position(|(known, _)| *known == key));
        known.map(|position| self.first + position as u64)
    }
}

/// `Mapping`
fn mapping(wire: &mut Wire, mapping: &Mapping, details: impl Iterator<Item = u64>) {
    wire.number(1, mapping.start);
    wire.number(2, mapping.limit);
    wire.number(3, mapping.file_offset);
    wire.number(4, row(mapping.file));
    let build_id = Some(row(mapping.build_id)).filter(|number| *number != 0);
    wire.packed(5, build_id.into_iter().chain(details));
}

/// `Location`
fn location(wire: &mut Wire, location: &Location) {
    wire.number(1, row(location.mapping));
    wire.number(2, location.address);
    for line in &location.lines {
        wire.message(3, |wire| {
            wire.number(1, row(line.function));
            wire.number(2, line.line.into());
            wire.number(3, line.column.into());
        });
    }
    if location.frame_type != AttributeIndex::default() {
        wire.packed(4, [row(location.frame_type)]);
    }
}

/// `Function`
fn function(wire: &mut Wire, function: &Function) {
    wire.number(1, row(function.name));
    wire.number(2, row(function.system_name));
    wire.number(3, row(function.file));
    wire.number(4, function.start_line.into());
}

/// `KeyValueAndUnit`, without a unit
fn attribute(wire: &mut Wire, attribute: &Attribute) {
    let text = |wire: &mut Wire, text: &Arc<str>| wire.text(1, text.as_bytes());
    wire.number(1, row(attribute.key));
    match &attribute.value {
        AttributeValue::None => {}
        AttributeValue::Text(value) => wire.message(2, |wire| text(wire, value)),
        AttributeValue::Texts(values) => wire.message(2, |wire| {
            wire.message(5, |wire| values.iter().for_each(|value| wire.message(1, |wire| text(wire, value))));
        }),
    }
}

/// A table row's number as it is written.
fn row<I: Index>(index: I) -> u64 {
    index.row().into()
}

/// A number for a field of type `int64`; the largest one if it does not fit.
fn signed(value: u64) -> u64 {
    value.min(i64::MAX as u64)
}
