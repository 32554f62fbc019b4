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
