//! The rules that OTLP profiles must follow to be taken, and shown under the right span, by profcheck, the
//! OpenTelemetry Collector, Pyroscope, Parca and Grafana: one test for each rule, over bytes that the crate
//! `opentelemetry-proto` decodes, and all of them together over random windows.

#![allow(clippy::unwrap_used)] // a test: helpers outside of #[test] functions too

mod support;

use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyValue;
use opentelemetry_proto::tonic::profiles::v1development::{
    Profile as WireProfile, ProfilesDictionary, Sample,
};
use profile_core::collector::{Loss, SampleContext, StackEnd, Window};
use profile_core::context::{LabelSet, Region, TraceFlags};
use profile_core::modules::Module;
use profile_core::profile::{Profile, ProfileBatch, SpanScope};
use profile_core::resource::Resource;
use proptest::prelude::*;
use prost::Message;
use std::io::Read;
use std::process::Command;
use std::sync::Arc;
use support::conformance::assert_conforms;
use support::windows::*;
use support::{decode, decode_but, skipped};

/// A request with its tables at hand.
struct Sent {
    request: ExportProfilesServiceRequest,
    dictionary: ProfilesDictionary,
}

impl Sent {
    fn of(batch: &ProfileBatch) -> Self {
        Self::but(batch, &[])
    }

    /// Of a batch that cannot obey some rules: their names, each with the reason.
    fn but(batch: &ProfileBatch, exceptions: &[(&str, &str)]) -> Self {
        let request = decode_but(&batch.to_otlp(), exceptions);
        let dictionary = request.dictionary.clone().unwrap();
        Self { request, dictionary }
    }

    fn profiles(&self) -> Vec<&WireProfile> {
        let scopes = self.request.resource_profiles.iter().flat_map(|resource| &resource.scope_profiles);
        scopes.flat_map(|scope| &scope.profiles).collect()
    }

    fn samples(&self) -> Vec<&Sample> {
        self.profiles().into_iter().flat_map(|profile| &profile.samples).collect()
    }

    fn string(&self, index: i32) -> &str {
        &self.dictionary.string_table[index as usize]
    }

    /// Keys and values of attributes.
    fn attributes(&self, indices: &[i32]) -> Vec<(&str, String)> {
        let text = |value: &AnyValue| match value {
            AnyValue::StringValue(text) => text.clone(),
            other => format!("{other:?}"),
        };
        let rows = indices.iter().map(|index| &self.dictionary.attribute_table[*index as usize]);
        rows.map(|row| {
            (self.string(row.key_strindex), text(row.value.as_ref().unwrap().value.as_ref().unwrap()))
        })
        .collect()
    }

    /// The names of a sample's frames, leaf first, inlined ones too.
    fn names(&self, sample: &Sample) -> Vec<&str> {
        let dictionary = &self.dictionary;
        let stack = &dictionary.stack_table[sample.stack_index as usize];
        let locations =
            stack.location_indices.iter().map(|index| &dictionary.location_table[*index as usize]);
        locations
            .flat_map(|location| &location.lines)
            .map(|line| self.string(dictionary.function_table[line.function_index as usize].name_strindex))
            .collect()
    }

    /// Trace and span id of a sample's link, in hex.
    fn link(&self, sample: &Sample) -> Option<(String, String)> {
        let link = &self.dictionary.link_table[sample.link_index as usize];
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        (sample.link_index != 0).then(|| (hex(&link.trace_id), hex(&link.span_id)))
    }

    fn total(&self) -> i64 {
        self.samples().iter().flat_map(|sample| &sample.values).sum()
    }
}

/// Three stacks in two requests and outside of both, and a loss.
fn shop() -> Window {
    let mut window = window();
    let (program, libc) = (module(0), module(1));
    let main = frame(&program, 0x101);
    let (parse, query) = (context(7, &["checkout", "parse"]), context(8, &["refund", "query"]));
    add(
        &mut window,
        &[frame(&libc, 0x21), frame(&program, 0x49), main.clone()],
        StackEnd::Complete,
        parse,
        30,
    );
    add(&mut window, &[frame(&program, 0x31), main.clone()], StackEnd::Complete, query, 20);
    add(&mut window, &[main], StackEnd::Complete, context(0, &["idle"]), 5);
    window.losses.push((Loss::RingFull, 2));
    window
}

