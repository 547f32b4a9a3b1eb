//! A broker's configuration, and how it is read from settings.

use std::{num::NonZeroU32, path::PathBuf, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use dromos_serve::{Cidr, Settings, SettingsError, TlsIdentity};
use secrecy::{ExposeSecret, SecretBox, SecretString};

use crate::{
    domain::{access::KeyHash, ambient::Ambient, return_url::parse_origin},
    flow::audit::RecordAudit,
};

const MAKE_KEY: &str = "32 random bytes in base64; make them with `openssl rand -base64 32`";
const MAKE_API_KEY: &str = "comma-separated keys of 16 to 512 visible ASCII characters, one for each gateway; make one with `openssl rand -hex 32`";

/// A broker's configuration.
pub struct Config {
    /// The settings it was made from; key providers read theirs here.
    pub(super) settings: Settings,
    pub(super) database_url: String,
    /// The journal's folder.
    pub(super) journal: PathBuf,
    pub(super) base_url: String,
    pub(super) listen: String,
    pub(super) public_listen: String,
    pub(super) service_keys: Vec<KeyHash>,
    pub(super) state_key: SecretBox<[u8; 32]>,
    pub(super) bootstrap_admin_key: Option<SecretString>,
    /// May hold a password.
    pub(super) redis_url: Option<SecretString>,
    pub(super) rate_limit_per_key: Option<NonZeroU32>,
    pub(super) allowed_return_urls: Vec<String>,
    pub(super) allowed_cidrs: Vec<Cidr>,
    pub(super) tls: Option<TlsIdentity>,
    pub(super) refresh_rate: u32,
    /// Whether providers may be on http and on private networks.
    pub allow_private_networks: bool,
    /// Development: loopback return URLs are allowed.
    pub development: bool,
    /// Whether it refreshes, and replays its journal, by itself; a test with a
    /// clock of its own calls the rounds.
    pub background: bool,
    /// Whether migrations are applied at start; SQLite's always are.
    pub migrate: bool,
    /// How long a start waits for its database.
    pub database_wait: Duration,
    /// How long an answer of Redis may take before it counts as away.
    pub redis_patience: Duration,
    /// A socket that was bound before, instead of LISTEN.
    pub internal_listener: Option<std::net::TcpListener>,
    /// A socket that was bound before, instead of PUBLIC_LISTEN.
    pub public_listener: Option<std::net::TcpListener>,
    /// The clock and the randomness.
    pub ambient: Ambient,
    /// What records the audit of GetToken in the audit writer's place: a
    /// benchmark's own. No setting leads here.
    pub audit: Option<Arc<dyn RecordAudit>>,
}

impl Config {
    /// Reads the settings of `protocol`: DATABASE_URL (absent: SQLite in
    /// DATA_DIR), DATA_DIR, BASE_URL, LISTEN, PUBLIC_LISTEN, API_KEYS or API_KEY,
    /// STATE_KEY, KEY_PROVIDER and its own, BOOTSTRAP_ADMIN_KEY,
    /// REDIS_URL, RATE_LIMIT_PER_KEY,
    /// ALLOWED_RETURN_URLS, ALLOWED_CIDRS, ALLOW_PRIVATE_NETWORKS, TLS_*.
    ///
    /// # Errors
    /// The first setting that is missing or malformed.
    pub fn from_settings(settings: &Settings) -> Result<Self, SettingsError> {
        let mut keys = settings.list("API_KEYS");
        keys.extend(settings.optional("API_KEY"));
        if keys.is_empty() {
            return Err(SettingsError::missing("API_KEYS", MAKE_API_KEY));
        }
        if keys.iter().any(|key| !is_key(key, 16, 512)) {
            return Err(SettingsError::malformed("API_KEYS", MAKE_API_KEY));
        }
        let base_url = settings.required(
            "BASE_URL",
            "where browsers reach the public listener, as in https://auth.example.com",
        )?;
        let base_url = base_url.trim_end_matches('/').to_owned();
        if parse_origin(&base_url).is_none() {
            return Err(SettingsError::malformed(
                "BASE_URL",
                "an http or https URL without a path",
            ));
        }
        let allowed_return_urls = settings.list("ALLOWED_RETURN_URLS");
        if allowed_return_urls
            .iter()
            .any(|entry| parse_origin(entry).is_none())
        {
            return Err(SettingsError::malformed(
                "ALLOWED_RETURN_URLS",
                "comma-separated origins: scheme, host and port, as in https://app.example.com",
            ));
        }
        let bootstrap_admin_key = settings.optional("BOOTSTRAP_ADMIN_KEY");
        if bootstrap_admin_key
            .as_deref()
            .is_some_and(|key| !is_key(key, 32, 256))
        {
            return Err(SettingsError::malformed(
                "BOOTSTRAP_ADMIN_KEY",
                "32 to 256 visible ASCII characters; make one with `openssl rand -hex 32`",
            ));
        }
        let database_url = database_url(settings)?;
        Ok(Self {
            journal: journal(settings, &database_url)?,
            database_url,
            base_url,
            listen: settings
                .optional("LISTEN")
                .unwrap_or_else(|| "0.0.0.0:8080".to_owned()),
            public_listen: settings
                .optional("PUBLIC_LISTEN")
                .unwrap_or_else(|| "0.0.0.0:8081".to_owned()),
            service_keys: keys.iter().map(|key| KeyHash::of(key)).collect(),
            state_key: state_key(settings)?,
            bootstrap_admin_key: bootstrap_admin_key.map(SecretString::from),
            redis_url: settings.optional("REDIS_URL").map(SecretString::from),
            rate_limit_per_key: settings.parsed(
                "RATE_LIMIT_PER_KEY",
                "requests a second for each API key, 1 or more; leave it out for no limit",
            )?,
            allowed_return_urls,
            allowed_cidrs: settings.parsed_list(
                "ALLOWED_CIDRS",
                "comma-separated networks, as in 10.0.0.0/8,fd00::/8",
            )?,
            tls: TlsIdentity::from_settings(settings)?,
            refresh_rate: refresh_rate(settings)?,
            allow_private_networks: settings.flag("ALLOW_PRIVATE_NETWORKS")?,
            development: false,
            background: true,
            migrate: false,
            database_wait: super::DATABASE_WAIT,
            redis_patience: crate::cache::link::PATIENCE,
            internal_listener: None,
            public_listener: None,
            audit: None,
            ambient: Ambient::system(),
            settings: settings.clone(),
        })
    }

    pub(super) fn is_sqlite(&self) -> bool {
        is_sqlite(&self.database_url)
    }
}

fn is_sqlite(database_url: &str) -> bool {
    !database_url.starts_with("postgres")
}

/// `journal` in DATA_DIR, or beside the SQLite file.
fn journal(settings: &Settings, database_url: &str) -> Result<PathBuf, SettingsError> {
    let folder = match settings.optional("DATA_DIR") {
        Some(dir) => PathBuf::from(dir),
        None if is_sqlite(database_url) => {
            let file = PathBuf::from(database_url);
            file.parent().map(PathBuf::from).unwrap_or_default()
        }
        None => {
            let advice = "a folder of this broker's own on a disk that outlives it, for the journal of refreshed tokens";
            return Err(SettingsError::missing("DATA_DIR", advice));
        }
    };
    Ok(folder.join("journal"))
}

/// How many refreshes per second the broker by itself sends to one provider.
fn refresh_rate(settings: &Settings) -> Result<u32, SettingsError> {
    let Some(text) = settings.optional("REFRESH_RATE_PER_PROVIDER") else {
        return Ok(100);
    };
    let rate = text.parse().ok().filter(|rate| (1..=10_000).contains(rate));
    rate.ok_or_else(|| {
        SettingsError::malformed(
            "REFRESH_RATE_PER_PROVIDER",
            "refreshes per second, 1 to 10000; 100 where it is absent",
        )
    })
}

fn is_key(text: &str, min: usize, max: usize) -> bool {
    (min..=max).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// DATABASE_URL, or the SQLite file in DATA_DIR.
///
/// # Errors
/// Neither is set, the URL can't be used, or the folder can't be made.
pub fn database_url(settings: &Settings) -> Result<String, SettingsError> {
    if let Some(url) = settings.optional("DATABASE_URL") {
        crate::store::check_url(&url)
            .map_err(|how| SettingsError::malformed("DATABASE_URL", how))?;
        return Ok(url);
    }
    let advice = "the folder of the SQLite database; or set DATABASE_URL to postgres://…";
    let dir = PathBuf::from(settings.required("DATA_DIR", advice)?);
    std::fs::create_dir_all(&dir).map_err(|_| {
        SettingsError::malformed("DATA_DIR", "a folder that can be made and written to")
    })?;
    Ok(dir.join("dromos.db").display().to_string())
}

fn state_key(settings: &Settings) -> Result<SecretBox<[u8; 32]>, SettingsError> {
    let text = SecretString::from(settings.required("STATE_KEY", MAKE_KEY)?);
    let bytes = STANDARD.decode(text.expose_secret()).unwrap_or_default();
    let key: [u8; 32] = bytes
        .try_into()
        .map_err(|_| SettingsError::malformed("STATE_KEY", MAKE_KEY))?;
    Ok(SecretBox::new(Box::new(key)))
}
