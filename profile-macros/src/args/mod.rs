//! The arguments between the parentheses of `#[profiled(..)]`.
//!
//! [`KEYS`] is the whole language: a row per argument with its name, how it is written, what it may be put on and how
//! its value is read. One loop walks the arguments over that table, so that unknown, repeated, valueless and misplaced
//! arguments are found in one place for all of them, and a new argument is a new row.

mod fields;
mod labels;
mod suggest;
mod values;

pub(crate) use self::fields::{Field, Name, Place, Value};
pub(crate) use self::values::{Format, Level, Report, Text};

use proc_macro2::Span;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{Error, Expr, ExprLit, Ident, Lit, LitStr, Path, Result, Token};

/// What one `#[profiled(..)]` says.
#[derive(Clone, Default)]
pub(crate) struct Args {
    pub(crate) krate: Option<Path>,
    pub(crate) name: Option<Text>,
    pub(crate) target: Option<Text>,
    pub(crate) level: Option<Level>,
    pub(crate) fields: Vec<Field>,
    pub(crate) parent: Option<Expr>,
    pub(crate) follows_from: Option<Expr>,
    pub(crate) err: Option<Report>,
    pub(crate) ret: Option<Report>,
    pub(crate) labels: Vec<Field>,
    span: Option<bool>,
    pub(crate) skip: bool,
    written: Vec<(&'static Key, Span)>,
}

/// A row of the table.
pub(crate) struct Key {
    pub(crate) word: &'static str,
    /// How it is written; shown when its value is missing.
    usage: &'static str,
    pub(crate) on: On,
    /// Whether it says something about the span, and thus nothing where there is none.
    pub(crate) of_span: bool,
    read: fn(&mut Args, &Word<'_>) -> Result<()>,
}

/// What an argument may be put on.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum On {
    /// Functions, and blocks for all the functions in them.
    All,
    /// Functions only; the reason completes "`name` is for one function: ".
    Function(&'static str),
}

#[rustfmt::skip]
const KEYS: &[Key] = &[
    Key { word: "name", usage: "name = \"checkout\"", on: On::Function("every function of the block would have it"), of_span: false,
          read: |args, word| word.value().map(|value| args.name = Some(value)) },
    Key { word: "target", usage: "target = \"shop::orders\"", on: On::All, of_span: true,
          read: |args, word| word.value().map(|value| args.target = Some(value)) },
    Key { word: "level", usage: "level = \"debug\"", on: On::All, of_span: true,
          read: |args, word| word.value().map(|value| args.level = Some(value)) },
    Key { word: "fields", usage: "fields(order_id, total = cart.total())", on: On::All, of_span: true,
          read: |args, word| word.list(fields::read).map(|list| args.fields = list) },
    Key { word: "parent", usage: "parent = &span", on: On::All, of_span: true,
          read: |args, word| word.value().map(|value| args.parent = Some(value)) },
    Key { word: "follows_from", usage: "follows_from = [&span]", on: On::All, of_span: true,
          read: |args, word| word.value().map(|value| args.follows_from = Some(value)) },
    Key { word: "err", usage: "err(Debug, level = \"warn\")", on: On::Function("not all in the block return a `Result`"), of_span: true,
          read: |args, word| word.report().map(|value| args.err = Some(value)) },
    Key { word: "ret", usage: "ret(Display, level = \"debug\")", on: On::Function("put it on those whose results you want"), of_span: true,
          read: |args, word| word.report().map(|value| args.ret = Some(value)) },
    Key { word: "labels", usage: "labels(tenant = order.tenant)", on: On::All, of_span: false,
          read: |args, word| word.list(labels::read).map(|list| args.labels = list) },
    Key { word: "span", usage: "span = false", on: On::All, of_span: false,
          read: |args, word| word.switch().map(|value| args.span = Some(value)) },
    Key { word: "skip", usage: "skip", on: On::All, of_span: false,
          read: |args, word| word.alone().map(|()| args.skip = true) },
    Key { word: "skip_all", usage: "skip_all", on: On::All, of_span: false,
          read: |_, word| word.alone() },
    Key { word: "crate", usage: "crate = path::to::profile_layer", on: On::All, of_span: false,
          read: |args, word| word.value().map(|value| args.krate = Some(value)) },
];

impl Parse for Args {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut args = Self::default();
        if input.peek(LitStr) {
            let text: Text = input.parse()?;
            args.claim(known(&Ident::new("name", text.span()))?, text.span())?;
            args.name = Some(text);
            comma(input)?;
        }
        while !input.is_empty() {
            let ident = argument(input)?;
            let key = known(&ident)?;
            args.claim(key, ident.span())?;
            (key.read)(&mut args, &Word { key, ident, input })?;
            comma(input)?;
        }
        args.skip_stands_alone()
    }
}

impl Args {
    /// The arguments as they were written, in order.
    pub(crate) fn written(&self) -> impl Iterator<Item = (&'static Key, Span)> + '_ {
        self.written.iter().copied()
    }

    /// Whether the argument of this name is written here, and not on a block around this.
    pub(crate) fn says(&self, word: &str) -> bool {
        self.written().any(|(key, _)| key.word == word)
    }

    /// Where the argument of this name stands.
    pub(crate) fn place(&self, word: &str) -> Span {
        self.written().find(|(key, _)| key.word == word).map_or_else(Span::call_site, |(_, span)| span)
    }

    /// Whether the function gets a span; else it gets a region.
    pub(crate) fn makes_span(&self) -> bool {
        self.span != Some(false)
    }

    /// These arguments, with what they leave open taken from those of the block around the function.
    pub(crate) fn within(mut self, block: &Self) -> Self {
        let joined = |block: &[Field], own: &[Field]| -> Vec<Field> {
            let inherited = block.iter().filter(|field| !own.iter().any(|own| own.name == field.name));
            inherited.chain(own).cloned().collect()
        };
        self.fields = joined(&block.fields, &self.fields);
        self.labels = joined(&block.labels, &self.labels);
        self.span = self.span.or(block.span);
        self.krate = self.krate.or_else(|| block.krate.clone());
        self.target = self.target.or_else(|| block.target.clone());
        self.level = self.level.or_else(|| block.level.clone());
        self.parent = self.parent.or_else(|| block.parent.clone());
        self.follows_from = self.follows_from.or_else(|| block.follows_from.clone());
        self
    }

    fn claim(&mut self, key: &'static Key, at: Span) -> Result<()> {
        if self.written.iter().any(|(other, _)| other.word == key.word) {
            return Err(Error::new(at, format!("`{}` is given twice", key.word)));
        }
        self.written.push((key, at));
        Ok(())
    }

    fn skip_stands_alone(self) -> Result<Self> {
        let other = self.written().find(|(key, _)| key.word != "skip");
        match other {
            Some((key, at)) if self.skip => {
                Err(Error::new(at, format!("`{}` says nothing about a function that is skipped", key.word)))
            }
            _ => Ok(self),
        }
    }
}

/// An argument's name in the source, with what follows it.
struct Word<'a> {
    key: &'static Key,
    ident: Ident,
    input: ParseStream<'a>,
}

impl Word<'_> {
    /// `key = value`
    fn value<T: Parse>(&self) -> Result<T> {
        if !self.input.peek(Token![=]) {
            return Err(self.usage());
        }
        self.input.parse::<Token![=]>()?;
        if self.input.is_empty() || self.input.peek(Token![,]) {
            return Err(self.usage());
        }
        self.input.parse()
    }

