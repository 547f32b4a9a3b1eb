//! The keys of a development installation: made once, kept in its data
//! directory, and readable by its owner only.

use std::{
    fs,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use ring::rand::{SecureRandom, SystemRandom};

use crate::failure::Failure;

/// The keys. They have no `Debug`.
pub struct Keys {
    /// STATE_KEY of the broker: 32 bytes in base64.
    pub state: String,
    /// The service key that the gateway shows to the broker.
    pub service: String,
    /// The API key with all scopes.
    pub admin: String,
    /// Where the admin key is.
    pub admin_file: PathBuf,
}

impl Keys {
    /// The keys in `data_dir`; those that are missing are made. The broker's
    /// own key provider makes `encryption.key`.
    ///
    /// # Errors
    ///
    /// A key file can't be used, is empty, or is open to others.
    pub fn open(data_dir: &Path) -> Result<Self, Failure> {
        let admin_file = data_dir.join("admin.key");
        Ok(Self {
            state: load_or_make(&data_dir.join("state.key"), |random| {
                STANDARD.encode(random)
            })?,
            service: load_or_make(&data_dir.join("service.key"), |random| {
                URL_SAFE_NO_PAD.encode(random)
            })?,
            admin: load_or_make(&admin_file, |random| {
                format!("dromos_{}", URL_SAFE_NO_PAD.encode(random))
            })?,
            admin_file,
        })
    }
}

fn load_or_make(path: &Path, text: impl Fn(&[u8; 32]) -> String) -> Result<String, Failure> {
    let shown = path.display();
    let unusable = |error: std::io::Error| {
        Failure::new(format!("the key file {shown} can't be used: {error}")).configuration()
    };
    match create(path, &text) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(unusable(error)),
    }
    if is_open_to_others(path).map_err(unusable)? {
        return Err(
            Failure::new(format!("the key file {shown} is open to others"))
                .next(format!("close it: chmod 600 {shown}"))
                .configuration(),
        );
    }
    let key = fs::read_to_string(path).map_err(unusable)?;
    match key.trim() {
        "" => Err(Failure::new(format!("the key file {shown} is empty"))
            .next("put the key back; if nothing was made with it yet, remove the file")
            .configuration()),
        key => Ok(key.to_owned()),
    }
}

/// Makes a key file; fails where there is one.
fn create(path: &Path, text: impl Fn(&[u8; 32]) -> String) -> std::io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    let written = random()
        .and_then(|random| writeln!(file, "{}", text(&random)))
        .and_then(|()| file.sync_all());
    // A file without a key would stand in the way of the next start.
    written.inspect_err(|_| drop(fs::remove_file(path)))
}

#[expect(
    clippy::disallowed_methods,
    reason = "keys are made here and nowhere else in this crate"
)]
fn random() -> std::io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| std::io::Error::other("the machine gives no random bytes"))?;
    Ok(bytes)
}

#[cfg(unix)]
fn is_open_to_others(path: &Path) -> std::io::Result<bool> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::metadata(path)?.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn is_open_to_others(_: &Path) -> std::io::Result<bool> {
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(data_dir: &Path) -> Result<Keys, String> {
        Keys::open(data_dir).map_err(|failure| failure.to_string())
    }

    #[test]
    fn keys_are_made_once_and_differ() {
        let place = tempfile::tempdir().unwrap();
        let first = open(place.path()).unwrap();
        let second = open(place.path()).unwrap();
        assert_eq!(first.admin, second.admin);
        assert_eq!(first.service, second.service);
        assert_eq!(first.state, second.state);
        assert_ne!(first.service, first.state);
        assert_eq!(STANDARD.decode(&first.state).unwrap().len(), 32);
        assert_eq!(first.admin.len(), "dromos_".len() + 43);
    }

    #[test]
    fn two_installations_share_no_key() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        assert_ne!(
            open(one.path()).unwrap().admin,
            open(other.path()).unwrap().admin
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let place = tempfile::tempdir().unwrap();
        let keys = open(place.path()).unwrap();
        let open_to_group = fs::Permissions::from_mode(0o640);
        fs::set_permissions(&keys.admin_file, open_to_group).unwrap();
        let failure = open(place.path()).err().unwrap();
        assert!(failure.contains("chmod 600"), "{failure}");
        assert!(!failure.contains(&keys.admin), "{failure}");
    }

    #[test]
    fn an_empty_key_file_is_not_written_over() {
        let place = tempfile::tempdir().unwrap();
        let keys = open(place.path()).unwrap();
        fs::write(&keys.admin_file, "\n").unwrap();
        let failure = open(place.path()).err().unwrap();
        assert!(failure.contains("is empty"), "{failure}");
        assert_eq!(fs::read_to_string(&keys.admin_file).unwrap(), "\n");
    }
}
