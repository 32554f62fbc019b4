//! How large a body in JSON becomes: at most 4 MiB, which is what receivers take, whatever the profile consists of.
#![cfg(feature = "otlp-http")]
#![allow(clippy::unwrap_used, clippy::print_stdout)] // In helpers too, which clippy does not take for tests.

mod export_support;
#[path = "support/windows.rs"]
#[allow(dead_code, unreachable_pub, reason = "only a part is used here")]
mod windows;

use export_support::conformance::{assert_none, check_json};
use export_support::http::exporter;
use export_support::{PATIENCE, Server, account, processor};
use flate2::Compression;
use flate2::write::GzEncoder;
use profile_core::collector::{Frame, StackEnd, Window};
use profile_core::export::{BatchLimits, Encoding, ExportErrorKind, ProfileExporter, ProfileProcessor};
use profile_core::modules::{BuildId, Module, ModuleId};
use profile_core::profile::{Profile, ProfileBatch, SpanScope};
use profile_core::resource::Resource;
use profile_core::stats::Stats;
use profile_core::symbolize::{SourceFrame, SymbolSource, Symbolizer};
use proptest::prelude::*;
use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;
use std::time::Instant;
use windows::{add, context, window};

const MAX_BODY: usize = 4 << 20;

/// Names each address by a rule.
struct Rule<F>(F, HashMap<u64, Vec<SourceFrame>>);

impl<F: Fn(u64) -> Vec<SourceFrame>> Symbolizer for Rule<F> {
    fn symbolize(&mut self, _: &Arc<Module>, address: u64) -> &[SourceFrame] {
        self.1.entry(address).or_insert_with(|| (self.0)(address))
    }

    fn source(&self, _: &Module) -> SymbolSource {
        SymbolSource::Dwarf
    }
}

/// A profile of `window` whose addresses are named by `name`.
fn profile(window: &Window, name: impl Fn(u64) -> Vec<SourceFrame>) -> Profile {
    Profile::from_window(window, &mut Rule(name, HashMap::new()), SpanScope::LocalRoot)
}

/// A module of small numbers, which protobuf spells shortest.
fn module(number: u32) -> Arc<Module> {
    let text = u64::from(number) + 1..u64::from(number) + 2;
    let build_id = Some(BuildId(number.to_be_bytes().into()));
    let (id, path) = (ModuleId(number), "x".into());
    let segments = Vec::new();
    Arc::new(Module { id, path, build_id, bias: 0, text, text_file_offset: 1, segments, eh_frame_hdr: None })
}

fn frame(module: &Arc<Module>, address: u64) -> Frame {
    Frame { module: Some(Arc::clone(module)), address }
}

/// A stack of each of these for every sample, all of weight 1 and outside of every span.
fn stacks(stacks: impl IntoIterator<Item = Vec<Frame>>) -> Window {
    let mut window = window();
    stacks.into_iter().for_each(|stack| add(&mut window, &stack, StackEnd::Complete, Default::default(), 1));
    window
}

fn resource() -> Resource {
    let mut resource = Resource::empty();
    resource.set("service.name", "export-test".into());
    resource
}

fn batch(profile: Profile) -> ProfileBatch {
    ProfileBatch::new(Arc::new(resource()), vec![Arc::new(profile)])
}

fn limits() -> BatchLimits {
    exporter(&Server::start([])).with_encoding(Encoding::Json).build().unwrap().limits()
}

/// Text that JSON makes six times as long.
fn control(length: usize, number: u64) -> Arc<str> {
    format!("{}{number}", "\u{1}".repeat(length)).into()
}

/// Function number `number`: each of its three texts is one of 100, so that its row has numbers of one byte only.
fn small_function(number: u64) -> SourceFrame {
    let text = |number: u64| Arc::<str>::from(format!("{}", 10 + number % 100));
    SourceFrame {
        function: text(number),
        system_name: Some(text(number / 100)),
        file: Some(text(number / 10_000)),
        line: 127,
        column: 127,
        start_line: 127,
    }
}

