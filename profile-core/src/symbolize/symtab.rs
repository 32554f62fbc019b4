//! The function symbols of an image: a sorted table of 12 bytes a function.
//!
//! Names stay in the file's string table: of 100,000 functions a profile shows a few thousand, and the names of the
//! others (10 MB in a large Rust program) need never be in memory. A name is read when its function is first found.

use super::bytes::{ReadAt, read_string};
use super::elf::{Elf, Fault, SHT_DYNSYM, SHT_SYMTAB, u16_at, u32_at, u64_at};
use hashbrown::HashMap;
use std::cmp::Reverse;
use std::ops::Range;
use std::sync::Arc;

/// The function symbols of one image, by address.
#[derive(Debug)]
pub(super) struct Symtab {
    /// What `Entry::start` is relative to.
    base: u64,
    /// Sorted by `start`; aliases in order of preference.
    entries: Box<[Entry]>,
    /// The string table's place in the file.
    names: Range<u64>,
    /// Names that were read, by index into `entries`: a function is usually found at many addresses.
    known: HashMap<u32, Arc<str>>,
    /// What the names in `known` take, in bytes.
    known_memory: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    start: u32,
    size: u32,
    name: u32,
}

/// `Elf64_Sym`: what kind of thing, how it is bound, and whether it is defined here.
const STT_FUNC: u8 = 2;
const STT_GNU_IFUNC: u8 = 10;
const STB_GLOBAL: u8 = 1;
const STB_WEAK: u8 = 2;
const STB_GNU_UNIQUE: u8 = 10;
const SHN_UNDEF: u16 = 0;

const SYMBOL_SIZE: usize = 24;
const CHUNK: usize = SYMBOL_SIZE * 2048;
/// How many functions that start before an address, but end before it too, are looked at: functions nest in
/// hand-written assembly, by one level.
const LOOK_BACK: usize = 16;
/// How many names of one function are compared.
const MOST_ALIASES: usize = 16;
/// The memory of names that were read, in bytes, after which they are read anew.
const MOST_KNOWN: u64 = 2 << 20;
/// About what a name takes beside its text.
const NAME_MEMORY: u64 = 48;

impl Symtab {
    /// Reads `.symtab`, or `.dynsym` where that was stripped. At most `most_bytes` of memory are kept.
    pub(super) fn load(source: &dyn ReadAt, elf: &Elf, most_bytes: u64) -> Result<Self, Fault> {
        let tables = elf.linked(SHT_SYMTAB).or_else(|| elf.linked(SHT_DYNSYM));
        let (symbols, names) = tables.ok_or(Fault::Absent)?;
        if symbols.file.end > source.size() {
            return Err(Fault::Truncated);
        }
        let most = most_bytes / size_of::<Entry>() as u64;
        let mut found = Vec::new();
        let mut chunk = vec![0; CHUNK];
        let mut at = symbols.file.start;
        while symbols.file.end - at >= SYMBOL_SIZE as u64 {
            let size = (symbols.file.end - at).min(CHUNK as u64) as usize / SYMBOL_SIZE * SYMBOL_SIZE;
            let Some(part) = chunk.get_mut(..size) else { break };
            source.read_exact_at(at, part).map_err(|_| Fault::Read)?;
            for symbol in part.chunks_exact(SYMBOL_SIZE) {
                found.extend(function(symbol, elf)?);
            }
            if found.len() as u64 > most {
                return Err(Fault::TooLarge);
            }
            at += size as u64;
        }
        found.sort_unstable_by_key(|f| (f.entry.start, f.rank, Reverse(f.entry.size), f.entry.name));
        end_at_next_function(&mut found);
        let entries = found.into_iter().map(|found| found.entry).collect();
        let names = names.file.clone();
        Ok(Self { base: elf.base(), entries, names, known: HashMap::new(), known_memory: 0 })
    }

