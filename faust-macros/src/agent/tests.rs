//! Tests of the rules of `#[agent]`. The UI tests cover the error messages as the compiler shows them.

use proc_macro2::TokenStream;
use quote::quote;

use super::expand;

/// Asserts that exactly these errors are reported and that the function is kept.
fn check(options: TokenStream, item: TokenStream, mistakes: &[&str]) {
    let expansion = expand(options, item).to_string();
    assert!(expansion.contains("fn count"), "the function is missing: {expansion}");
    let errors = expansion.matches("compile_error").count();
    assert_eq!(errors, mistakes.len(), "{expansion}");
    for mistake in mistakes {
        assert!(expansion.contains(mistake), "`{mistake}` is not in {expansion}");
    }
    assert_eq!(expansion.contains("inventory :: submit"), mistakes.is_empty(), "only a valid agent is registered");
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
fn an_incomplete_body_is_accepted() {
    check(quote!(topic = "clicks"), quote!(async fn count(clicks: Stream<Click>) { let x = clicks. }), &[]);
}

#[test]
fn independent_errors_are_reported_together() {
    check(
        quote!(topic = 1, sinks = "a", nome = "x"),
        quote!(
            fn count<T>(clicks: &Stream<T>, #[topic] out: Topic<u8, u8>) -> u8 {}
        ),
        &[
            "has no option `nome`",
            "must be a string literal or a constant",
            "`sinks` takes a list",
            "must be an `async fn`",
            "cannot be generic",
            "must be owned",
            "requires a topic name as the first argument",
        ],
    );
}

#[test]
fn each_error_is_reported_once() {
    let stream = quote!(
        async fn count(clicks: Stream<Click>) {}
    );
    check(quote!(topic = "a", topics = ["b"]), stream.clone(), &["`topic` and `topics` cannot be combined"]);
    check(quote!(topic = ["a", "b"]), stream.clone(), &["`topic` takes one name"]);
    check(quote!(topic = "a", topic = "b"), stream.clone(), &["`topic` is specified twice"]);
    check(quote!(topic = "a", on_failure = "skip"), stream.clone(), &[]);
    check(quote!(topic = "a", on_failure = "ignore"), stream.clone(), &["`on_failure` is one of `retry`, `stop`"]);
    check(quote!(topic = "a", sink = "b"), stream, &["a sink requires an agent that returns a value for each event"]);
    check(
        quote!(topic = "a"),
        quote!(
            async fn count(#[topic("b")] b: Topic<u8, u8>) {}
        ),
        &["has no source"],
    );
    check(
        quote!(topic = "a"),
        quote!(
            async fn count() {}
        ),
        &["has no source"],
    );
    check(
        quote!(topic = "a"),
        quote!(
            async fn count(&self, clicks: Stream<Click>) {}
        ),
        &["must be a free function without `self`"],
    );
    check(
        quote!(topic = "a"),
        quote!(
            async fn count(click: Click) -> u64 {}
        ),
        &["has no destination"],
    );
}

#[test]
fn attributes_must_match_the_type_of_the_argument() {
    let table = |argument: TokenStream, mistake: &str| {
        check(quote!(topic = "a"), quote!(async fn count(clicks: Stream<Click>, #argument) {}), &[mistake]);
    };
    table(quote!(#[table(window = tumbling("1s"))] a: Table<u8, u8>), "write `a: WindowedTable<..>`");
    table(quote!(a: WindowedTable<u8, u8>), "windowed table `a` does not specify its window");
    table(quote!(#[table(name = "b")] a: WindowedTable<u8, u8>), "windowed table `a` does not specify its window");
    table(quote!(#[table(window = tumbling(1))] a: WindowedTable<u8, u8>), "a duration must be a string literal");
    table(
        quote!(#[table(window = tumbling(1), expires = "1h")] a: WindowedTable<u8, u8>),
        "a duration must be a string literal",
    );
    table(quote!(#[topic("a")] a: Table<u8, u8>), "`#[topic]` cannot be applied to a table; set its changelog topic");
    table(quote!(#[table] a: Topic<u8, u8>), "`#[table]` cannot be applied to a `Topic`");
    table(quote!(#[table] #[topic("a")] a: Topic<u8, u8>), "cannot be both a topic and a table");
    table(quote!(#[topic("a")] #[table] a: Table<u8, u8>), "cannot be both a topic and a table");
    table(quote!(#[table] #[table] a: Table<u8, u8>), "`#[table]` is specified twice");
    table(quote!(#[table(default = 1)] a: Mine), "write the table's type in full");
    table(quote!(größe: Table<u8, u8>), "table name `größe` contains 'ö'");
    table(quote!(_: Table<u8, u8>), "named after its argument");
    table(quote!(a: &Table<u8, u8>), "must be owned");
    check(
        quote!(topic = "a"),
        quote!(
            async fn count(#[table] clicks: Stream<Click>) {}
        ),
        &["`#[table]` cannot be applied to a `Stream`"],
    );
    check(
        quote!(topic = "a"),
        quote!(
            async fn count(a: Table<u8, u8>, #[table] b: Mine) {}
        ),
        &["has no source"],
    );
}

/// A `group_by` needs a name wherever the stream's chain of operators is; those of other values are left alone.
#[test]
fn group_by_without_a_name_is_reported_once() {
    let report = "write `group_by(\\\"uri\\\", |..| ..)`";
    for (body, mistakes) in [
        (quote!(clicks.group_by(|click| click.uri.clone())), 1),
        (quote!(let by = clicks.map(|c| c).filter_map::<Vec<Vec<u8>>>(f).group_by(move |click| click.uri.clone());), 1),
        (quote!(while let Some(c) = { clicks.group_by(|c| c.uri).group_by(|c: &Click| c.uri) }.next().await {}), 2),
        (quote!(clicks.group_by("uri", |click| click.uri.clone())), 0),
        (quote!(clicks.group_by(NAME, |click| click.uri.clone())), 0),
        (quote!(others.group_by(|click| click.uri.clone())), 0),
        (quote!(clicks.other_group_by(|click| click.uri.clone())), 0),
    ] {
        check(
            quote!(topic = "a"),
            quote!(
                async fn count(clicks: Stream<Click>) {
                    #body
                }
            ),
            &vec![report; mistakes],
        );
    }
}

/// Only what certainly has no effect is reported.
#[test]
fn an_update_that_changes_nothing_is_reported() {
    let report = "write `|n| *n += ..`";
    for (body, mistakes) in [
        (quote!(counts.update(&click.uri, |n| *n + 1);), 1),
        (
            quote!(while let Some(click) = clicks.next().await {
                let key = click.key();
                counts.update(key, |n| *n + click.by());
            }),
            1,
        ),
        (quote!(if true {} counts.update("a", |n| *n + 1); minutes.update("a", |n| *n + 1);), 2),
        (quote!(counts.update(&click.uri, |n| *n += 1);), 0),
        (quote!(counts.update(&click.uri, |n| *n = *n + 1);), 0),
        (quote!(counts.update(&click.uri, |n| { *n += 1; *n + 1 });), 0),
        (quote!(counts.update(&click.uri, |n| *n && seen(n));), 0),
        (quote!(counts.update(&click.uri, |all| all.insert(1));), 0),
        (quote!(let next = counts.update(&click.uri, |n| *n + 1);), 0),
        (quote!(let next = { counts.update(&click.uri, |n| *n + 1) };), 0),
        (quote!(send(counts.update(&click.uri, |n| *n + 1));), 0),
        (quote!(others.update(&click.uri, |n| *n + 1);), 0),
        (quote!(self.counts.update(&click.uri, |n| *n + 1);), 0),
    ] {
        check(
            quote!(topic = "a"),
            quote!(
                async fn count(
                    clicks: Stream<Click>,
                    counts: Table<String, u64>,
                    #[table(window = tumbling("1m"))] minutes: WindowedTable<String, u64>,
                ) {
                    #body
                }
            ),
            &vec![report; mistakes],
        );
    }
}
