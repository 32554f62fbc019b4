//! Storms: what is known to crash, hang or blind in-process profilers, done to ours on purpose.
//!
//! Each case runs in a process of its own, because a process has one profiler and a failed case may take its process
//! along. The test starts its own binary again with the case's name in a variable, kills it when it hangs, and shows what
//! it said. See [`harness`].
//!
//! `PROFILE_STORM_SECONDS` says how long a storm lasts; `scripts/storms` runs all of them at full length.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)] // Helpers of tests.

mod churn;
mod dlopen;
mod fibers;
mod foreign;
mod fork;
mod harness;
mod limits;
mod masks;
#[allow(unsafe_code)] // the door of these tests: signals, timers, threads with stacks of their own, fork
mod os;
mod perf;
#[allow(unsafe_code)] // the allocator and the wrapped handler
mod quiet;
mod restart;
mod work;

use harness::storm;

#[global_allocator]
static ALLOCATOR: quiet::Quiet = quiet::Quiet;

#[test]
fn panics_on_four_threads() {
    storm("panics_on_four_threads", work::panics);
}

#[test]
fn allocations_on_four_threads() {
    storm("allocations_on_four_threads", work::allocations);
}

#[test]
fn libraries_that_take_turns_at_one_address() {
    storm("libraries_that_take_turns_at_one_address", dlopen::turns);
}

#[test]
fn forked_children_that_profile_themselves() {
    storm("forked_children_that_profile_themselves", fork::children);
}

#[test]
fn forked_children_that_do_not() {
    storm("forked_children_that_do_not", fork::indifferent_children);
}

#[test]
fn exec_of_a_program_that_runs_on() {
    storm("exec_of_a_program_that_runs_on", fork::exec);
}

/// Not a case of its own: the program that `exec_of_a_program_that_runs_on` starts.
#[test]
fn exec_inner() {
    if std::env::var_os(fork::EXEC_INNER).is_some() {
        fork::exec_inner();
    }
}

#[test]
fn threads_that_come_and_go() {
    storm("threads_that_come_and_go", churn::threads);
}

#[test]
fn stacks_of_16_kib() {
    storm("stacks_of_16_kib", churn::small_stacks);
}

#[test]
fn signal_stacks_of_8_kib() {
    storm("signal_stacks_of_8_kib", churn::signal_stacks);
}

#[test]
fn fibers_that_switch_stacks() {
    storm("fibers_that_switch_stacks", fibers::switching);
}

#[test]
fn a_foreign_handler_from_before() {
    storm("a_foreign_handler_from_before", foreign::before);
}

#[test]
fn a_foreign_handler_from_after() {
    storm("a_foreign_handler_from_after", foreign::after);
}

#[test]
fn a_foreign_handler_that_passes_nothing_on() {
    storm("a_foreign_handler_that_passes_nothing_on", foreign::greedy);
}

#[test]
fn a_handler_that_is_taken_away() {
    storm("a_handler_that_is_taken_away", foreign::taken_away);
}

#[test]
fn other_timers_with_the_same_signal() {
    storm("other_timers_with_the_same_signal", foreign::timers);
}

#[test]
fn sigprof_blocked_on_a_busy_thread() {
    storm("sigprof_blocked_on_a_busy_thread", masks::blocked);
}

#[test]
fn sigprof_blocked_now_and_then() {
    storm("sigprof_blocked_now_and_then", masks::now_and_then);
}

#[test]
fn start_and_stop() {
    storm("start_and_stop", restart::start_and_stop);
}

#[test]
fn build_and_drop() {
    storm("build_and_drop", restart::build_and_drop);
}

#[test]
fn no_timers_left() {
    storm("no_timers_left", limits::pending_signals);
}

#[test]
fn perf_events_instead_of_timers() {
    storm("perf_events_instead_of_timers", perf::events);
}

#[test]
fn perf_for_user_space_only() {
    storm("perf_for_user_space_only", perf::user_space);
}

#[test]
fn work_in_step_with_the_tick() {
    storm("work_in_step_with_the_tick", perf::in_step);
}

#[test]
fn the_handler_allocates_nothing_and_calls_nobody() {
    storm("the_handler_allocates_nothing_and_calls_nobody", quiet::timers);
}

#[test]
fn the_handler_of_the_shared_timer_asks_who_it_is_and_no_more() {
    storm("the_handler_of_the_shared_timer_asks_who_it_is_and_no_more", quiet::shared_timer);
}

#[test]
fn the_handler_of_perf_events_reads_its_clock_and_sets_the_next_and_no_more() {
    storm("the_handler_of_perf_events_reads_its_clock_and_sets_the_next_and_no_more", quiet::perf_events);
}

#[test]
fn a_handler_that_allocates_or_calls_is_noticed() {
    quiet::misdeeds("the_handler_allocates_nothing_and_calls_nobody");
}
