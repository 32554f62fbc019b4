//! The rules for the dictionary's seven tables.

use super::Checker;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::profiles::v1development::{
    Function, KeyValueAndUnit, Line, Location, Mapping,
};
use prost::Message;
use std::collections::{BTreeSet, HashSet};
use std::fmt::Debug;

/// Any one of these identifies a module's file (semantic conventions for profiles, mappings).
const BUILD_IDS: [&str; 3] = [
    "process.executable.build_id.gnu",
    "process.executable.build_id.go",
    "process.executable.build_id.htlhash",
];

/// The well-known values of `profile.frame.type` (semantic conventions 1.44).
const FRAME_TYPES: [&str; 12] =
    ["beam", "cpython", "dotnet", "go", "jvm", "kernel", "native", "perl", "php", "ruby", "rust", "v8js"];

impl<'a> Checker<'a> {
    pub(super) fn tables(&mut self) {
        let dictionary = self.dictionary;
        self.table("mapping_table", &dictionary.mapping_table, |mapping| {
            sort(&mut mapping.attribute_indices);
        });
        self.table("location_table", &dictionary.location_table, |place| sort(&mut place.attribute_indices));
        self.table("function_table", &dictionary.function_table, |_| {});
        self.table("link_table", &dictionary.link_table, |_| {});
        self.table("string_table", &dictionary.string_table, |_| {});
        self.table("attribute_table", &dictionary.attribute_table, |_| {});
        self.table("stack_table", &dictionary.stack_table, |_| {});

        // Entry 0 has a rule of its own.
        for (index, mapping) in dictionary.mapping_table.iter().enumerate().skip(1) {
            self.mapping(&format!("mapping_table[{index}]"), mapping);
        }
        for (index, location) in dictionary.location_table.iter().enumerate().skip(1) {
            self.location(&format!("location_table[{index}]"), location);
        }
        for (index, function) in dictionary.function_table.iter().enumerate().skip(1) {
            self.function(&format!("function_table[{index}]"), function);
        }
        for (index, link) in dictionary.link_table.iter().enumerate().skip(1) {
            let place = format!("link_table[{index}]");
            self.id(&format!("{place}.trace_id"), &link.trace_id, 16);
            self.id(&format!("{place}.span_id"), &link.span_id, 8);
        }
        for (index, attribute) in dictionary.attribute_table.iter().enumerate().skip(1) {
            self.attribute(&format!("attribute_table[{index}]"), attribute);
        }
        for (index, stack) in dictionary.stack_table.iter().enumerate() {
            for location in &stack.location_indices {
                let place = format!("stack_table[{index}].location_indices");
                self.entry(&dictionary.location_table, *location, place);
            }
        }
    }

    /// Entry 0 is the zero value, and no entry is there twice. Entries of lower tables being unique, equal indices
    /// are equal values; `normalize` puts lists whose order means nothing into one order.
    fn table<T: Message + Default + Clone + PartialEq + Debug>(
        &mut self,
        name: &str,
        table: &[T],
        normalize: impl Fn(&mut T),
    ) {
        match table.first() {
            None => self.violation("zero-entry", name, "the table is empty"),
            Some(first) if *first != T::default() => {
                self.violation("zero-entry", name, format_args!("entry 0 is {first:?}"));
            }
            Some(_) => {}
        }
        let mut seen = HashSet::new();
        for (index, entry) in table.iter().enumerate() {
            let mut normal = entry.clone();
            normalize(&mut normal);
            if !seen.insert(normal.encode_to_vec()) {
                self.violation("duplicate", format_args!("{name}[{index}]"), format_args!("{entry:?}"));
            }
        }
    }

    fn mapping(&mut self, place: &str, mapping: &Mapping) {
        self.string(mapping.filename_strindex, format_args!("{place}.filename_strindex"));
        let (start, limit) = (mapping.memory_start, mapping.memory_limit);
        if (start, limit) != (0, 0) && start >= limit {
            self.violation("mapping-range", place, format_args!("{start:#x} to {limit:#x}"));
        }
        let attributes = self.attributes(place, &mapping.attribute_indices);
        let id = attributes.iter().find(|(key, _)| BUILD_IDS.contains(key));
        match id {
            None => self.violation("build-id", place, "none"),
            Some((_, Some(Value::StringValue(id)))) if is_lower_hex(id) => {}
            Some((key, value)) => self.violation("build-id", place, format_args!("{key} is {value:?}")),
        }
    }

