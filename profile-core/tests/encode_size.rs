//! How large profiles are on the wire: OTLP against the pprof of the same profile, both as gzip.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // a test: helpers outside of test functions too

mod support;

use flate2::read::GzDecoder;
use profile_core::collector::{Frame, StackEnd, Window};
use profile_core::profile::ProfileBatch;
use std::io::Read;
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

/// Stacks that are each seen once, in one span: OTLP refers to each by a number, and pprof does not. Sixteen functions that
/// call each other, each mostly from one address.
fn once(stacks: u64) -> Window {
    let mut window = window();
    let program = module(0);
    let outer: Vec<Frame> = (0..11).map(|number| frame(&program, 0x10_0000 + number * 0x777)).collect();
    for number in 0..stacks {
        let mut state = number;
        let inner = (0..24).map(|level| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let digit = if level < 4 { number >> (4 * level) } else { state >> 40 } & 15;
            let rare = if state >> 60 == 0 { state >> 50 & 15 } else { 0 };
            frame(&program, 0x1000 + digit * 0x111 + rare * 7)
        });
        let frames: Vec<Frame> = outer.iter().cloned().chain(inner).rev().collect();
        add(&mut window, &frames, StackEnd::Complete, context(1, &["request"]), 1);
    }
    window
}

/// The size of what is sent, which is the request as gzip.
fn sent(batch: &ProfileBatch) -> usize {
    let compressed = batch.to_otlp_gzip();
    let mut content = Vec::new();
    GzDecoder::new(&*compressed).read_to_end(&mut content).unwrap();
    assert!(content == batch.to_otlp());
    compressed.len()
}

#[test]
fn otlp_is_no_larger_than_the_pprof_of_the_same_profile() {
    let windows = [
        ("10,000 stacks, 1 span", program(10_000, 1)),
        ("10,000 stacks, 200 spans", program(10_000, 200)),
        ("500 stacks, 20 spans", program(500, 20)),
    ];
    for (name, window) in windows {
        let [otlp, pprof] = sizes(name, &window);
        // By its order alone: without it, it is 91 to 97 % of the pprof.
        assert!(otlp * 100 <= pprof * 88, "{name}: {otlp} of {pprof}");
    }
    // `scripts/compare report` has real stacks of this kind.
    let [otlp, pprof] = sizes("10,000 stacks, each once", &once(10_000));
    assert!(otlp <= pprof, "{otlp} > {pprof}");
}

/// What is sent of a window, and its pprof.
fn sizes(name: &str, window: &Window) -> [usize; 2] {
    let batch = batch(window);
    let sizes @ [otlp, pprof] = [sent(&batch), batch.to_pprof().len()];
    println!("{name}: OTLP {} B, {otlp} B as gzip; pprof {pprof} B", batch.to_otlp().len());
    sizes
}
