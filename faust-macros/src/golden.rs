//! Compares whole expansions with reviewed files.
#![allow(clippy::unwrap_used)] // A failed unwrap fails the test.

use std::path::Path;
use std::{env, fs};

use proc_macro2::TokenStream;
use quote::quote;

use crate::hook::Moment;

/// Asserts that the expansion equals `tests/golden/<name>.rs`. With `FAUST_BLESS=1`, the file is written instead.
fn check(name: &str, expansion: &TokenStream) {
    let file: syn::File = syn::parse2(expansion.clone()).unwrap();
    let actual = format!("//! Formatted expansion of `{name}`.\n\n{}", prettyplease::unparse(&file));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name).with_extension("rs");
    if env::var_os("FAUST_BLESS").is_some() {
        fs::write(&path, &actual).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        actual,
        expected,
        "differs from {}; if the change is intended, run again with FAUST_BLESS=1",
        path.display()
    );
}

#[test]
fn agent_with_a_stream() {
    let item = quote! {
        /// Counts clicks per page.
        ///
        /// A second paragraph.
        pub async fn count(
            mut clicks: Stream<Click, String>,
            #[topic("pages", partitions = 3, retention = "7d", compacting)] pages: Topic<String, u64>,
        ) -> Result<()> {
            todo_by_the_user()
        }
    };
    check("agent_with_a_stream", &crate::agent::expand(quote!(topic = "clicks", value_codec = "binary|json"), item));
}

#[test]
fn agent_per_event_with_a_sink() {
    let item = quote! {
        async fn score(click: Click, #[topic(AUDIT)] audit: Topic<RawKey, Click>) -> Result<Scored> {
            Ok(click.into())
        }
    };
    check(
        "agent_per_event_with_a_sink",
        &crate::agent::expand(quote!(topics = ["a", B], sink = "scored", name = "scores"), item),
    );
}

#[test]
fn agent_with_tables() {
    let item = quote! {
        async fn sum(
            clicks: Stream<Click>,
            counts: Table<String, u64>,
            #[table(name = "sums", default = 10, help = "Sums per page", changelog_topic = "my-log", key_codec = "json", value_codec = "binary|json", partition_by_source)]
            sums: Table<String, i64>,
            #[table(window = tumbling("10s"), expires = "1h", relative_to = now, default = "none")] last: WindowedTable<String, String>,
            #[table(window = hopping("1m", "10s"), relative_to = field(shop::Click::at))] latest: WindowedTable<String, i64>,
        ) {
        }
    };
    check("agent_with_tables", &crate::agent::expand(quote!(topic = "clicks"), item));
}

#[test]
fn hook_of_a_window_that_closes() {
    let item = quote! {
        /// Publishes the total.
        pub async fn closed(
            key: String,
            window: Window,
            total: i64,
            #[topic("totals")] out: Topic<String, i64>,
            seen: Table<String, u64>,
        ) -> Result<()> {
            todo_by_the_user()
        }
    };
    check("hook_of_a_window_that_closes", &crate::hook::expand(Moment::Close, quote!(table = "sums"), item));
}

#[test]
fn hook_of_a_late_event() {
    let item = quote! {
        async fn late(key: String, window: Window, event: LateEvent) {}
    };
    check("hook_of_a_late_event", &crate::hook::expand(Moment::Late, quote!(table = "sums"), item));
}

#[test]
fn hook_with_a_mistake() {
    let item = quote! {
        async fn closed(key: String, total: i64, window: Window) {}
    };
    check("hook_with_a_mistake", &crate::hook::expand(Moment::Close, quote!(table = "sums"), item));
}

#[test]
fn agent_with_a_mistake() {
    let item = quote! {
        fn count(clicks: Stream<Click>) {}
    };
    check("agent_with_a_mistake", &crate::agent::expand(quote!(topik = "clicks"), item));
}

#[test]
fn record_with_everything() {
    let item = quote! {
        /// A click on a page.
        #[derive(Clone)]
        pub struct Click {
            /// URI of the page.
            uri: String,
            #[field(range = 0..=100, check = even)]
            number: i64,
            #[field(default = "none", len = 1..=20)]
            tag: String,
            #[field(range = 1..)]
            visits: Option<u32>,
            at: f64,
        }
    };
    check(
        "record_with_everything",
        &crate::record::expand(quote!(serializer = "binary|json", key = uri, timestamp = at), item),
    );
}

#[test]
fn record_that_is_an_enum() {
    let item = quote! {
        #[serde(rename_all = "snake_case")]
        enum Event {
            Opened,
            Clicked { #[field(range = 0..)] number: i64 },
        }
    };
    check("record_that_is_an_enum", &crate::record::expand(quote!(name = "PageEvent", crate = my::faust), item));
}

#[test]
fn codec_of_the_users() {
    check(
        "codec_of_the_users",
        &crate::codec::expand(
            quote!(name = "rot13"),
            quote!(
                pub struct Rot13;
            ),
        ),
    );
}

#[test]
fn the_option_crate_replaces_every_path_of_the_facade() {
    let agent = crate::agent::expand(
        quote!(topic = "clicks", crate = my::streams),
        quote! {
            async fn count(
                clicks: Stream<Click>,
                #[topic("out")] out: Topic<String, u64>,
                #[table(window = tumbling("1s"), default = 1, relative_to = field(Click::at))]
                sums: WindowedTable<String, u64>,
            ) {
            }
        },
    );
    let hook = crate::hook::expand(
        Moment::Close,
        quote!(table = "sums", crate = my::streams),
        quote! {
            async fn closed(k: u8, w: Window, v: u8, #[topic("out")] out: Topic<String, u64>) {}
        },
    );
    let record = crate::record::expand(
        quote!(crate = my::streams),
        quote! {
            struct Click { #[field(default = 1, range = 0..)] number: i64 }
        },
    );
    for expansion in [agent, hook, record] {
        assert!(!mentions(expansion, "faust"), "the expansion names `faust` although `crate` is given");
    }
}

fn mentions(tokens: TokenStream, name: &str) -> bool {
    tokens.into_iter().any(|token| match token {
        proc_macro2::TokenTree::Group(group) => mentions(group.stream(), name),
        proc_macro2::TokenTree::Ident(ident) => ident == name,
        proc_macro2::TokenTree::Literal(literal) => literal.to_string().contains(&format!("{name}::__private")),
        proc_macro2::TokenTree::Punct(_) => false,
    })
}
