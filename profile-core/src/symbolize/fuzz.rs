//! Whole lookups over bytes from anywhere.

use super::bytes::ReadAt;
use super::dwarf::DebugInfo;
use super::elf::Elf;
use super::image::Image;
use super::symtab::Symtab;

/// The linkage name that the symbol table of the ELF file in `bytes` has for `address`.
pub fn elf_symbols(bytes: &[u8], address: u64) -> Option<String> {
    let source = bytes.to_vec();
    let elf = Elf::parse(&source).ok()?;
    let name = Symtab::load(&source, &elf, 1 << 20).ok()?.find(&source, address)?;
    Some(name.to_string())
}

/// How many frames the DWARF of the ELF file in `bytes` has for each address, in at most 16 MiB.
pub fn elf_dwarf(bytes: &[u8], addresses: &[u64]) -> Option<Vec<usize>> {
    const LIMIT: u64 = 16 << 20;
    let source: Box<dyn ReadAt> = Box::new(bytes.to_vec());
    let elf = Elf::parse(&*source).ok()?;
    let image = Image { source, elf, identity: None };
    let mut info = DebugInfo::load(&image, None, LIMIT).ok()?;
    let lookup = |address: &u64| info.frames(&image, *address, LIMIT).map_or(0, |frames| frames.len());
    Some(addresses.iter().map(lookup).collect())
}
