//! The body of a profiled function.

use proc_macro2::{Group, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::visit_mut::{self, VisitMut};
use syn::{Lifetime, ReturnType, Type};

use super::braces_at;
use super::span::Runtime;
use crate::args::Args;
use crate::future::FutureBody;
use crate::item::{Body, Function};

pub(super) fn profiled(function: &Function, args: &Args) -> TokenStream {
    let runtime = Runtime::new(function, args);
    match &function.body {
        Body::Sync(body) => braces_at(body.span(), sync(&runtime, body, &function.sig.output)),
        Body::Async(body) => {
            let output = match &function.sig.output {
                ReturnType::Type(_, ty) => (**ty).clone(),
                ReturnType::Default => unit(),
            };
            braces_at(body.span(), future(&runtime, &quote!(move), Some(&output), body))
        }
        Body::Future(body) => last_block(&runtime, body),
        Body::Missing(semicolon) => semicolon.to_token_stream(),
    }
}

/// The body behind a guard, which stays unset when nobody wants the level: then nothing else is done.
///
/// The braces around both are the macro's and thus of this crate's edition, in which the temporaries of a last
/// expression go before its block's variables: they are dropped within the span whatever the user's edition is.
fn sync(runtime: &Runtime<'_>, body: &Group, returned: &ReturnType) -> TokenStream {
    let body = if runtime.reports() { reported(runtime, body, returned) } else { as_last_expression(body) };
    let labels = runtime.labels().map(|labels| ours!(#labels let __labelled = __labels.enter();));
    if let Some(region) = runtime.region() {
        return ours! {{
            #labels
            let __profiled = #region.enter();
            #body
        }};
    }
    let (private, level, span) = (runtime.private(), runtime.level(), runtime.span());
    ours! {{
        let __profiled;
        if #private::enabled(#level) { __profiled = #span.entered(); }
        #labels
        #body
    }}
}

/// The body as a closure that is called once, so that what it returns can be looked at. `call` tells the compiler that
/// it is a `FnOnce`, without which the body could not return what it borrowed from an argument.
fn reported(runtime: &Runtime<'_>, body: &Group, returned: &ReturnType) -> TokenStream {
    let returned = match returned {
        ReturnType::Default => Some(unit()),
        ReturnType::Type(_, ty) => writable(ty),
    };
    let arrow = returned.map(|ty| quote!(-> #ty));
    let (private, events) = (runtime.private(), runtime.events());
    ours! {
        let __returned = #private::call(move || #arrow #body);
        #events
        __returned
    }
}

fn last_block(runtime: &Runtime<'_>, body: &FutureBody) -> TokenStream {
    body.replace(|block| {
        let syn::ExprAsync { attrs, async_token, capture, block, .. } = block;
        let content = future(runtime, &capture.to_token_stream(), None, block);
        let braces = braces_at(block.span(), content);
        quote!(#(#attrs)* #async_token #capture #braces)
    })
}

/// The content of an async context that makes the span and runs the body in it.
fn future(
    runtime: &Runtime<'_>,
    capture: &TokenStream,
    declared: Option<&Type>,
    body: &(impl ToTokens + Spanned),
) -> TokenStream {
    let return_type = declared.and_then(writable).map(|ty| return_type(runtime, &ty));
    let body = as_last_expression(body);
    let mut work = ours!(async #capture { #return_type #body });
    if runtime.reports() {
        let events = runtime.events();
        work = ours! { async #capture { let __returned = #work.await; #events __returned } };
    }
    let (labels, region) = (runtime.labels(), runtime.region());
    if labels.is_some() || region.is_some() {
        let private = runtime.private();
        let some = |tokens: TokenStream| ours!(::core::option::Option::Some(#tokens));
        let none = || ours!(::core::option::Option::None);
        let scope = region.map_or_else(none, some);
        let held = labels.as_ref().map_or_else(none, |_| some(ours!(__labels)));
        work = ours!(#private::scoped(#scope, #held, #work));
    }
    if !runtime.args().makes_span() {
        return ours!(#labels #work.await);
    }
    let (tracing, span) = (runtime.tracing(), runtime.span());
    ours! {
        let __profiled = #span;
        #labels
        #tracing::Instrument::instrument(#work, __profiled).await
    }
}

/// Tells the compiler what the body of an async function returns, now that it is an async block. Without it the first
/// `return` or the last expression would say, and the others would no longer be coerced to the declared type. (An async
/// block of the user's own has no declared type, so it gets none here.)
fn return_type(runtime: &Runtime<'_>, ty: &Type) -> TokenStream {
    let value = runtime.helper("never_called", ty.span());
    let call = quote_spanned!(ty.span()=> #value::<#ty>());
    ours! { if false { return #call; } }
}

/// The body as the last expression of another block. The label is there because braces in that place are otherwise
/// taken for needless ones, and the user would be told so; it stands where they do for the sake of errors.
fn as_last_expression(body: &(impl ToTokens + Spanned)) -> TokenStream {
    let label = Lifetime::new("'__body", body.span());
    quote!(#label: #body)
}

fn unit() -> Type {
    syn::parse_quote!(())
}

/// The type as it may be written inside the function: with `_` for every `impl Trait`. `None` if that leaves nothing
/// to say, or if it is `!`, which stable Rust lets no one write there.
fn writable(ty: &Type) -> Option<Type> {
    struct Infer;
    impl VisitMut for Infer {
        fn visit_type_mut(&mut self, ty: &mut Type) {
            if matches!(ty, Type::ImplTrait(_)) {
                *ty = Type::Verbatim(quote!(_));
            } else {
                visit_mut::visit_type_mut(self, ty);
            }
        }
    }
    let mut ty = ty.clone();
    Infer.visit_type_mut(&mut ty);
    (!matches!(ty, Type::Never(_) | Type::Verbatim(_))).then_some(ty)
}
