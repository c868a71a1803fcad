//! What `#[record]` accepts and what it refuses; the texts as the compiler shows them are in the UI tests.

use proc_macro2::TokenStream;
use quote::quote;

use super::expand;

/// The law: exactly these mistakes are told, the type stays, and none of our attributes is left for rustc.
fn check(options: TokenStream, item: TokenStream, mistakes: &[&str]) {
    let expansion = expand(options, item).to_string();
    assert!(expansion.contains("Click"), "the type is gone: {expansion}");
    let told = expansion.matches("compile_error").count();
    assert_eq!(told, mistakes.len(), "{expansion}");
    for mistake in mistakes {
        assert!(expansion.contains(mistake), "`{mistake}` is not in {expansion}");
    }
    assert!(!expansion.contains("# [field"), "{expansion}");
}

#[test]
fn structs_and_enums_are_accepted() {
    check(
        quote!(),
        quote!(
            struct Click;
        ),
        &[],
    );
    check(
        quote!(key = 0),
        quote!(
            struct Click(String, #[field(len = 1..)] Vec<u8>);
        ),
        &[],
    );
    check(
        quote!(timestamp = r#type),
        quote!(
            struct Click {
                r#type: i64,
            }
        ),
        &[],
    );
    check(
        quote!(codec = "json"),
        quote!(
            enum Click {
                A,
                B(#[field(range = LIMITS)] u8),
                C {
                    #[field(default)]
                    x: u8,
                },
            }
        ),
        &[],
    );
    check(
        quote!(name = "x", crate = a::b),
        quote!(
            struct Click {
                #[serde(with = "hex")]
                #[field(default = 1)]
                x: u8,
            }
        ),
        &[],
    );
}

#[test]
fn an_option_with_a_rule_may_still_be_left_out() {
    let expansion = expand(
        quote!(),
        quote!(
            struct Click {
                #[field(range = 0..)]
                n: Option<u8>,
            }
        ),
    )
    .to_string();
    assert!(expansion.contains("# [serde (default)] # [serde (deserialize_with"), "{expansion}");
    let expansion = expand(
        quote!(),
        quote!(
            struct Click {
                #[field(range = 0..)]
                n: u8,
            }
        ),
    )
    .to_string();
    assert!(!expansion.contains("# [serde (default)]"), "{expansion}");
}

#[test]
fn mistakes_in_different_places_are_told_together() {
    check(
        quote!(nome = "x", key = none, timestamp = "at"),
        quote!(
            #[derive(serde::Serialize, Clone)]
            struct Click {
                #[field(range = 1, lem = 2)]
                n: u8,
                #[field(check = 1)]
                m: u8,
            }
        ),
        &[
            "has no option `nome`",
            "has no field `none`",
            "without quotes",
            "already derives `Serialize`",
            "must be a range",
            "has no option `lem`",
            "must name a function",
        ],
    );
}

#[test]
fn one_mistake_is_told_once() {
    check(quote!(), quote!(union Click { a: u8 }), &["cannot be a union"]);
    check(
        quote!(),
        quote!(
            struct Click<T>(T);
        ),
        &["cannot be generic"],
    );
    check(
        quote!(),
        quote!(
            struct Click<'a>(&'a str);
        ),
        &["use owned fields"],
    );
    check(
        quote!(),
        quote!(
            trait Click {}
        ),
        &["goes on a struct or an enum"],
    );
    check(
        quote!(),
        quote!(
            enum Click {}
        ),
        &["has no variants"],
    );
    check(
        quote!(key = a),
        quote!(
            struct Click;
        ),
        &["its fields are none"],
    );
    check(
        quote!(),
        quote!(
            struct Click {
                #[field(range = 5..=-5)]
                n: i8,
            }
        ),
        &["no value is in this range"],
    );
    check(
        quote!(),
        quote!(
            struct Click {
                #[field(len = 1..)]
                #[serde(deserialize_with = "f")]
                n: String,
            }
        ),
        &["cannot be checked beside"],
    );
}

/// Law: `Clone`, `Debug` and `PartialEq` are derived once each, unless the item derives them or `no_derive` excludes them.
#[test]
fn records_can_be_put_in_tables_and_compared() {
    let derived = |options: TokenStream, item: TokenStream| {
        let expansion = expand(options, item).to_string();
        ["clone :: Clone", "fmt :: Debug", "cmp :: PartialEq"].map(|path| expansion.matches(path).count())
    };
    let plain = quote!(
        struct Click {
            number: i64,
        }
    );
    assert_eq!(derived(quote!(), plain.clone()), [1, 1, 1]);
    assert_eq!(derived(quote!(no_derive(PartialEq)), plain.clone()), [1, 1, 0]);
    assert_eq!(derived(quote!(no_derive(Clone, Debug, PartialEq)), plain), [0, 0, 0]);
    assert_eq!(
        derived(
            quote!(),
            quote!(
                #[derive(Clone, Eq, std::fmt::Debug)]
                enum Click {
                    A,
                }
            )
        ),
        [0, 1, 1]
    );
}

#[test]
fn no_derive_takes_only_what_is_derived() {
    let item = || {
        quote!(
            struct Click;
        )
    };
    check(quote!(no_derive(Copy)), item(), &["`no_derive` takes one of these"]);
    check(quote!(no_derive), item(), &["`no_derive` takes a list of names: `no_derive(PartialEq)`"]);
    check(quote!(no_derive = "Clone"), item(), &["`no_derive` takes a list of names"]);
    check(quote!(no_derive("Clone")), item(), &["`no_derive` takes names: `no_derive(PartialEq)`"]);
}
