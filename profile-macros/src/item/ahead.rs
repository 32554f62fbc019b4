//! What comes next: told from the first few tokens, so that each item is read once and only what is needed of it.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use syn::ext::IdentExt;
use syn::parse::ParseStream;
use syn::{Ident, LitStr, Result, Token, Visibility};

/// Whether a function comes next: qualifiers, then `fn` (`const NAME` and `unsafe impl` are none).
pub(super) fn is_function(input: ParseStream<'_>) -> bool {
    let ahead = input.fork();
    if ahead.parse::<Visibility>().is_err() {
        return false;
    }
    let _ = ahead.parse::<Option<Token![default]>>();
    while !ahead.peek(Token![fn]) {
        if ahead.peek(LitStr) {
            let _ = ahead.parse::<LitStr>(); // the ABI
            continue;
        }
        match ahead.call(Ident::parse_any) {
            Ok(word) if ["const", "async", "unsafe", "safe", "extern"].iter().any(|q| word == q) => {}
            _ => return false,
        }
    }
    true
}

/// The keyword of the block that comes next, if one does. `mod name;` has no body to see, so it is none.
pub(super) fn block_keyword(input: ParseStream<'_>) -> Option<&'static str> {
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
pub(super) fn header(input: ParseStream<'_>) -> Result<(TokenStream, Group)> {
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

/// The word that says what an item is, for the message that it cannot be profiled.
pub(super) fn first_keyword(input: ParseStream<'_>) -> String {
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
