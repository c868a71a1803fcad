//! The names of fields and variants in the serialized form, as serde derives them. Models show these names.

use syn::{Attribute, LitStr};

/// The serde attributes of an item, a variant or a field that affect the model.
#[derive(Default)]
pub(super) struct SerdeAttributes {
    pub(super) rename: Option<String>,
    pub(super) rename_all: Option<String>,
    pub(super) default: bool,
    pub(super) skipped: bool,
    /// `with`, `deserialize_with` or `flatten`, which replace the deserializer that would check the rules.
    pub(super) own_reader: Option<&'static str>,
    /// Set if `None` is left out.
    pub(super) omits_none: bool,
    /// Set if some attribute may change the format such that not every value that is written can be read.
    pub(super) is_special: bool,
}

impl SerdeAttributes {
    pub(super) fn of(attributes: &[Attribute]) -> Self {
        // A condition may add attributes of serde, or remove the field.
        let is_condition =
            |attribute: &Attribute| attribute.path().is_ident("cfg") || attribute.path().is_ident("cfg_attr");
        let mut found = Self { is_special: attributes.iter().any(is_condition), ..Self::default() };
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
            let parsed = attribute.parse_nested_meta(|meta| {
                let name = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
                let text = match meta.value() {
                    Ok(value) => Some(value.parse::<LitStr>()?.value()),
                    Err(_) => None,
                };
                if text.is_none() && meta.input.peek(syn::token::Paren) {
                    meta.parse_nested_meta(|inner| inner.value()?.parse::<LitStr>().map(|_| ()))?;
                }
                found.note(&name, text);
                Ok(())
            });
            // serde reports the errors of its attributes, and accepts some that this parser does not know.
            found.is_special |= parsed.is_err();
        }
        found
    }

    fn note(&mut self, name: &str, text: Option<String>) {
        self.is_special |= match name {
            // Without a text, the names for reading and writing differ.
            "rename" | "rename_all" | "rename_all_fields" => text.is_none(),
            "skip_serializing_if" => text.as_deref() != Some("Option::is_none"),
            "default" | "alias" | "deny_unknown_fields" | "transparent" => false,
            _ => true,
        };
        match name {
            "skip_serializing_if" => self.omits_none = true,
            "rename" => self.rename = text,
            "rename_all" => self.rename_all = text,
            "default" => self.default = true,
            "skip" | "skip_deserializing" => self.skipped = true,
            "with" => self.own_reader = Some("with"),
            "deserialize_with" => self.own_reader = Some("deserialize_with"),
            "flatten" => self.own_reader = Some("flatten"),
            _ => {}
        }
    }
}

/// Returns `true` if there are attributes of serde, or such that may add one.
pub(super) fn has_serde(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| attribute.path().is_ident("serde") || attribute.path().is_ident("cfg_attr"))
}

/// Returns the name of a field under the container's `rename_all`.
pub(super) fn field_name(name: &str, rule: Option<&str>) -> String {
    let words: Vec<&str> = name.split('_').filter(|word| !word.is_empty()).collect();
    let pascal = || words.iter().map(|word| capitalized(word)).collect::<String>();
    match rule {
        Some("UPPERCASE" | "SCREAMING_SNAKE_CASE") => name.to_uppercase(),
        Some("PascalCase") => pascal(),
        Some("camelCase") => uncapitalized(&pascal()),
        Some("kebab-case") => name.replace('_', "-"),
        Some("SCREAMING-KEBAB-CASE") => name.to_uppercase().replace('_', "-"),
        _ => name.to_owned(),
    }
}

/// Returns the name of a variant under the enum's `rename_all`.
pub(super) fn variant_name(name: &str, rule: Option<&str>) -> String {
    let snake = || {
        let mut snake = String::new();
        for (at, c) in name.char_indices() {
            if at > 0 && c.is_uppercase() {
                snake.push('_');
            }
            snake.extend(c.to_lowercase());
        }
        snake
    };
    match rule {
        Some("lowercase") => name.to_lowercase(),
        Some("UPPERCASE") => name.to_uppercase(),
        Some("camelCase") => uncapitalized(name),
        Some("snake_case") => snake(),
        Some("SCREAMING_SNAKE_CASE") => snake().to_uppercase(),
        Some("kebab-case") => snake().replace('_', "-"),
        Some("SCREAMING-KEBAB-CASE") => snake().to_uppercase().replace('_', "-"),
        _ => name.to_owned(),
    }
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn uncapitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_serdes_rules() {
        for (rule, field, variant) in [
            ("camelCase", "userId", "newClick"),
            ("PascalCase", "UserId", "NewClick"),
            ("snake_case", "user_id", "new_click"),
            ("kebab-case", "user-id", "new-click"),
            ("SCREAMING_SNAKE_CASE", "USER_ID", "NEW_CLICK"),
            ("lowercase", "user_id", "newclick"),
        ] {
            assert_eq!(field_name("user_id", Some(rule)), field, "{rule}");
            assert_eq!(variant_name("NewClick", Some(rule)), variant, "{rule}");
        }
    }
}