fn scoped(window: &Window, scope: SpanScope) -> Sent {
    let profile = Profile::from_window(window, &mut Fake::default(), scope);
    Sent::of(&ProfileBatch::new(resource(), vec![Arc::new(profile)]))
}

#[test]
fn rule_1_the_layout_is_that_of_otlp_1_10_and_1_11() {
    let bytes = batch(&shop()).to_otlp();
    // Whatever the decoder does not know, it drops: nothing may be missing in what it writes again.
    assert_eq!(decode(&bytes).encode_to_vec(), bytes);
    let sent = Sent::of(&batch(&shop()));
    let sample = sent.samples().into_iter().find(|sample| sample.values == [30]).unwrap();
    assert_eq!(sent.names(sample), ["m1f2", "inline4", "m0f4", "m0f16"]);
    assert_eq!(sent.link(sample), Some((format!("{:032x}", 7), format!("{:016x}", 0x701))));
    assert_eq!(sent.attributes(&sample.attribute_indices), [("span_name", "checkout".into())]);
    // As `ProfilesData` too.
    use opentelemetry_proto::tonic::profiles::v1development::ProfilesData;
    assert_eq!(ProfilesData::decode(&bytes[..]).unwrap().encode_to_vec(), bytes);
}

#[test]
fn rule_2_every_table_starts_with_its_zero_value() {
    let mut unlinked = window();
    add(&mut unlinked, &[], StackEnd::NotReady, context(0, &["idle"]), 1);
    for window in [shop(), unlinked] {
        let tables = Sent::of(&batch(&window)).dictionary;
        assert_eq!(tables.link_table[0].encode_to_vec(), b"", "not 16 and 8 bytes of zero");
        assert_eq!(tables.mapping_table[0].encode_to_vec(), b"");
        assert_eq!(tables.location_table[0].encode_to_vec(), b"");
        assert_eq!(tables.function_table[0].encode_to_vec(), b"");
        assert_eq!(tables.attribute_table[0].encode_to_vec(), b"");
        assert_eq!(tables.stack_table[0].encode_to_vec(), b"");
        assert_eq!(tables.string_table[0], "");
    }
}

#[test]
fn rules_3_and_4_a_cpu_profile_is_samples_over_a_period_of_cpu_time() {
    let sent = Sent::of(&batch(&shop()));
    let [profile] = sent.profiles()[..] else { unreachable!() };
    let (sample, period) = (profile.sample_type.unwrap(), profile.period_type.unwrap());
    assert_eq!((sent.string(sample.type_strindex), sent.string(sample.unit_strindex)), ("samples", "count"));
    assert_eq!(
        (sent.string(period.type_strindex), sent.string(period.unit_strindex)),
        ("cpu", "nanoseconds")
    );
    assert_eq!(profile.period, PERIOD as i64);

    let periods = [(0, 1), (1, 1), (u64::MAX, i64::MAX)];
    for (period_nanos, sent_period) in periods {
        let batch = batch(&Window { period_nanos, ..shop() });
        let sent = Sent::but(&batch, &[("cpu-shape", "no profiler has such a period")]);
        assert_eq!(sent.profiles()[0].period, sent_period, "never 0, never negative");
    }
}

#[test]
fn rule_5_samples_have_one_value_and_no_timestamps() {
    for sample in Sent::of(&batch(&shop())).samples() {
        assert_eq!((sample.values.len(), sample.timestamps_unix_nano.len()), (1, 0));
    }
}

#[test]
fn rule_6_samples_of_one_stack_and_labels_are_one() {
    let program = module(0);
    let mut window = window();
    // Equal after symbolising: the same library at the same place, closed and opened again.
    let mut reloaded = Module::clone(&module(2));
    reloaded.id = profile_core::modules::ModuleId(4);
    for module in [module(2), Arc::new(reloaded)] {
        let frames = [frame(&module, 0x11), frame(&program, 0x11)];
        // Equal as labels: spans below one local root.
        for names in [&["checkout", "parse"][..], &["checkout", "query"][..]] {
            add(&mut window, &frames, StackEnd::Complete, context(7, names), 10);
        }
    }
    let profile = profile(&window);
    assert_eq!(profile.samples().count(), 2, "the model keeps the inner spans apart");
    let sent = Sent::of(&ProfileBatch::new(resource(), vec![profile]));
    let [sample] = sent.samples()[..] else { unreachable!("{:?}", sent.samples()) };
    assert_eq!(sample.values, [40]);

    let by_span = scoped(&window, SpanScope::Span);
    assert_eq!(by_span.samples().iter().map(|sample| sample.values[0]).collect::<Vec<_>>(), [20, 20]);
}

