//! Tests of the rules of `#[record]`. The UI tests cover the error messages as the compiler shows them.

use proc_macro2::TokenStream;
use quote::quote;

use super::expand;

/// Asserts that exactly these errors are reported, that the type is kept, and that no `#[field]` is left for rustc.
fn check(options: TokenStream, item: TokenStream, mistakes: &[&str]) {
    let expansion = expand(options, item).to_string();
    assert!(expansion.contains("Click"), "the type is missing: {expansion}");
    let errors = expansion.matches("compile_error").count();
    assert_eq!(errors, mistakes.len(), "{expansion}");
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
fn an_option_with_a_rule_may_be_missing() {
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
fn independent_errors_are_reported_together() {
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
fn each_error_is_reported_once() {
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
        &["must be applied to a struct or an enum"],
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
        &["its fields: none"],
    );
    check(
        quote!(),
        quote!(
            struct Click {
                #[field(range = 5..=-5)]
                n: i8,
            }
        ),
        &["this range is empty"],
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
        &["cannot be combined with `#[serde(deserialize_with)]`"],
    );
}

/// `Clone`, `Debug` and `PartialEq` are derived once each, unless the item derives them or `no_derive` excludes them.
#[test]
fn clone_debug_and_partial_eq_are_derived_once() {
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
fn no_derive_accepts_only_derived_traits() {
    let item = || {
        quote!(
            struct Click;
        )
    };
    check(quote!(no_derive(Copy)), item(), &["`no_derive` accepts only `Clone`, `Debug` and `PartialEq`"]);
    check(quote!(no_derive), item(), &["`no_derive` takes a list of names: `no_derive(PartialEq)`"]);
    check(quote!(no_derive = "Clone"), item(), &["`no_derive` takes a list of names"]);
    check(quote!(no_derive("Clone")), item(), &["`no_derive` takes names: `no_derive(PartialEq)`"]);
}
