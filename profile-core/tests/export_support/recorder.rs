//! What was collected, to be held against what became of it.

use profile_core::error::Result;
use profile_core::export::ProfileProcessor;
use profile_core::profile::Profile;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Keeps the start and the weight of every profile that is not empty, in order.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Mutex<Vec<(u64, i64)>>>);

impl Recorder {
    pub fn collected(&self) -> Vec<(u64, i64)> {
        self.0.lock().unwrap().clone()
    }
}

impl ProfileProcessor for Recorder {
    fn on_profile(&self, profile: Arc<Profile>) {
        let weight = i64::try_from(profile.total_weight()).unwrap();
        if weight > 0 {
            self.0.lock().unwrap().push((profile.start_unix_nanos(), weight));
        }
    }

    fn force_flush(&self, _: Duration) -> Result<()> {
        Ok(())
    }

    fn shutdown(&self, _: Duration) -> Result<()> {
        Ok(())
    }
}
