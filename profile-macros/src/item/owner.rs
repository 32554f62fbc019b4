//! The type or trait that a block's functions are named after.

use proc_macro2::TokenStream;
use quote::quote;
use syn::ext::IdentExt;
use syn::{Path, Type, TypeParamBound};

/// How the functions of a block are named after it: `Cart` of `impl Display for Cart<'_>`. Implementations for what has
/// no name of its own (`[u8]`, the `T` of `impl<T> Export for T`) are named after their trait. A module gives no name,
/// for the span's target holds it.
pub(super) fn owner(keyword: &str, head: &TokenStream) -> Option<String> {
    match keyword {
        "impl" => {
            let block: syn::ItemImpl = syn::parse2(quote!(#head {})).ok()?;
            let is_parameter = |name: &String| block.generics.type_params().any(|param| param.ident == name);
            let own = type_name(&block.self_ty).filter(|name| !is_parameter(name));
            own.or_else(|| block.trait_.as_ref().and_then(|(path, _)| last_name(path)))
        }
        "trait" => {
            syn::parse2::<syn::ItemTrait>(quote!(#head {})).ok().map(|block| block.ident.unraw().to_string())
        }
        _ => None,
    }
}

fn type_name(ty: &Type) -> Option<String> {
    match ty {
        Type::Path(ty) => last_name(&ty.path),
        Type::Reference(ty) => type_name(&ty.elem),
        Type::Paren(ty) => type_name(&ty.elem),
        Type::Group(ty) => type_name(&ty.elem),
        Type::TraitObject(ty) => ty.bounds.iter().find_map(|bound| match bound {
            TypeParamBound::Trait(bound) => last_name(&bound.path),
            _ => None,
        }),
        _ => None,
    }
}

fn last_name(path: &Path) -> Option<String> {
    path.segments.last().map(|last| last.ident.unraw().to_string())
}
