//! How large profiles are on the wire: OTLP against the pprof of the same profile, both as gzip.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // a test: helpers outside of test functions too

mod support;

use flate2::Compression;
use flate2::write::GzEncoder;
use profile_core::collector::{Frame, StackEnd, Window};
use std::io::Write;
use support::windows::{add, batch, context, frame, module, window};

/// Stacks that begin alike and end apart, as those of a program do: each frame calls one of a few others.
fn program(stacks: u64, spans: u64) -> Window {
    let mut window = window();
    let modules = [module(0), module(1)];
    let mut state = 1_u64;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for _ in 0..stacks {
        let mut at = 0_u64;
        let mut frames: Vec<Frame> = (0..24)
            .map(|_| {
                at = (at * 4 + random(4)) % 500;
                frame(&modules[usize::from(at.is_multiple_of(5))], 1 + at * 8)
            })
            .collect();
        frames.reverse();
        let of = context(1 + random(spans), &["request", "step"]);
        add(&mut window, &frames, StackEnd::Complete, of, 1 + random(3));
    }
    window
}

fn gzip(bytes: &[u8]) -> usize {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap().len()
}

#[test]
fn otlp_is_no_larger_than_the_pprof_of_the_same_profile() {
    for (stacks, spans) in [(10_000, 1), (10_000, 200), (500, 20)] {
        let batch = batch(&program(stacks, spans));
        let (otlp, pprof) = (batch.to_otlp(), batch.to_pprof().len());
        let compressed = gzip(&otlp);
        println!(
            "{stacks} stacks, {spans} spans: OTLP {} B, {compressed} B as gzip; pprof {pprof} B",
            otlp.len()
        );
        assert!(compressed <= pprof, "{stacks} stacks, {spans} spans: {compressed} > {pprof}");
    }
}