/// Profiles that consist mostly of one thing each, as small as protobuf can make it.
fn worst() -> Vec<(&'static str, Profile)> {
    let one = module(0);
    let frames = |numbers: std::ops::Range<u64>| numbers.map(|n| frame(&one, 100 + n)).collect::<Vec<_>>();
    let nameless = |_| Vec::new();
    let long = |number| {
        let function = control(2000, number);
        vec![SourceFrame { system_name: Some(control(2000, number + 1)), function, ..small_function(0) }]
    };
    let inlined = |number: u64| (0..100).map(|line| small_function(number * 100 + line)).collect();
    let lines = |number: u64| {
        let line = |line: u32| SourceFrame { line: 1 + line % 127, ..small_function(number % 50) };
        (0..100).map(line).collect::<Vec<_>>()
    };
    let bits = |number: u32| (0..13).map(|bit| frame(&one, 1 + u64::from(number >> bit & 1))).collect();
    let mut spans = window();
    (0..9000).for_each(|span| {
        add(&mut spans, &frames(0..1), StackEnd::Complete, context(1 + span, &["a"]), 1 + span % 127);
    });
    let mut noted = profile(&stacks((0..2000).map(|n| frames(n..n + 1))), long);
    (0..32).for_each(|note| noted.add_note(&*control(2000, note)));
    vec![
        ("texts", profile(&stacks((0..1000).map(|n| frames(n..n + 1))), long)),
        ("functions", profile(&stacks((0..2000).map(|n| frames(n..n + 1))), inlined)),
        ("lines", profile(&stacks((0..2000).map(|n| frames(n..n + 1))), lines)),
        ("locations", profile(&stacks((0..2000).map(|n| frames(n * 100..n * 100 + 100))), nameless)),
        ("modules", profile(&stacks((0..9000).map(|n| vec![frame(&module(n), 127)])), nameless)),
        ("stacks", profile(&stacks((0..8192).map(bits)), nameless)),
        ("spans", profile(&spans, nameless)),
        ("notes and texts", noted),
    ]
}

/// The parts of a batch as its exporter sends them, in JSON; each must be small enough.
fn parts(what: &str, batch: &ProfileBatch) -> Vec<String> {
    let BatchLimits { max_samples, max_bytes, .. } = limits();
    let parts: Vec<_> = batch.split(max_samples, max_bytes);
    let json: Vec<_> = parts.iter().map(ProfileBatch::to_otlp_json).collect();
    let ratio = |(part, json): (&ProfileBatch, &String)| json.len() as f64 / part.to_otlp().len() as f64;
    let ratio = parts.iter().zip(&json).map(ratio).fold(0.0, f64::max);
    let largest = json.iter().map(String::len).max().unwrap();
    println!("{what}: {} parts, at most {largest} B, {ratio:.2} times protobuf", json.len());
    assert!(largest <= MAX_BODY && ratio < 8.0, "{what}: {largest} B, {ratio:.2} times protobuf");
    for json in &json {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(json.as_bytes()).unwrap();
        assert!(gzip.finish().unwrap().len() <= MAX_BODY, "{what}");
    }
    json
}

#[test]
fn no_body_is_too_large_whatever_a_profile_consists_of() {
    let mut largest = 0;
    for (what, profile) in worst() {
        let weight = profile.total_weight();
        let json = parts(what, &batch(profile));
        largest = largest.max(json.iter().map(String::len).max().unwrap());
        let weights = json.iter().map(|json| json.matches("\"stackIndex\"").count() as u64).sum::<u64>();
        assert!(what == "spans" || weights == weight, "{what}: {weights} of {weight} samples");
        assert_none(&check_json(&json[0]));
    }
    assert!(largest > 2 << 20, "the worst of them is near the limit: {largest}");

    let mut odd = resource();
    (0..23).for_each(|n| odd.set(&*control(1000, n), (&*control(2000, n)).into()));
    let (_, profile) = worst().swap_remove(0);
    parts("resource", &ProfileBatch::new(Arc::new(odd), vec![Arc::new(profile)]));
}

