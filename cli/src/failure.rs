//! Why a command did not succeed, and what its user can do next.

use std::fmt;

use dromos_serve::{EXIT_CONFIG, SettingsError};

/// Why a command did not succeed. Holds no secret.
#[derive(Debug)]
pub struct Failure {
    message: String,
    next: Option<String>,
    exit: u8,
}

impl Failure {
    /// A failure in one clear line.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            next: None,
            exit: 1,
        }
    }

    /// What to do next, in a line.
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// The fault is in the configuration: the exit code is `EX_CONFIG`.
    pub fn configuration(mut self) -> Self {
        self.exit = EXIT_CONFIG;
        self
    }

    /// What was to be checked can't be read: the exit code is 2, where 1 would
    /// say that it was read and is not good.
    pub fn unreadable(mut self) -> Self {
        self.exit = 2;
        self
    }

    /// The same failure, with what was being done put before it.
    pub fn during(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        self.exit
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        match &self.next {
            Some(next) => write!(f, "\n next: {next}"),
            None => Ok(()),
        }
    }
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        Self::new(error.to_string()).configuration()
    }
}
