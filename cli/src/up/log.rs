//! Logs of services that run in this process: short lines on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Sets logging up; `level` holds where `RUST_LOG` says nothing.
pub fn init(level: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    // Fails where a subscriber is set already: then that one stays.
    let _ = tracing_subscriber::fmt()
        .compact()
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .with_env_filter(filter)
        .try_init();
    // A panic's message may quote what it failed on, so only its place is told.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        eprintln!("error: a task panicked at {}", place.unwrap_or_default());
    }));
}
