//! What is emitted when something is wrong: the error, and the item as it was. The rest of the program then finds
//! everything it names, and the one error that is shown is the one to mend.

use proc_macro2::TokenStream;
use quote::quote;

/// The error beside the item.
pub(crate) fn beside(error: &syn::Error, item: &TokenStream) -> TokenStream {
    let error = error.to_compile_error();
    quote!(#error #item)
}
