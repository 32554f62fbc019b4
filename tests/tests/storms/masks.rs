//! Threads that block SIGPROF.

use crate::harness::{Watched, length};
use crate::os;
use crate::work::{beside_busy_threads, spin};
use profile_tests::clock::burn;
use std::thread;
use std::time::{Duration, Instant};

const BLOCKED: &str = "[unsampled: SIGPROF blocked]";

/// One thread blocks it for all its life, the other does not.
pub(crate) fn blocked() {
    let watched = Watched::start();
    let used = beside_busy_threads(1, || {
        let thread = thread::spawn(|| {
            let _span = tracing::info_span!("blocked").entered();
            os::block_sigprof(true);
            burn(length())
        });
        thread.join().unwrap().unwrap()
    });
    let figures = watched.finish();
    figures.check(0.2);
    let said = figures.lost(BLOCKED);
    println!("{used:?} with SIGPROF blocked, {said:?} exported as that");
    // What the thread did between the last look at it and its end has no known reason.
    let unsaid = used.saturating_sub(said);
    assert!(
        unsaid < used / 10 + Duration::from_millis(300) && said < used.mul_f64(1.02),
        "{said:?} of {used:?}"
    );
}

/// It is blocked for a while, then not: what was exported as blocked does not come a second time when the pending signal
/// arrives with all that it missed.
pub(crate) fn now_and_then() {
    let watched = Watched::start();
    let over = Instant::now() + length().max(Duration::from_secs(3));
    let mut blocked = Duration::ZERO;
    {
        let _span = tracing::info_span!("now and then").entered();
        while Instant::now() < over {
            os::block_sigprof(true);
            blocked += burn(Duration::from_millis(700)).unwrap();
            os::block_sigprof(false);
            let end = Instant::now() + Duration::from_millis(300);
            while Instant::now() < end {
                spin(10_000);
            }
        }
    }
    let figures = watched.finish();
    figures.check(0.1);
    let said = figures.lost(BLOCKED);
    println!("{blocked:?} with SIGPROF blocked, {said:?} exported as that");
    assert!(said > blocked / 3 && said < blocked.mul_f64(1.05), "{said:?} of {blocked:?}");
}
