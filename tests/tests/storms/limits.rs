//! The system refuses timers.

use crate::harness::{self, PATIENCE, Watched, length, pass};
use crate::os;
use crate::work::{beside_busy_threads, until};
use profile_tests::clock::process_cpu;
use std::time::Duration;

/// At `RLIMIT_SIGPENDING` the kernel makes no more timers. The threads that are refused one share that of the process, which
/// was reserved in time: they are sampled, and what their clocks say is accounted for. The profiler says so, and takes
/// timers when there are some again.
pub(crate) fn pending_signals() {
    let (soft, hard) = os::pending_limit();
    let watched = Watched::start_with(|builder| builder.with_window(Duration::from_secs(60)));
    // The limit counts what all processes of the user have; with none left, no thread that is new gets a timer.
    os::set_pending_limit(0, hard);
    let busy = || {
        watched.profiler.collect(PATIENCE).unwrap();
        harness::total(&watched.rows(), |row| !row.is_loss && row.span == "busy")
    };
    beside_busy_threads(4, || {
        until("four threads are refused", || watched.profiler.status().threads_without_timer >= 4);
        let (seen, cpu) = (busy(), process_cpu().unwrap());
        pass(length() * 2);
        let status = watched.profiler.status();
        let (seen, cpu) = (busy() - seen, process_cpu().unwrap() - cpu);
        println!("{status}; of {cpu:.2?} of CPU {seen:.2?} in samples of threads without a timer");
        assert!(status.threads_without_timer >= 4, "{status}");
        let says = |problem: &String| problem.contains("timers") && problem.contains("share one");
        assert!(status.problems.iter().any(says), "{status}");
        // The rest is the profiler's own, which has timers.
        assert!(seen > cpu / 3, "{seen:?} of {cpu:?}");
        os::set_pending_limit(soft, hard);
        until("all threads have timers", || watched.profiler.status().threads_without_timer == 0);
        assert_eq!(watched.profiler.status().problems, Vec::<String>::new());
        pass(length() / 2);
    });
    watched.finish().check(0.7);
}
