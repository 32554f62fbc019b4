//! The forms, for both editions.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use profile_layer::profiled;

/// A plain function, on one line.
#[rustfmt::skip]
#[profiled]
#[must_use] pub fn one_line(a: u32) -> u32 { a + 1 }

/// Items first, then statements.
#[profiled]
#[must_use]
pub fn items_inside() -> u32 {
    #![allow(clippy::cast_lossless)]
    const ONE: u8 = 1;
    const fn helper() -> u32 {
        ONE as u32
    }
    helper()
}

/// Leaves early.
///
/// # Errors
///
/// When it is no number.
#[profiled(level = "debug", fields(text, length = text.len(), again = ?text))]
pub fn early(text: &str) -> Result<u32, std::num::ParseIntError> {
    if text.is_empty() {
        return Ok(0);
    }
    Ok(text.parse::<u32>()? + 1)
}

/// Fields of many forms.
#[profiled(fields(
    number,
    text,
    ?list,
    deref = *number,
    borrowed = &number,
    cast = text.len() as u128,
    sum = *number + 1,
    neg = -number,
    method = text.len(),
    owned = %text.to_owned(),
    some = list.first(),
    formatted = format_args!("{number}"),
    block = { number },
    later = Empty,
))]
pub fn fields(number: &i32, text: &str, list: &[u8]) {
    let _ = (number, text, list);
}

/// Never returns.
///
/// # Panics
///
/// Always.
#[profiled]
pub fn never(code: u8) -> ! {
    panic!("{code}")
}

/// Another calling convention.
#[profiled]
#[must_use]
pub extern "C" fn foreign(value: i32) -> i32 {
    value + 1
}

/// Sees its caller.
#[profiled]
#[track_caller]
#[must_use]
#[inline]
pub fn tracked() -> &'static std::panic::Location<'static> {
    std::panic::Location::caller()
}

/// Generic in every way.
#[profiled(fields(count = N))]
pub fn generic<'a, T, I, const N: usize>(items: I, extra: &'a [T; N]) -> impl Iterator<Item = &'a T>
where
    T: Clone + 'a,
    I: IntoIterator<Item = &'a T>,
{
    items.into_iter().chain(extra.iter())
}

/// Opaque in and out.
#[profiled]
pub fn opaque(from: impl Into<u32>) -> impl Fn(u32) -> u32 {
    let from = from.into();
    move |value| value + from
}

/// Coerced at the end.
#[profiled]
#[must_use]
pub fn coerced(which: u8) -> Box<dyn Fn() -> u8> {
    if which == 0 {
        return Box::new(|| 0);
    }
    Box::new(move || which)
}

/// Patterns, `mut`, unused and conditional arguments.
#[profiled(fields(a, first))]
#[must_use]
pub fn arguments(
    (mut a, _): (u32, u32),
    [first, ..]: [u32; 2],
    _: String,
    _unused: u32,
    #[cfg(any())] absent: Missing,
    #[cfg(not(any()))] present: u32,
) -> u32 {
    a += first;
    a + present
}

/// Reports what it returns.
///
/// # Errors
///
/// Sometimes.
#[profiled(err(Debug, level = "warn"), ret(Display, level = 1), target = "fixture", name = "report.both")]
pub fn reports(values: &mut Vec<u8>) -> Result<&mut u8, fmt::Error> {
    values.push(1);
    values.first_mut().ok_or(fmt::Error)
}

/// Reports, and changes an argument of its own.
///
/// # Errors
///
/// Sometimes.
#[profiled(err)]
pub fn changes(mut values: Vec<u8>, _unused: u8) -> Result<Vec<u8>, fmt::Error> {
    #![allow(unused_variables)]
    let unused = 1;
    values.push(1);
    if values.len() == 4 { Err(fmt::Error) } else { Ok(values) }
}

/// Reports nothing much.
#[profiled(ret)]
pub fn unit() {}

/// Reports what is opaque.
///
/// # Errors
///
/// Sometimes.
#[profiled(err)]
pub fn opaque_result(fail: bool) -> Result<impl Fn() -> u8, String> {
    if fail {
        return Err(String::new());
    }
    Ok(|| 1)
}

/// An async function.
#[profiled(fields(id))]
pub async fn fetch(id: u32) -> u32 {
    #![allow(unused_variables)]
    let unused = 1;
    std::future::ready(id).await
}

/// On one line.
#[rustfmt::skip]
#[profiled]
pub async fn async_line(a: u32) -> u32 { std::future::ready(a).await }

/// An async function with everything.
///
/// # Errors
///
/// Sometimes.
#[profiled(err, ret, level = "trace", follows_from = [None])]
pub async fn async_reports<'a>(
    text: &'a str,
    mut other: Vec<u8>,
) -> Result<&'a str, Box<dyn std::error::Error>> {
    let parsed: u8 = text.parse()?;
    other.push(std::future::ready(parsed).await);
    if other.len() == 7 {
        return Err("seven".into());
    }
    Ok(text)
}

