//! The labels of a series: what Pyroscope finds profiles by.
//!
//! They are named as Prometheus names labels, with an underscore in place of every other character: so do Pyroscope's own
//! clients, and so `service.name` becomes `service_name` and `service.namespace` the `service_namespace` that Grafana's
//! link from a trace asks for. (Profiles that come as OTLP keep the dots.)

use crate::resource::{Resource, Value};
use profile_proto::types::v1::LabelPair;

/// The name of CPU profiles: with the types in the profile it makes `process_cpu:cpu:nanoseconds:cpu:nanoseconds`, which
/// is what the Go profiler's are called.
const CPU: &str = "process_cpu";

/// Labels of the resource; the server takes 30 a series, of which `span_name` is one.
const MAX_LABELS: usize = 26;

/// The labels of profiles of `resource`. Of attributes whose names become the same, the first one holds; names that
/// Pyroscope keeps for itself are left out.
pub(super) fn of(resource: &Resource) -> Vec<LabelPair> {
    let mut labels = vec![pair("__name__", CPU), pair("service_name", "unknown_service")];
    for (key, value) in resource.attributes() {
        let name = label_name(key);
        let value = match value {
            Value::String(text) => text.clone(),
            Value::Int(number) => number.to_string(),
        };
        if value.is_empty() || name.starts_with("__") {
            continue;
        }
        if key == "service.name" {
            labels.retain(|label| label.name != name);
            labels.insert(1, LabelPair { name, value });
        } else if labels.len() < MAX_LABELS && labels.iter().all(|label| label.name != name) {
            labels.push(LabelPair { name, value });
        }
    }
    labels
}

/// Source: <https://prometheus.io/docs/concepts/data_model/#metric-names-and-labels>.
fn label_name(key: &str) -> String {
    let mut name: String = key.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if name.starts_with(|first: char| first.is_ascii_digit()) {
        name.insert(0, '_');
    }
    name
}

fn pair(name: &str, value: &str) -> LabelPair {
    LabelPair { name: name.to_owned(), value: value.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(attributes: &[(&str, &str)]) -> Vec<String> {
        let mut resource = Resource::empty();
        attributes.iter().for_each(|(key, value)| resource.set(*key, Value::String((*value).to_owned())));
        of(&resource).into_iter().map(|label| format!("{}={}", label.name, label.value)).collect()
    }

    #[test]
    fn names_become_those_of_prometheus_and_are_unique() {
        assert_eq!(named(&[]), ["__name__=process_cpu", "service_name=unknown_service"]);
        let labels = named(&[
            ("service_name", "by label"),
            ("k8s.pod-name", "a"),
            ("k8s_pod_name", "b"),
            ("1st", "c"),
            ("__name__", "memory"),
            ("empty", ""),
            ("service.name", "shop"),
        ]);
        assert_eq!(labels, ["__name__=process_cpu", "service_name=shop", "k8s_pod_name=a", "_1st=c"]);
    }

    #[test]
    fn there_are_no_more_than_the_server_takes() {
        let mut resource = Resource::empty();
        (0..100).for_each(|number| resource.set(format!("key{number}"), Value::Int(number)));
        resource.set("service.name", Value::String("late".to_owned()));
        let labels = of(&resource);
        assert!(labels.len() <= MAX_LABELS && labels.iter().any(|label| label.value == "late"), "{labels:?}");
    }
}
