//! Reads OTLP profiles with the messages of the crate `opentelemetry-proto`, and resolves every index.
//!
//! An index that names no entry is an error here, never a default: a reader that forgives would hide what it is for.

use crate::error::Context as _;
use crate::view::{Frame, Link, Mapping, Sample, hex, totals_by_span};
use crate::{Error, Result};
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::profiles::v1development::{
    Line, Location, Profile, ProfilesDictionary, ResourceProfiles, Sample as OtlpSample, ValueType,
};
use prost::Message as _;
use std::collections::BTreeMap;

/// A profile with everything resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProfileView {
    /// Attributes of the resource it comes from, such as `service.name`.
    pub resource: BTreeMap<String, String>,
    /// The instrumentation scope's name.
    pub scope: String,
    /// Type and unit of the samples' values.
    pub sample_type: (String, String),
    /// Type and unit of the period.
    pub period_type: (String, String),
    /// What one sample stands for, in the unit of the period type.
    pub period: i64,
    /// When the profile begins, in nanoseconds since 1970.
    pub time_unix_nano: u64,
    /// How long it lasts.
    pub duration_nano: u64,
    /// Attributes of the profile itself.
    pub attributes: BTreeMap<String, String>,
    /// The samples.
    pub samples: Vec<Sample>,
}

impl ProfileView {
    /// The sum of all values.
    #[must_use]
    pub fn total(&self) -> i64 {
        self.samples.iter().fold(0, |total: i64, sample| total.saturating_add(sample.value))
    }

    /// The sum of the values for each span.
    #[must_use]
    pub fn totals_by_span(&self) -> BTreeMap<Option<Link>, i64> {
        totals_by_span(&self.samples)
    }
}

/// Decodes a binary `ExportProfilesServiceRequest` and resolves its profiles.
///
/// # Errors
///
/// The bytes do not decode, or an index names no entry.
pub fn read(bytes: &[u8]) -> Result<Vec<ProfileView>> {
    resolve(&ExportProfilesServiceRequest::decode(bytes)?)
}

/// Resolves the profiles of a request, in order.
///
/// # Errors
///
/// An index names no entry.
pub fn resolve(request: &ExportProfilesServiceRequest) -> Result<Vec<ProfileView>> {
    let dictionary = request.dictionary.as_ref().context("no dictionary")?;
    let mut views = Vec::new();
    for resource in &request.resource_profiles {
        for scope in &resource.scope_profiles {
            for profile in &scope.profiles {
                let mut view = Tables(dictionary).profile(profile)?;
                view.resource = resource_attributes(resource);
                view.scope = scope.scope.as_ref().map(|scope| scope.name.clone()).unwrap_or_default();
                views.push(view);
            }
        }
    }
    Ok(views)
}

/// A dictionary that can be asked for what an index means.
struct Tables<'a>(&'a ProfilesDictionary);

