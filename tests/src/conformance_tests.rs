//! Breaks a good export in one way at a time; each rule must fire, and no rule that has nothing to do with it.

use crate::conformance::*;
use crate::fixture;
use crate::peers::Profcheck;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::profiles::v1development::{
    Function, KeyValueAndUnit, Line, Link, Location, Mapping, Profile, ProfilesDictionary, Sample, Stack,
};
use prost::Message as _;
use std::collections::BTreeSet;

type Request = ExportProfilesServiceRequest;

fn profile(request: &mut Request) -> &mut Profile {
    &mut request.resource_profiles[0].scope_profiles[0].profiles[0]
}

fn tables(request: &mut Request) -> &mut ProfilesDictionary {
    request.dictionary.as_mut().unwrap()
}

fn resource(request: &mut Request) -> &mut Vec<KeyValue> {
    &mut request.resource_profiles[0].resource.as_mut().unwrap().attributes
}

fn string(request: &mut Request, text: &str) -> i32 {
    let table = &mut tables(request).string_table;
    if let Some(known) = table.iter().position(|known| known == text) {
        return known as i32;
    }
    table.push(text.into());
    table.len() as i32 - 1
}

fn value(text: &str) -> Option<AnyValue> {
    Some(AnyValue { value: Some(Value::StringValue(text.into())) })
}

/// Adds an attribute to the dictionary and to the first sample.
fn sample_attribute(request: &mut Request, key: &str, value: Option<AnyValue>) {
    let key_strindex = string(request, key);
    tables(request).attribute_table.push(KeyValueAndUnit { key_strindex, value, unit_strindex: 0 });
    let index = tables(request).attribute_table.len() as i32 - 1;
    profile(request).samples[0].attribute_indices.push(index);
}

fn rename(request: &mut Request, from: &str, to: &str) {
    let table = &mut tables(request).string_table;
    let place = table.iter().position(|known| known == from).unwrap();
    table[place] = to.into();
}

/// Makes the fixture's profile one of samples in an unrelated quantity.
fn not_cpu(request: &mut Request) {
    rename(request, "cpu", "contentions");
}

fn second_profile(request: &mut Request) {
    let again = profile(request).clone();
    request.resource_profiles[0].scope_profiles[0].profiles.push(again);
}

fn fired(violations: &[Violation]) -> BTreeSet<&'static str> {
    violations.iter().map(|violation| violation.rule).collect()
}

/// Breaks the fixture and compares the rules that fire with those expected. Where profcheck is installed, whatever it
/// refuses must break a rule.
fn expect(rules: &[&str], what: &str, break_it: impl FnOnce(&mut Request)) {
    let mut request = fixture::profiles();
    break_it(&mut request);
    let bytes = request.encode_to_vec();
    let violations = check_bytes(&bytes);
    let text: Vec<String> = violations.iter().map(ToString::to_string).collect();
    assert_eq!(fired(&violations), rules.iter().copied().collect(), "{what}: {text:#?}");
    if let Some(profcheck) = Profcheck::installed()
        && let Err(error) = profcheck.check(&bytes)
    {
        assert!(!violations.is_empty(), "{what}: {error}");
    }
}

#[test]
fn good_exports_have_no_violations() {
    expect(&[], "the fixture", |_| {});
    expect(&[], "only timestamps", |request| {
        for (index, sample) in profile(request).samples.iter_mut().enumerate() {
            sample.values.clear();
            sample.timestamps_unix_nano = vec![fixture::TIME_UNIX_NANO + index as u64];
        }
    });
    expect(&[], "no profile id", |request| profile(request).profile_id.clear());
    expect(&[], "a loss has no frame type", |request| {
        let lost = string(request, "[lost: sample ring full]");
        let tables = tables(request);
        tables.function_table.push(Function { name_strindex: lost, ..Function::default() });
        let lines = vec![Line { function_index: 5, ..Line::default() }];
        tables.location_table.push(Location { lines, ..Location::default() });
        tables.stack_table.push(Stack { location_indices: vec![4] });
        let sample = Sample { stack_index: 4, values: vec![1], ..Sample::default() };
        profile(request).samples.push(sample);
    });
    expect(&[], "a profile in another quantity", not_cpu);
    expect(&[], "two profiles", second_profile);
}

#[test]
fn every_rule_has_a_breakage() {
    let source = include_str!("conformance_tests.rs");
    for (rule, _) in RULES {
        assert!(source.contains(&format!("[\"{rule}\"")), "{rule}");
    }
}

