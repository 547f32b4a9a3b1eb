//! What an audit is verified with: the key-encryption key, or audit keys that
//! the broker gave out.

use std::path::{Path, PathBuf};

use dromos_audit::{Kek, Key, WrappedKey};

use crate::failure::Failure;

/// Where `dromos up` keeps its key, unless told otherwise.
const KEY_FILE: &str = ".dromos/encryption.key";

/// Whichever keys there are.
pub enum Keys {
    /// Key-encryption keys.
    Encryption(Vec<Kek>),
    /// Audit keys.
    Audit(Vec<Key>),
}

impl Keys {
    /// The keys of the file that was named, or else of the settings.
    ///
    /// # Errors
    ///
    /// There is none, or one can't be read.
    pub fn read(audit_keys: Option<&Path>, key_file: Option<PathBuf>) -> Result<Self, Failure> {
        let Some(path) = audit_keys else {
            return encryption_keys(key_file).map(Self::Encryption);
        };
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
        let keys = dromos_audit::read_keys(&text).ok_or_else(|| {
            Failure::new(format!("{} holds no audit keys", path.display()))
                .next("make it with `dromos-broker audit keys`")
                .unreadable()
        })?;
        Ok(Self::Audit(keys))
    }

    /// An audit key of the export.
    ///
    /// # Errors
    ///
    /// These keys don't open it, in words.
    pub fn unwrap(&self, wrapped: &WrappedKey) -> Result<Key, String> {
        match self {
            Self::Encryption(keys) => Kek::unwrap(keys, wrapped).map_err(|error| {
                format!(
                    "{error}; give the key that the broker has, by --key-file or ENCRYPTION_KEY, \
                     or --audit-keys from `dromos-broker audit keys`"
                )
            }),
            Self::Audit(keys) => {
                let found = keys.iter().find(|key| key.id() == wrapped.key_id).cloned();
                found.ok_or_else(|| {
                    format!(
                        "the audit key {} is not in the file of --audit-keys; \
                         make it anew with `dromos-broker audit keys`",
                        wrapped.key_id
                    )
                })
            }
        }
    }
}

/// A file that can't be read.
pub fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("{} can't be read: {error}", path.display())).unreadable()
}

/// The key-encryption keys: of the file, or else of the settings. A file may
/// hold those before the current one too, a line each.
fn encryption_keys(file: Option<PathBuf>) -> Result<Vec<Kek>, Failure> {
    let setting = |name| {
        std::env::var(name)
            .ok()
            .filter(|text| !text.trim().is_empty())
    };
    let file = file.or_else(|| match setting("ENCRYPTION_KEY") {
        Some(_) => None,
        None => setting("ENCRYPTION_KEY_FILE")
            .map(PathBuf::from)
            .or_else(|| Path::new(KEY_FILE).exists().then(|| KEY_FILE.into())),
    });
    let mut texts: Vec<(String, String)> = match file {
        Some(path) => {
            let text = std::fs::read_to_string(&path).map_err(|error| unreadable(&path, &error))?;
            let lines = text.lines().filter(|line| !line.trim().is_empty());
            lines
                .map(|line| (path.display().to_string(), line.to_owned()))
                .collect()
        }
        None => setting("ENCRYPTION_KEY")
            .map(|text| ("ENCRYPTION_KEY".to_owned(), text))
            .into_iter()
            .collect(),
    };
    if texts.is_empty() {
        return Err(
            Failure::new("there is no key-encryption key to verify with")
                .next("name its file with --key-file, or set ENCRYPTION_KEY; where it is in a KMS, use --audit-keys")
                .unreadable(),
        );
    }
    let previous = setting("ENCRYPTION_KEY_PREVIOUS");
    texts.extend(previous.map(|text| ("ENCRYPTION_KEY_PREVIOUS".to_owned(), text)));
    texts
        .iter()
        .map(|(name, text)| {
            Kek::parse(text).ok_or_else(|| {
                Failure::new(format!("{name} is no key: it must be 32 bytes in base64"))
                    .unreadable()
            })
        })
        .collect()
}
