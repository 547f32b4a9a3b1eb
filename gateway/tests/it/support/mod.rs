//! A broker that plays what a test tells it, a gateway before it, and one way
//! to call over all three transports.

pub mod broker;
pub mod call;

use std::net::SocketAddr;

use dromos_gateway::{Config, Gateway};
use tokio::{sync::oneshot, task::JoinHandle};

pub use broker::{FakeBroker, Seen, healthy, reply, reply_with};
pub use call::{Answer, VIAS, Via, http1};

/// The caller's key and the gateway's own.
pub const KEY: &str = "caller-key-0123456789";
pub const SERVICE_KEY: &str = "service-key-0123456789";

pub struct Running {
    pub address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    pub async fn before(broker: &FakeBroker) -> Self {
        Self::start(config(broker.address)).await
    }

    pub async fn start(config: Config) -> Self {
        let gateway = Gateway::bind(config).await.unwrap();
        let address = gateway.local_addr();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(gateway.run(async {
            let _ = stopped.await;
        }));
        Self {
            address,
            stop,
            task,
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Asks it to stop; the answer resolves when it has.
    pub fn stop(self) -> JoinHandle<()> {
        self.stop.send(()).unwrap();
        self.task
    }
}

impl From<&Running> for SocketAddr {
    fn from(running: &Running) -> Self {
        running.address
    }
}

pub fn config(broker: SocketAddr) -> Config {
    Config::new(
        "127.0.0.1:0",
        format!("http://{broker}"),
        SERVICE_KEY.to_owned(),
    )
}
