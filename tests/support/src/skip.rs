//! How a test says that it did not run: one line, in one format, where no capture can hide it.
//!
//! libtest captures what the print macros write, not what is written to standard error itself, so the line is
//! visible in every run. It is also appended to the file that `PROFILE_TEST_SKIPS` names: the continuous-integration
//! script reads that file and fails on a skip that is not in its own list.
#![allow(unreachable_pub, dead_code)] // for the program that includes it

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::Path;

/// The variable that names the file to which skips are appended.
pub const SKIPS_FILE: &str = "PROFILE_TEST_SKIPS";

/// Says that `test` does not run, and why: `SKIPPED: <test>: <reason>`.
pub fn skip(test: &str, reason: &str) {
    let line = format!("SKIPPED: {test}: {reason}\n");
    // A closed standard error must not fail the test.
    let _ = io::stderr().write_all(line.as_bytes());
    if let Some(path) = std::env::var_os(SKIPS_FILE)
        && let Err(error) = append(Path::new(&path), &line)
    {
        let _ = io::stderr().write_all(format!("{SKIPS_FILE}: {}: {error}\n", path.display()).as_bytes());
    }
}

/// Appends one line in one write, so that lines of concurrent tests stay whole.
fn append(path: &Path, line: &str) -> io::Result<()> {
    OpenOptions::new().create(true).append(true).open(path)?.write_all(line.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_appended_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("skips");
        append(&path, "SKIPPED: a: no peer\n").unwrap();
        append(&path, "SKIPPED: b: no peer\n").unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "SKIPPED: a: no peer\nSKIPPED: b: no peer\n");
    }
}
