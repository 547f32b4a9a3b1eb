//! Everything the story needs: a provider, a broker, a gateway and an
//! administrator's client, on free ports and in a temporary directory.

use std::{net::SocketAddr, path::Path};

use dromos_proto::v1::CredentialPayload;
use dromos_simulator::{Behaviour, ExpiresIn, Simulator};
use prost_types::value::Kind;
use tonic::{Response, Status};

use super::stage::Stage;
use crate::{
    client::Client,
    failure::Failure,
    up::{
        keys::Keys,
        services::{Places, Plan, Services, bind, ready},
    },
};

/// The provider's name.
pub const PROVIDER: &str = "acme";
/// The user.
pub const USER: &str = "ada";
/// The user's application, where the browser goes in the end.
pub const RETURN_URL: &str = "http://localhost:3000/connected";
/// How long the provider's first access token lives, in seconds.
pub const SHORT_LIFE: u64 = 900;
/// How long its later ones live, in seconds.
pub const LONG_LIFE: u64 = 3_600;

/// What runs.
pub struct World {
    /// The provider.
    pub simulator: Simulator,
    /// An administrator's client of the gateway.
    pub admin: Client,
    /// Where the services are.
    pub places: Places,
    services: Services,
}

impl World {
    /// Starts everything, with its data in `place`.
    pub async fn start(stage: &mut Stage, place: &Path) -> Result<Self, Failure> {
        let behaviour = Behaviour {
            subject: USER.to_owned(),
            expires_in: ExpiresIn {
                seconds: SHORT_LIFE,
                ..ExpiresIn::default()
            },
            ..Behaviour::default()
        };
        let simulator = Simulator::start(behaviour)
            .await
            .map_err(|error| Failure::new(format!("the provider can't start: {error}")))?;
        stage.secret(simulator.client_secret());

        let keys = Keys::open(place)?;
        for key in [&keys.state, &keys.service, &keys.admin] {
            stage.secret(key);
        }
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let services = Services::start(Plan {
            data_dir: place,
            database_url: None,
            redis_url: None,
            gateway: free,
            internal: bind("a free port,", free)?,
            public: bind("a free port,", free)?,
            keys: &keys,
        })
        .await?;
        let places = services.places;
        let admin = Client::new(&places.gateway_url(), &keys.admin, "admin.key")?;

        stage.step("Start a gateway, a broker and a simulated provider")?;
        stage.came("gateway", &places.gateway_url())?;
        stage.came("broker, internal", &format!("http://{}", places.internal))?;
        stage.came("broker, public", &format!("http://{}", places.public))?;
        stage.came("provider", &simulator.url())?;
        let known = ready(&places.gateway_url(), &keys.admin).await?;
        stage.check(
            known,
            "An API call goes through gateway, broker and database",
        )?;
        Ok(Self {
            simulator,
            admin,
            places,
            services,
        })
    }

    /// The answer of a call by the administrator.
    pub fn answer<T>(&self, answered: Result<Response<T>, Status>) -> Result<T, Failure> {
        match answered {
            Ok(response) => Ok(response.into_inner()),
            Err(status) => Err(self.admin.failure(&status)),
        }
    }

    /// Where everything listens.
    pub fn addresses(&self) -> Result<Vec<SocketAddr>, Failure> {
        let simulator = self.simulator.url();
        let simulator = simulator.trim_start_matches("http://").parse();
        let simulator = simulator.map_err(|_| Failure::new("the provider has no address"))?;
        let Places {
            gateway,
            internal,
            public,
        } = self.places;
        Ok(vec![gateway, internal, public, simulator])
    }

    /// Stops everything.
    pub async fn stop(self) -> Result<(), Failure> {
        // Its open connection would hold the gateway up.
        drop(self.admin);
        let stopped = self.services.stop().await;
        self.simulator.shutdown().await;
        stopped
    }
}

/// A credential of a payload, as text.
pub fn credential<'a>(payload: &'a CredentialPayload, name: &str) -> Option<&'a str> {
    let value = payload.credentials.as_ref()?.fields.get(name)?;
    match &value.kind {
        Some(Kind::StringValue(text)) => Some(text),
        _ => None,
    }
}
