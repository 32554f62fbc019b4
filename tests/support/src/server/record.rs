//! What a server is still to do, and what it was sent.

use super::Request;
use std::collections::VecDeque;

/// Of a server that follows a script of `S`, over whatever protocol.
#[derive(Debug)]
pub struct Record<S> {
    /// What it does with the next requests.
    pub script: VecDeque<S>,
    /// All requests that came, those that were refused too.
    pub requests: Vec<Request>,
    /// How many connections there were.
    pub connections: usize,
    /// How many profiles it has taken.
    pub taken: u64,
    /// The starts and weights of the profiles that were taken whole.
    pub taken_profiles: Vec<(u64, i64)>,
}

impl<S> Record<S> {
    /// Nothing came yet.
    pub fn new(script: impl IntoIterator<Item = S>) -> Self {
        Self {
            script: script.into_iter().collect(),
            requests: Vec::new(),
            connections: 0,
            taken: 0,
            taken_profiles: Vec::new(),
        }
    }

    /// Takes the profiles in a request but for so many. Which those are is not known, so none counts as taken whole then.
    pub fn take(&mut self, request: &Request, rejected: i64) {
        // A request of another protocol than OTLP has one profile, which its own tests look at.
        let is_otlp = !request.head.starts_with("POST /push.v1.");
        let profiles = if is_otlp { request.starts_and_weights() } else { vec![(0, 0)] };
        self.taken += (profiles.len() as u64).saturating_sub(rejected.max(0) as u64);
        if rejected == 0 {
            self.taken_profiles.extend(profiles);
        }
    }
}
