//! `#[profiled]` as the compiler shows it: what is accepted, and the words and the place of every error.
//!
//! The wording around our messages is the compiler's and changes with it. So the expected output is compared only under
//! the compiler it was written with (`compiler`) or when `PROFILE_UI_STDERR` is set; other compilers need only refuse
//! the same files. To write the expected output anew: `PROFILE_UI_STDERR=1 TRYBUILD=overwrite cargo test -p profile-ui-tests`.

#[rustfmt::skip] // Its spellings are what it is about.
mod accepted;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

type Outcome = Result<(), Box<dyn Error>>;

/// Set for the child process that checks refusals only.
const REFUSALS_IN: &str = "PROFILE_UI_REFUSALS_IN";

#[test]
fn what_is_accepted_compiles_and_runs() {
    accepted::all();
}

#[test]
fn refused() -> Outcome {
    if let Some(copies) = env::var_os(REFUSALS_IN) {
        trybuild::TestCases::new().compile_fail(Path::new(&copies).join("*.rs"));
    } else if env::var_os("PROFILE_UI_STDERR").is_some() || is_the_pinned_compiler()? {
        trybuild::TestCases::new().compile_fail("fail/*.rs");
    } else {
        only_refused()?;
    }
    Ok(())
}

fn is_the_pinned_compiler() -> Result<bool, Box<dyn Error>> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = String::from_utf8(Command::new(rustc).arg("--version").output()?.stdout)?;
    let pinned = fs::read_to_string(manifest_dir().join("compiler"))?;
    Ok(version.starts_with(pinned.trim()))
}

/// Runs this test again on copies of the files, and lets it write there whatever this compiler says: it still fails for
/// a file that compiles.
fn only_refused() -> Outcome {
    let copies = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    for entry in fs::read_dir(manifest_dir().join("fail"))? {
        let path = entry?.path();
        if let (Some("rs"), Some(name)) = (path.extension().and_then(|end| end.to_str()), path.file_name()) {
            fs::copy(&path, copies.path().join(name))?;
        }
    }
    let status = Command::new(env::current_exe()?)
        .args(["--exact", "refused", "--nocapture"])
        .env(REFUSALS_IN, copies.path())
        .env("TRYBUILD", "overwrite")
        .status()?;
    assert!(status.success(), "this compiler accepts what it should refuse");
    Ok(())
}

fn manifest_dir() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}