impl Tables<'_> {
    fn profile(&self, profile: &Profile) -> Result<ProfileView> {
        Ok(ProfileView {
            sample_type: self.value_type(profile.sample_type.as_ref())?,
            period_type: self.value_type(profile.period_type.as_ref())?,
            period: profile.period,
            time_unix_nano: profile.time_unix_nano,
            duration_nano: profile.duration_nano,
            attributes: self.attributes(&profile.attribute_indices)?,
            samples: profile.samples.iter().map(|sample| self.sample(sample)).collect::<Result<_>>()?,
            ..ProfileView::default()
        })
    }

    fn sample(&self, sample: &OtlpSample) -> Result<Sample> {
        let stack = entry(&self.0.stack_table, sample.stack_index, "stack")?;
        let mut frames = Vec::new();
        for index in &stack.location_indices {
            self.frames(entry(&self.0.location_table, *index, "location")?, &mut frames)?;
        }
        let value = match (sample.values.as_slice(), sample.timestamps_unix_nano.len()) {
            ([], count) => i64::try_from(count).context("too many timestamps")?,
            (values, _) => values.iter().fold(0, |total: i64, value| total.saturating_add(*value)),
        };
        let link = match sample.link_index {
            0 => None,
            index => {
                let link = entry(&self.0.link_table, index, "link")?;
                Some(Link { trace_id: hex(&link.trace_id), span_id: hex(&link.span_id) })
            }
        };
        Ok(Sample { stack: frames, value, link, attributes: self.attributes(&sample.attribute_indices)? })
    }

    /// The frames of a location, innermost first; a location without lines is one frame without a function.
    fn frames(&self, location: &Location, frames: &mut Vec<Frame>) -> Result<()> {
        let bare = Frame {
            address: location.address,
            mapping: self.mapping(location.mapping_index)?,
            attributes: self.attributes(&location.attribute_indices)?,
            ..Frame::default()
        };
        for (position, line) in location.lines.iter().enumerate() {
            frames.push(Frame {
                inlined: position + 1 < location.lines.len(),
                ..self.line(line, bare.clone())?
            });
        }
        if location.lines.is_empty() {
            frames.push(bare);
        }
        Ok(())
    }

    fn line(&self, line: &Line, bare: Frame) -> Result<Frame> {
        let function = entry(&self.0.function_table, line.function_index, "function")?;
        Ok(Frame {
            function: self.string(function.name_strindex)?,
            system_name: self.string(function.system_name_strindex)?,
            file: self.string(function.filename_strindex)?,
            start_line: function.start_line,
            line: line.line,
            column: line.column,
            ..bare
        })
    }

    fn mapping(&self, index: i32) -> Result<Option<Mapping>> {
        if index == 0 {
            return Ok(None);
        }
        let mapping = entry(&self.0.mapping_table, index, "mapping")?;
        let mut attributes = self.attributes(&mapping.attribute_indices)?;
        Ok(Some(Mapping {
            file: self.string(mapping.filename_strindex)?,
            build_id: attributes.remove("process.executable.build_id.gnu").unwrap_or_default(),
            memory: (mapping.memory_start, mapping.memory_limit),
            file_offset: mapping.file_offset,
        }))
    }

    fn attributes(&self, indices: &[i32]) -> Result<BTreeMap<String, String>> {
        let mut found = BTreeMap::new();
        for index in indices {
            let attribute = entry(&self.0.attribute_table, *index, "attribute")?;
            let key = self.string(attribute.key_strindex)?;
            if found.insert(key.clone(), text(attribute.value.as_ref())).is_some() {
                return Err(Error::new(format!("two attributes have the key {key:?}")));
            }
        }
        Ok(found)
    }

    fn value_type(&self, value_type: Option<&ValueType>) -> Result<(String, String)> {
        let value_type = value_type.copied().unwrap_or_default();
        Ok((self.string(value_type.type_strindex)?, self.string(value_type.unit_strindex)?))
    }

    fn string(&self, index: i32) -> Result<String> {
        entry(&self.0.string_table, index, "string").cloned()
    }
}

/// The attributes of a resource with their values as text.
fn resource_attributes(resource: &ResourceProfiles) -> BTreeMap<String, String> {
    let attributes = resource.resource.iter().flat_map(|resource| &resource.attributes);
    attributes.map(|KeyValue { key, value, .. }| (key.clone(), text(value.as_ref()))).collect()
}

/// A value as text; what is neither text nor a number is shown for a person to read.
fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        None => String::new(),
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        Some(other) => format!("{other:?}"),
    }
}

fn entry<'a, T>(table: &'a [T], index: i32, what: &str) -> Result<&'a T> {
    let found = usize::try_from(index).ok().and_then(|index| table.get(index));
    found.context(format_args!("there is no {what} {index}: the table has {}", table.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn the_fixture_is_read_in_full() {
        let views = read(&fixture::profiles().encode_to_vec()).unwrap();
        let [cpu] = views.as_slice() else { panic!("{} profiles", views.len()) };
        assert_eq!(cpu.resource["service.name"], fixture::SERVICE);
        assert_eq!(cpu.sample_type, ("samples".into(), "count".into()));
        assert_eq!((cpu.period_type.0.as_str(), cpu.period), ("cpu", 10_000_000));
        assert_eq!(cpu.total(), 55);
        let totals = cpu.totals_by_span();
        assert_eq!(totals.len(), 3);
        assert_eq!(
            (totals[&Some(fixture::link_a())], totals[&Some(fixture::link_b())], totals[&None]),
            (30, 20, 5)
        );

        let in_a = &cpu.samples[0];
        assert_eq!(in_a.attributes["span_name"], fixture::SPAN_A);
        assert_eq!(in_a.functions().collect::<Vec<_>>(), ["shop::hash", "shop::checkout", "shop::main"]);
        let [inner, outer, main] = in_a.stack.as_slice() else { panic!("{:?}", in_a.stack) };
        assert!(
            inner.inlined
                && !outer.inlined
                && inner.address == outer.address
                && main.address != outer.address
        );
        assert_eq!((inner.file.as_str(), inner.line, outer.line), ("src/hash.rs", 12, 40));
        assert_eq!(inner.attributes["profile.frame.type"], "rust");
        assert_eq!(main.mapping.as_ref().unwrap().build_id, fixture::BUILD_ID);
    }

    #[test]
    fn an_index_without_an_entry_is_an_error() {
        for broken in [i32::MAX, -1] {
            let mut request = fixture::profiles();
            request.resource_profiles[0].scope_profiles[0].profiles[0].samples[0].stack_index = broken;
            let error = resolve(&request).unwrap_err().to_string();
            assert!(error.contains("there is no stack"), "{error}");
        }
        let mut request = fixture::profiles();
        request.dictionary = None;
        assert!(resolve(&request).is_err());
    }
}
