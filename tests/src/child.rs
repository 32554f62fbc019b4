//! Builds and runs the example programs, as a user would.

use crate::error::Context as _;
use crate::peers::{succeed, wait_at_most, without_telemetry};
use crate::{Error, Result};
use serde_json::Value;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A built example program.
#[derive(Clone, Debug)]
pub struct Example {
    name: String,
    program: PathBuf,
}

/// What a program left behind.
#[derive(Debug)]
pub struct Run {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to its standard output.
    pub stdout: String,
    /// What it wrote to its standard error.
    pub stderr: String,
    /// How long it ran.
    pub elapsed: Duration,
    /// The folder that it ran in, removed with this value.
    pub dir: TempDir,
}

impl Example {
    /// The release build of the example `name`: the file that `PROFILE_<NAME>_BIN` names (for example
    /// `PROFILE_QUICKSTART_BIN`), or else what Cargo builds.
    ///
    /// # Errors
    ///
    /// It does not build.
    pub fn release(name: &str) -> Result<Self> {
        let variable = format!("PROFILE_{}_BIN", name.to_uppercase().replace('-', "_"));
        let program = match std::env::var_os(variable).filter(|value| !value.is_empty()) {
            Some(program) => PathBuf::from(program),
            None => build(name)?,
        };
        Ok(Self { name: name.to_owned(), program })
    }

    /// Runs the program with `arguments` in an empty folder and waits for at most `limit`. It sees the variables `env`
    /// and the test's own, less all that would configure OpenTelemetry, tracing or the profiler.
    ///
    /// # Errors
    ///
    /// It does not start, or is killed because it does not end in time.
    pub fn run(&self, arguments: &[&str], env: &[(&str, &str)], limit: Duration) -> Result<Run> {
        let dir = tempfile::tempdir()?;
        let (out, err) = (dir.path().join(".stdout"), dir.path().join(".stderr"));
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(dir.path()).stdin(Stdio::null());
        command.stdout(File::create(&out)?).stderr(File::create(&err)?);
        without_telemetry(&mut command);
        command.envs(env.iter().copied());

        let start = Instant::now();
        let mut child = command.spawn().context(format_args!("cannot start {}", self.program.display()))?;
        let ended = wait_at_most(&mut child, limit)?;
        let elapsed = start.elapsed();
        let read = |path| fs::read(path).map(|text| String::from_utf8_lossy(&text).into_owned());
        let (stdout, stderr) = (read(&out)?, read(&err)?);
        let Some(status) = ended else {
            child.kill()?;
            child.wait()?;
            return Err(Error::new(format!("{} runs longer than {limit:?}:\n{stdout}\n{stderr}", self.name)));
        };
        Ok(Run { status, stdout, stderr, elapsed, dir })
    }
}

impl Run {
    /// The run, if the program succeeded.
    ///
    /// # Errors
    ///
    /// It did not; with what it said.
    pub fn ok(self) -> Result<Self> {
        if self.status.success() {
            return Ok(self);
        }
        Err(Error::new(format!("{}:\n{}\n{}", self.status, self.stdout, self.stderr)))
    }
}

/// Builds the example with the Cargo that runs the tests; where the program is, Cargo says itself.
fn build(name: &str) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // As the README's command does: in another folder Cargo would choose other features, and build everything again.
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    command.args(["build", "--release", "--message-format=json", "--example", name]);
    let output = succeed("cargo build", command.output().context("cargo build")?)?;
    let messages = String::from_utf8_lossy(&output.stdout).into_owned();
    let built = messages.lines().find_map(|line| executable_of(&serde_json::from_str(line).ok()?, name));
    built.context(format_args!("cargo names no program for the example {name}"))
}

fn executable_of(message: &Value, name: &str) -> Option<PathBuf> {
    let is_it = message["reason"] == "compiler-artifact" && message["target"]["name"] == name;
    message["executable"].as_str().filter(|_| is_it).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell() -> Example {
        Example { name: "sh".into(), program: "/bin/sh".into() }
    }

    const LIMIT: Duration = Duration::from_secs(20);

    #[test]
    fn output_status_and_files_of_a_run_are_kept() {
        let script = "echo out; echo $ANSWER >&2; echo left > behind; exit 3";
        let run = shell().run(&["-c", script], &[("ANSWER", "42")], LIMIT).unwrap();
        assert_eq!((run.stdout.as_str(), run.stderr.as_str(), run.status.code()), ("out\n", "42\n", Some(3)));
        assert!(run.dir.path().join("behind").exists());
        let error = run.ok().unwrap_err().to_string();
        assert!(error.contains("42"), "{error}");
    }

    #[test]
    fn a_program_that_does_not_end_or_start_is_an_error() {
        let error = shell().run(&["-c", "exec sleep 600"], &[], Duration::from_millis(100)).unwrap_err();
        assert!(error.to_string().contains("runs longer"), "{error}");
        let missing = Example { name: "none".into(), program: "/nonexistent".into() };
        assert!(missing.run(&[], &[], LIMIT).is_err());
    }

    #[test]
    fn cargo_says_where_the_program_is() {
        let message = serde_json::json!({
            "reason": "compiler-artifact", "target": {"name": "quickstart"}, "executable": "/t/quickstart",
        });
        assert_eq!(executable_of(&message, "quickstart"), Some("/t/quickstart".into()));
        assert_eq!(executable_of(&message, "other"), None);
        assert_eq!(executable_of(&serde_json::json!({"reason": "build-finished"}), "quickstart"), None);
    }
}
