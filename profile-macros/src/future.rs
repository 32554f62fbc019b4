//! Functions that are not `async` and yet end in an async block: hand-written `impl Future`s, what `async_trait` makes
//! of its methods, boxed futures.
//!
//! Timing such a function's call would time the making of a future and none of its work, so it is the block that gets
//! the span. What counts as the end is decided by form alone: the async block itself, `Box::pin` of it, and a method
//! called on it that boxes or wraps it.

use proc_macro2::{Group, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Expr, Stmt};

/// A body with an async block at its end.
pub(crate) struct FutureBody(syn::Block);

impl FutureBody {
    /// Reads the body only if it can be one of these.
    pub(crate) fn find(braces: &Group) -> Option<Self> {
        if !mentions_async(braces.stream()) {
            return None;
        }
        let mut body: syn::Block = syn::parse2(TokenTree::from(braces.clone()).into()).ok()?;
        last_async(&mut body)?;
        Some(Self(body))
    }

    /// The body with its last async block replaced.
    pub(crate) fn replace(&self, with: impl FnOnce(&syn::ExprAsync) -> TokenStream) -> TokenStream {
        let mut body = self.0.clone();
        if let Some(slot) = last_async(&mut body)
            && let Expr::Async(block) = &*slot
        {
            *slot = Expr::Verbatim(with(block));
        }
        body.into_token_stream()
    }
}

impl ToTokens for FutureBody {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        self.0.to_tokens(tokens);
    }
}

fn mentions_async(tokens: TokenStream) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(word) => word == "async",
        TokenTree::Group(group) => mentions_async(group.stream()),
        _ => false,
    })
}

fn last_async(body: &mut syn::Block) -> Option<&mut Expr> {
    match body.stmts.last_mut()? {
        Stmt::Expr(expr, None) => async_within(expr),
        _ => None,
    }
}

fn async_within(expr: &mut Expr) -> Option<&mut Expr> {
    match expr {
        Expr::Async(_) => Some(expr),
        Expr::Paren(paren) => async_within(&mut paren.expr),
        Expr::Group(group) => async_within(&mut group.expr),
        Expr::Call(call) if call.args.len() == 1 && is_box_pin(&call.func) => {
            async_within(call.args.first_mut()?)
        }
        Expr::MethodCall(call) if WRAPPERS.iter().any(|wrapper| call.method == wrapper) => {
            async_within(&mut call.receiver)
        }
        _ => None,
    }
}

/// Methods that hand on what the async block gives.
const WRAPPERS: [&str; 4] = ["boxed", "boxed_local", "instrument", "in_current_span"];

fn is_box_pin(function: &Expr) -> bool {
    let Expr::Path(function) = function else { return false };
    let mut from_the_end = function.path.segments.iter().rev();
    let mut next_is = |word| from_the_end.next().is_some_and(|segment| segment.ident == word);
    next_is("pin") && next_is("Box")
}
