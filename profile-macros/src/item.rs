//! The model of what `#[profiled]` was put on: a function, or a block (`impl`, `trait`, `mod`) of functions.
//!
//! Bodies stay the tokens they were. `syn` reads signatures and headers only, so that syntax newer than `syn` inside a
//! function cannot fail here; a body is looked into only when it may end in an async block (`future.rs`).

use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::ext::IdentExt;
use syn::parse::discouraged::Speculative;
use syn::parse::{Parse, ParseStream, Parser};
use syn::{Attribute, Ident, Result, Signature, Token, Visibility};

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
        match FutureBody::find(&braces, &sig.output) {
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

/// Whether a function comes next: qualifiers, then `fn` (`const NAME` and `unsafe impl` are none).
fn is_function(input: ParseStream<'_>) -> bool {
    let ahead = input.fork();
    if ahead.parse::<Visibility>().is_err() {
        return false;
    }
    let _ = ahead.parse::<Option<Token![default]>>();
    while !ahead.peek(Token![fn]) {
        match ahead.parse::<TokenTree>() {
            Ok(TokenTree::Ident(word))
                if ["const", "async", "unsafe", "safe", "extern"].iter().any(|q| word == q) => {}
            Ok(TokenTree::Literal(_)) => {} // the ABI
            _ => return false,
        }
    }
    true
}

/// The keyword of the block that comes next, if one does. `mod name;` has no body to see, so it is none.
fn block_keyword(input: ParseStream<'_>) -> Option<&'static str> {
    let ahead = input.fork();
    ahead.parse::<Visibility>().ok()?;
    loop {
        if ahead.peek(Token![impl]) {
            return Some("impl");
        }
        if ahead.peek(Token![trait]) {
            return Some("trait");
        }
        if ahead.peek(Token![mod]) {
            return ahead.peek3(syn::token::Brace).then_some("mod");
        }
        let word = ahead.call(Ident::parse_any).ok()?;
        if !["default", "unsafe", "const", "auto"].iter().any(|qualifier| word == qualifier) {
            return None;
        }
    }
}

/// Splits a block at its braces: they are the first ones that are followed by the end or by another item, and a header
/// has none of its own outside of angle brackets (`impl Table<{ 4 }>`).
fn header(input: ParseStream<'_>) -> Result<(TokenStream, Group)> {
    let mut head = TokenStream::new();
    let mut depth = 0_usize;
    let mut last = ' ';
    loop {
        match input.parse::<TokenTree>()? {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace && depth == 0 => {
                return Ok((head, group));
            }
            token => {
                let sign = if let TokenTree::Punct(punct) = &token { punct.as_char() } else { ' ' };
                match sign {
                    '<' => depth += 1,
                    '>' if last != '-' => depth = depth.saturating_sub(1), // `->` closes nothing
                    _ => {}
                }
                last = sign;
                head.extend([token]);
            }
        }
    }
}

/// How the functions of a block are named after it: `Cart` of `impl Display for Cart<'_>`. A blanket implementation
/// (`impl<T> Export for T`) is named after its trait, and a module gives no name, for the target holds it.
fn owner(keyword: &str, head: &TokenStream) -> Option<String> {
    match keyword {
        "impl" => {
            let block: syn::ItemImpl = syn::parse2(quote!(#head {})).ok()?;
            let blanket = |name: &String| block.generics.type_params().any(|param| param.ident == name);
            let name = type_name(&block.self_ty);
            match &block.trait_ {
                Some((path, _)) if blanket(&name) => {
                    path.segments.last().map(|last| last.ident.unraw().to_string())
                }
                _ => Some(name),
            }
        }
        "trait" => {
            syn::parse2::<syn::ItemTrait>(quote!(#head {})).ok().map(|block| block.ident.unraw().to_string())
        }
        _ => None,
    }
}

fn type_name(ty: &syn::Type) -> String {
    match ty {
        syn::Type::Path(path) => path.path.segments.last().map(|last| last.ident.unraw().to_string()),
        syn::Type::Reference(reference) => Some(type_name(&reference.elem)),
        syn::Type::Paren(paren) => Some(type_name(&paren.elem)),
        syn::Type::Group(group) => Some(type_name(&group.elem)),
        _ => None,
    }
    .unwrap_or_else(|| ty.to_token_stream().to_string())
}

fn braces(input: ParseStream<'_>) -> Result<Group> {
    match input.parse()? {
        TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => Ok(group),
        other => Err(syn::Error::new(other.span(), "expected the function's body")),
    }
}

/// Moves `#![allow(..)]` at the top of a body to the function itself, where it means the same: the body is about to
/// become an inner block, in which the language allows no such attribute.
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

/// The word that says what an item is, for the message that it cannot be profiled.
fn first_keyword(input: ParseStream<'_>) -> String {
    let ahead = input.fork();
    let _ = ahead.parse::<Visibility>();
    let word = |input: ParseStream<'_>| input.call(Ident::parse_any).map(|word| word.to_string());
    match word(&ahead) {
        Ok(first) if ["unsafe", "extern", "const", "static", "type", "safe"].contains(&first.as_str()) => {
            let second = word(&ahead).unwrap_or_default();
            if ["extern", "crate"].contains(&second.as_str()) { format!("{first} {second}") } else { first }
        }
        Ok(first) => first,
        Err(_) => String::new(),
    }
}
