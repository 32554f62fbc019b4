//! The rules for resources, scopes, profiles and samples.

use super::Checker;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::profiles::v1development::{
    Profile, ResourceProfiles, Sample, ScopeProfiles, ValueType,
};
use prost::Message as _;
use std::collections::{BTreeSet, HashSet};

const MAX_WINDOW_NANOS: u64 = 15_000_000_000;
const MAX_SAMPLES: usize = 10_000;
const MAX_PROFILE_BYTES: usize = 2 << 20;
/// Pyroscope's limit is 30, of which it adds four itself: the profile's name, the service's, and two marks.
const MAX_LABELS: usize = 26;
const MAX_LABEL_NAME: usize = 1024;
const MAX_LABEL_VALUE: usize = 2048;
/// Every distinct value would become a series of its own.
const UNBOUNDED: [&str; 4] = ["thread.id", "span_id", "trace_id", "profile_id"];

/// A sample has values, or timestamps, or (against the rules) both.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Shape {
    values: bool,
    timestamps: bool,
}

impl<'a> Checker<'a> {
    pub(super) fn request(&mut self, request: &'a ExportProfilesServiceRequest) {
        if request.resource_profiles.is_empty() {
            self.violation("empty", "request", "no resource profiles");
        }
        for (index, resource) in request.resource_profiles.iter().enumerate() {
            self.resource(&format!("resource_profiles[{index}]"), resource);
        }
    }

    fn resource(&mut self, place: &str, resource: &'a ResourceProfiles) {
        let attributes = resource.resource.as_ref().map_or(&[][..], |resource| &resource.attributes);
        match &resource.resource {
            None => self.violation("resource-and-scope", place, "no resource"),
            Some(_) => self.service_name(place, attributes),
        }
        self.plain_attributes(place, attributes);
        if resource.scope_profiles.is_empty() {
            self.violation("empty", place, "no scope profiles");
        }
        for (index, scope) in resource.scope_profiles.iter().enumerate() {
            self.scope(&format!("{place}.scope_profiles[{index}]"), scope, attributes.len());
        }
    }

    fn service_name(&mut self, place: &str, attributes: &[KeyValue]) {
        let strings = &self.dictionary.string_table;
        let string = |index: i32| strings.get(usize::try_from(index).ok()?).map(String::as_str);
        let key = |attribute: &KeyValue| match attribute.key_strindex {
            0 => attribute.key == "service.name",
            reference => string(reference) == Some("service.name"),
        };
        let name = attributes.iter().find(|attribute| key(attribute));
        let name = name.and_then(|name| name.value.as_ref()?.value.as_ref());
        let text = match name {
            Some(Value::StringValue(text)) => Some(text.as_str()),
            Some(Value::StringValueStrindex(reference)) => string(*reference),
            _ => None,
        };
        if text.is_none_or(str::is_empty) {
            self.violation("service-name", place, format_args!("{name:?}"));
        }
    }

    fn plain_attributes(&mut self, place: &str, attributes: &'a [KeyValue]) {
        let mut keys = BTreeSet::new();
        for KeyValue { key, value, key_strindex } in attributes {
            if key.is_empty() || *key_strindex != 0 {
                self.violation(
                    "plain-attributes",
                    place,
                    format_args!("key {key:?}, reference {key_strindex}"),
                );
            } else if !keys.insert(key) {
                self.violation("unique-keys", place, key);
            }
            match value.as_ref().and_then(|value| value.value.as_ref()) {
                Some(Value::StringValue(text)) => self.label(place, key, text),
                Some(Value::IntValue(_)) => {}
                other => self.violation("plain-attributes", place, format_args!("{key} is {other:?}")),
            }
        }
    }

    fn scope(&mut self, place: &str, scope: &'a ScopeProfiles, resource_labels: usize) {
        let attributes = scope.scope.as_ref().map_or(&[][..], |scope| &scope.attributes);
        if scope.scope.as_ref().is_none_or(|scope| scope.name.is_empty()) {
            self.violation("resource-and-scope", place, "no scope, or one without a name");
        }
        self.plain_attributes(place, attributes);
        if scope.profiles.is_empty() {
            self.violation("empty", place, "no profiles");
        }
        let is_cpu: Vec<bool> = scope.profiles.iter().map(|profile| self.is_cpu(profile)).collect();
        if is_cpu.contains(&true) && is_cpu.first() == Some(&false) {
            self.violation("cpu-first", place, "another profile comes before it");
        }
        let labels = resource_labels.saturating_add(attributes.len());
        for (index, profile) in scope.profiles.iter().enumerate() {
            self.profile(&format!("{place}.profiles[{index}]"), profile, labels);
        }
    }

    fn profile(&mut self, place: &str, profile: &'a Profile, labels: usize) {
        self.value_types(place, profile);
        self.profile_fields(place, profile);
        let sizes = (profile.samples.len(), profile.encoded_len());
        if sizes.0 > MAX_SAMPLES || sizes.1 > MAX_PROFILE_BYTES {
            self.violation("profile-size", place, format_args!("{} samples, {} bytes", sizes.0, sizes.1));
        }
        if profile.samples.is_empty() {
            self.violation("empty", place, "no samples");
        }
        let mut seen = HashSet::new();
        let shape = profile.samples.first().map(Shape::of);
        for (index, sample) in profile.samples.iter().enumerate() {
            let place = format!("{place}.samples[{index}]");
            if Some(Shape::of(sample)) != shape {
                self.violation("one-shape", &place, "not the shape of the first sample");
            }
            let mut attributes = sample.attribute_indices.clone();
            attributes.sort_unstable();
            if !seen.insert((sample.stack_index, attributes, sample.link_index)) {
                self.violation("merged", &place, "an earlier sample has the same stack, attributes and link");
            }
            self.sample(&place, profile, sample);
            self.sample_attributes(&place, sample, labels);
        }
    }

