//! The code that takes the place of a settled item. Nothing is decided or refused here.
//!
//! A sync body becomes an inner block behind a guard: no closure, so `return`, `?`, coercions, inference and
//! `#[track_caller]` work as before, and the guard leaves the span on every way out, unwinding too. An async body
//! becomes an instrumented async block. Names of ours have the macro's own hygiene: the user's code cannot see them.

use proc_macro2::{Delimiter, Group, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::{ReturnType, Type};

use crate::args::{Args, Field, Format, Level, Report, Value};
use crate::future::{FutureBody, writable};
use crate::item::{Block, Body, Function, Item, Member};

/// Tokens of the macro's own: what they bind is invisible to the user's code.
macro_rules! ours {
    ($($tokens:tt)*) => { quote_spanned!(Span::mixed_site()=> $($tokens)*) };
}

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
        let Self { attrs, head, inner_attrs, members, .. } = self;
        let content = quote!(#(#inner_attrs)* #(#members)*);
        let mut braces = Group::new(Delimiter::Brace, content);
        braces.set_span(self.braces);
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
            Some(args) => Expansion::new(args, self).body(self),
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

/// One function's expansion: its arguments, and the two paths into the runtime.
struct Expansion<'a> {
    args: &'a Args,
    name: TokenStream,
    private: TokenStream,
    tracing: TokenStream,
}

impl<'a> Expansion<'a> {
    fn new(args: &'a Args, function: &Function) -> Self {
        let krate = match &args.krate {
            Some(path) => path.to_token_stream(),
            None => ours!(::profile_layer),
        };
        let name = match &args.name {
            Some(name) => name.to_token_stream(),
            None => function.name().to_token_stream(),
        };
        Self { args, name, private: ours!(#krate::__private), tracing: ours!(#krate::__private::tracing) }
    }

    fn body(&self, function: &Function) -> TokenStream {
        match &function.body {
            Body::Sync(braces) => in_braces(braces, self.sync(braces, &function.sig.output)),
            Body::Async(braces) => {
                let output = match &function.sig.output {
                    ReturnType::Type(_, ty) => Some((**ty).clone()),
                    ReturnType::Default => Some(unit()),
                };
                in_braces(braces, self.future(&ours!(move), output.as_ref(), braces))
            }
            Body::Future(body) => self.last_block(body),
            Body::Missing(_) => function.body.to_token_stream(),
        }
    }

    /// The body behind a guard. The braces around both are the macro's and thus of this crate's edition: temporaries
    /// of the body's last expression are dropped within the span in every edition.
    fn sync(&self, braces: &Group, returned: &ReturnType) -> TokenStream {
        let span = self.span();
        let body =
            if self.reports() { self.reported_closure(braces, returned) } else { braces.to_token_stream() };
        ours! {{
            let __profiled = #span.entered();
            #body
        }}
    }

    /// The body as a closure that is called once, so that what it returns can be looked at. `call` tells the compiler
    /// that it is a `FnOnce`, without which the body could not return what it borrowed from an argument.
    fn reported_closure(&self, braces: &Group, returned: &ReturnType) -> TokenStream {
        let private = &self.private;
        let returned = match returned {
            ReturnType::Default => Some(unit()),
            ReturnType::Type(_, ty) => writable(ty),
        };
        let arrow = returned.map(|ty| ours!(-> #ty));
        let events = self.events();
        ours! {
            let __returned = #private::call(move || #arrow #braces);
            #events
            __returned
        }
    }

    fn last_block(&self, body: &FutureBody) -> TokenStream {
        body.replace(|block| {
            let syn::ExprAsync { attrs, async_token, capture, block, .. } = block;
            let future = self.future(&capture.to_token_stream(), body.output.as_ref(), block);
            ours!(#(#attrs)* #async_token #capture { #future })
        })
    }

    /// The statements of an async context that make the span and run the block in it.
    fn future(&self, capture: &TokenStream, output: Option<&Type>, block: &impl ToTokens) -> TokenStream {
        let Self { private, tracing, .. } = self;
        let span = self.span();
        // Without it, `return` and the last expression would decide the block's type, and would no longer be coerced
        // to the declared one.
        let edge = output.and_then(writable).map(|ty| {
            ours! { if false { return #private::never_called::<#ty>(); } }
        });
        let block = inner_block(block);
        let mut work = ours!(async #capture { #edge #block });
        if self.reports() {
            let events = self.events();
            work = ours! { async #capture { let __returned = #work.await; #events __returned } };
        }
        ours! {
            let __profiled = #span;
            #tracing::Instrument::instrument(#work, __profiled).await
        }
    }

    /// The expression that makes the span. `tracing`'s macro looks at the level before anything else.
    fn span(&self) -> TokenStream {
        let Self { args, name, private, tracing, .. } = self;
        let target = args.target.as_ref().map(|target| ours!(target: #target,));
        let parent = args.parent.as_ref().map(|parent| ours!(parent: #parent,));
        let level = self.level(args.level.as_ref(), &Level::known("INFO"));
        let fields = args.fields.iter().map(|field| self.field(field));
        let span = ours!(#tracing::span!(#target #parent #level, #name, #(#fields),*));
        match &args.follows_from {
            None => span,
            Some(causes) => ours! {{
                let __span = #span;
                if !__span.is_disabled() { #private::follows_from(&__span, #causes); }
                __span
            }},
        }
    }

    fn field(&self, field: &Field) -> TokenStream {
        let Field { name, format, value } = field;
        let tracing = &self.tracing;
        match value {
            Value::Argument(place) => ours!(#name = #format #place),
            Value::Expr(expr) => ours!(#name = #format #expr),
            Value::Empty => ours!(#name = #tracing::field::Empty),
        }
    }

    fn level(&self, level: Option<&Level>, default: &Level) -> TokenStream {
        let tracing = &self.tracing;
        match level.unwrap_or(default) {
            Level::Known(name, span) => {
                let name = syn::Ident::new(name, *span);
                ours!(#tracing::Level::#name)
            }
            Level::Path(path) => path.to_token_stream(),
        }
    }

    fn reports(&self) -> bool {
        self.args.err.is_some() || self.args.ret.is_some()
    }

    /// The events of `err` and `ret`, given the value `__returned`.
    fn events(&self) -> TokenStream {
        let Args { err, ret, level, .. } = self.args;
        let private = &self.private;
        let err_place = self.args.place("err").resolved_at(Span::mixed_site());
        let err = err.as_ref().map(|report| {
            let event = self.event(report, &Level::known("ERROR"), Format::Display, &ours!(error));
            quote_spanned! {err_place=>
                if let ::core::option::Option::Some(__value) = #private::error_of(&__returned) { #event }
            }
        });
        let ret = ret.as_ref().map(|report| {
            let level = level.clone().unwrap_or_else(|| Level::known("INFO"));
            let event = self.event(report, &level, Format::Debug, &ours!(return));
            if err.is_some() {
                ours! { if let ::core::option::Option::Some(__value) = #private::value_of(&__returned) { #event } }
            } else {
                ours! { { let __value = &__returned; #event } }
            }
        });
        ours!(#err #ret)
    }

    fn event(&self, report: &Report, level: &Level, format: Format, field: &TokenStream) -> TokenStream {
        let tracing = &self.tracing;
        let target = self.args.target.as_ref().map(|target| ours!(target: #target,));
        let level = self.level(report.level.as_ref(), level);
        let format = report.format.unwrap_or(format);
        ours!(#tracing::event!(#target #level, #field = #format __value);)
    }
}

/// What replaces a body, in that body's own place: what the compiler says of the whole function points there.
fn in_braces(place: &Group, content: TokenStream) -> TokenStream {
    let mut braces = Group::new(Delimiter::Brace, content);
    braces.set_span(place.span());
    braces.into_token_stream()
}

/// The body as the last expression of another block. The label is there because braces in that place are otherwise
/// taken for needless ones, and the user would be told so.
fn inner_block(braces: &impl ToTokens) -> TokenStream {
    ours!('__body: #braces)
}

fn unit() -> Type {
    syn::parse_quote!(())
}
