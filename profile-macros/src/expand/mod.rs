//! The code that takes the place of a settled item. Nothing is decided or refused here.
//!
//! A sync body becomes an inner block behind a guard: no closure, so `return`, `?`, coercions, inference and
//! `#[track_caller]` work as before, and the guard leaves the span on every way out, unwinding too. An async body
//! becomes an instrumented async block. Labels, and the region of a function without a span, are guards of the same kind;
//! a future sets them for each poll. Names of ours have the macro's own hygiene: the user's code cannot see them.

use proc_macro2::{Delimiter, Group, TokenStream};
use quote::{ToTokens, quote};

use crate::item::{Block, Body, Function, Item, Member};

/// Tokens of the macro's own: what they bind is invisible to the user's code.
macro_rules! ours {
    ($($tokens:tt)*) => { quote::quote_spanned!(proc_macro2::Span::mixed_site()=> $($tokens)*) };
}

mod body;
mod scope;
mod span;

impl ToTokens for Item {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        match self {
            Self::Function(function) => function.to_tokens(tokens),
            Self::Block(block) => block.to_tokens(tokens),
            Self::Other(other) => other.tokens.to_tokens(tokens),
        }
    }
}

impl ToTokens for Block {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let Self { attrs, head, braces, inner_attrs, members, .. } = self;
        let braces = braces_at(*braces, quote!(#(#inner_attrs)* #(#members)*));
        tokens.extend(quote!(#(#attrs)* #head #braces));
    }
}

impl ToTokens for Member {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        match self {
            Self::Function(function) => function.to_tokens(tokens),
            Self::Block(block) => block.to_tokens(tokens),
            Self::Verbatim(item) => item.to_tokens(tokens),
        }
    }
}

impl ToTokens for Function {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let Self { attrs, qualifiers, sig, .. } = self;
        let body = match &self.args {
            Some(args) => body::profiled(self, args),
            None => self.body.to_token_stream(),
        };
        tokens.extend(quote!(#(#attrs)* #qualifiers #sig #body));
    }
}

impl ToTokens for Body {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        match self {
            Self::Missing(semicolon) => semicolon.to_tokens(tokens),
            Self::Sync(braces) | Self::Async(braces) => braces.to_tokens(tokens),
            Self::Future(body) => body.to_tokens(tokens),
        }
    }
}

/// Braces where the user had some: what the compiler says of the whole then points there.
fn braces_at(place: proc_macro2::Span, content: TokenStream) -> TokenStream {
    let mut braces = Group::new(Delimiter::Brace, content);
    braces.set_span(place);
    braces.into_token_stream()
}
