//! Bounded, positioned reads: the only way this module looks at a file.

use super::elf::Fault;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::path::Path;

/// Bytes that are read by position: a file, memory of this process, or a buffer.
pub(super) trait ReadAt: Send {
    /// How many bytes there are.
    fn size(&self) -> u64;

    /// Fills `buffer` from `offset`; an error if there are not enough bytes.
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

/// The longest linkage name that is read; longer ones are cut and marked.
const LONGEST_NAME: usize = 16 << 10;

/// Reads `size` bytes from `offset`, at most `limit`.
pub(super) fn read(source: &dyn ReadAt, offset: u64, size: u64, limit: u64) -> Result<Vec<u8>, Fault> {
    if size > limit {
        return Err(Fault::TooLarge);
    }
    // Checked before anything is allocated: a malformed header can claim any size.
    if offset.checked_add(size).is_none_or(|end| end > source.size()) {
        return Err(Fault::Truncated);
    }
    let mut bytes = vec![0; usize::try_from(size).map_err(|_| Fault::TooLarge)?];
    source.read_exact_at(offset, &mut bytes).map_err(|_| Fault::Read)?;
    Ok(bytes)
}

/// Reads the string at `at` of the string table in `table`, up to its NUL or the table's end.
pub(super) fn read_string(source: &dyn ReadAt, table: &Range<u64>, at: u64) -> Result<Vec<u8>, Fault> {
    let start = table.start.checked_add(at).filter(|start| *start < table.end).ok_or(Fault::Malformed)?;
    let end = table.end.min(source.size());
    let mut name = Vec::new();
    let mut chunk = [0; 256];
    while name.len() < LONGEST_NAME {
        let from = start + name.len() as u64;
        let wanted = end.saturating_sub(from).min(chunk.len() as u64) as usize;
        let Some(part) = chunk.get_mut(..wanted).filter(|part| !part.is_empty()) else { break };
        source.read_exact_at(from, part).map_err(|_| Fault::Read)?;
        if let Some(length) = part.iter().position(|byte| *byte == 0) {
            name.extend_from_slice(part.get(..length).unwrap_or_default());
            break;
        }
        name.extend_from_slice(part);
    }
    Ok(name)
}

/// A regular file and its size when it was opened.
pub(super) struct RegularFile {
    file: File,
    size: u64,
}

impl RegularFile {
    /// Opens `path` if it is a regular file. Never blocks on what has become a pipe or a device.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK | libc::O_NOCTTY);
        let file = options.open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Self { size: metadata.len(), file })
    }

    /// What tells this file from any other, and from itself after a change.
    pub(super) fn identity(&self) -> Option<FileIdentity> {
        let metadata = self.file.metadata().ok()?;
        Some(FileIdentity::of(&metadata))
    }
}

impl ReadAt for RegularFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        read_file(&self.file, offset, buffer)
    }
}

/// Tells files apart, and notices changes of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileIdentity {
    #[cfg(unix)]
    device_and_inode: (u64, u64),
    size: u64,
    modified: Option<std::time::SystemTime>,
}

impl FileIdentity {
    fn of(metadata: &std::fs::Metadata) -> Self {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt;
        Self {
            #[cfg(unix)]
            device_and_inode: (metadata.dev(), metadata.ino()),
            size: metadata.len(),
            modified: metadata.modified().ok(),
        }
    }
}

/// Memory of this process, read through the kernel: an address that is not mapped is an error, not a fault.
pub(super) struct ProcessMemory {
    memory: File,
    range: Range<u64>,
}

impl ProcessMemory {
    /// The bytes at `range`; offset 0 is its start.
    pub(super) fn open(range: Range<u64>) -> io::Result<Self> {
        Ok(Self { memory: File::open("/proc/self/mem")?, range })
    }
}

impl ReadAt for ProcessMemory {
    fn size(&self) -> u64 {
        self.range.end.saturating_sub(self.range.start)
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64).filter(|end| *end <= self.size());
        let address = self.range.start.checked_add(offset).filter(|_| end.is_some());
        read_file(&self.memory, address.ok_or(io::ErrorKind::UnexpectedEof)?, buffer)
    }
}

impl ReadAt for Vec<u8> {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let bytes = start.checked_add(buffer.len()).and_then(|end| self.get(start..end));
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

#[cfg(unix)]
fn read_file(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

#[cfg(not(unix))]
fn read_file(mut file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
    use std::io::{Read, Seek, SeekFrom};
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(buffer)
}
