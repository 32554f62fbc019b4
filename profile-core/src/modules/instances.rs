//! Which modules are still the same instances as before.
//!
//! A library can be closed and another one, or the same one, opened at its very addresses. What the loader tells:
//!
//! * The list of loaded objects is in order of loading: new ones are appended. So what stayed comes first and in its old
//!   order, and whatever follows a new object, or stands before one that was loaded earlier, was loaded anew.
//! * The count of unloaded objects (`dlpi_subs`). If it has not moved, everything that was there still is. If it grew by
//!   `n`, at most `n` of the old objects are gone, so the first (old − `n`) still stand.
//! * The object itself: path, bias, addresses, segments, build id.
//!
//! What that leaves open is an object at the end of the list, like its predecessor in every way, while something was
//! unloaded. With a build id, its code is the predecessor's code, whatever happened between, and everything known of the
//! old instance holds for it: it keeps the id. Without one, its code may have changed with the file: it gets a new id.
//! So a wrong answer is possible only in the harmless direction: the same library opened again may keep its id.

use super::{BuildId, LoaderCounts, Module, ModuleId, ModuleList, Segment};
use std::ops::Range;
use std::sync::Arc;

/// A loaded object as the loader shows it: a [`Module`] without an identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoadedObject {
    pub(crate) path: Arc<str>,
    pub(crate) build_id: Option<BuildId>,
    pub(crate) bias: u64,
    pub(crate) text: Range<u64>,
    pub(crate) text_file_offset: u64,
    pub(crate) segments: Vec<Segment>,
    pub(crate) eh_frame_hdr: Option<Range<u64>>,
    /// Whether it can never be unloaded: the executable and the vdso.
    pub(crate) permanent: bool,
}

/// The list of `objects`, which are in order of loading: those that were in `previous` keep their identity, the others
/// get one from `next_id`, which must grow from call to call.
pub(crate) fn list(
    objects: Vec<LoadedObject>,
    counts: LoaderCounts,
    previous: &ModuleList,
    mut next_id: impl FnMut() -> ModuleId,
) -> ModuleList {
    let mut survivors = Survivors::new(previous, counts);
    let mut modules: Vec<Arc<Module>> = objects
        .into_iter()
        .map(|object| survivors.take(&object).unwrap_or_else(|| Arc::new(object.identified(next_id()))))
        .collect();
    modules.sort_by_key(|module| module.text.start);
    let unchanged = modules.len() == previous.modules.len()
        && modules.iter().zip(&previous.modules).all(|(now, before)| now.id == before.id);
    let generation = if unchanged { previous.generation } else { previous.generation.wrapping_add(1) };
    ModuleList { generation, modules, counts }
}

/// The old modules in order of loading, taken from the front.
struct Survivors<'a> {
    old: Vec<&'a Arc<Module>>,
    next: usize,
    /// How many of `old` certainly still stand.
    certain: usize,
    /// Whether a new object has been seen: nothing that follows is old.
    past_new: bool,
}

impl<'a> Survivors<'a> {
    fn new(previous: &'a ModuleList, counts: LoaderCounts) -> Self {
        let mut old: Vec<_> = previous.modules.iter().collect();
        old.sort_by_key(|module| module.id); // ids are given in order of loading
        let unloaded = counts.unloaded.wrapping_sub(previous.counts.unloaded);
        let certain = old.len().saturating_sub(usize::try_from(unloaded).unwrap_or(usize::MAX));
        Self { old, next: 0, certain, past_new: false }
    }

    /// The old instance that `object` still is.
    fn take(&mut self, object: &LoadedObject) -> Option<Arc<Module>> {
        let found = self.old.iter().skip(self.next).position(|module| object.is(module));
        let Some(index) = found.map(|position| self.next + position).filter(|_| !self.past_new) else {
            self.past_new = true;
            return None;
        };
        let certain = object.permanent || object.build_id.is_some() || index < self.certain;
        if !certain {
            self.past_new = true;
            return None;
        }
        self.next = index + 1;
        self.old.get(index).map(|module| Arc::clone(module))
    }
}

impl LoadedObject {
    /// Whether it looks like `module` in every way.
    pub(crate) fn is(&self, module: &Module) -> bool {
        self.bias == module.bias
            && self.path == module.path
            && self.build_id == module.build_id
            && self.text == module.text
            && self.text_file_offset == module.text_file_offset
            && self.segments == module.segments
            && self.eh_frame_hdr == module.eh_frame_hdr
    }

