//! A profiler's life: one in a process, clear errors, restarts, and layers that outlive it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)] // Helpers of tests, outside of test functions.

use profile_layer::{ErrorKind, Profiler};
use profile_tests::clock::burn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tracing_subscriber::prelude::*;

const TIMEOUT: Duration = Duration::from_secs(30);

/// A process has one profiler, so these tests take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_second_profiler_is_refused_and_the_first_goes_on() {
    let _turn = turn();
    let first = Profiler::builder().build().unwrap();
    let error = Profiler::builder().build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyRunning, "{error}");
    burn(Duration::from_millis(200)).unwrap();
    assert!(first.collect(TIMEOUT).unwrap().unwrap().total_weight() > 0);
    first.shutdown().unwrap();
    drop(first);
    Profiler::builder().build().expect("after a shutdown another can start").shutdown().unwrap();
}

#[test]
fn values_out_of_range_make_build_fail() {
    let _turn = turn();
    for hertz in [0, 1001, u32::MAX] {
        let error = Profiler::builder().with_frequency(hertz).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(&hertz.to_string()), "{error}");
    }
    for window in [Duration::ZERO, Duration::from_secs(61)] {
        assert_eq!(Profiler::builder().with_window(window).build().unwrap_err().kind(), ErrorKind::Config);
    }
    Profiler::builder().build().expect("a refused value leaves nothing running").shutdown().unwrap();
}

#[test]
fn stop_and_start_again_and_again() {
    let _turn = turn();
    let profiler = Profiler::builder().with_frequency(997).build().unwrap();
    for _ in 0..10 {
        profiler.collector().stop().unwrap();
        assert_eq!(profiler.collect(TIMEOUT).unwrap_err().kind(), ErrorKind::Stopped);
        profiler.collector().start().unwrap();
        burn(Duration::from_millis(20)).unwrap();
        assert!(profiler.collect(TIMEOUT).unwrap().unwrap().total_weight() > 0);
    }
    profiler.shutdown().unwrap();
    profiler.shutdown().expect("a second shutdown is a no-op");
}

#[test]
fn a_layer_outlives_its_profiler_and_does_nothing_then() {
    let _turn = turn();
    let profiler = Profiler::builder().build().unwrap();
    let subscriber = tracing_subscriber::registry().with(profiler.layer());
    tracing::subscriber::with_default(subscriber, || {
        let before = tracing::info_span!("before");
        before.in_scope(|| assert!(profile_layer::current().is_some()));
        let open = before.enter();
        profiler.shutdown().unwrap();
        tracing::info_span!(parent: None, "after").in_scope(|| {
            // The span that was open at the shutdown is still known; the new one is not followed.
            assert_eq!(profile_layer::current().map(|ids| ids.span_id), Some(open_id(&before)));
        });
        drop(open);
        assert_eq!(profile_layer::current(), None);
        std::thread::spawn(|| {
            tracing::info_span!("elsewhere").in_scope(|| burn(Duration::from_millis(5)).unwrap())
        })
        .join()
        .unwrap();
    });

    fn open_id(_: &tracing::Span) -> profile_layer::SpanId {
        profile_layer::current().unwrap().span_id
    }
}

#[test]
fn status_says_what_works() {
    let _turn = turn();
    let profiler = Profiler::builder().with_frequency(50).build().unwrap();
    burn(Duration::from_millis(300)).unwrap();
    let status = profiler.status();
    assert!(status.sampling && status.frequency == 50 && status.threads_sampled > 0, "{status}");
    assert!(status.problems.is_empty(), "{status}");
    profiler.shutdown().unwrap();
    assert!(!profiler.status().sampling);
}
