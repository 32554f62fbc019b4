//! OTLP's JSON, read and written by the crate `prost-reflect` after the descriptors that `opentelemetry-proto` publishes.
//!
//! OTLP departs from protobuf's JSON mapping in one point: ids are hex instead of base64. Hex digits are base64 too, so
//! the mapping reads and writes the text of an id unharmed; only its bytes are put right afterwards.
//!
//! Source: <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>.

use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use serde_json::Value;
use std::sync::LazyLock;

const REQUEST: &str = "opentelemetry.proto.collector.profiles.v1development.ExportProfilesServiceRequest";

/// An export as JSON, decoded.
pub(super) struct Decoded {
    pub(super) request: ExportProfilesServiceRequest,
    /// Whether the mapping would have written the same members with the same values: names in lowerCamelCase, 64-bit
    /// integers as text, ids as lowercase hex, nothing that is zero or empty.
    pub(super) is_canonical: bool,
}

/// Decodes the text; a member that the messages do not have is an error.
pub(super) fn decode(text: &str) -> Result<Decoded, String> {
    let json: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let message = DynamicMessage::deserialize(descriptor()?, &json).map_err(|error| error.to_string())?;
    let again = serde_json::to_value(&message).map_err(|error| error.to_string())?;
    let mut request: ExportProfilesServiceRequest =
        message.transcode_to().map_err(|error| error.to_string())?;

    let mut is_lowercase = true;
    let mut put_right = |id: &mut Vec<u8>, json: &Value| {
        let text = json.as_str().unwrap_or_default();
        is_lowercase &= !text.bytes().any(|byte| byte.is_ascii_uppercase());
        *id = hex(text).ok_or_else(|| format!("an id that is not hex: {json}"))?;
        Ok::<(), String>(())
    };
    let rows = request.dictionary.iter_mut().flat_map(|dictionary| &mut dictionary.link_table);
    for (link, json) in rows.zip(list(&again["dictionary"], "linkTable")) {
        put_right(&mut link.trace_id, &json["traceId"])?;
        put_right(&mut link.span_id, &json["spanId"])?;
    }
    let scopes = request.resource_profiles.iter_mut().flat_map(|resource| &mut resource.scope_profiles);
    let in_json = list(&again, "resourceProfiles").iter().flat_map(|json| list(json, "scopeProfiles"));
    for (scope, json) in scopes.zip(in_json) {
        for (profile, json) in scope.profiles.iter_mut().zip(list(json, "profiles")) {
            put_right(&mut profile.profile_id, &json["profileId"])?;
        }
    }
    Ok(Decoded { request, is_canonical: again == json && is_lowercase })
}

fn descriptor() -> Result<MessageDescriptor, String> {
    static POOL: LazyLock<Result<DescriptorPool, String>> = LazyLock::new(|| {
        DescriptorPool::decode(opentelemetry_proto::DESCRIPTORS).map_err(|error| error.to_string())
    });
    let pool = POOL.as_ref().map_err(Clone::clone)?;
    pool.get_message_by_name(REQUEST).ok_or_else(|| format!("no descriptor of {REQUEST}"))
}

fn list<'a>(json: &'a Value, name: &str) -> &'a [Value] {
    json[name].as_array().map_or(&[], Vec::as_slice)
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let pair = |pair: &[u8]| {
        let digits = std::str::from_utf8(pair).ok().filter(|_| pair.len() == 2)?;
        u8::from_str_radix(digits, 16).ok()
    };
    text.as_bytes().chunks(2).map(pair).collect()
}
