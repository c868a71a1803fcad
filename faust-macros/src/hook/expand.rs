//! The expansion of a hook: the unchanged function, its handle, its definition and its registration.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};

use super::Moment;
use super::model::{CALLED_WITH, Hook};
use crate::argument::Injected;
use crate::fault::Faults;
use crate::function::AnnotatedFn;
use crate::topic::{local, located, placed};

/// Returns the complete expansion of the annotated function.
pub(super) fn expand(function: &AnnotatedFn, hook: &Hook, faults: Faults) -> TokenStream {
    let Hook { facade, ident, name, table, help, .. } = hook;
    let private = quote!(#facade::__private);
    let vis = &function.vis;
    let handle_doc = format!("The handle of the hook [`{ident}`](fn@{ident}), for registering it by hand.");
    let kind = match hook.moment {
        Moment::Close => quote!(Close),
        Moment::Late => quote!(Late),
    };
    // After an error the handle still implements `HookHandle`, so that code that uses it causes no further errors.
    let (specs, start, registration) = if faults.is_empty() {
        let specs: TokenStream = injected(hook).map(|argument| argument.spec(None, &private)).collect();
        let registration = quote!(#private::inventory::submit! { <#ident as #facade::HookHandle>::DEF });
        (specs, start(hook, &private), registration)
    } else {
        (TokenStream::new(), quote!(|_| ::core::unreachable!()), TokenStream::new())
    };
    let errors = faults.emit();
    if function.sig.receiver().is_some() {
        // In an `impl` block, a handle would only cause further errors.
        return quote!(#function #errors);
    }
    quote! {
        // The user's function, without `#[topic]` and `#[table]` on its arguments.
        #function

        // A struct with braces occupies only the type namespace, so it can have the same name as the function.
        #[doc = #handle_doc]
        #[allow(non_camel_case_types, missing_debug_implementations, dead_code)]
        #vis struct #ident {}

        const _: () = {
            // The declarations of the injected arguments.
            #specs

            #[automatically_derived]
            impl #facade::HookHandle for #ident {
                const DEF: #private::HookDef = #private::HookDef {
                    kind: #private::HookKind::#kind,
                    table: #table,
                    name: #name,
                    help: #help,
                    module: ::core::module_path!(),
                    file: ::core::file!(),
                    line: ::core::line!(),
                    start: #start,
                };
            }

            // Lets the app discover the hook at start-up, in whichever module it is defined.
            #registration
        };

        #errors
    }
}

fn injected(hook: &Hook) -> impl Iterator<Item = &Injected> {
    hook.arguments.iter().skip(CALLED_WITH)
}

fn start(hook: &Hook, private: &TokenStream) -> TokenStream {
    let (ident, table, moment) = (&hook.ident, &hook.table, hook.moment);
    let cx = local("cx", Span::mixed_site());
    let passed: Vec<Ident> = (0..hook.arguments.len()).map(|at| argument_ident(hook, at)).collect();
    let (called_with, made) = passed.split_at(CALLED_WITH.min(passed.len()));
    let make = injected(hook).zip(made).map(|(argument, name)| {
        let made = argument.make(&cx, private);
        quote!(let #name = #made;)
    });
    // Each half has the span of its argument's type, so that the compiler reports there a type that is not a record.
    let half = |at: usize, function: &str| {
        let span = hook.arguments[at].span;
        let (function, private) = (Ident::new(function, span), placed(private, span));
        quote_spanned!(span=> #private::#function(#cx, #table)?)
    };
    let key = half(0, "hook_key");
    let (runner, halves) = match moment {
        Moment::Close => {
            let value = half(2, "hook_value");
            (quote!(window_close), quote!(#key, #value))
        }
        Moment::Late => (quote!(window_late), key),
    };
    let running = local("running", hook.returned);
    let output_private = placed(private, hook.returned);
    let output = quote_spanned!(hook.returned=> #output_private::output(#running.await));
    // The span of the boxed future: the compiler reports here that the body is not `Send`.
    let boxed = quote_spanned!(located(ident)=> ::std::boxed::Box::pin(async move { #output }));
    quote! {
        |#cx| {
            #(#make)*
            ::core::result::Result::Ok(#private::#runner(#halves, move |#(#called_with),*| {
                // Each call gets its own clone of the injected handles, which are cheap to clone.
                let #running = #ident(#(#called_with,)* #(::core::clone::Clone::clone(&#made)),*);
                #boxed
            }))
        }
    }
}

/// Returns the variable of an argument. Its span is the argument's type, where a type mismatch is reported.
fn argument_ident(hook: &Hook, at: usize) -> Ident {
    local(&format!("argument_{at}"), hook.arguments[at].span)
}
