//! Windows to encode: of real addresses in this test program, and random ones.

use object::{Object, ObjectSection, ObjectSegment, ObjectSymbol, SymbolMap, SymbolMapName};
use profile_core::collector::{
    ContextIndex, Frame, Loss, SampleContext, Stack, StackEnd, StackIndex, Window, WindowSample,
};
use profile_core::context::{SpanId, SpanPath, TraceFlags, TraceId};
use profile_core::modules::{BuildId, Module, ModuleId, Segment};
use profile_core::profile::{Profile, ProfileBatch, SpanScope};
use profile_core::resource::{Resource, Value};
use profile_core::symbolize::{SourceFrame, SymbolSource, Symbolizer};
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

pub const START: u64 = 1_790_000_000_000_000_000;
pub const PERIOD: u64 = 10_101_010;

/// A window of ten seconds without samples.
pub fn window() -> Window {
    Window {
        start_unix_nanos: START,
        duration: Duration::from_secs(10),
        period_nanos: PERIOD,
        stacks: Vec::new(),
        contexts: vec![SampleContext::default()],
        samples: Vec::new(),
        losses: Vec::new(),
    }
}

/// Adds a sample; leaf first.
pub fn add(window: &mut Window, frames: &[Frame], end: StackEnd, context: SampleContext, weight: u64) {
    window.stacks.push(Stack { frames: frames.into(), end });
    window.contexts.push(context);
    let stack = StackIndex(window.stacks.len() as u32 - 1);
    let context = ContextIndex(window.contexts.len() as u32 - 1);
    window.samples.push(WindowSample { stack, context, weight });
}

/// A span `names[n]` below ... below the local root `names[0]`; ids from `seed`, or none for seed 0.
pub fn context(seed: u64, names: &[&'static str]) -> SampleContext {
    let path = |names: &[&'static str]| names.iter().fold(SpanPath::NONE, |path, name| path.child(name));
    let span = |n: u64| if seed == 0 { SpanId::default() } else { SpanId::from_u64(seed << 8 | n) };
    let mut trace = [0; 16];
    trace[8..].copy_from_slice(&seed.to_be_bytes());
    SampleContext {
        trace_id: TraceId::from_bytes(trace),
        flags: TraceFlags::SAMPLED,
        span_id: span(names.len() as u64),
        span: path(names),
        root_id: span(1),
        root: path(&names[..1]),
        ..SampleContext::default()
    }
}

pub fn resource() -> Arc<Resource> {
    let mut resource = Resource::empty();
    resource.set("service.name", Value::String("shop".into()));
    resource.set("process.pid", Value::Int(42));
    Arc::new(resource)
}

pub fn profile(window: &Window) -> Arc<Profile> {
    Arc::new(Profile::from_window(window, &mut Fake::default(), SpanScope::LocalRoot))
}

/// A batch of one window.
pub fn batch(window: &Window) -> ProfileBatch {
    ProfileBatch::new(resource(), vec![profile(window)])
}

/// A module that is not there, with a build id.
pub fn module(id: u32) -> Arc<Module> {
    let start = 0x1000_0000 * u64::from(id + 1);
    Arc::new(Module {
        id: ModuleId(id),
        path: format!("/lib/module{id}.so").into(),
        build_id: Some(BuildId(vec![id as u8; 20].into())),
        bias: start,
        text: start..start + 0x1000,
        text_file_offset: 0x400,
        segments: Vec::new(),
        eh_frame_hdr: None,
    })
}

pub fn frame(module: &Arc<Module>, offset: u64) -> Frame {
    Frame { module: Some(Arc::clone(module)), address: module.text.start + offset }
}

/// Names addresses by a rule: each 16 bytes are a function of their own, offsets whose last digit is 0 have no name,
/// 8 and above lie in a function that is inlined into it. Modules of odd number have no debug information.
#[derive(Default)]
pub struct Fake(HashMap<(ModuleId, u64), Vec<SourceFrame>>);

impl Fake {
    /// The number that `module()` made the module from.
    fn number(module: &Module) -> u64 {
        (module.text.start / 0x1000_0000).saturating_sub(1)
    }

    fn frames(module: &Module, address: u64) -> Vec<SourceFrame> {
        let number = Self::number(module);
        let has_lines = number.is_multiple_of(2);
        let offset = address - module.text.start;
        let (function, low) = (offset / 16, offset % 16);
        let frame = |name: String, line: u32| SourceFrame {
            system_name: Some(match number {
                0 => format!("_ZN4shop{}{name}17h0123456789abcdefE", name.len()).into(),
                1 => format!("_RNvC4shop{}{name}", name.len()).into(),
                _ => name.clone().into(),
            }),
            function: name.into(),
            file: has_lines.then(|| "src/shop.rs".into()),
            line: if has_lines { line } else { 0 },
            column: 0,
            start_line: 0,
        };
        let outer = frame(format!("m{number}f{function}"), 10 + low as u32);
        match low {
            0 => Vec::new(),
            8.. if has_lines => vec![frame(format!("inline{function}"), low as u32), outer],
            _ => vec![outer],
        }
    }
}

impl Symbolizer for Fake {
    fn symbolize(&mut self, module: &Arc<Module>, address: u64) -> &[SourceFrame] {
        self.0.entry((module.id, address)).or_insert_with(|| Self::frames(module, address))
    }

    fn source(&self, module: &Module) -> SymbolSource {
        if Self::number(module).is_multiple_of(2) { SymbolSource::Dwarf } else { SymbolSource::SymbolTable }
    }
}

/// This program as a module, read from the memory map and the file.
pub static PROGRAM: LazyLock<Arc<Module>> = LazyLock::new(|| {
    let path = std::env::current_exe().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let file = object::File::parse(&bytes[..]).unwrap();
    let build_id = file.build_id().unwrap().map(|id| BuildId(id.into()));
    let code = file.section_by_name(".text").unwrap().address();
    let holds = |s: &object::Segment<'_, '_>| (s.address()..s.address() + s.size()).contains(&code);
    let text = file.segments().find(holds).unwrap();
    let first = file.segments().next().unwrap();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| line.ends_with(path.to_str().unwrap())).unwrap();
    let lowest = u64::from_str_radix(line.split('-').next().unwrap(), 16).unwrap();
    let bias = lowest - first.address() / 4096 * 4096;
    let range = bias + text.address()..bias + text.address() + text.size();
    let text_file_offset = text.file_range().0;
    Arc::new(Module {
        id: ModuleId(1000),
        path: path.to_str().unwrap().into(),
        build_id,
        bias,
        text: range.clone(),
        text_file_offset,
        segments: vec![Segment { range, file_offset: text_file_offset, executable: true }],
        eh_frame_hdr: None,
    })
});

/// Names the functions of this program by its symbol table.
pub struct Program {
    symbols: SymbolMap<SymbolMapName<'static>>,
    known: HashMap<u64, Vec<SourceFrame>>,
}

impl Program {
    pub fn new() -> Self {
        let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap().leak();
        let file: object::File<'static> = object::File::parse(&*bytes).unwrap();
        let symbols = file.symbols().filter(|symbol| symbol.kind() == object::SymbolKind::Text);
        let names =
            symbols.map(|symbol| SymbolMapName::new(symbol.address(), symbol.size(), symbol.name().unwrap()));
        Self { symbols: SymbolMap::new(names.collect()), known: HashMap::new() }
    }
}

impl Symbolizer for Program {
    fn symbolize(&mut self, module: &Arc<Module>, address: u64) -> &[SourceFrame] {
        let symbols = &self.symbols;
        self.known.entry(address).or_insert_with(|| {
            let symbol = symbols.containing(address - module.bias);
            let name = |symbol: &SymbolMapName<'_>| SourceFrame {
                function: format!("{:#}", rustc_demangle::demangle(symbol.name())).into(),
                system_name: Some(symbol.name().into()),
                ..SourceFrame::default()
            };
            symbol.map(name).into_iter().collect()
        })
    }

    fn source(&self, _: &Module) -> SymbolSource {
        SymbolSource::SymbolTable
    }
}

