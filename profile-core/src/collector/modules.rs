//! The module lists of the recent past, and the unwind tables made from the newest.
//!
//! A sample names the generation of the tables it was taken with. Its addresses are resolved with that generation's
//! list, not with today's: a library may have come or gone since.

use crate::modules::{LoaderCounts, ModuleList};
use crate::sampler::tables;
use crate::sys::modules;
use crate::unwind::UnwindTables;
use std::collections::VecDeque;
use std::sync::Arc;

/// How many lists are kept: samples are at most one drain old, so a few are plenty.
const KEPT: usize = 8;

#[derive(Debug, Default)]
pub(super) struct ModuleHistory {
    /// Newest last.
    lists: VecDeque<Arc<ModuleList>>,
    seen: Option<LoaderCounts>,
}

impl ModuleHistory {
    /// Looks whether modules came or went; if so, reads them again and compiles what is new. `true` if it did.
    pub(super) fn refresh(&mut self) -> bool {
        let now = modules::changes();
        if self.seen == Some(now) {
            tables().reclaim();
            return false;
        }
        let previous = self.lists.back().cloned().unwrap_or_default();
        let list = Arc::new(modules::snapshot(&previous));
        let compiled = UnwindTables::compile(&list, tables().enter().get());
        if tables().replace(Box::new(compiled)).is_err() {
            // Too many old tables still wait for handlers to leave. Samples go on with the old ones; again next time.
            return false;
        }
        self.lists.push_back(list);
        if self.lists.len() > KEPT {
            self.lists.pop_front();
        }
        self.seen = Some(now);
        true
    }

    /// The list that samples of `generation` belong to.
    pub(super) fn of(&self, generation: u32) -> Option<&Arc<ModuleList>> {
        self.lists.iter().rev().find(|list| list.generation == generation)
    }

    /// The newest list; empty before the first refresh.
    pub(super) fn newest(&self) -> Arc<ModuleList> {
        self.lists.back().cloned().unwrap_or_default()
    }
}
