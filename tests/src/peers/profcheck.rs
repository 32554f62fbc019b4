//! profcheck, the OpenTelemetry profiling group's own conformance checker.

use super::{program, program_from_env, temp_dir};
use crate::error::Context as _;
use crate::{Error, Result};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

const VARIABLE: &str = "PROFCHECK_BIN";

/// An installed profcheck.
#[derive(Debug)]
pub struct Profcheck {
    program: PathBuf,
}

impl Profcheck {
    /// The program that `PROFCHECK_BIN` names, or a visible skip of `test`.
    #[must_use]
    pub fn find(test: &str) -> Option<Self> {
        program_from_env(test, VARIABLE).map(|program| Self { program })
    }

    /// The program that `PROFCHECK_BIN` names, if it is set.
    #[must_use]
    pub fn installed() -> Option<Self> {
        program(VARIABLE).map(|program| Self { program })
    }

    /// Runs every check on a binary `ProfilesData` (an `ExportProfilesServiceRequest` has the same bytes); what it
    /// finds wrong is the error.
    ///
    /// # Errors
    ///
    /// profcheck's findings, or why it could not run.
    pub fn check(&self, bytes: &[u8]) -> Result<()> {
        let dir = temp_dir("profcheck")?;
        let payload = dir.path().join("payload.bin");
        fs::write(&payload, bytes)?;
        let checks = ["-check-dupes=true", "-check-sample-shapes=true", "-check-orphans=true"];
        let output = Command::new(&self.program).args(checks).arg(&payload).output().context("profcheck")?;
        if output.status.success() {
            return Ok(());
        }
        let said = [output.stdout, output.stderr].concat();
        Err(Error::new(format!("profcheck: {}", String::from_utf8_lossy(&said).trim_end())))
    }
}
