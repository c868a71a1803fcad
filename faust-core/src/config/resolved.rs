//! The effective settings, with the origin of each.

use std::collections::BTreeMap;

use super::origin::Origin;
use super::settings::{SettingDef, Settings};
use super::value::Secret;

/// The resolved settings with their origins.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Resolved {
    /// The effective settings.
    pub settings: Settings,
    pub(super) origins: BTreeMap<String, Origin>,
}

/// A setting as listed by [`Resolved::explain`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Explained {
    /// Name of the setting; names of librdkafka settings start with `kafka.`.
    pub name: String,
    /// The effective value, with secrets masked; empty if unset.
    pub value: String,
    /// Origin of the value.
    pub origin: Origin,
    /// Definition of the setting; `None` for librdkafka settings.
    pub def: Option<&'static SettingDef>,
}

impl Resolved {
    /// Returns the origin of the value of `name`.
    pub fn origin(&self, name: &str) -> &Origin {
        self.origins.get(name).unwrap_or(&Origin::Default)
    }

    /// Returns every setting with its value and origin, in the order of the table, followed by the librdkafka settings.
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

/// Returns `true` if the value of this setting or librdkafka property must not be shown.
pub(crate) fn is_secret(name: &str) -> bool {
    ["password", "secret", "key.pem", "passphrase", "oauthbearer.config"].iter().any(|part| name.contains(part))
}
