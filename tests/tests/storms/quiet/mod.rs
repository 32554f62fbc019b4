//! The proof that the signal handler allocates nothing, and makes no system call but those that it is known for.
//!
//! A handler of the test's is installed after the profiler's and calls it, so that the profiler needs no hook. Around the
//! call the [allocator] ends the process if it is asked for anything, and the kernel [refuses](calls) every system call that
//! is not on a list. A lock that is contended, or a lazily initialised thread-local variable, shows up as one of the two.
//!
//! On the list is nothing for timers; for events, that the thread's own clock is read and the next point set; for threads that
//! were refused a timer, the question who they are.

mod allocator;
mod calls;
mod wrapper;

use crate::harness::{self, Ended, Figures, Watched, length, pass};
use crate::os;
use crate::perf;
use crate::work::{beside, dive_and_allocate, until};
pub(crate) use allocator::Quiet;
use calls::Call;
use profile_layer::{Engine, Profiler, ProfilerBuilder, profiled};
use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use wrapper::{Counts, Misdeed};

/// Set in a child: what its handler does wrong.
const MISDEED: &str = "PROFILE_STORM_MISDEED";
const MISDEEDS: [(&str, Misdeed); 3] =
    [("allocates", Misdeed::Allocates), ("frees", Misdeed::Frees), ("calls", Misdeed::Calls)];
/// How many signals there must be on threads at work. At some ticks of the kernel others run.
const ENOUGH: u64 = 100;

/// A profiler whose handler is wrapped.
struct Proof {
    watched: Watched,
    can_refuse: bool,
}

/// What a proof comes to.
struct Proven {
    figures: Figures,
    counts: Counts,
    /// How often each call on the list was made.
    made: Vec<u64>,
    can_refuse: bool,
}

impl Proof {
    fn start(
        permitted: &'static [Call],
        settings: impl FnOnce(ProfilerBuilder<Profiler>) -> ProfilerBuilder<Profiler>,
    ) -> Self {
        let can_refuse = calls::permit(permitted);
        let watched = Watched::start_with(settings);
        wrapper::install();
        Self { watched, can_refuse }
    }

    /// Has four threads work until there have been enough signals on them.
    fn work(&self, during: impl FnOnce()) {
        beside(4, work, || {
            during();
            pass(length());
            until("the working threads get signals", || wrapper::counts().at_work >= ENOUGH);
        });
    }

    fn finish(self, test: &str) -> Proven {
        let Self { watched, can_refuse } = self;
        let (counts, made) = (wrapper::counts(), calls::made());
        let figures = watched.finish();
        println!("{counts:?}; calls made: {made:?}; {figures}");
        if can_refuse {
            // A thread may get a signal between the first two steps of its work.
            assert!(counts.refusing + 8 >= counts.at_work, "{counts:?}");
        } else {
            profile_tests::skip::skip(
                &format!("{test}: the part with system calls"),
                "the kernel has no PR_SET_SYSCALL_USER_DISPATCH",
            );
        }
        assert!(counts.at_work >= ENOUGH, "{counts:?}");
        Proven { figures, counts, made, can_refuse }
    }
}

/// What threads do: everything that a handler can come upon, in a span, a region and under a label.
fn work() {
    thread_local! {
        static HAS_STACK: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    }
    if !HAS_STACK.replace(true) {
        // With more room than threads usually have: a handler's handler needs some too.
        os::signal_stack(64 << 10);
    }
    wrapper::at_work();
    in_scope(7);
}

#[profiled(span = false, labels(kind))]
fn in_scope(kind: u32) {
    dive_and_allocate();
}

