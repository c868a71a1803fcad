//! Formatted expansion of `agent_with_a_mistake`.

fn count(clicks: Stream<Click>) {}
///The handle of the agent [`count`](fn@count), for registering it by hand.
#[allow(non_camel_case_types, missing_debug_implementations, dead_code)]
struct count {}
const _: () = {
    #[automatically_derived]
    impl ::faust::AgentHandle for count {
        const DEF: ::faust::__private::AgentDef = ::faust::__private::AgentDef {
            name: "count",
            topics: &[],
            sinks: &[],
            on_failure: ::core::option::Option::None,
            help: "",
            module: ::core::module_path!(),
            file: ::core::file!(),
            line: ::core::line!(),
            start: |_| ::core::unreachable!(),
        };
    }
};
::core::compile_error! {
    "`#[agent]` has no option `topik`; its options are `topic`, `topics`, `name`, `sink`, `sinks`, `on_failure`, `key_codec`, `value_codec`, `crate`"
}
::core::compile_error! {
    "agent `count` must be an `async fn`"
}