/// The fixture in the form of JSON that our exporter also has to write.
fn json() -> String {
    let id = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let request = fixture::profiles();
    let pool = prost_reflect::DescriptorPool::decode(opentelemetry_proto::DESCRIPTORS).unwrap();
    let name = "opentelemetry.proto.collector.profiles.v1development.ExportProfilesServiceRequest";
    let mut message = prost_reflect::DynamicMessage::new(pool.get_message_by_name(name).unwrap());
    message.transcode_from(&request).unwrap();
    let mut json = serde_json::to_value(&message).unwrap();
    let profile = &request.resource_profiles[0].scope_profiles[0].profiles[0];
    json["resourceProfiles"][0]["scopeProfiles"][0]["profiles"][0]["profileId"] =
        id(&profile.profile_id).into();
    for (row, link) in request.dictionary.unwrap().link_table.iter().enumerate().skip(1) {
        json["dictionary"]["linkTable"][row] =
            serde_json::json!({ "traceId": id(&link.trace_id), "spanId": id(&link.span_id) });
    }
    json.to_string()
}

#[test]
fn json_is_read_and_held_against_the_mapping() {
    let good = json();
    assert_eq!(check_json(&good), []);
    assert_eq!(check_body("application/json", good.as_bytes()), []);
    assert_eq!(decode_json(&good).unwrap(), fixture::profiles());
    let expect = |rules: &[&str], from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        let violations = check_json(&good.replacen(from, to, 1));
        assert_eq!(fired(&violations), rules.iter().copied().collect(), "{from} {to}: {violations:?}");
    };
    expect(&["decodes"], "\"resourceProfiles\"", "\"resource_profile\"");
    expect(&["decodes"], "\"stringTable\":[", "\"stringTable\":[7,");
    expect(&["decodes"], "}", "");
    let trace = fixture::link_a().trace_id;
    expect(&["decodes"], &trace, "AK92UZEGBwgJCgsMDQ4PFg=="); // base64, as protobuf's own mapping has it
    expect(&["link-ids"], &trace, &trace[8..]);
    expect(&["json-mapping"], &trace, &trace.to_uppercase());
    expect(&["json-mapping"], "\"resourceProfiles\"", "\"resource_profiles\"");
    expect(&["json-mapping"], "\"period\":\"10000000\"", "\"period\":10000000");
    expect(&["json-mapping"], "\"period\":", "\"droppedAttributesCount\":0,\"period\":");
    assert_eq!(fired(&check_body("application/json", &[0xff])), ["decodes"].into());
    let spaces = " ".repeat(4 << 20);
    assert_eq!(fired(&check_json(&(good + &spaces))), ["request-size"].into());
}

#[test]
fn bytes() {
    let good = fixture::profiles().encode_to_vec();
    assert_conforms(&good);
    assert_eq!(fired(&check_bytes(b"no protobuf")), ["decodes"].into());
    assert_eq!(fired(&check_bytes(&good[..good.len() - 1])), ["decodes"].into());
    // An unknown field 100, and a second copy of the (equal) sample type of a profile.
    assert_eq!(fired(&check_bytes(&[&good[..], &[0xa0, 0x06, 1]].concat())), ["layout"].into());
    // Layout 1.9 had the values where the attributes are now, and the link index behind them.
    let old_sample = [&[0x08, 1][..], &[0x12, 1, 30], &[0x1a, 1, 1], &[0x20, 1]].concat();
    let wrap = |field: u8, message: &[u8]| [&[field << 3 | 2, message.len() as u8], message].concat();
    let old = wrap(1, &wrap(2, &wrap(2, &wrap(2, &old_sample))));
    assert_eq!(fired(&check_bytes(&old)), ["decodes"].into());
    assert_eq!(check_body("application/x-protobuf", &good), []);
    expect(&["request-size"], "five megabytes in the resource", |request| {
        let long = "x".repeat(2000);
        resource(request).clear();
        resource(request).push(KeyValue { key: "service.name".into(), value: value("s"), key_strindex: 0 });
        let one = request.resource_profiles[0].clone();
        for index in 0..2500 {
            let mut another = one.clone();
            another.resource.as_mut().unwrap().attributes.push(KeyValue {
                key: format!("k{index}"),
                value: value(&long),
                key_strindex: 0,
            });
            request.resource_profiles.push(another);
        }
    });
}

