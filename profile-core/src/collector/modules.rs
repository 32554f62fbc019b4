//! The module lists of the recent past, and the unwind tables made from the newest.
//!
//! A sample names the generation of the tables it was taken with, but that alone does not say which module its addresses
//! belong to: a library may have gone, and another come to its very addresses, between the last look at the loader and the
//! sample. So a list from before the sample and one from after it are compared, see [`View`]: what both agree on is certain,
//! and where they do not, no name is better than a wrong one.
//!
//! "Before" and "after" are meant strictly. Lists of one generation show the same modules, but the loader's counts in them
//! differ: a library may have gone, another have come to its place, and the first have come back, all between two looks. So
//! every look that found the counts changed is kept. A sample was finished after its ring was emptied the last time, so the
//! list that was the newest when that round of emptying [began](ModuleHistory::begin_round) is from before it. (That it may
//! have been begun earlier is no matter: a library that a thread is executing in stays while it is.)

use crate::modules::{LoaderCounts, Module, ModuleId, ModuleList};
use crate::sampler::tables;
use crate::sys::{modules, process};
use crate::unwind::UnwindTables;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// How many looks are kept: samples are at most one round old, so a few are plenty.
const KEPT: usize = 16;

#[derive(Debug, Default)]
pub(super) struct ModuleHistory {
    /// What the looks that found something new have found, newest last.
    looks: VecDeque<Look>,
    /// The numbers of the looks that were the newest when the last round of emptying rings began, and the one before it.
    rounds: [u32; 2],
    /// What the loader had counted at the last look.
    seen: LoaderCounts,
    /// How often that was something new.
    changes: u32,
    /// The last loaded of the modules that are never unloaded.
    anchor: Option<ModuleId>,
}

/// A look at the loader.
#[derive(Clone, Debug, Default)]
struct Look {
    /// Looks are numbered in order.
    number: u32,
    list: Arc<ModuleList>,
}

/// What is known about the addresses of samples of one generation, as of now.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    /// A list from before the samples, of the generation of their unwind tables; `None` if it is not known any more.
    then: Option<&'a ModuleList>,
    /// The list now: the loader was looked at after the samples were taken.
    now: &'a ModuleList,
    /// The numbers of the two looks.
    key: ViewKey,
    anchor: Option<ModuleId>,
}

/// Two views with the same key say the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct ViewKey {
    then: Option<u32>,
    now: u32,
}

/// What lies at an address.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'a> {
    /// Code of this module.
    In(&'a Arc<Module>),
    /// Code of this module, which the unwind tables did not know yet: its callers are a guess.
    New(&'a Arc<Module>),
    /// No code of a module.
    Elsewhere,
    /// One module or another: they have changed around the time of the sample.
    Unsure,
}

/// The history between two runs of the sampler, with the process's fork count: samples of the next run may be taken with
/// the tables of the last one, and what was compiled need not be compiled again.
static BETWEEN_RUNS: Mutex<Option<(u32, ModuleHistory)>> = Mutex::new(None);

impl ModuleHistory {
    /// The history of the last run, if it was one of this process.
    pub(super) fn resume() -> Self {
        // Whoever holds the lock may be a thread of the parent's; nobody holds it for long.
        let kept = BETWEEN_RUNS.try_lock().ok().and_then(|mut kept| kept.take());
        let generation = tables().enter().get().map_or(0, UnwindTables::generation);
        // It is of no use if the tables are not its own: a run that took long to end may have kept it after a later start.
        let is_ours = |(forks, history): &(u32, Self)| {
            *forks == process::forks() && history.newest().generation == generation
        };
        if let Some((_, history)) = kept.filter(is_ours) {
            return history;
        }
        // Generations go on from those of the tables in use, if there are any.
        let before = ModuleList { generation, ..ModuleList::default() };
        Self { looks: VecDeque::from([Look { number: 0, list: Arc::new(before) }]), ..Self::default() }
    }

    /// Keeps the history for the next run.
    pub(super) fn keep(self) {
        if let Ok(mut kept) = BETWEEN_RUNS.try_lock() {
            *kept = Some((process::forks(), self));
        }
    }

    /// Notes that all rings are about to be emptied.
    pub(super) fn begin_round(&mut self) {
        self.rounds = [self.rounds[1], self.looks.back().map_or(0, |look| look.number)];
    }

    /// Looks whether modules came or went; if so, reads them again and compiles what is new.
    pub(super) fn refresh(&mut self) {
        if self.changes == 0 || self.seen != modules::changes() {
            let list = modules::snapshot(&self.newest());
            let permanent = list.modules.iter().filter(|module| modules::is_permanent(module));
            self.anchor = permanent.map(|module| module.id).max();
            self.seen = list.counts;
            self.look(list);
        }
        self.publish();
    }

    fn look(&mut self, list: ModuleList) {
        self.changes = self.changes.wrapping_add(1).max(1);
        self.looks.push_back(Look { number: self.changes, list: Arc::new(list) });
        if self.looks.len() > KEPT {
            self.looks.pop_front();
        }
    }

    /// Gives samplers the tables of the newest list, unless they have them.
    fn publish(&self) {
        let newest = self.newest();
        let in_use = tables().enter().get().map(UnwindTables::generation);
        if in_use == Some(newest.generation) {
            tables().reclaim();
            return;
        }
        let compiled = UnwindTables::compile(&newest, tables().enter().get());
        // Refused when too many old tables still wait for handlers to leave. Samples go on with those there are; again
        // next time.
        let _refused = tables().replace(Box::new(compiled));
    }

    /// What is known about the addresses of samples of `generation` that were taken out of their ring in this round, before
    /// the last [`refresh`](Self::refresh).
    pub(super) fn view(&self, generation: u32) -> Option<View<'_>> {
        let now = self.looks.back()?;
        let then = self.before(generation);
        let key = ViewKey { then: then.map(|look| look.number), now: now.number };
        Some(View { then: then.map(|look| &*look.list), now: &now.list, key, anchor: self.anchor })
    }

    /// The last look that was certainly before such samples: the one that the round before this began with, or, if their
    /// tables are not of its generation, the first later one with that. Older tables can be in use too, when new ones
    /// were refused: then the last look of those.
    fn before(&self, generation: u32) -> Option<&Look> {
        let floor = self.looks.iter().position(|look| look.number == self.rounds[0]);
        let is_of = |look: &&Look| look.list.generation == generation;
        let (older, later) = (0..floor.unwrap_or(0), floor.unwrap_or(0)..self.looks.len());
        // If the floor itself is forgotten, no look is known to be from before the samples but by its generation, which has
        // to be the look's alone.
        let alone = floor.is_some() || self.looks.iter().filter(is_of).count() == 1;
        let later = self.looks.range(later).find(is_of).filter(|_| alone);
        later.or_else(|| self.looks.range(older).rfind(is_of))
    }

    /// The newest list; empty before the first refresh.
    pub(super) fn newest(&self) -> Arc<ModuleList> {
        self.looks.back().map(|look| Arc::clone(&look.list)).unwrap_or_default()
    }
}

