//! An identity for a file that has no GNU build id: a hash of its head, its tail and its length.
//!
//! Source: OpenTelemetry specification, `specification/profiles/mappings.md`, attribute
//! `process.executable.build_id.htlhash`: the first 16 bytes, in hex, of SHA-256 over the first 4096 bytes, the last
//! 4096 bytes and the length as eight big-endian bytes.
//!
//! The hash must be that of the file that is *mapped*. A deploy puts a new file under the old name, so the file is
//! taken only if it has the inode that the kernel names for the mapping; the executable itself can still be read
//! through `/proc/self/exe` then.

use crate::modules::Module;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};

/// How many bytes of either end are hashed.
const END: u64 = 4096;

/// The hash of `module`'s file; `None` if the mapped file cannot be read any more.
pub(super) fn htlhash(module: &Module) -> Option<String> {
    let inode = mapped_inode(module.text.start)?;
    ["/proc/self/exe", &module.path].into_iter().find_map(|path| {
        // Looked at before it is opened: opening a pipe would wait for its writer.
        let metadata = fs::metadata(path).ok()?;
        let mapped = metadata.is_file() && inode_of(&metadata) == inode;
        if mapped { hash(&File::open(path).ok()?, metadata.len()).ok() } else { None }
    })
}

fn hash(mut file: &File, length: u64) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut end = Vec::with_capacity(END as usize);
    file.take(END).read_to_end(&mut end)?;
    hasher.update(&end);
    end.clear();
    file.seek(SeekFrom::Start(length.saturating_sub(END)))?;
    file.take(END).read_to_end(&mut end)?;
    hasher.update(&end);
    hasher.update(length.to_be_bytes());
    let mut hex = String::with_capacity(32);
    for byte in hasher.finalize().iter().take(16) {
        let _ = write!(hex, "{byte:02x}"); // writing to a string does not fail
    }
    Ok(hex)
}

/// The inode of the file that is mapped at `address`. The device is not compared: overlay and btrfs file systems
/// report another one for the mapping than for the file.
fn mapped_inode(address: u64) -> Option<u64> {
    inode_at(&fs::read("/proc/self/maps").ok()?, address)
}

/// The same, of what `/proc/self/maps` says. The names of files in it need not be text.
pub(super) fn inode_at(maps: &[u8], address: u64) -> Option<u64> {
    let mut lines = maps.split(|byte| *byte == b'\n').map(String::from_utf8_lossy);
    lines.find_map(|line| inode_if_at(&line, address)).filter(|inode| *inode != 0)
}

/// The inode that one line of `/proc/self/maps` names, if the line's mapping holds `address`.
fn inode_if_at(line: &str, address: u64) -> Option<u64> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let range = u64::from_str_radix(start, 16).ok()?..u64::from_str_radix(end, 16).ok()?;
    let inode = fields.nth(3)?;
    if range.contains(&address) { inode.parse().ok() } else { None }
}

#[cfg(unix)]
fn inode_of(metadata: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode_of(_: &fs::Metadata) -> u64 {
    0
}

#[cfg(test)]
#[cfg(not(loom))] // whose build has no dev-dependencies
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn hashes_are_those_of_sha256sum() {
        // Computed with Python's hashlib from the formula in the module documentation.
        for (length, expected) in [
            (0, "af5570f5a1810b7af78caf4bc70a660f"),
            (10, "8a79737f3c7dfae453219daf9f3e40e8"),
            (5000, "8fcb735ccf036663f4dc178cf6653aac"),
            (20000, "c05fdb59695a730c8d4205abbe5f5e04"),
        ] {
            let mut file = tempfile::tempfile().unwrap();
            let bytes: Vec<u8> = (0..length).map(|i: u32| (i % 251) as u8).collect();
            file.write_all(&bytes).unwrap();
            file.rewind().unwrap();
            assert_eq!(hash(&file, length.into()).unwrap(), expected, "length {length}");
        }
    }

    #[test]
    fn a_line_of_the_maps_file_is_read_or_refused() {
        let line = "7f3c00000000-7f3c00001000 r-xp 00002000 08:01 1835034    /usr/lib/a library.so";
        assert_eq!(inode_if_at(line, 0x7f3c_0000_0fff), Some(1_835_034));
        assert_eq!(inode_if_at(line, 0x7f3c_0000_1000), None);
        for bad in ["", "x", "-", "12", "1-2", "1-2 r-xp 0 0:0", "1-zz r-xp 0 0:0 5 a"] {
            assert_eq!(inode_if_at(bad, 1), None, "{bad}");
        }
        let maps = [b"1-2 r-xp 0 0:0 5 /\xff\n".as_slice(), line.as_bytes()].concat();
        assert_eq!((inode_at(&maps, 1), inode_at(&maps, 0x7f3c_0000_0000)), (Some(5), Some(1_835_034)));
    }
}
