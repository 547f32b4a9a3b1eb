//! `dromos up`: a broker and a gateway for development, in one process.

pub mod data_dir;
pub mod keys;
pub mod log;
pub mod services;
mod welcome;

use dromos_serve::{shutdown_signal, traces::Traces};
use tokio::time::Instant;

use self::{
    data_dir::DataDir,
    keys::Keys,
    services::{Places, Plan, Services, bind, ready},
};
use crate::{arguments::UpArguments, failure::Failure, output::print, style::Style};

/// Runs until a signal, or until a service fails.
///
/// # Errors
///
/// The services can't start, fail, or are interrupted while they stop.
pub async fn run(arguments: &UpArguments) -> Result<(), Failure> {
    let began = Instant::now();
    let traces = Traces::from_env("dromos").map_err(|error| Failure::new(error).configuration())?;
    let level = if arguments.verbose { "info" } else { "warn" };
    let _logs = log::init(level, traces.as_ref());
    let internal = bind("--broker-listen", arguments.broker_listen)?;
    let public = bind("--public-listen", arguments.public_listen)?;
    let data_dir = DataDir::open(&arguments.data_dir)?;
    let keys = Keys::open(&data_dir.path)?;
    let mut services = Services::start(Plan {
        data_dir: &data_dir.path,
        database_url: arguments.database_url.as_deref(),
        redis_url: arguments.redis_url.as_deref(),
        gateway: arguments.listen,
        internal,
        public,
        keys: &keys,
    })
    .await?;

    let places = services.places;
    let outcome = tokio::select! {
        () = shutdown_signal() => Ok(()),
        failure = services.ended() => Err(failure),
        Err(failure) = greet(arguments, &keys, &places, began) => Err(failure),
    };
    if outcome.is_ok() {
        print("Stopping: answering what is still asked, Ctrl-C again ends at once.")?;
    }
    let stopped = tokio::select! {
        stopped = services.stop() => stopped,
        () = shutdown_signal() => Err(Failure::new("ended before all requests were answered")),
    };
    if let Some(traces) = traces {
        traces.stop().await;
    }
    outcome.and(stopped)
}

/// Says that all is ready, once it is; ends with a failure only.
async fn greet(
    arguments: &UpArguments,
    keys: &Keys,
    places: &Places,
    began: Instant,
) -> Result<(), Failure> {
    let known = ready(&places.gateway_url(), &keys.admin).await?;
    let (data_dir, admin_file) = (&arguments.data_dir, &keys.admin_file);
    let style = Style::of_stdout();
    print(&welcome::text(
        places,
        data_dir,
        admin_file,
        began.elapsed(),
        style,
    ))?;
    if !known {
        eprintln!(
            "warning: the key in {} is not a key of this database, or no longer one;\n         \
             use another key, or begin anew with another --data-dir",
            admin_file.display()
        );
    }
    for address in [arguments.listen, arguments.broker_listen] {
        if !address.ip().is_loopback() {
            eprintln!("warning: {address} can be reached from other machines, in clear");
        }
    }
    Ok(())
}
