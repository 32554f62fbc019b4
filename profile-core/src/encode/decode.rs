//! From OTLP bytes of ours back to the model: for profiles that waited on disk.
//!
//! Reads what [`otlp`](super::otlp) writes, one profile a request, and makes a batch of it that is written as the same
//! bytes. What OTLP does not carry is not there again: which span was the innermost, and which samples are losses (their
//! frames still say so). Bytes that were not written by the encoder are refused, or read as far as they make sense, but
//! never trusted: an index is checked where it is used, since a table answers a wrong one with its zero value.

use crate::context::{SpanId, TraceId};
use crate::profile::dictionary::{
    Attribute, AttributeIndex, AttributeValue, Dictionary, Function, FunctionIndex, Line, Link, Location,
    LocationIndex, Mapping, MappingIndex, StackIndex, StringIndex, SymbolDetail, key,
};
use crate::profile::sample::Labels;
use crate::profile::table::Index;
use crate::profile::{Profile, ProfileBatch};
use crate::resource::{Resource, Value};
use profile_proto::collector::profiles::v1development::ExportProfilesServiceRequest;
use profile_proto::common::v1::{AnyValue, any_value};
use profile_proto::profiles::v1development as proto;
use prost::Message;
use std::sync::Arc;
use std::time::Duration;

/// The batch in `bytes`; `None` if they are not those of one profile.
pub(super) fn decode(bytes: &[u8]) -> Option<ProfileBatch> {
    let request = ExportProfilesServiceRequest::decode(bytes).ok()?;
    let [of_resource] = <[_; 1]>::try_from(request.resource_profiles).ok()?;
    let [of_scope] = <[_; 1]>::try_from(of_resource.scope_profiles).ok()?;
    let tables = request.dictionary?;
    let first = of_scope.profiles.first()?;
    let mut profile = Profile::empty(
        first.time_unix_nano,
        Duration::from_nanos(first.duration_nano),
        u64::try_from(first.period).ok()?,
    );
    let dictionary = dictionary(&tables);
    let comment = first.attribute_indices.first().map_or_else(AttributeIndex::default, |index| at(*index));
    // A profile of very many samples is written as several messages of the same times.
    let samples = of_scope.profiles.iter().flat_map(|profile| &profile.samples);
    profile.restore(dictionary, comment, samples.map(sample));
    Some(ProfileBatch::new(Arc::new(resource(of_resource.resource?)), vec![Arc::new(profile)]))
}

/// A stack, its labels and its weight.
fn sample(sample: &proto::Sample) -> (StackIndex, Labels, u64) {
    let labels = Labels {
        link: at(sample.link_index),
        attributes: sample.attribute_indices.iter().map(|index| at(*index)).collect(),
    };
    let weight = sample.values.first().copied().unwrap_or_default();
    (at(sample.stack_index), labels, u64::try_from(weight).unwrap_or_default())
}

fn resource(resource: profile_proto::resource::v1::Resource) -> Resource {
    let mut read = Resource::empty();
    for attribute in resource.attributes {
        match attribute.value.and_then(|value| value.value) {
            Some(any_value::Value::StringValue(text)) => read.set(attribute.key, Value::String(text)),
            Some(any_value::Value::IntValue(number)) => read.set(attribute.key, Value::Int(number)),
            _ => {}
        }
    }
    read
}

/// The tables, row by row in their order, so that every row has the number that it had. The rows that only say what the
/// locations of mappings carry come last and are not entered: they are made anew when the profile is written.
fn dictionary(tables: &proto::ProfilesDictionary) -> Dictionary {
    let mut read = Dictionary::default();
    for text in &tables.string_table {
        read.strings.intern(text.as_str().into());
    }
    for attribute in &tables.attribute_table {
        let value = match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
            None => AttributeValue::None,
            Some(any_value::Value::BoolValue(_)) => continue,
            Some(value) => text(value),
        };
        read.attributes.intern(Attribute { key: at(attribute.key_strindex), value });
    }
    for link in &tables.link_table {
        let trace_id = <[u8; 16]>::try_from(link.trace_id.as_slice()).unwrap_or_default();
        let span_id = <[u8; 8]>::try_from(link.span_id.as_slice()).unwrap_or_default();
        read.links
            .intern(Link { trace_id: TraceId::from_bytes(trace_id), span_id: SpanId::from_bytes(span_id) });
    }
    for function in &tables.function_table {
        read.functions.intern(Function {
            name: at(function.name_strindex),
            system_name: at(function.system_name_strindex),
            file: at(function.filename_strindex),
            start_line: u32::try_from(function.start_line).unwrap_or_default(),
        });
    }
    for mapping in &tables.mapping_table {
        let (row, detail) = mapping_row(tables, mapping);
        read.mapping(row, detail);
    }
    for location in &tables.location_table {
        read.locations.intern(location_row(location));
    }
    for stack in &tables.stack_table {
        read.stacks.intern(stack.location_indices.iter().map(|index| at::<LocationIndex>(*index)).collect());
    }
    read
}

fn text(value: &any_value::Value) -> AttributeValue {
    let of = |value: &AnyValue| match &value.value {
        Some(any_value::Value::StringValue(text)) => Some(Arc::from(text.as_str())),
        _ => None,
    };
    match value {
        any_value::Value::StringValue(text) => AttributeValue::Text(text.as_str().into()),
        any_value::Value::ArrayValue(array) => {
            AttributeValue::Texts(array.values.iter().filter_map(of).collect())
        }
        _ => AttributeValue::None,
    }
}

fn mapping_row(tables: &proto::ProfilesDictionary, mapping: &proto::Mapping) -> (Mapping, SymbolDetail) {
    let key_of = |index: i32| {
        let row = tables.attribute_table.get(usize::try_from(index).ok()?)?;
        tables.string_table.get(usize::try_from(row.key_strindex).ok()?)
    };
    let (mut build_id, mut detail) = (AttributeIndex::default(), SymbolDetail::default());
    for index in &mapping.attribute_indices {
        match key_of(*index).map(String::as_str) {
            Some(key::HAS_FUNCTIONS) => detail.functions = true,
            Some(key::HAS_FILENAMES) => detail.files = true,
            Some(key::HAS_LINE_NUMBERS) => detail.lines = true,
            Some(key::HAS_INLINE_FRAMES) => detail.inlines = true,
            _ => build_id = at(*index),
        }
    }
    let row = Mapping {
        start: mapping.memory_start,
        limit: mapping.memory_limit,
        file_offset: mapping.file_offset,
        file: at::<StringIndex>(mapping.filename_strindex),
        build_id,
    };
    (row, detail)
}

fn location_row(location: &proto::Location) -> Location {
    let line = |line: &proto::Line| Line {
        function: at::<FunctionIndex>(line.function_index),
        line: u32::try_from(line.line).unwrap_or_default(),
        column: u32::try_from(line.column).unwrap_or_default(),
    };
    Location {
        mapping: at::<MappingIndex>(location.mapping_index),
        address: location.address,
        lines: location.lines.iter().map(line).collect(),
        frame_type: location
            .attribute_indices
            .first()
            .map_or_else(AttributeIndex::default, |index| at(*index)),
    }
}

/// A table index as it is read; a negative one is none.
fn at<I: Index>(index: i32) -> I {
    I::from_row(u32::try_from(index).unwrap_or_default())
}
