//! Samples carry the region and the labels of the functions around them, however these are left.
//!
//! Hot functions that only one caller calls are the ground truth, as in `correlation.rs`.
#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests, outside of test functions.

use profile_layer::{Profile, Profiler, profiled};
use profile_tests::clock::burn;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tracing_subscriber::prelude::*;

const TIMEOUT: Duration = Duration::from_secs(30);
/// Longer than a test, however slow the machine.
const WINDOW: Duration = Duration::from_secs(60);
const ROUND: Duration = Duration::from_millis(4);

fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn profiler() -> Profiler {
    Profiler::builder().with_frequency(997).with_window(WINDOW).build().unwrap()
}

/// Functions that burn CPU time, each under a name of its own.
macro_rules! hot {
    ($($name:ident)+) => {
        $(#[inline(never)]
        fn $name(time: Duration) {
            black_box(burn(time).unwrap());
        })+
        const HOT: &[&str] = &[$(stringify!($name)),+];
    };
}

hot!(hot_before hot_outer hot_inner hot_labelled hot_panic hot_drop hot_after hot_a hot_b hot_inner_a hot_inner_b);

/// What a sample says beside its stack: region, span, `tenant`, `route`.
type Said = (&'static str, &'static str, Option<&'static str>, Option<&'static str>);

/// Weights by hot function and what its samples say.
fn by_function(profile: &Profile) -> BTreeMap<(&'static str, Said), u64> {
    let mut sums = BTreeMap::new();
    for sample in profile.samples() {
        let names: Vec<_> = sample.frames().filter_map(|frame| frame.function()).collect();
        let last_word = |name: &str| name.rsplit("::").next().unwrap_or_default().to_owned();
        let Some(hot) = HOT.iter().find(|hot| names.iter().any(|name| last_word(name) == **hot)) else {
            continue;
        };
        let context = sample.context();
        let labels = context.labels;
        let said = (context.region.name(), context.span.name(), labels.get("tenant"), labels.get("route"));
        *sums.entry((*hot, said)).or_default() += sample.weight();
    }
    sums
}

