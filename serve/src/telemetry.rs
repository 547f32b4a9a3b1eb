//! What an operator sees: logs on standard error, metrics for Prometheus.

use std::{
    io::{IsTerminal, Stderr, stderr},
    sync::OnceLock,
    time::Duration,
};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{
    EnvFilter, Layer, Registry, fmt, layer::SubscriberExt, util::SubscriberInitExt,
};

use crate::{log_json, log_writer::Lines, traces::Traces};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// Short lines for people.
    Compact,
}

/// Seconds, from a cached answer to the longest deadline.
const BUCKETS: [f64; 13] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
];

/// How often the recorder folds its raw samples in; without that they pile up
/// while nobody scrapes.
const UPKEEP: Duration = Duration::from_secs(5);

/// Sets logs, metrics and, where there are any, traces up, once per process;
/// later calls do nothing. `RUST_LOG` chooses what is logged, and `level`
/// where it says nothing. Keep what it returns until the process ends: the
/// last lines are written when it goes.
pub fn init(format: LogFormat, level: &str, traces: Option<&Traces>) -> Telemetry {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let lines = Lines::start(stderr());
    let layer = fmt::layer().with_writer(lines.clone());
    let logs: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Json => Box::new(layer.event_format(log_json::Json)),
        LogFormat::Compact => Box::new(
            layer
                .compact()
                .with_target(false)
                .with_ansi(stderr().is_terminal()),
        ),
    };
    // Fails where a subscriber is set already: then that one stays.
    let installed = match traces {
        // The filter holds for all: a span that is not logged is not made.
        None => tracing_subscriber::registry()
            .with(logs)
            .with(filter)
            .try_init(),
        Some(traces) => tracing_subscriber::registry()
            .with(logs.with_filter(filter))
            .with(traces.layer())
            .try_init(),
    };
    if installed.is_ok() {
        log_panics();
    }
    install_metrics();
    Telemetry { lines }
}

/// What was set up; dropping it writes the last lines.
#[must_use = "the last log lines are written when it is dropped"]
pub struct Telemetry {
    lines: Lines<Stderr>,
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        self.lines.flush();
    }
}

/// Sets metrics up: what is counted before that is lost.
pub(crate) fn install_metrics() {
    metrics();
}

/// A panic's message may quote what it failed on, so only its place is logged.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        tracing::error!(place, "a task panicked");
    }));
}

/// The process's metrics, in Prometheus' text format.
pub fn render_metrics() -> String {
    metrics().render()
}

/// Installs the recorder at its first call.
fn metrics() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BUCKETS)
            .expect("the buckets are not empty")
            .build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another metrics recorder is installed: /metrics stays empty");
            return handle;
        }
        let upkept = handle.clone();
        let upkeep = move || {
            loop {
                std::thread::park_timeout(UPKEEP);
                upkept.run_upkeep();
            }
        };
        let thread = std::thread::Builder::new().name("metrics-upkeep".to_owned());
        if let Err(error) = thread.spawn(upkeep) {
            tracing::warn!(%error, "metrics are folded in only when they are scraped");
        }
        handle
    })
}
