//! Regions and labels while nobody samples: no span is made, no value is evaluated, and functions do what they say. What
//! samples say of them is tested against real ones in `tests/tests/regions.rs`.

use std::cell::Cell;
use std::panic::{self, Location};

use profile_layer::profiled;

use crate::recorder::{Noisy, record, say};

thread_local!(static EVALUATED: Cell<u32> = const { Cell::new(0) });

fn evaluated() -> u32 {
    EVALUATED.set(EVALUATED.get() + 1);
    EVALUATED.get()
}

#[profiled(span = false, labels(count = evaluated()))]
#[track_caller]
fn region(early: bool) -> &'static Location<'static> {
    if early {
        return Location::caller();
    }
    Location::caller()
}

#[profiled(labels(count = evaluated()))]
fn labelled() {
    say("in it");
}

#[profiled(span = false, labels(count = evaluated()))]
async fn later(value: u32) -> u32 {
    let _noisy = Noisy("dropped");
    tokio::task::yield_now().await;
    value
}

#[profiled(span = false)]
fn throws(value: u32) -> ! {
    panic::resume_unwind(Box::new(value))
}

struct Hasher;

#[profiled(span = false)]
impl Hasher {
    fn region(&self) {}

    #[profiled(span = true)]
    fn span(&self) {}
}

#[test]
fn a_region_is_no_span() {
    let (_, log) = record(|| {
        assert_eq!((region(true).line(), region(false).line()), (line!(), line!()));
        assert_eq!(block_on(later(3)), 3);
        assert_eq!(panic::catch_unwind(|| throws(4)).unwrap_err().downcast_ref(), Some(&4_u32));
        Hasher.region();
    });
    assert_eq!((log.names(), log.steps()), (vec![], vec!["dropped".to_owned()]));
}

#[test]
fn among_regions_a_span_can_be_asked_for() {
    let (_, log) = record(|| Hasher.span());
    assert_eq!(log.names(), ["Hasher::span"]);
}

#[test]
fn labels_go_with_a_span_and_are_evaluated_for_samples_only() {
    let (_, log) = record(labelled);
    let steps = ["enter labelled", "in it in labelled", "exit labelled", "close labelled"];
    assert_eq!((log.steps(), EVALUATED.get()), (steps.map(str::to_owned).into(), 0));
}

#[test]
fn a_future_that_waits_is_dropped_with_what_it_holds() {
    let (_, log) = record(|| {
        let mut future = Box::pin(later(1));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(future.as_mut().poll(&mut context).is_pending());
        say("waits");
    });
    assert_eq!(log.steps(), ["waits", "dropped"]);
}

/// What a future is may not change: it is as `Send` as its body.
#[test]
fn futures_stay_send() {
    fn send<T: Send>(_: T) {}
    send(later(1));
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}
