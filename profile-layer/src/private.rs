//! The only names that an expansion of `#[profiled]` may use. No part of the public interface: it changes with the
//! macro, to whose very version `Cargo.toml` ties this crate.

pub use tracing;

use tracing::{Id, Span};

/// Calls the closure. That it is asked for as `FnOnce` makes it one: it may give away what it captured, and return
/// references into it.
#[inline(always)]
pub fn call<R>(body: impl FnOnce() -> R) -> R {
    body()
}

/// Has any type, to tell the compiler what an async block returns. Expansions name it in code that never runs.
#[cold]
pub fn never_called<R>() -> R {
    unreachable!("only named for its type")
}

/// The error to report.
#[inline(always)]
pub fn error_of<T, E>(returned: &Result<T, E>) -> Option<&E> {
    returned.as_ref().err()
}

/// The value to report where errors are reported apart.
#[inline(always)]
pub fn value_of<T, E>(returned: &Result<T, E>) -> Option<&T> {
    returned.as_ref().ok()
}

/// Links the span to those that caused it.
pub fn follows_from<I>(span: &Span, causes: I)
where
    I: IntoIterator,
    I::Item: Into<Option<Id>>,
{
    for cause in causes {
        span.follows_from(cause);
    }
}
