//! Formatted expansion of `agent_per_event_with_a_sink`.

async fn score(click: Click, audit: Topic<RawKey, Click>) -> Result<Scored> {
    Ok(click.into())
}
///The handle of the agent [`score`](fn@score), for registering it by hand.
#[allow(non_camel_case_types, missing_debug_implementations, dead_code)]
struct score {}
const _: () = {
    static __FAUST_ARGUMENT_0: ::faust::__private::ArgSpec = ::faust::__private::ArgSpec::new(
        "click",
    );
    static __FAUST_ARGUMENT_1: ::faust::__private::ArgSpec = ::faust::__private::ArgSpec::new(
            "audit",
        )
        .with_topic(::faust::__private::TopicDecl {
            name: AUDIT,
            partitions: ::core::option::Option::None,
            replication: ::core::option::Option::None,
            retention_ms: ::core::option::Option::None,
            compacting: ::core::option::Option::None,
            key_codec: ::core::option::Option::None,
            value_codec: ::core::option::Option::None,
        });
    #[automatically_derived]
    impl ::faust::AgentHandle for score {
        const DEF: ::faust::__private::AgentDef = ::faust::__private::AgentDef {
            name: "scores",
            topics: &["a", B],
            sinks: &["scored"],
            on_failure: ::core::option::Option::None,
            help: "",
            module: ::core::module_path!(),
            file: ::core::file!(),
            line: ::core::line!(),
            start: |__cx| {
                let __argument_1 = ::faust::__private::arg(__cx, &__FAUST_ARGUMENT_1)?;
                ::faust::__private::per_event_to_sinks(
                    __cx,
                    &__FAUST_ARGUMENT_0,
                    move |__event| score(
                        __event,
                        ::core::clone::Clone::clone(&__argument_1),
                    ),
                )
            },
        };
    }
    ::faust::__private::inventory::submit! {
        < score as ::faust::AgentHandle > ::DEF
    }
};