#[test]
fn a_large_batch_arrives_in_parts_and_a_sample_too_large_is_counted() {
    let server = Server::start([]);
    let stats = Stats::new();
    let json = || exporter(&server).with_encoding(Encoding::Json);
    let processor = processor(&stats).with_exporter(json().build().unwrap()).build().unwrap();
    let one = module(0);
    let long = |number| vec![SourceFrame { function: control(1000, number), ..small_function(0) }];
    processor.on_profile(Arc::new(profile(&stacks((0..1500).map(|n| vec![frame(&one, 1 + n)])), long)));
    processor.force_flush(PATIENCE).unwrap();
    // The server fails the test if one of them is not as it should be.
    let sent = server.requests();
    assert!(sent.len() >= 3, "{} requests", sent.len());
    let weight: i64 = server.taken_profiles().iter().map(|(_, weight)| weight).sum();
    assert_eq!((weight, account(&stats, 0).exported), (1500, sent.len() as u64));

    let huge = |number| vec![SourceFrame { function: control(1 << 20, number), ..small_function(0) }];
    let huge = Arc::new(profile(&stacks([vec![frame(&one, 1)]]), huge));
    let alone = ProfileBatch::new(Arc::new(resource()), vec![Arc::clone(&huge)]);
    let error = json().build().unwrap().export(&alone, Instant::now() + PATIENCE).unwrap_err();
    assert_eq!(error.kind(), ExportErrorKind::TooLarge, "{error}");
    processor.on_profile(huge);
    let error = processor.shutdown(PATIENCE).unwrap_err().to_string();
    assert!(error.contains("bytes of JSON"), "{error}");
    let account = account(&stats, 0);
    assert_eq!((account.dropped.rejected, server.requests().len()), (1, sent.len()), "{account:?}");
}

/// Text of what JSON has to escape, and of what it need not.
fn awkward() -> impl Strategy<Value = String> {
    prop_oneof!["[\\x00-\\x1f]{0,60}", "[\"\\\\]{0,60}", "\\PC{0,20}", "[a-z]{0,8}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn json_is_less_than_eight_times_the_limit_for_protobuf(
        names in proptest::collection::vec((awkward(), awkward(), awkward()), 1..20),
        depths in proptest::collection::vec((0u64..40, 0u64..6), 1..60),
        notes in proptest::collection::vec(awkward(), 0..5),
        numbers in (0u32..3, 0u32..300, 0u32..3),
        max_bytes in 2000usize..20_000,
    ) {
        let modules = [module(0), module(1), module(200)];
        let module = |n: u64| &modules[(n % 3) as usize];
        let stack = |(first, depth): &(u64, u64)| (0..*depth).map(|n| frame(module(n), first + n)).collect();
        let name = |address: u64| {
            let named = |n: u64| {
                let (function, system_name, file) = &names[((address + n) % names.len() as u64) as usize];
                let (line, column, start_line) = numbers;
                let text = |text: &String| Some(text.as_str().into()).filter(|_| !text.is_empty());
                let function = format!("f{function}").into();
                SourceFrame { function, system_name: text(system_name), file: text(file), line, column, start_line }
            };
            (0..address % 4).map(named).collect()
        };
        let mut profile = profile(&stacks(depths.iter().map(stack)), name);
        notes.iter().filter(|note| !note.is_empty()).for_each(|note| profile.add_note(note.as_str()));
        for part in batch(profile).split(usize::MAX, max_bytes) {
            let (json, protobuf) = (part.to_otlp_json(), part.to_otlp().len());
            prop_assert!(json.len() < 8 * max_bytes.max(protobuf), "{} of {}", json.len(), protobuf);
            let violations = check_json(&json);
            prop_assert!(violations.is_empty(), "{:?}", violations);
        }
    }
}
