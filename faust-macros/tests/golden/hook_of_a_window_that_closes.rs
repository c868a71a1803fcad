//! Formatted expansion of `hook_of_a_window_that_closes`.

/// Publishes the total.
pub async fn closed(
    key: String,
    window: Window,
    total: i64,
    out: Topic<String, i64>,
    seen: Table<String, u64>,
) -> Result<()> {
    todo_by_the_user()
}
///The handle of the hook [`closed`](fn@closed), for registering it by hand.
#[allow(non_camel_case_types, missing_debug_implementations, dead_code)]
pub struct closed {}
const _: () = {
    static __FAUST_ARGUMENT_3: ::faust::__private::ArgSpec = ::faust::__private::ArgSpec::new(
            "out",
        )
        .with_topic(::faust::__private::TopicDecl {
            name: "totals",
            partitions: ::core::option::Option::None,
            replication: ::core::option::Option::None,
            retention_ms: ::core::option::Option::None,
            compacting: ::core::option::Option::None,
            key_codec: ::core::option::Option::None,
            value_codec: ::core::option::Option::None,
        });
    static __FAUST_ARGUMENT_4: ::faust::__private::ArgSpec = ::faust::__private::ArgSpec::new(
        "seen",
    );
    #[automatically_derived]
    impl ::faust::HookHandle for closed {
        const DEF: ::faust::__private::HookDef = ::faust::__private::HookDef {
            kind: ::faust::__private::HookKind::Close,
            table: "sums",
            name: "closed",
            help: "Publishes the total.",
            module: ::core::module_path!(),
            file: ::core::file!(),
            line: ::core::line!(),
            start: |__cx| {
                let __argument_3 = ::faust::__private::arg(__cx, &__FAUST_ARGUMENT_3)?;
                let __argument_4 = ::faust::__private::arg(__cx, &__FAUST_ARGUMENT_4)?;
                ::core::result::Result::Ok(
                    ::faust::__private::window_close(
                        ::faust::__private::hook_key(__cx, "sums")?,
                        ::faust::__private::hook_value(__cx, "sums")?,
                        move |__argument_0, __argument_1, __argument_2| {
                            let __running = closed(
                                __argument_0,
                                __argument_1,
                                __argument_2,
                                ::core::clone::Clone::clone(&__argument_3),
                                ::core::clone::Clone::clone(&__argument_4),
                            );
                            ::std::boxed::Box::pin(async move {
                                ::faust::__private::output(__running.await)
                            })
                        },
                    ),
                )
            },
        };
    }
    ::faust::__private::inventory::submit! {
        < closed as ::faust::HookHandle > ::DEF
    }
};
