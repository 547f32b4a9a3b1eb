//! The one line to Redis. Nobody ever waits for it to be made: while it is
//! away, every question is answered so at once, and a task in the background
//! tries to make it again.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::StreamExt;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, aio::MultiplexedConnection,
};
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinHandle,
    time::timeout,
};

/// How long an answer may take before the line counts as away.
pub const PATIENCE: Duration = Duration::from_millis(50);
/// How long making a line may take, in the background.
const CONNECT: Duration = Duration::from_secs(2);
/// How long nothing is tried after a failure.
const PAUSE: Duration = Duration::from_millis(500);
/// How often a line without traffic is tried.
const PING: Duration = Duration::from_secs(1);

/// Redis did not answer, or with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Redis is away")]
pub struct Away;

/// What comes over the line by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// The line was made: whatever was said before, nobody here heard it.
    Connected,
    /// A message on the channel, as it came.
    Message(Vec<u8>),
}

struct State {
    client: Client,
    channel: String,
    patience: Duration,
    current: Mutex<Option<MultiplexedConnection>>,
    is_up: watch::Sender<bool>,
    suspect: Notify,
    heard: mpsc::Sender<Heard>,
}

/// A line to Redis; dropping it ends it.
pub struct Link {
    state: Arc<State>,
    task: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Link {
    /// Begins to make the line. What is said on `channel` goes to `heard`.
    ///
    /// # Errors
    /// The URL is none of Redis's.
    pub fn start(
        url: &str,
        channel: String,
        patience: Duration,
        heard: mpsc::Sender<Heard>,
    ) -> Result<Self, &'static str> {
        let client = Client::open(url).map_err(|_| "not a URL of Redis")?;
        let state = Arc::new(State {
            client,
            channel,
            patience,
            current: Mutex::default(),
            is_up: watch::Sender::new(false),
            suspect: Notify::new(),
            heard,
        });
        metrics::gauge!("redis_up").set(0.0);
        let task = tokio::spawn(state.clone().keep());
        Ok(Self { state, task })
    }

    /// Waits until the line is up, or the time is over; whether it is.
    pub async fn ready(&self, wait: Duration) -> bool {
        let mut is_up = self.state.is_up.subscribe();
        matches!(timeout(wait, is_up.wait_for(|up| *up)).await, Ok(Ok(_)))
    }

    /// Asks, and waits for the answer no longer than the line's patience.
    ///
    /// # Errors
    /// There is no line, no answer, or one that is an error.
    pub async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Away> {
        let Some(mut connection) = self.state.current() else {
            return Err(Away);
        };
        let answer = timeout(
            self.state.patience,
            command.query_async::<T>(&mut connection),
        )
        .await;
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) if is_answer(&error) => {
                tracing::warn!(code = error.code(), "Redis refused a command");
                Err(Away)
            }
            Ok(Err(_)) | Err(_) => {
                self.state.doubt();
                Err(Away)
            }
        }
    }
}

/// Whether the error is Redis's own answer, on a line that works.
fn is_answer(error: &redis::RedisError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Server(_) | ErrorKind::UnexpectedReturnType | ErrorKind::Extension
    )
}

impl State {
    fn current(&self) -> Option<MultiplexedConnection> {
        self.current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, connection: Option<MultiplexedConnection>) {
        let is_up = connection.is_some();
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = connection;
        self.is_up.send_replace(is_up);
        metrics::gauge!("redis_up").set(if is_up { 1.0 } else { 0.0 });
    }

    /// The line does not answer: nobody else waits for it.
    fn doubt(&self) {
        self.set(None);
        self.suspect.notify_one();
    }

    async fn keep(self: Arc<Self>) {
        let mut was_up = true;
        loop {
            match timeout(CONNECT, self.connect()).await {
                Ok(Ok((connection, messages))) => {
                    tracing::info!("Redis answers");
                    was_up = true;
                    self.set(Some(connection.clone()));
                    self.listen(connection, messages).await;
                    self.set(None);
                    tracing::warn!("Redis is away; everything works without it, slower");
                }
                // Said once: the URL may hold a password, and Redis may be
                // away for long.
                failure if was_up => {
                    was_up = false;
                    let code = failure.ok().and_then(|outcome| {
                        let error = outcome.err()?;
                        Some(error.to_string())
                    });
                    tracing::warn!(error = code, "Redis can't be reached; it is tried again");
                }
                _ => {}
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn connect(
        &self,
    ) -> redis::RedisResult<(MultiplexedConnection, redis::aio::PubSubStream)> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            // Each question has its own bound.
            .set_response_timeout(None);
        let connection = self
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        let mut messages = self.client.get_async_pubsub().await?;
        messages.subscribe(&self.channel).await?;
        Ok((connection, messages.into_on_message()))
    }

    /// Until the line fails.
    async fn listen(
        &self,
        mut connection: MultiplexedConnection,
        mut messages: redis::aio::PubSubStream,
    ) {
        // Where nobody listens any more, that is fine.
        let _ = self.heard.send(Heard::Connected).await;
        let mut ping = tokio::time::interval(PING);
        ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = messages.next() => match message {
                    Some(message) => {
                        let message = Heard::Message(message.get_payload_bytes().to_vec());
                        let _ = self.heard.send(message).await;
                    }
                    None => return,
                },
                () = self.suspect.notified() => {
                    if self.current().is_none() {
                        return;
                    }
                }
                _ = ping.tick() => {
                    let ping = redis::cmd("PING");
                    let pong = timeout(PING, ping.query_async::<()>(&mut connection)).await;
                    if !matches!(pong, Ok(Ok(()))) {
                        return;
                    }
                }
            }
        }
    }
}
