//! Labels: what `#[profiled(labels(..))]` puts on samples, interned once per process.
//!
//! A sample carries one number: that of the set of all labels that hold. A set is the list of its labels, one for each
//! key, in a canonical order, so that equal sets have equal numbers however they came about. Values come from the running
//! program, so everything about them is bounded: their length, how many there are of one key, how many sets. What is too
//! much is visible under a value or a label of its own.

use super::intern::{Interner, NONE, OVERFLOW, hash};
use std::fmt::{self, Write};
use std::sync::atomic::{AtomicU32, Ordering};

/// A set of labels, as an index into the process's table. [`LabelSet::NONE`] is the empty one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LabelSet(u32);

/// The most labels that hold at once. Backends bound the labels of a series (Pyroscope: 30, resource attributes included).
const MAX_LABELS: usize = 8;
/// The most keys of a process.
const MAX_KEYS: usize = 64;
/// The most values of one key. Every value is a series of its own in a backend.
const MAX_VALUES_OF_A_KEY: u32 = 100;
/// Room for all of them, and for some that threads claim in vain when they come at the same time.
const MAX_VALUES: usize = 8192;
/// Every set is a series of its own, times the span names (Pyroscope: 5000 series for a tenant).
const MAX_SETS: usize = 1024;
/// The most bytes of a value; longer ones are cut.
const MAX_VALUE_BYTES: usize = 128;

/// Stands for the values of a key beyond [`MAX_VALUES_OF_A_KEY`].
const OTHER_VALUES: &str = "[label values overflow]";
/// The key of the label that stands for labels which did not fit: too many keys, too many at once, too many sets.
const OVERFLOW_KEY: &str = "labels_overflow";

/// The most bytes of a key. A longer one is one too many.
const MAX_KEY_BYTES: usize = 64;

/// Keys that samples have already, and one that would make Pyroscope file the sample under another service.
const RESERVED: [&str; 6] = ["trace_id", "span_id", "span_name", "region", "service.name", "service_name"];

struct Key {
    name: &'static str,
    /// How many values it has.
    values: AtomicU32,
}

struct Value {
    key: u32,
    text: Box<str>,
}

struct Tables {
    keys: Interner<Key, MAX_KEYS, { MAX_KEYS * 2 }>,
    values: Interner<Value, MAX_VALUES, { MAX_VALUES * 2 }>,
    /// Numbers of values, in ascending order of their keys' numbers.
    sets: Interner<Box<[u32]>, MAX_SETS, { MAX_SETS * 2 }>,
}

static TABLES: Tables = Tables::new();

impl LabelSet {
    /// No labels.
    pub const NONE: Self = Self(NONE);

    /// The labels, key and value, in no particular order; each key once.
    pub fn iter(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        TABLES.labels(self)
    }

    /// The value of the label `key`, if it holds.
    #[must_use]
    pub fn get(self, key: &str) -> Option<&'static str> {
        self.iter().find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    /// Whether there is no label.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == NONE
    }

    /// These labels and `key` with the text of `value`, at most 128 bytes of it, in the place of another value of that
    /// key.
    ///
    /// At most 8 labels hold at once; a process has at most 64 keys, of at most 64 bytes, a key at most 100 values, and all
    /// of them together make at most 1024 sets. Values beyond that read `[label values overflow]`; a label that does not
    /// fit otherwise leaves the label `labels_overflow` in its place. Keys that samples have already (`trace_id`,
    /// `span_id`, `span_name`, `region`), `service.name`, `service_name` and keys that begin with two underscores are
    /// ignored.
    #[must_use]
    pub fn with(self, key: &'static str, value: &dyn fmt::Display) -> Self {
        let mut text = Short::default();
        // A value that fails to print is taken as far as it came.
        let _ = write!(text, "{value}");
        TABLES.with(self, key, text.as_str())
    }

    /// The set as a number, for storage in an atomic.
    #[inline]
    pub(crate) const fn to_u32(self) -> u32 {
        self.0
    }

    /// The set stored as `number`.
    #[inline]
    pub(crate) const fn from_u32(number: u32) -> Self {
        Self(number)
    }
}

impl Tables {
    const fn new() -> Self {
        Self { keys: Interner::new(), values: Interner::new(), sets: Interner::new() }
    }

    fn labels(&self, set: LabelSet) -> impl Iterator<Item = (&str, &str)> {
        let values = self.sets.get(set.0).map_or(&[][..], |set| set);
        values.iter().filter_map(|number| {
            let value = self.values.get(*number)?;
            Some((self.keys.get(value.key)?.name, &*value.text))
        })
    }

