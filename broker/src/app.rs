//! The wiring: the only place that names concrete parts.

use std::{future::Future, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use dromos_serve::{
    Cidr, GrpcApp, ListenOptions, ReflectionError, Settings, SettingsError, TlsIdentity, observe,
};
use secrecy::{ExposeSecret, SecretBox, SecretString};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;
use transcode::Transcoder;

use crate::{
    domain::{
        access::KeyHash,
        ambient::Ambient,
        id::WorkspaceId,
        return_url::{ReturnUrlPolicy, parse_origin},
        state::StateKey,
        workspace::Workspace,
    },
    egress::{Egress, discovery::Discovery, guard::Guard},
    flow::{self, Core},
    http, rpc,
    store::{self, Store},
    vault::{
        Vault,
        kms::{self, BadSetting, KeySource},
    },
};

/// How long a start waits for its database.
const DATABASE_WAIT: Duration = Duration::from_secs(30);
/// How long a stop waits for exchanges that were sent.
const DRAIN: Duration = Duration::from_secs(60);

const MAKE_KEY: &str = "32 random bytes in base64; make them with `openssl rand -base64 32`";
const MAKE_API_KEY: &str = "comma-separated keys of 16 to 512 visible ASCII characters, one for each gateway; make one with `openssl rand -hex 32`";

/// A broker's configuration.
pub struct Config {
    /// The settings it was made from; key providers read theirs here.
    settings: Settings,
    database_url: String,
    base_url: String,
    listen: String,
    public_listen: String,
    service_keys: Vec<KeyHash>,
    state_key: SecretBox<[u8; 32]>,
    bootstrap_admin_key: Option<SecretString>,
    allowed_return_urls: Vec<String>,
    allowed_cidrs: Vec<Cidr>,
    tls: Option<TlsIdentity>,
    /// Whether providers may be on http and on private networks.
    pub allow_private_networks: bool,
    /// Development: loopback return URLs are allowed.
    pub development: bool,
    /// Whether migrations are applied at start; SQLite's always are.
    pub migrate: bool,
    /// A socket that was bound before, instead of LISTEN.
    pub internal_listener: Option<std::net::TcpListener>,
    /// A socket that was bound before, instead of PUBLIC_LISTEN.
    pub public_listener: Option<std::net::TcpListener>,
    /// The clock and the randomness.
    pub ambient: Ambient,
}

impl Config {
    /// Reads the settings of `protocol`: DATABASE_URL (absent: SQLite in
    /// DATA_DIR), BASE_URL, LISTEN, PUBLIC_LISTEN, API_KEYS or API_KEY,
    /// STATE_KEY, KEY_PROVIDER and its own, BOOTSTRAP_ADMIN_KEY,
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
        Ok(Self {
            database_url: database_url(settings)?,
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
            allowed_return_urls,
            allowed_cidrs: settings.parsed_list(
                "ALLOWED_CIDRS",
                "comma-separated networks, as in 10.0.0.0/8,fd00::/8",
            )?,
            tls: TlsIdentity::from_settings(settings)?,
            allow_private_networks: settings.flag("ALLOW_PRIVATE_NETWORKS")?,
            development: false,
            migrate: false,
            internal_listener: None,
            public_listener: None,
            ambient: Ambient::system(),
            settings: settings.clone(),
        })
    }

    fn is_sqlite(&self) -> bool {
        !self.database_url.starts_with("postgres")
    }
}

