//! The collector's thread: it empties the rings, follows modules and threads, and closes windows.

use super::account::Accounts;
use super::aggregate::Aggregator;
use super::modules::ModuleHistory;
use super::raw::RawSample;
use super::scan::scan;
use super::window::{Loss, StackEnd, Window};
use crate::modules::ModuleList;
use crate::sampler::{Kind, cpu};
use crate::stats::Stats;
use crate::sys::clock;
use crate::thread::{self, Block, BlockIndex, Life, blocks};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How often the rings are emptied. A ring holds about a second of samples at 99 Hz.
const DRAIN: Duration = Duration::from_millis(50);
/// How often the task list is read.
const SCAN: Duration = Duration::from_millis(200);

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
}

/// What the thread works with.
pub(crate) struct Worker<R> {
    pub(crate) period_nanos: u64,
    pub(crate) window: Duration,
    pub(crate) commands: Receiver<Command<R>>,
    pub(crate) stats: Arc<Stats>,
    /// One record's words, while it is read.
    pub(crate) words: Vec<u64>,
    /// The receiver of closed windows. It must not block for long: the rings fill while it does.
    pub(crate) output: Box<dyn FnMut(Closed<R>) + Send>,
}

/// The window that is being filled.
struct Open {
    sums: Aggregator,
    unix_nanos: u64,
    since: Instant,
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
        let mut modules = ModuleHistory::default();
        let mut accounts = Accounts::new(self.period_nanos, clock::process_cpu_nanos());
        let mut open = Open::new();
        let mut scanned = Instant::now();
        let mut gone = scan(&mut accounts);
        modules.refresh();
        loop {
            let command = self.commands.recv_timeout(DRAIN);
            // Modules after the drain: what was just taken out was sampled under the tables that were there until now.
            self.drain(&mut open.sums, &mut accounts, &modules);
            modules.refresh();
            retire(&mut gone, &mut accounts);
            if scanned.elapsed() >= SCAN {
                gone = scan(&mut accounts);
                scanned = Instant::now();
            }
            let reply = match command {
                Err(RecvTimeoutError::Timeout) if open.since.elapsed() < self.window => continue,
                Err(RecvTimeoutError::Timeout) => None,
                Ok(Command::Collect(reply)) => Some(reply),
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    self.close(&mut open, &mut accounts, &modules, None);
                    return;
                }
            };
            self.close(&mut open, &mut accounts, &modules, reply);
        }
    }

    fn drain(&mut self, sums: &mut Aggregator, accounts: &mut Accounts, modules: &ModuleHistory) {
        for (index, block) in blocks().filter(|(_, block)| block.life() != Life::Free) {
            let Some(mut ring) = block.ring.consumer() else { continue };
            let mut covered = 0;
            let drained = ring.drain(|record| {
                self.words.clear();
                self.words.extend(record.words());
                let Some(sample) = RawSample::parse(record.tag(), &self.words) else { return };
                covered += sample.weight;
                count(&self.stats, &sample);
                sums.add(&sample, modules.of(sample.generation).map(|list| &**list));
            });
            let dropped = ring.take_dropped(Kind::Cpu as usize).weight;
            if dropped > 0 || drained.corrupt_words > 0 {
                self.stats.lost_ring_full.add(dropped);
                self.stats.corrupt_words.add(drained.corrupt_words);
                sums.lose(Loss::RingFull, dropped);
            }
            if covered + dropped > 0 {
                accounts.covered(index, covered + dropped);
            }
        }
    }

    fn close(&mut self, open: &mut Open, accounts: &mut Accounts, modules: &ModuleHistory, reply: Option<R>) {
        // Right before the clocks are read, so that they and the samples cover the same time.
        self.drain(&mut open.sums, accounts, modules);
        for (index, block) in blocks().filter(|(_, block)| block.life() == Life::Live) {
            if let Some(cpu_now) = clock::thread_cpu_nanos(block.tid()) {
                accounts.read(index, block, cpu_now);
            }
        }
        for (loss, weight) in accounts.settle(clock::process_cpu_nanos()) {
            open.sums.lose(loss, weight);
        }
        let mut closed = std::mem::replace(open, Open::new());
        // The next window starts where this one ends, by the monotonic clock; the wall clock is read once a window.
        let duration = open.since.duration_since(closed.since);
        let window = closed.sums.close(closed.unix_nanos, duration, self.period_nanos);
        self.stats.windows.add(1);
        (self.output)(Closed { window, modules: modules.newest(), reply });
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

/// Takes back the blocks of threads that are gone. Their rings were emptied after the threads had ended.
fn retire(gone: &mut Vec<(BlockIndex, &'static Block)>, accounts: &mut Accounts) {
    for (index, block) in gone.drain(..) {
        accounts.ended(index);
        thread::forget(index, block);
    }
}
