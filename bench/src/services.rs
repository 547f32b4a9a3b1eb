//! Dromos as it runs in production: a broker and a gateway, each a process of
//! its own, built for release; and the two hops of the floor.

use std::{
    env,
    fs::File,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use dromos_simulator::{
    Behaviour, ExpiresIn, Simulator,
    browser::{self, Browser},
};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::{Instant, sleep},
};

/// Made up; the bootstrap key of the benchmark's broker.
pub const ADMIN_KEY: &str = "admin-key-of-the-benchmark-0123456789";
/// Made up; the broker's key-encryption key.
pub const ENCRYPTION_KEY: &str = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";
/// Made up; what the gateway proves itself with.
const SERVICE_KEY: &str = "service-key-of-the-benchmark-0123456789";
/// Where the consent ends. Nothing listens there.
const RETURN_URL: &str = "http://127.0.0.1:9/done";
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// A program that lies beside this one.
///
/// # Errors
/// It was not built.
pub fn program(name: &str) -> Result<PathBuf> {
    let path = env::current_exe()?.with_file_name(name);
    ensure!(
        path.is_file(),
        "{} was not built: `cargo xtask bench` builds it",
        path.display()
    );
    Ok(path)
}

/// Different ports on 127.0.0.1 that were free a moment ago, below those that
/// the system gives to outgoing connections.
///
/// # Errors
/// There are too few.
pub fn free_ports<const N: usize>() -> Result<[u16; N]> {
    // Processes that run at once should not walk the ports in step.
    let offset = (std::process::id() % 1000) as u16 * 10;
    let free: Vec<u16> = (20_000 + offset..32_000)
        .chain(20_000..20_000 + offset)
        .filter(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .take(N)
        .collect();
    free.try_into()
        .map_err(|_| anyhow!("no free port between 20000 and 32000 on 127.0.0.1"))
}

/// A client for REST calls.
///
/// # Errors
/// It can't be made.
pub fn http_client() -> Result<reqwest::Client> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(30));
    Ok(client.build()?)
}

/// Waits until a program says that it is ready.
///
/// # Errors
/// It ended, or took too long.
pub async fn ready(child: &mut Child, url: &str) -> Result<()> {
    let client = http_client()?;
    let began = Instant::now();
    loop {
        let answer = client.get(format!("{url}/readyz")).send().await;
        if answer.is_ok_and(|answer| answer.status().is_success()) {
            return Ok(());
        }
        if let Some(status) = child.try_wait()? {
            bail!("the program at {url} ended: {status}");
        }
        ensure!(began.elapsed() < READY_TIMEOUT, "{url} is not ready");
        sleep(Duration::from_millis(2)).await;
    }
}

/// The id of a running program.
///
/// # Errors
/// It has ended.
pub fn pid(child: &Child) -> Result<u32> {
    child.id().context("the program has ended")
}

/// A broker and a gateway that serve; dropping them ends them.
pub struct Dromos {
    /// Where the gateway listens.
    pub url: String,
    broker: Child,
    gateway: Child,
    http: reqwest::Client,
}

impl Dromos {
    /// Starts both. Logs and data go into `folder`.
    ///
    /// # Errors
    /// One does not become ready; its log is in the folder.
    pub async fn start(database_url: &str, folder: &Path) -> Result<Self> {
        Self::start_with("dromos-broker", database_url, folder).await
    }

