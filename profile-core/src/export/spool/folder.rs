//! The folder of one process, which nobody else touches while the process lives.
//!
//! A folder gets its final name only when its lock is held, so that nobody can take it for one that was left behind.
//!
//! A file is synced before it gets its name, and its folder after that: what has a name is whole and there, also after
//! a power failure. Disks that delay writing may find only then that they are full, which is an error as any other.
//! Removals are not synced: a file that comes back is delivered twice.

use super::Entry;
use crate::random;
use crate::sys::file_lock;
use flate2::Crc;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Locked as long as the file is open.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// The folder of the exporter, with those of other processes.
    parent: PathBuf,
    _lock: File,
}

const LOCK: &str = "lock";
/// A file that is being written.
const PART: &str = "part";
/// The end of the names of files that were written.
const EXTENSION: &str = "profile";

/// A name that tells exporters apart, made of what can be in the name of a file.
pub(super) fn name_of(exporter: &str) -> String {
    let mut crc = Crc::new();
    crc.update(exporter.as_bytes());
    let kind: String = exporter.chars().take_while(char::is_ascii_alphanumeric).take(32).collect();
    format!("{kind}-{:08x}", crc.sum())
}

impl Folder {
    /// A new folder in `parent`, which is made if it is not there.
    pub(super) fn create(parent: &Path) -> io::Result<Self> {
        fs::create_dir_all(parent)?;
        let name = format!("{}-{:016x}", std::process::id(), random::word());
        let unfinished = parent.join(format!(".{name}"));
        fs::create_dir(&unfinished)?;
        let lock = File::create(unfinished.join(LOCK))?;
        if !file_lock::try_lock(&lock)? {
            return Err(io::Error::other("a new file is locked by somebody else"));
        }
        let path = parent.join(name);
        fs::rename(&unfinished, &path)?;
        // What has been made above it as well, but for what is above the user's directory.
        parent.ancestors().take(2).for_each(sync_folder);
        Ok(Self { path, parent: parent.to_owned(), _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file and gives it its name when it is whole.
    pub(super) fn write(&self, start_unix_nanos: u64, number: u64, contents: &[u8]) -> io::Result<PathBuf> {
        let part = self.path.join(PART);
        let written = File::create(&part).and_then(|mut file| {
            file.write_all(contents)?;
            file.sync_data()
        });
        let path = self.path.join(format!("{start_unix_nanos:020}-{number:06}.{EXTENSION}"));
        let named = written.and_then(|()| fs::rename(&part, &path));
        if let Err(cause) = named {
            drop(fs::remove_file(&part));
            return Err(cause);
        }
        sync_folder(&self.path);
        Ok(path)
    }

    /// Moves the files of processes that are gone into this folder, and removes theirs.
    pub(super) fn adopt(&self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for folder in fs::read_dir(&self.parent)?.flatten() {
            let theirs = folder.path();
            let is_other = theirs != self.path && !folder.file_name().to_string_lossy().starts_with('.');
            if is_other && let Some(_lock) = lock_of(&theirs) {
                self.adopt_from(&theirs, &mut entries);
            }
        }
        Ok(entries)
    }

    fn adopt_from(&self, theirs: &Path, entries: &mut Vec<Entry>) {
        for file in fs::read_dir(theirs).into_iter().flatten().flatten() {
            let name = file.file_name();
            if name == LOCK {
                continue;
            }
            // The part that a process was writing when it was killed is kept like a whole file: its checksum decides.
            let kept = match name == PART {
                true => format!("{:020}-{:08x}.{EXTENSION}", u64::MAX, random::word() as u32).into(),
                false => name,
            };
            let path = self.path.join(unique(&self.path, kept));
            let bytes = file.metadata().map(|metadata| metadata.len()).unwrap_or(0);
            if fs::rename(file.path(), &path).is_ok() {
                entries.push(Entry { path, bytes });
            }
        }
        // Not empty if something in it could not be moved: then the lock stays too, for whoever comes next.
        if fs::read_dir(theirs).is_ok_and(|rest| rest.count() == 1) {
            drop(fs::remove_file(theirs.join(LOCK)));
            drop(fs::remove_dir(theirs));
        }
    }
}

/// A name that `folder` does not have yet: two processes may have written windows of one start.
fn unique(folder: &Path, name: std::ffi::OsString) -> std::ffi::OsString {
    let is_free = |name: &std::ffi::OsString| !folder.join(name).exists();
    if is_free(&name) {
        return name;
    }
    let stem = name.to_string_lossy().trim_end_matches(&format!(".{EXTENSION}")).to_owned();
    format!("{stem}-{:016x}.{EXTENSION}", random::word()).into()
}

/// Has the names in a folder survive a power failure. Some file systems cannot do that, and some need not be asked.
fn sync_folder(path: &Path) {
    drop(File::open(path).and_then(|folder| folder.sync_all()));
}

/// The lock of a folder whose process is gone.
fn lock_of(folder: &Path) -> Option<File> {
    let lock = File::open(folder.join(LOCK)).ok()?;
    // Whoever had it in between may have removed the folder.
    let is_there = |lock: &File| file_lock::is_at(lock, &folder.join(LOCK));
    (file_lock::try_lock(&lock).unwrap_or(false) && is_there(&lock)).then_some(lock)
}

/// What is left when the process ends in order: nothing, if everything was delivered.
impl Drop for Folder {
    fn drop(&mut self) {
        if fs::read_dir(&self.path).is_ok_and(|rest| rest.count() == 1) {
            drop(fs::remove_file(self.path.join(LOCK)));
            drop(fs::remove_dir(&self.path));
        }
    }
}
