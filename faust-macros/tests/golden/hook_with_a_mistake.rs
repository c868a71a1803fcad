//! Formatted expansion of `hook_with_a_mistake`.

async fn closed(key: String, total: i64, window: Window) {}
///The handle of the hook [`closed`](fn@closed), for registering it by hand.
#[allow(non_camel_case_types, missing_debug_implementations, dead_code)]
struct closed {}
const _: () = {
    #[automatically_derived]
    impl ::faust::HookHandle for closed {
        const DEF: ::faust::__private::HookDef = ::faust::__private::HookDef {
            kind: ::faust::__private::HookKind::Close,
            table: "sums",
            name: "closed",
            help: "",
            module: ::core::module_path!(),
            file: ::core::file!(),
            line: ::core::line!(),
            start: |_| ::core::unreachable!(),
        };
    }
};
::core::compile_error! {
    "the second argument of hook `closed` must be the window: write `window: Window` here"
}
