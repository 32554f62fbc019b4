//! Span paths: the names from the outermost span down to one span, interned once per process.
//!
//! A sample carries one 32-bit path instead of a list of names. Paths are few (one for each place in the program
//! where a span of some name opens below another), bounded and never freed.

use super::intern::{Interner, NONE, hash};
use crate::stats::Counter;

/// The names from the outermost span down to one span, as an index into the process's path table.
///
/// [`SpanPath::NONE`] is the path of code outside every span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanPath(u32);

/// The most paths a process can have. Beyond that a new path becomes [`OVERFLOW_NAME`].
pub(crate) const MAX_PATHS: usize = 8192;

/// The name that stands for every span path that did not fit into the table.
pub(crate) const OVERFLOW_NAME: &str = "[span names overflow]";

/// One path.
struct Node {
    parent: SpanPath,
    name: &'static str,
    counts: Counts,
}

/// What is known of the spans of one path, since the process started.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) opened: Counter,
    pub(crate) closed: Counter,
    /// How long those that closed were open, together and at most, in nanoseconds.
    pub(crate) open_nanos: Counter,
    pub(crate) longest_nanos: Counter,
    /// Those that a layer does not follow. They are counted with a path of their name alone.
    pub(crate) left_out: Counter,
    /// Those of a trace that is not sampled, and those without ids.
    pub(crate) unsampled: Counter,
    pub(crate) without_ids: Counter,
}

struct Table(Interner<Node, MAX_PATHS, { MAX_PATHS * 2 }>);

static TABLE: Table = Table::new();

impl SpanPath {
    /// Outside every span.
    pub const NONE: Self = Self(NONE);

    /// The path as a number, for storage in a sample.
    #[must_use]
    pub const fn to_u32(self) -> u32 {
        self.0
    }

    /// The path stored as `index`. An index that names no path reads as a path without a name.
    #[must_use]
    pub const fn from_u32(index: u32) -> Self {
        Self(index)
    }

    /// The path of a span called `name` below `self`. Direct recursion (`a` below `a`) stays the same path, so
    /// recursive spans do not grow without bound.
    #[must_use]
    pub fn child(self, name: &'static str) -> Self {
        TABLE.child(self, name)
    }

    /// The name of the innermost span of the path; empty for [`SpanPath::NONE`].
    #[must_use]
    pub fn name(self) -> &'static str {
        TABLE.name(self)
    }

    /// The path of the enclosing span, if there is one.
    #[must_use]
    pub fn parent(self) -> Option<Self> {
        TABLE.node(self).map(|node| node.parent).filter(|parent| *parent != Self::NONE)
    }

    /// Where spans of this path are counted.
    pub(crate) fn counts(self) -> Option<&'static Counts> {
        TABLE.node(self).map(|node| &node.counts)
    }

    /// Every path in use, with its counts.
    pub(crate) fn all() -> impl Iterator<Item = (Self, &'static Counts)> {
        TABLE.0.numbers().filter_map(|number| Some((Self(number), Self(number).counts()?)))
    }
}

impl Table {
    const fn new() -> Self {
        Self(Interner::new())
    }

    fn node(&self, path: SpanPath) -> Option<&Node> {
        self.0.get(path.0)
    }

    fn name(&self, path: SpanPath) -> &'static str {
        self.node(path).map_or("", |node| node.name)
    }

    fn child(&self, parent: SpanPath, name: &'static str) -> SpanPath {
        if parent != SpanPath::NONE && self.name(parent) == name {
            return parent;
        }
        let is = |node: &Node| node.parent == parent && same(node.name, name);
        let make = || Node { parent, name, counts: Counts::default() };
        let number = self.0.intern(hash(parent.0, name.as_bytes()), is, make);
        SpanPath(number.unwrap_or_else(|| self.0.overflow(overflow)))
    }
}

fn overflow() -> Node {
    Node { parent: SpanPath::NONE, name: OVERFLOW_NAME, counts: Counts::default() }
}

/// Equal names are mostly one constant; the same text from another crate is another constant.
fn same(a: &'static str, b: &'static str) -> bool {
    std::ptr::eq(a, b) || a == b
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_keeps_names_and_parents_and_is_interned() {
        let root = SpanPath::NONE.child("path-root");
        let leaf = root.child("path-leaf");
        assert_eq!(leaf, SpanPath::NONE.child("path-root").child("path-leaf"));
        assert_eq!((leaf.name(), leaf.parent(), root.parent()), ("path-leaf", Some(root), None));
        assert_eq!(leaf.child("path-leaf"), leaf, "direct recursion is one path");
        let same_text: &'static str = Box::leak(String::from("path-leaf").into_boxed_str());
        assert_eq!(root.child(same_text), leaf, "equal text is one path wherever it lies");
    }

    #[test]
    fn a_full_table_answers_with_a_visible_name() {
        let table: Box<Table> = Box::new(Table::new());
        for i in 0..MAX_PATHS + 10 {
            table.child(SpanPath::NONE, Box::leak(format!("name {i}").into_boxed_str()));
        }
        let late = table.child(SpanPath(7), "late");
        assert_eq!(table.name(late), OVERFLOW_NAME);
        assert_eq!(
            table.name(table.child(SpanPath::NONE, "name 17")),
            "name 17",
            "known paths are still found"
        );
    }

    #[test]
    fn threads_that_race_for_a_path_agree_on_it() {
        let table: Box<Table> = Box::new(Table::new());
        let names: Vec<&'static str> = (0..500).map(|i| &*format!("race {i}").leak()).collect();
        let paths: Vec<Vec<SpanPath>> = std::thread::scope(|scope| {
            let race = || names.iter().map(|name| table.child(SpanPath::NONE, name)).collect::<Vec<_>>();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(race)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(paths.windows(2).all(|pair| pair[0] == pair[1]));
    }
}