    fn identified(self, id: ModuleId) -> Module {
        Module {
            id,
            path: self.path,
            build_id: self.build_id,
            bias: self.bias,
            text: self.text,
            text_file_offset: self.text_file_offset,
            segments: self.segments,
            eh_frame_hdr: self.eh_frame_hdr,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str, start: u64, build_id: Option<u8>) -> LoadedObject {
        let text = start..start + 0x1000;
        LoadedObject {
            path: name.into(),
            build_id: build_id.map(|byte| BuildId(Box::new([byte; 20]))),
            bias: start,
            text: text.clone(),
            text_file_offset: 0,
            segments: vec![Segment { range: text, file_offset: 0, executable: true }],
            eh_frame_hdr: None,
            permanent: name == "exe",
        }
    }

    /// The executable and libraries without build ids, in order of loading.
    fn objects(names: &[&str]) -> Vec<LoadedObject> {
        // Addresses fall as libraries are loaded, as they do on Linux.
        let place = |name: &str| 0x7000_0000 - 0x10_0000 * u64::from(name.as_bytes()[0]);
        names.iter().map(|name| object(name, place(name), None)).collect()
    }

    fn counts(loaded: u64, unloaded: u64) -> LoaderCounts {
        LoaderCounts { loaded, unloaded }
    }

    /// Refreshes the list and answers its generation and the ids, in the order of `objects`.
    fn refresh(
        current: &mut ModuleList,
        objects: Vec<LoadedObject>,
        counts: LoaderCounts,
    ) -> (u32, Vec<u32>) {
        let next =
            std::cell::Cell::new(current.modules.iter().map(|m| m.id.0 + 1).max().unwrap_or(0).max(10));
        let starts: Vec<u64> = objects.iter().map(|object| object.text.start).collect();
        *current = list(objects, counts, current, || ModuleId(next.replace(next.get() + 1)));
        assert!(current.modules.is_sorted_by_key(|module| module.text.start));
        (current.generation, starts.iter().map(|start| current.find(*start).unwrap().id.0).collect())
    }

    #[test]
    fn what_stays_keeps_its_identity_and_its_arc() {
        let mut current = ModuleList::default();
        assert_eq!(refresh(&mut current, objects(&["exe", "a", "b"]), counts(3, 0)), (1, vec![10, 11, 12]));
        let before = current.clone();
        assert_eq!(refresh(&mut current, objects(&["exe", "a", "b"]), counts(3, 0)), (1, vec![10, 11, 12]));
        assert!(current.modules.iter().zip(&before.modules).all(|(now, before)| Arc::ptr_eq(now, before)));
        // b goes, c comes
        assert_eq!(refresh(&mut current, objects(&["exe", "a", "c"]), counts(4, 1)), (2, vec![10, 11, 13]));
        // and goes again
        assert_eq!(refresh(&mut current, objects(&["exe", "a"]), counts(4, 2)), (3, vec![10, 11]));
    }

    #[test]
    fn another_file_at_the_same_address_is_another_module() {
        let mut current = ModuleList::default();
        let with = |name, id| vec![object("exe", 0x1000, None), object(name, 0x9_0000, id)];
        refresh(&mut current, with("a", Some(1)), counts(2, 0));
        assert_eq!(
            refresh(&mut current, with("b", Some(1)), counts(3, 1)),
            (2, vec![10, 12]),
            "another name"
        );
        assert_eq!(
            refresh(&mut current, with("b", Some(2)), counts(4, 2)),
            (3, vec![10, 13]),
            "another build id"
        );
        let mut moved = with("b", Some(2));
        moved[1].segments[0].file_offset = 0x2000;
        assert_eq!(refresh(&mut current, moved, counts(5, 3)), (4, vec![10, 14]), "other segments");
    }

    #[test]
    fn without_a_build_id_a_possible_reload_is_a_new_module() {
        let mut current = ModuleList::default();
        refresh(&mut current, objects(&["exe", "a", "b", "c"]), counts(4, 0));
        // One object was unloaded and one loaded, and all look the same: it can only have been the last.
        assert_eq!(
            refresh(&mut current, objects(&["exe", "a", "b", "c"]), counts(5, 1)),
            (2, vec![10, 11, 12, 14])
        );
        // Everything but the executable may have been.
        assert_eq!(
            refresh(&mut current, objects(&["exe", "a", "b", "c"]), counts(105, 101)),
            (3, vec![10, 15, 16, 17])
        );
    }

    #[test]
    fn with_a_build_id_the_code_is_the_same_either_way() {
        let mut current = ModuleList::default();
        let both = || vec![object("exe", 0x1000, None), object("a", 0x9_0000, Some(1))];
        refresh(&mut current, both(), counts(2, 0));
        assert_eq!(refresh(&mut current, both(), counts(3, 1)), (1, vec![10, 11]));
    }

    #[test]
    fn the_order_of_loading_gives_a_reload_away() {
        let mut current = ModuleList::default();
        let [a, b] = [object("a", 0x8_0000, Some(1)), object("b", 0x9_0000, Some(2))];
        let exe = object("exe", 0x1000, None);
        let ids = refresh(&mut current, vec![exe.clone(), a.clone(), b.clone()], counts(3, 0)).1;
        assert_eq!(ids, [10, 11, 12]);
        // a now stands behind b: it was closed and opened again.
        let reordered = vec![exe.clone(), b.clone(), a.clone()];
        assert_eq!(refresh(&mut current, reordered, counts(4, 1)), (2, vec![10, 12, 13]));
        // Both now stand behind one that is new.
        let behind = vec![exe, object("c", 0xa_0000, Some(3)), b, a];
        assert_eq!(refresh(&mut current, behind, counts(7, 3)), (3, vec![10, 14, 15, 16]));
    }
}