#[test]
fn requests_and_resources() {
    expect(&["empty", "orphan"], "no resource", |request| request.resource_profiles.clear());
    expect(&["empty", "orphan"], "no scope", |request| request.resource_profiles[0].scope_profiles.clear());
    expect(&["empty", "orphan"], "no profile", |request| {
        request.resource_profiles[0].scope_profiles[0].profiles.clear();
    });
    expect(&["empty", "orphan"], "no sample", |request| profile(request).samples.clear());
    expect(&["empty", "index", "zero-entry"], "no dictionary", |request| request.dictionary = None);
    expect(&["resource-and-scope"], "no resource", |request| request.resource_profiles[0].resource = None);
    expect(&["resource-and-scope"], "no scope", |request| {
        request.resource_profiles[0].scope_profiles[0].scope = None;
    });
    expect(&["resource-and-scope"], "a scope without a name", |request| {
        request.resource_profiles[0].scope_profiles[0].scope.as_mut().unwrap().name.clear();
    });
    expect(&["plain-attributes"], "a key by reference", |request| resource(request)[1].key_strindex = 1);
    expect(&["plain-attributes"], "a value by reference", |request| {
        resource(request)[1].value = Some(AnyValue { value: Some(Value::StringValueStrindex(1)) });
    });
    expect(&["plain-attributes"], "a value of another type", |request| {
        resource(request)[1].value = Some(AnyValue { value: Some(Value::BoolValue(true)) });
    });
    expect(&["plain-attributes"], "an attribute without a value", |request| {
        resource(request)[1].value = None;
    });
    expect(&["plain-attributes"], "a scope attribute by reference", |request| {
        let scope = request.resource_profiles[0].scope_profiles[0].scope.as_mut().unwrap();
        scope.attributes.push(KeyValue { key: String::new(), value: value("x"), key_strindex: 1 });
    });
    expect(&["unique-keys"], "a resource attribute twice", |request| {
        let again = resource(request)[1].clone();
        resource(request).push(again);
    });
    expect(&["service-name"], "none", |request| drop(resource(request).remove(0)));
    expect(&["service-name"], "an empty one", |request| resource(request)[0].value = value(""));
    expect(&["service-name"], "one on a sample", |request| {
        sample_attribute(request, "service.name", value("x"));
    });
}

#[test]
fn labels() {
    expect(&["series-labels"], "too many", |request| {
        for index in 0..24 {
            resource(request).push(KeyValue { key: format!("k{index}"), value: value("v"), key_strindex: 0 });
        }
    });
    expect(&["series-labels"], "a long resource value", |request| {
        resource(request)[0].value = value(&"x".repeat(2049));
    });
    expect(&["series-labels"], "a long sample key", |request| {
        sample_attribute(request, &"x".repeat(1025), value("v"));
    });
    expect(&["sample-attributes"], "a number", |request| {
        sample_attribute(request, "cart.items", Some(AnyValue { value: Some(Value::IntValue(7)) }));
    });
    for key in ["thread.id", "span_id", "trace_id", "profile_id"] {
        expect(&["sample-attributes"], key, |request| sample_attribute(request, key, value("1")));
    }
    expect(&["unique-keys"], "a sample attribute twice", |request| {
        sample_attribute(request, "span_name", value("another"));
    });
    expect(&["unique-keys"], "a location attribute twice", |request| {
        tables(request).location_table[1].attribute_indices.push(2);
    });
    expect(&["unique-keys"], "a mapping attribute twice", |request| {
        tables(request).mapping_table[1].attribute_indices.push(1);
    });
    expect(&["unique-keys"], "a profile attribute twice", |request| {
        profile(request).attribute_indices = vec![2, 2];
    });
}

