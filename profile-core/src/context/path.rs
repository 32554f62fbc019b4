//! Span paths: the names from the outermost span down to one span, interned once per process.
//!
//! A sample carries one 32-bit path instead of a list of names. Paths are few (one for each place in the program
//! where a span of some name opens below another), bounded and never freed. The table is lock-free: a node is written
//! once by the thread that claimed its number and becomes reachable by a compare-exchange on a slot of the index, so
//! a thread that dies or a fork in the middle of an insertion leaves nothing locked behind.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The names from the outermost span down to one span, as an index into the process's path table.
///
/// [`SpanPath::NONE`] is the path of code outside every span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanPath(u32);

/// The most paths a process can have. Beyond that a new path becomes [`OVERFLOW_NAME`].
pub(crate) const MAX_PATHS: usize = 8192;

/// The name that stands for every span path that did not fit into the table.
pub(crate) const OVERFLOW_NAME: &str = "[span names overflow]";

/// Slots of the hash index: twice the nodes, so that probing stays short even when the table is full.
const SLOTS: usize = MAX_PATHS * 2;
const NO_NODE: u32 = 0;
const OVERFLOW: SpanPath = SpanPath(1);

/// One path. Written once, before its number is stored in a slot of the index.
struct Node {
    parent: SpanPath,
    name: &'static str,
    /// How many spans opened with this path.
    opened: AtomicU64,
}

struct Table {
    nodes: [OnceLock<Node>; MAX_PATHS],
    /// The next unclaimed node. 0 stands for "no node", 1 for the overflow path.
    next: AtomicU32,
    index: [AtomicU32; SLOTS],
}

static TABLE: Table = Table::new();

impl SpanPath {
    /// Outside every span.
    pub const NONE: Self = Self(NO_NODE);

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

    /// Counts a span that opened with this path.
    pub(crate) fn count_opened(self) {
        if let Some(node) = TABLE.node(self) {
            node.opened.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Every path in use, with the number of spans that opened with it since the process started.
    pub(crate) fn all() -> impl Iterator<Item = (Self, u64)> {
        let end = TABLE.next.load(Ordering::Acquire).min(MAX_PATHS as u32);
        (1..end).map(Self).filter_map(|path| Some((path, TABLE.node(path)?.opened.load(Ordering::Relaxed))))
    }
}

impl Table {
    const fn new() -> Self {
        Self {
            nodes: [const { OnceLock::new() }; MAX_PATHS],
            next: AtomicU32::new(OVERFLOW.0 + 1),
            index: [const { AtomicU32::new(NO_NODE) }; SLOTS],
        }
    }

    fn node(&self, path: SpanPath) -> Option<&Node> {
        self.nodes.get(path.0 as usize)?.get()
    }

    fn name(&self, path: SpanPath) -> &'static str {
        self.node(path).map_or("", |node| node.name)
    }

    fn child(&self, parent: SpanPath, name: &'static str) -> SpanPath {
        if parent != SpanPath::NONE && self.name(parent) == name {
            return parent;
        }
        let mut claimed = None;
        let start = hash(parent, name);
        for probe in 0..SLOTS {
            let slot = &self.index[(start + probe) % SLOTS];
            let mut found = slot.load(Ordering::Acquire);
            if found == NO_NODE {
                let Some(fresh) = claimed.or_else(|| self.claim(parent, name)) else {
                    return self.overflow();
                };
                claimed = Some(fresh);
                match slot.compare_exchange(NO_NODE, fresh, Ordering::Release, Ordering::Acquire) {
                    Ok(_) => return SpanPath(fresh),
                    // Another thread took the slot, perhaps for this very path. A node claimed in vain stays unused.
                    Err(winner) => found = winner,
                }
            }
            if self.node(SpanPath(found)).is_some_and(|node| node.parent == parent && same(node.name, name)) {
                return SpanPath(found);
            }
        }
        self.overflow()
    }

    /// Takes an unused node and writes it; `None` when the table is full.
    fn claim(&self, parent: SpanPath, name: &'static str) -> Option<u32> {
        // Checked before it is counted up, so that a full table cannot run the counter round.
        if self.next.load(Ordering::Relaxed) as usize >= MAX_PATHS {
            return None;
        }
        let number = self.next.fetch_add(1, Ordering::AcqRel);
        let node = Node { parent, name, opened: AtomicU64::new(0) };
        self.nodes.get(number as usize)?.set(node).ok()?;
        Some(number)
    }

    fn overflow(&self) -> SpanPath {
        let node = || Node { parent: SpanPath::NONE, name: OVERFLOW_NAME, opened: AtomicU64::new(0) };
        self.nodes[OVERFLOW.0 as usize].get_or_init(node);
        OVERFLOW
    }
}

/// Equal names are mostly one constant; the same text from another crate is another constant.
fn same(a: &'static str, b: &'static str) -> bool {
    std::ptr::eq(a, b) || a == b
}

fn hash(parent: SpanPath, name: &str) -> usize {
    const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut hash = u64::from(parent.0).wrapping_mul(ODD) ^ name.len() as u64;
    for chunk in name.as_bytes().chunks(8) {
        let word = chunk.iter().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
        hash = (hash ^ word).wrapping_mul(ODD).rotate_left(29);
    }
    (hash.wrapping_mul(ODD) >> 32) as usize % SLOTS
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
