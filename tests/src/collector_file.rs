//! Reads what the Collector's file exporter writes: one JSON document a line, in OTLP's JSON form.
//!
//! Profiles become the messages of `opentelemetry-proto` again and then the same views that [`otlp_read`] gives, so that
//! what was sent and what arrived can be compared. The file exporter moves keys and text values of resource and scope
//! attributes into the string table; here they are put back.

use crate::error::Context as _;
use crate::otlp_read::{self, ProfileView};
use crate::{Error, Result, conformance};
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value as Any};
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
    for mut request in requests(file)? {
        put_back(&mut request)?;
        found.extend(otlp_read::resolve(&request)?);
    }
    Ok(found)
}

/// The documents of a file of profiles as they are.
///
/// # Errors
///
/// A line is not such a document.
pub fn requests(file: &str) -> Result<Vec<ExportProfilesServiceRequest>> {
    let request = |(index, line)| {
        conformance::decode_json(line).map_err(|error| Error::new(format!("line {}: {error}", index + 1)))
    };
    lines(file).map(request).collect()
}

fn lines(file: &str) -> impl Iterator<Item = (usize, &str)> {
    file.lines().enumerate().filter(|(_, line)| !line.is_empty())
}

/// Replaces references into the string table by what they name.
fn put_back(request: &mut ExportProfilesServiceRequest) -> Result<()> {
    let strings = request.dictionary.as_ref().map_or(&[][..], |dictionary| &dictionary.string_table);
    let string = |reference: i32| {
        let found = usize::try_from(reference).ok().and_then(|reference| strings.get(reference));
        found.cloned().context(format_args!("no string {reference}"))
    };
    let put_back = |attribute: &mut KeyValue| -> Result<()> {
        if attribute.key_strindex != 0 {
            attribute.key = string(std::mem::take(&mut attribute.key_strindex))?;
        }
        let value = attribute.value.as_mut().and_then(|value| value.value.as_mut());
        if let Some(value) = value
            && let Any::StringValueStrindex(reference) = *value
        {
            *value = Any::StringValue(string(reference)?);
        }
        Ok(())
    };
    for resource in &mut request.resource_profiles {
        let attributes = resource.resource.iter_mut().flat_map(|resource| &mut resource.attributes);
        attributes.into_iter().try_for_each(put_back)?;
        for scope in &mut resource.scope_profiles {
            let attributes = scope.scope.iter_mut().flat_map(|scope| &mut scope.attributes);
            attributes.into_iter().try_for_each(put_back)?;
        }
    }
    Ok(())
}

fn documents(file: &str) -> impl Iterator<Item = Result<Value>> {
    lines(file).map(|(index, line)| serde_json::from_str(line).context(format_args!("line {}", index + 1)))
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
    attributes.map(|attribute| Ok((text(attribute, "key")?, shown(&attribute["value"])?))).collect()
}

fn shown(value: &Value) -> Result<String> {
    let kind = value.as_object().and_then(|fields| fields.keys().next()).map(String::as_str);
    match kind {
        Some("stringValue") => text(value, "stringValue"),
        Some("intValue") => number::<i64>(value, "intValue").map(|number| number.to_string()),
        Some("boolValue") => Ok((value["boolValue"] == true).to_string()),
        Some("arrayValue") | None => Ok(value.to_string()),
        // No one of ours has another type; a reader must not lose it in silence.
        Some(other) => Err(Error::new(format!("a value of type {other}"))),
    }
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

/// 64-bit integers are text in JSON, others are numbers.
fn number<T: FromStr + Default>(json: &Value, key: &str) -> Result<T> {
    let digits = match &json[key] {
        Value::Null => return Ok(T::default()),
        Value::String(digits) => digits.clone(),
        other => other.to_string(),
    };
    digits.parse().ok().context(format_args!("{key} is not such an integer: {digits}"))
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
