//! Every reason to refuse, in words that say what to do instead, at the token that is wrong.

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::{Attribute, Error, FnArg, Ident, Meta, Pat, Result, ReturnType, Type};

use crate::args::{Args, Field, On, Place, Value};
use crate::item::{Body, Function, Other};

/// Whether a span can be put into this function at all.
pub(crate) fn check_fit(function: &Function) -> Result<()> {
    let refuse = |place: Span, reason| Err(Error::new(place, reason));
    if let Some(constness) = &function.sig.constness {
        return refuse(
            constness.span(),
            "`#[profiled]` cannot be on a `const fn`: it may run at compile time, where there are no spans; \
             remove `const`, or profile the function that calls it",
        );
    }
    if let Some(naked) = function.attrs.iter().find(|attr| is_naked(attr)) {
        return refuse(
            naked.span(),
            "`#[profiled]` cannot be on a naked function: its body holds assembly only",
        );
    }
    if let Body::Missing(semicolon) = &function.body {
        return refuse(
            semicolon.span(),
            "this function has no body to profile; put `#[profiled]` on its implementation",
        );
    }
    Ok(())
}

/// What is said of a span where there is none. (Of the blocks around a function nothing but `span` itself can be meant.)
pub(crate) fn check_spanless(args: &Args) -> Result<()> {
    let of_span = args.written().find(|(key, _)| key.of_span);
    let Some((key, place)) = of_span.filter(|_| !args.makes_span()) else { return Ok(()) };
    let advice = match (args.says("span"), key.word) {
        (false, _) => "the block around this says `span = false`; add `span = true`",
        (true, "fields") => "`span = false` makes none; what samples should carry goes into `labels(..)`",
        (true, _) => "`span = false` makes none",
    };
    Err(Error::new(place, format!("`{}` says something about the span, and {advice}", key.word)))
}

/// Arguments that make sense on one function only.
pub(crate) fn check_block(args: &Args) -> Result<()> {
    check_spanless(args)?;
    args.written().try_for_each(|(key, place)| match key.on {
        On::All => Ok(()),
        On::Function(reason) => {
            Err(Error::new(place, format!("`{}` is for one function: {reason}", key.word)))
        }
    })
}

/// `#[unsafe(naked)]`, or `#[naked]` as it once was.
fn is_naked(attr: &Attribute) -> bool {
    match &attr.meta {
        Meta::Path(path) => path.is_ident("naked"),
        Meta::List(list) => list.path.is_ident("unsafe") && list.tokens.to_string() == "naked",
        Meta::NameValue(_) => false,
    }
}

/// `err` and `ret` look at what a function returns: it must return, and in a sync function that takes a closure.
pub(crate) fn check_reports(args: &Args, function: &Function) -> Result<()> {
    for word in args.written().map(|(key, _)| key.word).filter(|word| ["err", "ret"].contains(word)) {
        let refuse = |reason: String| Err(Error::new(args.place(word), reason));
        let tracked = function.attrs.iter().any(|attr| attr.path().is_ident("track_caller"));
        if tracked && matches!(function.body, Body::Sync(_)) {
            return refuse(format!(
                "`{word}` cannot go with `#[track_caller]`: it runs the body in a closure, \
                 which would become the caller that the body sees"
            ));
        }
        if matches!(function.body, Body::Future(_)) {
            continue; // what it returns is the future; what that gives is the compiler's to know
        }
        match &function.sig.output {
            ReturnType::Default if word == "err" => {
                let reason = "`err` reports the error of a `Result`, and this function returns nothing";
                return refuse(reason.to_owned());
            }
            ReturnType::Type(_, ty) if matches!(**ty, Type::Never(_)) => {
                return refuse(format!("`{word}` reports what a function returns, and this one never does"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// A field without a value must be an argument: else a slip in its name would record nothing, or some global.
pub(crate) fn check_arguments(args: &Args, function: &Function) -> Result<()> {
    check_places(&args.fields, function, |name| format!(", or `{name} = Empty` to record it later"))?;
    check_places(&args.labels, function, |_| String::new())
}

fn check_places(fields: &[Field], function: &Function, or: fn(&str) -> String) -> Result<()> {
    for field in fields {
        let Value::Argument(place) = &field.value else { continue };
        let Some(first) = place.first() else { continue };
        if !function.sig.inputs.iter().any(|input| binds(input, first)) {
            return Err(Error::new(first.span(), not_an_argument(place, first, &function.sig.ident, or)));
        }
    }
    Ok(())
}

fn not_an_argument(place: &Place, first: &Ident, function: &Ident, or: fn(&str) -> String) -> String {
    if first == "self" {
        return format!("`{function}` has no `self`");
    }
    let name: Vec<_> = place.iter().map(ToString::to_string).collect();
    let name = name.join(".");
    format!("`{first}` is not an argument of `{function}`: write `{name} = value`{}", or(&name))
}

fn binds(input: &FnArg, name: &Ident) -> bool {
    match input {
        FnArg::Receiver(_) => name == "self",
        FnArg::Typed(argument) => pattern_binds(&argument.pat, name),
    }
}

fn pattern_binds(pat: &Pat, name: &Ident) -> bool {
    let binds = |pat: &Pat| pattern_binds(pat, name);
    match pat {
        Pat::Ident(pat) => pat.ident == *name || pat.subpat.as_ref().is_some_and(|(_, pat)| binds(pat)),
        Pat::Reference(pat) => binds(&pat.pat),
        Pat::Paren(pat) => binds(&pat.pat),
        Pat::Tuple(pat) => pat.elems.iter().any(binds),
        Pat::TupleStruct(pat) => pat.elems.iter().any(binds),
        Pat::Slice(pat) => pat.elems.iter().any(binds),
        Pat::Struct(pat) => pat.fields.iter().any(|field| binds(&field.pat)),
        // An or-pattern binds the same names in each case.
        Pat::Or(pat) => pat.cases.first().is_some_and(binds),
        // A macro may bind anything: the compiler will know.
        Pat::Macro(_) | Pat::Verbatim(_) => true,
        _ => false,
    }
}

/// For everything that is no function and has none.
pub(crate) fn no_code(other: &Other) -> Error {
    let advice = match other.keyword.as_str() {
        "struct" | "enum" | "union" => "put it on its `impl` block to profile all methods",
        "mod" => {
            "a macro does not see another file's contents; put it on the `impl` blocks and functions there"
        }
        "extern" | "unsafe extern" => {
            "foreign functions have no body here; put it on a function that calls them"
        }
        _ => "it has no body that a span could cover",
    };
    let forms = "`#[profiled]` is for functions, `impl` and `trait` blocks and inline modules";
    Error::new(other.span, format!("{forms}; this `{}` is none of them: {advice}", other.keyword))
}
