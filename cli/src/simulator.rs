//! `dromos simulator`: a provider on this machine, to try things with.

use std::io::Write as _;

use dromos_simulator::{Behaviour, Simulator, SimulatorConfig};

use crate::{arguments::SimulatorArguments, failure::Failure};

/// Runs the provider until it is told to stop.
///
/// # Errors
///
/// The port is taken.
pub async fn run(arguments: &SimulatorArguments) -> Result<(), Failure> {
    let config = SimulatorConfig {
        redirect_uris: arguments.redirect_uri.clone(),
        port: arguments.port,
        behaviour: Behaviour {
            auto_approve: arguments.auto_approve,
            ..Behaviour::default()
        },
        ..SimulatorConfig::default()
    };
    let simulator = Simulator::start_with(config).await.map_err(|error| {
        Failure::new(format!(
            "port {} can't be used ({error}); choose another with --port",
            arguments.port
        ))
    })?;
    let mut out = std::io::stdout().lock();
    let written = writeln!(
        out,
        "A simulated provider runs; Ctrl-C stops it.\n\n\
         issuer         {issuer}\n\
         client_id      {client_id}\n\
         client_secret  {client_secret}\n\
         redirect_uri   {redirect_uris}\n\
         its API        {issuer}/api/me, with a Bearer token",
        issuer = simulator.url(),
        client_id = simulator.client_id(),
        client_secret = simulator.client_secret(),
        redirect_uris = arguments.redirect_uri.join("\n               "),
    );
    drop(out);
    written.map_err(|error| Failure::new(format!("nothing can be printed: {error}")))?;
    dromos_serve::shutdown_signal().await;
    simulator.shutdown().await;
    Ok(())
}