/// A timer for each thread: no system call at all. The samples are of every kind that there is: taken before the unwind tables
/// are ready, in a span and a region and under labels, on a stack of their own for signals and on the thread's.
pub(crate) fn timers() {
    if let Ok(wanted) = std::env::var(MISDEED) {
        let misdeed = MISDEEDS.iter().find(|(name, _)| *name == wanted).unwrap().1;
        misdeed.on_every_signal();
    }
    let proof = Proof::start(&[], |builder| builder);
    let thread = os::on_stack_of(256 << 10, without_signal_stack);
    proof.work(|| ());
    OVER.store(true, Ordering::Relaxed);
    thread.join();
    let Proven { figures, counts, .. } = proof.finish("the_handler_allocates_nothing_and_calls_nobody");
    figures.check(0.9);
    // Some samples were taken before the wrapper was there.
    assert!(counts.all + 50 >= figures.stats.samples_taken);
    let own = counts.on_signal_stack;
    assert!(own > 0 && own < counts.at_work, "{own} of {} on a stack for signals", counts.at_work);
    let early = figures.of(|row| row.is_unready() && !row.span.is_empty());
    let scoped = figures.of(|row| row.is_labelled && row.region.ends_with("in_scope") && row.span == "inner");
    // Where the tables are ready at once, there are none before them.
    println!("{early:.2?} before the tables were ready, {scoped:.2?} in a span, a region and under labels");
    assert!(scoped > figures.cpu / 10);
}

static OVER: AtomicBool = AtomicBool::new(false);

extern "C" fn without_signal_stack(_: *mut c_void) -> *mut c_void {
    let _span = tracing::info_span!("raw").entered();
    while !OVER.load(Ordering::Relaxed) {
        wrapper::at_work();
        in_scope(8);
    }
    ptr::null_mut()
}

/// The timer that threads share which were refused one: the handler asks who it is, once a signal.
pub(crate) fn shared_timer() {
    const TEST: &str = "the_handler_of_the_shared_timer_asks_who_it_is_and_no_more";
    const GETTID: Call = Call { number: libc::SYS_gettid, argument: None };
    let proof = Proof::start(&[GETTID], |builder| builder);
    let (_, hard) = os::pending_limit();
    os::set_pending_limit(0, hard);
    let status = || proof.watched.profiler.status();
    proof.work(|| until("four threads are refused", || status().threads_without_timer >= 4));
    let Proven { figures, counts, made, can_refuse } = proof.finish(TEST);
    let seen = figures.of(|row| row.span == "inner" && !row.is_loss);
    assert!(seen > Duration::ZERO, "{figures}");
    if can_refuse {
        assert!(made[0] <= counts.refusing && made[0] * 10 >= counts.refusing * 9, "{made:?}, {counts:?}");
    }
}

/// Events of `perf`: the handler reads its thread's clock and says when the next signal is due, each once a signal.
pub(crate) fn perf_events() {
    const TEST: &str = "the_handler_of_perf_events_reads_its_clock_and_sets_the_next_and_no_more";
    const OWN_CLOCK: Call =
        Call { number: libc::SYS_clock_gettime, argument: Some((0, libc::CLOCK_THREAD_CPUTIME_ID as u64)) };
    /// `PERF_EVENT_IOC_PERIOD`.
    const SET_PERIOD: Call = Call { number: libc::SYS_ioctl, argument: Some((1, 0x4008_2404)) };
    let proof = Proof::start(&[OWN_CLOCK, SET_PERIOD], |builder| builder.with_engine(Engine::Perf));
    if !perf::is_permitted(TEST, &proof.watched.profiler) {
        return;
    }
    proof.work(|| ());
    let Proven { figures, counts, made, can_refuse } = proof.finish(TEST);
    figures.check(0.7);
    if can_refuse {
        assert_eq!(made[0], made[1], "{counts:?}");
        assert!(made[0] <= counts.refusing && made[0] * 10 >= counts.refusing * 9, "{made:?}, {counts:?}");
    }
}

/// The proof of the proof: a handler that allocates, frees or makes a system call ends the process, with that message.
pub(crate) fn misdeeds(of: &str) {
    for (name, misdeed) in MISDEEDS {
        let (ended, output) = harness::run_case(of, |command| _ = command.env(MISDEED, name));
        let is_skipped = misdeed == Misdeed::Calls && output.contains("PR_SET_SYSCALL_USER_DISPATCH");
        let message = if misdeed == Misdeed::Calls { "makes system call 110" } else { "uses the allocator" };
        let is_noticed = matches!(ended, Ended::Badly(_)) && output.contains(message);
        assert!(is_noticed || is_skipped, "{name}: {ended:?}: {output}");
    }
}
