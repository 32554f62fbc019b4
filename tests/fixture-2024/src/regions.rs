//! Regions and labels in every form, for both editions.

use std::fmt::Debug;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;

use profile_layer::profiled;

const KEY: &str = "shop.tenant";

/// A region.
#[profiled(span = false)]
#[must_use]
pub fn digest(bytes: &[u8]) -> u32 {
    if bytes.is_empty() {
        return 0;
    }
    bytes.iter().map(|byte| u32::from(*byte)).sum()
}

/// With labels of every form.
///
/// # Errors
///
/// When it is no number.
#[profiled("named", span = false, labels(
    text,
    ?list,
    length = text.len(),
    cast = text.len() as u128,
    sum = list.len() + 1,
    { KEY } = KEY,
    "with space" = %text,
    shown = ?text,
))]
pub fn region_with_labels(text: &str, list: &[u8]) -> Result<u32, std::num::ParseIntError> {
    let _ = list;
    Ok(text.parse::<u32>()? + 1)
}

/// A span and labels.
#[profiled(labels(tenant), fields(tenant))]
#[must_use]
pub fn span_with_labels(tenant: &str, mut rows: Vec<u8>) -> Vec<u8> {
    rows.extend(tenant.bytes());
    rows
}

/// Reports and labels.
///
/// # Errors
///
/// Never.
#[profiled(err, ret, labels(first = rows.first().copied().unwrap_or_default()))]
pub fn reports_with_labels(rows: &mut Vec<u8>) -> Result<&mut u8, String> {
    rows.push(0);
    rows.first_mut().ok_or_else(String::new)
}

/// Never returns.
///
/// # Panics
///
/// Always.
#[profiled(span = false, labels(code))]
pub fn never(code: u8) -> ! {
    panic!("{code}")
}

/// Sees its caller.
#[profiled(span = false, labels(a = 1))]
#[track_caller]
#[must_use]
#[inline]
pub fn tracked() -> &'static Location<'static> {
    Location::caller()
}

/// Another calling convention.
#[profiled(span = false)]
#[must_use]
pub extern "C" fn foreign(value: i32) -> i32 {
    value + 1
}

/// Generic, opaque in and out, coerced at the end.
#[profiled(span = false, labels(?first))]
pub fn generic<'a, T: Debug + 'a, const N: usize>(
    first: &'a T,
    all: [T; N],
) -> impl Iterator<Item = Box<dyn Debug + 'a>> {
    let first: Box<dyn Debug + 'a> = Box::new(first);
    std::iter::once(first).chain(all.into_iter().map(|item| -> Box<dyn Debug + 'a> { Box::new(item) }))
}

/// A region for each poll.
#[profiled(span = false)]
pub async fn load(id: u32) -> u32 {
    std::future::ready(id).await
}

/// Labels for each poll, a span, and what it reports.
///
/// # Errors
///
/// When asked to.
#[profiled(err, labels(tenant, fails))]
pub async fn load_for<'a>(tenant: &'a str, fails: bool) -> Result<&'a str, String> {
    if fails {
        return Err(load(1).await.to_string());
    }
    Ok(tenant)
}

/// Labels and a region.
#[profiled(span = false, labels(id))]
pub async fn forever(id: u32) -> ! {
    loop {
        let _value = load(id).await;
        std::future::pending::<()>().await;
    }
}

/// Ends in an async block.
///
/// # Errors
///
/// Never.
#[profiled(span = false, labels(id))]
pub fn by_hand(id: u32) -> impl Future<Output = Result<Box<dyn Fn() -> u32>, String>> {
    let successor = id + 1;
    async move {
        let next: Box<dyn Fn() -> u32> = Box::new(move || successor);
        Ok(next)
    }
}

/// Boxed.
#[profiled(span = false)]
#[must_use]
pub fn boxed<'a>(text: &'a str) -> Pin<Box<dyn Future<Output = &'a str> + Send + 'a>> {
    Box::pin(async move { text })
}

/// A whole block of regions, and one span.
#[derive(Clone, Copy, Debug)]
pub struct Hasher(
    /// The state.
    pub u64,
);

#[profiled(span = false, labels(state = self.0))]
impl Hasher {
    /// A region called `Hasher::step`.
    pub fn step(&mut self) -> &mut Self {
        self.0 = self.0.rotate_left(1);
        self
    }

    /// For each poll.
    #[must_use]
    pub async fn later(self) -> u64 {
        let _value = load(1).await;
        self.0
    }

    /// Left alone.
    #[must_use]
    #[profiled(skip)]
    pub const fn state(self) -> u64 {
        self.0
    }

    /// A span among regions.
    #[profiled(span = true, level = "debug", labels(more = 1))]
    pub fn reset(&mut self) {
        self.0 = 0;
    }
}
