//! Where the profiler talks to the developer: warnings about configuration and delivery, and a few notices.
//!
//! Everything goes through one sink, standard error unless [`set_sink`] says otherwise (`profile-layer` makes events of
//! `tracing` of it). A message has a *key*: what
//! repeats under one key, such as a destination that refuses every batch, is shown once a minute at most, with the
//! number of messages left out. The profiler runs for months, and nobody reads a log that it floods.

use std::fmt::Arguments;
use std::io::Write;
use std::sync::{Mutex, PoisonError, RwLock, TryLockError};
use std::time::{Duration, Instant};

/// How much a message matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// Worth knowing once, such as that no exporter is configured.
    Info,
    /// Something is wrong that the developer can put right.
    Warn,
}

/// Where messages go. Called on the profiler's own threads and on those that configure it, never in a signal
/// handler; it may block, but must not call back into the profiler.
pub type Sink = fn(Level, &str);

/// Sends all further messages to `sink` instead of standard error.
pub fn set_sink(sink: Sink) {
    *SINK.write().unwrap_or_else(PoisonError::into_inner) = Some(sink);
}

/// Sends all further messages to `sink`, unless somebody has set one.
pub fn set_sink_if_unset(sink: Sink) {
    SINK.write().unwrap_or_else(PoisonError::into_inner).get_or_insert(sink);
}

/// Warns the developer; `key` names the kind of warning for the purpose of rate limiting.
pub fn warn(key: &str, message: Arguments<'_>) {
    say(Level::Warn, key, message);
}

/// Tells the developer something that is not wrong; `key` as for [`warn`].
pub fn info(key: &str, message: Arguments<'_>) {
    say(Level::Info, key, message);
}

static SINK: RwLock<Option<Sink>> = RwLock::new(None);
static LIMITER: Mutex<Limiter> = Mutex::new(Limiter { entries: Vec::new() });

/// How long a key stays silent after a message.
const SILENCE: Duration = Duration::from_secs(60);

/// How many keys are remembered. Keys are few (one for each place and exporter); the bound is for the unforeseen.
const MAX_KEYS: usize = 128;

/// The longest message in bytes: room for a report. What is quoted of values and servers has smaller bounds.
const MAX_MESSAGE: usize = 64 << 10;

fn say(level: Level, key: &str, message: Arguments<'_>) {
    // Locks that are taken right now, perhaps by a thread of the process that this one was forked from, are not waited for:
    // then the message is shown, whatever came before.
    let verdict = match LIMITER.try_lock() {
        Ok(mut limiter) => limiter.ask(key, Instant::now()),
        Err(TryLockError::Poisoned(limiter)) => limiter.into_inner().ask(key, Instant::now()),
        Err(TryLockError::WouldBlock) => Some(0),
    };
    let Some(left_out) = verdict else { return };
    let mut text = message.to_string();
    truncate(&mut text, MAX_MESSAGE);
    if left_out > 0 {
        text.push_str(&format!(" ({left_out} more like this were not shown)"));
    }
    // The lock is released before the call: a sink may take its time.
    let sink = match SINK.try_read() {
        Ok(sink) => *sink,
        Err(TryLockError::Poisoned(sink)) => *sink.into_inner(),
        Err(TryLockError::WouldBlock) => None,
    };
    sink.unwrap_or(to_stderr)(level, &text);
}

/// Writes a message to standard error, as is done with all of them when there is no sink.
///
/// Not `eprintln!`, which panics when standard error is closed.
pub fn to_stderr(level: Level, message: &str) {
    let label = if level == Level::Warn { "warning: " } else { "" };
    let line = format!("profile: {label}{message}\n");
    // There is no one left to tell about a failure to tell.
    drop(std::io::stderr().write_all(line.as_bytes()));
}

/// Cuts `text` to at most `limit` bytes, at a character's boundary.
pub(crate) fn truncate(text: &mut String, limit: usize) {
    if text.len() > limit {
        let end = (0..=limit).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
}

/// When each key was last shown.
struct Limiter {
    entries: Vec<Entry>,
}

struct Entry {
    key: String,
    shown: Instant,
    left_out: u64,
}

impl Limiter {
    /// Whether a message of `key` may be shown now, and if so, how many were left out since the last one.
    fn ask(&mut self, key: &str, now: Instant) -> Option<u64> {
        let Some(entry) = self.entries.iter_mut().find(|entry| entry.key == key) else {
            if self.entries.len() >= MAX_KEYS {
                self.entries.remove(0);
            }
            self.entries.push(Entry { key: key.to_owned(), shown: now, left_out: 0 });
            return Some(0);
        };
        if now.saturating_duration_since(entry.shown) < SILENCE {
            entry.left_out += 1;
            return None;
        }
        entry.shown = now;
        Some(std::mem::take(&mut entry.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_shown_once_a_minute_with_a_count_of_the_rest() {
        let mut limiter = Limiter { entries: Vec::new() };
        let start = Instant::now();
        assert_eq!(limiter.ask("a", start), Some(0));
        assert_eq!(limiter.ask("a", start + Duration::from_secs(1)), None);
        assert_eq!(
            limiter.ask("b", start + Duration::from_secs(1)),
            Some(0),
            "keys do not silence each other"
        );
        assert_eq!(limiter.ask("a", start + Duration::from_secs(59)), None);
        assert_eq!(limiter.ask("a", start + Duration::from_secs(60)), Some(2));
        assert_eq!(limiter.ask("a", start + Duration::from_secs(120)), Some(0));
    }

    #[test]
    fn the_table_of_keys_is_bounded() {
        let mut limiter = Limiter { entries: Vec::new() };
        let now = Instant::now();
        for key in 0..10 * MAX_KEYS {
            assert_eq!(limiter.ask(&key.to_string(), now), Some(0));
        }
        assert_eq!(limiter.entries.len(), MAX_KEYS);
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let mut text = "é".repeat(10);
        truncate(&mut text, 5);
        assert_eq!(text, "éé…");
        let mut short = "abc".to_owned();
        truncate(&mut short, 3);
        assert_eq!(short, "abc");
    }
}
