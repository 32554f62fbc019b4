//! Labels, and the region that takes the span's place.

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::Stmt;
use syn::spanned::Spanned;

use super::span::{Runtime, operand};
use crate::args::{Field, Format, Name, Value};

impl Runtime<'_> {
    /// The static that a function without a span enters. In a block of its own, out of the body's sight.
    pub(super) fn region(&self) -> Option<TokenStream> {
        if self.args().makes_span() {
            return None;
        }
        let (private, name) = (self.private(), self.name());
        Some(ours! {{
            static REGION: #private::RegionSite = #private::RegionSite::new(#name);
            &REGION
        }})
    }

    /// Statements that leave the labels in `__labels`. Their values are evaluated only if somebody samples.
    pub(super) fn labels(&self) -> Option<TokenStream> {
        let labels = &self.args().labels;
        if labels.is_empty() {
            return None;
        }
        let private = self.private();
        let labels = labels.iter().map(|label| self.label(label));
        Some(ours! {
            let mut __labels = #private::Labels::current();
            if __labels.is_wanted() { #(#labels)* }
        })
    }

    fn label(&self, label: &Field) -> Option<TokenStream> {
        let value = match &label.value {
            Value::Argument(place) => place.to_token_stream(),
            Value::Expr(expr) => operand(expr),
            Value::Empty => return None, // refused when it was read
        };
        let form = match label.format {
            Some(Format::Debug) => "label_debug",
            _ => "label",
        };
        let text = self.helper(form, value.span());
        let reference = quote::quote_spanned!(value.span()=> &);
        let name = key(&label.name);
        Some(ours!(__labels.add(#name, &#text(#reference #value));))
    }
}

/// A label's key. A constant loses its braces: as an argument of a call, the compiler would find them needless.
fn key(name: &Name) -> TokenStream {
    match name {
        Name::Constant(block) => match block.stmts.as_slice() {
            [Stmt::Expr(constant, None)] => constant.to_token_stream(),
            _ => block.to_token_stream(),
        },
        Name::Text(text) => text.to_token_stream(),
    }
}
