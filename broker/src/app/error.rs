//! Why a broker can't start.

use dromos_serve::{ReflectionError, SettingsError};

use crate::vault::kms::BadSetting;

/// Why a broker can't start: one line, with what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The database.
    #[error("DATABASE_URL: {0}")]
    Database(String),
    /// An address.
    #[error("{0} can't be bound: {1}")]
    Bind(&'static str, std::io::Error),
    /// Where a command writes to.
    #[error("the output can't be written: {0}")]
    Output(std::io::Error),
    /// The contract that this program was built with.
    #[error("the built-in contract can't be served: {0}")]
    Contract(String),
}

impl StartError {
    /// Whether the configuration is at fault: exit code 78.
    #[must_use]
    pub fn is_config(&self) -> bool {
        matches!(self, Self::Settings(_))
    }
}

impl From<BadSetting> for StartError {
    fn from(bad: BadSetting) -> Self {
        Self::Settings(SettingsError::malformed(bad.name, bad.advice))
    }
}

impl From<ReflectionError> for StartError {
    fn from(error: ReflectionError) -> Self {
        Self::Contract(error.to_string())
    }
}
