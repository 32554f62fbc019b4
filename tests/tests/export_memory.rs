//! What waits for a destination takes no more memory than the queue's bound: counted by the allocator of this program,
//! of which this is the only test.
#![allow(unexpected_cfgs)] // In a file of another crate, about that crate's features.
#![allow(unreachable_pub)]
#![allow(unsafe_code)] // The allocator.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)] // In helpers too, which clippy does not take for tests.

#[path = "../../profile-core/tests/export_support/mod.rs"]
mod export_support;

use export_support::{PATIENCE, account, processor, wait_until};
use profile_core::collector::{
    ContextIndex, Frame, SampleContext, Stack, StackEnd, StackIndex, Window, WindowSample,
};
use profile_core::context::{SpanId, SpanPath, TraceFlags, TraceId};
use profile_core::export::{
    ExportError, ExportReceipt, OtlpGrpcExporter, OtlpHttpExporter, OtlpSettings, ProfileExporter,
    ProfileProcessor,
};
use profile_core::modules::{BuildId, Module, ModuleId};
use profile_core::profile::{Profile, ProfileBatch, SpanScope};
use profile_core::stats::Stats;
use profile_core::symbolize::{SourceFrame, SymbolSource, Symbolizer};
use std::alloc::{GlobalAlloc, Layout, System};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// The system's allocator; beside it, a number is kept: what all blocks in use take of its memory.
struct Counting;

static USED: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What the C library has given, which is often more than was asked for, and the head in front of it.
fn size(block: *mut u8) -> usize {
    // SAFETY: the block is one that the C library has given and that is not freed yet; it is not written to.
    if block.is_null() { 0 } else { unsafe { libc::malloc_usable_size(block.cast()) + 8 } }
}

