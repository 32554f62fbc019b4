//! Functions that are not `async` and yet end in an async block: hand-written `impl Future`s, what `async_trait` makes
//! of its methods, boxed futures.
//!
//! Timing such a function's call would time the making of a future and none of its work, so it is the block that gets
//! the span. What counts as the end is decided by form alone: the async block itself, `Box::pin` of it, and a method
//! called on it that boxes or wraps it.

use proc_macro2::{Group, TokenStream, TokenTree};
use quote::ToTokens;
use syn::visit_mut::{self, VisitMut};
use syn::{Expr, GenericArgument, PathArguments, PathSegment, ReturnType, Stmt, Type, TypeParamBound};

/// A body with an async block at its end.
pub(crate) struct FutureBody {
    body: syn::Block,
    /// What the future gives, if the return type says so.
    pub(crate) output: Option<Type>,
}

impl FutureBody {
    /// Reads the body only if it can be one of these.
    pub(crate) fn find(braces: &Group, returned: &ReturnType) -> Option<Self> {
        if !mentions_async(braces.stream()) {
            return None;
        }
        let mut body: syn::Block = syn::parse2(TokenTree::from(braces.clone()).into()).ok()?;
        last_async(&mut body)?;
        let output = match returned {
            ReturnType::Type(_, ty) => future_output(ty),
            ReturnType::Default => None,
        };
        Some(Self { body, output })
    }

    /// The body with its last async block replaced.
    pub(crate) fn replace(&self, with: impl FnOnce(&syn::ExprAsync) -> TokenStream) -> TokenStream {
        let mut body = self.body.clone();
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
        self.body.to_tokens(tokens);
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

/// `T` of `impl Future<Output = T>`, `Pin<Box<dyn Future<Output = T> + Send>>`, `BoxFuture<'_, T>`.
fn future_output(ty: &Type) -> Option<Type> {
    match ty {
        Type::ImplTrait(ty) => bounds_output(ty.bounds.iter()),
        Type::TraitObject(ty) => bounds_output(ty.bounds.iter()),
        Type::Paren(ty) => future_output(&ty.elem),
        Type::Group(ty) => future_output(&ty.elem),
        Type::Path(ty) => {
            let last = ty.path.segments.last()?;
            let only_type = type_arguments(last).next()?;
            match last.ident.to_string().as_str() {
                "Pin" | "Box" => future_output(only_type),
                "BoxFuture" | "LocalBoxFuture" => Some(only_type.clone()),
                _ => None,
            }
        }
        _ => None,
    }
}

fn bounds_output<'a>(mut bounds: impl Iterator<Item = &'a TypeParamBound>) -> Option<Type> {
    bounds.find_map(|bound| {
        let TypeParamBound::Trait(bound) = bound else { return None };
        let last = bound.path.segments.last()?;
        arguments(last).find_map(|argument| match argument {
            GenericArgument::AssocType(assoc) if last.ident == "Future" && assoc.ident == "Output" => {
                Some(assoc.ty.clone())
            }
            _ => None,
        })
    })
}

fn arguments(segment: &PathSegment) -> impl Iterator<Item = &GenericArgument> {
    let list = match &segment.arguments {
        PathArguments::AngleBracketed(list) => Some(list.args.iter()),
        _ => None,
    };
    list.into_iter().flatten()
}

fn type_arguments(segment: &PathSegment) -> impl Iterator<Item = &Type> {
    arguments(segment).filter_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    })
}

/// The type as it may be written inside the function: with `_` for every `impl Trait`. `None` if that leaves nothing
/// to say, or if it is `!`, which stable Rust lets no one write there.
pub(crate) fn writable(ty: &Type) -> Option<Type> {
    struct Infer;
    impl VisitMut for Infer {
        fn visit_type_mut(&mut self, ty: &mut Type) {
            if matches!(ty, Type::ImplTrait(_)) {
                *ty = Type::Verbatim(quote::quote!(_));
            } else {
                visit_mut::visit_type_mut(self, ty);
            }
        }
    }
    let mut ty = ty.clone();
    Infer.visit_type_mut(&mut ty);
    (!matches!(ty, Type::Never(_) | Type::Verbatim(_))).then_some(ty)
}
