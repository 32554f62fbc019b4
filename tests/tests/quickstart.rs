//! The quickstart, as a user runs it, held against clocks and against a real Collector.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)] // Helpers of tests, outside of test functions.

use profile_tests::child::{Example, Run};
use profile_tests::join::{PROFILE_ID, assert_joined};
use profile_tests::peers::Collector;
use profile_tests::pprof_read::{self, Pprof};
use profile_tests::view::{Link, Sample};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(120);
const PERIOD: f64 = 1e9 / 99.0;

/// What the example's own clock layer measured; see `examples/quickstart/clock.rs`.
#[derive(Debug, Deserialize)]
struct Truth {
    process_ns: u64,
    inside_ns: u64,
    names: BTreeMap<String, NameTotals>,
    spans: Vec<SpanIds>,
}

#[derive(Debug, Deserialize)]
struct NameTotals {
    opened: u64,
    self_ns: u64,
    total_ns: u64,
}

#[derive(Debug, Deserialize)]
struct SpanIds {
    trace_id: String,
    span_id: String,
    name: String,
    root: bool,
}

fn run(env: &[(&str, &str)]) -> Run {
    Example::release("quickstart").unwrap().run(&[], env, LIMIT).unwrap().ok().unwrap()
}

/// Three standard deviations of a sampled CPU time: n periods are known to √n.
fn three_sigma(nanos: f64) -> f64 {
    3.0 * (nanos / PERIOD).max(1.0).sqrt() * PERIOD
}

fn sum<'a>(samples: impl Iterator<Item = &'a Sample>) -> f64 {
    samples.map(|sample| sample.value as f64).sum()
}

/// CPU nanoseconds by span name from the folded stacks, whose leading `[span] name` frames are the spans around a sample:
/// while a span of the name was innermost, and while one was anywhere around.
fn by_span(folded: &str) -> HashMap<String, (f64, f64)> {
    let mut sums: HashMap<String, (f64, f64)> = HashMap::new();
    for line in folded.lines() {
        let (stack, weight) = line.rsplit_once(' ').unwrap();
        let nanos = weight.parse::<f64>().unwrap() * PERIOD;
        let mut names: Vec<&str> =
            stack.split(';').map_while(|frame| frame.strip_prefix("[span] ")).collect();
        let Some(innermost) = names.last() else { continue };
        sums.entry((*innermost).to_owned()).or_default().0 += nanos;
        names.sort_unstable();
        names.dedup();
        for name in names {
            sums.entry(name.to_owned()).or_default().1 += nanos;
        }
    }
    sums
}

#[test]
fn without_a_server_it_writes_a_true_profile_and_a_table() {
    // Twenty comparisons at three sigma: about one run in twenty fails by chance, hardly ever two in a row.
    if std::panic::catch_unwind(run_without_a_server).is_err() {
        println!("once more");
        run_without_a_server();
    }
}

fn run_without_a_server() {
    let truth_dir = tempfile::tempdir().unwrap();
    let truth_file = truth_dir.path().join("truth.json");
    let run = run(&[("QUICKSTART_TRUTH", truth_file.to_str().unwrap())]);
    let truth: Truth = serde_json::from_slice(&fs::read(&truth_file).unwrap()).unwrap();
    let pprof =
        pprof_read::read(&fs::read(run.dir.path().join("target/profile/cpu.pb.gz")).unwrap()).unwrap();
    let folded = fs::read_to_string(run.dir.path().join("target/profile/cpu.folded")).unwrap();

    check_links(&pprof, &truth);
    check_names(&folded, &truth);
    check_symbols(&pprof);
    check_table(&run.stdout, &truth);

    let total = sum(pprof.samples_of("cpu").unwrap().iter());
    let clock = truth.process_ns as f64;
    // The profile also covers what the program does after the clock's last reading; that is well below a percent.
    assert!((total - clock).abs() <= 0.03 * clock, "sampled {total:.3e} ns, process clock {clock:.3e} ns");
}

/// Linked CPU time is the CPU time inside spans, and every id is that of a local root that existed.
fn check_links(pprof: &Pprof, truth: &Truth) {
    let samples = pprof.samples_of("cpu").unwrap();
    let linked = sum(samples.iter().filter(|sample| sample.link.is_some()));
    let clock = truth.inside_ns as f64;
    let sigma = three_sigma(clock);
    println!("linked / clocked = {:.4}; 3 sigma = {:.4}", linked / clock, sigma / clock);
    assert!(linked >= 0.99 * clock || clock - linked <= sigma, "linked {linked:.4e}, clocked {clock:.4e}");
    assert!(linked - clock <= sigma.max(0.05 * clock), "linked {linked:.4e}, clocked {clock:.4e}");

    let link = |span: &SpanIds| Link { trace_id: span.trace_id.clone(), span_id: span.span_id.clone() };
    let roots: HashMap<Link, &str> =
        truth.spans.iter().filter(|span| span.root).map(|span| (link(span), span.name.as_str())).collect();
    for sample in &samples {
        if let Some(link) = &sample.link {
            let name = roots.get(link).unwrap_or_else(|| panic!("{link} is no local root that existed"));
            assert_eq!(sample.attributes.get("span_name").map(String::as_str), Some(*name));
        }
    }
}