#[test]
fn rule_7_links_are_whole_or_not_there() {
    let frames = [frame(&module(0), 0x11)];
    let whole = context(7, &["checkout", "parse"]);
    let mut window = window();
    let mut trace_only = whole;
    (trace_only.span_id, trace_only.root_id) = Default::default();
    let mut ids_only = whole;
    ids_only.trace_id = Default::default();
    let mut not_sampled = whole;
    not_sampled.flags = TraceFlags::from_u8(0x02);
    for context in [whole, trace_only, ids_only, not_sampled] {
        add(&mut window, &frames, StackEnd::Complete, context, 1);
    }
    for (scope, span, name) in [(SpanScope::LocalRoot, 0x701, "checkout"), (SpanScope::Span, 0x702, "parse")]
    {
        let sent = scoped(&window, scope);
        assert_eq!(sent.dictionary.link_table.len(), 2);
        assert_eq!(sent.dictionary.link_table[1].trace_id.len(), 16);
        assert_eq!(sent.dictionary.link_table[1].span_id.len(), 8);
        let [linked, unlinked] = &sent.samples()[..] else { unreachable!() };
        let (linked, unlinked) = if linked.link_index == 0 { (unlinked, linked) } else { (linked, unlinked) };
        assert_eq!((&linked.values[..], &unlinked.values[..]), (&[1][..], &[3][..]));
        assert_eq!(sent.link(linked), Some((format!("{:032x}", 7), format!("{span:016x}"))));
        assert_eq!(sent.attributes(&unlinked.attribute_indices), [("span_name", name.into())]);
    }
}

#[test]
fn rules_8_and_9_resource_and_scope_are_there_with_attributes_in_place() {
    let sent = Sent::of(&batch(&shop()));
    let [resource_profiles] = &sent.request.resource_profiles[..] else { unreachable!() };
    let resource = resource_profiles.resource.clone().unwrap();
    let attributes: Vec<_> = resource
        .attributes
        .into_iter()
        .map(|attribute| (attribute.key, attribute.key_strindex, attribute.value.unwrap().value.unwrap()))
        .collect();
    let expected = [
        ("service.name".to_owned(), 0, AnyValue::StringValue("shop".into())),
        ("process.pid".to_owned(), 0, AnyValue::IntValue(42)),
    ];
    assert_eq!(attributes, expected);
    let [scope_profiles] = &resource_profiles.scope_profiles[..] else { unreachable!() };
    let scope = scope_profiles.scope.clone().unwrap();
    assert_eq!((scope.name.as_str(), scope.version.is_empty()), ("profile-core", false));

    // Values in the dictionary are in place, too.
    let by_reference = |value: &AnyValue| matches!(value, AnyValue::StringValueStrindex(_));
    let mut values =
        sent.dictionary.attribute_table.iter().filter_map(|row| row.value.as_ref()?.value.as_ref());
    assert!(!values.any(by_reference));

    let nobody = ProfileBatch::new(Arc::new(Resource::empty()), vec![profile(&shop())]);
    let sent = Sent::but(&nobody, &[("service-name", "the resource is empty")]);
    assert!(sent.request.resource_profiles[0].resource.is_some(), "Parca reads it without asking");
}

#[test]
fn rule_10_samples_have_no_attribute_but_a_bounded_span_name() {
    let mut window = window();
    let long: &'static str = "ä".repeat(3000).leak();
    for number in 0..1200 {
        let name: &'static str = format!("span {number}").leak();
        add(&mut window, &[frame(&module(0), 0x11)], StackEnd::Complete, context(number + 1, &[name]), 1);
    }
    add(&mut window, &[frame(&module(0), 0x21)], StackEnd::Complete, context(0, &[long]), 1);
    let sent = Sent::of(&batch(&window));
    let mut names = std::collections::HashSet::new();
    for sample in sent.samples() {
        let attributes = sent.attributes(&sample.attribute_indices);
        let [("span_name", name)] = &attributes[..] else { unreachable!("{attributes:?}") };
        assert!(name.len() <= 2048 && !name.is_empty());
        names.insert(name.clone());
    }
    assert!(names.len() <= 1001, "each name is a series in Pyroscope");
    assert!(names.contains("[span names overflow]"), "what is left out is visible");
    assert_eq!(sent.total(), 1201);
    assert_conforms(&batch(&window).to_otlp());
}

