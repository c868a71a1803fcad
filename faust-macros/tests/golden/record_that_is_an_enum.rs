//! Formatted expansion of `record_that_is_an_enum`.

const _: fn() = || {
    my::faust::__private::support::check_field::<i64>();
};
#[derive(
    ::core::clone::Clone,
    ::core::fmt::Debug,
    ::core::cmp::PartialEq,
    my::faust::__private::support::serde::Serialize,
    my::faust::__private::support::serde::Deserialize
)]
#[serde(crate = "my::faust::__private::support::serde")]
#[serde(rename_all = "snake_case")]
enum Event {
    Opened,
    Clicked {
        #[serde(deserialize_with = "Event::__faust_read_Clicked_number")]
        number: i64,
    },
}
const _: () = {
    #[automatically_derived]
    #[allow(non_snake_case)]
    impl Event {
        fn __faust_read_Clicked_number<'de, __D>(
            __from: __D,
        ) -> ::core::result::Result<i64, __D::Error>
        where
            __D: my::faust::__private::support::serde::Deserializer<'de>,
        {
            let __read: i64 = my::faust::__private::support::serde::Deserialize::deserialize(
                __from,
            )?;
            let __value = &__read;
            my::faust::__private::support::check_range::<
                _,
                __D::Error,
            >(__value, 0.., "0..")?;
            ::core::result::Result::Ok(__read)
        }
    }
    #[automatically_derived]
    impl my::faust::__private::support::Record for Event {
        const NAME: &'static str = "PageEvent";
        const MODEL: my::faust::__private::support::ModelDef = my::faust::__private::support::ModelDef {
            name: "PageEvent",
            help: "",
            fields: &[],
            variants: &[
                my::faust::__private::support::VariantDef {
                    name: "opened",
                    fields: &[],
                    help: "",
                },
                my::faust::__private::support::VariantDef {
                    name: "clicked",
                    fields: &[
                        my::faust::__private::support::FieldDef {
                            name: "number",
                            type_name: "i64",
                            required: true,
                            default: ::core::option::Option::None,
                            help: "",
                            rule: ::core::option::Option::Some("in 0.."),
                        },
                    ],
                    help: "",
                },
            ],
            codec: ::core::option::Option::None,
            types: || [
                ::core::any::TypeId::of::<Event>(),
                ::core::any::TypeId::of::<::core::option::Option<Event>>(),
            ],
            timestamp: ::core::option::Option::None,
            key: ::core::option::Option::None,
            plain: ::core::option::Option::None,
            file: ::core::file!(),
            line: ::core::line!(),
        };
    }
    my::faust::__private::support::inventory::submit! {
        < Event as my::faust::__private::support::Record > ::MODEL
    }
};
