//! Formatted expansion of `record_with_everything`.

const _: fn() = || {
    ::faust::__private::support::check_field::<String>();
    ::faust::__private::support::check_field::<i64>();
    ::faust::__private::support::check_field::<String>();
    ::faust::__private::support::check_field::<Option<u32>>();
    ::faust::__private::support::check_field::<f64>();
};
#[derive(
    ::core::fmt::Debug,
    ::core::cmp::PartialEq,
    ::faust::__private::support::serde::Serialize,
    ::faust::__private::support::serde::Deserialize
)]
#[serde(crate = "::faust::__private::support::serde")]
/// A click on a page.
#[derive(Clone)]
pub struct Click {
    /// URI of the page.
    uri: String,
    #[serde(deserialize_with = "Click::__faust_read_number")]
    number: i64,
    #[serde(default = "Click::__faust_default_tag")]
    #[serde(deserialize_with = "Click::__faust_read_tag")]
    tag: String,
    #[serde(default)]
    #[serde(deserialize_with = "Click::__faust_read_visits")]
    visits: Option<u32>,
    at: f64,
}
const _: () = {
    #[automatically_derived]
    #[allow(non_snake_case)]
    impl Click {
        fn __faust_read_number<'de, __D>(
            __from: __D,
        ) -> ::core::result::Result<i64, __D::Error>
        where
            __D: ::faust::__private::support::serde::Deserializer<'de>,
        {
            let __read: i64 = ::faust::__private::support::serde::Deserialize::deserialize(
                __from,
            )?;
            let __value = &__read;
            ::faust::__private::support::check_range::<
                _,
                __D::Error,
            >(__value, 0..=100, "0..=100")?;
            ::faust::__private::support::check_with::<
                _,
                __D::Error,
            >(even(__value), "even")?;
            ::core::result::Result::Ok(__read)
        }
        fn __faust_default_tag() -> String {
            ::core::convert::From::from("none")
        }
        fn __faust_read_tag<'de, __D>(
            __from: __D,
        ) -> ::core::result::Result<String, __D::Error>
        where
            __D: ::faust::__private::support::serde::Deserializer<'de>,
        {
            let __read: String = ::faust::__private::support::serde::Deserialize::deserialize(
                __from,
            )?;
            let __value = &__read;
            ::faust::__private::support::check_len::<
                _,
                __D::Error,
            >(__value, 1..=20, "1..=20")?;
            ::core::result::Result::Ok(__read)
        }
        fn __faust_read_visits<'de, __D>(
            __from: __D,
        ) -> ::core::result::Result<Option<u32>, __D::Error>
        where
            __D: ::faust::__private::support::serde::Deserializer<'de>,
        {
            let __read: Option<u32> = ::faust::__private::support::serde::Deserialize::deserialize(
                __from,
            )?;
            if let ::core::option::Option::Some(__value) = &__read {
                ::faust::__private::support::check_range::<
                    _,
                    __D::Error,
                >(__value, 1.., "1..")?;
            }
            ::core::result::Result::Ok(__read)
        }
    }
    #[automatically_derived]
    impl ::faust::__private::support::Record for Click {
        const NAME: &'static str = "Click";
        const MODEL: ::faust::__private::support::ModelDef = ::faust::__private::support::ModelDef {
            name: "Click",
            help: "A click on a page.",
            fields: &[
                ::faust::__private::support::FieldDef {
                    name: "uri",
                    type_name: "String",
                    required: true,
                    default: ::core::option::Option::None,
                    help: "URI of the page.",
                    rule: ::core::option::Option::None,
                },
                ::faust::__private::support::FieldDef {
                    name: "number",
                    type_name: "i64",
                    required: true,
                    default: ::core::option::Option::None,
                    help: "",
                    rule: ::core::option::Option::Some("in 0..=100, checked by even"),
                },
                ::faust::__private::support::FieldDef {
                    name: "tag",
                    type_name: "String",
                    required: false,
                    default: ::core::option::Option::Some("\"none\""),
                    help: "",
                    rule: ::core::option::Option::Some("length in 1..=20"),
                },
                ::faust::__private::support::FieldDef {
                    name: "visits",
                    type_name: "Option<u32>",
                    required: false,
                    default: ::core::option::Option::None,
                    help: "",
                    rule: ::core::option::Option::Some("in 1.."),
                },
                ::faust::__private::support::FieldDef {
                    name: "at",
                    type_name: "f64",
                    required: true,
                    default: ::core::option::Option::None,
                    help: "",
                    rule: ::core::option::Option::None,
                },
            ],
            variants: &[],
            codec: ::core::option::Option::Some("binary|json"),
            types: || [
                ::core::any::TypeId::of::<Click>(),
                ::core::any::TypeId::of::<::core::option::Option<Click>>(),
            ],
            timestamp: ::core::option::Option::Some(|__record| match ::faust::__private::support::record_in::<
                Click,
            >(__record) {
                ::core::option::Option::Some(__value) => {
                    ::faust::__private::support::timestamp_of_field(
                        "at",
                        ::faust::__private::support::IntoTimestamp::to_timestamp(
                            &__value.at,
                        ),
                    )
                }
                ::core::option::Option::None => {
                    ::core::result::Result::Ok(::core::option::Option::None)
                }
            }),
            key: ::core::option::Option::Some(|__record, __out| {
                static KEY: ::faust::__private::support::KeyCoder<String> = ::faust::__private::support::KeyCoder::new();
                match ::faust::__private::support::record_in::<Click>(__record) {
                    ::core::option::Option::Some(__value) => {
                        ::faust::__private::support::encode_key(
                            &KEY,
                            &__value.uri,
                            __out,
                        )
                    }
                    ::core::option::Option::None => ::core::result::Result::Ok(false),
                }
            }),
            plain: ::core::option::Option::None,
            file: ::core::file!(),
            line: ::core::line!(),
        };
    }
    ::faust::__private::support::inventory::submit! {
        < Click as ::faust::__private::support::Record > ::MODEL
    }
};
