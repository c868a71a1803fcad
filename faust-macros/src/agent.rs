//! `#[agent]`: keeps the function, puts a handle of its name beside it, and registers it.

mod expand;
mod model;
mod parse;
#[cfg(test)]
mod tests;

use proc_macro2::TokenStream;
use quote::quote;

use crate::argument::take_arguments;
use crate::fault::{Faults, first_token};
use crate::function::{AnnotatedFn, Kind};

/// The attribute's expansion. Whatever is wrong, the function and its handle stay, so that their users see no errors
/// of second hand.
pub(crate) fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    let mut faults = Faults::default();
    let Ok(mut function) = syn::parse2::<AnnotatedFn>(item.clone()) else {
        faults.add(first_token(&item), "`#[agent]` goes on a function: `async fn clicks(clicks: Stream<Click>)`");
        let errors = faults.emit();
        return quote!(#item #errors);
    };
    let arguments = take_arguments(&mut function.sig, Kind::Agent, &mut faults);
    let options = parse::options(options, &mut faults);
    let agent = model::Agent::new(&function, arguments, options, &mut faults);
    expand::expand(&function, &agent, faults)
}
