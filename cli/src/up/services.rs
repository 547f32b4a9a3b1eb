//! A broker and a gateway in this process.

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
    time::Duration,
};

use dromos_broker::Broker;
use dromos_gateway::{Gateway, GatewayError};
use dromos_proto::v1::ListProvidersRequest;
use dromos_serve::Settings;
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, interval},
};
use tonic::Code;

use super::keys::Keys;
use crate::{client::Client, failure::Failure};

/// How long the services may take until they answer.
const READY: Duration = Duration::from_secs(30);
/// How often they are asked until then.
const ASK: Duration = Duration::from_millis(10);

/// What the services are started with.
pub struct Plan<'a> {
    /// Keys, the journal and, without `database_url`, the database.
    pub data_dir: &'a Path,
    /// PostgreSQL, or the embedded SQLite.
    pub database_url: Option<&'a str>,
    /// Redis, or memory.
    pub redis_url: Option<&'a str>,
    /// Where the gateway listens.
    pub gateway: SocketAddr,
    /// The broker's internal socket.
    pub internal: TcpListener,
    /// The broker's public socket.
    pub public: TcpListener,
    /// The keys of `data_dir`.
    pub keys: &'a Keys,
}

/// Where running services are reached from this machine.
#[derive(Debug, Clone, Copy)]
pub struct Places {
    /// The gateway.
    pub gateway: SocketAddr,
    /// The broker's internal listener.
    pub internal: SocketAddr,
    /// The broker's public listener.
    pub public: SocketAddr,
}

impl Places {
    /// The gateway's URL.
    pub fn gateway_url(&self) -> String {
        format!("http://{}", self.gateway)
    }
}

/// Running services. They end with [`Services::stop`].
pub struct Services {
    /// Where they are.
    pub places: Places,
    gateway: Service,
    broker: Service,
}

struct Service {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Services {
    /// Starts both. They serve when this returns; whether they answer is for
    /// [`ready`] to say.
    ///
    /// # Errors
    ///
    /// A setting, the database or the gateway's address can't be used.
    pub async fn start(plan: Plan<'_>) -> Result<Self, Failure> {
        let internal = reachable(plan.internal.local_addr().map_err(no_address)?);
        let public = reachable(plan.public.local_addr().map_err(no_address)?);
        let broker_url = format!("http://{internal}");
        let config = dromos_gateway::Config::new(
            plan.gateway.to_string(),
            broker_url,
            plan.keys.service.clone(),
        );
        // The gateway first: that its port is taken is known before the
        // database is touched.
        let gateway = Gateway::bind(config).await.map_err(|error| match error {
            GatewayError::Bind(error) => port_in_use("--listen", plan.gateway, &error),
            GatewayError::Settings(error) => error.into(),
            error => Failure::new(format!("the gateway can't start: {error}")),
        })?;
        let places = Places {
            gateway: reachable(gateway.local_addr()),
            internal,
            public,
        };

        let mut config = dromos_broker::Config::from_settings(&settings(&plan, public))?;
        config.development = true;
        config.migrate = true;
        config.internal_listener = Some(plan.internal);
        config.public_listener = Some(plan.public);
        let broker = Box::pin(Broker::bind(config)).await.map_err(|error| {
            let failure = Failure::new(format!("the broker can't start: {error}"));
            match error.is_config() {
                true => failure.configuration(),
                false => failure,
            }
        })?;

        let broker = Service::spawn(|stopped| async move {
            broker.run(stopped).await;
        });
        let gateway = Service::spawn(|stopped| async move {
            gateway.run(stopped).await;
        });
        Ok(Self {
            places,
            gateway,
            broker,
        })
    }

    /// Waits for one of them to end by itself, which neither should.
    pub async fn ended(&mut self) -> Failure {
        let (name, ended) = tokio::select! {
            ended = &mut self.gateway.task => ("gateway", ended),
            ended = &mut self.broker.task => ("broker", ended),
        };
        match ended {
            Ok(()) => Failure::new(format!("the {name} ended by itself")),
            Err(_) => panicked(name),
        }
    }

