//! The module lists of the recent past, and the unwind tables made from the newest.
//!
//! A sample names the generation of the tables it was taken with, but that alone does not say which module its addresses
//! belong to: a library may have gone, and another come to its very addresses, between the last look at the loader and the
//! sample. So the lists before and after the sample are compared, see [`View`]: what both agree on is certain, and where
//! they do not, no name is better than a wrong one.

use crate::modules::{LoaderCounts, Module, ModuleId, ModuleList};
use crate::sampler::tables;
use crate::sys::{modules, process};
use crate::unwind::UnwindTables;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// How many lists are kept: samples are at most one drain old, so a few are plenty.
const KEPT: usize = 8;

#[derive(Debug, Default)]
pub(super) struct ModuleHistory {
    /// Newest last, one for each generation.
    lists: VecDeque<Arc<ModuleList>>,
    /// What the loader had counted at the last look.
    seen: LoaderCounts,
    /// How often that was something new.
    changes: u32,
    /// The last loaded of the modules that are never unloaded.
    anchor: Option<ModuleId>,
}

/// What is known about the addresses of samples of one generation, as of now.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    /// The list that the samples' unwind tables were made from, if it is still known.
    then: Option<&'a ModuleList>,
    /// The list now: the loader was looked at after the samples were taken.
    now: &'a ModuleList,
    changes: u32,
    anchor: Option<ModuleId>,
}

/// What lies at an address.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'a> {
    /// Code of this module.
    In(&'a Arc<Module>),
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
        Self { lists: VecDeque::from([Arc::new(before)]), ..Self::default() }
    }

    /// Keeps the history for the next run.
    pub(super) fn keep(self) {
        if let Ok(mut kept) = BETWEEN_RUNS.try_lock() {
            *kept = Some((process::forks(), self));
        }
    }

    /// Looks whether modules came or went; if so, reads them again and compiles what is new.
    pub(super) fn refresh(&mut self) {
        if self.changes == 0 || self.seen != modules::changes() {
            let list = Arc::new(modules::snapshot(&self.newest()));
            let permanent = list.modules.iter().filter(|module| modules::is_permanent(module));
            self.anchor = permanent.map(|module| module.id).max();
            self.seen = list.counts;
            self.changes = self.changes.wrapping_add(1).max(1);
            if self.lists.back().is_some_and(|newest| newest.generation == list.generation) {
                self.lists.pop_back();
            }
            self.lists.push_back(list);
            if self.lists.len() > KEPT {
                self.lists.pop_front();
            }
        }
        self.publish();
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

    /// What is known about the addresses of samples of `generation` that were taken before the last
    /// [`refresh`](Self::refresh).
    pub(super) fn view(&self, generation: u32) -> Option<View<'_>> {
        let then = self.lists.iter().find(|list| list.generation == generation).map(|list| &**list);
        Some(View { then, now: self.lists.back()?, changes: self.changes, anchor: self.anchor })
    }

    /// The newest list; empty before the first refresh.
    pub(super) fn newest(&self) -> Arc<ModuleList> {
        self.lists.back().cloned().unwrap_or_default()
    }
}

impl<'a> View<'a> {
    /// What a sample that had `address` in its stack was executing there.
    pub(super) fn find(&self, address: u64) -> Place<'a> {
        let now = self.now.find(address);
        let Some(then) = self.then else { return Place::Unsure };
        if then.counts.unloaded == self.now.counts.unloaded {
            // Nothing went since: what is there now was there, or there was nothing.
            return now.map_or(Place::Elsewhere, Place::In);
        }
        let before = then.find(address);
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

    /// Two views of one generation with the same number of changes say the same.
    pub(super) const fn changes(&self) -> u32 {
        self.changes
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
        match (View { then, now, changes: 1, anchor: Some(ModuleId(1)) }).find(0x5010) {
            Place::In(module) => Some(module.id.0),
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
}
