//! `#[agent]`: keeps the function, adds a handle of the same name, and registers the agent.

mod expand;
mod group_by;
mod model;
mod parse;
#[cfg(test)]
mod tests;

use proc_macro2::TokenStream;
use quote::quote;

use crate::argument::{Argument, take_arguments};
use crate::fault::{Faults, first_token};
use crate::function::{AnnotatedFn, Kind};
use crate::update;

/// Expands the attribute. The function and its handle are emitted even if there are errors, so that code that uses them
/// does not cause further errors.
pub(crate) fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    let mut faults = Faults::default();
    let Ok(mut function) = syn::parse2::<AnnotatedFn>(item.clone()) else {
        faults.add(
            first_token(&item),
            "`#[agent]` must be applied to a function: `async fn clicks(clicks: Stream<Click>)`",
        );
        let errors = faults.emit();
        return quote!(#item #errors);
    };
    let arguments = take_arguments(&mut function.sig, Kind::Agent, &mut faults);
    let stream = arguments.iter().find(|argument| argument.is("Stream")).and_then(Argument::name);
    if let Some(body) = stream.and_then(|stream| group_by::name_all(&function.body, stream, &mut faults)) {
        function.body = body;
    }
    update::check(&function.body, &arguments, &mut faults);
    let options = parse::options(options, &mut faults);
    let agent = model::Agent::new(&function, arguments, options, &mut faults);
    expand::expand(&function, &agent, faults)
}
