//! Reads what the Collector's file exporter writes: one JSON document a line, in OTLP's JSON form (64-bit integers as
//! text, ids in hex, zero values left out).
//!
//! Profiles become the messages of `opentelemetry-proto` again and then the same views that
//! [`otlp_read`] gives, so that what was sent and what arrived can be compared. The file exporter
//! moves keys and text values of resource and scope attributes into the string table; here they are put back.

use crate::error::Context as _;
use crate::otlp_read::{self, ProfileView};
use crate::{Error, Result};
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::profiles::v1development as otlp;
use opentelemetry_proto::tonic::resource::v1::Resource;
use serde_json::Value;
use std::collections::BTreeMap;
use std::str::FromStr;

/// A span of a trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Attributes of the resource it comes from, such as `service.name`.
    pub resource: BTreeMap<String, String>,
    /// 32 hex digits.
    pub trace_id: String,
    /// 16 hex digits.
    pub span_id: String,
    /// 16 hex digits, or empty.
    pub parent_span_id: String,
    /// The span's name.
    pub name: String,
    /// When it began, in nanoseconds since 1970.
    pub start_unix_nano: u64,
    /// When it ended.
    pub end_unix_nano: u64,
    /// Its attributes, values as text.
    pub attributes: BTreeMap<String, String>,
}

/// The spans of a file of traces, in order.
///
/// # Errors
///
/// A line is not such a document.
pub fn spans(file: &str) -> Result<Vec<Span>> {
    let mut found = Vec::new();
    for document in documents(file) {
        for resource in list(&document?, "resourceSpans") {
            let attributes = span_attributes(&resource["resource"])?;
            for scope in list(resource, "scopeSpans") {
                for span in list(scope, "spans") {
                    found.push(Span { resource: attributes.clone(), ..self::span(span)? });
                }
            }
        }
    }
    Ok(found)
}

/// The profiles of a file of profiles, in order, with everything resolved.
///
/// # Errors
///
/// A line is not such a document, or an index in it names no entry.
pub fn profiles(file: &str) -> Result<Vec<ProfileView>> {
    let mut found = Vec::new();
    for document in documents(file) {
        found.extend(otlp_read::resolve(&request(&document?)?)?);
    }
    Ok(found)
}

/// The request that one such document is.
///
/// # Errors
///
/// It is not such a document.
pub fn read_request(document: &str) -> Result<ExportProfilesServiceRequest> {
    request(&serde_json::from_str(document)?)
}

fn documents(file: &str) -> impl Iterator<Item = Result<Value>> {
    let lines = file.lines().enumerate().filter(|(_, line)| !line.is_empty());
    lines.map(|(index, line)| serde_json::from_str(line).context(format_args!("line {}", index + 1)))
}

fn span(json: &Value) -> Result<Span> {
    Ok(Span {
        resource: BTreeMap::new(),
        trace_id: text(json, "traceId")?,
        span_id: text(json, "spanId")?,
        parent_span_id: text(json, "parentSpanId")?,
        name: text(json, "name")?,
        start_unix_nano: number(json, "startTimeUnixNano")?,
        end_unix_nano: number(json, "endTimeUnixNano")?,
        attributes: span_attributes(json)?,
    })
}

fn span_attributes(json: &Value) -> Result<BTreeMap<String, String>> {
    let attributes = list(json, "attributes").iter();
    attributes
        .map(|attribute| Ok((text(attribute, "key")?, shown(&any(&attribute["value"], &[])?))))
        .collect()
}

fn shown(value: &AnyValue) -> String {
    match &value.value {
        Some(Any::StringValue(text)) => text.clone(),
        Some(Any::IntValue(number)) => number.to_string(),
        Some(Any::BoolValue(flag)) => flag.to_string(),
        other => format!("{other:?}"),
    }
}

fn request(json: &Value) -> Result<ExportProfilesServiceRequest> {
    let dictionary = dictionary(&json["dictionary"])?;
    let strings = &dictionary.string_table;
    let resource_profiles = collect(json, "resourceProfiles", |resource| {
        Ok(otlp::ResourceProfiles {
            resource: Some(Resource {
                attributes: plain_attributes(&resource["resource"], strings)?,
                ..Resource::default()
            }),
            scope_profiles: collect(resource, "scopeProfiles", |scope| scope_profiles(scope, strings))?,
            schema_url: text(resource, "schemaUrl")?,
        })
    })?;
    Ok(ExportProfilesServiceRequest { resource_profiles, dictionary: Some(dictionary) })
}

