//! The profiler's own messages as events of `tracing`, with the target `profile`.
//!
//! They come from the profiler's threads and from those that build and stop it; never from inside a call of the layer.
//! Whatever an event leads to there cannot come back: a message about a message goes to standard error, and on the
//! profiler's own threads spans are not followed and OpenTelemetry is suppressed for as long as they run. No scoped
//! dispatcher is set anywhere, since one that lasts makes spans slower on every thread.
//!
//! Where nobody would show an event, the message goes to standard error instead: without a subscriber, and with one that
//! consists of a registry and our layer only.

use crate::ProfileLayer;
use profile_core::diag::{self, Level};
use profile_core::own;
use std::cell::Cell;
use tracing::Dispatch;
use tracing::subscriber::NoSubscriber;
use tracing_subscriber::Registry;
use tracing_subscriber::layer::Layered;

thread_local! {
    /// Whether this thread is delivering a message right now.
    static BUSY: Cell<bool> = const { Cell::new(false) };
}

/// Sends the profiler's messages to `tracing` from now on, unless the program has a sink of its own for them.
pub(crate) fn install() {
    diag::set_sink_if_unset(deliver);
    #[cfg(feature = "opentelemetry")]
    own::on_start(crate::otel::suppress);
    #[cfg(not(feature = "opentelemetry"))]
    let _ = own::is_own_thread; // nothing to suppress
}

fn deliver(level: Level, message: &str) {
    // A report is a table for a terminal, and not an event. A thread that is ending has lost its flag, and its subscriber.
    let is_event = !message.contains('\n') && tracing::dispatcher::get_default(shows_events);
    let delivered = is_event
        && BUSY.try_with(|busy| {
            let nested = busy.replace(true);
            if !nested {
                emit(level, message);
                busy.set(false);
            }
            !nested
        }) == Ok(true);
    if !delivered {
        diag::to_stderr(level, message);
    }
}

fn emit(level: Level, message: &str) {
    match level {
        Level::Info => tracing::info!(target: "profile", "{message}"),
        Level::Warn => tracing::warn!(target: "profile", "{message}"),
    }
}

/// Whether there is anything in the subscriber besides what we have put there.
fn shows_events(dispatch: &Dispatch) -> bool {
    !dispatch.is::<NoSubscriber>() && !dispatch.is::<Layered<ProfileLayer, Registry>>()
}