    /// `key = true` or `key = false`
    fn switch(&self) -> Result<bool> {
        let value: Expr = self.value()?;
        match &value {
            Expr::Lit(ExprLit { lit: Lit::Bool(switch), .. }) => Ok(switch.value),
            other => Err(Error::new(other.span(), "expected `true` or `false`")),
        }
    }

    /// `key(..)`
    fn list<T>(&self, read: fn(ParseStream<'_>) -> Result<T>) -> Result<T> {
        if !self.input.peek(syn::token::Paren) {
            return Err(self.usage());
        }
        let content;
        syn::parenthesized!(content in self.input);
        read(&content)
    }

    /// `key` or `key(..)`
    fn report(&self) -> Result<Report> {
        if self.input.peek(syn::token::Paren) {
            return self.list(Report::read);
        }
        self.alone().map(|()| Report::default())
    }

    /// `key`
    fn alone(&self) -> Result<()> {
        let word = self.key.word;
        if self.input.is_empty() || self.input.peek(Token![,]) {
            return Ok(());
        }
        Err(match word {
            "skip" => Error::new(
                self.ident.span(),
                "`skip` takes no list: arguments are recorded only when `fields(..)` lists them",
            ),
            "skip_all" => Error::new(self.ident.span(), "`skip_all` takes no value"),
            _ => self.usage(),
        })
    }

    fn usage(&self) -> Error {
        Error::new(self.ident.span(), format!("`{}` is written `{}`", self.key.word, self.key.usage))
    }
}

/// The name of the next argument.
fn argument(input: ParseStream<'_>) -> Result<Ident> {
    if input.peek(LitStr) {
        return Err(input.error("the span's name comes first, and once"));
    }
    input.call(Ident::parse_any).map_err(|error| Error::new(error.span(), format!("expected {}", allowed())))
}

fn comma(input: ParseStream<'_>) -> Result<()> {
    if input.is_empty() {
        return Ok(());
    }
    input.parse::<Token![,]>().map(drop)
}

fn known(ident: &Ident) -> Result<&'static Key> {
    let word = ident.to_string();
    KEYS.iter().find(|key| key.word == word).ok_or_else(|| {
        let meant = suggest::nearest(&word, KEYS.iter().map(|key| key.word));
        let meant = meant.map(|meant| format!(", did you mean `{meant}`?")).unwrap_or_default();
        let separator = if meant.is_empty() { ";" } else { "" };
        Error::new(
            ident.span(),
            format!("unknown argument `{word}`{meant}{separator} expected {}", allowed()),
        )
    })
}

fn allowed() -> String {
    let words: Vec<_> = KEYS.iter().map(|key| format!("`{}`", key.word)).collect();
    format!("one of {}", words.join(", "))
}
