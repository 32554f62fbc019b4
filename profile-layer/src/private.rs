//! The only names that an expansion of `#[profiled]` may use. No part of the public interface: it changes with the
//! macro, to whose very version `Cargo.toml` ties this crate.

pub use crate::scope::scoped;
pub use profile_core::scope::{Labels, RegionSite};
pub use tracing;

use std::fmt::{self, Debug, Display};

use tracing::field::{DebugValue, DisplayValue, Value};
use tracing::level_filters::{LevelFilter, STATIC_MAX_LEVEL};
use tracing::{Id, Level, Span};

/// Whether any subscriber may want spans of this level: one load and a comparison, the only thing that a disabled span
/// costs.
#[inline(always)]
pub fn enabled(level: Level) -> bool {
    level <= STATIC_MAX_LEVEL && level <= LevelFilter::current()
}

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

/// What `err` looks into.
#[diagnostic::on_unimplemented(
    message = "`err` reports the error of a `Result`, and this function returns `{Self}`",
    label = "not a `Result`"
)]
pub trait Fallible<T, E> {
    /// As the result it is.
    fn as_result(&self) -> Result<&T, &E>;
}

impl<T, E> Fallible<T, E> for Result<T, E> {
    #[inline(always)]
    fn as_result(&self) -> Result<&T, &E> {
        self.as_ref()
    }
}

/// For `err`: the error, if it is one.
#[inline(always)]
pub fn error_of<'a, T: 'a, E>(returned: &'a impl Fallible<T, E>) -> Option<&'a E> {
    returned.as_result().err()
}

/// For `ret` beside `err`: the value, if it is none.
#[inline(always)]
pub fn value_of<'a, T, E: 'a>(returned: &'a impl Fallible<T, E>) -> Option<&'a T> {
    returned.as_result().ok()
}

/// For `ret`: whatever it is.
#[inline(always)]
pub fn all_of<R>(returned: &R) -> Option<&R> {
    Some(returned)
}

/// What a span records as it is. It is `tracing`'s `Value` with an advice for everything else.
#[diagnostic::on_unimplemented(
    message = "a span cannot record `{Self}` as it is",
    label = "not a number, `bool`, string or error",
    note = "record its `Display` or `Debug` form, or a part of it: `%order`, `?order`, `id = order.id`"
)]
pub trait Recorded: Value {}

#[diagnostic::do_not_recommend]
impl<T: Value> Recorded for T {}

/// A field's value as it is. (Like the two below it returns a type without `T`: else an unfit `T` is an error twice.)
#[inline(always)]
pub fn value<T: Recorded>(value: &T) -> &dyn Value {
    value
}

/// A field's value in its `Debug` form.
#[inline(always)]
pub fn debug<'a, T: Debug>(value: &'a T) -> DebugValue<&'a (dyn Debug + 'a)> {
    tracing::field::debug(value)
}

/// A field's value in its `Display` form.
#[inline(always)]
pub fn display<'a, T: Display>(value: &'a T) -> DisplayValue<&'a (dyn Display + 'a)> {
    tracing::field::display(value)
}

/// What a label holds. It is `Display` with an advice for everything else.
#[diagnostic::on_unimplemented(
    message = "a label cannot hold `{Self}`: it has no text",
    label = "not `Display`",
    note = "take its `Debug` form, or a part of it: `?order`, `id = order.id`"
)]
pub trait Labelled: Display {}

#[diagnostic::do_not_recommend]
impl<T: Display> Labelled for T {}

/// A label's value.
#[inline(always)]
pub fn label<T: Labelled>(value: &T) -> &dyn Display {
    value
}

/// A label's value in its `Debug` form.
#[inline(always)]
pub fn label_debug<T: Debug>(value: &T) -> DebugText<'_> {
    DebugText(value)
}

/// Something's `Debug` form as its text.
#[derive(Debug)]
pub struct DebugText<'a>(&'a dyn Debug);

impl Display for DebugText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
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