/// A frame inside of a function of this program.
pub fn in_function(function: fn()) -> Frame {
    let address = function as usize as u64 + 1;
    assert!(PROGRAM.text.contains(&address), "{address:#x} in {:#x?}", PROGRAM.text);
    Frame { module: Some(Arc::clone(&PROGRAM)), address }
}

/// Windows with everything that can be in one, in every combination, some of it not as it should be: equal stacks
/// and contexts twice, weight 0, ids missing, traces not sampled, indices of nothing, addresses in no module.
pub fn any_window() -> impl Strategy<Value = Window> {
    let stacks = proptest::collection::vec(any_stack(), 0..12);
    let contexts = proptest::collection::vec(any_context(), 0..8);
    let samples = proptest::collection::vec((0u32..14, 0u32..10, 0u64..20), 0..40);
    let losses = proptest::collection::vec((any_loss(), 0u64..5), 0..6);
    (stacks, contexts, samples, losses).prop_map(|(stacks, contexts, samples, losses)| Window {
        stacks,
        contexts,
        samples: samples
            .into_iter()
            .map(|(stack, context, weight)| WindowSample {
                stack: StackIndex(stack),
                context: ContextIndex(context),
                weight,
            })
            .collect(),
        losses,
        ..window()
    })
}

fn any_stack() -> impl Strategy<Value = Stack> {
    let frame = (0u32..5, 0u64..40).prop_map(|(number, offset)| match number {
        4 => Frame { module: None, address: offset },
        number => frame(&module(number), offset),
    });
    let end = prop_oneof![
        4 => Just(StackEnd::Complete),
        1 => Just(StackEnd::Truncated),
        1 => Just(StackEnd::LeftStack),
        1 => Just(StackEnd::NoRule),
        1 => Just(StackEnd::NotReady),
    ];
    (proptest::collection::vec(frame, 0..6), end)
        .prop_map(|(frames, end)| Stack { frames: frames.into(), end })
}

fn any_context() -> impl Strategy<Value = SampleContext> {
    let names = prop_oneof![
        Just(&["checkout"][..]),
        Just(&["checkout", "parse"][..]),
        Just(&["checkout", "parse", "odd; name\n"][..]),
        Just(&["refund"][..]),
    ];
    (0u64..4, names, 0u8..3, any::<bool>()).prop_map(|(seed, names, flags, named)| {
        let mut context = context(seed, names);
        context.flags = TraceFlags::from_u8(flags);
        if !named {
            (context.span, context.root) = (SpanPath::NONE, SpanPath::NONE);
        }
        context
    })
}

fn any_loss() -> impl Strategy<Value = Loss> {
    prop_oneof![Just(Loss::RingFull), Just(Loss::Unsampled), Just(Loss::ShortLivedThreads)]
}

/// What a window's samples and losses weigh.
pub fn weight(window: &Window) -> u64 {
    let samples: u64 = window.samples.iter().map(|sample| sample.weight).sum();
    let losses: u64 = window.losses.iter().map(|(_, weight)| weight).sum();
    samples + losses
}
