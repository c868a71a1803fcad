//! The stores that an app can choose, and which of them are compiled in.

use std::fmt;

use super::value::{SettingValue, choices};

choices! {
    /// The store of tables.
    StoreKind {
        /// No store on disk: tables are in memory and are restored from their changelogs at every start.
        Memory = "memory://",
        /// The sled engine.
        Sled = "sled://",
        /// The fjall engine, for tables larger than memory.
        Fjall = "fjall://",
    } form "`memory://`, `sled://`, `fjall://`"
}

impl StoreKind {
    /// The stores of this build. The first one is the default.
    pub(crate) const COMPILED_IN: &[Self] = &[
        #[cfg(feature = "sled")]
        Self::Sled,
        #[cfg(feature = "fjall")]
        Self::Fjall,
        Self::Memory,
    ];

    /// Returns the name without `://`, which is also that of the cargo feature and of the directory.
    pub(crate) fn scheme(self) -> &'static str {
        self.as_str().trim_end_matches("://")
    }
}

/// The default of the setting `store`, as a literal: the first of [`StoreKind::COMPILED_IN`].
#[cfg(feature = "sled")]
macro_rules! default_store {
    () => {
        "sled://"
    };
}
#[cfg(all(feature = "fjall", not(feature = "sled")))]
macro_rules! default_store {
    () => {
        "fjall://"
    };
}
#[cfg(not(any(feature = "sled", feature = "fjall")))]
macro_rules! default_store {
    () => {
        "memory://"
    };
}
pub(super) use default_store;
