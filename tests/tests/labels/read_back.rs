//! Spans, regions and labels in the files that the profiler writes, as readers of others' see them.
//!
//! Hot functions that are called with known labels are the ground truth: every sample in one of them must say what it was
//! called with, in pprof as read by this workspace's own wire reader and by `go tool pprof`, and in OTLP.

use crate::turn;
use profile_layer::{FileExporter, FileFormat, Profiler, SpanContext, profiled};
use profile_tests::clock::burn;
use profile_tests::peers::Go;
use profile_tests::view::{Link, Sample};
use profile_tests::{conformance, otlp_read, pprof_read};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::time::Duration;
use tracing_subscriber::prelude::*;

const ROUND: Duration = Duration::from_millis(5);
const ROUNDS: usize = 40;

/// Functions that burn CPU time, each under a name of its own.
macro_rules! hot {
    ($($name:ident)+) => {
        $(#[inline(never)]
        fn $name() {
            black_box(burn(ROUND).unwrap());
        })+
        const HOT: &[&str] = &[$(stringify!($name)),+];
    };
}

hot!(hot_in_order hot_in_price hot_in_step hot_outside);

#[profiled("order", labels(tenant))]
fn order(tenant: &str) -> SpanContext {
    hot_in_order();
    price("/x y");
    step(7);
    profile_layer::current().unwrap()
}

#[profiled(span = false, labels(route))]
fn price(route: &str) {
    hot_in_price();
}

#[profiled("step", labels(number))]
fn step(number: u32) {
    hot_in_step();
}

/// Whose orders there are; the second name needs more than ASCII.
const TENANTS: [&str; 2] = ["a b", "café \"ü\""];

