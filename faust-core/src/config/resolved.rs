//! The effective settings, with the origin of each.

use std::collections::BTreeMap;

use super::origin::Origin;
use super::settings::{SettingDef, Settings};
use super::value::Secret;

/// The settings, and where each came from.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// What is in force.
    pub settings: Settings,
    pub(super) origins: BTreeMap<String, Origin>,
}

/// One line of an explanation of the settings.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Explained {
    /// The setting; those of librdkafka begin with `kafka.`.
    pub name: String,
    /// The value in force, secrets masked; empty means unset.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
    /// What is known about it; nothing for those of librdkafka.
    pub def: Option<&'static SettingDef>,
}

impl Resolved {
    /// Where the value of `name` came from.
    pub fn origin(&self, name: &str) -> &Origin {
        self.origins.get(name).unwrap_or(&Origin::Default)
    }

    /// Every setting with its value and origin, in the table's order, librdkafka's last.
    pub fn explain(&self) -> Vec<Explained> {
        let own = Settings::table().iter().map(|def| (def.name.to_owned(), def.show(&self.settings), Some(def)));
        let kafka = self.settings.kafka.iter().map(|(name, value)| {
            let value = if is_secret(name) { Secret::MASK.to_owned() } else { value.clone() };
            (format!("kafka.{name}"), value, None)
        });
        own.chain(kafka)
            .map(|(name, value, def)| Explained { origin: self.origin(&name).clone(), name, value, def })
            .collect()
    }
}

pub(super) fn is_secret(name: &str) -> bool {
    ["password", "secret", "key.pem"].iter().any(|part| name.contains(part))
}