    fn value_types(&mut self, place: &str, profile: &Profile) {
        let sample_type = self.value_type(format!("{place}.sample_type"), profile.sample_type.as_ref());
        let period_type = self.value_type(format!("{place}.period_type"), profile.period_type.as_ref());
        if profile.period <= 0 {
            self.violation("period", place, profile.period);
        }
        if self.is_cpu(profile) {
            let shape =
                (sample_type, period_type) == (Some(("samples", "count")), Some(("cpu", "nanoseconds")));
            if !shape || !(1_000_000..=1_000_000_000).contains(&profile.period) {
                let what = format_args!("{sample_type:?}, {period_type:?}, period {}", profile.period);
                self.violation("cpu-shape", place, what);
            }
        }
    }

    fn value_type(&mut self, place: String, value_type: Option<&ValueType>) -> Option<(&'a str, &'a str)> {
        let Some(value_type) = value_type else {
            self.violation("types", place, "not set");
            return None;
        };
        let name = self.string(value_type.type_strindex, &place)?;
        let unit = self.string(value_type.unit_strindex, &place)?;
        if name.is_empty() || unit.is_empty() || name.contains('-') {
            self.violation("types", place, format_args!("{name:?} in {unit:?}"));
        }
        Some((name, unit))
    }

    /// Whether a profile measures CPU time, right or wrong as it may say so.
    fn is_cpu(&self, profile: &Profile) -> bool {
        let types = profile.sample_type.iter().chain(&profile.period_type);
        types
            .filter_map(|value_type| {
                self.dictionary.string_table.get(usize::try_from(value_type.type_strindex).ok()?)
            })
            .any(|name| name == "cpu")
    }

    fn profile_fields(&mut self, place: &str, profile: &Profile) {
        self.attributes(place, &profile.attribute_indices);
        let (start, duration) = (profile.time_unix_nano, profile.duration_nano);
        if start == 0 || duration == 0 || duration > MAX_WINDOW_NANOS || start.checked_add(duration).is_none()
        {
            self.violation("window", place, format_args!("from {start} for {duration} ns"));
        }
        let id = &profile.profile_id;
        if !id.is_empty() && (id.len() != 16 || id.iter().all(|byte| *byte == 0)) {
            self.violation("profile-id", place, format_args!("{id:?}"));
        }
        if profile.original_payload.is_empty() != profile.original_payload_format.is_empty() {
            let format = &profile.original_payload_format;
            let what = format_args!("format {format:?}, {} bytes", profile.original_payload.len());
            self.violation("original-payload", place, what);
        }
    }

    fn sample(&mut self, place: &str, profile: &Profile, sample: &Sample) {
        let dictionary = self.dictionary;
        self.entry(&dictionary.stack_table, sample.stack_index, format_args!("{place}.stack_index"));
        self.entry(&dictionary.link_table, sample.link_index, format_args!("{place}.link_index"));
        let (values, timestamps) = (&sample.values, &sample.timestamps_unix_nano);
        if !matches!((values.len(), timestamps.len()), (1, 0) | (0, 1..)) {
            let what = format_args!("{} values, {} timestamps", values.len(), timestamps.len());
            self.violation("sample-shape", place, what);
        }
        if let Some(value) = values.iter().find(|value| **value <= 0) {
            self.violation("positive", place, value);
        }
        let time = profile.time_unix_nano..profile.time_unix_nano.saturating_add(profile.duration_nano);
        if let Some(outside) = timestamps.iter().find(|timestamp| !time.contains(timestamp)) {
            self.violation("timestamps", place, format_args!("{outside} is not in {time:?}"));
        }
    }

    fn sample_attributes(&mut self, place: &str, sample: &Sample, other_labels: usize) {
        let attributes = self.attributes(place, &sample.attribute_indices);
        let labels = other_labels.saturating_add(attributes.len());
        if labels > MAX_LABELS {
            self.violation("series-labels", place, format_args!("{labels} of {MAX_LABELS} labels"));
        }
        for (key, value) in attributes {
            match value {
                Some(Value::StringValue(text)) => self.label(place, key, text),
                other => self.violation("sample-attributes", place, format_args!("{key} is {other:?}")),
            }
            if key == "service.name" {
                self.violation("service-name", place, "on a sample");
            }
            if UNBOUNDED.contains(&key) {
                self.violation("sample-attributes", place, key);
            }
        }
    }

    fn label(&mut self, place: &str, name: &str, value: &str) {
        if name.len() > MAX_LABEL_NAME || value.len() > MAX_LABEL_VALUE {
            let what = format_args!("a name of {} bytes, a value of {}", name.len(), value.len());
            self.violation("series-labels", place, what);
        }
    }
}

impl Shape {
    fn of(sample: &Sample) -> Self {
        Self { values: !sample.values.is_empty(), timestamps: !sample.timestamps_unix_nano.is_empty() }
    }
}