#[test]
fn regions_and_labels_are_attributes_pprof_labels_and_a_folded_frame() {
    let mut window = window();
    let labels = LabelSet::NONE.with("tenant", &"a b").with("route", &"/x");
    let plain = context(7, &["checkout"]);
    let labelled = SampleContext { region: Region::of("Hasher::digest"), labels, ..plain };
    add(&mut window, &[frame(&module(0), 0x11)], StackEnd::Complete, plain, 1);
    add(&mut window, &[frame(&module(0), 0x11)], StackEnd::Complete, labelled, 2);
    let batch = batch(&window);
    assert_conforms(&batch.to_otlp());

    let expected =
        [("region", "Hasher::digest"), ("route", "/x"), ("span_name", "checkout"), ("tenant", "a b")];
    let sent = Sent::of(&batch);
    let sample = sent.samples().into_iter().find(|sample| sample.values == [2]).unwrap();
    let mut attributes = sent.attributes(&sample.attribute_indices);
    attributes.sort_unstable();
    assert_eq!(attributes, expected.map(|(key, value)| (key, value.to_owned())));
    assert_eq!(sent.total(), 3);

    let folded = batch.to_folded();
    assert!(folded.contains("[span] checkout;[region] Hasher::digest;m0f1 2\n"), "{folded}");
    assert!(folded.contains("[span] checkout;m0f1 1\n"), "{folded}");

    let profile = &batch.profiles()[0];
    let sample = profile.samples().find(|sample| sample.weight() == 2).unwrap();
    assert_eq!(
        (sample.context().region.name(), sample.context().labels.get("tenant")),
        ("Hasher::digest", Some("a b"))
    );
}

#[test]
fn rule_11_each_window_is_a_profile_with_its_own_times() {
    let first = shop();
    let mut second = shop();
    second.start_unix_nanos += 10_000_000_000;
    second.duration = std::time::Duration::from_nanos(9_999_999_999);
    second.samples.truncate(1);
    second.losses.clear();
    let batch = ProfileBatch::new(resource(), vec![profile(&first), profile(&second)]);
    let bytes = batch.to_otlp();
    assert_conforms(&bytes);
    let sent = Sent::of(&batch);
    let times: Vec<_> = sent.profiles().iter().map(|p| (p.time_unix_nano, p.duration_nano)).collect();
    assert_eq!(times, [(START, 10_000_000_000), (START + 10_000_000_000, 9_999_999_999)]);
    let totals: Vec<i64> =
        sent.profiles().iter().map(|p| p.samples.iter().map(|sample| sample.values[0]).sum()).collect();
    assert_eq!(totals, [57, 30]);
    // One dictionary: the second window needs nothing that the first has not entered.
    let alone = Sent::of(&support::windows::batch(&first)).dictionary;
    assert_eq!(sent.dictionary.stack_table.len(), alone.stack_table.len());
    assert_eq!(sent.dictionary.string_table.len(), alone.string_table.len());
    assert_eq!(sent.dictionary.attribute_table.len(), alone.attribute_table.len());
}

