//! OTLP profiles, v1development, layout of OTLP 1.10 and 1.11.
//!
//! The bytes are an `ExportProfilesServiceRequest`, which are those of a `ProfilesData` too. A batch is one resource,
//! one scope (this library), and one `Profile` message for each profile of the batch, over one dictionary. The
//! tables of a single profile are written from where they are; those of several are copied into a common dictionary, row by
//! row as the samples ask for them. Samples themselves are never copied. Rows are written in an order that compresses
//! well, see [`order`](super::order).
//!
//! What the receivers demand beyond the protocol shows in what is written: one value a sample and no timestamps, the
//! types `samples`/`count` over a period of `cpu`/`nanoseconds`, resource and scope always there, attribute keys and
//! values of the resource in place rather than by reference, an empty message in row 0 of each table.
//!
//! Field numbers: `proto/proto/opentelemetry/proto/profiles/v1development/profiles.proto`; their names in JSON are the
//! same in lowerCamelCase.

use super::json::Json;
use super::order::Order;
use super::sink::{Field, Sink};
use super::wire::Wire;
use crate::profile::Profile;
use crate::profile::ProfileBatch;
use crate::profile::dictionary::{
    Attribute, AttributeIndex, AttributeValue, Dictionary, Function, LinkIndex, Location, Mapping,
    MappingIndex, SymbolDetail, ValueType,
};
use crate::profile::merge::Numbers;
use crate::profile::sample::Exported;
use crate::profile::table::Index;
use crate::resource::{Resource, Value};

/// The name of the scope: what Parca calls the profile's type.
const SCOPE_NAME: &str = env!("CARGO_PKG_NAME");
const SCOPE_VERSION: &str = env!("CARGO_PKG_VERSION");

/// The most samples of one `Profile` message; a larger profile becomes several of the same times. Pyroscope refuses
/// profiles of more than 16,000 samples.
pub(super) const MAX_SAMPLES: usize = 10_000;

/// `batch` in protobuf; no bytes if it is empty.
pub(super) fn encode(batch: &ProfileBatch) -> Vec<u8> {
    let mut wire = Wire::default();
    request(&mut wire, batch);
    wire.into_bytes()
}

/// `batch` in JSON; no text if it is empty.
pub(super) fn encode_json(batch: &ProfileBatch) -> String {
    if batch.is_empty() { String::new() } else { Json::object(|json| request(json, batch)) }
}

/// `ExportProfilesServiceRequest`
fn request(sink: &mut impl Sink, batch: &ProfileBatch) {
    match batch.profiles() {
        [] => {}
        [only] => fields(sink, batch, only.dictionary(), &[Numbers::own(only)]),
        several => {
            let mut shared = Dictionary::default();
            let numbers: Vec<_> = several.iter().map(|one| Numbers::imported(one, &mut shared)).collect();
            fields(sink, batch, &shared, &numbers);
        }
    }
}

