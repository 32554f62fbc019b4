//! What produced the profiles: the OpenTelemetry resource.
//!
//! It is put together once, of what the program sets, what the environment sets and what can be detected, in this order
//! of precedence, and bounded to what backends accept: Pyroscope makes a label of every attribute and refuses all
//! profiles of a process with more labels, longer names or longer values than its limits.

mod detect;
#[cfg(feature = "opentelemetry-sdk")]
mod sdk;

use crate::diag;

/// A value of a resource attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Text.
    String(String),
    /// A 64-bit integer.
    Int(i64),
}

/// The attributes that describe the process, such as `service.name`; keys are unique, in order of insertion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resource {
    attributes: Vec<(String, Value)>,
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl<K: Into<String>, V: Into<Value>> FromIterator<(K, V)> for Resource {
    /// Of several equal keys the last holds.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(attributes: I) -> Self {
        let mut resource = Self::empty();
        attributes.into_iter().for_each(|(key, value)| resource.set(key, value.into()));
        resource
    }
}

/// Attributes of a resource. Pyroscope accepts 30 labels; it adds four of its own (`__name__`, `service_name` and two
/// flags), and two are left for what samples bring.
const MAX_ATTRIBUTES: usize = 24;

/// Bytes of a key; Pyroscope accepts 1024.
const MAX_KEY: usize = 1024;

/// Bytes of a text; Pyroscope accepts 2048.
const MAX_TEXT: usize = 2048;

impl Resource {
    /// A resource without attributes.
    #[must_use]
    pub const fn empty() -> Self {
        Self { attributes: Vec::new() }
    }

    /// The resource of this process: the attributes of `program`, then those of `environment` and at last those that
    /// can be detected, each where the ones before do not have it.
    ///
    /// What is more than backends accept is cut off or left out with a warning, the least important first. With
    /// `service.namespace` comes a copy under `service_namespace`: this is the label that Grafana's link from a trace to
    /// its profiles looks for.
    #[must_use]
    pub fn of_process(program: &Self, environment: &Self) -> Self {
        let mut resource = Self::empty();
        let detected = detect::detect();
        // The service's name comes first whoever sets it: of all attributes it is the last one to lose.
        for source in [program, environment, &detected] {
            resource.set_missing("service.name", source.get("service.name"));
        }
        for source in [program, environment, &detected] {
            if let Some(namespace) = source.get("service.namespace") {
                resource.set_missing("service_namespace", Some(namespace));
            }
            for (key, value) in source.attributes() {
                resource.set_missing(key, Some(value));
            }
        }
        resource.bound();
        resource
    }

    /// Sets an attribute, replacing an earlier value of the same key.
    pub fn set(&mut self, key: impl Into<String>, value: Value) {
        let key = key.into();
        match self.attributes.iter_mut().find(|(known, _)| *known == key) {
            Some((_, old)) => *old = value,
            None => self.attributes.push((key, value)),
        }
    }

    /// The value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.attributes.iter().find(|(known, _)| known == key).map(|(_, value)| value)
    }

    /// All attributes in order of insertion.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.attributes.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// Sets an attribute that has a value, if it is not set yet. An empty text is no value.
    fn set_missing(&mut self, key: &str, value: Option<&Value>) {
        let has_content = |value: &&Value| !matches!(value, Value::String(text) if text.is_empty());
        if let Some(value) = value.filter(has_content)
            && self.get(key).is_none()
        {
            self.attributes.push((key.to_owned(), value.clone()));
        }
    }

    fn bound(&mut self) {
        let before = self.attributes.len();
        self.attributes.retain(|(key, _)| !key.is_empty() && key.len() <= MAX_KEY);
        self.attributes.truncate(MAX_ATTRIBUTES);
        let left_out = before - self.attributes.len();
        if left_out > 0 {
            let message =
                format_args!("{left_out} resource attributes left out: backends accept {MAX_ATTRIBUTES}");
            diag::warn("resource attributes", message);
        }
        for (key, value) in &mut self.attributes {
            if let Value::String(text) = value
                && text.len() > MAX_TEXT
            {
                let end = (0..=MAX_TEXT).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
                text.truncate(end);
                diag::warn(key, format_args!("resource attribute {key} cut off after {end} bytes"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(attributes: &[(&str, &str)]) -> Resource {
        let mut resource = Resource::empty();
        for (key, value) in attributes {
            resource.set(*key, Value::String((*value).to_owned()));
        }
        resource
    }

    fn text<'a>(resource: &'a Resource, key: &str) -> &'a str {
        match resource.get(key) {
            Some(Value::String(text)) => text,
            other => panic!("{key}: {other:?}"),
        }
    }

    #[test]
    fn the_program_goes_before_the_environment_before_detection() {
        let program = resource(&[("a", "program"), ("service.name", "")]);
        let environment = resource(&[("a", "environment"), ("b", "environment"), ("os.type", "environment")]);
        let all = Resource::of_process(&program, &environment);
        assert_eq!(
            (text(&all, "a"), text(&all, "b"), text(&all, "os.type")),
            ("program", "environment", "environment")
        );
        assert_eq!(text(&all, "process.runtime.name"), "rust");
        let executable = text(&all, "process.executable.name");
        assert_eq!(text(&all, "service.name"), format!("unknown_service:{executable}"));
        assert_eq!(all.get("process.pid"), Some(&Value::Int(std::process::id().into())));
        assert!(!text(&all, "host.name").is_empty());
    }

    #[test]
    fn a_namespace_is_there_under_grafanas_name_too() {
        let all = Resource::of_process(&Resource::empty(), &resource(&[("service.namespace", "shop")]));
        assert_eq!((text(&all, "service_namespace"), text(&all, "service.namespace")), ("shop", "shop"));
        assert_eq!(
            Resource::of_process(&Resource::empty(), &Resource::empty()).get("service_namespace"),
            None
        );
    }

    #[test]
    fn what_backends_do_not_accept_is_left_out_or_cut_off() {
        let mut many = resource(&[("long", &"é".repeat(2000)), (&"k".repeat(2000), "x")]);
        for number in 0..100 {
            many.set(format!("key{number}"), Value::Int(number));
        }
        many.set("service.name", Value::String("shop".to_owned()));
        let all = Resource::of_process(&many, &Resource::empty());
        assert_eq!(all.attributes().count(), MAX_ATTRIBUTES);
        assert_eq!((text(&all, "service.name"), text(&all, "long").len()), ("shop", 2048));
        assert!(all.attributes().all(|(key, _)| key.len() <= MAX_KEY));
    }
}
