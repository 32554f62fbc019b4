//! The real programs that the tests talk to, started on loopback and stopped by their own process id.
//!
//! A [`Peer`] owns a process and a temporary folder that holds its configuration, data and log. Starting waits until
//! the peer answers, for a bounded time, and a peer that dies meanwhile is an error that shows its log. Dropping a
//! peer asks the process to end, waits, kills it if it must, and removes the folder.

mod collector;
mod go;
mod profcheck;
mod pyroscope;
mod tempo;

pub use collector::{Collector, Received};
pub use go::Go;
pub(crate) use go::succeed;
pub use profcheck::Profcheck;
pub use pyroscope::{CPU_PROFILE, Flamegraph, Pyroscope, Selector};
pub use tempo::Tempo;

use crate::error::Context as _;
use crate::skip::skip;
use crate::{Error, Result, os};
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How often the state of a peer is looked at.
const POLL: Duration = Duration::from_millis(50);
/// How long a peer may take to end after SIGTERM.
const STOP: Duration = Duration::from_secs(15);

/// A running process with its own temporary folder.
#[derive(Debug)]
pub struct Peer {
    name: &'static str,
    child: Child,
    // Removed after the process has ended: fields are dropped after `Drop::drop`.
    dir: TempDir,
}

impl Peer {
    /// Starts `command` in `dir`, with its output in `dir/log`.
    ///
    /// # Errors
    ///
    /// The process cannot be started.
    pub fn start(name: &'static str, mut command: Command, dir: TempDir) -> Result<Self> {
        without_telemetry(&mut command);
        let log = File::create(log_path(dir.path())).context(name)?;
        let child = command
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().context(name)?)
            .stderr(log)
            .spawn()
            .context(format_args!("cannot start {name} ({:?})", command.get_program()))?;
        Ok(Self { name, child, dir })
    }

    /// Waits until `ready` says yes.
    ///
    /// # Errors
    ///
    /// The process ends, or is not ready within `limit`; with the end of its log.
    pub fn wait_until(&mut self, limit: Duration, mut ready: impl FnMut() -> bool) -> Result<()> {
        let end = Instant::now() + limit;
        while !ready() {
            if let Some(status) = self.child.try_wait()? {
                return Err(self.failure(&format!("ended ({status})")));
            }
            if Instant::now() > end {
                return Err(self.failure(&format!("is not ready after {limit:?}")));
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// The peer's folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What the process has written to its standard output and error.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(log_path(self.dir.path()))
            .map_or_else(|error| error.to_string(), |log| String::from_utf8_lossy(&log).into_owned())
    }

    /// Asks the process to end and waits; kills it if it takes longer than 15 s. Harmless when it has ended.
    ///
    /// # Errors
    ///
    /// The process had to be killed, or cannot be waited for.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        os::terminate(&self.child)?;
        if let Some(status) = wait_at_most(&mut self.child, STOP)? {
            return Ok(status);
        }
        self.child.kill()?;
        self.child.wait()?;
        Err(self.failure(&format!("did not end within {STOP:?} of SIGTERM")))
    }

    fn failure(&self, what: &str) -> Error {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(20)..].join("\n");
        Error::new(format!("{} {what}; its log ends with:\n{tail}", self.name))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

/// Takes away the variables that would configure OpenTelemetry, tracing or the profiler in a child, so that it neither
/// depends on whose machine this is nor sends anything elsewhere.
pub(crate) fn without_telemetry(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text == "RUST_LOG"
            || ["OTEL_", "PROFILE_", "JAEGER_"].iter().any(|prefix| text.starts_with(prefix))
        {
            command.env_remove(&name);
        }
    }
}

/// Waits for the child for at most `limit`; `None` if it still runs then.
pub(crate) fn wait_at_most(child: &mut Child, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let end = Instant::now() + limit;
    loop {
        match child.try_wait()? {
            None if Instant::now() < end => std::thread::sleep(Duration::from_millis(10)),
            status => return Ok(status),
        }
    }
}

/// Asks until there is an answer, for at most `limit`.
///
/// # Errors
///
/// Asking fails, or there is no answer in time.
pub fn poll<T>(limit: Duration, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if Instant::now() > end {
            return Err(Error::new(format!("no answer within {limit:?}")));
        }
        std::thread::sleep(POLL);
    }
}

/// `N` different loopback ports that nobody listens on at the moment. A stranger can take one before the peer does:
/// whoever starts a peer must be ready to try again.
///
/// # Errors
///
/// There is no free port.
pub fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut held = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
        *port = listener.local_addr()?.port();
        held.push(listener); // All stay bound until the last is chosen, so no two are the same.
    }
    Ok(ports)
}

/// Starts a peer, again with other ports if it fails: another process may have taken a port first.
fn start_with_retry<T>(mut start: impl FnMut() -> Result<T>) -> Result<T> {
    const ATTEMPTS: usize = 3;
    let mut attempt = 1;
    loop {
        match start() {
            Err(error) if attempt < ATTEMPTS && error.to_string().contains("address already in use") => {
                attempt += 1;
            }
            result => return result,
        }
    }
}

/// The program that the environment variable names, or a visible skip.
fn program_from_env(test: &str, variable: &str) -> Option<PathBuf> {
    let found = program(variable);
    if found.is_none() {
        skip(test, &format!("{variable} is not set"));
    }
    found
}

fn program(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn accepts(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
}

fn temp_dir(name: &str) -> Result<TempDir> {
    tempfile::Builder::new()
        .prefix(&format!("profile-tests-{name}-"))
        .tempdir()
        .context("no temporary folder")
}

fn log_path(dir: &Path) -> PathBuf {
    dir.join("log")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Peer {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Peer::start("sh", command, temp_dir("sh").unwrap()).unwrap()
    }

    #[test]
    fn a_peer_ends_with_its_value_and_leaves_nothing_behind() {
        let mut peer = shell("echo started; exec sleep 600");
        let dir = peer.dir().to_owned();
        peer.wait_until(Duration::from_secs(10), || {
            fs::read_to_string(dir.join("log")).is_ok_and(|log| !log.is_empty())
        })
        .unwrap();
        let process = PathBuf::from(format!("/proc/{}", peer.child.id()));
        assert!(process.exists());
        drop(peer);
        assert!(!process.exists() && !dir.exists());
    }

    #[test]
    fn a_peer_that_dies_or_never_answers_is_an_error_with_its_log() {
        let mut dead = shell("echo cannot bind; exit 3");
        let error = dead.wait_until(Duration::from_secs(10), || false).unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("cannot bind"), "{error}");
        let mut silent = shell("exec sleep 600");
        let error = silent.wait_until(Duration::from_millis(100), || false).unwrap_err().to_string();
        assert!(error.contains("not ready"), "{error}");
    }

    #[test]
    fn a_taken_port_is_tried_again_and_nothing_else_is() {
        let mut tries = 0;
        let started = start_with_retry(|| {
            tries += 1;
            if tries < 3 { Err(Error::new("bind: address already in use")) } else { Ok(tries) }
        });
        assert_eq!(started.unwrap(), 3);
        let mut tries = 0;
        let failed: Result<()> = start_with_retry(|| {
            tries += 1;
            Err(Error::new("bad configuration"))
        });
        assert!(failed.is_err() && tries == 1);
    }

    #[test]
    fn free_ports_are_free_and_different() {
        let ports = free_ports::<4>().unwrap();
        let listeners: Vec<_> =
            ports.iter().map(|port| TcpListener::bind(loopback(*port)).unwrap()).collect();
        assert_eq!(listeners.len(), 4);
    }
}
