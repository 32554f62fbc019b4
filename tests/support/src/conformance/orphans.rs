//! Every entry of every table is used: starting from the profiles, as a receiver reads them.
//!
//! Unlike profcheck, which counts an entry as used when an unused one refers to it, only what a profile leads to
//! counts here.

use super::Checker;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::profiles::v1development::{Profile, ProfilesDictionary, ValueType};

/// Which entries were reached, one flag for each.
struct Reached<'a> {
    dictionary: &'a ProfilesDictionary,
    mappings: Vec<bool>,
    locations: Vec<bool>,
    functions: Vec<bool>,
    links: Vec<bool>,
    strings: Vec<bool>,
    attributes: Vec<bool>,
    stacks: Vec<bool>,
}

impl Checker<'_> {
    pub(super) fn orphans(&mut self, request: &ExportProfilesServiceRequest) {
        let mut reached = Reached::nothing(self.dictionary);
        for resource in &request.resource_profiles {
            reached.plain_attributes(resource.resource.iter().flat_map(|resource| &resource.attributes));
            for scope in &resource.scope_profiles {
                reached.plain_attributes(scope.scope.iter().flat_map(|scope| &scope.attributes));
                scope.profiles.iter().for_each(|profile| reached.profile(profile));
            }
        }
        let tables = [
            ("mapping_table", reached.mappings),
            ("location_table", reached.locations),
            ("function_table", reached.functions),
            ("link_table", reached.links),
            ("string_table", reached.strings),
            ("attribute_table", reached.attributes),
            ("stack_table", reached.stacks),
        ];
        for (name, reached) in tables {
            for (index, _) in reached.iter().enumerate().skip(1).filter(|(_, used)| !**used) {
                self.violation("orphan", format_args!("{name}[{index}]"), "nothing refers to it");
            }
        }
    }
}

impl<'a> Reached<'a> {
    fn nothing(dictionary: &'a ProfilesDictionary) -> Self {
        Self {
            dictionary,
            mappings: vec![false; dictionary.mapping_table.len()],
            locations: vec![false; dictionary.location_table.len()],
            functions: vec![false; dictionary.function_table.len()],
            links: vec![false; dictionary.link_table.len()],
            strings: vec![false; dictionary.string_table.len()],
            attributes: vec![false; dictionary.attribute_table.len()],
            stacks: vec![false; dictionary.stack_table.len()],
        }
    }

    /// References into the table of strings, which another rule forbids to all but the Collector.
    fn plain_attributes<'b>(&mut self, attributes: impl Iterator<Item = &'b KeyValue>) {
        for KeyValue { key_strindex, value, .. } in attributes {
            mark(&mut self.strings, *key_strindex);
            if let Some(Value::StringValueStrindex(index)) = value.as_ref().and_then(|v| v.value.as_ref()) {
                mark(&mut self.strings, *index);
            }
        }
    }

    fn profile(&mut self, profile: &Profile) {
        for ValueType { type_strindex, unit_strindex } in
            profile.sample_type.iter().chain(&profile.period_type)
        {
            mark(&mut self.strings, *type_strindex);
            mark(&mut self.strings, *unit_strindex);
        }
        self.attributes(&profile.attribute_indices);
        for sample in &profile.samples {
            self.attributes(&sample.attribute_indices);
            mark(&mut self.links, sample.link_index);
            if let Some(index) = mark(&mut self.stacks, sample.stack_index) {
                self.stack(index);
            }
        }
    }

    fn stack(&mut self, index: usize) {
        for location in
            self.dictionary.stack_table.get(index).iter().flat_map(|stack| &stack.location_indices)
        {
            if let Some(index) = mark(&mut self.locations, *location) {
                self.location(index);
            }
        }
    }

    fn location(&mut self, index: usize) {
        let Some(location) = self.dictionary.location_table.get(index) else { return };
        self.attributes(&location.attribute_indices);
        if let Some(index) = mark(&mut self.mappings, location.mapping_index)
            && let Some(mapping) = self.dictionary.mapping_table.get(index)
        {
            mark(&mut self.strings, mapping.filename_strindex);
            self.attributes(&mapping.attribute_indices);
        }
        for line in &location.lines {
            if let Some(index) = mark(&mut self.functions, line.function_index)
                && let Some(function) = self.dictionary.function_table.get(index)
            {
                mark(&mut self.strings, function.name_strindex);
                mark(&mut self.strings, function.system_name_strindex);
                mark(&mut self.strings, function.filename_strindex);
            }
        }
    }

    fn attributes(&mut self, indices: &[i32]) {
        for index in indices {
            if let Some(index) = mark(&mut self.attributes, *index)
                && let Some(attribute) = self.dictionary.attribute_table.get(index)
            {
                mark(&mut self.strings, attribute.key_strindex);
                mark(&mut self.strings, attribute.unit_strindex);
            }
        }
    }
}

/// Marks an entry; its index if it was not marked before. An index without an entry is another rule's affair.
fn mark(reached: &mut [bool], index: i32) -> Option<usize> {
    let index = usize::try_from(index).ok()?;
    let used = reached.get_mut(index)?;
    (!std::mem::replace(used, true)).then_some(index)
}
