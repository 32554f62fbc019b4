//! pprof and folded text, read back by readers that are not ours.

#![allow(clippy::unwrap_used)] // a test: helpers outside of #[test] functions too

mod support;

use profile_core::collector::{Loss, StackEnd, Window};
use profile_core::profile::{Profile, ProfileBatch, SpanScope};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use support::available;
use support::pprof_reader::{Pprof, PprofSample, read};
use support::windows::*;

/// A request with two spans, code outside of spans, and a loss.
fn shop() -> Window {
    let mut window = window();
    let (program, libc) = (module(0), module(1));
    let main = frame(&program, 0x101);
    let parse = context(7, &["checkout", "parse; all"]);
    add(
        &mut window,
        &[frame(&libc, 0x21), frame(&program, 0x49), main.clone()],
        StackEnd::Complete,
        parse,
        30,
    );
    add(&mut window, &[main], StackEnd::NoRule, Default::default(), 5);
    window.losses.push((Loss::RingFull, 2));
    window
}

/// The names of a sample's frames, leaf first, inlined ones too.
fn names(sample: &PprofSample) -> Vec<&str> {
    let lines = sample.locations.iter().flat_map(|location| &location.lines);
    lines.map(|(function, ..)| function.as_str()).collect()
}

#[test]
fn everything_is_there_for_an_independent_reader() {
    let mut profile = Profile::clone(&profile(&shop()));
    profile.add_note("kernel time is missing");
    let pprof = read(&ProfileBatch::new(resource(), vec![Arc::new(profile)]).to_pprof());

    let types = [("samples", "count"), ("cpu", "nanoseconds")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(pprof.sample_types, types);
    assert_eq!((&pprof.period_type, pprof.period), (&types[1], PERIOD));
    assert_eq!(
        (pprof.default_sample_type.as_str(), &pprof.comments[..]),
        ("cpu", &["kernel time is missing".into()][..])
    );
    assert_eq!((pprof.time_nanos, pprof.duration_nanos), (START, 10_000_000_000));

    let sample = pprof.samples.iter().find(|sample| sample.values[0] == 30).unwrap();
    assert_eq!(sample.values, [30, 30 * PERIOD]);
    assert_eq!(names(sample), ["m1f2", "inline4", "m0f4", "m0f16"]);
    let labels = [
        ("span_id", format!("{:016x}", 0x701)),
        ("span_name", "checkout".into()),
        ("trace_id", format!("{:032x}", 7)),
    ];
    assert_eq!(sample.labels, labels.map(|(key, value)| (key.to_owned(), value)).into());
    let inlined = &sample.locations[1];
    assert_eq!(inlined.address, 0x1000_0049);
    assert_eq!(
        inlined.lines[0],
        ("inline4".into(), "_ZN4shop7inline417h0123456789abcdefE".into(), "src/shop.rs".into(), 9, 0)
    );

    let loss = pprof.samples.iter().find(|sample| sample.values[0] == 2).unwrap();
    assert_eq!((names(loss), loss.labels.len()), (vec!["[lost: sample ring full]"], 0));
    let broken = pprof.samples.iter().find(|sample| sample.values[0] == 5).unwrap();
    assert_eq!(names(broken), ["m0f16", "[truncated: no unwind rule]"]);
}

#[test]
fn mappings_are_whole_and_the_program_comes_first() {
    let pprof = read(&batch(&shop()).to_pprof());
    let [program, libc] = &pprof.mappings[..] else { unreachable!() };
    assert_eq!((program.start, program.limit, program.offset), (0x1000_0000, 0x1000_1000, 0x400));
    assert_eq!((program.file.as_str(), &program.build_id), ("/lib/module0.so", &"00".repeat(20)));
    assert_eq!((libc.file.as_str(), &libc.build_id), ("/lib/module1.so", &"01".repeat(20)));
    assert_eq!((program.has, libc.has), ([true; 4], [true, false, false, false]));
    for location in pprof.samples.iter().flat_map(|sample| &sample.locations) {
        match location.mapping {
            Some(mapping) => {
                let mapping = &pprof.mappings[mapping];
                assert!((mapping.start..mapping.limit).contains(&location.address));
            }
            None => assert_eq!(location.address, 0, "no code"),
        }
    }
    // The leaf of the first stack lies in the library; after a merge the program still comes first.
    let twice = ProfileBatch::new(resource(), vec![profile(&shop()), profile(&shop())]);
    assert_eq!(read(&twice.to_pprof()).mappings[0].file, "/lib/module0.so");

    let mut nameless = shop();
    add(&mut nameless, &[frame(&module(0), 0x40)], StackEnd::Complete, Default::default(), 1);
    assert_eq!(
        read(&batch(&nameless).to_pprof()).mappings[0].has,
        [false, true, true, true],
        "one has no function"
    );
}

#[test]
fn several_windows_add_up_from_the_earliest_start() {
    let mut later = shop();
    later.start_unix_nanos += 15_000_000_000;
    later.duration = Duration::from_secs(4);
    let batch = ProfileBatch::new(resource(), vec![profile(&later), profile(&shop())]);
    let pprof = read(&batch.to_pprof());
    assert_eq!((pprof.time_nanos, pprof.duration_nanos), (START, 14_000_000_000), "the gap is not counted");
    let mut weights: Vec<u64> = pprof.samples.iter().map(|sample| sample.values[0]).collect();
    weights.sort_unstable();
    assert_eq!(weights, [4, 10, 60]);
}

#[test]
fn windows_that_saw_different_functions_of_a_library_share_its_mapping() {
    let named = shop();
    let mut nameless = shop();
    add(&mut nameless, &[frame(&module(0), 0x40)], StackEnd::Complete, Default::default(), 1);
    for windows in [[&named, &nameless], [&nameless, &named]] {
        let batch = ProfileBatch::new(resource(), windows.map(profile).into());
        let pprof = read(&batch.to_pprof());
        assert_eq!(pprof.mappings.len(), 2);
        assert_eq!(pprof.mappings[0].has, [false, true, true, true], "one location has no function");
        assert_eq!((pprof.samples.len(), equal_samples(&pprof)), (4, 0));
        let tables = support::decode(&batch.to_otlp()).dictionary.unwrap();
        assert_eq!((tables.mapping_table.len(), tables.stack_table.len()), (3, 5));
        support::conformance::assert_conforms(&batch.to_otlp());
    }
}

#[test]
fn windows_of_different_periods_keep_their_cpu_time() {
    let slow = Window { period_nanos: 50_000_000, ..shop() };
    let batch = ProfileBatch::new(resource(), vec![profile(&slow), profile(&shop())]);
    let pprof = read(&batch.to_pprof());
    assert_eq!(pprof.period, PERIOD);
    let nanos: u64 = pprof.samples.iter().map(|sample| sample.values[1]).sum();
    let expected = 37 * (50_000_000 + PERIOD);
    assert!(expected - nanos < PERIOD, "{nanos} of {expected}");
}

#[test]
fn folded_lines_start_with_the_spans() {
    let folded = batch(&shop()).to_folded();
    let expected = "\
        [lost: sample ring full] 2\n\
        [span] checkout;[span] parse, all;m0f16;m0f4;inline4;m1f2 30\n\
        [truncated: no unwind rule];m0f16 5\n";
    assert_eq!(folded, expected);
    let mut nameless = window();
    let nowhere = profile_core::collector::Frame { module: None, address: 0x77 };
    add(&mut nameless, &[frame(&module(0), 0x40), nowhere], StackEnd::Complete, Default::default(), 1);
    assert_eq!(
        batch(&nameless).to_folded(),
        "0x77;module0.so+0x440 1\n",
        "offset in the file, not in memory"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn totals_are_those_of_the_windows(
        windows in proptest::collection::vec(any_window(), 1..4),
        scope in prop_oneof![Just(SpanScope::LocalRoot), Just(SpanScope::Span)],
    ) {
        let total: u64 = windows.iter().map(weight).sum();
        prop_assume!(total > 0);
        let mut symbolizer = Fake::default();
        let profiles: Vec<_> =
            windows.iter().map(|w| Arc::new(Profile::from_window(w, &mut symbolizer, scope))).collect();
        prop_assert_eq!(profiles.iter().map(|profile| profile.total_weight()).sum::<u64>(), total);
        let batch = ProfileBatch::new(resource(), profiles);

        let pprof = read(&batch.to_pprof());
        let values = |n: usize| pprof.samples.iter().map(|sample| sample.values[n]).sum::<u64>();
        prop_assert_eq!((values(0), values(1)), (total, total * PERIOD));
        prop_assert_eq!(equal_samples(&pprof), 0);
        for sample in &pprof.samples {
            prop_assert!(sample.values[0] > 0 && !sample.locations.is_empty());
        }

        let folded = batch.to_folded();
        let mut sum = 0;
        for line in folded.lines() {
            let (stack, weight) = line.rsplit_once(' ').unwrap();
            prop_assert!(stack.split(';').all(|frame| !frame.is_empty() && !frame.contains('\n')), "{}", line);
            sum += weight.parse::<u64>().unwrap();
        }
        prop_assert_eq!(sum, total);
    }
}

/// How many samples have the stack and labels of another one.
fn equal_samples(pprof: &Pprof) -> usize {
    let mut identities = BTreeMap::new();
    for sample in &pprof.samples {
        let addresses: Vec<_> = sample.locations.iter().map(|l| (l.address, l.lines.clone())).collect();
        *identities.entry((addresses, &sample.labels)).or_insert(0) += 1;
    }
    pprof.samples.len() - identities.len()
}

#[inline(never)]
fn hot_leaf() {
    std::hint::black_box(1);
}

#[inline(never)]
fn warm_caller() {
    std::hint::black_box(2);
}

/// What Go's pprof shows of a profile of real functions of this program.
#[test]
fn go_tool_pprof_reads_it() {
    if !available("go", &["version"], "go_tool_pprof_reads_it") {
        return;
    }
    let mut window = window();
    let (leaf, caller) = (in_function(hot_leaf), in_function(warm_caller));
    let checkout = context(7, &["checkout"]);
    add(&mut window, &[leaf, caller.clone()], StackEnd::Complete, checkout, 75);
    add(&mut window, &[caller], StackEnd::Complete, context(0, &["idle"]), 25);
    let mut profile = Profile::from_window(&window, &mut Program::new(), SpanScope::LocalRoot);
    profile.add_note("kernel time is missing");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cpu.pb.gz");
    std::fs::write(&file, ProfileBatch::new(resource(), vec![Arc::new(profile)]).to_pprof()).unwrap();
    let pprof = |arguments: &[&str]| {
        let mut command = Command::new("go");
        command.args(["tool", "pprof", "-symbolize=none"]).args(arguments).arg(&file);
        let output = command.env("PPROF_TMPDIR", folder.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
    };

    let top = pprof(&["-top"]);
    assert!(
        top.contains("Type: cpu") && top.contains("Duration: 10s, Total samples = 1010.10ms (10.10%)"),
        "{top}"
    );
    assert!(top.contains("757.58ms 75.00% 75.00% 757.58ms 75.00% pprof::hot_leaf"), "{top}");
    assert!(top.contains("252.53ms 25.00% 100% 1010.10ms 100% pprof::warm_caller"), "{top}");
    let top = pprof(&["-top", "-sample_index=samples", "-tagfocus=span_name=checkout"]);
    assert!(top.contains("75 75.00% 75.00% 75 75.00% pprof::hot_leaf"), "{top}");
    let tags = pprof(&["-tags"]);
    for (key, value) in [("span_id", "0000000000000701"), ("trace_id", "00000000000000000000000000000007")] {
        assert!(tags.contains(&format!("{key}: Total 757.58ms")) && tags.contains(value), "{tags}");
    }
    assert!(tags.contains("span_name: Total 1.01s") && tags.contains("252.53ms (25.00%): idle"), "{tags}");
    let raw = pprof(&["-raw"]);
    let build_id = PROGRAM.build_id.as_ref().map(ToString::to_string).unwrap_or_default();
    assert!(
        raw.contains("Period: 10101010") && raw.contains(&*PROGRAM.path) && raw.contains(&build_id),
        "{raw}"
    );
    assert!(pprof(&["-comments"]).contains("kernel time is missing"));
}