impl<'a> View<'a> {
    /// Looks up the frames of one stack.
    pub(super) fn finder(self) -> Finder<'a> {
        let is_still = self.then.is_some_and(|then| std::ptr::eq(then, self.now));
        Finder { view: self, is_still, last: None }
    }

    /// What a sample that had `address` in its stack was executing there.
    pub(super) fn find(&self, address: u64) -> Place<'a> {
        let now = self.now.find(address);
        let Some(then) = self.then else { return Place::Unsure };
        let before = then.find(address);
        if then.counts.unloaded == self.now.counts.unloaded {
            // Nothing went since: what is there now was there, or there was nothing.
            return match (before, now) {
                (_, None) => Place::Elsewhere,
                (None, Some(now)) => Place::New(now),
                (Some(_), Some(now)) => Place::In(now),
            };
        }
        if then.counts.loaded == self.now.counts.loaded {
            // Nothing came since: what was there was it, also if it has gone.
            return before.map_or(Place::Elsewhere, Place::In);
        }
        match (before, now) {
            (Some(before), Some(now)) if before.id == now.id && self.stood(then, before) => Place::In(before),
            (None, None) => Place::Elsewhere,
            _ => Place::Unsure,
        }
    }

    /// Whether a module that is in both lists was there all the time. That it has its id says only that the same code is
    /// there: a library that is opened again may keep it, see [`crate::modules`].
    ///
    /// The loader appends what it loads, also what it loads again. So whatever was loaded before something permanent and is
    /// still listed there has stayed. And if `n` objects went, at most the last `n` can have gone and come again: one that
    /// did has behind it nothing that stayed.
    fn stood(&self, then: &ModuleList, module: &Module) -> bool {
        let later = then.modules.iter().filter(|other| other.id > module.id).count() as u64;
        let gone = self.now.counts.unloaded.wrapping_sub(then.counts.unloaded);
        self.anchor.is_some_and(|anchor| module.id <= anchor) || later >= gone
    }

    /// Tells views apart.
    pub(super) const fn key(&self) -> ViewKey {
        self.key
    }
}

/// Looks up one address after the other, faster than each alone: the frames of a stack are mostly neighbours in one module.
#[derive(Debug)]
pub(super) struct Finder<'a> {
    view: View<'a>,
    /// The list of before the sample is the one of after it, as it nearly always is: where it names a module, that is it.
    is_still: bool,
    /// The module of the last address, if the lists are one.
    last: Option<&'a Arc<Module>>,
}

