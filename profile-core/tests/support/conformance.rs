//! Whether OTLP profiles are what OpenTelemetry's own checker `profcheck` accepts with all its checks on, and what it
//! leaves to the reader: no duplicates in any table, a name for each function, a build id for each mapping.
//!
//! Works on bytes as decoded by the crate `opentelemetry-proto`, and knows nothing of this project's types, so that
//! any test can hold any payload against it. Source of the checks: open-telemetry/sig-profiling, `profcheck`, and
//! opentelemetry-specification, `specification/profiles/mappings.md`.

use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::profiles::v1development::{
    Mapping, Profile, ProfilesDictionary, Sample, ValueType,
};
use prost::Message;
use std::collections::HashSet;
use std::fmt::Display;
use std::hash::Hash;

/// What is wrong with `bytes`; nothing if they are right.
pub fn violations(bytes: &[u8]) -> Vec<String> {
    let data = match ExportProfilesServiceRequest::decode(bytes) {
        Ok(data) => data,
        Err(error) => return vec![format!("not decodable: {error}")],
    };
    let dictionary = data.dictionary.clone().unwrap_or_default();
    let mut check = Check { dictionary: &dictionary, errors: Vec::new(), used: Used::default() };
    check.structure(&data);
    check.tables();
    check.duplicates();
    check.orphans();
    check.errors
}

/// Fails with all violations of `bytes`, if there are any.
pub fn assert_conforms(bytes: &[u8]) {
    let violations = violations(bytes);
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

struct Check<'a> {
    dictionary: &'a ProfilesDictionary,
    errors: Vec<String>,
    used: Used,
}

/// The rows that something refers to.
#[derive(Default)]
struct Used {
    strings: HashSet<i32>,
    functions: HashSet<i32>,
    mappings: HashSet<i32>,
    locations: HashSet<i32>,
    stacks: HashSet<i32>,
    links: HashSet<i32>,
    attributes: HashSet<i32>,
}

