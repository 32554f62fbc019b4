//! What this crate writes, the `opentelemetry-proto` crate reads, field by field, and the other way round.
//!
//! Every struct literal below names every field, so a field that is added to a message does not compile until it is
//! tested too. The two crates' messages have the same names and fields; their `Debug` output is compared.

#![allow(clippy::unwrap_used)] // a test: helpers outside of #[test] functions too

use opentelemetry_proto::tonic as theirs;
use profile_proto::collector::profiles::v1development::*;
use profile_proto::common::v1::{any_value::Value, *};
use profile_proto::profiles::v1development::*;
use profile_proto::resource::v1::Resource;
use prost::Message;
use std::fmt::Debug;

#[test]
fn a_request_with_every_field_set_reads_the_same_in_the_other_crate() {
    let ours = request();
    let bytes = ours.encode_to_vec();
    let read = theirs::collector::profiles::v1development::ExportProfilesServiceRequest::decode(&bytes[..]);
    let read = read.unwrap();

    assert_same(&ours, &read);
    // A few by hand: the comparison above would not see that both sides print nothing.
    let profile = &read.resource_profiles[0].scope_profiles[0].profiles[0];
    let sample = &profile.samples[0];
    assert_eq!((sample.stack_index, sample.link_index), (50, 51));
    assert_eq!((&sample.attribute_indices[..], &sample.values[..]), (&[52, 53][..], &[-54, 55][..]));
    assert_eq!(sample.timestamps_unix_nano, [56, 57]);
    assert_eq!((profile.time_unix_nano, profile.duration_nano, profile.period), (30, 31, 34));
    assert_eq!(read.dictionary.unwrap().link_table[0].trace_id, [7; 16]);

    let back = ExportProfilesServiceRequest::decode(&reencode(&bytes)[..]).unwrap();
    assert_eq!(back, ours);
}

#[test]
fn a_request_has_the_bytes_of_profiles_at_rest() {
    let request = request();
    let at_rest = ProfilesData {
        resource_profiles: request.resource_profiles.clone(),
        dictionary: request.dictionary.clone(),
    };
    assert_eq!(request.encode_to_vec(), at_rest.encode_to_vec());
    let read = theirs::profiles::v1development::ProfilesData::decode(&request.encode_to_vec()[..]).unwrap();
    assert_same(&at_rest, &read);
}

#[test]
fn an_answer_of_the_other_crate_reads_the_same_here() {
    use theirs::collector::profiles::v1development as their_service;
    let answer = their_service::ExportProfilesServiceResponse {
        partial_success: Some(their_service::ExportProfilesPartialSuccess {
            rejected_profiles: 3,
            error_message: "too old".into(),
        }),
    };
    let read = ExportProfilesServiceResponse::decode(&answer.encode_to_vec()[..]).unwrap();
    let partial = read.partial_success.clone().unwrap();
    assert_eq!((partial.rejected_profiles, partial.error_message.as_str()), (3, "too old"));
    assert_same(&read, &answer);
}

fn assert_same(ours: &dyn Debug, theirs: &dyn Debug) {
    assert_eq!(format!("{ours:#?}"), format!("{theirs:#?}"));
}

/// The bytes of a request after a round trip through the other crate.
fn reencode(bytes: &[u8]) -> Vec<u8> {
    theirs::collector::profiles::v1development::ExportProfilesServiceRequest::decode(bytes)
        .unwrap()
        .encode_to_vec()
}

/// Every field set, every number different.
fn request() -> ExportProfilesServiceRequest {
    let scope_profiles =
        ScopeProfiles { scope: Some(scope()), profiles: vec![profile()], schema_url: "scope schema".into() };
    let resource_profiles = ResourceProfiles {
        resource: Some(resource()),
        scope_profiles: vec![scope_profiles],
        schema_url: "resource schema".into(),
    };
    ExportProfilesServiceRequest {
        resource_profiles: vec![resource_profiles],
        dictionary: Some(dictionary()),
    }
}

fn resource() -> Resource {
    let entity = EntityRef {
        schema_url: "entity schema".into(),
        r#type: "service".into(),
        id_keys: vec!["service.name".into()],
        description_keys: vec!["service.version".into()],
    };
    Resource { attributes: every_value(), dropped_attributes_count: 10, entity_refs: vec![entity] }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "scope".into(),
        version: "1.2.3".into(),
        attributes: every_value(),
        dropped_attributes_count: 20,
    }
}

/// One attribute for each kind of value.
fn every_value() -> Vec<KeyValue> {
    let list = ArrayValue { values: vec![any(Value::IntValue(1)), any(Value::StringValue("two".into()))] };
    let map = KeyValueList { values: vec![attribute(1, Value::BoolValue(false))] };
    let values = [
        Value::StringValue("text".into()),
        Value::BoolValue(true),
        Value::IntValue(-3),
        Value::DoubleValue(1.5),
        Value::ArrayValue(list),
        Value::KvlistValue(map),
        Value::BytesValue(vec![0, 255]),
        Value::StringValueStrindex(8),
    ];
    (10..).zip(values).map(|(number, value)| attribute(number, value)).collect()
}

fn attribute(number: i32, value: Value) -> KeyValue {
    KeyValue { key: format!("key {number}"), value: Some(any(value)), key_strindex: number }
}

fn any(value: Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

fn profile() -> Profile {
    let sample = Sample {
        stack_index: 50,
        attribute_indices: vec![52, 53],
        link_index: 51,
        values: vec![-54, 55],
        timestamps_unix_nano: vec![56, 57],
    };
    Profile {
        sample_type: Some(ValueType { type_strindex: 38, unit_strindex: 39 }),
        samples: vec![sample],
        time_unix_nano: 30,
        duration_nano: 31,
        period_type: Some(ValueType { type_strindex: 32, unit_strindex: 33 }),
        period: 34,
        profile_id: vec![9; 16],
        dropped_attributes_count: 35,
        original_payload_format: "pprof".into(),
        original_payload: vec![1, 2, 3],
        attribute_indices: vec![36, 37],
    }
}

fn dictionary() -> ProfilesDictionary {
    let mapping = Mapping {
        memory_start: 60,
        memory_limit: 61,
        file_offset: 62,
        filename_strindex: 63,
        attribute_indices: vec![64],
    };
    let location = Location {
        mapping_index: 70,
        address: u64::MAX,
        lines: vec![Line { function_index: 71, line: 72, column: 73 }],
        attribute_indices: vec![74],
    };
    let function =
        Function { name_strindex: 80, system_name_strindex: 81, filename_strindex: 82, start_line: 83 };
    let unit = KeyValueAndUnit { key_strindex: 90, value: Some(any(Value::IntValue(91))), unit_strindex: 92 };
    ProfilesDictionary {
        mapping_table: vec![mapping],
        location_table: vec![location],
        function_table: vec![function],
        link_table: vec![Link { trace_id: vec![7; 16], span_id: vec![8; 8] }],
        string_table: vec![String::new(), "string".into()],
        attribute_table: vec![unit],
        stack_table: vec![Stack { location_indices: vec![100, 101] }],
    }
}
