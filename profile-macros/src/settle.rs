//! Which function of an item is profiled, and how.
//!
//! A function settles by its own arguments, or by those of the blocks around it, or by both: the nearer wins. In a
//! block what cannot be profiled (functions without a body, `const`, naked) is passed over in silence, since the user
//! did not ask for that very function; asked for by name, the same function is an error that says why.

use proc_macro2::{Ident, TokenTree};
use syn::spanned::Spanned;
use syn::{Attribute, Error, Meta, Result};

use crate::args::Args;
use crate::item::{Block, Function, Item, Member};
use crate::valid;

/// Leaves in each function the arguments to profile it with, or fails with the one error to show.
pub(crate) fn settle(args: Args, item: &mut Item) -> Result<()> {
    match item {
        Item::Function(function) => {
            once(&function.own)?;
            if args.skip { Ok(()) } else { settle_function(args, function) }
        }
        Item::Block(block) => {
            once(&block.own)?;
            settle_block(Around::new(args)?.as_ref(), block)
        }
        Item::Other(other) => Err(valid::no_code(other)),
    }
}

/// The arguments of a block for its members.
struct Around(Args);

impl Around {
    /// `None` if the block is skipped: then only members with an attribute of their own are profiled.
    fn new(args: Args) -> Result<Option<Self>> {
        valid::check_block(&args)?;
        Ok((!args.skip).then_some(Self(args)))
    }
}

fn settle_block(around: Option<&Around>, block: &mut Block) -> Result<()> {
    block.members.iter_mut().try_for_each(|member| match member {
        Member::Function(function) => settle_member(around, function),
        Member::Block(inner) => match own_args(around, &inner.own, &inner.attrs)? {
            Some(own) => settle_block(Around::new(own)?.as_ref(), inner),
            None => settle_block(around, inner),
        },
        Member::Verbatim(_) => Ok(()),
    })
}

fn settle_member(around: Option<&Around>, function: &mut Function) -> Result<()> {
    match (own_args(around, &function.own, &function.attrs)?, around) {
        (Some(own), _) if own.skip => Ok(()),
        (Some(own), _) => settle_function(own, function),
        (None, Some(Around(args))) if valid::check_fit(function).is_ok() => {
            settle_function(args.clone(), function)
        }
        (None, _) => Ok(()),
    }
}

fn settle_function(args: Args, function: &mut Function) -> Result<()> {
    valid::check_fit(function)?;
    valid::check_spanless(&args)?;
    valid::check_reports(&args, function)?;
    valid::check_arguments(&args, function)?;
    function.args = Some(args);
    Ok(())
}

/// What a member of a block says about itself, completed by what the block says.
fn own_args(around: Option<&Around>, own: &[Attribute], others: &[Attribute]) -> Result<Option<Args>> {
    if around.is_some()
        && let Some(hidden) = others.iter().find_map(conditional)
    {
        let message = "the `#[profiled]` around this cannot tell what `cfg_attr` will leave: write it without a condition";
        return Err(Error::new(hidden.span(), message));
    }
    once(own.get(1..).unwrap_or_default())?;
    let Some(attr) = own.first() else { return Ok(None) };
    let args: Args = match &attr.meta {
        Meta::Path(_) => Args::default(),
        _ => attr.parse_args()?,
    };
    Ok(Some(match around {
        Some(Around(block)) if !args.skip => args.within(block),
        _ => args,
    }))
}

/// The `profiled` in `cfg_attr(.., profiled(..))`.
fn conditional(attr: &Attribute) -> Option<Ident> {
    let Meta::List(list) = &attr.meta else { return None };
    let mut tokens = list.tokens.clone().into_iter();
    let found = tokens.find_map(|token| match token {
        TokenTree::Ident(word) if word == "profiled" => Some(word),
        _ => None,
    });
    found.filter(|_| list.path.is_ident("cfg_attr"))
}

fn once(further: &[Attribute]) -> Result<()> {
    match further.first() {
        None => Ok(()),
        Some(second) => {
            let message = "a second `#[profiled]` on one item: each would make a span of its own";
            Err(Error::new(second.path().span(), message))
        }
    }
}
