//! `fields(..)`: what a span records, in the grammar of `tracing`'s own macros.
//!
//! ```text
//! field := [sigil] place                  an argument of the function, or a field of one: `order`, `%self.id`
//!        | name "=" "Empty"               declared now, recorded later
//!        | name "=" [sigil] expression
//! name  := place | string | "{" constant "}"
//! place := word ("." word)*
//! sigil := "%" (Display) | "?" (Debug)
//! ```

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::ParseStream;
use syn::punctuated::Punctuated;
use syn::{Block, Error, Expr, Ident, LitStr, Result, Token};

use super::values::Format;

/// One field of a span.
#[derive(Clone)]
pub(crate) struct Field {
    pub(crate) name: Name,
    pub(crate) format: Option<Format>,
    pub(crate) value: Value,
}

/// A field's name. Dotted names become text here, so that no macro puts spaces around the dots.
#[derive(Clone)]
pub(crate) enum Name {
    Text(LitStr),
    Constant(Block),
}

/// What a field records.
#[derive(Clone)]
pub(crate) enum Value {
    /// An argument of the function, or a part of it.
    Argument(Place),
    Expr(Expr),
    /// Nothing yet.
    Empty,
}

/// `order.customer.id`
pub(crate) type Place = Punctuated<Ident, Token![.]>;

pub(super) fn read(input: ParseStream<'_>) -> Result<Vec<Field>> {
    read_as("field", input)
}

/// The same list for something else that is written like it; `what` is its name in errors.
pub(super) fn read_as(what: &str, input: ParseStream<'_>) -> Result<Vec<Field>> {
    let mut fields: Vec<Field> = Vec::new();
    while !input.is_empty() {
        let field = field(what, input)?;
        if fields.iter().any(|other| other.name == field.name) {
            return Err(Error::new(field.name.span(), format!("this {what} is listed twice")));
        }
        fields.push(field);
        super::comma(input)?;
    }
    Ok(fields)
}

fn field(what: &str, input: ParseStream<'_>) -> Result<Field> {
    let format = sigil(input)?;
    if input.peek(LitStr) {
        return given(what, input, Name::Text(input.parse()?), format);
    }
    if input.peek(syn::token::Brace) {
        return given(what, input, Name::Constant(input.parse()?), format);
    }
    let place = place(what, input)?;
    let name = Name::Text(place_name(&place));
    if input.peek(Token![=]) {
        return given(what, input, name, format);
    }
    Ok(Field { name, format, value: Value::Argument(place) })
}

/// The rest of a field whose value is written out.
fn given(what: &str, input: ParseStream<'_>, name: Name, before: Option<Format>) -> Result<Field> {
    if before.is_some() {
        return Err(Error::new(name.span(), "the sigil goes before the value: `name = %value`"));
    }
    if !input.peek(Token![=]) {
        let empty = if what == "field" { ", or `name = Empty`" } else { "" };
        return Err(Error::new(
            name.span(),
            format!("this {what} has no value: write `name = value`{empty}"),
        ));
    }
    input.parse::<Token![=]>()?;
    if input.is_empty() || input.peek(Token![,]) {
        return Err(Error::new(name.span(), format!("this {what} has no value after the `=`")));
    }
    let format = sigil(input)?;
    let value = match input.parse()? {
        Expr::Path(path) if path.path.is_ident("Empty") => Value::Empty,
        expr => Value::Expr(expr),
    };
    Ok(Field { name, format, value })
}

fn sigil(input: ParseStream<'_>) -> Result<Option<Format>> {
    if input.peek(Token![%]) {
        return input.parse::<Token![%]>().map(|_| Some(Format::Display));
    }
    if input.peek(Token![?]) {
        return input.parse::<Token![?]>().map(|_| Some(Format::Debug));
    }
    Ok(None)
}

fn place(what: &str, input: ParseStream<'_>) -> Result<Place> {
    let word = |input: ParseStream<'_>| {
        input.call(Ident::parse_any).map_err(|error| {
            let forms = "`argument`, `name = value`, with `%` or `?` before the value";
            Error::new(error.span(), format!("expected a {what}: {forms}"))
        })
    };
    let mut place = Place::new();
    place.push_value(word(input)?);
    while input.peek(Token![.]) {
        place.push_punct(input.parse()?);
        place.push_value(word(input)?);
    }
    Ok(place)
}

fn place_name(place: &Place) -> LitStr {
    let words: Vec<_> = place.iter().map(|word| word.unraw().to_string()).collect();
    let span = place.first().map_or_else(Span::call_site, Ident::span);
    LitStr::new(&words.join("."), span)
}

impl Name {
    pub(crate) fn span(&self) -> Span {
        match self {
            Self::Text(text) => text.span(),
            Self::Constant(block) => block.brace_token.span.join(),
        }
    }
}

/// Constants are compared as they are written: two spellings of one name are `tracing`'s to sort out.
impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Text(left), Self::Text(right)) => left.value() == right.value(),
            (Self::Constant(left), Self::Constant(right)) => {
                left.to_token_stream().to_string() == right.to_token_stream().to_string()
            }
            _ => false,
        }
    }
}

impl ToTokens for Name {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        match self {
            Self::Text(text) => text.to_tokens(tokens),
            Self::Constant(block) => block.to_tokens(tokens),
        }
    }
}