fn scope_profiles(json: &Value, strings: &[String]) -> Result<otlp::ScopeProfiles> {
    let scope = InstrumentationScope {
        name: text(&json["scope"], "name")?,
        version: text(&json["scope"], "version")?,
        attributes: plain_attributes(&json["scope"], strings)?,
        dropped_attributes_count: 0,
    };
    Ok(otlp::ScopeProfiles {
        scope: Some(scope),
        profiles: collect(json, "profiles", profile)?,
        schema_url: text(json, "schemaUrl")?,
    })
}

fn profile(json: &Value) -> Result<otlp::Profile> {
    Ok(otlp::Profile {
        sample_type: Some(value_type(&json["sampleType"])?),
        samples: collect(json, "samples", sample)?,
        time_unix_nano: number(json, "timeUnixNano")?,
        duration_nano: number(json, "durationNano")?,
        period_type: Some(value_type(&json["periodType"])?),
        period: number(json, "period")?,
        profile_id: bytes(json, "profileId")?,
        attribute_indices: numbers(json, "attributeIndices")?,
        ..otlp::Profile::default()
    })
}

fn sample(json: &Value) -> Result<otlp::Sample> {
    Ok(otlp::Sample {
        stack_index: number(json, "stackIndex")?,
        attribute_indices: numbers(json, "attributeIndices")?,
        link_index: number(json, "linkIndex")?,
        values: numbers(json, "values")?,
        timestamps_unix_nano: numbers(json, "timestampsUnixNano")?,
    })
}

fn value_type(json: &Value) -> Result<otlp::ValueType> {
    Ok(otlp::ValueType {
        type_strindex: number(json, "typeStrindex")?,
        unit_strindex: number(json, "unitStrindex")?,
    })
}

fn dictionary(json: &Value) -> Result<otlp::ProfilesDictionary> {
    Ok(otlp::ProfilesDictionary {
        mapping_table: collect(json, "mappingTable", mapping)?,
        location_table: collect(json, "locationTable", location)?,
        function_table: collect(json, "functionTable", function)?,
        link_table: collect(json, "linkTable", |link| {
            Ok(otlp::Link { trace_id: bytes(link, "traceId")?, span_id: bytes(link, "spanId")? })
        })?,
        string_table: collect(json, "stringTable", |text| {
            text.as_str().map(str::to_owned).context(format_args!("not a string: {text}"))
        })?,
        attribute_table: collect(json, "attributeTable", |attribute| {
            Ok(otlp::KeyValueAndUnit {
                key_strindex: number(attribute, "keyStrindex")?,
                value: attribute.get("value").map(|value| any(value, &[])).transpose()?,
                unit_strindex: number(attribute, "unitStrindex")?,
            })
        })?,
        stack_table: collect(json, "stackTable", |stack| {
            Ok(otlp::Stack { location_indices: numbers(stack, "locationIndices")? })
        })?,
    })
}

fn mapping(json: &Value) -> Result<otlp::Mapping> {
    Ok(otlp::Mapping {
        memory_start: number(json, "memoryStart")?,
        memory_limit: number(json, "memoryLimit")?,
        file_offset: number(json, "fileOffset")?,
        filename_strindex: number(json, "filenameStrindex")?,
        attribute_indices: numbers(json, "attributeIndices")?,
    })
}

fn location(json: &Value) -> Result<otlp::Location> {
    Ok(otlp::Location {
        mapping_index: number(json, "mappingIndex")?,
        address: number(json, "address")?,
        lines: collect(json, "lines", |line| {
            Ok(otlp::Line {
                function_index: number(line, "functionIndex")?,
                line: number(line, "line")?,
                column: number(line, "column")?,
            })
        })?,
        attribute_indices: numbers(json, "attributeIndices")?,
    })
}

fn function(json: &Value) -> Result<otlp::Function> {
    Ok(otlp::Function {
        name_strindex: number(json, "nameStrindex")?,
        system_name_strindex: number(json, "systemNameStrindex")?,
        filename_strindex: number(json, "filenameStrindex")?,
        start_line: number(json, "startLine")?,
    })
}

