//! The expansion of `#[agent]`: the unchanged function, its handle, its definition and its registration.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::Ident;

use super::model::{Agent, Form, OutputKind};
use crate::fault::Faults;
use crate::function::AnnotatedFn;
use crate::topic::{local, located, option, placed};

/// Returns the complete expansion of the annotated function.
pub(super) fn expand(function: &AnnotatedFn, agent: &Agent, faults: Faults) -> TokenStream {
    let Agent { facade, ident, name, help, topics, sinks, on_failure, .. } = agent;
    let private = quote!(#facade::__private);
    let vis = &function.vis;
    let handle_doc = format!("The handle of the agent [`{ident}`](fn@{ident}), for registering it by hand.");
    // After an error the handle still implements `AgentHandle`, so that code that uses it causes no further errors.
    let (specs, start, topics, sinks, registration) = if faults.is_empty() {
        let registration = quote!(#private::inventory::submit! { <#ident as #facade::AgentHandle>::DEF });
        (specs(agent, &private), start(agent, &private), quote!(#(#topics),*), quote!(#(#sinks),*), registration)
    } else {
        let never = quote!(|_| ::core::unreachable!());
        (TokenStream::new(), never, TokenStream::new(), TokenStream::new(), TokenStream::new())
    };
    let on_failure = match on_failure {
        Some(policy) => quote!(::core::option::Option::Some(#private::FailurePolicy::#policy)),
        None => quote!(::core::option::Option::None),
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
            // The declarations of the arguments.
            #specs

            #[automatically_derived]
            impl #facade::AgentHandle for #ident {
                const DEF: #private::AgentDef = #private::AgentDef {
                    name: #name,
                    topics: &[#topics],
                    sinks: &[#sinks],
                    on_failure: #on_failure,
                    help: #help,
                    module: ::core::module_path!(),
                    file: ::core::file!(),
                    line: ::core::line!(),
                    start: #start,
                };
            }

            // Lets the app discover the agent at start-up, in whichever module it is defined.
            #registration
        };

        #errors
    }
}

fn specs(agent: &Agent, private: &TokenStream) -> TokenStream {
    let each = agent.arguments.iter().enumerate().map(|(at, argument)| {
        let has_codec = agent.key_codec.is_some() || agent.value_codec.is_some();
        let source = (at == agent.form.source() && has_codec).then(|| {
            let (key_codec, value_codec) = (option(&agent.key_codec), option(&agent.value_codec));
            quote!(.with_source(#private::SourceDecl { key_codec: #key_codec, value_codec: #value_codec }))
        });
        argument.spec(source, private)
    });
    quote!(#(#each)*)
}

fn start(agent: &Agent, private: &TokenStream) -> TokenStream {
    match agent.form {
        Form::Stream(_) => start_stream(agent, private),
        Form::PerEvent(event) => start_per_event(agent, event, private),
    }
}

fn start_stream(agent: &Agent, private: &TokenStream) -> TokenStream {
    let (ident, returned) = (&agent.ident, agent.output.span);
    let (cx, running) = (local("cx", Span::mixed_site()), local("running", returned));
    let arguments = agent.arguments.iter().map(|argument| argument.make(&cx, private));
    let output_private = placed(private, returned);
    let output = quote_spanned!(returned=> #output_private::output(#running.await));
    // The span of the boxed future: the compiler reports here that the body is not `Send`.
    let boxed = quote_spanned!(located(ident)=> ::std::boxed::Box::pin(async move { #output }));
    quote! {
        |#cx| {
            let #running = #ident(#(#arguments),*);
            ::core::result::Result::Ok(#boxed)
        }
    }
}

fn start_per_event(agent: &Agent, event_at: usize, private: &TokenStream) -> TokenStream {
    let (ident, span) = (&agent.ident, agent.arguments[event_at].span);
    let [cx, event, running] = ["cx", "event", "running"].map(|name| local(name, span));
    let injected = |at: usize| local(&format!("argument_{at}"), span);
    let others = (0..agent.arguments.len()).filter(|at| *at != event_at);
    let made = others.map(|at| {
        let (injected, argument) = (injected(at), agent.arguments[at].make(&cx, private));
        quote!(let #injected = #argument;)
    });
    let passed = (0..agent.arguments.len()).map(|at| {
        let injected = injected(at);
        // Each call gets its own clone of the injected handles, which are cheap to clone.
        if at == event_at { quote!(#event) } else { quote!(::core::clone::Clone::clone(&#injected)) }
    });
    let call = quote!(#ident(#(#passed),*));
    let call = match agent.output.kind {
        OutputKind::Result => call,
        OutputKind::Unit | OutputKind::Value => quote_spanned! {span=> {
            let #running = #call;
            async move { ::core::result::Result::Ok::<_, ::core::convert::Infallible>(#running.await) }
        }},
    };
    let runner = Ident::new(if agent.sinks.is_empty() { "per_event" } else { "per_event_to_sinks" }, span);
    let spec = agent.arguments[event_at].spec_ident();
    let private = placed(private, span);
    // The whole call has the span of the event's type, because most errors in it are about that type.
    let run = quote_spanned!(span=> #private::#runner(#cx, &#spec, move |#event| #call));
    quote! {
        |#cx| {
            #(#made)*
            #run
        }
    }
}