    fn location(&mut self, place: &str, location: &Location) {
        let dictionary = self.dictionary;
        self.entry(&dictionary.mapping_table, location.mapping_index, format_args!("{place}.mapping_index"));
        if location.address == 0 && location.lines.is_empty() {
            self.violation("location-known", place, "neither an address nor a line");
        }
        let attributes = self.attributes(place, &location.attribute_indices);
        let frame_type =
            attributes.iter().find(|(key, _)| *key == "profile.frame.type").map(|(_, value)| *value);
        let is_rust = match frame_type {
            Some(Some(Value::StringValue(name))) if FRAME_TYPES.contains(&name.as_str()) => name == "rust",
            None if self.is_made_up(location) => false,
            other => {
                self.violation("frame-type", place, format_args!("{other:?}"));
                false
            }
        };
        for (index, line) in location.lines.iter().enumerate() {
            let place = format!("{place}.lines[{index}]");
            if line.line < 0 || line.column < 0 {
                self.violation(
                    "line-numbers",
                    &place,
                    format_args!("line {}, column {}", line.line, line.column),
                );
            }
            if line.function_index == 0 {
                self.violation("function-name", &place, "no function");
            }
            let function = self.entry(&dictionary.function_table, line.function_index, &place);
            if let Some(function) = function.filter(|_| is_rust) {
                self.demangled(&place, function);
            }
        }
    }

    /// Whether the location stands for something that is no code, such as `[lost: sample ring full]`.
    fn is_made_up(&self, location: &Location) -> bool {
        let name = |line: &Line| {
            let function = self.dictionary.function_table.get(usize::try_from(line.function_index).ok()?)?;
            self.dictionary.string_table.get(usize::try_from(function.name_strindex).ok()?)
        };
        location.lines.iter().all(|line| name(line).is_some_and(|name| name.starts_with('[')))
            && !location.lines.is_empty()
    }

    fn function(&mut self, place: &str, function: &Function) {
        let name = self.string(function.name_strindex, format_args!("{place}.name_strindex"));
        self.string(function.system_name_strindex, format_args!("{place}.system_name_strindex"));
        self.string(function.filename_strindex, format_args!("{place}.filename_strindex"));
        if name == Some("") {
            self.violation("function-name", place, "the name is empty");
        }
        if function.start_line < 0 {
            self.violation("line-numbers", place, format_args!("start line {}", function.start_line));
        }
    }

    fn demangled(&mut self, place: &str, function: &Function) {
        // A bad index is reported with the function itself.
        let index = usize::try_from(function.name_strindex).ok();
        let name = index.and_then(|index| self.dictionary.string_table.get(index)).map_or("", String::as_str);
        let v0 =
            name.strip_prefix("_R").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()));
        if v0 || name.starts_with("_ZN") {
            self.violation("demangled", place, name);
        }
    }

    fn id(&mut self, place: &str, id: &[u8], length: usize) {
        if id.len() != length {
            self.violation("link-ids", place, format_args!("{} bytes instead of {length}", id.len()));
        } else if id.iter().all(|byte| *byte == 0) {
            self.violation("link-ids", place, "all zero");
        }
    }

    fn attribute(&mut self, place: &str, attribute: &KeyValueAndUnit) {
        let key = self.string(attribute.key_strindex, format_args!("{place}.key_strindex"));
        self.string(attribute.unit_strindex, format_args!("{place}.unit_strindex"));
        if key == Some("") {
            self.violation("attribute-value", place, "the key is empty");
        }
        if attribute.value.as_ref().is_none_or(|value| value.value.is_none()) {
            self.violation("attribute-value", place, "no value");
        }
    }

    /// The keys and values of a list of attributes; indices without an entry and keys that come twice are violations.
    pub(super) fn attributes(&mut self, place: &str, indices: &[i32]) -> Vec<(&'a str, Option<&'a Value>)> {
        let mut found = Vec::new();
        let mut keys = BTreeSet::new();
        for index in indices {
            let table = &self.dictionary.attribute_table;
            let Some(attribute) = self.entry(table, *index, format_args!("{place}.attribute_indices")) else {
                continue;
            };
            let Some(key) = self.string(attribute.key_strindex, format_args!("{place}.attribute_indices"))
            else {
                continue;
            };
            if !keys.insert(key) {
                self.violation("unique-keys", place, key);
            }
            found.push((key, attribute.value.as_ref().and_then(|value| value.value.as_ref())));
        }
        found
    }
}

fn sort(indices: &mut [i32]) {
    indices.sort_unstable();
}

fn is_lower_hex(text: &str) -> bool {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    !text.is_empty() && text.len().is_multiple_of(2) && text.bytes().all(digit)
}