impl<'a> Finder<'a> {
    /// What [`View::find`] says.
    pub(super) fn find(&mut self, address: u64) -> Place<'a> {
        if !self.is_still {
            return self.view.find(address);
        }
        if let Some(last) = self.last.filter(|last| last.text.contains(&address)) {
            return Place::In(last);
        }
        self.last = self.view.now.find(address);
        self.last.map_or(Place::Elsewhere, Place::In)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(id: u32, start: u64) -> Arc<Module> {
        let text = start..start + 0x1000;
        let (path, segments) = (format!("/lib/{id}.so").into(), Vec::new());
        let id = ModuleId(id);
        Arc::new(Module {
            id,
            path,
            build_id: None,
            bias: start,
            text,
            text_file_offset: 0,
            segments,
            eh_frame_hdr: None,
        })
    }

    fn list(loaded: u64, unloaded: u64, modules: &[&Arc<Module>]) -> ModuleList {
        let modules = modules.iter().map(|module| Arc::clone(module)).collect();
        ModuleList { generation: 1, modules, counts: LoaderCounts { loaded, unloaded } }
    }

    /// The id at 0x5000, which one library may take from another; `None` for nothing, 0 for unsure.
    fn between(then: Option<&ModuleList>, now: &ModuleList) -> Option<u32> {
        let key = ViewKey::default();
        match (View { then, now, key, anchor: Some(ModuleId(1)) }).find(0x5010) {
            Place::In(module) | Place::New(module) => Some(module.id.0),
            Place::Elsewhere => None,
            Place::Unsure => Some(0),
        }
    }

    #[test]
    fn what_two_looks_agree_on_is_certain_and_nothing_else() {
        let (stays, left, right) = (module(1, 0x1000), module(2, 0x5000), module(3, 0x5000));
        let with_left = list(2, 0, &[&stays, &left]);
        assert_eq!(between(Some(&with_left), &with_left), Some(2));
        assert_eq!(between(Some(&with_left), &list(2, 1, &[&stays])), Some(2), "it has only gone since");
        assert_eq!(between(Some(&list(1, 0, &[&stays])), &with_left), Some(2), "it has only come since");
        assert_eq!(between(Some(&with_left), &list(3, 1, &[&stays, &right])), Some(0), "one or the other");
        assert_eq!(
            between(Some(&with_left), &list(4, 2, &[&stays])),
            Some(0),
            "it, or one that came and went"
        );
        let other = module(4, 0x9000);
        assert_eq!(
            between(Some(&list(3, 0, &[&stays, &left, &other])), &list(4, 1, &[&stays, &left])),
            Some(2),
            "one that was loaded later went, and something came and went"
        );
        assert_eq!(
            between(Some(&with_left), &list(4, 2, &[&stays, &left])),
            Some(0),
            "it may have gone, and another have come, before it came again"
        );
        assert_eq!(between(None, &with_left), Some(0), "a generation that nobody remembers");
    }

    #[test]
    fn a_finder_says_what_the_view_says() {
        let (low, high) = (module(1, 0x1000), module(2, 0x5000));
        let (before, now) = (list(1, 0, &[&low]), list(2, 0, &[&low, &high]));
        for then in [Some(&now), Some(&before), None] {
            let view = View { then, now: &now, key: ViewKey::default(), anchor: Some(ModuleId(1)) };
            let mut finder = view.finder();
            for address in [0x1010, 0x1020, 0x5010, 0x1030, 0x3000, 0x5fff, 0x6000, 0x1000] {
                assert_eq!(format!("{:?}", finder.find(address)), format!("{:?}", view.find(address)));
            }
        }
    }

    /// The id at 0x5000 for samples of generation 1 that were found in a ring in this round.
    fn found(history: &ModuleHistory) -> Option<u32> {
        match history.view(1).unwrap().find(0x5010) {
            Place::In(module) | Place::New(module) => Some(module.id.0),
            Place::Elsewhere => None,
            Place::Unsure => Some(0),
        }
    }

    #[test]
    fn a_library_that_came_back_between_two_looks_does_not_get_the_samples_of_the_one_between() {
        let (stays, library) = (module(1, 0x1000), module(2, 0x5000));
        let both = |loaded, unloaded| list(loaded, unloaded, &[&stays, &library]);
        let mut history = ModuleHistory { anchor: Some(ModuleId(1)), ..ModuleHistory::default() };
        history.begin_round();
        history.look(both(2, 0));
        assert_eq!(found(&history), Some(2), "its tables were made after the one look");
        history.begin_round();
        history.begin_round();
        assert_eq!(
            found(&history),
            Some(2),
            "looked at before and after the samples, and nothing has changed"
        );
        // It goes, another comes and goes, it comes back: the same list, and one generation, but for the counts.
        history.look(both(4, 2));
        assert_eq!(found(&history), Some(0), "the sample may be from in between");
        history.begin_round();
        assert_eq!(found(&history), Some(0), "the last round began before that");
        history.begin_round();
        assert_eq!(found(&history), Some(2), "both looks are from after that");
    }
}
