//! Profiles on disk until they are delivered, for those who must not lose a window.
//!
//! ```text
//!  <directory>/<exporter>/<process>/lock                     held as long as the process lives
//!                                  /<start>-<number>.profile one profile, with its resource
//! ```
//!
//! A profile is written before it is queued, and its file is removed when the destination has taken it, or has refused it
//! for good. So a file is what nobody has delivered: because the process was killed, because the destination was away for
//! longer than anything is tried, because the queue in memory was full. Such files are tried again, oldest first, when the
//! destination takes something, and by the next process that is started with the same directory and exporter. What can
//! happen twice is a delivery of which the answer was lost; what cannot happen is that two processes deliver one file: a
//! process takes over the folder of another only when it gets the lock, which the kernel gives up when a process ends,
//! however it ends.
//!
//! The spool of each exporter is bounded in bytes; the oldest files make room for new ones. A disk that is full costs the
//! files, not the profiles in memory.
//!
//! Every file is synced when it is written, so that it survives a power failure and not the process alone. That takes
//! milliseconds (a median of 4 to 8 and a maximum of 39 on a busy ext4), once for each window and exporter, on the thread
//! that makes profiles of closed windows. Several windows may wait for it, so that even a disk that takes seconds costs
//! none, and neither the program's threads nor the sampling wait.

mod entry;
mod folder;

use crate::diag;
use crate::profile::{Profile, ProfileBatch};
use crate::resource::Resource;
use crate::stats::ExporterStats;
use folder::Folder;
use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The bytes that the spool of an exporter may take by default.
pub const DEFAULT_SPOOL_BYTES: u64 = 64 << 20;

/// The files of one exporter.
#[derive(Debug)]
pub(super) struct Spool {
    folder: Folder,
    max_bytes: u64,
    stats: Arc<ExporterStats>,
    state: Mutex<State>,
}

/// A profile that is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    path: PathBuf,
    bytes: u64,
}

#[derive(Debug, Default)]
struct State {
    /// What all files take.
    bytes: u64,
    /// The files that no queue knows of, oldest first.
    left: VecDeque<Entry>,
    number: u64,
}

/// Whether files can be made in `directory`, which is made if it is not there.
pub(crate) fn check_directory(directory: &Path) -> io::Result<()> {
    Folder::create(directory).map(drop)
}

impl Spool {
    /// The spool of the exporter `name` below `directory`, with all that dead processes left in it.
    pub(super) fn open(
        directory: &Path,
        name: &str,
        max_bytes: u64,
        stats: Arc<ExporterStats>,
    ) -> io::Result<Self> {
        let folder = Folder::create(&directory.join(folder::name_of(name)))?;
        let mut left = folder.adopt()?;
        left.sort_by(|a, b| a.path.file_name().cmp(&b.path.file_name()));
        let bytes = left.iter().map(|entry| entry.bytes).sum();
        let state = Mutex::new(State { bytes, left: left.into(), number: 0 });
        let spool = Self { folder, max_bytes, stats, state };
        let mut state = spool.lock();
        spool.make_room(&mut state, 0);
        spool.stats.spool_bytes.set(state.bytes);
        drop(state);
        Ok(spool)
    }

    /// Writes a profile; `None` if that is not possible, which is counted.
    pub(super) fn write(&self, profile: &Arc<Profile>, resource: &Arc<Resource>) -> Option<Entry> {
        let batch = ProfileBatch::new(Arc::clone(resource), vec![Arc::clone(profile)]);
        let contents = entry::encode(&batch.to_otlp());
        let bytes = contents.len() as u64;
        let mut state = self.lock();
        if !self.make_room(&mut state, bytes) {
            self.refused(format_args!("the bound of {} bytes is reached", self.max_bytes));
            return None;
        }
        state.number += 1;
        match self.folder.write(profile.start_unix_nanos(), state.number, &contents) {
            Ok(path) => {
                state.bytes += bytes;
                self.stats.spool_bytes.set(state.bytes);
                self.stats.spool_written.add(1);
                Some(Entry { path, bytes })
            }
            Err(cause) => {
                self.refused(format_args!("{cause}"));
                None
            }
        }
    }

    /// The profile is delivered, or never will be.
    pub(super) fn remove(&self, entry: &Entry) {
        let mut state = self.lock();
        // A file that is gone already was taken away by somebody else; there is nothing to be done about any other failure.
        drop(fs::remove_file(&entry.path));
        self.shrink(&mut state, entry);
    }

    /// The profile leaves the queue undelivered: its file is for later.
    pub(super) fn keep(&self, entry: Entry) {
        self.lock().left.push_back(entry);
    }

    /// The oldest profile that no queue knows of. What cannot be read is counted and removed.
    pub(super) fn take_left(&self) -> Option<(Entry, ProfileBatch)> {
        loop {
            let entry = self.lock().left.pop_front()?;
            if let Some(batch) = fs::read(&entry.path).ok().and_then(|contents| entry::decode(&contents)) {
                return Some((entry, batch));
            }
            self.stats.spool_corrupt.add(1);
            diag::warn(
                "spool corrupt",
                format_args!("{}: not a whole profile; removed", entry.path.display()),
            );
            self.remove(&entry);
        }
    }

    /// Gives back what [`take_left`](Self::take_left) gave and could not be delivered.
    pub(super) fn put_back(&self, entry: Entry) {
        self.lock().left.push_front(entry);
    }

    /// Where the files are.
    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Removes the oldest files that no queue knows of until `bytes` more fit; whether they do.
    fn make_room(&self, state: &mut State, bytes: u64) -> bool {
        while state.bytes.saturating_add(bytes) > self.max_bytes {
            let Some(oldest) = state.left.pop_front() else { return false };
            drop(fs::remove_file(&oldest.path));
            self.shrink(state, &oldest);
            self.refused(format_args!("an old profile made room for newer ones"));
        }
        true
    }

    fn shrink(&self, state: &mut State, gone: &Entry) {
        state.bytes = state.bytes.saturating_sub(gone.bytes);
        self.stats.spool_bytes.set(state.bytes);
    }

    fn refused(&self, why: std::fmt::Arguments<'_>) {
        self.stats.spool_refused.add(1);
        diag::warn(
            "spool refused",
            format_args!("{}: a profile is not kept on disk: {why}", self.path().display()),
        );
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
