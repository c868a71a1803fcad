//! Formatted expansion of `agent_with_a_stream`.

/// Counts clicks per page.
///
/// A second paragraph.
pub async fn count(
    mut clicks: Stream<Click, String>,
    pages: Topic<String, u64>,
) -> Result<()> {
    todo_by_the_user()
}
///The handle of the agent [`count`](fn@count), for registering it by hand.
#[allow(non_camel_case_types, missing_debug_implementations, dead_code)]
pub struct count {}
const _: () = {
    static __FAUST_ARGUMENT_0: ::faust::__private::ArgSpec = ::faust::__private::ArgSpec::new(
            "clicks",
        )
        .with_source(::faust::__private::SourceDecl {
            key_codec: ::core::option::Option::None,
            value_codec: ::core::option::Option::Some("binary|json"),
        });
    static __FAUST_ARGUMENT_1: ::faust::__private::ArgSpec = ::faust::__private::ArgSpec::new(
            "pages",
        )
        .with_topic(::faust::__private::TopicDecl {
            name: "pages",
            partitions: ::core::option::Option::Some(3i32),
            replication: ::core::option::Option::None,
            retention_ms: ::core::option::Option::Some(604800000i64),
            compacting: ::core::option::Option::Some(true),
            key_codec: ::core::option::Option::None,
            value_codec: ::core::option::Option::None,
        });
    #[automatically_derived]
    impl ::faust::AgentHandle for count {
        const DEF: ::faust::__private::AgentDef = ::faust::__private::AgentDef {
            name: "count",
            topics: &["clicks"],
            sinks: &[],
            on_failure: ::core::option::Option::None,
            help: "Counts clicks per page.",
            module: ::core::module_path!(),
            file: ::core::file!(),
            line: ::core::line!(),
            start: |__cx| {
                let __running = count(
                    ::faust::__private::arg(__cx, &__FAUST_ARGUMENT_0)?,
                    ::faust::__private::arg(__cx, &__FAUST_ARGUMENT_1)?,
                );
                ::core::result::Result::Ok(
                    ::std::boxed::Box::pin(async move {
                        ::faust::__private::output(__running.await)
                    }),
                )
            },
        };
    }
    ::faust::__private::inventory::submit! {
        < count as ::faust::AgentHandle > ::DEF
    }
};