#[test]
fn rule_12_large_profiles_are_split_with_the_same_times() {
    let mut window = window();
    let module = module(0);
    for number in 0..25_000 {
        add(
            &mut window,
            &[frame(&module, number % 0x800), frame(&module, number / 0x800)],
            StackEnd::Complete,
            context(number % 1000 + 1, &["checkout"]),
            1 + number % 3,
        );
    }
    let whole = batch(&window);
    let sent = Sent::of(&whole);
    assert_eq!(sent.profiles().len(), 3);
    for profile in sent.profiles() {
        assert!(profile.samples.len() <= 10_000);
        assert_eq!((profile.time_unix_nano, profile.duration_nano), (START, 10_000_000_000));
    }
    assert_eq!(sent.total(), weight(&window) as i64);
    assert_conforms(&whole.to_otlp());

    let parts = whole.split(4_000, 150_000);
    assert!(parts.len() >= 7, "{}", parts.len());
    let mut total = 0;
    for part in &parts {
        let bytes = part.to_otlp();
        assert!(bytes.len() <= 150_000);
        assert_conforms(&bytes);
        let sent = Sent::of(part);
        assert!(sent.samples().len() <= 4_000);
        for profile in sent.profiles() {
            assert_eq!((profile.time_unix_nano, profile.duration_nano), (START, 10_000_000_000));
        }
        total += sent.total();
    }
    assert_eq!(total, weight(&window) as i64);
    assert_eq!(whole.split(25_000, usize::MAX).len(), 1, "what fits stays whole");
}

#[test]
fn rule_12_holds_for_what_pyroscope_converts_a_profile_into() {
    // OTLP has the deep stack once, pprof once for each span.
    let module = module(0);
    let deep: Vec<_> = (0..500).map(|depth| frame(&module, depth)).collect();
    let mut window = window();
    for span in 1..=50 {
        add(&mut window, &deep, StackEnd::Complete, context(span, &["checkout"]), 1);
    }
    let whole = batch(&window);
    let limit = whole.to_otlp().len();
    assert!(uncompressed_pprof(&whole) > limit);
    let parts = whole.split(10_000, limit);
    assert!(parts.len() > 1 && parts.iter().all(|part| uncompressed_pprof(part) <= limit));
    assert_eq!(parts.iter().map(|part| Sent::of(part).total()).sum::<i64>(), 50);
}

fn uncompressed_pprof(batch: &ProfileBatch) -> usize {
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(&batch.to_pprof()[..]).read_to_end(&mut bytes).unwrap()
}

#[test]
fn rule_14_the_span_id_reads_as_the_join_key_of_the_root_span() {
    let context = context(0xabc, &["checkout", "parse"]);
    let mut window = window();
    add(&mut window, &[frame(&module(0), 0x11)], StackEnd::Complete, context, 1);
    let sent = Sent::of(&batch(&window));
    let (trace, span) = sent.link(sent.samples()[0]).unwrap();
    assert_eq!((trace, span), (context.trace_id.to_string(), context.root_id.to_string()));
}

#[test]
fn rule_15_nothing_empty_is_sent() {
    let mut idle = window();
    add(&mut idle, &[frame(&module(0), 0x11)], StackEnd::Complete, context(7, &["checkout"]), 0);
    idle.losses.push((Loss::RingFull, 0));
    assert!(profile(&idle).is_empty());
    let nothing = batch(&idle);
    assert_eq!((nothing.is_empty(), nothing.len()), (true, 0));
    assert_eq!((nothing.to_otlp(), nothing.to_pprof(), nothing.to_folded()), (vec![], vec![], String::new()));

    let mixed = ProfileBatch::new(resource(), vec![profile(&idle), profile(&shop()), profile(&idle)]);
    assert_eq!(mixed.to_otlp(), batch(&shop()).to_otlp());

    let mut window = shop();
    add(&mut window, &[frame(&module(3), 0x31)], StackEnd::Complete, context(99, &["never"]), 0);
    assert_eq!(batch(&window).to_otlp(), batch(&shop()).to_otlp(), "no trace of a sample without weight");
}