// SAFETY: all of it is the system's allocator; beside it, a number is kept.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        let block = unsafe { System.alloc(layout) };
        USED.fetch_add(size(block), Ordering::Relaxed);
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        USED.fetch_sub(size(block), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

fn used() -> usize {
    USED.load(Ordering::Relaxed)
}

/// Names as long as those of a Rust program.
struct Names(Vec<SourceFrame>);

impl Symbolizer for Names {
    fn symbolize(&mut self, _: &Arc<Module>, address: u64) -> &[SourceFrame] {
        let (function, line) = (address / 64 % 4096, address % 64);
        self.0 = vec![SourceFrame {
            function: format!("shop::orders::handlers::Handler<T>::process_item_{function}::{{closure}}")
                .into(),
            system_name: Some(
                format!("_ZN4shop6orders8handlers16Handler{function}17h0123456789abcdefE").into(),
            ),
            file: Some(format!("/build/shop/src/orders/handlers/module_{}.rs", function / 16).into()),
            line: line as u32,
            column: 9,
            start_line: 0,
        }];
        &self.0
    }

    fn source(&self, _: &Module) -> SymbolSource {
        SymbolSource::Dwarf
    }
}

fn module() -> Arc<Module> {
    Arc::new(Module {
        id: ModuleId(1),
        path: "/usr/local/bin/shop".into(),
        build_id: Some(BuildId(vec![7; 20].into())),
        bias: 0,
        text: 0..1 << 40,
        text_file_offset: 0,
        segments: Vec::new(),
        eh_frame_hdr: None,
    })
}

/// The profile of window `number`, with so many stacks, 10 to 50 frames deep, in a span for every four of them.
fn profile(number: u64, stacks: u32) -> Arc<Profile> {
    let module = module();
    let stack = |index: u32| {
        let depth = 10 + index % 41;
        // The outer frames are those of other stacks, as in a program; the inner ones are its own.
        let address =
            |level: u32| if level < depth / 2 { level * 64 + index % 7 } else { level * 64 + index };
        let frame =
            |level| Frame { module: Some(Arc::clone(&module)), address: 0x1000 + u64::from(address(level)) };
        Stack { frames: (0..depth).rev().map(frame).collect(), end: StackEnd::Complete }
    };
    let span = SpanPath::NONE.child("checkout");
    let context = |index: u32| SampleContext {
        trace_id: TraceId::from_bytes(((u128::from(number) << 64) + u128::from(index) + 1).to_be_bytes()),
        flags: TraceFlags::SAMPLED,
        span_id: SpanId::from_u64(u64::from(index) + 1),
        span,
        root_id: SpanId::from_u64(u64::from(index) + 1),
        root: span,
        ..SampleContext::default()
    };
    let sample =
        |index| WindowSample { stack: StackIndex(index), context: ContextIndex(index / 4), weight: 1 };
    let window = Window {
        start_unix_nanos: 1_700_000_000_000_000_000 + number * 10_000_000_000,
        duration: Duration::from_secs(10),
        period_nanos: 10_101_010,
        stacks: (0..stacks).map(stack).collect(),
        contexts: (0..=stacks / 4).map(context).collect(),
        samples: (0..stacks).map(sample).collect(),
        losses: Vec::new(),
    };
    Arc::new(Profile::from_window(&window, &mut Names(Vec::new()), SpanScope::LocalRoot))
}

/// An exporter that takes nothing until it is let go.
struct Hanging {
    began: Sender<()>,
    leave: Receiver<()>,
}

impl ProfileExporter for Hanging {
    fn name(&self) -> &str {
        "hanging"
    }

    fn export(&mut self, _: &ProfileBatch, _: Instant) -> Result<ExportReceipt, ExportError> {
        self.began.send(()).ok();
        self.leave.recv().ok();
        Ok(ExportReceipt::default())
    }
}

/// What the profile takes by itself is what it is counted as.
fn an_estimate_is_what_a_profile_takes() {
    for stacks in [1, 10, 100, 1000, 10_000] {
        let before = used();
        let profile = profile(1, stacks);
        let taken = used() - before;
        let ratio = profile.estimated_bytes() as f64 / taken as f64;
        println!("{stacks} stacks: {taken} bytes, estimate/heap {ratio:.3}");
        assert!((0.9..1.1).contains(&ratio), "{stacks} stacks: {taken} bytes, {ratio} of them counted");
    }
}

fn what_waits_stays_within_the_bound(stacks: u32, bound: usize) {
    let (began, has_begun) = channel();
    let (leave, until) = channel();
    let stats = Stats::new();
    let one = profile(0, stacks).estimated_bytes();
    let count = 3 * (bound / one) as u64;
    let before = used();
    let processor = processor(&stats).with_max_queue_size(usize::MAX).with_max_queue_bytes(bound);
    let processor = processor.with_exporter(Hanging { began, leave: until }).build().unwrap();
    processor.on_profile(profile(0, stacks));
    has_begun.recv().unwrap();
    let mut most = 0;
    for number in 1..=count {
        processor.on_profile(profile(number, stacks));
        most = most.max(used() - before);
    }
    let under_way = one;
    println!("bound {bound}, profiles of {one}: {count} pushed, at most {most} in use");
    // A twentieth, and some kilobytes for thread, queue and counters.
    assert!(most <= bound + under_way + bound / 20 + (64 << 10), "{most} bytes wait; the bound is {bound}");
    assert!(most + one + bound / 20 > bound, "the bound is used: {most} of {bound}");
    let account = account(&stats, 0);
    assert!(account.dropped.queue_full >= count / 2, "{account:?}");
    drop(leave);
    processor.shutdown(PATIENCE).unwrap();
    drop(processor);
    wait_until("the end of the thread", || used() < before + (64 << 10));
}

/// A destination for each way to be dead, over each transport.
fn dead_destinations(hanging: u16, nobody: u16) -> Vec<Box<dyn ProfileExporter>> {
    let urls = [hanging, nobody].map(|port| format!("http://127.0.0.1:{port}"));
    let http = |url: &String| {
        let builder = OtlpHttpExporter::builder().with_settings(OtlpSettings::default());
        Box::new(builder.with_endpoint(url).with_timeout(PATIENCE).build().unwrap())
            as Box<dyn ProfileExporter>
    };
    let grpc = |url: &String| {
        let builder = OtlpGrpcExporter::builder().with_settings(OtlpSettings::default());
        Box::new(builder.with_endpoint(url).with_timeout(PATIENCE).build().unwrap())
            as Box<dyn ProfileExporter>
    };
    urls.iter().map(http).chain(urls.iter().map(grpc)).collect()
}

/// Thousands of profiles for destinations that take none: after the queues are full, memory stays as it is.
fn memory_is_flat_while_destinations_are_dead() {
    const PROFILES: usize = 4000;
    // The system accepts connections for it, and nobody reads what comes over them.
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    // A port that belongs to the near end of a connection: nobody listens there.
    let connection = TcpStream::connect(hanging.local_addr().unwrap()).unwrap();
    let nobody = connection.local_addr().unwrap().port();
    let stats = Stats::new();
    // A copy of its own for each window, without the time it takes to build one.
    let copies: Vec<_> = (0..8).map(|number| profile(number, 100 + 20 * number as u32)).collect();
    let copy = |number: usize| Arc::new(Profile::clone(&copies[number % copies.len()]));
    let before = used();
    let exporters = dead_destinations(hanging.local_addr().unwrap().port(), nobody);
    let processor = processor(&stats).with_exporters(exporters).build().unwrap();
    let (mut early, mut late) = (0, 0);
    for number in 0..PROFILES {
        processor.on_profile(copy(number));
        let most = if number < PROFILES / 4 { &mut early } else { &mut late };
        *most = (used() - before).max(*most);
    }
    println!(
        "{PROFILES} profiles to dead destinations: {early} bytes at most in the first quarter, {late} after"
    );
    assert!(late < early + early / 10, "{early} bytes, then {late}");
    let stats = stats.snapshot();
    for account in &stats.exporters {
        assert_eq!((account.given, account.exported), (PROFILES as u64, 0), "{account:?}");
        assert!(account.waiting() <= 65, "the queue and a batch: {account:?}");
    }
    let start = Instant::now();
    processor.shutdown(Duration::from_millis(300)).unwrap_err();
    assert!(start.elapsed() < PATIENCE / 2);
    drop(processor);
    wait_until("the end of the threads", || used() < before + (512 << 10));
}

#[test]
fn what_waits_takes_no_more_memory_than_the_bound() {
    an_estimate_is_what_a_profile_takes();
    for (stacks, bound) in [(30, 256 << 10), (300, 2 << 20), (1500, 8 << 20)] {
        what_waits_stays_within_the_bound(stacks, bound);
    }
    memory_is_flat_while_destinations_are_dead();
}
