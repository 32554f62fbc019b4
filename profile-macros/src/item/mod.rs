//! The model of what `#[profiled]` was put on: a function, or a block (`impl`, `trait`, `mod`) of functions.
//!
//! Bodies stay the tokens they were. `syn` reads signatures and headers only, so that syntax newer than `syn` inside a
//! function cannot fail here; a body is looked into only when it may end in an async block (`future.rs`).

mod ahead;
mod owner;

use proc_macro2::{Delimiter, Group, Span, TokenStream};
use quote::{ToTokens, quote};
use syn::ext::IdentExt;
use syn::parse::discouraged::Speculative;
use syn::parse::{Parse, ParseStream, Parser};
use syn::{Attribute, Result, Signature, Token, Visibility};

use self::ahead::{block_keyword, first_keyword, header, is_function};
use self::owner::owner;
use crate::args::Args;
use crate::future::FutureBody;

/// What the attribute was put on.
pub(crate) enum Item {
    Function(Box<Function>),
    Block(Block),
    /// Something with no code to profile.
    Other(Other),
}

/// A function, method or associated function.
pub(crate) struct Function {
    pub(crate) attrs: Vec<Attribute>,
    /// The `#[profiled]` attributes on it, when it stands in a profiled block.
    pub(crate) own: Vec<Attribute>,
    /// `pub`, `default`.
    pub(crate) qualifiers: TokenStream,
    pub(crate) sig: Signature,
    pub(crate) body: Body,
    /// The type or trait around it, as far as the attribute sees it.
    pub(crate) owner: Option<String>,
    /// How to profile it; `None` leaves it as it is.
    pub(crate) args: Option<Args>,
}

/// The three ways of running a body, and none.
pub(crate) enum Body {
    /// `fn f();`
    Missing(Token![;]),
    Sync(Group),
    Async(Group),
    /// A function that is not `async` itself and ends in an async block.
    Future(Box<FutureBody>),
}

/// An `impl`, a `trait` or an inline module.
pub(crate) struct Block {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) own: Vec<Attribute>,
    /// Everything up to the brace.
    pub(crate) head: TokenStream,
    pub(crate) braces: Span,
    pub(crate) inner_attrs: Vec<Attribute>,
    pub(crate) members: Vec<Member>,
}

pub(crate) enum Member {
    Function(Box<Function>),
    Block(Block),
    /// Anything else, as it was written.
    Verbatim(TokenStream),
}

/// An item that cannot be profiled.
pub(crate) struct Other {
    pub(crate) keyword: String,
    pub(crate) span: Span,
    pub(crate) tokens: TokenStream,
}

impl Parse for Item {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let whole = input.fork();
        let attrs = Attribute::parse_outer(input)?;
        if is_function(input) {
            return Function::parse(input, attrs, None).map(|function| Self::Function(Box::new(function)));
        }
        if let Some(keyword) = block_keyword(input) {
            return Block::parse(input, attrs, keyword).map(Self::Block);
        }
        let keyword = first_keyword(input);
        let span = input.span();
        input.parse::<TokenStream>()?;
        Ok(Self::Other(Other { keyword, span, tokens: whole.parse()? }))
    }
}

impl Function {
    fn parse(input: ParseStream<'_>, attrs: Vec<Attribute>, owner: Option<&str>) -> Result<Self> {
        let (own, mut attrs) = split_own(attrs);
        let vis: Visibility = input.parse()?;
        let default: Option<Token![default]> = input.parse()?;
        let sig: Signature = input.parse()?;
        let body = if input.peek(Token![;]) {
            Body::Missing(input.parse()?)
        } else {
            Body::new(&sig, hoist_inner_attrs(braces(input)?, &mut attrs)?)
        };
        let qualifiers = quote!(#vis #default);
        Ok(Self { attrs, own, qualifiers, sig, body, owner: owner.map(str::to_owned), args: None })
    }

    /// The span's name unless the user gives one: `checkout`, `Cart::total`.
    pub(crate) fn name(&self) -> String {
        let ident = self.sig.ident.unraw();
        self.owner.as_ref().map_or_else(|| ident.to_string(), |owner| format!("{owner}::{ident}"))
    }
}

impl Body {
    fn new(sig: &Signature, braces: Group) -> Self {
        if sig.asyncness.is_some() {
            return Self::Async(braces);
        }
        match FutureBody::find(&braces) {
            Some(future) => Self::Future(Box::new(future)),
            None => Self::Sync(braces),
        }
    }
}

impl Block {
    fn parse(input: ParseStream<'_>, attrs: Vec<Attribute>, keyword: &'static str) -> Result<Self> {
        let (own, attrs) = split_own(attrs);
        let (head, braces) = header(input)?;
        let owner = owner(keyword, &head);
        let content = |input: ParseStream<'_>| {
            let inner_attrs = Attribute::parse_inner(input)?;
            let mut members = Vec::new();
            while !input.is_empty() {
                members.push(Member::parse(input, keyword, owner.as_deref())?);
            }
            Ok((inner_attrs, members))
        };
        let (inner_attrs, members) = content.parse2(braces.stream())?;
        Ok(Self { attrs, own, head, braces: braces.span(), inner_attrs, members })
    }
}

impl Member {
    fn parse(input: ParseStream<'_>, around: &str, owner: Option<&str>) -> Result<Self> {
        let ahead = input.fork();
        let attrs = Attribute::parse_outer(&ahead)?;
        if is_function(&ahead) {
            input.advance_to(&ahead);
            return Function::parse(input, attrs, owner).map(|function| Self::Function(Box::new(function)));
        }
        if let Some(keyword) = block_keyword(&ahead) {
            input.advance_to(&ahead);
            return Block::parse(input, attrs, keyword).map(Self::Block);
        }
        Ok(Self::Verbatim(match around {
            "impl" => input.parse::<syn::ImplItem>()?.into_token_stream(),
            "trait" => input.parse::<syn::TraitItem>()?.into_token_stream(),
            _ => input.parse::<syn::Item>()?.into_token_stream(),
        }))
    }
}

/// The attributes that are `#[profiled]` themselves, and the others.
fn split_own(attrs: Vec<Attribute>) -> (Vec<Attribute>, Vec<Attribute>) {
    attrs
        .into_iter()
        .partition(|attr| attr.path().segments.last().is_some_and(|last| last.ident == "profiled"))
}

/// A body in braces, also where a macro wraps it in an invisible group (`$body:block`).
fn braces(input: ParseStream<'_>) -> Result<Group> {
    input.step(|cursor| match cursor.group(Delimiter::Brace) {
        Some((content, span, rest)) => {
            let mut braces = Group::new(Delimiter::Brace, content.token_stream());
            braces.set_span(span.join());
            Ok((braces, rest))
        }
        None => Err(cursor.error("expected the function's body")),
    })
}

/// Moves `#![allow(..)]` at the top of a body to the function itself, where it means the same: a body that becomes a
/// closure's may not begin with it.
fn hoist_inner_attrs(body: Group, attrs: &mut Vec<Attribute>) -> Result<Group> {
    let split = |input: ParseStream<'_>| Ok((Attribute::parse_inner(input)?, input.parse::<TokenStream>()?));
    let (inner, rest) = split.parse2(body.stream())?;
    if inner.is_empty() {
        return Ok(body);
    }
    attrs.extend(inner.into_iter().map(|attr| Attribute { style: syn::AttrStyle::Outer, ..attr }));
    let mut shorter = Group::new(Delimiter::Brace, rest);
    shorter.set_span(body.span());
    Ok(shorter)
}
