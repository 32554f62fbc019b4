//! Samples of slow requests only, of sampled traces only, of some spans only: the others count outside every span.

use crate::{Keep, TIMEOUT, turn};
use profile_layer::{ErrorKind, Profiler, SampleContext, SpanId, TraceParent};
use profile_tests::accuracy::until_stacks_are_whole;
use profile_tests::clock::{burn, process_cpu, unix_nanos};
use std::collections::{HashMap, HashSet};
use std::hint::black_box;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};
use tracing::info_span;
use tracing_subscriber::prelude::*;

const MS: Duration = Duration::from_millis(1);

#[inline(never)]
fn hot_first(time: Duration) {
    black_box(burn(time).unwrap());
}

#[inline(never)]
fn hot_second(time: Duration) {
    black_box(burn(time).unwrap());
}

#[inline(never)]
fn hot_fast(time: Duration) {
    black_box(burn(time).unwrap());
}

/// The samples of all profiles inside `function`: start and end of the profile, context, weight.
fn inside(kept: &Keep, function: &str) -> Vec<(u64, u64, SampleContext, u64)> {
    let mut found = Vec::new();
    for profile in kept.profiles() {
        let end = profile.start_unix_nanos() + profile.duration().as_nanos() as u64;
        for sample in profile.samples() {
            if sample.frames().filter_map(|frame| frame.function()).any(|name| name.ends_with(function)) {
                found.push((profile.start_unix_nanos(), end, *sample.context(), sample.weight()));
            }
        }
    }
    found
}

fn now() -> u64 {
    unix_nanos(SystemTime::now()).unwrap()
}

#[test]
#[allow(clippy::too_many_lines)] // one run, and what has to be true of it
fn samples_of_slow_requests_keep_their_labels_and_times_and_totals_stay_true() {
    let _turn = turn();
    let kept = Keep::default();
    let cpu_before = process_cpu().unwrap();
    let least = 2500 * MS;
    let builder = Profiler::builder().with_frequency(997).with_window(1000 * MS).with_processor(kept.clone());
    let profiler = builder.with_min_span_duration(least).build().unwrap();
    until_stacks_are_whole(&profiler);
    let subscriber = tracing_subscriber::registry().with(profiler.layer());
    // By id: when each of the two hot functions of a slow request began and ended.
    let mut slow: HashMap<SpanId, [(u64, u64); 2]> = HashMap::new();
    let (mut fast, mut unclear) = (HashSet::new(), HashSet::new());
    tracing::subscriber::with_default(subscriber, || {
        for _ in 0..2 {
            let request = info_span!("slow").entered();
            let id = profile_layer::current().unwrap().span_id;
            let begun = now();
            info_span!("step").in_scope(|| hot_first(60 * MS));
            let first = (begun, now());
            sleep(3000 * MS);
            let begun = now();
            hot_second(60 * MS);
            slow.insert(id, [first, (begun, now())]);
            drop(request);
            for _ in 0..20 {
                let at_most = Instant::now();
                let request = info_span!("fast").entered();
                let id = profile_layer::current().unwrap().span_id;
                hot_fast(10 * MS);
                drop(request);
                // What a busy machine makes slow is no error.
                if at_most.elapsed() < least {
                    fast.insert(id)
                } else {
                    unclear.insert(id)
                };
            }
        }
        burn(1500 * MS).unwrap();
    });
    let used = (process_cpu().unwrap() - cpu_before).as_secs_f64();
    profiler.collect(TIMEOUT).unwrap();
    let profiles = kept.profiles();
    let sampled: u64 = profiles.iter().map(|profile| profile.total_weight() * profile.period_nanos()).sum();
    profiler.shutdown().unwrap();
    let stats = profiler.stats();
    assert_eq!(stats.weight_unlabelled_early, 0, "everything was decided: {stats:?}");
    let ratio = sampled as f64 / 1e9 / used;
    assert!((0.95..1.05).contains(&ratio), "sampled / used = {ratio:.3} in {} profiles", profiles.len());

    // How long the collector may take to notice that a window is over.
    let late = 500_000_000;
    for (function, part) in [("hot_first", 0), ("hot_second", 1)] {
        let samples = inside(&kept, function);
        let weight: u64 = samples.iter().map(|(.., weight)| weight).sum();
        assert!(weight >= 60, "120 ms at 997 Hz gave {weight} samples in {function}");
        for (start, end, context, _) in samples {
            let (begun, ended) = slow[&context.root_id][part];
            assert_eq!(context.root.name(), "slow");
            assert!(
                start < ended + late && end + late > begun,
                "{function} ran {begun}-{ended}, in {start}-{end}"
            );
        }
    }
    let mut of_fast = 0;
    for (.., context, weight) in inside(&kept, "hot_fast") {
        assert!(!context.root_id.is_valid() || unclear.contains(&context.root_id), "{context:?}");
        of_fast += weight;
    }
    assert!(!fast.is_empty(), "no fast request at all on this machine");
    assert!(of_fast >= 200 && stats.weight_unlabelled > 0, "400 ms at 997 Hz gave {of_fast} samples");
}