#[test]
fn profiles() {
    expect(&["types", "cpu-shape", "orphan"], "no sample type", |request| {
        profile(request).sample_type = None;
    });
    expect(&["types", "orphan"], "no period type", |request| profile(request).period_type = None);
    expect(&["types", "orphan"], "a period type without a unit", |request| {
        not_cpu(request);
        profile(request).period_type.as_mut().unwrap().unit_strindex = 0;
    });
    expect(&["types"], "a hyphen", |request| {
        not_cpu(request);
        rename(request, "samples", "cpu-samples");
    });
    expect(&["period"], "zero", |request| {
        not_cpu(request);
        profile(request).period = 0;
    });
    expect(&["period"], "negative", |request| {
        not_cpu(request);
        profile(request).period = -1;
    });
    expect(&["cpu-shape"], "samples are nanoseconds", |request| {
        rename(request, "samples", "wall_samples");
    });
    expect(&["cpu-shape"], "another unit", |request| rename(request, "nanoseconds", "microseconds"));
    expect(&["cpu-shape"], "2000 Hz", |request| profile(request).period = 500_000);
    expect(&["cpu-first"], "another profile before it", |request| {
        second_profile(request);
        let wall = string(request, "wall");
        profile(request).period_type.as_mut().unwrap().type_strindex = wall;
    });
    expect(&["window"], "no start", |request| profile(request).time_unix_nano = 0);
    expect(&["window"], "no length", |request| profile(request).duration_nano = 0);
    expect(&["window"], "a minute", |request| profile(request).duration_nano = 60_000_000_000);
    expect(&["window"], "beyond the end of time", |request| profile(request).time_unix_nano = u64::MAX);
    expect(&["profile-size"], "too many samples", |request| {
        // One stack for each number, its bits spelt with two locations.
        let bits = |number: i32| (0..16).map(move |bit| 1 + (number >> bit & 1));
        let stack = |number| Stack { location_indices: bits(number).collect() };
        let first = tables(request).stack_table.len() as i32;
        tables(request).stack_table.extend((0..10_000).map(stack));
        let one = profile(request).samples[2].clone();
        let sample = |number| Sample { stack_index: first + number, ..one.clone() };
        profile(request).samples.extend((0..10_000).map(sample));
    });
    expect(&["profile-size"], "too many bytes", |request| {
        profile(request).original_payload_format = "pprof".into();
        profile(request).original_payload = vec![1; 2 << 20];
    });
    expect(&["profile-id"], "too short", |request| profile(request).profile_id = vec![1; 8]);
    expect(&["profile-id"], "zero", |request| profile(request).profile_id = vec![0; 16]);
    expect(&["original-payload"], "without a format", |request| profile(request).original_payload = vec![1]);
    expect(&["original-payload"], "without a payload", |request| {
        profile(request).original_payload_format = "pprof".into();
    });
}

#[test]
fn samples() {
    expect(&["sample-shape"], "two values", |request| {
        for sample in &mut profile(request).samples {
            sample.values.push(1);
        }
    });
    expect(&["sample-shape"], "values and timestamps", |request| {
        for sample in &mut profile(request).samples {
            sample.timestamps_unix_nano = vec![fixture::TIME_UNIX_NANO];
        }
    });
    expect(&["sample-shape"], "nothing", |request| {
        for sample in &mut profile(request).samples {
            sample.values.clear();
        }
    });
    expect(&["one-shape"], "one with timestamps", |request| {
        profile(request).samples[1].values.clear();
        profile(request).samples[1].timestamps_unix_nano = vec![fixture::TIME_UNIX_NANO];
    });
    for outside in [fixture::TIME_UNIX_NANO - 1, fixture::TIME_UNIX_NANO + 10_000_000_000] {
        expect(&["timestamps"], "outside", |request| {
            for sample in &mut profile(request).samples {
                sample.values.clear();
                sample.timestamps_unix_nano = vec![fixture::TIME_UNIX_NANO, outside];
            }
        });
    }
    expect(&["positive"], "zero", |request| profile(request).samples[0].values = vec![0]);
    expect(&["positive"], "negative", |request| profile(request).samples[0].values = vec![-5]);
    expect(&["merged"], "one sample twice", |request| {
        let again = profile(request).samples[0].clone();
        profile(request).samples.push(again);
    });
    expect(&["merged"], "its attributes in another order", |request| {
        sample_attribute(request, "route", value("/"));
        let mut again = profile(request).samples[0].clone();
        again.attribute_indices.reverse();
        profile(request).samples.push(again);
    });
}

