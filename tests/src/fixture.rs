//! One small export that obeys every rule, built by hand with the messages of `opentelemetry-proto`, and the traces
//! of the same run.
//!
//! The tests of this crate read it, break it and send it to real peers, so that a failure of the harness is not
//! mistaken for one of the profiler. 300 ms of CPU in span A, 200 ms in span B of the same trace, 50 ms outside.

use crate::view::Link;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::profiles::v1development::{
    Function, KeyValueAndUnit, Line, Link as OtlpLink, Location, Mapping, Profile, ProfilesDictionary,
    ResourceProfiles, Sample, ScopeProfiles, Stack, ValueType,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};

/// The service that the fixture claims to come from.
pub const SERVICE: &str = "fixture-shop";
/// The name of the local root with 300 ms of CPU.
pub const SPAN_A: &str = "checkout";
/// The name of the local root with 200 ms of CPU.
pub const SPAN_B: &str = "search";
/// The build id of the fixture's one module.
pub const BUILD_ID: &str = "00112233445566778899aabbccddeeff00112233";
/// When the fixture's profile begins, unless the caller says otherwise.
pub const TIME_UNIX_NANO: u64 = 1_790_000_000_000_000_000;

const TRACE: [u8; 16] = [0, 0xaf, 0x76, 0x51, 0x91, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0x16];
const A: [u8; 8] = [0, 0, 0, 0, 0, 0, 0, 0xa1];
const B: [u8; 8] = [0, 0, 0, 0, 0, 0, 0, 0xb1];
const CHILD_OF_A: [u8; 8] = [0, 0, 0, 0, 0, 0, 0, 0xa2];
const REMOTE: [u8; 8] = [0xff; 8];
const PERIOD_NANOS: i64 = 10_000_000;

/// The span with 300 ms.
#[must_use]
pub fn link_a() -> Link {
    Link { trace_id: crate::view::hex(&TRACE), span_id: crate::view::hex(&A) }
}

/// The span with 200 ms.
#[must_use]
pub fn link_b() -> Link {
    Link { trace_id: crate::view::hex(&TRACE), span_id: crate::view::hex(&B) }
}

/// The export, beginning at [`TIME_UNIX_NANO`].
#[must_use]
pub fn profiles() -> ExportProfilesServiceRequest {
    profiles_at(TIME_UNIX_NANO)
}

/// The export, beginning at `time_unix_nano` and lasting 10 s.
#[must_use]
pub fn profiles_at(time_unix_nano: u64) -> ExportProfilesServiceRequest {
    let mut tables = Tables::default();
    let profile = tables.profile(time_unix_nano);
    let scope =
        InstrumentationScope { name: "profile-tests".into(), version: "1".into(), ..Default::default() };
    let scope_profiles =
        ScopeProfiles { scope: Some(scope), profiles: vec![profile], schema_url: String::new() };
    ExportProfilesServiceRequest {
        resource_profiles: vec![ResourceProfiles {
            resource: Some(resource()),
            scope_profiles: vec![scope_profiles],
            schema_url: String::new(),
        }],
        dictionary: Some(tables.0),
    }
}

/// The traces of the run, beginning at [`TIME_UNIX_NANO`].
#[must_use]
pub fn traces() -> ExportTraceServiceRequest {
    traces_at(TIME_UNIX_NANO)
}

/// The traces of a run that begins at `time_unix_nano`: A, a child of A, and B, whose parent lives in another process.
#[must_use]
pub fn traces_at(time_unix_nano: u64) -> ExportTraceServiceRequest {
    let span = |id: [u8; 8], parent: &[u8], name: &str, attributes: Vec<KeyValue>| Span {
        trace_id: TRACE.to_vec(),
        span_id: id.to_vec(),
        parent_span_id: parent.to_vec(),
        name: name.into(),
        start_time_unix_nano: time_unix_nano,
        end_time_unix_nano: time_unix_nano.saturating_add(1_000_000_000),
        attributes,
        ..Default::default()
    };
    let profile_id = |id: [u8; 8]| vec![attribute("pyroscope.profile.id", text(&crate::view::hex(&id)))];
    let spans = vec![
        span(A, &[], SPAN_A, profile_id(A)),
        span(CHILD_OF_A, &A, "hash", vec![attribute("items", Value::IntValue(3))]),
        span(B, &REMOTE, SPAN_B, profile_id(B)),
    ];
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource()),
            scope_spans: vec![ScopeSpans { scope: None, spans, schema_url: String::new() }],
            schema_url: String::new(),
        }],
    }
}

fn resource() -> Resource {
    let attributes =
        vec![attribute("service.name", text(SERVICE)), attribute("process.pid", Value::IntValue(4711))];
    Resource { attributes, ..Default::default() }
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), key_strindex: 0 }
}

fn text(text: &str) -> Value {
    Value::StringValue(text.into())
}

/// A dictionary under construction; index 0 of every table is the zero value.
struct Tables(ProfilesDictionary);

