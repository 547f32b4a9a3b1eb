//! The wiring: the only place that names concrete parts.

use std::{future::Future, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use dromos_serve::{GrpcApp, ListenOptions, Settings, SettingsError, observe};
use secrecy::ExposeSecret;
use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use transcode::Transcoder;

use crate::{
    cache::link::Heard,
    domain::{
        access::KeyHash, ambient::Ambient, id::WorkspaceId, return_url::ReturnUrlPolicy,
        state::StateKey, workspace::Workspace,
    },
    egress::{Egress, discovery::Discovery, guard::Guard},
    flow::{self, Core},
    http,
    journal::Journal,
    rpc,
    store::{self, Store},
    vault::{
        Vault,
        kms::{self, KeySource},
    },
};

mod audit;
mod config;
mod error;
mod shared;

pub use audit::{export_audit, export_audit_keys, prune_audit};
pub use config::{Config, database_url};
pub use error::StartError;

/// How long a start waits for its database.
const DATABASE_WAIT: Duration = Duration::from_secs(30);
/// How long a stop waits for exchanges that were sent.
const DRAIN: Duration = Duration::from_secs(60);

/// Applies pending migrations; answers how many there were.
///
/// # Errors
/// The database can't be reached or migrated.
pub async fn migrate(database_url: &str) -> Result<usize, StartError> {
    let store = connect(database_url, DATABASE_WAIT).await?;
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

async fn connect(url: &str, wait: Duration) -> Result<Arc<dyn Store>, StartError> {
    let give_up = tokio::time::Instant::now() + wait;
    loop {
        match store::open(url).await {
            Ok(store) => return Ok(store),
            Err(error) if tokio::time::Instant::now() >= give_up => {
                let waited = wait.as_secs();
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
    heard: Option<mpsc::Receiver<Heard>>,
    background: bool,
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
        let store = connect(&config.database_url, config.database_wait).await?;
        let database = |error| StartError::Database(reason(&error));
        if config.migrate || config.is_sqlite() {
            store.migrate().await.map_err(database)?;
        } else if !store.is_migrated().await.map_err(database)? {
            return Err(StartError::Database(
                "its schema is not up to date; run `dromos-broker migrate`".to_owned(),
            ));
        }
        let mut shared = shared::Shared::start(&config, &config.ambient).await?;
        let heard = shared.heard.take();
        let core = Arc::new(core(&config, store, shared).await?);
        let left = flow::journalled::replay(&core).await;
        if left > 0 {
            tracing::warn!(left, "journalled answers wait to be stored");
        }
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
            heard,
            background: config.background,
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
        tracing::info!(internal = %self.internal_addr(), public = %self.public_addr(), "the broker serves");
        let stop = self.core.closing.clone();
        let upkeep = tokio::spawn(flow::upkeep::run(self.core.clone()));
        let deliveries = tokio::spawn(flow::deliver::run(self.core.clone()));
        let revocations = tokio::spawn(flow::revocations::run(self.core.clone()));
        if let Some(heard) = self.heard {
            // Ends with the link to Redis, which the core owns.
            tokio::spawn(flow::notices::run(Arc::downgrade(&self.core), heard));
        }
        let background = self.background.then(|| {
            [
                tokio::spawn(flow::journalled::run(self.core.clone())),
                tokio::spawn(flow::refresh::due::run(self.core.clone())),
            ]
        });
        let keys = tokio::spawn(flow::keys::run(self.core.clone()));
        let heads = tokio::spawn(flow::audit_heads::run(self.core.clone()));
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
        keys.abort();
        for task in background.into_iter().flatten() {
            task.abort();
        }
        // It ends by itself, once what it was sending has ended.
        let _ = deliveries.await;
        revocations.abort();
        // An exchange that was sent is worth waiting for: its answer may hold
        // the only refresh token that still works.
        self.core.tasks.close();
        if tokio::time::timeout(DRAIN, self.core.tasks.wait())
            .await
            .is_err()
        {
            tracing::error!("stopped with refreshes under way");
        }
        // Last, so that each writer's closing row is its last one.
        heads.abort();
        if let Err(error) = flow::audit_heads::tell(&self.core, true).await {
            tracing::error!(cause = ?error.cause, "stopped without closing the audit's writers");
        }
    }
}

/// The vault of the key provider that the settings name, if it opens what the
/// database holds.
async fn open_vault(
    settings: &Settings,
    store: Arc<dyn Store>,
    ambient: &Ambient,
) -> Result<Vault, StartError> {
    let database = |error| StartError::Database(reason(&error));
    let setting = |name: &str| settings.optional(name);
    let has_data_keys = store.any_data_key().await.map_err(database)?.is_some();
    let provider = setting("KEY_PROVIDER").unwrap_or_else(|| "env".to_owned());
    let keys = kms::make(
        &provider,
        &KeySource {
            setting: &setting,
            has_data_keys,
            ambient,
        },
    )?;
    let vault = Vault::new(keys, store, ambient.clone());
    if let Err(error) = vault.check().await {
        let name = match provider.as_str() {
            "file" => "ENCRYPTION_KEY_FILE",
            "aws-kms" => "AWS_KMS_KEY_ID",
            _ => "ENCRYPTION_KEY",
        };
        let mut advice =
            "the key that the database was encrypted with; this one does not open it".to_owned();
        if provider == "aws-kms"
            && let Some(cause) = error.cause
        {
            // Who may not, or where nobody answers, only KMS and the network know.
            advice = format!("{advice} ({})", cause.to_string().replace('\n', " "));
        }
        return Err(SettingsError::malformed(name, advice).into());
    }
    Ok(vault)
}

async fn core(
    config: &Config,
    store: Arc<dyn Store>,
    shared: shared::Shared,
) -> Result<Core, StartError> {
    let ambient = config.ambient.clone();
    let database = |error| StartError::Database(reason(&error));
    let vault = open_vault(&config.settings, store.clone(), &ambient).await?;
    let audit_key = vault.audit_key().await.map_err(database)?;
    store.sign_audit_with(audit_key.clone(), ambient.clone());
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
    let advice = "a folder that this broker, and no other, can make and write to";
    let journal = Journal::open(config.journal.clone(), ambient.failpoints.clone())
        .map_err(|_| SettingsError::malformed("DATA_DIR", advice))?;
    Ok(Core {
        vault,
        discovery: Discovery::new(egress.clone(), shared.cache, ambient.clone()),
        journal,
        egress,
        token_reads: flow::token_reads::TokenReads::start(store.clone()),
        limits: shared.limits,
        notices: shared.notices,
        audit: match &config.audit {
            Some(instead) => flow::audit::AuditWriter::instead(instead.clone()),
            None => flow::audit::AuditWriter::start(store.clone()),
        },
        audit_key,
        audit_heads_dir: config
            .settings
            .optional("DATA_DIR")
            .map(|dir| Path::new(&dir).join("audit-heads")),
        authenticator: flow::authenticate::Authenticator::default(),
        refreshes: flow::refresh::Refreshes::default(),
        throttle: flow::throttle::Throttle::new(config.refresh_rate),
        rotations: flow::keys::Rotations::default(),
        state_key: StateKey::new(config.state_key.expose_secret()),
        base_url: config.base_url.clone(),
        return_urls: ReturnUrlPolicy {
            allowed: config.allowed_return_urls.clone(),
            allow_loopback: config.development,
        },
        allow_private_networks: config.allow_private_networks,
        owner: ambient.id(),
        tasks: TaskTracker::new(),
        closing: CancellationToken::new(),
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