    /// The same, with another program for the broker.
    ///
    /// # Errors
    /// As of [`Dromos::start`].
    pub async fn start_with(program_name: &str, database_url: &str, folder: &Path) -> Result<Self> {
        let [internal, public, listen] = free_ports()?;
        let settings = [
            ("DATABASE_URL", database_url.to_owned()),
            ("DATA_DIR", folder.join("data").display().to_string()),
            ("BASE_URL", format!("http://127.0.0.1:{public}")),
            ("LISTEN", format!("127.0.0.1:{internal}")),
            ("PUBLIC_LISTEN", format!("127.0.0.1:{public}")),
            ("API_KEYS", SERVICE_KEY.to_owned()),
            (
                "STATE_KEY",
                "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=".to_owned(),
            ),
            ("ENCRYPTION_KEY", ENCRYPTION_KEY.to_owned()),
            ("BOOTSTRAP_ADMIN_KEY", ADMIN_KEY.to_owned()),
            ("ALLOW_PRIVATE_NETWORKS", "true".to_owned()),
            ("ALLOWED_RETURN_URLS", "http://127.0.0.1:9".to_owned()),
        ];
        let migrated = Command::new(program("dromos-broker")?)
            .arg("migrate")
            .envs(settings.clone())
            .stdout(Stdio::null())
            .status()
            .await?;
        ensure!(migrated.success(), "`dromos-broker migrate`: {migrated}");
        let mut broker = Command::new(program(program_name)?)
            .envs(settings)
            .stderr(log(folder, "broker.log")?)
            .kill_on_drop(true)
            .spawn()?;
        let broker_url = format!("http://127.0.0.1:{internal}");
        ready(&mut broker, &broker_url).await?;

        let mut gateway = Command::new(program("dromos-gateway")?)
            .env("LISTEN", format!("127.0.0.1:{listen}"))
            .env("BROKER_URL", broker_url)
            .env("BROKER_API_KEY", SERVICE_KEY)
            .stderr(log(folder, "gateway.log")?)
            .kill_on_drop(true)
            .spawn()?;
        let url = format!("http://127.0.0.1:{listen}");
        ready(&mut gateway, &url).await?;
        Ok(Self {
            url,
            broker,
            gateway,
            http: http_client()?,
        })
    }

    /// Ends both and waits for that.
    ///
    /// # Errors
    /// The system can't end them.
    pub async fn stop(mut self) -> Result<()> {
        self.gateway.kill().await?;
        self.broker.kill().await?;
        Ok(())
    }

    /// Gateway and broker.
    ///
    /// # Errors
    /// One has ended.
    pub fn processes(&self) -> Result<[u32; 2]> {
        Ok([pid(&self.gateway)?, pid(&self.broker)?])
    }

    /// The text that REST answers to a GET.
    ///
    /// # Errors
    /// The answer is not good.
    pub async fn get(&self, path: &str) -> Result<String> {
        self.send(Method::GET, path, None).await
    }

    /// What REST answers to a POST.
    ///
    /// # Errors
    /// The answer is not good.
    pub async fn post(&self, path: &str, body: Value) -> Result<Value> {
        self.call(Method::POST, path, Some(body)).await
    }

