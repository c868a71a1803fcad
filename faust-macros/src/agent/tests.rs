//! What `#[agent]` accepts and what it refuses; the texts as the compiler shows them are in the UI tests.

use proc_macro2::TokenStream;
use quote::quote;

use super::expand;

/// The law: exactly these mistakes are told, and the function stays.
fn check(options: TokenStream, item: TokenStream, mistakes: &[&str]) {
    let expansion = expand(options, item).to_string();
    assert!(expansion.contains("fn count"), "the function is gone: {expansion}");
    let told = expansion.matches("compile_error").count();
    assert_eq!(told, mistakes.len(), "{expansion}");
    for mistake in mistakes {
        assert!(expansion.contains(mistake), "`{mistake}` is not in {expansion}");
    }
    assert_eq!(expansion.contains("inventory :: submit"), mistakes.is_empty(), "registered only when it is right");
}

#[test]
fn all_forms_are_accepted() {
    for item in [
        quote!(
            async fn count(clicks: Stream<Click>) {}
        ),
        quote!(
            pub(crate) async fn count(clicks: faust::Stream<Click, String>) -> faust::Result<()> {}
        ),
        quote!(
            async fn count(mut clicks: Stream<Click>, #[topic("a")] a: Topic<u8, u8>, #[topic(B)] b: Topic<u8, u8>) {}
        ),
        quote!(
            async fn count(click: Click) {}
        ),
        quote!(
            async fn count(Click { uri, .. }: Click) -> Result<()> {}
        ),
        quote!(
            async fn count(event: Event<Click, String>, #[topic("a")] a: Topic<u8, u8>) -> std::io::Result<()> {}
        ),
        quote!(
            async fn count(#[topic("a")] a: Topic<u8, u8>, click: Click) -> () {}
        ),
        quote!(
            async fn count(clicks: Stream<Click>, a: Table<u8, u8>, #[table(name = "x")] _: faust::Table<u8, u8>) {}
        ),
        quote!(
            async fn count(a: Table<u8, u8>, #[table(default = 1)] b: Table<u8, u8>, click: Click) {}
        ),
        quote!(
            async fn count(click: Click, #[table(window = tumbling("1s"))] a: WindowedTable<u8, u8>, #[table] b: Mine) {
            }
        ),
    ] {
        check(quote!(topic = "clicks"), item.clone(), &[]);
        check(quote!(topics = ["clicks", VIEWS], name = "x", key_codec = "raw", crate = a::b), item, &[]);
    }
    check(
        quote!(),
        quote!(
            async fn count(clicks: Stream<Click>) {}
        ),
        &[],
    );
    check(
        quote!(topic = "a", sinks = ["b", C]),
        quote!(
            async fn count(click: Click) -> u64 {}
        ),
        &[],
    );
}

#[test]
fn a_body_half_typed_does_not_matter() {
    check(quote!(topic = "clicks"), quote!(async fn count(clicks: Stream<Click>) { let x = clicks. }), &[]);
}

#[test]
fn mistakes_in_different_places_are_told_together() {
    check(
        quote!(topic = 1, sinks = "a", nome = "x"),
        quote!(
            fn count<T>(clicks: &Stream<T>, #[topic] out: Topic<u8, u8>) -> u8 {}
        ),
        &[
            "has no option `nome`",
            "named by a string literal",
            "`sinks` takes a list",
            "must be an `async fn`",
            "cannot be generic",
            "must be owned",
            "needs the topic's name first",
        ],
    );
}

#[test]
fn one_mistake_is_told_once() {
    let stream = quote!(
        async fn count(clicks: Stream<Click>) {}
    );
    check(quote!(topic = "a", topics = ["b"]), stream.clone(), &["`topic` and `topics` are both given"]);
    check(quote!(topic = ["a", "b"]), stream.clone(), &["`topic` takes one name"]);
    check(quote!(topic = "a", topic = "b"), stream.clone(), &["`topic` is given twice"]);
    check(quote!(topic = "a", sink = "b"), stream, &["a sink takes what an agent returns for one event"]);
    check(
        quote!(topic = "a"),
        quote!(
            async fn count(#[topic("b")] b: Topic<u8, u8>) {}
        ),
        &["reads nothing"],
    );
    check(
        quote!(topic = "a"),
        quote!(
            async fn count() {}
        ),
        &["reads nothing"],
    );
    check(
        quote!(topic = "a"),
        quote!(
            async fn count(&self, clicks: Stream<Click>) {}
        ),
        &["has no `self`"],
    );
    check(
        quote!(topic = "a"),
        quote!(
            async fn count(click: Click) -> u64 {}
        ),
        &["goes nowhere"],
    );
}

#[test]
fn a_table_and_what_is_said_of_it_fit_each_other() {
    let table = |argument: TokenStream, mistake: &str| {
        check(quote!(topic = "a"), quote!(async fn count(clicks: Stream<Click>, #argument) {}), &[mistake]);
    };
    table(quote!(#[table(window = tumbling("1s"))] a: Table<u8, u8>), "write `a: WindowedTable<..>`");
    table(quote!(a: WindowedTable<u8, u8>), "table `a` does not say what its windows are");
    table(quote!(#[table(name = "b")] a: WindowedTable<u8, u8>), "table `a` does not say what its windows are");
    table(quote!(#[table(window = tumbling(1))] a: WindowedTable<u8, u8>), "a duration is a string literal");
    table(quote!(#[table(window = tumbling(1), expires = "1h")] a: WindowedTable<u8, u8>), "a duration is a string");
    table(quote!(#[topic("a")] a: Table<u8, u8>), "`#[topic]` is for outputs; the changelog");
    table(quote!(#[table] a: Topic<u8, u8>), "`#[table]` is for tables");
    table(quote!(#[table] #[topic("a")] a: Topic<u8, u8>), "not both");
    table(quote!(#[topic("a")] #[table] a: Table<u8, u8>), "not both");
    table(quote!(#[table] #[table] a: Table<u8, u8>), "`#[table]` stands here twice");
    table(quote!(#[table(default = 1)] a: Mine), "write the table's type out");
    table(quote!(größe: Table<u8, u8>), "table `größe` contains 'ö'");
    table(quote!(_: Table<u8, u8>), "named after its argument");
    table(quote!(a: &Table<u8, u8>), "must be owned");
    check(
        quote!(topic = "a"),
        quote!(
            async fn count(#[table] clicks: Stream<Click>) {}
        ),
        &["`#[table]` is for tables"],
    );
    check(
        quote!(topic = "a"),
        quote!(
            async fn count(a: Table<u8, u8>, #[table] b: Mine) {}
        ),
        &["reads nothing"],
    );
}
