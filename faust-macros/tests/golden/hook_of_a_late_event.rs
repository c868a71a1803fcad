//! Formatted expansion of `hook_of_a_late_event`.

async fn late(key: String, window: Window, event: LateEvent) {}
///The handle of the hook [`late`](fn@late), for registering it by hand.
#[allow(non_camel_case_types, missing_debug_implementations, dead_code)]
struct late {}
const _: () = {
    #[automatically_derived]
    impl ::faust::HookHandle for late {
        const DEF: ::faust::__private::HookDef = ::faust::__private::HookDef {
            kind: ::faust::__private::HookKind::Late,
            table: "sums",
            name: "late",
            help: "",
            module: ::core::module_path!(),
            file: ::core::file!(),
            line: ::core::line!(),
            start: |__cx| {
                ::core::result::Result::Ok(
                    ::faust::__private::window_late(
                        ::faust::__private::hook_key(__cx, "sums")?,
                        move |__argument_0, __argument_1, __argument_2| {
                            let __running = late(
                                __argument_0,
                                __argument_1,
                                __argument_2,
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
        < late as ::faust::HookHandle > ::DEF
    }
};
