//! Joins the profiles of a run with its traces, as Grafana does: by the id that a sample's link and the span's
//! attribute `pyroscope.profile.id` share.

use crate::collector_file::Span;
use crate::otlp_read::ProfileView;
use crate::view::{Link, Sample};
use std::collections::{BTreeMap, BTreeSet};

/// The span attribute that names the id under which the span's samples are found.
pub const PROFILE_ID: &str = "pyroscope.profile.id";
/// The sample attribute that names the span.
pub const SPAN_NAME: &str = "span_name";

/// What a join found, all of it in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JoinReport {
    /// For each span that samples are linked to, the sum of their values.
    pub linked: BTreeMap<Link, i64>,
    /// The sum of the values of samples without a link.
    pub unlinked: i64,
    /// The linked spans whose parent is not among the traces: local roots.
    pub local_roots: BTreeSet<Link>,
    /// The sum of the values for each span name.
    pub by_name: BTreeMap<String, i64>,
}

/// Checks that the samples and spans of one run fit together:
///
/// * some sample is linked, and every linked span exists, once;
/// * the sample's `span_name` is the span's name, and the service of both is the same;
/// * the linked span's `pyroscope.profile.id` is its own id;
/// * every `pyroscope.profile.id` is 16 lowercase hex digits and the id of a span of the same trace.
///
/// # Errors
///
/// Everything that does not fit, one sentence each.
pub fn assert_joined(profiles: &[ProfileView], spans: &[Span]) -> Result<JoinReport, Vec<String>> {
    let mut faults = BTreeSet::new();
    let by_link = index(spans, &mut faults);
    for span in spans {
        check_profile_id(span, &by_link, &mut faults);
    }
    let mut report = JoinReport::default();
    for profile in profiles {
        for sample in &profile.samples {
            match &sample.link {
                None => report.unlinked = report.unlinked.saturating_add(sample.value),
                Some(link) => match by_link.get(link) {
                    None => {
                        faults.insert(format!("{link}: samples are linked to it, and no trace has it"));
                    }
                    Some(span) => {
                        check_pair(profile, sample, span, &mut faults);
                        report.add(link, span, sample.value, &by_link);
                    }
                },
            }
        }
    }
    if report.linked.is_empty() {
        faults.insert("no sample is linked to a span".to_owned());
    }
    if faults.is_empty() { Ok(report) } else { Err(faults.into_iter().collect()) }
}

impl JoinReport {
    fn add(&mut self, link: &Link, span: &Span, value: i64, by_link: &BTreeMap<Link, &Span>) {
        for total in
            [self.linked.entry(link.clone()).or_default(), self.by_name.entry(span.name.clone()).or_default()]
        {
            *total = total.saturating_add(value);
        }
        let parent = Link { trace_id: span.trace_id.clone(), span_id: span.parent_span_id.clone() };
        if !by_link.contains_key(&parent) {
            self.local_roots.insert(link.clone());
        }
    }
}

fn index<'a>(spans: &'a [Span], faults: &mut BTreeSet<String>) -> BTreeMap<Link, &'a Span> {
    let mut by_link = BTreeMap::new();
    for span in spans {
        if by_link.insert(link_of(span), span).is_some() {
            faults.insert(format!("{}: two spans have this id", link_of(span)));
        }
    }
    by_link
}

fn link_of(span: &Span) -> Link {
    Link { trace_id: span.trace_id.clone(), span_id: span.span_id.clone() }
}

fn check_profile_id(span: &Span, by_link: &BTreeMap<Link, &Span>, faults: &mut BTreeSet<String>) {
    let Some(id) = span.attributes.get(PROFILE_ID) else { return };
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let named = Link { trace_id: span.trace_id.clone(), span_id: id.clone() };
    if id.len() != 16 || !id.bytes().all(hex) {
        faults.insert(format!("{}: {PROFILE_ID} is {id:?}, not 16 lowercase hex digits", link_of(span)));
    } else if !by_link.contains_key(&named) {
        faults.insert(format!("{}: {PROFILE_ID} is {id}, and its trace has no such span", link_of(span)));
    }
}