/// What the samples of each hot function have to say, apart from their span's ids.
fn expected(tenant: &str) -> [(&'static str, BTreeMap<String, String>); 3] {
    let labels = |more: &[(&str, &str)]| {
        let all = [("span_name", "order"), ("tenant", tenant)];
        all.iter().chain(more).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    [
        ("hot_in_order", labels(&[])),
        ("hot_in_price", labels(&[("region", "price"), ("route", "/x y")])),
        // Below the local root, whose name and ids a sample has.
        ("hot_in_step", labels(&[("number", "7")])),
    ]
}

/// Weights by hot function, labels and link.
type Sums = BTreeMap<(&'static str, BTreeMap<String, String>, Option<Link>), i64>;

fn sums(samples: &[Sample]) -> Sums {
    let mut sums = Sums::new();
    for sample in samples {
        let is_in = |hot: &&&str| sample.functions().any(|function| function.ends_with(**hot));
        if let Some(hot) = HOT.iter().find(is_in) {
            let key = (*hot, sample.attributes.clone(), sample.link.clone());
            *sums.entry(key).or_default() += sample.value;
        }
    }
    sums
}

/// What `go tool pprof -tags` prints: for each label its total, and the weight of each of its values.
fn tags(go: &Go, file: &Path) -> BTreeMap<String, (i64, BTreeMap<String, i64>)> {
    let text = go.pprof(&["-tags", "-sample_index=samples"], file).unwrap();
    let mut tags: BTreeMap<String, (i64, BTreeMap<String, i64>)> = BTreeMap::new();
    let mut label = String::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (head, tail) = line.split_once(": ").unwrap_or_else(|| panic!("{line:?} in {text}"));
        let number = |text: &str| text.split_whitespace().next().unwrap().parse::<i64>().unwrap();
        if let Some(total) = tail.trim_start().strip_prefix("Total ") {
            head.clone_into(&mut label);
            tags.entry(label.clone()).or_default().0 = number(total);
        } else {
            tags.entry(label.clone()).or_default().1.insert(tail.trim_start().to_owned(), number(head));
        }
    }
    tags
}

/// The same of the samples as our reader sees them.
fn tags_of(samples: &[Sample]) -> BTreeMap<String, (i64, BTreeMap<String, i64>)> {
    let mut tags: BTreeMap<String, (i64, BTreeMap<String, i64>)> = BTreeMap::new();
    for sample in samples {
        let mut labels = sample.attributes.clone();
        if let Some(Link { trace_id, span_id }) = sample.link.clone() {
            labels.extend([("trace_id".to_owned(), trace_id), ("span_id".to_owned(), span_id)]);
        }
        for (key, value) in labels {
            let (total, values) = tags.entry(key).or_default();
            *total += sample.value;
            *values.entry(value).or_default() += sample.value;
        }
    }
    tags
}

#[test]
fn every_reader_finds_the_labels_and_ids_that_the_program_had() {
    let _turn = turn();
    let directory = tempfile::tempdir().unwrap();
    let files = FileExporter::builder().with_directory(directory.path());
    let files = files.with_formats([FileFormat::Pprof, FileFormat::Otlp]).build().unwrap();
    let builder = Profiler::builder().with_frequency(997).with_service_name("labels");
    let profiler = builder.with_exporter(files).build().unwrap();
    let mut links: BTreeMap<&str, BTreeSet<Link>> = BTreeMap::new();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(profiler.layer()), || {
        for tenant in TENANTS.into_iter().cycle().take(2 * ROUNDS) {
            let SpanContext { trace_id, span_id, .. } = order(tenant);
            let link = Link { trace_id: trace_id.to_string(), span_id: span_id.to_string() };
            links.entry(tenant).or_default().insert(link);
            hot_outside();
        }
    });
    profiler.shutdown().unwrap();

    let file = directory.path().join("cpu.pb.gz");
    let pprof = pprof_read::read(&fs::read(&file).unwrap()).unwrap().samples_of("samples").unwrap();
    assert_all(&sums(&pprof), &links);

    let otlp = fs::read(directory.path().join("cpu.otlp")).unwrap();
    let mut violations = conformance::check_bytes(&otlp);
    // The file is one profile of all the time since the start, which may be more than 15 s.
    violations.retain(|violation| violation.rule != "window");
    conformance::assert_none(&violations);
    assert_eq!(sums(&otlp_read::read(&otlp).unwrap()[0].samples), sums(&pprof), "OTLP says the same");

    let Some(go) = Go::find("labels as go tool pprof reads them") else { return };
    let tags = tags(&go, &file);
    assert_eq!(tags, tags_of(&pprof), "go tool pprof reads the same");
    let keys: Vec<&str> = tags.keys().map(String::as_str).collect();
    assert_eq!(keys, ["number", "region", "route", "span_id", "span_name", "tenant", "trace_id"]);
    assert!(tags["tenant"].1.keys().eq(TENANTS), "{:?}", tags["tenant"]);
    assert_eq!(tags["span_id"].0, tags["trace_id"].0, "ids come in pairs");
}

/// All samples of each hot function say what is expected of them, and there are enough of them.
fn assert_all(sums: &Sums, links: &BTreeMap<&str, BTreeSet<Link>>) {
    let mut seen = 0;
    for (tenant, links) in links {
        assert_eq!(links.len(), ROUNDS, "each order is a trace of its own");
        for (hot, labels) in expected(tenant) {
            let of_links = |((name, said, link), _): &(&(&str, _, Option<Link>), &i64)| {
                *name == hot && *said == labels && link.as_ref().is_some_and(|link| links.contains(link))
            };
            let found: i64 = sums.iter().filter(of_links).map(|(_, weight)| weight).sum();
            assert!(found >= 40, "{hot} for {tenant}: {found} samples of some 200: {sums:#?}");
            seen += found;
        }
    }
    let outside = sums.get(&("hot_outside", BTreeMap::new(), None)).copied().unwrap_or(0);
    assert!(outside >= 80, "{outside} samples of some 400: {sums:#?}");
    assert_eq!(seen + outside, sums.values().sum::<i64>(), "no sample says anything else: {sums:#?}");
}
