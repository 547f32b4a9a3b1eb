//! What can be wrong with a strategy's settings or with credentials. Neither
//! error ever holds a credential's value.

/// A fault in `strategy`, found before it is stored or used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {message}")]
pub struct ConfigError {
    field: String,
    kind: ConfigErrorKind,
    message: String,
}

/// What is wrong with a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigErrorKind {
    /// No strategy has this type.
    UnknownType,
    /// The type knows no such setting.
    UnknownField,
    /// The setting has the wrong JSON type.
    WrongType,
    /// The setting's value can't work.
    InvalidValue,
}

impl ConfigErrorKind {
    /// The word that the golden vectors use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownType => "UNKNOWN_TYPE",
            Self::UnknownField => "UNKNOWN_FIELD",
            Self::WrongType => "WRONG_TYPE",
            Self::InvalidValue => "INVALID_VALUE",
        }
    }
}

impl ConfigError {
    pub(crate) fn new(
        field: impl Into<String>,
        kind: ConfigErrorKind,
        message: impl Into<String>,
    ) -> Self {
        Self {
            field: field.into(),
            kind,
            message: message.into(),
        }
    }

    /// The field at fault, seen from `strategy`: `type` or `config.<name>`.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// What is wrong with it.
    pub fn kind(&self) -> ConfigErrorKind {
        self.kind
    }

    /// What is wrong with it, in words that follow the field's name.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// A fault in `credentials`, found before any byte is sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {}", .kind.message())]
pub struct ApplyError {
    field: String,
    kind: ApplyErrorKind,
}

/// What is wrong with a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ApplyErrorKind {
    /// It is absent or null.
    Missing,
    /// It is the empty string.
    Empty,
    /// It is not a string.
    WrongType,
    /// It holds a character, or surrounding space, that the header can't carry.
    Invalid,
    /// gRPC metadata can't carry it under this name.
    NotMetadata,
}

impl ApplyErrorKind {
    /// The word that the golden vectors use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "MISSING_CREDENTIAL",
            Self::Empty => "EMPTY_CREDENTIAL",
            Self::WrongType => "WRONG_CREDENTIAL_TYPE",
            Self::Invalid => "INVALID_CREDENTIAL",
            Self::NotMetadata => "NOT_METADATA",
        }
    }

    fn message(self) -> &'static str {
        match self {
            Self::Missing => "is missing",
            Self::Empty => "is empty",
            Self::WrongType => "is not a string",
            Self::Invalid => "holds characters that a header can't carry",
            Self::NotMetadata => "names a header that gRPC metadata can't carry",
        }
    }
}

impl ApplyError {
    pub(crate) fn new(field: impl Into<String>, kind: ApplyErrorKind) -> Self {
        Self {
            field: field.into(),
            kind,
        }
    }

    /// The field at fault: `credentials.<name>`, or `config.header_name` where
    /// the header can't be metadata.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// What is wrong with it.
    pub fn kind(&self) -> ApplyErrorKind {
        self.kind
    }
}