fn is_key(text: &str, min: usize, max: usize) -> bool {
    (min..=max).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// DATABASE_URL, or the SQLite file in DATA_DIR.
///
/// # Errors
/// Neither is set, or the folder can't be made.
pub fn database_url(settings: &Settings) -> Result<String, SettingsError> {
    if let Some(url) = settings.optional("DATABASE_URL") {
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

/// Applies pending migrations; answers how many there were.
///
/// # Errors
/// The database can't be reached or migrated.
pub async fn migrate(database_url: &str) -> Result<usize, StartError> {
    let store = connect(database_url).await?;
    store
        .migrate()
        .await
        .map_err(|error| StartError::Database(reason(&error)))
}

fn reason(error: &crate::domain::error::Error) -> String {
    let cause = error
        .cause
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();
    // A URL may hold a password, so nothing of it is repeated.
    format!(
        "the database can't be used ({})",
        cause.lines().next().unwrap_or("no details").trim()
    )
}

async fn connect(url: &str) -> Result<Arc<dyn Store>, StartError> {
    let give_up = tokio::time::Instant::now() + DATABASE_WAIT;
    loop {
        match store::open(url).await {
            Ok(store) => return Ok(store),
            Err(error) if tokio::time::Instant::now() >= give_up => {
                let waited = DATABASE_WAIT.as_secs();
                return Err(StartError::Database(format!(
                    "{}, and {waited} s of waiting did not help",
                    reason(&error)
                )));
            }
            Err(error) => {
                tracing::warn!(cause = ?error.cause, "the database can't be reached yet");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    }
}

/// A broker that listens, and serves once it is run.
pub struct Broker {
    core: Arc<Core>,
    internal: (TcpListener, axum::Router, ListenOptions),
    public: (TcpListener, axum::Router),
}

impl Broker {
    /// Opens the database and the key provider, and listens.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn bind(mut config: Config) -> Result<Self, StartError> {
        // Somebody else in the process may have installed it before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let store = connect(&config.database_url).await?;
        let database = |error| StartError::Database(reason(&error));
        if config.migrate || config.is_sqlite() {
            store.migrate().await.map_err(database)?;
        } else if !store.is_migrated().await.map_err(database)? {
            return Err(StartError::Database(
                "its schema is not up to date; run `dromos-broker migrate`".to_owned(),
            ));
        }
        let core = Arc::new(core(&config, store).await?);
        if let Some(key) = &config.bootstrap_admin_key {
            flow::access::bootstrap(&core, key)
                .await
                .map_err(database)?;
        }

        let internal_listener =
            listener("LISTEN", config.internal_listener.take(), &config.listen).await?;
        let public_listener = listener(
            "PUBLIC_LISTEN",
            config.public_listener.take(),
            &config.public_listen,
        )
        .await?;
        let options = ListenOptions {
            tls: config
                .tls
                .as_ref()
                .map(|tls| tls.server_config())
                .transpose()?,
            allowed: config.allowed_cidrs.clone(),
            ..ListenOptions::default()
        };
        let internal = internal_app(&core, config.service_keys).await?;
        let public = observe(http::router(core.clone()));
        Ok(Self {
            core,
            internal: (internal_listener, internal, options),
            public: (public_listener, public),
        })
    }

    /// Where gateways reach it.
    ///
    /// # Panics
    /// Never: the socket is bound.
    #[must_use]
    pub fn internal_addr(&self) -> SocketAddr {
        self.internal
            .0
            .local_addr()
            .expect("a bound socket has an address")
    }

    /// Where browsers reach it.
    ///
    /// # Panics
    /// Never: the socket is bound.
    #[must_use]
    pub fn public_addr(&self) -> SocketAddr {
        self.public
            .0
            .local_addr()
            .expect("a bound socket has an address")
    }

    /// The flows, for tests and tools in the same process.
    #[must_use]
    pub fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// Serves until `shutdown` resolves; then finishes what is in flight.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send + 'static) {
        let stop = tokio_util::sync::CancellationToken::new();
        let upkeep = tokio::spawn(flow::upkeep::run(self.core.clone()));
        let (listener, app, options) = self.internal;
        let internal = dromos_serve::serve(listener, app, options, stop.clone().cancelled_owned());
        let (listener, app) = self.public;
        let public = dromos_serve::serve(
            listener,
            app,
            ListenOptions::default(),
            stop.clone().cancelled_owned(),
        );
        let stopping = async {
            shutdown.await;
            stop.cancel();
        };
        tokio::join!(internal, public, stopping);
        upkeep.abort();
        // An exchange that was sent is worth waiting for: its answer may hold
        // the only refresh token that still works.
        self.core.tasks.close();
        if tokio::time::timeout(DRAIN, self.core.tasks.wait())
            .await
            .is_err()
        {
            tracing::error!("stopped with refreshes under way");
        }
    }
}

async fn core(config: &Config, store: Arc<dyn Store>) -> Result<Core, StartError> {
    let ambient = config.ambient.clone();
    let database = |error| StartError::Database(reason(&error));
    let setting = |name: &str| config.settings.optional(name);
    let source = KeySource {
        setting: &setting,
        has_data_keys: store.any_data_key().await.map_err(database)?.is_some(),
        ambient: &ambient,
    };
    let provider = setting("KEY_PROVIDER").unwrap_or_else(|| "env".to_owned());
    let keys = kms::make(&provider, &source)?;
    let data_keys: Arc<dyn Store> = store.clone();
    let vault = Vault::new(keys, data_keys, ambient.clone());
    if vault.check().await.is_err() {
        let name = if provider == "file" {
            "ENCRYPTION_KEY_FILE"
        } else {
            "ENCRYPTION_KEY"
        };
        let advice = "the key that the database was encrypted with; this one does not open it";
        return Err(SettingsError::malformed(name, advice).into());
    }
    let default = Workspace {
        id: WorkspaceId::DEFAULT,
        name: "default".to_owned(),
        allowed_return_urls: vec![],
        created_at: ambient.now(),
    };
    store.ensure_workspace(&default).await.map_err(database)?;
    let egress = Egress::new(Guard {
        allow_private_networks: config.allow_private_networks,
    });
    Ok(Core {
        vault,
        discovery: Discovery::new(egress.clone(), ambient.clone()),
        egress,
        audit: flow::audit::AuditWriter::start(store.clone()),
        authenticator: flow::authenticate::Authenticator::default(),
        refreshes: flow::refresh::Refreshes::default(),
        state_key: StateKey::new(config.state_key.expose_secret()),
        base_url: config.base_url.clone(),
        return_urls: ReturnUrlPolicy {
            allowed: config.allowed_return_urls.clone(),
            allow_loopback: config.development,
        },
        allow_private_networks: config.allow_private_networks,
        owner: ambient.id(),
        tasks: TaskTracker::new(),
        store,
        ambient,
    })
}

async fn listener(
    name: &'static str,
    bound: Option<std::net::TcpListener>,
    address: &str,
) -> Result<TcpListener, StartError> {
    let listener = match bound {
        Some(bound) => bound
            .set_nonblocking(true)
            .and_then(|()| TcpListener::from_std(bound)),
        None => TcpListener::bind(address).await,
    };
    listener.map_err(|error| StartError::Bind(name, error))
}

async fn internal_app(
    core: &Arc<Core>,
    service_keys: Vec<KeyHash>,
) -> Result<axum::Router, StartError> {
    let services =
        rpc::authenticate::Authenticate::new(rpc::routes(core).await?, core.clone(), service_keys);
    let transcoder = Transcoder::builder(dromos_proto::POOL.clone())
        .services(rpc::SERVICES)
        .request_headers([
            "authorization",
            rpc::authenticate::CALLER_KEY,
            "user-agent",
            "x-request-id",
            "traceparent",
            "tracestate",
        ])
        .response_headers(["cache-control"])
        .build()
        .map_err(|error| StartError::Contract(error.to_string()))?;
    let store = core.store.clone();
    let ready = move || {
        let store = store.clone();
        async move { store.ping().await.is_ok() }
    };
    let app = GrpcApp::new("broker", services, &dromos_proto::POOL, &rpc::SERVICES)
        .transcoder(transcoder)
        .ready(ready)
        .into_router();
    Ok(observe(app))
}
