//! The collector's thread: it empties the rings, follows modules and threads, and closes windows.

use super::account::{Accounts, Whole};
use super::aggregate::Aggregator;
use super::health::Health;
use super::hold::{Holder, Policy, Verdict};
use super::modules::ModuleHistory;
use super::raw::{RawSample, Records};
use super::scan::{blocks_sigprof, read, scan};
use super::window::{Loss, StackEnd, Window};
use crate::modules::ModuleList;
use crate::sampler::cpu::{self, Started};
use crate::sampler::{Kind, SampleHead};
use crate::stats::Stats;
use crate::sys::clock;
use crate::thread::{self, Block, BlockIndex, Life, blocks};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How often the rings are emptied. A ring holds about a second of samples at 99 Hz.
const DRAIN: Duration = Duration::from_millis(50);
/// How often the task list is read, unless that takes much CPU time: then that is one part in so many of the time.
const SCAN: Duration = Duration::from_millis(200);
const SCAN_SHARE: u32 = 200;

/// What the collector's thread can be asked to do.
#[derive(Debug)]
pub(crate) enum Command<R> {
    /// Close the window now and answer with what becomes of it.
    Collect(R),
    /// Close the window and end.
    Stop,
}

/// A closed window and what is needed to finish it.
#[derive(Debug)]
pub(crate) struct Closed<R> {
    pub(crate) window: Window,
    /// The modules that are loaded now.
    pub(crate) modules: Arc<ModuleList>,
    /// Who asked for it, if somebody did.
    pub(crate) reply: Option<R>,
    /// Whether it is one of the last. They are worth waiting for: nothing is being sampled.
    pub(crate) is_last: bool,
}

/// What the thread works with.
pub(crate) struct Worker<R> {
    pub(crate) started: Started,
    pub(crate) period_nanos: u64,
    pub(crate) window: Duration,
    pub(crate) commands: Receiver<Command<R>>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) policy: Policy,
    /// The receiver of closed windows. It must not block for long: the rings fill while it does. A window that it does not
    /// take it gives back.
    pub(crate) output: Box<dyn FnMut(Closed<R>) -> Option<Closed<R>> + Send>,
}

/// What the thread knows from one turn to the next.
struct State {
    open: Open,
    /// Closed windows of which something is held.
    late: Vec<Late>,
    holder: Holder,
    accounts: Accounts,
    modules: ModuleHistory,
    gone: Vec<(BlockIndex, &'static Block)>,
    records: Records,
    health: Health,
}

/// The window that is being filled.
struct Open {
    sums: Aggregator,
    unix_nanos: u64,
    since: Instant,
}

/// What a closed window waits for.
struct Late {
    sums: Aggregator,
    unix_nanos: u64,
    duration: Duration,
}

impl Open {
    fn new() -> Self {
        Self { sums: Aggregator::default(), unix_nanos: clock::unix_nanos(), since: Instant::now() }
    }
}

impl<R> Worker<R> {
    /// Runs until told to stop, or until nobody is left to tell it.
    pub(crate) fn run(mut self) {
        cpu::calibrate();
        let mut state = State {
            open: Open::new(),
            late: Vec::new(),
            holder: Holder::new(self.policy.clone()),
            accounts: Accounts::new(
                self.period_nanos,
                self.started.cpu_nanos,
                self.started.engine.is_blind_to_kernel(),
            ),
            modules: ModuleHistory::resume(),
            gone: Vec::new(),
            records: Records::default(),
            health: Health::new(self.started.cpu_nanos),
        };
        state.scan();
        state.modules.refresh();
        let (mut scanned, mut pause) = (Instant::now(), SCAN);
        loop {
            let command = self.commands.recv_timeout(DRAIN);
            self.drain(&mut state);
            state.modules.refresh();
            state.retire();
            if scanned.elapsed() >= pause {
                let begun = clock::own_cpu_nanos();
                state.scan();
                let used = Duration::from_nanos(clock::own_cpu_nanos().saturating_sub(begun));
                (scanned, pause) = (Instant::now(), SCAN.max(used * SCAN_SHARE));
            }
            let reply = match command {
                Err(RecvTimeoutError::Timeout) if state.open.since.elapsed() < self.window => continue,
                Err(RecvTimeoutError::Timeout) => None,
                Ok(Command::Collect(reply)) => Some(reply),
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    self.close(&mut state, None, true);
                    return state.modules.keep();
                }
            };
            self.close(&mut state, reply, false);
        }
    }

    fn drain(&mut self, state: &mut State) {
        state.holder.look();
        state.modules.begin_round();
        for (index, block) in blocks().filter(|(_, block)| block.life() != Life::Free) {
            let Some(mut ring) = block.ring.consumer() else { continue };
            state.records.take(&mut ring);
            let dropped = ring.take_dropped(Kind::Cpu as usize).weight;
            // What they would have stood for the next sample, or the thread's clock, will say.
            let _ = ring.take_dropped(Kind::SharedCpu as usize);
            drop(ring);
            if dropped > 0 {
                self.stats.lost_ring_full.add(dropped);
                state.open.sums.lose(Loss::RingFull, dropped);
                state.accounts.dropped(index, dropped);
            }
            self.stats.corrupt_words.add(std::mem::take(&mut state.records.corrupt_words));
            if !state.records.is_empty() {
                // After the samples were taken, so that it is known what has changed around them.
                state.modules.refresh();
                self.add(state, index, block);
            }
        }
        let late = state.late.iter_mut().map(|late| &mut late.sums);
        state.holder.decide(std::iter::once(&mut state.open.sums).chain(late));
        self.hand_over_late(state, false);
    }

