//! "Why has my span no profile?" Each answer comes from what really happened.

use crate::{TIMEOUT, turn};
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use profile_layer::{Profiler, ProfilerBuilder, Reason, TraceParent};
use profile_tests::clock::burn;
use std::thread::sleep;
use std::time::{Duration, Instant};
use tracing::info_span;
use tracing_subscriber::prelude::*;

const MS: Duration = Duration::from_millis(1);

/// Runs `work` with the spans of a profiler, finishes the window, and asks.
fn profiled(builder: ProfilerBuilder<Profiler>, work: impl FnOnce()) -> Profiler {
    let profiler = builder.build().unwrap();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(profiler.layer()), work);
    profiler.collect(TIMEOUT).unwrap();
    profiler
}

#[test]
fn too_short_for_the_rate_waiting_and_well() {
    let _turn = turn();
    let mut ids = Vec::new();
    let profiler = profiled(Profiler::builder().with_frequency(99), || {
        for name in ["quick", "busy", "waiting"] {
            let span = match name {
                "quick" => info_span!("quick"),
                "busy" => info_span!("busy"),
                _ => info_span!("waiting"),
            };
            span.in_scope(|| {
                ids.push(profile_layer::current().unwrap().span_id.to_string());
                match name {
                    "quick" => {}
                    "busy" => drop(burn(300 * MS).unwrap()),
                    _ => sleep(200 * MS),
                }
            });
        }
    });
    for (name, id) in ["quick", "busy", "waiting"].iter().zip(&ids) {
        for asked in [*name, id.as_str()] {
            let answer = profiler.explain(asked);
            let found = match answer.reasons.iter().find(|reason| !matches!(reason, Reason::WrongLayerOrder))
            {
                Some(Reason::TooShort { open, period }) if *open < 5 * *period => "quick",
                Some(Reason::Waited { open }) if *open >= 150 * MS => "waiting",
                None if answer.cpu >= 150 * MS => "busy",
                _ => "something else",
            };
            assert_eq!((found, answer.spans), (*name, 1), "{answer}");
        }
    }
    let report = profiler.report();
    assert!(report.unprofiled().iter().any(|answer| answer.span == "quick"));
    let text = report.to_string();
    assert!(text.contains("no profile: quick: 1 spans") && text.contains("too short for the rate"), "{text}");
    assert!(!text.contains("no profile: busy"), "{text}");
    profiler.shutdown().unwrap();
}

#[test]
fn not_sampled() {
    let _turn = turn();
    let profiler = profiled(Profiler::builder(), || {
        let from = TraceParent::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00").unwrap();
        let request = info_span!("of an unsampled trace");
        profile_layer::set_remote_parent(&request, from).unwrap();
        request.in_scope(|| burn(200 * MS).unwrap());
    });
    let answer = profiler.explain("of an unsampled trace");
    assert!(answer.reasons.contains(&Reason::NotSampled(1)) && !answer.cpu.is_zero(), "{answer}");
    profiler.shutdown().unwrap();
}

#[test]
fn left_out_and_never_seen() {
    let _turn = turn();
    let profiler = Profiler::builder().build().unwrap();
    let layer = profiler.layer().with_span_names(["another"]);
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        for _ in 0..3 {
            info_span!("left out").in_scope(|| ());
        }
    });
    assert_eq!(profiler.explain("left out").reasons, [Reason::LeftOut(3)]);
    assert!(profiler.report().to_string().contains("no profile: left out"));
    for unknown in ["never created", "00000000000000ff"] {
        assert_eq!(profiler.explain(unknown).reasons, [Reason::NotSeen]);
    }
    profiler.shutdown().unwrap();
}

#[test]
fn the_engine_is_off() {
    let _turn = turn();
    let profiler = profiled(Profiler::builder(), || info_span!("before the end").in_scope(|| ()));
    profiler.shutdown().unwrap();
    let answer = profiler.explain("before the end");
    assert!(matches!(&answer.reasons[0], Reason::EngineOff(why) if why.contains("stopped")), "{answer}");
}

#[test]
fn samples_were_lost() {
    let _turn = turn();
    let deadline = Instant::now() + TIMEOUT;
    let profiler =
        profiled(Profiler::builder().with_frequency(997), || info_span!("no sample").in_scope(|| ()));
    loop {
        // Threads that live too short for anybody to find them: only the process's clock knows.
        for _ in 0..200 {
            std::thread::spawn(|| burn(2 * MS).unwrap()).join().unwrap();
        }
        profiler.collect(TIMEOUT).unwrap();
        let answer = profiler.explain("no sample");
        if answer.reasons.iter().any(|reason| matches!(reason, Reason::Lost(cpu) if !cpu.is_zero())) {
            break;
        }
        assert!(Instant::now() < deadline, "{answer}, {}", profiler.report());
    }
    profiler.shutdown().unwrap();
}

#[test]
fn too_fast_for_the_policy() {
    let _turn = turn();
    let least = Duration::from_secs(50);
    let builder = Profiler::builder().with_frequency(997).with_min_span_duration(least);
    let profiler = profiled(builder, || {
        info_span!("hurried").in_scope(|| burn(100 * MS).unwrap());
    });
    let answer = profiler.explain("hurried");
    let is_fast = |reason: &Reason| matches!(reason, Reason::Fast { longest, least: asked } if *longest < *asked && *asked == least);
    assert!(answer.reasons.iter().any(is_fast), "{answer}");
    profiler.shutdown().unwrap();
}

#[test]
fn the_layers_are_in_the_wrong_order() {
    let _turn = turn();
    let provider = SdkTracerProvider::builder().build();
    let profiler = Profiler::builder().build().unwrap();
    let right = tracing_subscriber::registry()
        .with(tracing_opentelemetry::layer().with_tracer(provider.tracer("test")))
        .with(profiler.layer());
    tracing::subscriber::with_default(right, || {
        info_span!("in order").in_scope(|| info_span!("inner").in_scope(|| ()));
    });
    // No other test of this process mixes the layers up.
    let is_wrong = |name| profiler.explain(name).reasons.contains(&Reason::WrongLayerOrder);
    assert!(!is_wrong("in order"));
    let wrong = tracing_subscriber::registry()
        .with(profiler.layer())
        .with(tracing_opentelemetry::layer().with_tracer(provider.tracer("test")));
    tracing::subscriber::with_default(wrong, || info_span!("out of order").in_scope(|| ()));
    assert!(is_wrong("out of order"), "{}", profiler.explain("out of order"));
    profiler.shutdown().unwrap();
}
