//! `ProfileCollector`: windows of samples become profiles.
//!
//! Two threads: one empties the rings and closes windows (`profile-collect`), the other symbolises closed windows and
//! hands the finished profiles on (`profile-finish`), so that a slow symbol lookup never keeps a ring from being emptied.

use crate::collector::{Closed, Command, Policy, Worker};
use crate::diag;
use crate::error::{Error, ErrorKind, Result};
use crate::profile::{Profile, SpanScope};
use crate::sampler::{Engine, InUse, cpu};
use crate::stats::Stats;
use crate::symbolize::{NativeSymbolizer, Symbolizer};
use crate::sys::{process, task};
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many closed windows may wait to be finished. More mean that symbolising is slower than real time.
const WAITING_WINDOWS: usize = 4;
/// How long a stop waits for the last window to be finished.
const FINISH: Duration = Duration::from_secs(10);

/// How samples are taken and windows are cut.
#[derive(Clone, Debug)]
pub(crate) struct CollectorConfig {
    pub(crate) frequency: u32,
    pub(crate) window: Duration,
    pub(crate) scope: SpanScope,
    pub(crate) engine: Engine,
    pub(crate) policy: Policy,
}

/// Called with every finished profile, on the thread that finishes them.
pub(crate) type OnProfile = Box<dyn FnMut(&Arc<Profile>) + Send>;

/// Samples the process and makes a [`Profile`] of every window.
///
/// At most one runs in a process: the sampler is the process's. It stays with the process that built it: in a forked child
/// it does not run, has nothing to hand on, and cannot be started. A child that is to be profiled builds one of its own.
pub struct ProfileCollector {
    /// The [fork count](process::forks) of the process that built it. In a child no lock of it may be touched, since whoever
    /// held it at the fork does not exist there, nor do the threads.
    forks: u32,
    config: CollectorConfig,
    stats: Arc<Stats>,
    on_profile: Arc<Mutex<OnProfile>>,
    running: Mutex<Option<Running>>,
    /// Between two runs: what it has read need not be read again.
    symbolizer: KeptSymbolizer,
}

type KeptSymbolizer = Arc<Mutex<Option<NativeSymbolizer>>>;
type Reply = Sender<Option<Arc<Profile>>>;

struct Running {
    commands: Sender<Command<Reply>>,
    /// Says when the last window has been finished.
    finished: Receiver<()>,
    engine: InUse,
}

/// The process whose sampler is taken, as its [fork count](process::forks) plus one; 0 is nobody's. A child does not inherit
/// the claim.
static TAKEN: AtomicU32 = AtomicU32::new(0);

/// Claims the one sampler of this process.
fn take() -> bool {
    let own = process::forks().wrapping_add(1);
    TAKEN.swap(own, Ordering::SeqCst) != own
}

impl ProfileCollector {
    pub(crate) fn new(config: CollectorConfig, stats: Arc<Stats>, on_profile: OnProfile) -> Self {
        process::watch_forks();
        Self {
            forks: process::forks(),
            config,
            stats,
            on_profile: Arc::new(Mutex::new(on_profile)),
            running: Mutex::new(None),
            symbolizer: Arc::default(),
        }
    }

    /// Whether this is the process that built the collector.
    pub(super) fn is_here(&self) -> bool {
        self.forks == process::forks()
    }

    /// Starts sampling. A collector that runs already goes on.
    ///
    /// # Errors
    /// [`AlreadyRunning`](ErrorKind::AlreadyRunning) when another collector samples this process;
    /// [`Unsupported`](ErrorKind::Unsupported) when the system refuses the signal handler or a thread, and in a forked
    /// child.
    pub fn start(&self) -> Result<()> {
        if !self.is_here() {
            let what =
                "the collector belongs to the process that this one was forked from: build another profiler";
            return Err(Error::new(ErrorKind::Unsupported, what));
        }
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.is_some() {
            return Ok(());
        }
        if !take() {
            return Err(Error::new(ErrorKind::AlreadyRunning, "a profiler already samples this process"));
        }
        let started = self.launch();
        if started.is_err() {
            cpu::stop();
            TAKEN.store(0, Ordering::SeqCst);
        }
        *running = Some(started?);
        Ok(())
    }

    /// Stops sampling and finishes the last window. The signal handler stays installed and passes on what is not ours.
    /// A collector that does not run is left alone.
    ///
    /// # Errors
    /// [`Deadline`](ErrorKind::Deadline) when the last window was not finished within ten seconds.
    pub fn stop(&self) -> Result<()> {
        self.stop_until(Instant::now() + FINISH)
    }

    pub(super) fn stop_until(&self, deadline: Instant) -> Result<()> {
        if !self.is_here() {
            return Ok(());
        }
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(running) = running else { return Ok(()) };
        cpu::stop();
        // A worker that is gone has dropped its receiver; then there is nothing to wait for.
        let _ = running.commands.send(Command::Stop);
        let left = deadline.saturating_duration_since(Instant::now());
        // Signalled when the last window is finished, and disconnected when the threads are gone without.
        let finished = running.finished.recv_timeout(left);
        TAKEN.store(0, Ordering::SeqCst);
        match finished {
            Err(mpsc::RecvTimeoutError::Timeout) => {
                Err(Error::new(ErrorKind::Deadline, "the last window was not finished in time and is lost"))
            }
            _ => Ok(()),
        }
    }

