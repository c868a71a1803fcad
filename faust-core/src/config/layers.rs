//! Layers of settings, and their precedence.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use super::origin::{Given, Origin};
use super::resolved::{Resolved, is_secret};
use super::settings::Settings;
use crate::config::{check, file, native, suggest};
use crate::error::SetupErrors;

/// Environment variables that start with `FAUST_` but are not settings. A name that ends with `_` is a prefix.
///
/// `FAUST_CONFIG` names the settings file; the others configure tests and scripts, not the program.
const NOT_SETTINGS: [&str; 7] = [
    "FAUST_CONFIG",
    "FAUST_BLESS",
    "FAUST_FUZZ_",
    "FAUST_TEST_",
    "FAUST_KAFKA_HOME",
    "FAUST_KAFKA_LIBS",
    "FAUST_KAFKA_READY_WITHIN",
];

/// Values for settings, by layer. In order of increasing precedence: builder, file, environment, command line.
#[derive(Clone, Default)]
pub struct Layers {
    builder: Vec<Given>,
    file: Option<file::FileLayer>,
    environment: Vec<Given>,
    command_line: Vec<Given>,
}

impl Layers {
    /// Adds a value set by the program itself.
    pub fn builder(&mut self, name: impl Into<String>, value: impl ToString) -> &mut Self {
        self.builder.push(Given { name: name.into(), value: value.to_string(), origin: Origin::Builder });
        self
    }

    /// Adds a value from the command line.
    pub fn command_line(&mut self, name: impl Into<String>, value: impl ToString) -> &mut Self {
        self.command_line.push(Given { name: name.into(), value: value.to_string(), origin: Origin::CommandLine });
        self
    }

    /// Adds the variables that start with `FAUST_`. An empty variable counts as unset. `FAUST_CONFIG` names the
    /// settings file, unless [`file`](Self::file) was called before.
    pub fn environment(&mut self, variables: impl IntoIterator<Item = (String, String)>) -> &mut Self {
        for (variable, value) in variables {
            if !variable.starts_with("FAUST_") || value.is_empty() {
                continue;
            }
            if variable == "FAUST_CONFIG" && self.file.is_none() {
                self.file(value);
            } else if !NOT_SETTINGS
                .iter()
                .any(|name| variable == *name || name.ends_with('_') && variable.starts_with(name))
            {
                self.environment.push(Given {
                    name: setting_of(&variable),
                    value,
                    origin: Origin::Environment(variable),
                });
            }
        }
        self
    }

    /// Reads a settings file (TOML). Its faults are reported by [`resolve`](Self::resolve).
    pub fn file(&mut self, path: impl Into<PathBuf>) -> &mut Self {
        self.file = Some(file::FileLayer::read(path.into()));
        self
    }

    /// Adds the environment of this process and, if no settings file was named, `faust.toml` in the working directory.
    pub fn process(&mut self) -> &mut Self {
        let text = |text: OsString| text.to_string_lossy().into_owned();
        self.environment(std::env::vars_os().map(|(name, value)| (text(name), text(value))));
        let usual = Path::new("faust.toml");
        if self.file.is_none() && usual.exists() {
            self.file(usual);
        }
        self
    }

    /// Merges the layers and checks the result.
    ///
    /// # Errors
    /// Returns every fault found: unknown names with the closest known name, invalid values, values out of range,
    /// conflicting values, and librdkafka properties that must not be set. Each fault names the setting, the value and
    /// its layer.
    pub fn resolve(&self, app_id: &str) -> Result<Resolved, SetupErrors> {
        let mut faults = check::app_id(app_id).err().into_iter().collect::<Vec<_>>();
        let mut resolved = Resolved { settings: Settings::defaults(app_id), origins: BTreeMap::new() };
        let (in_file, file_faults) = self.file.as_ref().map_or((&[][..], &[][..]), file::FileLayer::parts);
        faults.extend_from_slice(file_faults);
        for given in self.builder.iter().chain(in_file).chain(&self.environment).chain(&self.command_line) {
            match apply(&mut resolved.settings, given) {
                Ok(()) => _ = resolved.origins.insert(given.name.clone(), given.origin.clone()),
                Err(fault) => faults.push(fault),
            }
        }
        let datadir = resolved.settings.datadir.to_string_lossy().replace("{id}", app_id);
        resolved.settings.datadir = PathBuf::from(datadir);
        // Invalid values have been left out; the remaining ones must not conflict.
        faults.extend(check::together(&resolved));
        if faults.is_empty() { Ok(resolved) } else { Err(faults.into()) }
    }
}

impl fmt::Debug for Layers {
    /// Formats names and origins only, because a value may be a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (in_file, _) = self.file.as_ref().map_or((&[][..], &[][..]), file::FileLayer::parts);
        let given = self.builder.iter().chain(in_file).chain(&self.environment).chain(&self.command_line);
        f.debug_map().entries(given.map(|given| (&given.name, &given.origin))).finish()
    }
}

fn apply(settings: &mut Settings, given: &Given) -> Result<(), String> {
    let Given { name, value, origin } = given;
    if let Some(property) = name.strip_prefix("kafka.") {
        let spell = |property: &str| match origin {
            Origin::Environment(_) => format!("FAUST_KAFKA_{}", property.replace('.', "_").to_ascii_uppercase()),
            _ => format!("kafka.{property}"),
        };
        native::check(property, value, spell).map_err(|why| format!("setting `{name}` ({origin}): {why}"))?;
        settings.kafka.insert(property.to_owned(), value.clone());
        return Ok(());
    }
    let Some(def) = Settings::table().iter().find(|def| def.name == name) else {
        let advice = match suggest::closest(name, Settings::table().iter().map(|def| def.name)) {
            Some(known) if matches!(origin, Origin::Environment(_)) => {
                format!("did you mean FAUST_{}?", known.to_ascii_uppercase())
            }
            Some(known) => format!("did you mean `{known}`?"),
            None => "the command `settings` lists them all".to_owned(),
        };
        return Err(format!("unknown setting `{name}` ({origin}): {advice}"));
    };
    (def.set)(settings, value).map_err(|why| {
        let why = if is_secret(name) { "bad value".to_owned() } else { why };
        format!("setting `{name}` ({origin}): {why}; expected {}, such as `{}`", def.form, def.example)
    })
}

/// Returns the setting of a variable: `FAUST_TOPIC_PARTITIONS` is `topic_partitions`, and `FAUST_KAFKA_FETCH_MIN_BYTES`
/// is `kafka.fetch.min.bytes`.
fn setting_of(variable: &str) -> String {
    let name = variable.trim_start_matches("FAUST_").to_ascii_lowercase();
    match name.strip_prefix("kafka_") {
        Some(property) => format!("kafka.{}", property.replace('_', ".")),
        None => name,
    }
}
