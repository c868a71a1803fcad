//! Makes the struct [`Settings`](super::settings::Settings) and the list of its fields from one table.

macro_rules! settings {
    ($(
        #[doc = $doc:literal]
        $name:ident: $type:ty = $default:expr $(, within $low:literal $high:literal)?, example $example:literal;
    )*) => {
        /// The settings of an app, resolved and checked. [`Settings::table`] lists names, defaults and forms.
        #[derive(Clone, Debug)]
        #[non_exhaustive]
        pub struct Settings {
            /// The app's id.
            pub id: String,
            /// librdkafka properties by their own names, passed on unchanged. Those that a promise depends on are
            /// refused.
            pub kafka: BTreeMap<String, String>,
            $(
                #[doc = $doc]
                #[doc = concat!("\n\nDefault: `", $default, "`.")]
                pub $name: $type,
            )*
        }

        impl Settings {
            /// Returns every setting, in reading order.
            pub fn table() -> &'static [SettingDef] {
                const TABLE: &[SettingDef] = &[$(SettingDef {
                    name: stringify!($name),
                    default: $default,
                    doc: $doc.trim_ascii(),
                    example: $example,
                    form: <$type as value::SettingValue>::FORM,
                    within: table::settings!(@within $($low $high)?),
                    set: |settings, text| {
                        settings.$name = value::parse(text, table::settings!(@within $($low $high)?))?;
                        Ok(())
                    },
                    show: |settings| value::SettingValue::show(&settings.$name),
                },)*];
                TABLE
            }

            /// Returns every setting at its default.
            pub(crate) fn defaults(id: &str) -> Self {
                Self {
                    id: id.to_owned(),
                    kafka: BTreeMap::new(),
                    $($name: value::SettingValue::parse($default).expect("a test parses every default"),)*
                }
            }
        }
    };
    (@within) => { None };
    (@within $low:literal $high:literal) => { Some(($low, $high)) };
}

pub(super) use settings;