#[test]
fn indices() {
    for bad in [-1, i32::MIN, 4, i32::MAX] {
        expect(&["index", "orphan"], "stack", |request| profile(request).samples[2].stack_index = bad);
        expect(&["index", "orphan"], "link", |request| profile(request).samples[0].link_index = bad);
        expect(&["index", "orphan"], "location", |request| {
            tables(request).stack_table[2].location_indices[0] = bad;
        });
        expect(&["index", "orphan"], "mapping", |request| {
            for location in &mut tables(request).location_table[1..] {
                location.mapping_index = bad;
            }
        });
    }
    for bad in [-1, 99] {
        expect(&["index", "orphan"], "function", |request| {
            tables(request).location_table[1].lines[0].function_index = bad;
        });
        expect(&["index"], "sample attribute", |request| {
            profile(request).samples[0].attribute_indices.push(bad);
        });
        expect(&["index"], "profile attribute", |request| profile(request).attribute_indices.push(bad));
        expect(&["index"], "mapping attribute", |request| {
            tables(request).mapping_table[1].attribute_indices.push(bad);
        });
        expect(&["index"], "location attribute", |request| {
            tables(request).location_table[1].attribute_indices.push(bad);
        });
        expect(&["index", "cpu-shape", "orphan"], "sample type", |request| {
            profile(request).sample_type.as_mut().unwrap().type_strindex = bad;
        });
        expect(&["index", "cpu-shape", "orphan"], "period unit", |request| {
            profile(request).period_type = profile(request).period_type.map(|mut period_type| {
                period_type.unit_strindex = bad;
                period_type
            });
        });
        expect(&["index", "orphan"], "file of a mapping", |request| {
            tables(request).mapping_table[1].filename_strindex = bad;
        });
        expect(&["index", "orphan"], "name of a function", |request| {
            tables(request).function_table[1].name_strindex = bad;
        });
        expect(&["index", "orphan"], "linkage name of a function", |request| {
            tables(request).function_table[1].system_name_strindex = bad;
        });
        expect(&["index", "orphan"], "file of a function", |request| {
            tables(request).function_table[1].filename_strindex = bad;
        });
        expect(&["index"], "unit of an attribute", |request| {
            tables(request).attribute_table[1].unit_strindex = bad;
        });
        expect(&["index", "build-id", "orphan"], "key of an attribute", |request| {
            tables(request).attribute_table[1].key_strindex = bad;
        });
    }
}

#[test]
fn tables_begin_with_zero() {
    expect(&["zero-entry"], "a mapping", |request| {
        tables(request).mapping_table[0] = Mapping { file_offset: 1, ..Mapping::default() };
    });
    expect(&["zero-entry"], "a location", |request| {
        tables(request).location_table[0] = Location { address: 1, ..Location::default() };
    });
    expect(&["zero-entry"], "a function", |request| {
        tables(request).function_table[0] = Function { start_line: 1, ..Function::default() };
    });
    expect(&["zero-entry"], "a link of zero bytes", |request| {
        tables(request).link_table[0] = Link { trace_id: vec![0; 16], span_id: vec![0; 8] };
    });
    expect(&["zero-entry"], "a string", |request| tables(request).string_table[0] = "x".into());
    expect(&["zero-entry"], "an attribute", |request| {
        tables(request).attribute_table[0].value = Some(AnyValue { value: None });
    });
    expect(&["zero-entry"], "a stack", |request| {
        tables(request).stack_table[0].location_indices = vec![1, 1];
    });
    expect(&["zero-entry", "index"], "no links", |request| tables(request).link_table.clear());
    expect(&["zero-entry", "index", "orphan"], "no mappings", |request| {
        tables(request).mapping_table.clear();
    });
    expect(&["zero-entry", "index", "orphan"], "no stacks", |request| tables(request).stack_table.clear());
}

#[test]
fn entries_are_there_once() {
    expect(&["duplicate", "orphan"], "a string", |request| tables(request).string_table.push("cpu".into()));
    expect(&["duplicate", "orphan"], "an empty string", |request| {
        tables(request).string_table.push(String::new());
    });
    expect(&["duplicate"], "a mapping, its attributes in another order", |request| {
        let pid = string(request, "process.executable.build_id.htlhash");
        tables(request).attribute_table.push(KeyValueAndUnit {
            key_strindex: pid,
            value: value("aa"),
            unit_strindex: 0,
        });
        let mut mapping = tables(request).mapping_table[1].clone();
        mapping.attribute_indices = vec![5, 1];
        tables(request).mapping_table[1].attribute_indices = vec![1, 5];
        tables(request).mapping_table.push(mapping);
        tables(request).location_table[1].mapping_index = 2;
    });
    expect(&["duplicate"], "a location", |request| {
        let again = tables(request).location_table[1].clone();
        tables(request).location_table.push(again);
        tables(request).stack_table[3].location_indices = vec![4];
    });
    expect(&["duplicate"], "a function", |request| {
        let again = tables(request).function_table[4];
        tables(request).function_table.push(again);
        tables(request).location_table[1].lines[0].function_index = 5;
        tables(request).location_table[2].lines[1].function_index = 1;
        tables(request).location_table[2].lines.push(Line { function_index: 3, ..Default::default() });
    });
    expect(&["duplicate"], "a link", |request| {
        let again = tables(request).link_table[1].clone();
        tables(request).link_table.push(again);
        profile(request).samples[2].link_index = 3;
    });
    expect(&["duplicate"], "an attribute", |request| {
        let again = tables(request).attribute_table[4].clone();
        tables(request).attribute_table.push(again);
        profile(request).samples[2].attribute_indices = vec![5];
    });
    expect(&["duplicate"], "a stack", |request| {
        let again = tables(request).stack_table[1].clone();
        tables(request).stack_table.push(again);
        profile(request).samples[2].stack_index = 4;
        tables(request).stack_table[3] = Stack { location_indices: vec![3] };
        let mut another = profile(request).samples[2].clone();
        another.stack_index = 3;
        profile(request).samples.push(another);
    });
}

