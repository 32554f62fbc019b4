//! Values that several arguments share: constant text, levels, and how results are reported.

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{Error, Expr, ExprLit, Ident, Lit, LitInt, Path, Result, Token};

/// A string known at compile time: a literal, the path of a constant, or a macro such as `concat!`.
#[derive(Clone)]
pub(crate) struct Text(Expr);

impl Text {
    pub(crate) fn span(&self) -> Span {
        self.0.span()
    }
}

impl Parse for Text {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let expr: Expr = input.parse()?;
        match &expr {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) if text.value().is_empty() => {
                Err(Error::new(text.span(), "an empty string names nothing"))
            }
            Expr::Lit(ExprLit { lit: Lit::Str(_), .. }) | Expr::Path(_) | Expr::Macro(_) => Ok(Self(expr)),
            other => Err(Error::new(
                other.span(),
                "expected a string literal, the path of a `const` string, or a macro that gives one",
            )),
        }
    }
}

impl ToTokens for Text {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        self.0.to_tokens(tokens);
    }
}

/// A span's or an event's level.
#[derive(Clone)]
pub(crate) enum Level {
    /// The name of one of the five constants of `tracing::Level`, with the place of what said so.
    Known(&'static str, Span),
    /// A constant of the user's.
    Path(Path),
}

/// In the order of their numbers, from 1.
const LEVELS: [&str; 5] = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR"];

impl Level {
    fn from_text(text: &str, span: Span) -> Result<Self> {
        let level = LEVELS.into_iter().find(|level| level.eq_ignore_ascii_case(text));
        level.map(|level| Self::Known(level, span)).ok_or_else(|| Self::error(span))
    }

    fn from_number(number: &LitInt) -> Result<Self> {
        let place = number.base10_parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        let level = place.and_then(|place| LEVELS.get(place));
        level.map(|level| Self::Known(level, number.span())).ok_or_else(|| Self::error(number.span()))
    }

    /// `debug` without quotes is a slip; `DEBUG` and `crate::LEVEL` may be constants.
    fn from_path(path: Path) -> Result<Self> {
        match path.get_ident().map(ToString::to_string) {
            Some(word) if LEVELS.iter().any(|level| level.to_lowercase() == word) => {
                Err(Error::new(path.span(), format!("write `level = \"{word}\"`")))
            }
            _ => Ok(Self::Path(path)),
        }
    }

    fn error(span: Span) -> Error {
        Error::new(
            span,
            "expected a level: \"trace\", \"debug\", \"info\", \"warn\" or \"error\", 1 (trace) to 5 (error), \
             or the path of a constant",
        )
    }
}

impl Parse for Level {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        match input.parse::<Expr>()? {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Self::from_text(&text.value(), text.span()),
            Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) => Self::from_number(&number),
            Expr::Path(path) if path.qself.is_none() => Self::from_path(path.path),
            other => Err(Self::error(other.span())),
        }
    }
}

/// How `err` and `ret` write what they report, and at which level; `None` is the argument's default.
#[derive(Clone, Default)]
pub(crate) struct Report {
    pub(crate) format: Option<Format>,
    pub(crate) level: Option<Level>,
}

#[derive(Clone, Copy)]
pub(crate) enum Format {
    Debug,
    Display,
}

impl Report {
    /// What stands between the parentheses: `Debug` or `Display`, and `level = ..`, in any order.
    pub(super) fn read(input: ParseStream<'_>) -> Result<Self> {
        let mut report = Self::default();
        while !input.is_empty() {
            let word = input.call(Ident::parse_any).map_err(|error| Self::error(error.span()))?;
            let repeated = match word.to_string().as_str() {
                "Debug" => report.format.replace(Format::Debug).is_some(),
                "Display" => report.format.replace(Format::Display).is_some(),
                "level" if input.peek(Token![=]) => {
                    input.parse::<Token![=]>()?;
                    report.level.replace(input.parse()?).is_some()
                }
                _ => return Err(Self::error(word.span())),
            };
            if repeated {
                return Err(Error::new(word.span(), "give one format and one level"));
            }
            super::comma(input)?;
        }
        Ok(report)
    }

    fn error(span: Span) -> Error {
        Error::new(span, "expected `Debug`, `Display` or `level = \"..\"`")
    }
}
