//! Ground truth for this project's tests; a program of your own does not need this.
//!
//! When `QUICKSTART_TRUTH` names a file, this layer reads the CPU clock of the thread at every enter and exit of a
//! span, charges what passed to the span that was innermost, and writes the sums at the end. The tests compare the
//! sampled profile with them. A span's time belongs to its *path* of names from the root, taken from the parent that
//! the span was created under, so that work moved to another thread still counts for the spans around it.

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{env, fs, io};
use tracing::Subscriber;
use tracing::span::{Attributes, Id};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// The layer. It stands outside the profiler's layer: its `on_enter` runs when the profiler already knows the span,
/// and its `on_exit` when the profiler has already left it, so both put the boundary at the same place.
#[derive(Clone, Debug)]
pub(crate) struct SpanClock(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    file: PathBuf,
    process_ns: u64,
    totals: Mutex<Totals>,
}

#[derive(Debug, Default)]
struct Totals {
    paths: Vec<Path>,
    index: HashMap<(Option<usize>, &'static str), usize>,
    spans: Vec<SpanIds>,
}

#[derive(Debug)]
struct Path {
    parent: Option<usize>,
    name: &'static str,
    opened: u64,
    self_ns: u64,
}

/// What the file says.
#[derive(Debug, Serialize)]
struct Truth<'a> {
    /// CPU time of the process from before the profiler was built until now.
    process_ns: u64,
    /// CPU time of all threads while they were in any span.
    inside_ns: u64,
    /// By span name.
    names: BTreeMap<&'static str, NameTotals>,
    /// Every span that was ever entered.
    spans: &'a [SpanIds],
}

#[derive(Debug, Default, Serialize)]
struct NameTotals {
    opened: u64,
    /// While a span of this name was the innermost one.
    self_ns: u64,
    /// While a span of this name was innermost, or any span below one.
    total_ns: u64,
}

#[derive(Debug, Serialize)]
struct SpanIds {
    trace_id: String,
    span_id: String,
    name: &'static str,
    /// Whether the span has no parent in this process.
    root: bool,
}

/// In each span's extensions: its path, and whether its ids are noted.
struct Mark {
    path: usize,
    noted: bool,
}

/// The spans that a thread is in, and its CPU clock when that last changed.
struct ThreadClock {
    stack: Vec<(Id, usize)>,
    read_ns: u64,
}

thread_local! {
    static THREAD: RefCell<ThreadClock> = const { RefCell::new(ThreadClock { stack: Vec::new(), read_ns: 0 }) };
}

impl SpanClock {
    /// The layer, if `QUICKSTART_TRUTH` asks for it.
    pub(crate) fn from_env() -> Option<Self> {
        let file = env::var_os("QUICKSTART_TRUTH").filter(|file| !file.is_empty())?.into();
        let process_ns = read(ClockId::ProcessCPUTime);
        Some(Self(Arc::new(Shared { file, process_ns, totals: Mutex::default() })))
    }

    /// Writes the file. Call it when no thread is in a span any more.
    pub(crate) fn write(&self) -> io::Result<()> {
        let process_ns = read(ClockId::ProcessCPUTime) - self.0.process_ns;
        let totals = self.totals();
        let truth = Truth {
            process_ns,
            inside_ns: totals.paths.iter().map(|path| path.self_ns).sum(),
            names: totals.by_name(),
            spans: &totals.spans,
        };
        fs::write(&self.0.file, serde_json::to_vec(&truth)?)
    }

    fn totals(&self) -> MutexGuard<'_, Totals> {
        self.0.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Charges the CPU time since the last change to the innermost span, then changes the stack.
    fn change(&self, change: impl FnOnce(&mut Vec<(Id, usize)>)) {
        let now = read(ClockId::ThreadCPUTime);
        // A thread that is ending has no clock any more; no span of this program ends that late.
        let _ = THREAD.try_with(|thread| {
            let mut thread = thread.borrow_mut();
            if let Some(&(_, path)) = thread.stack.last() {
                self.totals().paths[path].self_ns += now - thread.read_ns;
            }
            thread.read_ns = now;
            change(&mut thread.stack);
        });
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for SpanClock {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let parent = span.parent().and_then(|parent| parent.extensions().get::<Mark>().map(|mark| mark.path));
        let path = self.totals().open(parent, attributes.metadata().name());
        span.extensions_mut().insert(Mark { path, noted: false });
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut extensions = span.extensions_mut();
        let Some(mark) = extensions.get_mut::<Mark>() else { return };
        self.change(|stack| stack.push((id.clone(), mark.path)));
        if !std::mem::replace(&mut mark.noted, true)
            && let Some(ids) = profile_layer::current()
        {
            self.totals().spans.push(SpanIds {
                trace_id: ids.trace_id.to_string(),
                span_id: ids.span_id.to_string(),
                name: span.name(),
                root: span.parent().is_none(),
            });
        }
    }

    fn on_exit(&self, id: &Id, _: Context<'_, S>) {
        self.change(|stack| {
            if let Some(at) = stack.iter().rposition(|(entered, _)| entered == id) {
                stack.remove(at);
            }
        });
    }
}

impl Totals {
    /// Counts a span of this name below `parent` and returns its path.
    fn open(&mut self, parent: Option<usize>, name: &'static str) -> usize {
        let path = *self.index.entry((parent, name)).or_insert_with(|| {
            self.paths.push(Path { parent, name, opened: 0, self_ns: 0 });
            self.paths.len() - 1
        });
        self.paths[path].opened += 1;
        path
    }

    fn by_name(&self) -> BTreeMap<&'static str, NameTotals> {
        let mut names: BTreeMap<&'static str, NameTotals> = BTreeMap::new();
        for path in &self.paths {
            let own = names.entry(path.name).or_default();
            own.opened += path.opened;
            own.self_ns += path.self_ns;
            let mut around: Vec<&'static str> = Vec::new(); // a name counts once, however often the path repeats it
            let mut at = Some(path);
            while let Some(node) = at {
                if !around.contains(&node.name) {
                    around.push(node.name);
                    names.entry(node.name).or_default().total_ns += path.self_ns;
                }
                at = node.parent.map(|parent| &self.paths[parent]);
            }
        }
        names
    }
}

fn read(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}