#[test]
fn rule_16_functions_have_names_and_locations_their_kind() {
    let mut window = shop();
    add(
        &mut window,
        &[frame(&module(2), 0x31), frame(&module(1), 0x40)],
        StackEnd::Complete,
        context(0, &["c"]),
        1,
    );
    let sent = Sent::of(&batch(&window));
    let functions = sent.dictionary.function_table.iter().skip(1);
    let names: Vec<_> =
        functions.map(|f| (sent.string(f.name_strindex), sent.string(f.system_name_strindex))).collect();
    assert!(names.contains(&("m0f16", "_ZN4shop5m0f1617h0123456789abcdefE")), "{names:?}");
    assert!(names.iter().all(|(name, _)| !name.is_empty()));

    let kind = |location: &&opentelemetry_proto::tonic::profiles::v1development::Location| {
        let mapping = &sent.dictionary.mapping_table[location.mapping_index as usize];
        let attributes = sent.attributes(&location.attribute_indices);
        let [("profile.frame.type", kind)] = &attributes[..] else { unreachable!("{attributes:?}") };
        (sent.string(mapping.filename_strindex).to_owned(), location.lines.is_empty(), kind.clone())
    };
    let code = sent.dictionary.location_table.iter().skip(1).filter(|location| location.address != 0);
    let kinds: std::collections::BTreeSet<_> = code.map(|location| kind(&location)).collect();
    let expected = [
        ("/lib/module0.so", false, "rust"),   // legacy mangling
        ("/lib/module1.so", false, "rust"),   // v0 mangling
        ("/lib/module1.so", true, "native"),  // no symbol
        ("/lib/module2.so", false, "native"), // not mangled
    ];
    assert_eq!(
        kinds,
        expected.map(|(file, nameless, kind)| (file.to_owned(), nameless, kind.to_owned())).into()
    );
}

#[test]
fn mappings_say_what_they_are_and_how_far_they_are_symbolised() {
    let sent = Sent::of(&batch(&shop()));
    let mappings: Vec<_> = sent.dictionary.mapping_table.iter().skip(1).collect();
    let [program, libc] = mappings[..] else { unreachable!() };
    assert_eq!(
        (program.memory_start, program.memory_limit, program.file_offset),
        (0x1000_0000, 0x1000_1000, 0x400)
    );
    assert_eq!(sent.string(program.filename_strindex), "/lib/module0.so");
    let yes = "BoolValue(true)".to_owned();
    let expected = [
        ("process.executable.build_id.gnu", "00".repeat(20)),
        ("pprof.mapping.has_functions", yes.clone()),
        ("pprof.mapping.has_filenames", yes.clone()),
        ("pprof.mapping.has_line_numbers", yes.clone()),
        ("pprof.mapping.has_inline_frames", yes.clone()),
    ];
    assert_eq!(sent.attributes(&program.attribute_indices), expected);
    let expected =
        [("process.executable.build_id.gnu", "01".repeat(20)), ("pprof.mapping.has_functions", yes)];
    assert_eq!(sent.attributes(&libc.attribute_indices), expected);
}

#[test]
fn a_mapping_without_gnu_build_id_is_identified_by_its_file_or_is_none() {
    let mut anonymous = Module::clone(&PROGRAM);
    anonymous.build_id = None;
    let mut gone = Module::clone(&anonymous);
    (gone.id, gone.path) = (profile_core::modules::ModuleId(1001), "/no/such/file".into());
    gone.text = 0x1000..0x2000; // where nothing is mapped
    let address = PROGRAM.text.start + 1;
    let mut replaced = gone.clone();
    (replaced.id, replaced.path) = (profile_core::modules::ModuleId(1002), PROGRAM.path.clone());
    replaced.text = library(); // where another file than that of its path is mapped
    let in_library = replaced.text.start + 1;
    for (module, address, mappings) in [(anonymous, address, 1), (gone, 0x1800, 0), (replaced, in_library, 0)]
    {
        let mut window = window();
        let frame = profile_core::collector::Frame { module: Some(Arc::new(module)), address };
        add(&mut window, &[frame], StackEnd::Complete, context(1, &["checkout"]), 1);
        let bytes = batch(&window).to_otlp();
        assert_conforms(&bytes);
        let sent = Sent::of(&batch(&window));
        assert_eq!(sent.dictionary.mapping_table.len(), 1 + mappings);
        assert_eq!(sent.dictionary.location_table[1].address, address);
        if mappings == 1 {
            let attributes = sent.attributes(&sent.dictionary.mapping_table[1].attribute_indices);
            assert_eq!(attributes[0].0, "process.executable.build_id.htlhash");
            assert_eq!(attributes[0].1, htlhash_of_this_program());
        }
    }
}

/// The code of a shared library of this process.
fn library() -> std::ops::Range<u64> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let library = |line: &&str| line.contains("r-xp") && line.contains(".so");
    let (start, end) =
        maps.lines().find(library).unwrap().split_once(' ').unwrap().0.split_once('-').unwrap();
    u64::from_str_radix(start, 16).unwrap()..u64::from_str_radix(end, 16).unwrap()
}