    fn with(&self, set: LabelSet, key: &'static str, value: &str) -> LabelSet {
        if key.is_empty() || key.starts_with("__") || RESERVED.contains(&key) {
            return set;
        }
        let value = self.key(key).and_then(|key| self.value(key, value));
        value.and_then(|value| self.insert(set, value)).unwrap_or_else(|| self.overflow(set))
    }

    /// The set with a label that says that others are missing.
    fn overflow(&self, set: LabelSet) -> LabelSet {
        let key = self.keys.overflow(|| Key { name: OVERFLOW_KEY, values: AtomicU32::new(0) });
        let value = self.values.overflow(|| Value { key, text: "true".into() });
        // In the last room of the set, or alone if there is no room for another set.
        self.insert(set, value).unwrap_or_else(|| LabelSet(self.sets.overflow(|| Box::new([value]))))
    }

    fn key(&self, name: &'static str) -> Option<u32> {
        if name.len() > MAX_KEY_BYTES {
            return None;
        }
        let make = || Key { name, values: AtomicU32::new(0) };
        self.keys.intern(hash(0, name.as_bytes()), |known| known.name == name, make)
    }

    fn value(&self, key: u32, text: &str) -> Option<u32> {
        let hash_of = |text: &str| hash(key, text.as_bytes());
        let is = |text: &str, known: &Value| known.key == key && *known.text == *text;
        if let Some(known) = self.values.find(hash_of(text), |known| is(text, known)) {
            return Some(known);
        }
        let count = &self.keys.get(key)?.values;
        // Threads that come at the same time may exceed the bound by as many; the table's own bound is hard.
        let full = count.load(Ordering::Relaxed) >= MAX_VALUES_OF_A_KEY;
        let text = if full { OTHER_VALUES } else { text };
        let make = || Value { key, text: text.into() };
        let (number, is_new) = self.values.enter(hash_of(text), |known| is(text, known), make)?;
        // What another thread has entered meanwhile, it has counted.
        count.fetch_add(u32::from(is_new), Ordering::Relaxed);
        Some(number)
    }

    /// The set with a value in it, in the place of another value of its key; `None` if the set or the table is full. A
    /// set's last room is for the label that says so.
    fn insert(&self, set: LabelSet, value: u32) -> Option<LabelSet> {
        let key_of = |value: u32| self.values.get(value).map(|value| value.key);
        let key = key_of(value)?;
        let before = self.sets.get(set.0).map_or(&[][..], |set| set);
        let mut all = [0; MAX_LABELS];
        let others = before.iter().copied().filter(|other| key_of(*other) != Some(key));
        let mut length = 0;
        for other in others {
            *all.get_mut(length)? = other;
            length += 1;
        }
        let room = if key == OVERFLOW { MAX_LABELS } else { MAX_LABELS - 1 };
        if length >= room && length == before.len() {
            return None;
        }
        let sorted = all.get_mut(..=length)?;
        *sorted.last_mut()? = value;
        sorted.sort_unstable_by_key(|value| key_of(*value));
        let words: [u8; MAX_LABELS * 4] = std::array::from_fn(|i| all[i / 4].to_le_bytes()[i % 4]);
        let all = all.get(..=length)?;
        self.sets.intern(hash(0, &words), |known| **known == *all, || all.into()).map(LabelSet)
    }
}

/// Text of bounded length, on the stack: what is longer is cut between two characters.
struct Short {
    bytes: [u8; MAX_VALUE_BYTES],
    length: usize,
    is_cut: bool,
}

impl Default for Short {
    fn default() -> Self {
        Self { bytes: [0; MAX_VALUE_BYTES], length: 0, is_cut: false }
    }
}

impl Short {
    fn as_str(&self) -> &str {
        let text = self.bytes.get(..self.length).unwrap_or_default();
        std::str::from_utf8(text).unwrap_or_default()
    }
}