    /// The linkage name of the function at `address` (of the file), read from `source`, which must be what the table
    /// was loaded from.
    pub(super) fn find(&mut self, source: &dyn ReadAt, address: u64) -> Option<Arc<str>> {
        let relative = u32::try_from(address.checked_sub(self.base)?).ok()?;
        let mut end = self.entries.partition_point(|entry| entry.start <= relative);
        for _ in 0..LOOK_BACK {
            let before = self.entries.get(..end)?;
            let start = before.last()?.start;
            let first = before.partition_point(|entry| entry.start < start);
            let covers = |entry: &Entry| relative - entry.start < entry.size;
            let names =
                (first..end).filter(|index| before.get(*index).is_some_and(covers)).take(MOST_ALIASES);
            let names: Vec<usize> = names.collect();
            let names = names.into_iter().filter_map(|index| self.name(source, index));
            // Of several names of one function the plainest: `write`, not `__write`; of equals the first.
            let plainness =
                |name: &Arc<str>| (name.bytes().take_while(|byte| *byte == b'_').count(), name.len());
            if let Some(plainest) = names.min_by_key(plainness) {
                return Some(plainest);
            }
            end = first;
        }
        None
    }

    fn name(&mut self, source: &dyn ReadAt, index: usize) -> Option<Arc<str>> {
        let key = u32::try_from(index).ok()?;
        if let Some(known) = self.known.get(&key) {
            return Some(Arc::clone(known));
        }
        let name = read_string(source, &self.names, self.entries.get(index)?.name.into()).ok()?;
        let name: Arc<str> = String::from_utf8_lossy(&name).into();
        if name.is_empty() {
            return None;
        }
        if self.known_memory > MOST_KNOWN {
            self.known.clear();
            self.known_memory = 0;
        }
        self.known_memory += NAME_MEMORY + name.len() as u64;
        self.known.insert(key, Arc::clone(&name));
        Some(name)
    }

    /// The memory it holds, in bytes.
    pub(super) fn memory(&self) -> u64 {
        size_of_val(&*self.entries) as u64 + self.known_memory
    }
}

/// A function symbol while the table is built.
struct Found {
    entry: Entry,
    /// By binding: global, weak, local.
    rank: u8,
    sized: bool,
}

/// The symbol's entry if it is a function of this file.
fn function(symbol: &[u8], file: &Elf) -> Result<Option<Found>, Fault> {
    let (name, info) = (u32_at(symbol, 0)?, symbol.get(4).copied().unwrap_or_default());
    let (section, address, size) = (u16_at(symbol, 6)?, u64_at(symbol, 8)?, u64_at(symbol, 16)?);
    let is_function = [STT_FUNC, STT_GNU_IFUNC].contains(&(info & 0xf));
    if !is_function || section == SHN_UNDEF || !file.is_code(address) {
        return Ok(None);
    }
    let Ok(start) = u32::try_from(address - file.base()) else { return Ok(None) };
    // A symbol without a size (assembly) reaches to the next function, but not beyond its section: what follows
    // there is often the table of jumps to other libraries.
    let section_end = || file.section_end(section).map_or(0, |end| end.saturating_sub(address));
    let reach = if size == 0 { section_end() } else { size };
    let entry = Entry { start, size: u32::try_from(reach).unwrap_or(u32::MAX), name };
    let rank = match info >> 4 {
        STB_GLOBAL | STB_GNU_UNIQUE => 0,
        STB_WEAK => 1,
        _ => 2,
    };
    Ok(Some(Found { entry, rank, sized: size != 0 }))
}

/// Ends each function without a size at the start of the next one.
fn end_at_next_function(sorted: &mut [Found]) {
    let (mut this, mut next) = (u32::MAX, u32::MAX);
    for Found { entry, sized, .. } in sorted.iter_mut().rev() {
        if entry.start != this {
            (this, next) = (entry.start, this);
        }
        if !*sized {
            entry.size = entry.size.min(next - entry.start);
        }
    }
}
