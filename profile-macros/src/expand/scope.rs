//! Labels, and the region that takes the span's place.

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::spanned::Spanned;

use super::span::{Runtime, operand};
use crate::args::{Field, Format, Value};

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
        let name = &label.name;
        Some(ours!(__labels.add(#name, &#text(#reference #value));))
    }
}