/// Every sample in a hot function says what is expected of it, and there are samples in each.
fn assert_all(profile: &Profile, expected: &[(&'static str, Said)]) {
    let sums = by_function(profile);
    for (hot, said) in expected {
        let right = sums.get(&(*hot, *said)).copied().unwrap_or(0);
        let all: u64 = sums.iter().filter(|((name, _), _)| name == hot).map(|(_, weight)| weight).sum();
        assert!(all >= 20, "{hot}: {all} periods in all: {sums:#?}");
        assert_eq!(right, all, "{hot}: {sums:#?}");
    }
}

struct BurnsWhenDropped;

impl Drop for BurnsWhenDropped {
    fn drop(&mut self) {
        hot_drop(ROUND);
    }
}

#[profiled(span = false, labels(tenant))]
fn outer(tenant: &str) {
    hot_outer(ROUND);
    inner();
    labelled("/x");
    let panicked = catch_unwind(AssertUnwindSafe(|| panicking(&mut 1)));
    assert!(panicked.is_err());
    hot_outer(ROUND);
}

#[profiled(span = false)]
fn inner() {
    hot_inner(ROUND);
}

#[profiled("labelled span", labels(tenant = 2, route))]
fn labelled(route: &str) {
    hot_labelled(ROUND);
}

#[profiled(span = false, labels(?route))]
fn panicking(route: &mut u8) {
    let _in_the_region = BurnsWhenDropped;
    hot_panic(ROUND);
    std::panic::resume_unwind(Box::new(*route));
}

#[test]
fn regions_and_labels_nest_and_are_left_by_unwinding_too() {
    let _turn = turn();
    let profiler = profiler();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(profiler.layer()), || {
        for _ in 0..30 {
            hot_before(ROUND);
            outer("1");
            hot_after(ROUND);
        }
    });
    let profile = profiler.collect(TIMEOUT).unwrap().unwrap();
    profiler.shutdown().unwrap();
    assert_all(
        &profile,
        &[
            ("hot_before", ("", "", None, None)),
            ("hot_outer", ("outer", "", Some("1"), None)),
            ("hot_inner", ("inner", "", Some("1"), None)),
            ("hot_labelled", ("outer", "labelled span", Some("2"), Some("/x"))),
            ("hot_panic", ("panicking", "", Some("1"), Some("1"))),
            ("hot_drop", ("panicking", "", Some("1"), Some("1"))),
            ("hot_after", ("", "", None, None)),
        ],
    );
}

#[profiled(span = false, labels(tenant = "a", route = number))]
async fn task_a(number: u32) {
    for _ in 0..4 {
        hot_a(Duration::from_micros(1500));
        tokio::task::yield_now().await;
        inner_a().await;
    }
}

#[profiled("task b", labels(tenant = "b"))]
async fn task_b() {
    for _ in 0..4 {
        hot_b(Duration::from_micros(1500));
        tokio::time::sleep(Duration::from_micros(300)).await;
        inner_b().await;
    }
}

#[profiled(span = false)]
async fn inner_a() {
    hot_inner_a(Duration::from_micros(500));
    tokio::task::yield_now().await;
    hot_inner_a(Duration::from_micros(500));
}

#[profiled(span = false, labels(route = "inner"))]
async fn inner_b() {
    hot_inner_b(Duration::from_micros(500));
    tokio::task::yield_now().await;
    hot_inner_b(Duration::from_micros(500));
}

/// Holds something that burns when the task that waits for ever is dropped.
#[profiled(span = false, labels(tenant = "dropped"))]
async fn abandoned(begun: Arc<AtomicBool>) {
    let _dropped_in_the_region = BurnsWhenDropped;
    begun.store(true, Ordering::SeqCst);
    std::future::pending::<()>().await;
}

#[test]
fn futures_set_them_for_each_poll_wherever_they_are_polled() {
    let _turn = turn();
    let profiler = profiler();
    let dispatch = tracing::Dispatch::new(tracing_subscriber::registry().with(profiler.layer()));
    tracing::dispatcher::set_global_default(dispatch).unwrap();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..200)
            .map(|number| match number % 2 {
                0 => tokio::spawn(task_a(7)),
                _ => tokio::spawn(task_b()),
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        for _ in 0..20 {
            let begun = Arc::new(AtomicBool::new(false));
            let task = tokio::spawn(abandoned(Arc::clone(&begun)));
            while !begun.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
        }
        hot_after(Duration::from_millis(60));
    });
    let profile = profiler.collect(TIMEOUT).unwrap().unwrap();
    profiler.shutdown().unwrap();
    assert_all(
        &profile,
        &[
            ("hot_a", ("task_a", "", Some("a"), Some("7"))),
            ("hot_inner_a", ("inner_a", "", Some("a"), Some("7"))),
            ("hot_b", ("", "task b", Some("b"), None)),
            ("hot_inner_b", ("inner_b", "task b", Some("b"), Some("inner"))),
            ("hot_drop", ("abandoned", "", Some("dropped"), None)),
            ("hot_after", ("", "", None, None)),
        ],
    );
}

/// Work at the very end of a thread, after its block is gone. (No span: a registry's spans do not outlive its own
/// thread-locals.)
struct AtThreadEnd;

impl Drop for AtThreadEnd {
    fn drop(&mut self) {
        at_thread_end("end");
    }
}

#[profiled(span = false, labels(tenant))]
fn at_thread_end(tenant: &str) {
    hot_inner(Duration::from_millis(tenant.len() as u64));
}

thread_local!(static AT_THREAD_END: AtThreadEnd = const { AtThreadEnd });

fn a_thread_comes_and_goes() {
    // Registered first and so destroyed last.
    let thread = std::thread::spawn(|| {
        AT_THREAD_END.with(|_| ());
        outer("1");
    });
    thread.join().unwrap();
}

#[test]
fn no_profiler_a_stopped_one_and_an_ending_thread_are_no_matter() {
    let _turn = turn();
    a_thread_comes_and_goes();
    let profiler = profiler();
    a_thread_comes_and_goes();
    profiler.shutdown().unwrap();
    a_thread_comes_and_goes();
    assert!(!profiler.status().sampling);
}
