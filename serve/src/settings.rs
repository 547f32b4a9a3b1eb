//! Settings: environment variables over an optional TOML file.
//!
//! The same names work in both places (`LISTEN=…`, `listen = "…"`). Values are
//! never shown: neither an error nor `Debug` holds one.

use std::{collections::BTreeMap, fmt, path::Path, str::FromStr};

use toml::Value;

/// The exit code of a service that can't start for its settings (`EX_CONFIG`
/// of sysexits.h).
pub const EXIT_CONFIG: u8 = 78;

/// Why a service can't start. Displays as exactly one line, which names the
/// setting and says how to make a good one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// A required setting is absent or empty.
    #[error("{name} is missing: {how}")]
    Missing {
        /// The setting's name.
        name: String,
        /// How to make a good one.
        how: String,
    },
    /// A setting has a value that can't be used.
    #[error("{name} is malformed: {how}")]
    Malformed {
        /// The setting's name.
        name: String,
        /// How to make a good one.
        how: String,
    },
    /// The configuration file can't be read.
    #[error("the configuration file {path} can't be used: {problem}")]
    File {
        /// The file.
        path: String,
        /// What is wrong with it, without its content.
        problem: String,
    },
}

impl SettingsError {
    /// The setting `name` is absent; `how` says how to make one.
    pub fn missing(name: impl Into<String>, how: impl Into<String>) -> Self {
        Self::Missing {
            name: name.into(),
            how: how.into(),
        }
    }

    /// The setting `name` can't be used; `how` says how to make a good one.
    pub fn malformed(name: impl Into<String>, how: impl Into<String>) -> Self {
        Self::Malformed {
            name: name.into(),
            how: how.into(),
        }
    }
}

/// Where settings are read from. An empty value counts as absent.
#[derive(Clone)]
pub struct Settings {
    environment: Environment,
    file: BTreeMap<String, String>,
}

#[derive(Clone)]
enum Environment {
    Process,
    Given(BTreeMap<String, String>),
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").finish_non_exhaustive()
    }
}

impl Settings {
    /// The process's environment over `file`, where one is given.
    ///
    /// # Errors
    ///
    /// The file can't be read, or is not a flat TOML table.
    pub fn load(file: Option<&Path>) -> Result<Self, SettingsError> {
        let file = file.map(read_file).transpose()?.unwrap_or_default();
        Ok(Self {
            environment: Environment::Process,
            file,
        })
    }

    /// Exactly these settings, for tests and for services run in-process.
    pub fn from_map<K: Into<String>, V: Into<String>>(
        map: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let given = map
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        Self {
            environment: Environment::Given(given),
            file: BTreeMap::new(),
        }
    }

    /// These settings over a TOML text, as [`Settings::load`] reads it.
    ///
    /// # Errors
    ///
    /// The text is not a flat TOML table.
    pub fn with_toml(mut self, text: &str) -> Result<Self, SettingsError> {
        self.file = parse_file(text, "(given text)")?;
        Ok(self)
    }

    /// The setting `name`, without surrounding white space, if there is one.
    pub fn optional(&self, name: &str) -> Option<String> {
        let environment = match &self.environment {
            Environment::Process => std::env::var(name).ok(),
            Environment::Given(given) => given.get(name).cloned(),
        };
        [environment, self.file.get(name).cloned()]
            .into_iter()
            .flatten()
            .map(|value| value.trim().to_owned())
            .find(|value| !value.is_empty())
    }

    /// The setting `name`; `how` tells in the error how to make one.
    ///
    /// # Errors
    ///
    /// It is absent.
    pub fn required(&self, name: &str, how: &str) -> Result<String, SettingsError> {
        self.optional(name)
            .ok_or_else(|| SettingsError::missing(name, how))
    }

    /// The setting `name` as a `T`, if there is one; `how` tells in the error
    /// how to make a good one.
    ///
    /// # Errors
    ///
    /// It is no `T`.
    pub fn parsed<T: FromStr>(&self, name: &str, how: &str) -> Result<Option<T>, SettingsError> {
        self.optional(name)
            .map(|value| {
                value
                    .parse()
                    .map_err(|_| SettingsError::malformed(name, how))
            })
            .transpose()
    }

    /// The setting `name` as a list: comma-separated, empty items left out.
    pub fn list(&self, name: &str) -> Vec<String> {
        let value = self.optional(name).unwrap_or_default();
        let items = value
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty());
        items.map(str::to_owned).collect()
    }

    /// The setting `name` as a list of `T`; `how` as in [`Settings::parsed`].
    ///
    /// # Errors
    ///
    /// An item is no `T`.
    pub fn parsed_list<T: FromStr>(&self, name: &str, how: &str) -> Result<Vec<T>, SettingsError> {
        let items = self.list(name).into_iter();
        items
            .map(|item| {
                item.parse()
                    .map_err(|_| SettingsError::malformed(name, how))
            })
            .collect()
    }

    /// The setting `name` as yes or no; absent means no.
    ///
    /// # Errors
    ///
    /// It is neither of `true`, `1`, `yes`, `on`, `false`, `0`, `no`, `off`.
    pub fn flag(&self, name: &str) -> Result<bool, SettingsError> {
        match self
            .optional(name)
            .map(|value| value.to_ascii_lowercase())
            .as_deref()
        {
            None | Some("false" | "0" | "no" | "off") => Ok(false),
            Some("true" | "1" | "yes" | "on") => Ok(true),
            Some(_) => Err(SettingsError::malformed(name, "true or false")),
        }
    }
}

fn read_file(path: &Path) -> Result<BTreeMap<String, String>, SettingsError> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| SettingsError::File {
        path: shown.clone(),
        problem: error.kind().to_string(),
    })?;
    parse_file(&text, &shown)
}

fn parse_file(text: &str, path: &str) -> Result<BTreeMap<String, String>, SettingsError> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        // The parser's own message quotes the line, and with it a secret.
        let start = error.span().map_or(0, |span| span.start.min(text.len()));
        let line = 1 + text.as_bytes()[..start]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        SettingsError::File {
            path: path.to_owned(),
            problem: format!("line {line} is not valid TOML"),
        }
    })?;
    table
        .into_iter()
        .map(|(name, value)| {
            let name = name.to_ascii_uppercase();
            let how = "a string, a number, true or false, or a list of strings";
            let value = flat(&value).ok_or_else(|| SettingsError::malformed(&name, how))?;
            Ok((name, value))
        })
        .collect()
}

fn flat(value: &Value) -> Option<String> {
    Some(match value {
        Value::String(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(flag) => flag.to_string(),
        Value::Datetime(time) => time.to_string(),
        Value::Array(items) => items
            .iter()
            .map(flat)
            .collect::<Option<Vec<_>>>()?
            .join(","),
        Value::Table(_) => return None,
    })
}