#[test]
fn what_is_not_known_when_the_profiler_stops_is_counted() {
    let _turn = turn();
    let kept = Keep::default();
    let builder = Profiler::builder().with_frequency(997).with_processor(kept.clone());
    let profiler = builder.with_min_span_duration(60_000 * MS).build().unwrap();
    until_stacks_are_whole(&profiler);
    let subscriber = tracing_subscriber::registry().with(profiler.layer());
    tracing::subscriber::with_default(subscriber, || {
        let _request = info_span!("under way").entered();
        hot_first(100 * MS);
        profiler.collect(TIMEOUT).unwrap();
        assert!(inside(&kept, "hot_first").is_empty(), "held");
        hot_second(100 * MS);
        profiler.shutdown().unwrap();
    });
    for function in ["hot_first", "hot_second"] {
        let samples = inside(&kept, function);
        assert!(!samples.is_empty());
        assert!(samples.iter().all(|(.., context, _)| *context == SampleContext::default()), "{samples:?}");
    }
    let stats = profiler.stats();
    assert!(stats.weight_unlabelled_early > 0 && stats.weight_unlabelled_early <= stats.weight_unlabelled);
}

#[test]
fn durations_out_of_range_make_build_fail() {
    let _turn = turn();
    for duration in [Duration::ZERO, Duration::from_micros(999), Duration::from_secs(61)] {
        let error = Profiler::builder().with_min_span_duration(duration).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("min_span_duration"), "{error}");
    }
}

#[test]
fn only_sampled_traces_and_chosen_names_keep_their_labels() {
    let _turn = turn();
    let kept = Keep::default();
    let builder = Profiler::builder().with_frequency(997).with_processor(kept.clone());
    let profiler = builder.with_sampled_only().build().unwrap();
    until_stacks_are_whole(&profiler);
    let layer = profiler.layer().with_span_names(["sampled", "unsampled"]);
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        let sampled = info_span!("sampled");
        let unsampled = info_span!("unsampled");
        let from = TraceParent::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00").unwrap();
        profile_layer::set_remote_parent(&unsampled, from).unwrap();
        // A span of another name counts for the one around it, and for none if there is none.
        sampled.in_scope(|| info_span!("other").in_scope(|| hot_first(150 * MS)));
        unsampled.in_scope(|| hot_second(150 * MS));
        info_span!("other").in_scope(|| hot_fast(150 * MS));
    });
    profiler.shutdown().unwrap();
    let names = |function| {
        let samples = inside(&kept, function);
        let names: HashSet<_> = samples.iter().map(|(.., context, _)| context.span.name()).collect();
        names.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(
        (names("hot_first"), names("hot_second"), names("hot_fast")),
        (vec!["sampled"], vec![""], vec![""])
    );
    assert!(profiler.stats().weight_unlabelled > 0);
}
