//! The directory of a file exporter: whole files only, and only so many.
//!
//! All files of one batch are written under hidden names first and renamed when all are complete. A rename within a
//! directory is atomic; of several, the first ones may be done when the process dies, so that at worst one format is a
//! batch ahead of another.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The contents of files by their extension.
type Files = [(&'static str, Vec<u8>)];

#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    base: String,
    max_numbers: usize,
    /// The numbers of the numbered files, this process's and earlier ones'.
    numbers: BTreeSet<u64>,
}

/// Longer numbers are not ours.
const MAX_DIGITS: usize = 12;

impl Directory {
    /// Creates the directory if need be, writes a file to see whether that works, and finds the numbered files.
    pub(super) fn open(path: PathBuf, base: String, max_numbers: usize) -> io::Result<Self> {
        let mut directory = Self { path, base, max_numbers, numbers: BTreeSet::new() };
        fs::create_dir_all(&directory.path)?;
        let probe = directory.hidden("probe");
        fs::write(&probe, b"?")?;
        fs::remove_file(&probe)?;
        for entry in fs::read_dir(&directory.path)?.flatten() {
            let number = entry.file_name().to_str().and_then(|name| directory.number_of(name));
            directory.numbers.extend(number);
        }
        Ok(directory)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes or replaces the files without a number; returns their size.
    pub(super) fn replace_current(&self, files: &Files) -> io::Result<u64> {
        self.write(&self.base, files)
    }

    /// Writes files with the next number, and deletes those that are too many.
    pub(super) fn write_next(&mut self, files: &Files) -> io::Result<u64> {
        let number = self.next_number();
        let written = self.write(&self.numbered(number), files)?;
        self.numbers.insert(number);
        self.prune();
        Ok(written)
    }

    /// Gives the files without a number the next one, and deletes those that are too many.
    pub(super) fn number_current(&mut self, extensions: &[&'static str]) -> io::Result<()> {
        let number = self.next_number();
        for extension in extensions {
            let (current, numbered) =
                (self.file(&self.base, extension), self.numbered_file(number, extension));
            match fs::rename(current, numbered) {
                // Someone has taken it away, which is as good.
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
                result => result?,
            }
        }
        self.numbers.insert(number);
        self.prune();
        Ok(())
    }

    fn write(&self, stem: &str, files: &Files) -> io::Result<u64> {
        fs::create_dir_all(&self.path)?;
        let written = files.iter().try_for_each(|(extension, content)| {
            let mut file = fs::File::create(self.hidden(extension))?;
            file.write_all(content)?;
            file.flush()
        });
        let renamed = written.and_then(|()| {
            files
                .iter()
                .try_for_each(|(extension, _)| fs::rename(self.hidden(extension), self.file(stem, extension)))
        });
        if renamed.is_err() {
            for (extension, _) in files {
                // Whether it was there or not: there shall be none.
                drop(fs::remove_file(self.hidden(extension)));
            }
        }
        renamed.map(|()| files.iter().map(|(_, content)| content.len() as u64).sum())
    }

    /// Deletes the files with the lowest numbers. One that cannot be deleted is forgotten: it may be someone else's.
    fn prune(&mut self) {
        while self.numbers.len() > self.max_numbers
            && let Some(number) = self.numbers.pop_first()
        {
            for extension in super::ALL_FORMATS.map(super::FileFormat::extension) {
                drop(fs::remove_file(self.numbered_file(number, extension)));
            }
        }
    }

    fn next_number(&self) -> u64 {
        self.numbers.last().map_or(1, |last| last + 1)
    }

    fn numbered(&self, number: u64) -> String {
        format!("{}-{number:06}", self.base)
    }

    fn numbered_file(&self, number: u64, extension: &str) -> PathBuf {
        self.file(&self.numbered(number), extension)
    }

    fn file(&self, stem: &str, extension: &str) -> PathBuf {
        self.path.join(format!("{stem}.{extension}"))
    }

    /// The process id keeps two processes from writing to one hidden file.
    fn hidden(&self, extension: &str) -> PathBuf {
        self.path.join(format!(".{}.{}.{extension}.tmp", self.base, std::process::id()))
    }

    /// The number in the name of a numbered file.
    fn number_of(&self, name: &str) -> Option<u64> {
        let rest = name.strip_prefix(&self.base)?.strip_prefix('-')?;
        let (digits, extension) = rest.split_once('.')?;
        let is_ours = super::ALL_FORMATS.iter().any(|format| format.extension() == extension);
        let is_number =
            (1..=MAX_DIGITS).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        if is_ours && is_number { digits.parse().ok() } else { None }
    }
}
