//! From a batch of profiles to bytes: OTLP, pprof and folded text, each a walk over the model.

mod decode;
mod folded;
mod json;
mod order;
mod otlp;
mod pprof;
mod sections;
mod sink;
mod size;
mod wire;

use crate::profile::{Profile, ProfileBatch};
pub(crate) use sections::gzip;
use std::borrow::Cow;

impl ProfileBatch {
    /// The batch as OTLP: a serialized `ExportProfilesServiceRequest`, which is a serialized `ProfilesData` too. Each
    /// profile keeps its own times; all share one dictionary. Of an empty batch there are no bytes: nothing to send.
    #[must_use]
    pub fn to_otlp(&self) -> Vec<u8> {
        otlp::encode(self)
    }

    /// The batch of one profile that [`to_otlp`](Self::to_otlp) made these bytes of, as far as OTLP carries it.
    pub(crate) fn from_otlp(bytes: &[u8]) -> Option<Self> {
        decode::decode(bytes)
    }

    /// The batch as OTLP's JSON: the same message as [`to_otlp`](Self::to_otlp), several times as large, for receivers
    /// that read nothing else. Pyroscope takes it but loses the links: it expects ids in another form.
    #[must_use]
    pub fn to_otlp_json(&self) -> String {
        otlp::encode_json(self)
    }

    /// The batch as one pprof profile, gzip-compressed, its profiles [merged](Profile::merge). Of an empty batch
    /// there are no bytes.
    #[must_use]
    pub fn to_pprof(&self) -> Vec<u8> {
        self.merged().map_or_else(Vec::new, |profile| pprof::encode(&profile))
    }

    /// The batch as folded stacks, one line `frame;frame;frame weight` for each distinct stack, outermost frame
    /// first, its profiles [merged](Profile::merge). The spans that a stack was taken in are its first frames, each
    /// `[span] name`.
    #[must_use]
    pub fn to_folded(&self) -> String {
        self.merged().map_or_else(String::new, |profile| folded::encode(&profile))
    }

    /// The batch in parts that each have at most `max_samples` samples and at most `max_bytes` bytes, as OTLP and as
    /// uncompressed pprof (which is what Pyroscope makes of OTLP, and limits to 4 MiB). Parts of one profile have its
    /// times and notes. A batch that fits stays as it is; a single sample too large for the limit is a part of its own.
    #[must_use]
    pub fn split(&self, max_samples: usize, max_bytes: usize) -> Vec<Self> {
        let mut parts = Vec::new();
        let mut rest = vec![self.clone()];
        while let Some(batch) = rest.pop() {
            if batch.fits(max_samples, max_bytes) {
                parts.push(batch);
            } else if let Some([head, tail]) = batch.halve() {
                rest.extend([tail, head]);
            } else {
                parts.push(batch);
            }
        }
        parts
    }

    fn fits(&self, max_samples: usize, max_bytes: usize) -> bool {
        let samples: usize = self.profiles().iter().map(|profile| profile.exported().count()).sum();
        let pprof_fits = |profile: Cow<'_, Profile>| pprof::encode_uncompressed(&profile).len() <= max_bytes;
        samples <= max_samples
            && (size::bound(self) <= max_bytes
                || self.to_otlp().len() <= max_bytes && self.merged().is_none_or(pprof_fits))
    }

    fn merged(&self) -> Option<Cow<'_, Profile>> {
        match self.profiles() {
            [only] => Some(Cow::Borrowed(only)),
            several => {
                let several: Vec<&Profile> = several.iter().map(|profile| &**profile).collect();
                Profile::merge(&several).map(Cow::Owned)
            }
        }
    }
}