    /// Hands over what closed windows have waited for, where it is decided.
    fn hand_over_late(&mut self, state: &mut State, is_last: bool) {
        let (unlabelled, given_up) = state.holder.take_counts();
        self.stats.weight_unlabelled.add(unlabelled);
        self.stats.weight_given_up.add(given_up);
        for mut late in state.late.extract_if(.., |late| !late.sums.holds()).collect::<Vec<_>>() {
            let window = late.sums.close(late.unix_nanos, late.duration, self.period_nanos);
            self.hand_over(state, window, None, is_last);
        }
    }

    /// Adds the records that were taken out of one thread's ring.
    fn add(&self, state: &mut State, thread: BlockIndex, block: &Block) {
        let State { open, holder, accounts, modules, records, health, .. } = state;
        let is_shared = |tag: u32| SampleHead::from_tag(tag).kind == Kind::SharedCpu as u8;
        let mut shared = records.iter().filter(|(tag, _)| is_shared(*tag)).count() as u64;
        if shared > 0 {
            read(accounts, thread, block);
        }
        for (tag, words) in records.iter() {
            let Some(mut sample) = RawSample::parse(tag, words) else { continue };
            if sample.head.run != self.started.run.to_u8() {
                continue; // of a handler that was kept from running until its run was over
            }
            health.samples += 1;
            if is_shared(tag) {
                sample.weight = accounts.shared(thread, shared);
                shared = shared.saturating_sub(1);
            } else {
                sample.weight = accounts.sampled(thread, sample.weight);
            }
            count(&self.stats, &sample);
            let verdict = if sample.head.has_context { holder.ask(&sample) } else { Verdict::Keep };
            open.sums.add(&sample, modules.view(sample.generation), verdict);
        }
        records.clear();
    }

    fn close(&mut self, state: &mut State, reply: Option<R>, is_last: bool) {
        // Right before the clocks are read, so that they and the samples cover the same time.
        self.drain(state);
        for (index, block) in blocks().filter(|(_, block)| block.life() == Life::Live) {
            read(&mut state.accounts, index, block);
        }
        let whole = Whole { cpu_nanos: clock::process_cpu_nanos(), timers: cpu::timers_made(), is_last };
        let blocks = |index: BlockIndex| index.get().is_some_and(blocks_sigprof);
        let losses = state.accounts.settle(whole, blocks);
        state.open.lose(losses);
        if is_last {
            // How long the requests that are under way will take is not known.
            let late = state.late.iter_mut().map(|late| &mut late.sums);
            state.holder.give_up(std::iter::once(&mut state.open.sums).chain(late));
            self.hand_over_late(state, true);
        }
        let mut closed = std::mem::replace(&mut state.open, Open::new());
        // The next window starts where this one ends, by the monotonic clock; the wall clock is read once a window.
        let duration = state.open.since.duration_since(closed.since);
        let window = closed.sums.close(closed.unix_nanos, duration, self.period_nanos);
        if closed.sums.holds() {
            state.late.push(Late { sums: closed.sums, unix_nanos: closed.unix_nanos, duration });
        }
        self.stats.windows.add(1);
        self.hand_over(state, window, reply, is_last);
    }

    fn hand_over(&mut self, state: &mut State, window: Window, reply: Option<R>, is_last: bool) {
        let refused = (self.output)(Closed { window, modules: state.modules.newest(), reply, is_last });
        if let Some(Closed { window, .. }) = refused {
            self.stats.windows_lost.add(1);
            // The next window says what was in it.
            let samples = window.samples.iter().map(|sample| sample.weight).sum();
            state.open.sums.lose(Loss::WindowDropped, samples);
            state.open.lose(window.losses);
        }
    }
}

impl State {
    fn scan(&mut self) {
        self.accounts.refused(cpu::refused().is_some(), cpu::is_sharing());
        let scanned = scan(&mut self.accounts);
        self.gone.extend(scanned.gone);
        self.open.lose(scanned.losses);
        self.health.look(clock::process_cpu_nanos());
    }

    /// Takes back the blocks of threads that are gone. Their rings were emptied after the threads had ended.
    fn retire(&mut self) {
        for (index, block) in self.gone.drain(..) {
            let used = block.cpu_end().and_then(|end| Some(end.saturating_sub(block.cpu_base()?)));
            self.open.lose(self.accounts.ended(index, used));
            thread::forget(index, block);
        }
    }
}

impl Open {
    fn lose(&mut self, losses: impl IntoIterator<Item = (Loss, u64)>) {
        losses.into_iter().for_each(|(loss, weight)| self.sums.lose(loss, weight));
    }
}

fn count(stats: &Stats, sample: &RawSample<'_>) {
    stats.samples.add(1);
    stats.weight.add(sample.weight);
    match sample.head.end {
        StackEnd::Complete => {}
        StackEnd::Truncated => stats.truncated_stacks.add(1),
        StackEnd::NotReady => stats.unready_stacks.add(1),
        StackEnd::LeftStack | StackEnd::NoRule => stats.broken_stacks.add(1),
    }
}