impl Default for Tables {
    fn default() -> Self {
        Self(ProfilesDictionary {
            mapping_table: vec![Mapping::default()],
            location_table: vec![Location::default()],
            function_table: vec![Function::default()],
            link_table: vec![OtlpLink::default()],
            string_table: vec![String::new()],
            attribute_table: vec![KeyValueAndUnit::default()],
            stack_table: vec![Stack::default()],
        })
    }
}

impl Tables {
    fn profile(&mut self, time_unix_nano: u64) -> Profile {
        let sample_type = self.value_type("samples", "count");
        let period_type = self.value_type("cpu", "nanoseconds");
        let mapping = self.mapping();
        let rust = self.attribute("profile.frame.type", "rust");
        let (name_a, name_b) = (self.attribute("span_name", SPAN_A), self.attribute("span_name", SPAN_B));
        let (link_a, link_b) = (self.link(A), self.link(B));

        let main = self.location(mapping, 0x1100, rust, &[("shop::main", "src/main.rs", 7)]);
        let checkout: Lines<'_> =
            &[("shop::hash", "src/hash.rs", 12), ("shop::checkout", "src/checkout.rs", 40)];
        let checkout = self.location(mapping, 0x1200, rust, checkout);
        let search = self.location(mapping, 0x1300, rust, &[("shop::search", "src/search.rs", 9)]);
        let (in_a, in_b, outside) =
            (self.stack(&[checkout, main]), self.stack(&[search, main]), self.stack(&[main]));

        let sample = |stack_index, link_index, attribute_indices, count| Sample {
            stack_index,
            link_index,
            attribute_indices,
            values: vec![count],
            timestamps_unix_nano: Vec::new(),
        };
        Profile {
            sample_type: Some(sample_type),
            period_type: Some(period_type),
            period: PERIOD_NANOS,
            time_unix_nano,
            duration_nano: 10_000_000_000,
            profile_id: vec![7; 16],
            samples: vec![
                sample(in_a, link_a, vec![name_a], 30),
                sample(in_b, link_b, vec![name_b], 20),
                sample(outside, 0, Vec::new(), 5),
            ],
            ..Default::default()
        }
    }

    fn string(&mut self, text: &str) -> i32 {
        let table = &mut self.0.string_table;
        if let Some(known) = table.iter().position(|known| known == text) {
            return i32::try_from(known).unwrap_or(i32::MAX);
        }
        push(table, text.to_owned())
    }

    fn value_type(&mut self, name: &str, unit: &str) -> ValueType {
        ValueType { type_strindex: self.string(name), unit_strindex: self.string(unit) }
    }

    fn attribute(&mut self, key: &str, value: &str) -> i32 {
        let key_strindex = self.string(key);
        let value = Some(AnyValue { value: Some(text(value)) });
        push(&mut self.0.attribute_table, KeyValueAndUnit { key_strindex, value, unit_strindex: 0 })
    }

    fn link(&mut self, span: [u8; 8]) -> i32 {
        push(&mut self.0.link_table, OtlpLink { trace_id: TRACE.to_vec(), span_id: span.to_vec() })
    }

    fn mapping(&mut self) -> i32 {
        let build_id = self.attribute("process.executable.build_id.gnu", BUILD_ID);
        let mapping = Mapping {
            memory_start: 0x1000,
            memory_limit: 0x2000,
            file_offset: 0x1000,
            filename_strindex: self.string("/srv/shop"),
            attribute_indices: vec![build_id],
        };
        push(&mut self.0.mapping_table, mapping)
    }

    /// `lines` are (function, file, line), innermost first.
    fn location(&mut self, mapping_index: i32, address: u64, frame_type: i32, lines: Lines<'_>) -> i32 {
        let mut resolved = Vec::new();
        for (name, file, line) in lines {
            let name_strindex = self.string(name);
            let system_name_strindex = self.string(&mangled(name));
            let filename_strindex = self.string(file);
            let start_line = line - 2;
            let function = Function { name_strindex, system_name_strindex, filename_strindex, start_line };
            let function_index = push(&mut self.0.function_table, function);
            resolved.push(Line { function_index, line: *line, column: 5 });
        }
        let location =
            Location { mapping_index, address, lines: resolved, attribute_indices: vec![frame_type] };
        push(&mut self.0.location_table, location)
    }

    fn stack(&mut self, locations: &[i32]) -> i32 {
        push(&mut self.0.stack_table, Stack { location_indices: locations.to_vec() })
    }
}

type Lines<'a> = &'a [(&'a str, &'a str, i64)];

fn push<T>(table: &mut Vec<T>, entry: T) -> i32 {
    table.push(entry);
    i32::try_from(table.len() - 1).unwrap_or(i32::MAX)
}

/// The legacy mangling of a path, with a made-up hash.
fn mangled(path: &str) -> String {
    let parts: String = path.split("::").map(|part| format!("{}{part}", part.len())).collect();
    format!("_ZN{parts}17h0123456789abcdefE")
}
