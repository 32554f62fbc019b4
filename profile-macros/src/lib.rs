//! The attribute macro of `profile-layer`. Depend on that crate: it re-exports [`macro@profiled`] together with the
//! runtime that the expansion names.
//!
//! ```text
//! args ─┐
//!       ├─► settle (valid) ─► expand        on an error anywhere: fallback, the error beside the item as it was
//! item ─┘
//! ```

#![forbid(unsafe_code)]

mod args;
mod expand;
mod fallback;
mod future;
mod item;
mod settle;
mod valid;

#[cfg(test)]
mod tests;

use proc_macro2::TokenStream;
use quote::ToTokens;

use crate::args::Args;
use crate::item::Item;

/// Runs a function in a span of its own, so that the profiler's samples of its work carry that span. Or, where a span
/// would cost more than the function, in a [region](#span--false).
///
/// ```
/// use profile_layer::profiled;
///
/// #[profiled]
/// fn checkout(items: &[u32]) -> u32 {
///     items.iter().sum()
/// }
/// # assert_eq!(checkout(&[1, 2]), 3);
/// ```
///
/// The span is one of [`tracing`](https://docs.rs/tracing)'s: other layers see it too, and it nests with spans made by
/// hand or by `#[instrument]`. A dependency on `profile-layer` is all that it needs. It is named after the function,
/// has the level INFO and the module's path as its target. **No argument of the function is recorded** unless
/// [`fields`](#fields) lists it. When nobody wants the span's level, a call costs a load and a comparison more.
///
/// # Where it goes
///
/// On functions and methods of every kind: generic, `impl Trait` in and out, `-> !`, `unsafe`, `extern "C"`,
/// `#[track_caller]`, methods of a trait and their defaults. The span is entered for the body and left on every way out
/// of it: its end, `return`, `?`, a panic.
///
/// On **async functions**. The span is made when the future is first polled and is entered for each poll: the samples
/// of a waiting task belong to whoever runs then.
///
/// ```
/// # use profile_layer::profiled;
/// #[profiled]
/// async fn fetch(id: u32) -> Result<u32, std::num::ParseIntError> {
///     let text = load(id).await;
///     text.parse()
/// }
/// # async fn load(id: u32) -> String { id.to_string() }
/// ```
///
/// On **functions that end in an async block**: one that returns `impl Future`, one that ends in `Box::pin(async move
/// { .. })`, and thus the methods of an `#[async_trait]`. The span covers the block. What stands before the block runs
/// when the function is called, outside of the span. A function that gets its future elsewhere (`self.inner.call()`)
/// is a plain function: its span covers the making of the future, not its work.
///
/// ```
/// # use profile_layer::profiled;
/// # use std::future::Future;
/// #[profiled]
/// fn fetch(id: u32) -> impl Future<Output = u32> + Send {
///     let id = id + 1; // at the call
///     async move { id } // in the span
/// }
/// ```
///
/// On **`impl` and `trait` blocks** and **inline modules**, for every function in them, to any depth. Methods are named
/// `Type::method`. A member may have arguments of its own, which go before those of the block (`fields` are added up), or
/// `#[profiled(skip)]`. Functions that cannot have a span (`const fn`, no body) are left as they are.
///
/// ```
/// # use profile_layer::profiled;
/// struct Cart {
///     items: Vec<u32>,
/// }
///
/// #[profiled(level = "debug")]
/// impl Cart {
///     /// The span `Cart::total`.
///     fn total(&self) -> u32 {
///         self.items.iter().sum()
///     }
///
///     #[profiled(name = "cart.clear", fields(count = self.items.len()))]
///     fn clear(&mut self) {
///         self.items.clear();
///     }
///
///     #[profiled(skip)]
///     fn len(&self) -> usize {
///         self.items.len()
///     }
///
///     const fn limit() -> usize {
///         100
///     }
/// }
/// ```
///
/// Beside **other attributes**, in any order: `#[tokio::main]`, `#[tokio::test]`, `#[test]`, `#[async_trait]`,
/// `#[instrument]`. The attribute on top expands first; so of two that make a span, the lower one's is the outer.
///
/// # Arguments
///
/// | | | |
/// |---|---|---|
/// | `"checkout"`, `name = ..` | the span's name | a string, or the path of a constant |
/// | `target = ..` | what filters select by | a string, or the path of a constant |
/// | `level = ..` | INFO if absent | `"trace"` … `"error"`, `1` (trace) … `5` (error), the path of a `Level` |
/// | `fields(..)` | what the span records | see below |
/// | `parent = ..` | the span above, if not the current one | a span, its id, or `None` for a root |
/// | `follows_from = ..` | the spans that caused this one | what can be iterated for spans or ids |
/// | `err`, `err(..)` | an event with the error of a `Result` | `Debug` or `Display`, and `level = ..` |
/// | `ret`, `ret(..)` | an event with the value returned | `Debug` or `Display`, and `level = ..` |
/// | `labels(..)` | what samples of the function carry | [see below](#labels) |
/// | `span = false` | a [region](#span--false) in the span's place | `true` or `false` |
/// | `crate = ..` | where `profile-layer` is | a path |
/// | `skip` | leave this one as it is | alone, on a member of a block |
/// | `skip_all` | nothing | the default here, accepted for those who come from `#[instrument]` |
///
/// Values are expressions of the function: they may name its arguments. They are evaluated only if the span is wanted.
///
/// ```
/// # use profile_layer::profiled;
/// const TARGET: &str = "shop::checkout";
///
/// #[profiled("checkout", target = TARGET, level = "debug", parent = request)]
/// fn checkout(request: &tracing::Span) {
///     // ..
/// }
/// ```
///
/// ## `fields`
///
/// The grammar of `tracing`'s macros: a value as it is (numbers, `bool`, strings, errors), `%` before it for its
/// `Display` form, `?` for its `Debug` form. A name without a value is an argument of the function or a part of one.
/// `Empty` declares a field for later.
///
/// ```
/// # use profile_layer::profiled;
/// # struct Order { id: u64, lines: Vec<u32> }
/// #[profiled(fields(
///     order.id,                                // the argument's part of that name
///     ?flags,                                  // an argument, by Debug
///     http.method = "POST",                    // dotted names
///     lines = order.lines.len(),               // an expression
///     shown = %format_args!("#{}", order.id),  // .. by Display
///     "quoted name" = true,
///     total = Empty,                           // recorded below
/// ))]
/// fn place(order: &Order, flags: [bool; 2], password: &str) {
///     let total: u32 = order.lines.iter().sum();
///     tracing::Span::current().record("total", total);
/// }
/// ```
///
/// ## `err` and `ret`
///
/// `err` makes an event at the level ERROR with the field `error`, by `Display`; `ret` one at the span's level with the
/// field `return`, by `Debug`. With both, `ret` reports what is in `Ok`. In a function that is not async they run the
/// body in a closure, to see what it returns. That closure would be the caller that a `#[track_caller]` function sees,
/// so the two do not go together.
///
/// ```
/// # use profile_layer::profiled;
/// #[profiled(err, ret(Display, level = "trace"))]
/// fn parse(text: &str) -> Result<u8, std::num::ParseIntError> {
///     let value = text.parse()?;
///     Ok(value)
/// }
/// ```
///
/// ## `labels`
///
/// Keys and values that samples carry while the function runs: attributes of OTLP samples, labels of pprof, and
/// `sample.context().labels` of a profile in the process. They hold in everything that the function calls, until a function
/// in it gives a key another value; in an async function for each poll. They follow calls: a task that is spawned begins
/// without any.
///
/// ```
/// # use profile_layer::profiled;
/// # struct Order { tenant: String, lines: Vec<u32> }
/// #[profiled(labels(tenant = order.tenant, size = if order.lines.len() > 100 { "large" } else { "small" }))]
/// fn price(order: &Order) -> u32 {
///     order.lines.iter().sum()
/// }
/// ```
///
/// The grammar is that of `fields`; a value is text, by `Display` unless `?` asks for `Debug`. It is evaluated only while
/// samples are taken.
///
/// **Every distinct set of values is another series in a backend**, so label with what there is little of: a tenant, a
/// route, a size class, not a user or a request. All bounds hold for the life of the process: at most 8 labels hold at
/// once, there are at most 64 keys of 64 bytes, and 1024 combinations of values; values are cut after 128 bytes, and a key
/// has at most 100 of them, the others are `[label values overflow]`. A label that finds no room leaves
/// `labels_overflow="true"` in its place. Keys that samples have already (`trace_id`, `span_id`, `span_name`, `region`),
/// `service.name`, `service_name` and names that begin with `__` are refused.
///
/// ## `span = false`
///
/// For functions that are too hot for a span: the function is a *region*. Its samples carry its name as the OTLP
/// attribute and pprof label `region`, and as the frame `[region] name` in folded stacks, and keep the span around it. No
/// subscriber hears of it. A call costs 22 instructions more while samples are taken (`scripts/region-cost` counts
/// them), instead of hundreds for a span.
///
/// ```
/// # use profile_layer::profiled;
/// #[profiled(span = false)]
/// fn digest(block: &[u8; 64]) -> u64 {
///     block.iter().fold(0, |sum, byte| sum.rotate_left(5) ^ u64::from(*byte))
/// }
/// ```
///
/// Regions nest: a sample carries the innermost one, and a region ends on every way out, unwinding too. An async function
/// is in its region while it is polled or dropped. What describes a span (`target`, `level`, `fields`, `parent`,
/// `follows_from`, `err`, `ret`) has no place here and is refused; `name`, `labels` and `crate` go with it. On a block it
/// makes regions of all functions in it but those that say `span = true`. A process has at most 4096 regions; the others
/// are `[regions overflow]`.
///
/// ## `crate`
///
/// For those who depend on `profile-layer` by another name, or through another crate: name it at each attribute, or give
/// it its own name once, at the root of the crate.
///
/// ```
/// # mod facade { pub use profile_layer as profiling; }
/// #[facade::profiling::profiled(crate = facade::profiling)]
/// fn work() {}
/// ```
///
/// ```text
/// extern crate renamed as profile_layer;
/// ```
///
/// # What stays as it was
///
/// Without `err` and `ret` there is no closure around the body: inference, coercions, borrows, `return`, `?` and the
/// auto traits of futures are those of the function as it is written. Whatever the body makes is dropped within the
/// span, the arguments after it. (In an async function those arguments that the body names belong to it.) An async
/// function's future holds its arguments twice, as with any macro that wraps it.
///
/// Do not profile what a subscriber calls, such as the methods of a `tracing` layer or of a global allocator: each of
/// their spans would ask for another one.
///
/// # Without spans
///
/// Built without its feature `enable`, `profile-layer` leaves every item untouched. Arguments are checked all the same.
/// Libraries that only annotate depend on it like that: `default-features = false`.
#[proc_macro_attribute]
pub fn profiled(args: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    expand(args.into(), item.into(), cfg!(feature = "enable")).into()
}

/// Arguments and item → model → checks → code.
fn expand(args: TokenStream, tokens: TokenStream, enabled: bool) -> TokenStream {
    let mut item: Item = match syn::parse2(tokens.clone()) {
        Ok(item) => item,
        Err(error) => return fallback::beside(&error, &tokens),
    };
    // Printed before it is settled, the model is the item without the `#[profiled]`s in it: beside an error these must
    // not expand and tell the same error again.
    let plain = item.to_token_stream();
    match syn::parse2(args).and_then(|args: Args| settle::settle(args, &mut item)) {
        Ok(()) if enabled => item.into_token_stream(),
        Ok(()) => tokens,
        Err(error) => fallback::beside(&error, &plain),
    }
}
