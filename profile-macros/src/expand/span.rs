//! The span, its fields, and the events of `err` and `ret`.
//!
//! Values go through small functions of the runtime that stand where the user's expression stands. So a type that does
//! not fit is told once, there, and in words that fit, whatever `tracing`'s macros do with the value.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::Expr;
use syn::spanned::Spanned;

use crate::args::{Args, Field, Format, Level, Report, Value};
use crate::item::Function;

/// What the expansion of one function refers to.
pub(super) struct Runtime<'a> {
    args: &'a Args,
    name: TokenStream,
}

impl<'a> Runtime<'a> {
    pub(super) fn new(function: &Function, args: &'a Args) -> Self {
        let name = match &args.name {
            Some(name) => name.to_token_stream(),
            None => function.name().to_token_stream(),
        };
        Self { args, name }
    }

    pub(super) fn args(&self) -> &Args {
        self.args
    }

    /// The name of the span or region.
    pub(super) fn name(&self) -> &TokenStream {
        &self.name
    }

    /// The module of the helpers.
    pub(super) fn private(&self) -> TokenStream {
        self.private_at(Span::mixed_site())
    }

    /// The same, as if it were written at `at`. A path that the user gave keeps its own place and is marked as part of
    /// an expansion: else the compiler's lints would judge its use here as the user's.
    fn private_at(&self, at: Span) -> TokenStream {
        match &self.args.krate {
            Some(path) => ours!(#path::__private),
            None => quote_spanned!(at=> ::profile_layer::__private),
        }
    }

    pub(super) fn tracing(&self) -> TokenStream {
        let private = self.private();
        ours!(#private::tracing)
    }

    /// The span's level.
    pub(super) fn level(&self) -> TokenStream {
        self.level_or(self.args.level.as_ref(), "INFO")
    }

    /// The expression that makes the span. `tracing`'s macro evaluates fields and parent only if someone wants it.
    pub(super) fn span(&self) -> TokenStream {
        let Self { args, name, .. } = self;
        let (tracing, level) = (self.tracing(), self.level());
        let target = self.target();
        let parent = args.parent.as_ref().map(|parent| quote!(parent: #parent,));
        let fields = args.fields.iter().map(|field| self.field(field));
        let span = ours!(#tracing::span!(#target #parent #level, #name, #(#fields),*));
        match &args.follows_from {
            None => span,
            Some(causes) => {
                let follows_from = self.helper("follows_from", causes.span());
                let new = ours!(&__span);
                let call = quote_spanned!(causes.span()=> #follows_from(#new, #causes));
                ours! {{
                    let __span = #span;
                    if !__span.is_disabled() { #call; }
                    __span
                }}
            }
        }
    }

    pub(super) fn reports(&self) -> bool {
        self.args.err.is_some() || self.args.ret.is_some()
    }

    /// The events of `err` and `ret`, given `__returned`. With both, `ret` reports what is in `Ok`.
    pub(super) fn events(&self) -> TokenStream {
        let Args { err, ret, level, .. } = self.args;
        let ret_part = if err.is_some() { "value_of" } else { "all_of" };
        let err = err.as_ref().map(|report| {
            let level = self.level_or(report.level.as_ref(), "ERROR");
            self.event(
                report,
                &level,
                &Part { word: "err", part: "error_of", field: "error", format: Format::Display },
            )
        });
        let ret = ret.as_ref().map(|report| {
            let level = self.level_or(report.level.as_ref().or(level.as_ref()), "INFO");
            self.event(
                report,
                &level,
                &Part { word: "ret", part: ret_part, field: "return", format: Format::Debug },
            )
        });
        quote!(#err #ret)
    }

    fn event(&self, report: &Report, level: &TokenStream, part: &Part) -> TokenStream {
        let at = self.args.place(part.word).resolved_at(Span::mixed_site());
        let (tracing, target) = (self.tracing(), self.target());
        let field = syn::Ident::new(part.field, at);
        let which = self.helper(part.part, at);
        let record = self.helper(recorder(Some(report.format.unwrap_or(part.format))), at);
        quote_spanned! {at=>
            if let ::core::option::Option::Some(__value) = #which(&__returned) {
                #tracing::event!(#target #level, #field = #record(__value));
            }
        }
    }

    fn target(&self) -> Option<TokenStream> {
        self.args.target.as_ref().map(|target| quote!(target: #target,))
    }

    fn field(&self, field: &Field) -> TokenStream {
        let value = match &field.value {
            Value::Argument(place) => place.to_token_stream(),
            Value::Expr(expr) => operand(expr),
            Value::Empty => {
                let (name, tracing) = (&field.name, self.tracing());
                return ours!(#name = #tracing::field::Empty);
            }
        };
        let name = &field.name;
        let record = self.helper(recorder(field.format), value.span());
        // The `&` is at the value's own place: it is part of the expression that an error shows.
        let reference = quote_spanned!(value.span()=> &);
        ours!(#name = #record(#reference #value))
    }

    fn level_or(&self, level: Option<&Level>, default: &'static str) -> TokenStream {
        let tracing = self.tracing();
        let (name, place) = match level {
            Some(Level::Path(path)) => return path.to_token_stream(),
            Some(Level::Known(name, place)) => (*name, *place),
            None => (default, Span::mixed_site()),
        };
        let name = syn::Ident::new(name, place);
        ours!(#tracing::Level::#name)
    }

    /// A function of the runtime, for a value that stands at `at`.
    pub(super) fn helper(&self, name: &str, at: Span) -> TokenStream {
        let private = self.private_at(at);
        let name = syn::Ident::new(name, at);
        quote_spanned!(at=> #private::#name)
    }
}

/// The expression as it may stand behind a `&`.
pub(super) fn operand(expr: &Expr) -> TokenStream {
    match expr {
        Expr::Binary(_) | Expr::Cast(_) | Expr::Range(_) | Expr::Assign(_) => {
            quote_spanned!(expr.span()=> (#expr))
        }
        _ => expr.to_token_stream(),
    }
}

/// Which part of what a function returns an argument reports, and how unless it says otherwise.
struct Part {
    /// The argument.
    word: &'static str,
    /// The helper that takes the part.
    part: &'static str,
    /// The event's field.
    field: &'static str,
    format: Format,
}

fn recorder(format: Option<Format>) -> &'static str {
    match format {
        None => "value",
        Some(Format::Debug) => "debug",
        Some(Format::Display) => "display",
    }
}
