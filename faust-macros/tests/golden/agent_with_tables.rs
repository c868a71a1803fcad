//! Formatted expansion of `agent_with_tables`.

async fn sum(
    clicks: Stream<Click>,
    counts: Table<String, u64>,
    sums: Table<String, i64>,
    last: WindowedTable<String, String>,
    latest: WindowedTable<String, i64>,
) {}
///The handle of the agent [`sum`](fn@sum), for registering it by hand.
#[allow(non_camel_case_types, missing_debug_implementations, dead_code)]
struct sum {}
const _: () = {
    static __FAUST_ARGUMENT_0: ::faust::__private::ArgSpec = ::faust::__private::ArgSpec::new(
        "clicks",
    );
    static __FAUST_ARGUMENT_1: ::faust::__private::ArgSpec = ::faust::__private::ArgSpec::new(
        "counts",
    );
    static __FAUST_ARGUMENT_2: ::faust::__private::ArgSpec = ::faust::__private::ArgSpec::new(
            "sums",
        )
        .with_table(::faust::__private::TableDecl {
            name: ::core::option::Option::Some("sums"),
            window: ::core::option::Option::None,
            changelog_topic: ::core::option::Option::Some("my-log"),
            help: "Sums per page",
            key_codec: ::core::option::Option::Some("json"),
            value_codec: ::core::option::Option::Some("binary|json"),
            default: ::core::option::Option::Some(|| {
                let __value: i64 = 10;
                ::std::boxed::Box::new(__value)
                    as ::std::boxed::Box<dyn ::core::any::Any + ::core::marker::Send>
            }),
            partition_by_source: true,
            relative_to: ::faust::__private::RelativeTo::Stream,
        });
    static __FAUST_ARGUMENT_3: ::faust::__private::ArgSpec = ::faust::__private::ArgSpec::new(
            "last",
        )
        .with_table(::faust::__private::TableDecl {
            name: ::core::option::Option::None,
            window: ::core::option::Option::Some(
                ::faust::__private::WindowDecl::New(|| {
                    ::faust::__private::WindowSpec::tumbling(
                            ::core::time::Duration::from_millis(10000u64),
                        )
                        .and_then(|__spec| {
                            __spec
                                .with_expires(
                                    ::core::time::Duration::from_millis(3600000u64),
                                )
                        })
                }),
            ),
            changelog_topic: ::core::option::Option::None,
            help: "",
            key_codec: ::core::option::Option::None,
            value_codec: ::core::option::Option::None,
            default: ::core::option::Option::Some(|| {
                let __value: String = ::core::convert::From::from("none");
                ::std::boxed::Box::new(__value)
                    as ::std::boxed::Box<dyn ::core::any::Any + ::core::marker::Send>
            }),
            partition_by_source: false,
            relative_to: ::faust::__private::RelativeTo::Now,
        });
    static __FAUST_ARGUMENT_4: ::faust::__private::ArgSpec = ::faust::__private::ArgSpec::new(
            "latest",
        )
        .with_table(::faust::__private::TableDecl {
            name: ::core::option::Option::None,
            window: ::core::option::Option::Some(
                ::faust::__private::WindowDecl::New(|| ::faust::__private::WindowSpec::hopping(
                    ::core::time::Duration::from_millis(60000u64),
                    ::core::time::Duration::from_millis(10000u64),
                )),
            ),
            changelog_topic: ::core::option::Option::None,
            help: "",
            key_codec: ::core::option::Option::None,
            value_codec: ::core::option::Option::None,
            default: ::core::option::Option::None,
            partition_by_source: false,
            relative_to: ::faust::__private::RelativeTo::Field(|__event| {
                ::faust::__private::support::record_in::<shop::Click>(__event)
                    .and_then(|__value| {
                        ::faust::__private::support::IntoTimestamp::to_timestamp(
                                &__value.at,
                            )
                            .ok()
                            .flatten()
                    })
            }),
        });
    #[automatically_derived]
    impl ::faust::AgentHandle for sum {
        const DEF: ::faust::__private::AgentDef = ::faust::__private::AgentDef {
            name: "sum",
            topics: &["clicks"],
            sinks: &[],
            on_failure: ::core::option::Option::None,
            help: "",
            module: ::core::module_path!(),
            file: ::core::file!(),
            line: ::core::line!(),
            start: |__cx| {
                let __running = sum(
                    ::faust::__private::arg(__cx, &__FAUST_ARGUMENT_0)?,
                    ::faust::__private::arg(__cx, &__FAUST_ARGUMENT_1)?,
                    ::faust::__private::arg(__cx, &__FAUST_ARGUMENT_2)?,
                    ::faust::__private::arg(__cx, &__FAUST_ARGUMENT_3)?,
                    ::faust::__private::arg(__cx, &__FAUST_ARGUMENT_4)?,
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
        < sum as ::faust::AgentHandle > ::DEF
    }
};