/// The fields of the request, given the dictionary and what each profile has which numbers in it.
fn fields(sink: &mut impl Sink, batch: &ProfileBatch, tables: &Dictionary, numbers: &[Numbers<'_>]) {
    let order = Order::of(tables);
    resource_profiles(sink, batch, |sink| {
        for (one, numbers) in batch.profiles().iter().zip(numbers) {
            profile(sink, one, numbers, &order);
        }
    });
    dictionary(sink, tables, &order);
}

/// The one `ResourceProfiles`, with one `ScopeProfiles` whose profiles `profiles` writes.
fn resource_profiles<S: Sink>(sink: &mut S, batch: &ProfileBatch, profiles: impl FnOnce(&mut S)) {
    one(sink, Field(1, "resourceProfiles"), |sink| {
        sink.message(Field(1, "resource"), |sink| resource(sink, batch.resource()));
        one(sink, Field(2, "scopeProfiles"), |sink| {
            sink.message(Field(1, "scope"), |sink| {
                sink.string(Field(1, "name"), SCOPE_NAME);
                sink.string(Field(2, "version"), SCOPE_VERSION);
            });
            sink.list(PROFILES, profiles);
        });
    });
}

const PROFILES: Field = Field(2, "profiles");

/// A list of one.
fn one<S: Sink>(sink: &mut S, field: Field, body: impl FnOnce(&mut S)) {
    sink.list(field, |sink| sink.item(field, body));
}

/// A list of what `each` makes of `items`.
fn all<S: Sink, T>(
    sink: &mut S,
    field: Field,
    items: impl IntoIterator<Item = T>,
    mut each: impl FnMut(&mut S, T),
) {
    sink.list(field, |sink| items.into_iter().for_each(|item| sink.item(field, |sink| each(sink, item))));
}

/// `Resource`
fn resource(sink: &mut impl Sink, resource: &Resource) {
    all(sink, Field(1, "attributes"), resource.attributes(), |sink, (key, value)| {
        sink.string(Field(1, "key"), key);
        sink.message(VALUE, |sink| match value {
            Value::String(text) => sink.string_value(STRING_VALUE, text),
            Value::Int(number) => sink.int_value(Field(3, "intValue"), *number),
        });
    });
}

/// Of a key and a value.
const VALUE: Field = Field(2, "value");
/// Of `AnyValue`.
const STRING_VALUE: Field = Field(1, "stringValue");

/// The `Profile` messages of one profile, in the list `profiles` of `ScopeProfiles`.
fn profile(sink: &mut impl Sink, profile: &Profile, numbers: &Numbers<'_>, order: &Order) {
    let [sample_type, period_type] = numbers.types;
    let mut samples = order.samples(profile, numbers).peekable();
    while samples.peek().is_some() {
        sink.item(PROFILES, |sink| {
            value_type(sink, Field(1, "sampleType"), sample_type);
            all(sink, Field(2, "samples"), samples.by_ref().take(MAX_SAMPLES), |sink, one| {
                sample(sink, &one, numbers, order);
            });
            sink.fixed64(Field(3, "timeUnixNano"), profile.start_unix_nanos());
            let duration = u64::try_from(profile.duration().as_nanos()).unwrap_or(u64::MAX);
            sink.number64(Field(4, "durationNano"), duration);
            value_type(sink, Field(5, "periodType"), period_type);
            sink.number64(Field(6, "period"), signed(profile.period_nanos()));
            if numbers.comment != AttributeIndex::default() {
                sink.numbers32(Field(11, "attributeIndices"), [row(numbers.comment)]);
            }
        });
    }
}

/// `Sample`
fn sample(sink: &mut impl Sink, sample: &Exported, numbers: &Numbers<'_>, order: &Order) {
    sink.number32(Field(1, "stackIndex"), order.stacks.number(numbers.stack(sample.stack)));
    if let Some(labels) = numbers.labels.get(sample.labels.position()) {
        sink.numbers32(Field(2, "attributeIndices"), labels.attributes.iter().map(|index| row(*index)));
        sink.number32(Field(3, "linkIndex"), row::<LinkIndex>(labels.link));
    }
    sink.numbers64(Field(4, "values"), [signed(sample.weight)]);
}

/// `ValueType`
fn value_type(sink: &mut impl Sink, field: Field, value_type: ValueType) {
    sink.message(field, |sink| {
        sink.number32(Field(1, "typeStrindex"), row(value_type.kind));
        sink.number32(Field(2, "unitStrindex"), row(value_type.unit));
    });
}

/// `ProfilesDictionary`
///
/// What the locations of the mappings carry is said by attributes that only mappings have. They are settled only now,
/// when all profiles are in, and come after the rows of the tables.
fn dictionary(sink: &mut impl Sink, dictionary: &Dictionary, order: &Order) {
    let details = Details::of(dictionary);
    sink.message(Field(2, "dictionary"), |sink| {
        let mappings = (0..).zip(dictionary.mappings.rows());
        all(sink, Field(1, "mappingTable"), mappings, |sink, (number, row)| {
            mapping(sink, row, details.numbers(dictionary.detail(MappingIndex::from_row(number))));
        });
        all(sink, Field(2, "locationTable"), order.locations.indices(), |sink, index| {
            location(sink, dictionary.locations.get(*index));
        });
        all(sink, Field(3, "functionTable"), dictionary.functions.rows(), function);
        all(
            sink,
            Field(4, "linkTable"),
            dictionary.links.rows().iter().enumerate(),
            |sink, (number, link)| {
                // Row 0 is an empty message, not one with zero bytes in it: profcheck and Parca insist.
                if number > 0 {
                    sink.id(Field(1, "traceId"), &link.trace_id.to_bytes());
                    sink.id(Field(2, "spanId"), &link.span_id.to_bytes());
                }
            },
        );
        let strings = dictionary.strings.rows().iter().map(|string| &**string);
        sink.strings(Field(5, "stringTable"), strings.chain(details.new_strings.iter().copied()));
        attributes(sink, dictionary, &details);
        all(sink, Field(7, "stackTable"), order.stacks.indices(), |sink, index| {
            let stack = dictionary.stacks.get(*index).iter();
            sink.numbers32(Field(1, "locationIndices"), stack.map(|at| order.locations.number(*at)));
        });
    });
}

/// The table of attributes, `KeyValueAndUnit` without a unit, and those of `details` after it.
fn attributes(sink: &mut impl Sink, dictionary: &Dictionary, details: &Details) {
    const TABLE: Field = Field(6, "attributeTable");
    const KEY: Field = Field(1, "keyStrindex");
    sink.list(TABLE, |sink| {
        for row in dictionary.attributes.rows() {
            sink.item(TABLE, |sink| attribute(sink, KEY, row));
        }
        for (_, key) in &details.keys {
            sink.item(TABLE, |sink| {
                sink.number32(KEY, *key);
                sink.message(VALUE, |sink| sink.true_value(Field(2, "boolValue")));
            });
        }
    });
}

/// The attributes that say what the locations of mappings carry.
struct Details {
    /// Which are needed, and the numbers of their keys among the strings.
    keys: Vec<(&'static str, u32)>,
    /// The keys that the table of strings lacks; they come after it.
    new_strings: Vec<&'static str>,
    /// The number of the first of the attributes.
    first: u32,
}

impl Details {
    fn of(dictionary: &Dictionary) -> Self {
        let first = dictionary.attributes.len() as u32;
        let mut details = Self { keys: Vec::new(), new_strings: Vec::new(), first };
        for number in 0..dictionary.mappings.len() as u32 {
            for key in dictionary.detail(MappingIndex::from_row(number)).keys() {
                if details.keys.iter().all(|(known, _)| *known != key) {
                    let number = dictionary.strings.find(key).map(row).unwrap_or_else(|| {
                        details.new_strings.push(key);
                        (dictionary.strings.len() + details.new_strings.len() - 1) as u32
                    });
                    details.keys.push((key, number));
                }
            }
        }
        details
    }

    /// The numbers of the attributes for `detail`.
    fn numbers(&self, detail: SymbolDetail) -> impl Iterator<Item = u32> {
        let known = detail.keys().filter_map(|key| self.keys.iter().position(|(known, _)| *known == key));
        known.map(|position| self.first + position as u32)
    }
}

/// `Mapping`
fn mapping(sink: &mut impl Sink, mapping: &Mapping, details: impl Iterator<Item = u32>) {
    sink.number64(Field(1, "memoryStart"), mapping.start);
    sink.number64(Field(2, "memoryLimit"), mapping.limit);
    sink.number64(Field(3, "fileOffset"), mapping.file_offset);
    sink.number32(Field(4, "filenameStrindex"), row(mapping.file));
    let build_id = Some(row(mapping.build_id)).filter(|number| *number != 0);
    sink.numbers32(Field(5, "attributeIndices"), build_id.into_iter().chain(details));
}

/// `Location`
fn location(sink: &mut impl Sink, location: &Location) {
    sink.number32(Field(1, "mappingIndex"), row(location.mapping));
    sink.number64(Field(2, "address"), location.address);
    all(sink, Field(3, "lines"), &location.lines, |sink, line| {
        sink.number32(Field(1, "functionIndex"), row(line.function));
        sink.number64(Field(2, "line"), line.line.into());
        sink.number64(Field(3, "column"), line.column.into());
    });
    if location.frame_type != AttributeIndex::default() {
        sink.numbers32(Field(4, "attributeIndices"), [row(location.frame_type)]);
    }
}

/// `Function`
fn function(sink: &mut impl Sink, function: &Function) {
    sink.number32(Field(1, "nameStrindex"), row(function.name));
    sink.number32(Field(2, "systemNameStrindex"), row(function.system_name));
    sink.number32(Field(3, "filenameStrindex"), row(function.file));
    sink.number64(Field(4, "startLine"), function.start_line.into());
}

fn attribute(sink: &mut impl Sink, key: Field, attribute: &Attribute) {
    sink.number32(key, row(attribute.key));
    match &attribute.value {
        AttributeValue::None => {}
        AttributeValue::Text(value) => sink.message(VALUE, |sink| sink.string_value(STRING_VALUE, value)),
        AttributeValue::Texts(values) => sink.message(VALUE, |sink| {
            sink.message(Field(5, "arrayValue"), |sink| {
                all(sink, Field(1, "values"), values, |sink, value| sink.string_value(STRING_VALUE, value));
            });
        }),
    }
}

/// A table row's number as it is written.
fn row<I: Index>(index: I) -> u32 {
    index.row()
}

/// A number for a field of type `int64`; the largest one if it does not fit.
fn signed(value: u64) -> u64 {
    value.min(i64::MAX as u64)
}
