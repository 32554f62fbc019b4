//! Span paths: the names from a local root down to a span, interned once per process.
//!
//! A sample carries one 32-bit path instead of a list of names. Paths are few (one per place in the program where a
//! span of a name opens under another), they are bounded, and they are never freed, so reading one needs no lock
//! that a writer could hold for long.

use hashbrown::HashMap;
use std::sync::{PoisonError, RwLock};

/// The names from the outermost span down to one span, as an index into the process's path table.
///
/// `SpanPath::NONE` is the path of code outside every span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanPath(u32);

/// The most paths a process can have. Beyond that a new path becomes [`OVERFLOW_NAME`] under its root.
pub const MAX_PATHS: usize = 8192;

/// The name that stands for every span path that did not fit into the table.
pub const OVERFLOW_NAME: &str = "[span names overflow]";

struct Table {
    nodes: Vec<Node>,
    index: HashMap<(SpanPath, &'static str), SpanPath>,
}

#[derive(Clone, Copy)]
struct Node {
    parent: SpanPath,
    name: &'static str,
}

static TABLE: RwLock<Option<Table>> = RwLock::new(None);

impl SpanPath {
    /// Outside every span.
    pub const NONE: Self = Self(0);

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
        {
            let table = TABLE.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(found) = table.as_ref().and_then(|table| table.find(self, name)) {
                return found;
            }
        }
        let mut table = TABLE.write().unwrap_or_else(PoisonError::into_inner);
        table.get_or_insert_with(Table::new).insert(self, name)
    }

    /// The name of the innermost span of the path; empty for [`SpanPath::NONE`].
    #[must_use]
    pub fn name(self) -> &'static str {
        self.node().map_or("", |node| node.name)
    }

    /// The path of the enclosing span, if there is one.
    #[must_use]
    pub fn parent(self) -> Option<Self> {
        self.node().map(|node| node.parent).filter(|parent| *parent != Self::NONE)
    }

    fn node(self) -> Option<Node> {
        let table = TABLE.read().unwrap_or_else(PoisonError::into_inner);
        table.as_ref().and_then(|table| table.nodes.get(self.0 as usize).copied())
    }
}

impl Table {
    fn new() -> Self {
        Self { nodes: vec![Node { parent: SpanPath::NONE, name: "" }], index: HashMap::new() }
    }

    fn find(&self, parent: SpanPath, name: &'static str) -> Option<SpanPath> {
        let recursive = parent != SpanPath::NONE && self.nodes.get(parent.0 as usize)?.name == name;
        if recursive { Some(parent) } else { self.index.get(&(parent, name)).copied() }
    }

    fn insert(&mut self, parent: SpanPath, name: &'static str) -> SpanPath {
        if let Some(found) = self.find(parent, name) {
            return found;
        }
        // The last entries are kept for the overflow paths themselves: one below each root, and one without a root.
        let (parent, name) =
            if self.nodes.len() >= MAX_PATHS { (SpanPath::NONE, OVERFLOW_NAME) } else { (parent, name) };
        if let Some(found) = self.find(parent, name) {
            return found;
        }
        let path = SpanPath(u32::try_from(self.nodes.len()).unwrap_or(0));
        self.nodes.push(Node { parent, name });
        self.index.insert((parent, name), path);
        path
    }
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
    }

    #[test]
    fn a_full_table_answers_with_a_visible_name() {
        let mut table = Table::new();
        for i in 0..MAX_PATHS + 10 {
            table.insert(SpanPath::NONE, Box::leak(format!("name {i}").into_boxed_str()));
        }
        assert_eq!(table.nodes.len(), MAX_PATHS + 1);
        let late = table.insert(SpanPath(1), "late");
        assert_eq!(table.nodes[late.0 as usize].name, OVERFLOW_NAME);
    }
}