    /// Stops the gateway, then the broker, each when its last request is
    /// answered.
    ///
    /// # Errors
    ///
    /// One of them did not end well.
    pub async fn stop(self) -> Result<(), Failure> {
        let gateway = self.gateway.stop("gateway").await;
        let broker = self.broker.stop("broker").await;
        gateway.and(broker)
    }
}

impl Service {
    fn spawn<R>(run: impl FnOnce(Stopped) -> R) -> Self
    where
        R: Future<Output = ()> + Send + 'static,
    {
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped: Stopped = Box::pin(async move {
            // That nobody can stop it any more is a reason to stop, too.
            let _ = stopped.await;
        });
        let task = tokio::spawn(run(stopped));
        Self { stop, task }
    }

    async fn stop(self, name: &str) -> Result<(), Failure> {
        // Where it has ended by itself, there is nobody to tell.
        let _ = self.stop.send(());
        self.task.await.map_err(|_| panicked(name))
    }
}

type Stopped = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

fn panicked(name: &str) -> Failure {
    Failure::new(format!("the {name} panicked"))
}

/// Waits until an API call goes the whole way through the gateway, the broker
/// and its database. `false`: they answer, but `admin_key` is not a key of
/// this database.
///
/// # Errors
///
/// They don't answer in time.
pub async fn ready(gateway_url: &str, admin_key: &str) -> Result<bool, Failure> {
    let client = Client::new(gateway_url, admin_key, "admin.key")?;
    let deadline = Instant::now() + READY;
    let mut turns = interval(ASK);
    loop {
        turns.tick().await;
        let request = ListProvidersRequest {
            page_size: 1,
            page_token: String::new(),
        };
        match client.providers().list_providers(request).await {
            Ok(_) => return Ok(true),
            Err(status) if status.code() == Code::Unauthenticated => return Ok(false),
            Err(status) if Instant::now() > deadline => {
                return Err(client.failure(&status).during("the services don't answer"));
            }
            Err(_) => {}
        }
    }
}

fn settings(plan: &Plan<'_>, public: SocketAddr) -> Settings {
    let in_data_dir = |name| plan.data_dir.join(name).display().to_string();
    let database_url = plan.database_url.unwrap_or_default();
    Settings::from_map([
        ("DATA_DIR", plan.data_dir.display().to_string()),
        ("DATABASE_URL", database_url.to_owned()),
        ("REDIS_URL", plan.redis_url.unwrap_or_default().to_owned()),
        ("BASE_URL", format!("http://{public}")),
        ("API_KEYS", plan.keys.service.clone()),
        ("STATE_KEY", plan.keys.state.clone()),
        ("KEY_PROVIDER", "file".to_owned()),
        ("ENCRYPTION_KEY_FILE", in_data_dir("encryption.key")),
        // The broker takes it once, while there is no key at all.
        ("BOOTSTRAP_ADMIN_KEY", plan.keys.admin.clone()),
        ("ALLOW_PRIVATE_NETWORKS", "true".to_owned()),
    ])
}

/// Binds a socket; `flag` says in the error where its address came from.
///
/// # Errors
///
/// The address can't be used.
pub fn bind(flag: &str, address: SocketAddr) -> Result<TcpListener, Failure> {
    let listener = TcpListener::bind(address);
    let listener = listener.and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    listener.map_err(|error| port_in_use(flag, address, &error))
}

fn port_in_use(flag: &str, address: SocketAddr, error: &std::io::Error) -> Failure {
    let failure = Failure::new(format!("{flag} {address} can't be listened on: {error}"));
    failure.next(format!(
        "end what listens there (another `dromos up`?), or choose another port with {flag}"
    ))
}

fn no_address(error: std::io::Error) -> Failure {
    Failure::new(format!("a socket has no address: {error}"))
}

/// The address by which this machine reaches a listener.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}