#[test]
fn entries_are_used() {
    expect(&["orphan"], "an attribute and its key", |request| {
        let text = string(request, "nobody");
        let tables = tables(request);
        tables.attribute_table.push(KeyValueAndUnit {
            key_strindex: text,
            value: value("x"),
            unit_strindex: 0,
        });
    });
    expect(&["orphan"], "a chain that no profile leads to", |request| {
        let tables = tables(request);
        let mut location = tables.location_table[1].clone();
        location.address = 0x1500;
        tables.location_table.push(location);
        tables.stack_table.push(Stack { location_indices: vec![4] });
    });
    expect(&["orphan"], "a link", |request| profile(request).samples[1].link_index = 0);
}

#[test]
fn entries_of_tables() {
    let lengths = [(15, 8), (16, 7), (17, 8), (0, 8), (16, 0)];
    for (trace, span) in lengths {
        expect(&["link-ids"], "lengths", |request| {
            tables(request).link_table[1] = Link { trace_id: vec![1; trace], span_id: vec![1; span] };
        });
    }
    expect(&["link-ids"], "a trace id of zeros", |request| {
        tables(request).link_table[1].trace_id = vec![0; 16];
    });
    expect(&["link-ids"], "a span id of zeros", |request| tables(request).link_table[1].span_id = vec![0; 8]);
    expect(&["mapping-range"], "an end before the start", |request| {
        tables(request).mapping_table[1].memory_limit = 0x1000;
    });
    expect(&["build-id", "orphan"], "none", |request| {
        tables(request).mapping_table[1].attribute_indices.clear();
    });
    expect(&["build-id"], "capitals", |request| tables(request).attribute_table[1].value = value("00AA"));
    expect(&["build-id"], "half a byte", |request| tables(request).attribute_table[1].value = value("00a"));
    expect(&["location-known", "orphan"], "neither address nor line", |request| {
        let location = &mut tables(request).location_table[1];
        location.address = 0;
        location.lines.clear();
    });
    expect(&["frame-type"], "none", |request| tables(request).location_table[1].attribute_indices.clear());
    expect(&["frame-type"], "an unknown one", |request| rename_value(request, "Rust"));
    for (line, column) in [(-1, 0), (1, -1)] {
        expect(&["line-numbers"], "line or column", |request| {
            let entry = &mut tables(request).location_table[1].lines[0];
            (entry.line, entry.column) = (line, column);
        });
    }
    expect(&["line-numbers"], "start line", |request| tables(request).function_table[1].start_line = -1);
    expect(&["function-name", "orphan"], "no name", |request| {
        tables(request).function_table[1].name_strindex = 0;
    });
    expect(&["function-name", "orphan"], "no function", |request| {
        tables(request).location_table[1].lines[0].function_index = 0;
    });
    expect(&["demangled", "orphan"], "legacy mangling", |request| {
        let function = &mut tables(request).function_table[1];
        function.name_strindex = function.system_name_strindex;
    });
    expect(&["demangled"], "v0 mangling", |request| rename(request, "shop::main", "_RNvC4shop4main"));
    expect(&[], "a name of C++ in native code", |request| {
        rename_value(request, "native");
        rename(request, "shop::main", "_ZNSt6thread4joinEv");
    });
    expect(&["attribute-value", "orphan"], "no key", |request| {
        tables(request).attribute_table[4].key_strindex = 0;
        tables(request).attribute_table[3].key_strindex = 0;
    });
    expect(&["attribute-value", "frame-type"], "no value", |request| {
        tables(request).attribute_table[2].value = None;
    });
}

fn rename_value(request: &mut Request, text: &str) {
    tables(request).attribute_table[2].value = value(text);
}