impl Write for Short {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.is_cut {
            return Ok(());
        }
        let room = MAX_VALUE_BYTES - self.length;
        let fits = (0..=text.len().min(room)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        self.is_cut = fits < text.len();
        if let Some(free) = self.bytes.get_mut(self.length..self.length + fits) {
            free.copy_from_slice(&text.as_bytes()[..fits]);
            self.length += fits;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables() -> &'static Tables {
        Box::leak(Box::new(Tables::new()))
    }

    fn sorted(tables: &'static Tables, set: LabelSet) -> Vec<(&'static str, &'static str)> {
        let mut labels: Vec<_> = tables.labels(set).collect();
        labels.sort_unstable();
        labels
    }

    #[test]
    fn a_set_is_its_labels_whatever_their_order_and_history() {
        let all = tables();
        let a = all.with(LabelSet::NONE, "tenant", "x");
        let ab = all.with(a, "route", "/");
        let b = all.with(LabelSet::NONE, "route", "/");
        assert_eq!(all.with(b, "tenant", "x"), ab);
        let overwritten = all.with(all.with(b, "tenant", "y"), "tenant", "x");
        assert_eq!((overwritten, sorted(all, ab)), (ab, vec![("route", "/"), ("tenant", "x")]));
        assert_eq!(all.with(ab, "tenant", "x"), ab);
        assert_eq!(sorted(all, LabelSet::NONE), []);
    }

    #[test]
    fn keys_that_samples_have_already_are_ignored() {
        for key in ["span_name", "service.name", "__name__", ""] {
            assert!(tables().with(LabelSet::NONE, key, "x").is_empty(), "{key}");
        }
    }

    #[test]
    fn values_are_cut_between_characters() {
        let set = LabelSet::NONE
            .with("label-cut", &format_args!("{}\u{fc}{}", "x".repeat(MAX_VALUE_BYTES - 1), "tail"));
        assert_eq!(set.get("label-cut"), Some(&*"x".repeat(MAX_VALUE_BYTES - 1)));
    }

    #[test]
    fn a_value_that_fails_to_print_keeps_its_beginning() {
        struct Fails;
        impl fmt::Display for Fails {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("so far")?;
                Err(fmt::Error)
            }
        }
        assert_eq!(LabelSet::NONE.with("label-fails", &Fails).get("label-fails"), Some("so far"));
    }

    #[test]
    fn too_many_values_of_a_key_are_one_visible_value() {
        let all = tables();
        let with = |i: u32| all.with(LabelSet::NONE, "user", &i.to_string());
        let distinct: std::collections::HashSet<_> = (0..10_000).map(with).collect();
        assert_eq!(distinct.len() as u32, MAX_VALUES_OF_A_KEY + 1);
        assert_eq!(sorted(all, with(7)), [("user", "7")], "known values are still found");
        assert_eq!(sorted(all, with(9_999)), [("user", OTHER_VALUES)]);
        let other_key = all.with(with(9_999), "tenant", "x");
        assert_eq!(sorted(all, other_key), [("tenant", "x"), ("user", OTHER_VALUES)]);
    }

    #[test]
    fn too_many_keys_too_many_labels_and_too_many_sets_are_visible() {
        let all = tables();
        let name = |i: usize| -> &'static str { format!("key {i}").leak() };
        let full = (0..MAX_LABELS + 3).fold(LabelSet::NONE, |set, i| all.with(set, name(i), "x"));
        let labels = sorted(all, full);
        assert_eq!((labels.len(), labels.last()), (MAX_LABELS, Some(&(OVERFLOW_KEY, "true"))));
        let changed = all.with(full, name(0), "y");
        assert!(sorted(all, changed).contains(&("key 0", "y")), "what holds can still be overwritten");

        for i in 0..2 * MAX_KEYS {
            assert!(!all.with(LabelSet::NONE, name(i), "x").is_empty());
        }
        assert_eq!(sorted(all, all.with(LabelSet::NONE, "late", "x")), [(OVERFLOW_KEY, "true")]);

        let many = tables();
        for i in 0..40 * 40 {
            let one = many.with(LabelSet::NONE, "a", &(i / 40).to_string());
            let both = many.with(one, "b", &(i % 40).to_string());
            assert!(!sorted(many, both).is_empty());
        }
        let one = many.with(LabelSet::NONE, "a", "39");
        assert_eq!(sorted(many, many.with(one, "b", "39")), [(OVERFLOW_KEY, "true")]);
    }

    #[test]
    fn threads_that_race_for_a_set_agree_on_it() {
        let all = tables();
        let values: Vec<String> = (0..90).map(|i| i.to_string()).collect();
        let race = || values.iter().map(|value| all.with(LabelSet::NONE, "race", value)).collect::<Vec<_>>();
        let sets: Vec<Vec<LabelSet>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(race)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(sets.windows(2).all(|pair| pair[0] == pair[1]));
        let texts: Vec<_> = sets[0].iter().map(|set| sorted(all, *set)[0].1).collect();
        assert_eq!(texts, values);
    }
}
