//! Key provider `file`: base64 keys in ENCRYPTION_KEY_FILE, one a line, readable
//! by its owner only. The first line's key wraps, those of the others unwrap
//! what was wrapped before. The file is made at first start, and never again:
//! once the database holds data keys, a missing file means a lost mount, not a
//! new beginning.

use std::{
    fs,
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
    sync::Arc,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use super::{BadSetting, KeyProvider, KeySource, local};

const NAME: &str = "ENCRYPTION_KEY_FILE";

fn bad(advice: impl Into<String>) -> BadSetting {
    BadSetting {
        name: NAME,
        advice: advice.into(),
    }
}

pub(super) fn make(source: &KeySource<'_>) -> Result<Arc<dyn KeyProvider>, BadSetting> {
    let path = (source.setting)(NAME).ok_or_else(|| bad("must be the path of the key file"))?;
    let path = Path::new(&path);
    if !path.exists() {
        if source.has_data_keys {
            return Err(bad(
                "the file is missing, and the database is encrypted with its key; restore the file",
            ));
        }
        create(path, source)
            .map_err(|error| bad(format!("the file can't be made: {}", error.kind())))?;
    }
    let mode = fs::metadata(path)
        .map_err(|error| bad(format!("the file can't be read: {}", error.kind())))?;
    if mode.permissions().mode() & 0o077 != 0 {
        return Err(bad("the file is open to others; run `chmod 600` on it"));
    }
    let text = fs::read_to_string(path)
        .map_err(|error| bad(format!("the file can't be read: {}", error.kind())))?;
    let text = Zeroizing::new(text);
    let keys: Option<Vec<local::Kek>> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(local::parse)
        .collect();
    match keys.as_deref() {
        Some([current, previous @ ..]) => Ok(Arc::new(local::LocalKeys::new(
            current,
            previous,
            source.ambient,
        ))),
        _ => Err(bad(
            "every line of the file must hold 32 random bytes in base64, as `openssl rand -base64 32` prints them, the current key first",
        )),
    }
}

fn create(path: &Path, source: &KeySource<'_>) -> std::io::Result<()> {
    let key: Zeroizing<[u8; 32]> = Zeroizing::new(source.ambient.bytes());
    let text = Zeroizing::new(STANDARD.encode(&key[..]) + "\n");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    // Without this the name may be lost although the content is not.
    fs::File::open(
        path.parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new(".")),
    )?
    .sync_all()
}
