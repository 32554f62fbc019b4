//! Reading a profile, and making one of several.

mod support;

use profile_core::collector::{Loss, StackEnd, Window};
use profile_core::context::SpanPath;
use profile_core::profile::{FrameView, Profile, ProfileBatch};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;
use support::windows::*;

fn shop() -> Window {
    let mut window = window();
    let program = module(0);
    let parse = context(7, &["checkout", "parse"]);
    let frames = [frame(&module(1), 0x40), frame(&program, 0x49), frame(&program, 0x101)];
    add(&mut window, &frames, StackEnd::Truncated, parse, 30);
    window.losses.push((Loss::RingFull, 2));
    window
}

#[test]
fn a_sample_tells_its_frames_and_its_context() {
    let profile = profile(&shop());
    assert_eq!((profile.start_unix_nanos(), profile.duration()), (START, Duration::from_secs(10)));
    assert_eq!((profile.period_nanos(), profile.total_weight(), profile.is_empty()), (PERIOD, 32, false));
    let sample = profile.samples().find(|sample| !sample.is_loss()).unwrap();
    assert_eq!((sample.weight(), sample.context()), (30, &context(7, &["checkout", "parse"])));
    assert_eq!((sample.context().span.name(), sample.context().root.name()), ("parse", "checkout"));

    let tell = |frame: FrameView<'_>| {
        (frame.to_string(), frame.function().is_some(), frame.address(), frame.line(), frame.is_inlined())
    };
    let expected = [
        ("module1.so+0x440".to_owned(), false, 0x2000_0040, 0, false),
        ("inline4".to_owned(), true, 0x1000_0049, 9, true),
        ("m0f4".to_owned(), true, 0x1000_0049, 19, false),
        ("m0f16".to_owned(), true, 0x1000_0101, 11, false),
        ("[truncated: stack deeper than 3 frames]".to_owned(), true, 0, 0, false),
    ];
    assert_eq!(sample.frames().map(tell).collect::<Vec<_>>(), expected);
    let inlined = sample.frames().nth(1).unwrap();
    assert_eq!((inlined.file(), inlined.mapping_path()), (Some("src/shop.rs"), Some("/lib/module0.so")));
    assert_eq!(inlined.system_name(), Some("_ZN4shop7inline417h0123456789abcdefE"));
    let truncated = sample.frames().last().unwrap();
    assert_eq!((truncated.file(), truncated.mapping_path(), truncated.system_name()), (None, None, None));
}

#[test]
fn a_loss_is_a_sample_outside_of_every_span() {
    let profile = profile(&shop());
    let loss = profile.samples().find(|sample| sample.is_loss()).unwrap();
    assert_eq!((loss.weight(), loss.context().span), (2, SpanPath::NONE));
    assert_eq!(
        loss.frames().map(|frame| frame.to_string()).collect::<Vec<_>>(),
        ["[lost: sample ring full]"]
    );
    let merged = Profile::merge(&[&profile, &profile]).unwrap();
    assert_eq!(merged.samples().filter(|sample| sample.is_loss()).map(|loss| loss.weight()).sum::<u64>(), 4);
}

#[test]
fn notes_are_kept_once_in_order_and_bounded() {
    let mut profile = Profile::clone(&profile(&shop()));
    for number in (0..100).chain(0..100) {
        profile.add_note(format!("note {number}"));
    }
    let notes: Vec<_> = profile.notes().collect();
    assert_eq!((notes.len(), notes[0], notes[31]), (32, "note 0", "note 31"));
    let merged = Profile::merge(&[&profile, &profile]).unwrap();
    assert_eq!(merged.notes().collect::<Vec<_>>(), notes);
}

#[test]
fn numbers_without_end_do_not_overflow() {
    let mut window = shop();
    window.samples[0].weight = u64::MAX;
    window.losses.push((Loss::RingFull, u64::MAX));
    window.duration = Duration::MAX;
    window.start_unix_nanos = u64::MAX;
    let profile = profile(&window);
    assert_eq!(profile.total_weight(), u64::MAX);
    let merged = Profile::merge(&[&profile, &profile]).unwrap();
    assert_eq!((merged.total_weight(), merged.duration()), (u64::MAX, Duration::MAX));
    let pprof = support::pprof_reader::read(&batch(&window).to_pprof());
    assert!(pprof.samples.iter().all(|sample| sample.values == [i64::MAX as u64; 2]));
    let why = "no window has such times";
    let otlp = support::decode_but(&batch(&window).to_otlp(), &[("window", why)]);
    let profile = &otlp.resource_profiles[0].scope_profiles[0].profiles[0];
    assert!(profile.samples.iter().all(|sample| sample.values == [i64::MAX]));
}

/// Weight by context and named stack.
fn content(profile: &Profile) -> BTreeMap<(String, Vec<String>, bool), u64> {
    let mut content = BTreeMap::new();
    for sample in profile.samples() {
        let frames = sample.frames().map(|frame| format!("{frame} {:#x} {}", frame.address(), frame.line()));
        let key = (format!("{:?}", sample.context()), frames.collect(), sample.is_loss());
        *content.entry(key).or_insert(0) += sample.weight();
    }
    content
}

proptest! {
    #[test]
    fn merging_and_splitting_lose_nothing(windows in proptest::collection::vec(any_window(), 1..4)) {
        let profiles: Vec<_> = windows.iter().map(profile).collect();
        let mut expected = BTreeMap::new();
        for profile in &profiles {
            for (key, weight) in content(profile) {
                *expected.entry(key).or_insert(0) += weight;
            }
        }
        let merged = Profile::merge(&profiles.iter().map(|profile| &**profile).collect::<Vec<_>>()).unwrap();
        prop_assert_eq!(content(&merged), expected.clone());

        let parts = ProfileBatch::new(resource(), profiles).split(3, usize::MAX);
        let parts: Vec<_> = parts.iter().flat_map(|part| part.profiles()).map(|profile| &**profile).collect();
        if !parts.is_empty() {
            prop_assert_eq!(content(&Profile::merge(&parts).unwrap()), expected);
        }
    }

    #[test]
    fn merging_different_periods_keeps_the_cpu_time(
        periods in proptest::collection::vec(1_000_000u64..100_000_000, 1..5),
        window in any_window(),
    ) {
        let windows = periods.iter().map(|period| Window { period_nanos: *period, ..window.clone() });
        let profiles: Vec<_> = windows.map(|window| profile(&window)).collect();
        let merged = Profile::merge(&profiles.iter().map(|profile| &**profile).collect::<Vec<_>>()).unwrap();
        let before: u64 = periods.iter().map(|period| period * weight(&window)).sum();
        let after = merged.total_weight() * merged.period_nanos();
        prop_assert_eq!(merged.period_nanos(), *periods.iter().min().unwrap());
        prop_assert!(after <= before && before - after < periods.len() as u64 * merged.period_nanos());
    }
}

#[test]
fn of_no_profiles_there_is_no_merged_one() {
    assert!(Profile::merge(&[]).is_none());
}