/// The attributes of a resource or scope, with references into the string table replaced by what they name.
fn plain_attributes(json: &Value, strings: &[String]) -> Result<Vec<KeyValue>> {
    collect(json, "attributes", |attribute| {
        let key = match number::<usize>(attribute, "keyStrindex")? {
            0 => text(attribute, "key")?,
            reference => strings.get(reference).cloned().context(format_args!("no string {reference}"))?,
        };
        Ok(KeyValue { key, value: Some(any(&attribute["value"], strings)?), key_strindex: 0 })
    })
}

fn any(json: &Value, strings: &[String]) -> Result<AnyValue> {
    let kind = json.as_object().and_then(|fields| fields.keys().next()).map(String::as_str);
    let value = match kind {
        None => None,
        Some("stringValue") => Some(Any::StringValue(text(json, "stringValue")?)),
        Some("intValue") => Some(Any::IntValue(number(json, "intValue")?)),
        Some("boolValue") => Some(Any::BoolValue(json["boolValue"] == true)),
        Some("arrayValue") => {
            let values = collect(&json["arrayValue"], "values", |value| any(value, strings))?;
            Some(Any::ArrayValue(ArrayValue { values }))
        }
        Some("stringValueStrindex") => {
            let reference: usize = number(json, "stringValueStrindex")?;
            let text = strings.get(reference).cloned().context(format_args!("no string {reference}"))?;
            Some(Any::StringValue(text))
        }
        // No one of ours has another type; a reader must not lose it in silence.
        Some(other) => return Err(Error::new(format!("a value of type {other}"))),
    };
    Ok(AnyValue { value })
}

fn collect<T>(json: &Value, key: &str, read: impl Fn(&Value) -> Result<T>) -> Result<Vec<T>> {
    let entries = list(json, key).iter().enumerate();
    entries.map(|(index, entry)| read(entry).context(format_args!("{key}[{index}]"))).collect()
}

fn list<'a>(json: &'a Value, key: &str) -> &'a [Value] {
    json[key].as_array().map_or(&[], Vec::as_slice)
}

fn text(json: &Value, key: &str) -> Result<String> {
    match &json[key] {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text.clone()),
        other => Err(Error::new(format!("{key} is not text: {other}"))),
    }
}

fn number<T: FromStr + Default>(json: &Value, key: &str) -> Result<T> {
    match &json[key] {
        Value::Null => Ok(T::default()),
        value => integer(value).context(key),
    }
}

fn numbers<T: FromStr>(json: &Value, key: &str) -> Result<Vec<T>> {
    list(json, key).iter().map(|value| integer(value).context(key)).collect()
}

/// 64-bit integers are text in JSON, others are numbers.
fn integer<T: FromStr>(value: &Value) -> Result<T> {
    let digits = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    digits.parse().ok().context(format_args!("not such an integer: {value}"))
}

fn bytes(json: &Value, key: &str) -> Result<Vec<u8>> {
    let digits = text(json, key)?;
    let pairs = digits.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs
        .map(|pair| byte(pair).filter(|_| pair.len() == 2).context(format_args!("{key}: {digits:?}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_to_strings_are_resolved_and_dangling_ones_are_errors() {
        let line = |reference: u32| {
            format!(
                r#"{{"resourceProfiles":[{{"resource":{{"attributes":[
                {{"keyStrindex":1,"value":{{"stringValueStrindex":{reference}}}}}]}},
                "scopeProfiles":[{{"scope":{{"name":"s"}},"profiles":[{{"samples":[{{"values":["5"]}}]}}]}}]}}],
                "dictionary":{{"stringTable":["","service.name","shop"],"stackTable":[{{}}],"linkTable":[{{}}]}}}}"#
            )
            .replace('\n', "")
        };
        let found = profiles(&line(2)).unwrap();
        assert_eq!((found[0].resource["service.name"].as_str(), found[0].total()), ("shop", 5));
        assert!(profiles(&line(3)).is_err());
        assert_eq!(profiles(&format!("{}\n{}\n", line(2), line(2))).unwrap().len(), 2);
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for bad in [
            "{",
            r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":7}]}]}]}"#,
            r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"startTimeUnixNano":"soon"}]}]}]}"#,
            r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"k","value":{"doubleValue":1.5}}]}}]}"#,
        ] {
            assert!(spans(bad).is_err(), "{bad}");
        }
        assert!(profiles(r#"{"dictionary":{"linkTable":[{"traceId":"00a"}]}}"#).is_err());
    }
}