fn check_pair(profile: &ProfileView, sample: &Sample, span: &Span, faults: &mut BTreeSet<String>) {
    let link = link_of(span);
    let name = sample.attributes.get(SPAN_NAME);
    if name != Some(&span.name) {
        faults.insert(format!(
            "{link}: its samples have the {SPAN_NAME} {name:?}, the span is {:?}",
            span.name
        ));
    }
    let id = span.attributes.get(PROFILE_ID);
    if id != Some(&span.span_id) {
        faults.insert(format!(
            "{link} ({}): samples are linked to it, and its {PROFILE_ID} is {id:?}",
            span.name
        ));
    }
    let services = (profile.resource.get("service.name"), span.resource.get("service.name"));
    if services.0.is_none() || services.0 != services.1 {
        faults.insert(format!("{link}: the services of profile and span are {services:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(span_id: &str) -> Link {
        Link { trace_id: "00af7651910607080900000000000016".into(), span_id: span_id.into() }
    }

    fn text(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn span(id: &str, parent: &str, name: &str, profile_id: Option<&str>) -> Span {
        Span {
            resource: text(&[("service.name", "shop")]),
            trace_id: link(id).trace_id,
            span_id: id.into(),
            parent_span_id: parent.into(),
            name: name.into(),
            attributes: profile_id.map(|id| text(&[(PROFILE_ID, id)])).unwrap_or_default(),
            ..Span::default()
        }
    }

    const A: &str = "00000000000000a1";
    const CHILD: &str = "00000000000000a2";
    const B: &str = "00000000000000b1";

    /// Two local roots, one with a child that is itself not linked, and work outside every span.
    fn run() -> (Vec<ProfileView>, Vec<Span>) {
        let sample = |value, link: Option<Link>, name: &str| {
            let attributes = if link.is_some() { text(&[(SPAN_NAME, name)]) } else { BTreeMap::new() };
            Sample { value, link, attributes, ..Sample::default() }
        };
        let profile = ProfileView {
            resource: text(&[("service.name", "shop")]),
            samples: vec![
                sample(30, Some(link(A)), "checkout"),
                sample(3, Some(link(A)), "checkout"),
                sample(20, Some(link(B)), "search"),
                sample(5, None, ""),
            ],
            ..ProfileView::default()
        };
        let spans = vec![
            span(A, "", "checkout", Some(A)),
            span(CHILD, A, "hash", None),
            span(B, "ffffffffffffffff", "search", Some(B)),
        ];
        (vec![profile], spans)
    }

    #[test]
    fn a_run_that_fits_is_reported() {
        let (profiles, spans) = run();
        let report = assert_joined(&profiles, &spans).unwrap();
        assert_eq!(report.linked, BTreeMap::from([(link(A), 33), (link(B), 20)]));
        assert_eq!((report.unlinked, report.local_roots.len()), (5, 2));
        assert_eq!(report.by_name, BTreeMap::from([("checkout".into(), 33), ("search".into(), 20)]));
    }

    #[test]
    fn a_child_may_name_the_root_whose_profile_it_is_in() {
        let (profiles, mut spans) = run();
        spans[1].attributes = text(&[(PROFILE_ID, A)]);
        assert!(assert_joined(&profiles, &spans).is_ok());
    }

    #[test]
    fn a_linked_child_is_no_local_root() {
        let (mut profiles, mut spans) = run();
        profiles[0].samples[0].link = Some(link(CHILD));
        profiles[0].samples[0].attributes = text(&[(SPAN_NAME, "hash")]);
        spans[1].attributes = text(&[(PROFILE_ID, CHILD)]);
        let report = assert_joined(&profiles, &spans).unwrap();
        assert!(report.linked.contains_key(&link(CHILD)) && !report.local_roots.contains(&link(CHILD)));
    }

    #[test]
    fn each_condition_is_checked() {
        type Break = fn(&mut Vec<ProfileView>, &mut Vec<Span>);
        let breaks: [(&str, Break); 12] = [
            ("no sample is linked", |profiles, _| profiles.clear()),
            ("no sample is linked", |profiles, _| profiles[0].samples.retain(|sample| sample.link.is_none())),
            ("no trace has it", |_, spans| drop(spans.remove(2))),
            ("no trace has it", |_, spans| spans[2].trace_id = "1".repeat(32)),
            ("two spans have this id", |_, spans| spans.push(spans[1].clone())),
            ("span_name", |profiles, _| profiles[0].samples[0].attributes = text(&[(SPAN_NAME, "search")])),
            ("span_name", |profiles, _| profiles[0].samples[1].attributes.clear()),
            ("pyroscope.profile.id is None", |_, spans| spans[0].attributes.clear()),
            ("pyroscope.profile.id is Some", |_, spans| spans[0].attributes = text(&[(PROFILE_ID, CHILD)])),
            ("not 16 lowercase hex", |_, spans| {
                spans[1].attributes = text(&[(PROFILE_ID, "00000000000000A1")]);
            }),
            ("no such span", |_, spans| spans[1].attributes = text(&[(PROFILE_ID, "00000000000000ff")])),
            ("the services", |_, spans| spans[0].resource = text(&[("service.name", "unknown_service")])),
        ];
        for (what, break_it) in breaks {
            let (mut profiles, mut spans) = run();
            break_it(&mut profiles, &mut spans);
            let faults = assert_joined(&profiles, &spans).unwrap_err();
            assert!(faults.iter().any(|fault| fault.contains(what)), "{what}: {faults:?}");
        }
    }
}
