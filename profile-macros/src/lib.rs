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

#[doc = include_str!("profiled.md")]
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