impl Check<'_> {
    fn error(&mut self, message: impl Display) {
        self.errors.push(message.to_string());
    }

    fn assert(&mut self, ok: bool, message: impl Display) {
        if !ok {
            self.error(message);
        }
    }

    /// Notes that something refers to row `index` of a table of `rows` rows.
    fn refer(&mut self, what: &str, index: i32, rows: usize, used: fn(&mut Used) -> &mut HashSet<i32>) {
        used(&mut self.used).insert(index);
        let inside = usize::try_from(index).is_ok_and(|index| index < rows);
        self.assert(inside, format_args!("{what}: index {index} is out of range [0..{rows})"));
    }

    fn string(&mut self, what: &str, index: i32) {
        self.refer(what, index, self.dictionary.string_table.len(), |used| &mut used.strings);
    }

    fn structure(&mut self, data: &ExportProfilesServiceRequest) {
        self.assert(!data.resource_profiles.is_empty(), "no resource profiles");
        for resource in &data.resource_profiles {
            self.assert(!resource.scope_profiles.is_empty(), "resource profiles without scope profiles");
            for scope in &resource.scope_profiles {
                self.assert(!scope.profiles.is_empty(), "scope profiles without profiles");
                scope.profiles.iter().for_each(|profile| self.profile(profile));
            }
        }
    }

    fn profile(&mut self, profile: &Profile) {
        self.attributes("profile", &profile.attribute_indices);
        for (what, value_type) in
            [("sample_type", &profile.sample_type), ("period_type", &profile.period_type)]
        {
            let ValueType { type_strindex, unit_strindex } = value_type.unwrap_or_default();
            self.string(what, type_strindex);
            self.string(what, unit_strindex);
        }
        let mut shapes = HashSet::new();
        let end = profile.time_unix_nano + profile.duration_nano;
        for sample in &profile.samples {
            self.sample(sample);
            for time in &sample.timestamps_unix_nano {
                let inside = (profile.time_unix_nano..end).contains(time);
                self.assert(inside, format_args!("timestamp {time} outside of its profile"));
            }
            shapes.insert((sample.values.is_empty(), sample.timestamps_unix_nano.is_empty()));
        }
        self.assert(shapes.len() <= 1, "samples of several shapes in one profile");
        let identities = profile.samples.iter().map(|sample| {
            let mut attributes = sample.attribute_indices.clone();
            attributes.sort_unstable();
            (sample.stack_index, attributes, sample.link_index)
        });
        self.unique("sample", identities);
    }

    fn sample(&mut self, sample: &Sample) {
        self.refer("stack_index", sample.stack_index, self.dictionary.stack_table.len(), |used| {
            &mut used.stacks
        });
        self.refer("link_index", sample.link_index, self.dictionary.link_table.len(), |used| &mut used.links);
        self.attributes("sample", &sample.attribute_indices);
        let ok = match (sample.values.len(), sample.timestamps_unix_nano.len()) {
            (0, 0) => false,
            (values, 0) => values == 1,
            (0, _) => true,
            (values, timestamps) => values == timestamps,
        };
        self.assert(ok, format_args!("a sample's values and timestamps do not agree: {sample:?}"));
    }

    fn attributes(&mut self, what: &str, indices: &[i32]) {
        for index in indices {
            self.refer(what, *index, self.dictionary.attribute_table.len(), |used| &mut used.attributes);
        }
        let rows = indices.iter().filter_map(|index| self.dictionary.attribute_table.get(*index as usize));
        let keys: Vec<i32> = rows.map(|row| row.key_strindex).collect();
        self.unique(&format!("{what}: attribute key"), keys);
    }

    fn tables(&mut self) {
        let dictionary = self.dictionary;
        self.zero_row("mapping_table", &dictionary.mapping_table);
        self.zero_row("location_table", &dictionary.location_table);
        self.zero_row("function_table", &dictionary.function_table);
        self.zero_row("link_table", &dictionary.link_table);
        self.zero_row("attribute_table", &dictionary.attribute_table);
        self.zero_row("stack_table", &dictionary.stack_table);
        self.assert(
            dictionary.string_table.first().is_some_and(String::is_empty),
            "string_table[0] is not empty",
        );

        dictionary.mapping_table.iter().skip(1).for_each(|mapping| self.mapping(mapping));
        for location in &dictionary.location_table {
            let mappings = dictionary.mapping_table.len();
            self.refer("mapping_index", location.mapping_index, mappings, |used| &mut used.mappings);
            self.attributes("location", &location.attribute_indices);
            for line in &location.lines {
                let functions = dictionary.function_table.len();
                self.refer("function_index", line.function_index, functions, |used| &mut used.functions);
                self.assert(line.line >= 0 && line.column >= 0, format_args!("negative: {line:?}"));
            }
        }
        for function in &dictionary.function_table {
            self.string("function name", function.name_strindex);
            self.string("function system name", function.system_name_strindex);
            self.string("function file", function.filename_strindex);
            self.assert(function.start_line >= 0, "negative start_line");
        }
        for function in dictionary.function_table.iter().skip(1) {
            self.assert(function.name_strindex > 0, format_args!("a function without a name: {function:?}"));
        }
        for link in dictionary.link_table.iter().skip(1) {
            let trace = link.trace_id.len() == 16 && link.trace_id.iter().any(|byte| *byte != 0);
            let span = link.span_id.len() == 8 && link.span_id.iter().any(|byte| *byte != 0);
            self.assert(trace && span, format_args!("not a link: {link:?}"));
        }
        for attribute in &dictionary.attribute_table {
            self.string("attribute key", attribute.key_strindex);
            self.string("attribute unit", attribute.unit_strindex);
        }
        for location in dictionary.stack_table.iter().flat_map(|stack| &stack.location_indices) {
            let locations = dictionary.location_table.len();
            self.refer("location_indices", *location, locations, |used| &mut used.locations);
        }
    }

    fn mapping(&mut self, mapping: &Mapping) {
        self.string("mapping file", mapping.filename_strindex);
        self.attributes("mapping", &mapping.attribute_indices);
        let (start, limit) = (mapping.memory_start, mapping.memory_limit);
        self.assert(
            (start, limit) == (0, 0) || start < limit,
            format_args!("mapping {start:#x}..{limit:#x}"),
        );
        let dictionary = self.dictionary;
        let rows =
            mapping.attribute_indices.iter().filter_map(|i| dictionary.attribute_table.get(*i as usize));
        let mut build_ids = rows.filter(|row| {
            let key = dictionary.string_table.get(row.key_strindex as usize);
            let text = match row.value.as_ref().and_then(|value| value.value.as_ref()) {
                Some(Value::StringValue(text)) => !text.is_empty(),
                _ => false,
            };
            text && key.is_some_and(|key| key.starts_with("process.executable.build_id."))
        });
        let identified = build_ids.next().is_some();
        self.assert(identified, format_args!("a mapping without build id: {mapping:?}"));
    }

    fn zero_row<T: Default + PartialEq>(&mut self, table: &str, rows: &[T]) {
        self.assert(rows.first() == Some(&T::default()), format_args!("{table}[0] is not the zero value"));
    }

    fn duplicates(&mut self) {
        let dictionary = self.dictionary;
        self.unique("string", &dictionary.string_table);
        // By their bytes: equal messages of one encoder have equal bytes.
        self.unique_messages("mapping", &dictionary.mapping_table);
        self.unique_messages("location", &dictionary.location_table);
        self.unique_messages("function", &dictionary.function_table);
        self.unique_messages("link", &dictionary.link_table);
        self.unique_messages("attribute", &dictionary.attribute_table);
        self.unique_messages("stack", &dictionary.stack_table);
    }

    fn unique_messages<T: Message>(&mut self, what: &str, rows: &[T]) {
        self.unique(what, rows.iter().map(Message::encode_to_vec));
    }

    fn unique<T: Eq + Hash>(&mut self, what: &str, rows: impl IntoIterator<Item = T>) {
        let mut seen = HashSet::new();
        let duplicates = rows.into_iter().filter_map(|row| (!seen.insert(row)).then_some(())).count();
        self.assert(duplicates == 0, format_args!("{duplicates} duplicates: {what}"));
    }

    fn orphans(&mut self) {
        let dictionary = self.dictionary;
        let tables = [
            ("string_table", dictionary.string_table.len(), &self.used.strings),
            ("function_table", dictionary.function_table.len(), &self.used.functions),
            ("mapping_table", dictionary.mapping_table.len(), &self.used.mappings),
            ("location_table", dictionary.location_table.len(), &self.used.locations),
            ("stack_table", dictionary.stack_table.len(), &self.used.stacks),
            ("link_table", dictionary.link_table.len(), &self.used.links),
            ("attribute_table", dictionary.attribute_table.len(), &self.used.attributes),
        ];
        let mut orphans = Vec::new();
        for (table, rows, used) in tables {
            let unused = (1..rows as i32).filter(|row| !used.contains(row));
            orphans.extend(unused.map(|row| format!("{table}: row {row} is not referred to")));
        }
        self.errors.extend(orphans);
    }
}
