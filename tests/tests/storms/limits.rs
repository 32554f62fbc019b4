//! The system refuses timers.

use crate::harness::{Watched, length};
use crate::os;
use crate::work::{beside_busy_threads, until};
use std::thread;

/// At `RLIMIT_SIGPENDING` the kernel makes no more timers: the profiler says so, accounts for the CPU time, and takes
/// timers when there are some again.
pub(crate) fn pending_signals() {
    let (soft, hard) = os::pending_limit();
    let watched = Watched::start();
    // The limit counts what all processes of the user have; with none left, no thread that is new gets a timer.
    os::set_pending_limit(0, hard);
    beside_busy_threads(4, || {
        thread::sleep(length());
        let status = watched.profiler.status();
        println!("{status}");
        assert!(status.threads_without_timer >= 4, "{status}");
        assert!(status.problems.iter().any(|problem| problem.contains("timers")), "{status}");
        os::set_pending_limit(soft, hard);
        until("all threads have timers", || watched.profiler.status().threads_without_timer == 0);
        assert_eq!(watched.profiler.status().problems, Vec::<String>::new());
        thread::sleep(length() / 2);
    });
    let figures = watched.finish();
    figures.check(0.1);
    assert!(figures.lost("[unsampled: no timer]") > figures.cpu / 4);
}
