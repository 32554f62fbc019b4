//! Which samples carry their span, why a span has none, and what of it readers of the exported files see.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)] // Helpers of tests, outside of test functions.

mod explain;
mod policies;
mod read_back;

use profile_layer::{Profile, ProfileProcessor, Result};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(60);

/// A process has one profiler, so these tests take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps every profile.
#[derive(Clone, Debug, Default)]
struct Keep(Arc<Mutex<Vec<Arc<Profile>>>>);

impl ProfileProcessor for Keep {
    fn on_profile(&self, profile: Arc<Profile>) {
        self.0.lock().unwrap().push(profile);
    }

    fn force_flush(&self, _: Duration) -> Result<()> {
        Ok(())
    }

    fn shutdown(&self, _: Duration) -> Result<()> {
        Ok(())
    }
}

impl Keep {
    fn profiles(&self) -> Vec<Arc<Profile>> {
        self.0.lock().unwrap().clone()
    }
}
