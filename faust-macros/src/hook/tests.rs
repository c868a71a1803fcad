//! Tests of the rules of `#[window_close]` and `#[window_late]`. The UI tests cover the error messages as the compiler
//! shows them.

use proc_macro2::TokenStream;
use quote::quote;

use super::{Moment, expand};

/// Asserts that exactly these errors are reported and that the function is kept.
fn check(moment: Moment, options: TokenStream, item: TokenStream, mistakes: &[&str]) {
    let expansion = expand(moment, options, item).to_string();
    assert!(expansion.contains("fn hook"), "the function is missing: {expansion}");
    let errors = expansion.matches("compile_error").count();
    assert_eq!(errors, mistakes.len(), "{expansion}");
    for mistake in mistakes {
        assert!(expansion.contains(mistake), "`{mistake}` is not in {expansion}");
    }
    assert_eq!(expansion.contains("inventory :: submit"), mistakes.is_empty(), "only a valid hook is registered");
}

fn check_close(item: TokenStream, mistakes: &[&str]) {
    check(Moment::Close, quote!(table = "sums"), item, mistakes);
}

fn check_late(item: TokenStream, mistakes: &[&str]) {
    check(Moment::Late, quote!(table = "sums"), item, mistakes);
}

#[test]
fn all_forms_are_accepted() {
    check_close(
        quote!(
            async fn hook(key: String, window: Window, total: i64) {}
        ),
        &[],
    );
    check_close(
        quote!(
            pub async fn hook(_: u8, w: faust::Window, Sum { n }: Sum) -> Result<()> {}
        ),
        &[],
    );
    check_close(
        quote!(
            async fn hook(k: u8, w: Window, v: u8, #[topic("a")] a: Topic<u8, u8>, seen: Table<u8, u8>) {}
        ),
        &[],
    );
    check_late(quote!(async fn hook(key: String, window: Window, event: faust::LateEvent) -> Result<()> { a. }), &[]);
    let item = quote!(
        async fn hook(k: u8, w: Window, v: u8) {}
    );
    check(Moment::Close, quote!(table = "sums", crate = a::b), item, &[]);
}

#[test]
fn each_error_of_the_options_is_reported_once() {
    let right = quote!(
        async fn hook(k: u8, w: Window, v: u8) {}
    );
    check(
        Moment::Close,
        quote!(),
        right.clone(),
        &["does not name its table: `#[window_close(table = \\\"sums\\\")]`"],
    );
    check(Moment::Close, quote!("sums"), right.clone(), &["must be named: `table = \\\"sums\\\"`"]);
    check(Moment::Close, quote!(table), right.clone(), &["`table` needs a value"]);
    check(Moment::Close, quote!(table = SUMS), right.clone(), &["`table` must be a string literal"]);
    check(Moment::Close, quote!(table = "a b"), right.clone(), &["table name `a b` contains ' '"]);
    check(Moment::Close, quote!(table = "a", name = "b"), right.clone(), &["has no option `name`"]);
    check_late(right, &["the third argument of hook `hook` must be the late event"]);
}

#[test]
fn each_error_of_the_function_is_reported_once() {
    check_close(
        quote!(
            async fn hook(&self, k: u8) {}
        ),
        &["a hook must be a free function"],
    );
    check_close(
        quote!(
            async fn hook(k: u8, w: Window) {}
        ),
        &["must be the key, the window and its value"],
    );
    check_close(
        quote!(
            async fn hook() {}
        ),
        &["must be the key, the window and its value"],
    );
    check_late(
        quote!(
            async fn hook(k: u8, w: Window) {}
        ),
        &["must be the key, the window and the late event"],
    );
    check_close(
        quote!(
            async fn hook(w: Window, k: u8, v: u8) {}
        ),
        &["write `window: Window` here"],
    );
    check_close(
        quote!(
            async fn hook(k: u8, w: Window, e: LateEvent) {}
        ),
        &["take the value of the window here"],
    );
    check_close(
        quote!(
            async fn hook(k: &str, w: Window, v: u8) {}
        ),
        &["take `String` by value"],
    );
    check_close(
        quote!(
            async fn hook(k: u8, w: &Window, v: u8) {}
        ),
        &["must be owned"],
    );
    check_close(
        quote!(
            async fn hook(k: u8, w: Window, #[topic("a")] a: Topic<u8, u8>) {}
        ),
        &["must be the key, the window and its value"],
    );
    check_close(
        quote!(
            async fn hook(k: u8, w: Window, v: u8, s: Stream<u8>) {}
        ),
        &["cannot read a `Stream`"],
    );
    check_close(
        quote!(
            async fn hook(k: u8, w: Window, v: u8, a: Topic<u8, u8>) {}
        ),
        &["does not specify its topic"],
    );
    check_close(
        quote!(
            async fn hook(k: u8, w: Window, v: u8, #[topics("a")] a: Topic<u8, u8>) {}
        ),
        &["is not supported on an argument of a hook", "does not specify its topic"],
    );
}

#[test]
fn independent_errors_are_reported_together() {
    check(
        Moment::Late,
        quote!(tabel = "sums"),
        quote!(
            fn hook<T>(k: &str, w: u8, v: u8, a: WindowedTable<u8, u8>) {}
        ),
        &[
            "has no option `tabel`",
            "must be an `async fn`",
            "cannot be generic",
            "must be owned",
            "write `window",
            "does not specify its window",
        ],
    );
}