    /// Whether the process is being sampled by this collector.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.is_here() && self.running.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// The engine in use, while the process is being sampled by this collector.
    pub(super) fn engine(&self) -> Option<InUse> {
        if !self.is_here() {
            return None;
        }
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .map(|running| running.engine.clone())
    }

    /// Closes the current window now, instead of when its time is up, and returns its profile, which also goes to the
    /// processor as every other. `None` when nothing was sampled.
    ///
    /// # Errors
    /// [`Stopped`](ErrorKind::Stopped) when the collector does not run; [`Deadline`](ErrorKind::Deadline) when the profile
    /// is not ready after `timeout`.
    pub fn collect(&self, timeout: Duration) -> Result<Option<Arc<Profile>>> {
        let stopped = || Error::new(ErrorKind::Stopped, "the collector is not running");
        if !self.is_here() {
            return Err(stopped());
        }
        let (reply, answer) = mpsc::channel();
        {
            let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            let running = running.as_ref().ok_or_else(stopped)?;
            running.commands.send(Command::Collect(reply)).map_err(|_| stopped())?;
        }
        answer.recv_timeout(timeout).map_err(|error| match error {
            mpsc::RecvTimeoutError::Timeout => {
                Error::new(ErrorKind::Deadline, "the profile was not ready in time")
            }
            mpsc::RecvTimeoutError::Disconnected if self.is_running() => {
                Error::new(ErrorKind::Deadline, "symbolising is slower than real time: the window was lost")
            }
            mpsc::RecvTimeoutError::Disconnected => stopped(),
        })
    }

    fn launch(&self) -> Result<Running> {
        let unsupported = |what: &'static str| {
            move |error: std::io::Error| Error::new(ErrorKind::Unsupported, what).because(error)
        };
        let period_nanos = 1_000_000_000 / u64::from(self.config.frequency.max(1));
        let started = cpu::start(period_nanos, self.config.engine)
            .map_err(unsupported("the handler of SIGPROF could not be installed"))?;
        let (commands, inbox) = mpsc::channel();
        let (windows, to_finish) = mpsc::sync_channel(WAITING_WINDOWS);
        let (done, finished) = mpsc::channel();
        let finisher = Finisher {
            scope: self.config.scope,
            kept: Arc::clone(&self.symbolizer),
            remark: started.engine.remark.clone(),
            on_profile: Arc::clone(&self.on_profile),
        };
        task::spawn("profile-finish", move || finisher.run(&to_finish, &done))
            .map_err(unsupported("no thread could be started"))?;
        let engine = started.engine.clone();
        if let (true, Some(remark)) = (engine.is_problem, &engine.remark) {
            diag::warn("engine", format_args!("{remark}"));
        }
        let worker = Worker {
            started,
            period_nanos,
            window: self.config.window,
            commands: inbox,
            stats: Arc::clone(&self.stats),
            policy: self.config.policy.clone(),
            output: Box::new(move |closed| hand_over(&windows, closed)),
        };
        task::spawn("profile-collect", move || worker.run())
            .map_err(unsupported("no thread could be started"))?;
        Ok(Running { commands, finished, engine })
    }
}

impl Drop for ProfileCollector {
    fn drop(&mut self) {
        if !self.is_here() {
            // The other ends of the channels are the parent's threads, which may have been using them at the fork.
            let running = self.running.get_mut().unwrap_or_else(PoisonError::into_inner);
            return std::mem::forget(running.take());
        }
        if let Err(error) = self.stop() {
            diag::warn("finish", format_args!("{error}"));
        }
    }
}

impl fmt::Debug for ProfileCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProfileCollector")
            .field("config", &self.config)
            .field("running", &self.is_running())
            .finish()
    }
}

/// Gives a closed window to the finishing thread, without waiting unless it is the last: one that does not fit comes back.
fn hand_over(windows: &SyncSender<Closed<Reply>>, closed: Closed<Reply>) -> Option<Closed<Reply>> {
    let refused = if closed.is_last {
        windows.send(closed).err().map(|error| error.0)
    } else {
        match windows.try_send(closed) {
            Ok(()) => None,
            Err(TrySendError::Full(closed) | TrySendError::Disconnected(closed)) => Some(closed),
        }
    };
    if refused.is_some() {
        diag::warn("window", format_args!("a window was lost: symbolising is slower than real time"));
    }
    refused
}

/// Turns closed windows into profiles.
struct Finisher {
    scope: SpanScope,
    kept: KeptSymbolizer,
    /// What the engine cannot do, for the reader of every profile.
    remark: Option<String>,
    on_profile: Arc<Mutex<OnProfile>>,
}

impl Finisher {
    fn run(self, windows: &Receiver<Closed<Reply>>, done: &Sender<()>) {
        let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut symbolizer = kept().take().unwrap_or_default();
        for closed in windows {
            let mut profile = Profile::from_window(&closed.window, &mut symbolizer, self.scope);
            symbolizer.notes().into_iter().for_each(|note| profile.add_note(note));
            self.remark.iter().for_each(|remark| profile.add_note(remark.as_str()));
            let profile = Some(profile).filter(|profile| !profile.is_empty()).map(Arc::new);
            symbolizer.retain_modules(&closed.modules);
            symbolizer.end_batch();
            if let Some(profile) = &profile {
                (self.on_profile.lock().unwrap_or_else(PoisonError::into_inner))(profile);
            }
            // Somebody who no longer waits for the answer is no failure.
            let _ = closed.reply.map(|reply| reply.send(profile));
        }
        *kept() = Some(symbolizer);
        let _ = done.send(());
    }
}