    /// What REST answers, as JSON.
    ///
    /// # Errors
    /// The answer is not good.
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        let text = self.send(method, path, body).await?;
        serde_json::from_str(&text).with_context(|| format!("{path} answered no JSON"))
    }

    async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Result<String> {
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.url))
            .bearer_auth(ADMIN_KEY);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "{path}: {status}: {text}");
        Ok(text)
    }

    /// Connects users to a simulated provider by the whole handshake: their
    /// connections' ids, once they are ACTIVE.
    ///
    /// # Errors
    /// A step fails.
    pub async fn connect(&self, count: usize) -> Result<Vec<String>> {
        let simulator = self.provider(Behaviour::default()).await?;
        let mut ids = Vec::with_capacity(count);
        for _ in 0..count {
            ids.push(self.consent("user-0").await?);
        }
        simulator.shutdown().await;
        Ok(ids)
    }

    /// A simulated provider, known as `simulated`. None of its tokens comes
    /// near its end while the benchmark runs.
    ///
    /// # Errors
    /// A step fails.
    pub async fn provider(&self, behaviour: Behaviour) -> Result<Simulator> {
        let simulator = Simulator::start(Behaviour {
            expires_in: ExpiresIn {
                seconds: 30 * 24 * 3600,
                ..ExpiresIn::default()
            },
            ..behaviour
        })
        .await?;
        let provider = json!({
            "name": "simulated",
            "display_name": "Simulated",
            "oauth2": {
                "issuer": simulator.url(),
                "client_id": simulator.client_id(),
                "client_secret": simulator.client_secret(),
                "scopes": ["openid", "offline_access"],
            },
            "strategy": { "type": "oauth2" },
        });
        let provider = self
            .call(Method::POST, "/v1/providers", Some(provider))
            .await?;
        simulator.allow_redirect_uri(text(&provider, "redirect_uri")?);
        Ok(simulator)
    }

    /// What RequestConnection answers for this user and that provider.
    ///
    /// # Errors
    /// The answer is not good.
    pub async fn request_connection(&self, user_id: &str) -> Result<Value> {
        let wanted =
            json!({ "user_id": user_id, "provider_name": "simulated", "return_url": RETURN_URL });
        self.call(Method::POST, "/v1/request-connection", Some(wanted))
            .await
    }

    /// The whole handshake: the connection's id, once it is ACTIVE.
    ///
    /// # Errors
    /// A step fails.
    pub async fn consent(&self, user_id: &str) -> Result<String> {
        let begun = self.request_connection(user_id).await?;
        Browser::new()
            .walk(text(&begun, "auth_url")?, RETURN_URL, browser::approve)
            .await
            .map_err(|error| anyhow!("the consent: {error}"))?;
        let id = text(&begun, "connection_id")?;
        ensure!(self.is_active(id).await?, "the connection is not ACTIVE");
        Ok(id.to_owned())
    }

    /// Whether a connection's status is ACTIVE.
    ///
    /// # Errors
    /// The answer is not good.
    pub async fn is_active(&self, id: &str) -> Result<bool> {
        let path = format!("/v1/check-connection/{id}");
        let checked = self.call(Method::GET, &path, None).await?;
        Ok(checked["status"] == "ACTIVE")
    }

    /// GetToken under a request id, which its audit row will name: the
    /// credential's generation.
    ///
    /// # Errors
    /// The answer is not good.
    pub async fn generation(&self, id: &str, request_id: &str) -> Result<u64> {
        let request = self
            .http
            .get(format!("{}/v1/token/{id}", self.url))
            .bearer_auth(ADMIN_KEY)
            .header("x-request-id", request_id);
        let answer: Value = request.send().await?.error_for_status()?.json().await?;
        answer["generation"].as_u64().context("a generation")
    }

    /// How many GetTokens the gateway has answered with OK over `transport`.
    ///
    /// # Errors
    /// The metrics can't be read.
    pub async fn answered(&self, transport: &str) -> Result<u64> {
        let metrics = self.http.get(format!("{}/metrics", self.url));
        let metrics = metrics.send().await?.text().await?;
        let transport = format!("transport=\"{transport}\"");
        let is_it = |line: &&str| {
            line.starts_with("gateway_requests_total{")
                && [
                    "rpc=\"/dromos.v1.ConnectionService/GetToken\"",
                    &transport,
                    "code=\"OK\"",
                ]
                .iter()
                .all(|label| line.contains(label))
        };
        match metrics.lines().find(is_it) {
            None => Ok(0),
            Some(line) => {
                let count = line.rsplit_once(' ').context("a counter has a value")?.1;
                Ok(count.parse()?)
            }
        }
    }
}

fn text<'a>(value: &'a Value, field: &str) -> Result<&'a str> {
    value[field]
        .as_str()
        .with_context(|| format!("the answer has no {field}"))
}

fn log(folder: &Path, name: &str) -> Result<File> {
    let file = File::options()
        .create(true)
        .append(true)
        .open(folder.join(name))?;
    Ok(file)
}

/// The floor: front and back; dropping them ends them.
pub struct Floor {
    /// Where the front listens.
    pub url: String,
    front: Child,
    back: Child,
}

impl Floor {
    /// Starts both.
    ///
    /// # Errors
    /// One does not start.
    pub async fn start(database_url: &str) -> Result<Self> {
        let (back, back_url) = hop(&["back", "--database-url", database_url]).await?;
        let (front, url) = hop(&["front", "--back", &back_url]).await?;
        Ok(Self { url, front, back })
    }

    /// Front and back.
    ///
    /// # Errors
    /// One has ended.
    pub fn processes(&self) -> Result<[u32; 2]> {
        Ok([pid(&self.front)?, pid(&self.back)?])
    }
}

async fn hop(arguments: &[&str]) -> Result<(Child, String)> {
    let mut child = Command::new(program("dromos-bench-floor")?)
        .args(arguments)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let stdout = child.stdout.take().context("standard output is piped")?;
    let url = BufReader::new(stdout).lines().next_line().await?;
    Ok((child, url.context("the floor did not start")?))
}
