//! The Go toolchain: it builds the Collector and brings `go tool pprof`, a reader of pprof that is not ours.

use crate::error::Context as _;
use crate::skip::skip;
use crate::{Error, Result};
use std::path::Path;
use std::process::{Command, Output};

/// An installed Go toolchain.
#[derive(Debug)]
pub struct Go(());

impl Go {
    /// The toolchain, or a visible skip of `test`.
    #[must_use]
    pub fn find(test: &str) -> Option<Self> {
        let found = Command::new("go").arg("version").output().is_ok_and(|output| output.status.success());
        if !found {
            skip(test, "Go is not installed");
        }
        found.then_some(Self(()))
    }

    /// What `go tool pprof <options> <profile>` prints, for example with `-top`, `-raw` or `-tags`. Nothing is looked
    /// up outside the profile.
    ///
    /// # Errors
    ///
    /// The tool cannot read the profile.
    pub fn pprof(&self, options: &[&str], profile: &Path) -> Result<String> {
        let mut command = Command::new("go");
        command.args(["tool", "pprof", "-symbolize=none"]).args(options).arg(profile);
        let output = command.output().context("go tool pprof")?;
        Ok(String::from_utf8_lossy(&succeed("go tool pprof", output)?.stdout).into_owned())
    }

    /// Builds the Go module in `module` into the program `program`. Needs no C compiler.
    ///
    /// # Errors
    ///
    /// The module does not build; with what the compiler says.
    pub fn build(&self, module: &Path, program: &Path) -> Result<()> {
        let mut command = Command::new("go");
        command.current_dir(module).env("CGO_ENABLED", "0").env_remove("GOFLAGS");
        command.args(["build", "-buildvcs=false", "-trimpath", "-ldflags=-s -w", "-o"]).arg(program).arg(".");
        succeed("go build", command.output().context("go build")?).map(drop)
    }
}

/// The output of a command that succeeded; otherwise an error with what it said.
pub(crate) fn succeed(name: &str, output: Output) -> Result<Output> {
    if output.status.success() {
        return Ok(output);
    }
    let said = [output.stdout, output.stderr].concat();
    Err(Error::new(format!("{name} failed ({}): {}", output.status, String::from_utf8_lossy(&said))))
}
