//! What has been looked up, kept as long as its module lives.
//!
//! The key is (module instance, offset in the file), never the address alone: after a library is closed another one
//! can take its very place. A name or path exists once, however many frames show it. Both tables are bounded: at the
//! bound everything is forgotten and counted, which costs the lookups anew but never memory.

use super::SourceFrame;
use super::demangle::demangle;
use crate::modules::ModuleId;
use hashbrown::{HashMap, HashSet};
use std::sync::Arc;

/// Frames by module instance and file address.
#[derive(Debug)]
pub(super) struct Cache {
    index: HashMap<(ModuleId, u64), u32>,
    frames: Vec<(ModuleId, u64, Box<[SourceFrame]>)>,
    /// Functions, files: every string of a frame but linkage names.
    names: HashSet<Arc<str>>,
    /// The function that each linkage name stands for. Demangling costs more than all the rest of a lookup in a
    /// symbol table, and most functions are found at many addresses.
    functions: HashMap<Arc<str>, Arc<str>>,
    /// What the frames and names take, in bytes, without the hash tables.
    memory: u64,
    most_addresses: usize,
    clears: u64,
}

/// Frames and names of 65,536 addresses take about this much in a program with DWARF.
const MOST_MEMORY: u64 = 32 << 20;

impl Cache {
    /// A cache of at most `most_addresses`.
    pub(super) fn new(most_addresses: usize) -> Self {
        let most_addresses = most_addresses.clamp(1, u32::MAX as usize);
        Self {
            index: HashMap::new(),
            frames: Vec::new(),
            names: HashSet::new(),
            functions: HashMap::new(),
            memory: 0,
            most_addresses,
            clears: 0,
        }
    }

    /// Where the frames of `address` (of the file) are.
    pub(super) fn find(&self, module: ModuleId, address: u64) -> Option<u32> {
        self.index.get(&(module, address)).copied()
    }

    /// The frames at `place`, as [`find`](Self::find) or [`insert`](Self::insert) returned it just now.
    pub(super) fn frames(&self, place: u32) -> &[SourceFrame] {
        self.frames.get(place as usize).map(|(_, _, frames)| &**frames).unwrap_or_default()
    }

    /// Keeps the frames of `address`.
    pub(super) fn insert(&mut self, module: ModuleId, address: u64, frames: Box<[SourceFrame]>) -> u32 {
        if self.frames.len() >= self.most_addresses || self.memory > MOST_MEMORY {
            self.clears += 1;
            self.clear();
        }
        self.memory += size_of_val(&*frames) as u64;
        let place = self.frames.len() as u32; // below `most_addresses`, which fits
        self.frames.push((module, address, frames));
        self.index.insert((module, address), place);
        place
    }

    /// The one copy of `name`.
    pub(super) fn intern(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        self.memory += name.len() as u64;
        self.names.insert(Arc::clone(&name));
        name
    }

    /// The one copy of `linkage_name`, and the function that it stands for.
    pub(super) fn intern_function(&mut self, linkage_name: &str) -> (Arc<str>, Arc<str>) {
        if let Some((linkage_name, function)) = self.functions.get_key_value(linkage_name) {
            return (Arc::clone(linkage_name), Arc::clone(function));
        }
        let function = self.intern(&demangle(linkage_name));
        let linkage_name: Arc<str> = linkage_name.into();
        self.memory += linkage_name.len() as u64;
        self.functions.insert(Arc::clone(&linkage_name), Arc::clone(&function));
        (linkage_name, function)
    }

    /// Forgets every module for which `lives` is false, and the names only they used.
    pub(super) fn retain(&mut self, lives: impl Fn(ModuleId) -> bool) {
        if self.frames.iter().all(|(module, ..)| lives(*module)) {
            return;
        }
        self.frames.retain(|(module, ..)| lives(*module));
        let places = self.frames.iter().zip(0..);
        self.index = places.map(|((module, address, _), place)| ((*module, *address), place)).collect();
        self.functions.retain(|linkage_name, _| Arc::strong_count(linkage_name) > 1);
        self.names.retain(|name| Arc::strong_count(name) > 1);
        let names: usize = self.names.iter().chain(self.functions.keys()).map(|name| name.len()).sum();
        let frames: usize = self.frames.iter().map(|(_, _, frames)| size_of_val(&**frames)).sum();
        self.memory = (names + frames) as u64;
    }

    /// How many addresses are known.
    pub(super) fn addresses(&self) -> usize {
        self.frames.len()
    }

    /// How often everything was forgotten because a bound was reached.
    pub(super) fn clears(&self) -> u64 {
        self.clears
    }

    fn clear(&mut self) {
        self.index.clear();
        self.frames.clear();
        self.names.clear();
        self.functions.clear();
        self.memory = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(cache: &mut Cache, name: &str) -> Box<[SourceFrame]> {
        Box::new([SourceFrame { function: cache.intern(name), ..SourceFrame::default() }])
    }

    #[test]
    fn at_its_bound_it_is_cleared_and_counted() {
        let mut cache = Cache::new(3);
        for address in 0..7 {
            let frames = frame(&mut cache, "f");
            let place = cache.insert(ModuleId(1), address, frames);
            assert_eq!(&*cache.frames(place)[0].function, "f");
        }
        assert_eq!((cache.addresses(), cache.clears()), (1, 2));
        assert_eq!(cache.find(ModuleId(1), 5), None);
        assert!(cache.find(ModuleId(1), 6).is_some());
    }

    #[test]
    fn names_exist_once_and_go_with_their_last_module() {
        let mut cache = Cache::new(100);
        for module in [ModuleId(1), ModuleId(2)] {
            let frames = frame(&mut cache, "shared");
            cache.insert(module, 0x10, frames);
        }
        let (linkage_name, function) = cache.intern_function("_RNvC7mycrate4only");
        let frame = SourceFrame { function, system_name: Some(linkage_name), ..SourceFrame::default() };
        cache.insert(ModuleId(1), 0x20, Box::new([frame]));
        assert_eq!((cache.names.len(), cache.functions.len()), (2, 1));
        cache.retain(|module| module == ModuleId(2));
        assert_eq!(cache.names.iter().map(|name| &**name).collect::<Vec<_>>(), ["shared"]);
        assert!(cache.functions.is_empty());
        assert_eq!(cache.find(ModuleId(1), 0x10), None);
        let place = cache.find(ModuleId(2), 0x10).unwrap();
        assert_eq!(&*cache.frames(place)[0].function, "shared");
        assert_eq!(cache.memory, ("shared".len() + size_of::<SourceFrame>()) as u64);
    }
}