/// An async function that gives something opaque.
///
/// # Errors
///
/// Sometimes.
#[profiled]
pub async fn async_opaque(fail: bool) -> Result<impl Iterator<Item = u8>, String> {
    if std::future::ready(fail).await {
        return Err("failed".to_owned());
    }
    Ok(0..2)
}

/// An async function that never ends.
#[profiled]
pub async fn forever() -> ! {
    loop {
        std::future::pending::<()>().await;
    }
}

/// A future by hand.
///
/// # Errors
///
/// Sometimes.
#[profiled]
pub fn by_hand(id: u32) -> impl Future<Output = Result<Box<dyn Fn() -> u32>, String>> {
    let id = id + 1;
    async move {
        #![allow(unused_variables)]
        let unused = 1;
        if std::future::ready(id).await == 1 {
            return Err("one".to_owned());
        }
        let boxed: Box<dyn Fn() -> u32> = Box::new(move || id);
        Ok(boxed)
    }
}

/// A boxed future, on one line.
#[rustfmt::skip]
#[profiled]
#[must_use]
pub fn boxed<'a>(text: &'a str) -> Pin<Box<dyn Future<Output = &'a str> + Send + 'a>> { Box::pin(async move { text }) }

/// Methods.
#[derive(Clone, Debug)]
pub struct Cart<T> {
    items: Vec<T>,
}

impl<T: Clone> Cart<T> {
    /// By reference.
    #[profiled]
    pub fn add(&mut self, item: T) -> &mut Self {
        self.items.push(item);
        self
    }

    /// By value.
    #[profiled]
    #[must_use]
    pub fn take(self) -> Vec<T> {
        self.items
    }

    /// In a box.
    #[profiled]
    #[must_use]
    #[allow(clippy::boxed_local)]
    pub fn boxed(self: Box<Self>) -> usize {
        self.items.len()
    }

    /// Pinned.
    #[profiled]
    #[must_use]
    pub fn pinned(self: Pin<&mut Self>) -> usize {
        self.items.len()
    }

    /// Shared.
    #[profiled]
    #[must_use]
    pub fn shared(self: &Rc<Self>) -> usize {
        self.items.len()
    }

    /// Async.
    #[profiled(fields(count = self.items.len()))]
    #[allow(clippy::future_not_send)]
    pub async fn last(&self) -> Option<&T> {
        std::future::ready(()).await;
        self.items.last()
    }
}

/// A trait with a default method.
pub trait Greet {
    /// Required.
    fn name(&self) -> Cow<'_, str>;

    /// Provided.
    #[profiled]
    fn greet(&self) -> String {
        format!("hello {}", self.name())
    }
}

#[profiled]
impl<T> Greet for Cart<T> {
    fn name(&self) -> Cow<'_, str> {
        "cart".into()
    }
}

/// A trait as a whole.
#[profiled(level = "debug")]
pub trait Shape {
    /// Required.
    fn sides(&self) -> u32;

    /// Provided.
    fn angles(&self) -> u32 {
        self.sides()
    }
}

#[profiled(target = "fixture::cart")]
impl<T: fmt::Display> Cart<T> {
    /// A constant among the methods.
    pub const LIMIT: usize = 4;

    /// A constant function among the methods.
    #[must_use]
    pub const fn limit() -> usize {
        Self::LIMIT
    }

    /// One.
    #[must_use]
    pub fn full(&self) -> bool {
        self.items.len() >= Self::limit()
    }

    /// Left out.
    #[profiled(skip)]
    #[must_use]
    pub fn skipped(&self) -> usize {
        usize::from(self.full())
    }

    /// With its own arguments.
    ///
    /// # Errors
    ///
    /// Sometimes.
    #[profiled(name = "cart.check", err)]
    pub fn check(&self) -> Result<(), String> {
        if self.full() { Err("full".to_owned()) } else { Ok(()) }
    }
}

/// A module as a whole.
#[profiled]
pub mod module {
    use std::collections::BTreeMap;

    /// A static among the functions.
    pub static SIZE: usize = size();

    /// A type among the functions.
    #[derive(Clone, Debug, Default)]
    pub struct Table {
        rows: BTreeMap<u32, u32>,
    }

    /// A constant function among the functions.
    #[must_use]
    pub const fn size() -> usize {
        3
    }

    /// A function.
    #[must_use]
    pub fn build(rows: &[u32]) -> Table {
        Table { rows: rows.iter().map(|row| (*row, 1)).collect() }
    }

    impl Table {
        /// A method.
        #[must_use]
        pub fn sum(&self) -> u32 {
            self.rows.values().sum()
        }
    }

    /// A module within.
    pub mod deeper {
        /// A function.
        #[must_use]
        pub fn empty() -> super::Table {
            super::Table::default()
        }
    }
}
