//! The resource of the OpenTelemetry SDK: what traces and metrics of this process say that they are of.

use super::{Resource, Value};
use opentelemetry_sdk::Resource as SdkResource;

impl From<&SdkResource> for Resource {
    /// Text and integers as they are, other values as text: backends make labels of them.
    fn from(resource: &SdkResource) -> Self {
        use opentelemetry::Value as SdkValue;
        let value = |value: &SdkValue| match value {
            SdkValue::I64(number) => Value::Int(*number),
            other => Value::String(other.as_str().into_owned()),
        };
        resource.iter().map(|(key, found)| (key.as_str(), value(found))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::{Array, KeyValue};

    #[test]
    fn attributes_of_the_sdk_are_taken_over() {
        let list = opentelemetry::Value::Array(Array::String(vec!["a".into(), "b".into()]));
        let sdk = SdkResource::builder_empty()
            .with_service_name("shop")
            .with_attributes([
                KeyValue::new("number", 7),
                KeyValue::new("flag", true),
                KeyValue::new("ratio", 0.5),
                KeyValue::new("list", list),
            ])
            .build();
        let taken = Resource::from(&sdk);
        assert_eq!(taken.get("service.name"), Some(&"shop".into()));
        assert_eq!(taken.get("number"), Some(&Value::Int(7)));
        assert_eq!(taken.get("flag"), Some(&"true".into()));
        assert_eq!(taken.get("ratio"), Some(&"0.5".into()));
        assert_eq!(taken.get("list"), Some(&"[\"a\",\"b\"]".into()));
    }
}
