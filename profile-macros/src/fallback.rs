//! What is emitted beside an error: the item as it was. The rest of the program then finds everything it names, and the
//! one error that is shown is the one to mend.

use proc_macro2::TokenStream;
use quote::quote;

/// The error, and the item untouched.
pub(crate) fn untouched(error: &syn::Error, item: &TokenStream) -> TokenStream {
    let error = error.to_compile_error();
    quote!(#error #item)
}