/// Computed here from the whole file.
fn htlhash_of_this_program() -> String {
    use sha2::{Digest, Sha256};
    let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let (head, tail) = (&bytes[..4096], &bytes[bytes.len() - 4096..]);
    let digest = Sha256::digest([head, tail, &(bytes.len() as u64).to_be_bytes()].concat());
    digest[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn losses_and_broken_stacks_are_frames_that_can_be_seen() {
    let mut window = window();
    let frames = [frame(&module(0), 0x11), frame(&module(0), 0x21)];
    let ends = [StackEnd::Truncated, StackEnd::LeftStack, StackEnd::NoRule, StackEnd::NotReady];
    for end in ends {
        add(&mut window, &frames, end, context(7, &["checkout"]), 1);
    }
    add(&mut window, &[], StackEnd::Complete, context(7, &["checkout"]), 1);
    let losses = [Loss::RingFull, Loss::TablesFull, Loss::Unsampled, Loss::SignalBlocked, Loss::NoTimer];
    window.losses.extend(losses.map(|loss| (loss, 3)));
    let sent = Sent::of(&batch(&window));
    let outermost = |sample: &&Sample| (*sent.names(sample).last().unwrap(), sample.link_index != 0);
    let mut seen: Vec<_> = sent.samples().iter().map(outermost).collect();
    seen.sort_unstable();
    let mut expected = vec![
        ("[no stack]", true),
        ("[truncated: left the thread's stack]", true),
        ("[truncated: no unwind rule]", true),
        ("[truncated: stack deeper than 2 frames]", true),
        ("[truncated: unwind tables not ready]", true),
    ];
    expected.extend(losses.map(|loss| (loss.frame_name(), false)));
    expected.sort_unstable();
    assert_eq!(seen, expected);
    assert_eq!(sent.total(), 20);
}

#[test]
fn notes_are_an_attribute_of_the_profile() {
    let mut noted = Profile::clone(&profile(&shop()));
    noted.add_note("no lines: debug information over its memory budget");
    noted.add_note("kernel time is missing");
    noted.add_note("kernel time is missing");
    let noted = Arc::new(noted);
    for profiles in [vec![Arc::clone(&noted)], vec![profile(&shop()), noted]] {
        let batch = ProfileBatch::new(resource(), profiles);
        assert_conforms(&batch.to_otlp());
        let sent = Sent::of(&batch);
        let attributes = sent.attributes(&sent.profiles().last().unwrap().attribute_indices);
        let [("pprof.profile.comment", value)] = &attributes[..] else { unreachable!("{attributes:?}") };
        let notes = ["no lines: debug information over its memory budget", "kernel time is missing"];
        let positions = notes.map(|note| value.find(note).unwrap());
        assert!(value.starts_with("ArrayValue") && positions[0] < positions[1], "{value}");
        assert_eq!(value.matches("kernel").count(), 1);
    }
}

/// `PROFCHECK_BIN` names the checker of the OpenTelemetry project.
#[test]
fn profcheck_accepts_what_is_sent() {
    let Some(profcheck) = std::env::var_os("PROFCHECK_BIN") else {
        skipped("profcheck_accepts_what_is_sent", "PROFCHECK_BIN does not name profcheck");
        return;
    };
    let mut noted = Profile::clone(&profile(&shop()));
    noted.add_note("kernel time is missing");
    let batches = [
        batch(&shop()),
        ProfileBatch::new(resource(), vec![profile(&shop()), Arc::new(noted)]),
        batch(&real_window()),
    ];
    let folder = tempfile::tempdir().unwrap();
    for batch in batches {
        let file = folder.path().join("profiles.otlp");
        std::fs::write(&file, batch.to_otlp()).unwrap();
        let checks = ["-check-dupes", "-check-sample-shapes", "-check-orphans"];
        let output = Command::new(&profcheck).args(checks).arg(&file).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Stacks of real functions of this program.
fn real_window() -> Window {
    let mut window = window();
    let (leaf, middle, outer) = (in_function(leaf), in_function(middle), in_function(outer));
    let checkout = context(7, &["checkout", "parse"]);
    add(&mut window, &[leaf, middle.clone(), outer.clone()], StackEnd::Complete, checkout, 60);
    add(&mut window, &[middle, outer], StackEnd::Complete, context(0, &["idle"]), 40);
    window
}

#[inline(never)]
fn leaf() {
    std::hint::black_box(1);
}

#[inline(never)]
fn middle() {
    std::hint::black_box(2);
}

#[inline(never)]
fn outer() {
    std::hint::black_box(3);
}

#[test]
fn real_addresses_get_their_functions_and_build_id() {
    let profile = Profile::from_window(&real_window(), &mut Program::new(), SpanScope::LocalRoot);
    let batch = ProfileBatch::new(resource(), vec![Arc::new(profile)]);
    assert_conforms(&batch.to_otlp());
    let sent = Sent::of(&batch);
    let stacks: Vec<_> = sent.samples().iter().map(|sample| sent.names(sample)).collect();
    let names = ["emit_contract::leaf", "emit_contract::middle", "emit_contract::outer"];
    assert!(stacks.contains(&names.to_vec()) && stacks.contains(&names[1..].to_vec()), "{stacks:?}");
    let mapping = &sent.dictionary.mapping_table[1];
    for location in sent.dictionary.location_table.iter().skip(1) {
        assert!((mapping.memory_start..mapping.memory_limit).contains(&location.address));
        assert_eq!(sent.attributes(&location.attribute_indices)[0].1, "rust");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_was_sampled_obeys_the_rules_and_keeps_its_total(
        windows in proptest::collection::vec(any_window(), 1..4),
        scope in prop_oneof![Just(SpanScope::LocalRoot), Just(SpanScope::Span)],
    ) {
        let mut symbolizer = Fake::default();
        let profiles = windows.iter().map(|w| Arc::new(Profile::from_window(w, &mut symbolizer, scope))).collect();
        let batch = ProfileBatch::new(resource(), profiles);
        let total: u64 = windows.iter().map(weight).sum();
        prop_assert_eq!(batch.is_empty(), total == 0);
        if total == 0 {
            return Ok(());
        }
        let bytes = batch.to_otlp();
        prop_assert_eq!(&decode(&bytes).encode_to_vec(), &bytes);
        let sent = Sent::of(&batch);
        prop_assert_eq!(sent.total(), total as i64);
        for sample in sent.samples() {
            prop_assert!(sample.values[0] > 0 && sample.stack_index != 0);
            let keys: Vec<_> = sent.attributes(&sample.attribute_indices).iter().map(|(key, _)| *key).collect();
            prop_assert!(keys.is_empty() || keys == ["span_name"]);
        }
        for profile in sent.profiles() {
            prop_assert!(profile.period > 0);
            prop_assert_eq!(profile.time_unix_nano, START);
        }
    }

    #[test]
    fn parts_add_up_to_the_whole(window in any_window(), max_samples in 1usize..10, max_bytes in 500usize..9000) {
        let whole = batch(&window);
        let mut total = 0;
        for part in whole.split(max_samples, max_bytes) {
            if part.is_empty() {
                continue;
            }
            let bytes = part.to_otlp();
                let sent = Sent::of(&part);
            let samples = sent.samples().len();
            let pprof = uncompressed_pprof(&part);
            let fits = samples <= max_samples && bytes.len().max(pprof) <= max_bytes;
            prop_assert!(fits || samples == 1, "{} samples, {} and {} bytes", samples, bytes.len(), pprof);
            total += sent.total();
        }
        prop_assert_eq!(total, weight(&window) as i64);
    }
}

#[test]
fn a_jump_through_a_null_pointer_can_be_seen() {
    for module in [None, Some(module(0))] {
        let mut window = window();
        let null = profile_core::collector::Frame { module, address: 0 };
        add(&mut window, &[null], StackEnd::NoRule, context(7, &["checkout"]), 1);
        let sent = Sent::of(&batch(&window));
        assert_eq!(sent.names(sent.samples()[0]), ["[address 0]", "[truncated: no unwind rule]"]);
        assert_conforms(&batch(&window).to_otlp());
    }
}

#[test]
fn outside_of_every_span_there_is_no_attribute() {
    let mut window = window();
    add(&mut window, &[frame(&module(0), 0x11)], StackEnd::Complete, Default::default(), 1);
    let sent = Sent::of(&batch(&window));
    assert!(sent.samples()[0].attribute_indices.is_empty() && sent.samples()[0].link_index == 0);
}
