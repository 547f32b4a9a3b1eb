//! Logs of services that run in this process: short lines on standard error.

use dromos_serve::{
    telemetry::{self, LogFormat, Telemetry},
    traces::Traces,
};

/// Sets logging up; `level` holds where `RUST_LOG` says nothing. Keep what it
/// returns: the last lines are written when it goes.
pub fn init(level: &str, traces: Option<&Traces>) -> Telemetry {
    let logs = telemetry::init(LogFormat::Compact, level, traces);
    // A panic's message may quote what it failed on, so only its place is told.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        eprintln!("error: a task panicked at {}", place.unwrap_or_default());
    }));
    logs
}