/// Each span name's CPU time agrees with the clock within 5 % or sampling error, alone and with its children.
fn check_names(folded: &str, truth: &Truth) {
    let sampled = by_span(folded);
    for (name, clock) in &truth.names {
        let (own, total) = sampled.get(name).copied().unwrap_or_default();
        for (what, sampled, clock) in
            [("own", own, clock.self_ns as f64), ("with children", total, clock.total_ns as f64)]
        {
            let tolerance = (0.05 * clock).max(three_sigma(clock));
            println!("{name} {what}: sampled {:.3} s, clock {:.3} s", sampled / 1e9, clock / 1e9);
            assert!(
                (sampled - clock).abs() <= tolerance,
                "{name} {what}: sampled {sampled:.3e}, clock {clock:.3e}"
            );
        }
    }
}

/// Functions, files, lines, mappings with build ids.
fn check_symbols(pprof: &Pprof) {
    let samples = pprof.samples_of("cpu").unwrap();
    let total = sum(samples.iter());
    let from = |file: &str| {
        let inside = |sample: &&Sample| {
            sample
                .stack
                .iter()
                .any(|frame| frame.file.ends_with(file) && frame.line > 0 && !frame.function.is_empty())
        };
        sum(samples.iter().filter(inside)) / total
    };
    assert!(
        from("quickstart/orders.rs") > 0.5,
        "{:.3} of the CPU time has frames of orders.rs",
        from("orders.rs")
    );
    assert!(samples.iter().any(|sample| sample.stack.iter().any(|frame| frame.inlined)));
    let own = pprof.mappings.iter().find(|mapping| mapping.mapping.file.ends_with("quickstart")).unwrap();
    assert!(own.mapping.build_id.len() >= 16 && own.mapping.memory.0 < own.mapping.memory.1);
    assert!(own.has[0], "functions of the program are known");
    let complete = |sample: &&Sample| {
        let outermost = sample.stack.last().map_or("", |frame| &frame.function);
        ["clone", "_start", "start_thread"].iter().any(|start| outermost.starts_with(start))
            || outermost.contains("clone")
    };
    let share = sum(samples.iter().filter(complete)) / total;
    println!("stacks that reach the thread's start: {share:.4}");
    assert!(share > 0.98, "{share:.4} of the CPU time has stacks that reach the thread's start");
}

/// The printed table has a row for each span name, with the number of spans.
fn check_table(stdout: &str, truth: &Truth) {
    for (name, totals) in &truth.names {
        let mut rows = stdout.lines().filter(|line| line.split_whitespace().next() == Some(name.as_str()));
        let row = rows.next().unwrap_or_else(|| panic!("no row for {name} in\n{stdout}"));
        assert_eq!(row.split_whitespace().nth(1), Some(totals.opened.to_string().as_str()), "{row}");
        if totals.self_ns > 200_000_000 {
            assert!(row.split_whitespace().count() > 7, "no hottest function in {row:?}");
        }
    }
}

#[test]
fn a_collector_gets_profiles_and_traces_that_fit_together() {
    let Some(collector) = Collector::start("quickstart with a Collector").unwrap() else { return };
    let truth_dir = tempfile::tempdir().unwrap();
    let truth_file = truth_dir.path().join("truth.json");
    let env = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.http_endpoint()),
        ("QUICKSTART_TRUTH", truth_file.to_str().unwrap().to_owned()),
    ];
    run(&env.each_ref().map(|(name, value)| (*name, value.as_str())));
    let received = collector.finish().unwrap();
    let truth: Truth = serde_json::from_slice(&fs::read(&truth_file).unwrap()).unwrap();
    let report =
        assert_joined(&received.profiles, &received.spans).unwrap_or_else(|faults| panic!("{faults:#?}"));
    let linked: i64 = report.linked.values().sum();
    println!("{} linked spans, {linked} linked periods, {} unlinked", report.linked.len(), report.unlinked);
    let clock = truth.inside_ns as f64;
    let sampled = linked as f64 * PERIOD;
    assert!(
        sampled >= 0.99 * clock || clock - sampled <= three_sigma(clock),
        "linked {sampled:.4e}, clocked {clock:.4e}"
    );
    // Links name local roots, and every local root that has a profile id has its own.
    assert_eq!(report.linked.len(), report.local_roots.len(), "every link names a local root");
    let roots = received.spans.iter().filter(|span| span.parent_span_id.is_empty());
    let marked = roots.clone().filter(|span| span.attributes.get(PROFILE_ID) == Some(&span.span_id)).count();
    assert_eq!(marked, roots.count(), "every local root carries {PROFILE_ID}");
    assert_eq!(truth.spans.len(), received.spans.len(), "no span was lost on the way");
}
