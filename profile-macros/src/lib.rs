//! The attribute macro of `profile-layer`. Depend on that crate: it re-exports [`macro@profiled`] with the runtime the
//! expansion names.

#![forbid(unsafe_code)]

mod args;
mod expand;
mod fallback;
mod future;
mod item;
mod settle;
mod valid;

use proc_macro2::TokenStream;
use quote::ToTokens;

use crate::args::Args;
use crate::item::Item;

/// docs to come
#[proc_macro_attribute]
pub fn profiled(args: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    expand(args.into(), item.into(), cfg!(feature = "enable")).into()
}

/// Arguments and item → model → checks → code. An error at any stage is emitted beside the item as it was.
fn expand(args: TokenStream, tokens: TokenStream, enabled: bool) -> TokenStream {
    let mut item: Item = match syn::parse2(tokens.clone()) {
        Ok(item) => item,
        Err(error) => return fallback::untouched(&error, &tokens),
    };
    // Printed before it is settled, the model is the item as it was, less the `#[profiled]`s within.
    let untouched = item.to_token_stream();
    match syn::parse2(args).and_then(|args: Args| settle::settle(args, &mut item)) {
        Ok(()) if enabled => item.into_token_stream(),
        Ok(()) => untouched,
        Err(error) => fallback::untouched(&error, &untouched),
    }
}
