//! What an exporter gets: some profiles and what produced them.

use super::sample::Profile;
use crate::resource::Resource;
use std::sync::Arc;

/// Profiles of one resource, to be sent together. Opaque: `to_otlp()`, `to_pprof()` and `to_folded()` (in
/// [`encode`](crate::encode)) make bytes of it.
///
/// Profiles without samples are dropped when the batch is made: no backend takes one. Cloning is cheap, the profiles
/// are shared.
#[derive(Clone, Debug)]
pub struct ProfileBatch {
    resource: Arc<Resource>,
    profiles: Vec<Arc<Profile>>,
}

impl ProfileBatch {
    /// A batch of those of `profiles` that are not empty, in their order.
    #[must_use]
    pub fn new(resource: Arc<Resource>, mut profiles: Vec<Arc<Profile>>) -> Self {
        profiles.retain(|profile| !profile.is_empty());
        Self { resource, profiles }
    }

    /// What produced the profiles.
    #[must_use]
    pub fn resource(&self) -> &Arc<Resource> {
        &self.resource
    }

    /// The profiles; each has a sample.
    #[must_use]
    pub fn profiles(&self) -> &[Arc<Profile>] {
        &self.profiles
    }

    /// How many profiles there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.profiles.len()
    }

    /// Whether there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.profiles.is_empty()
    }

    /// The batch in parts of at most `profiles` profiles.
    pub(crate) fn chunks(&self, profiles: usize) -> Vec<Self> {
        let part = |part: &[_]| Self { resource: Arc::clone(&self.resource), profiles: part.to_vec() };
        self.profiles.chunks(profiles.max(1)).map(part).collect()
    }

    /// The batch in two: by profiles, or, if there is only one, by samples. `None` if that is not possible.
    pub(crate) fn halve(&self) -> Option<[Self; 2]> {
        let halves = match &self.profiles[..] {
            [] => return None,
            [only] => only.halve()?.map(|half| vec![Arc::new(half)]),
            several => {
                let (head, tail) = several.split_at(several.len() / 2);
                [head.to_vec(), tail.to_vec()]
            }
        };
        Some(halves.map(|profiles| Self { resource: Arc::clone(&self.resource), profiles }))
    }
}
