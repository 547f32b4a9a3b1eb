//! `dromos demo`: the life of a connection, played in this process against a
//! simulated provider. Every claim that it prints is checked first.

mod connecting;
mod ending;
mod stage;
mod usage;
mod world;

use dromos_serve::shutdown_signal;
use tokio::net::TcpStream;

use self::{stage::Stage, world::World};
use crate::{failure::Failure, style::Style, up::log};

/// Plays the demo.
///
/// # Errors
///
/// What went wrong, and at which step; or a signal.
pub async fn run() -> Result<(), Failure> {
    let _logs = log::init("error", None);
    let place = tempfile::Builder::new()
        .prefix("dromos-demo-")
        .tempdir()
        .map_err(|error| Failure::new(format!("no temporary directory can be made: {error}")))?;
    let mut stage = Stage::new(Style::of_stdout());
    let played = tokio::select! {
        played = play(&mut stage, &place) => played.map_err(|failure| stage.located(failure)),
        () = shutdown_signal() => Err(Failure::new("interrupted")),
    };
    let path = place.path().to_owned();
    let removed = place.close();
    played?;
    removed.map_err(|error| Failure::new(format!("{} stays behind: {error}", path.display())))?;
    stage.check(!path.exists(), "The temporary directory is removed")?;
    stage.end()
}

async fn play(stage: &mut Stage, place: &tempfile::TempDir) -> Result<(), Failure> {
    stage.say("The life of a connection, against a simulated provider on this machine.")?;
    let world = World::start(stage, place.path()).await?;
    let addresses = world.addresses()?;
    let played = story(stage, &world).await;
    let stopped = world.stop().await;
    played?;
    stage.step("Stop everything")?;
    stopped?;
    let mut answering = 0;
    for address in &addresses {
        answering += u32::from(TcpStream::connect(address).await.is_ok());
    }
    stage.check(
        answering == 0,
        "Nothing listens any more: gateway, broker and provider have ended",
    )
}

async fn story(stage: &mut Stage, world: &World) -> Result<(), Failure> {
    connecting::register_the_provider(stage, world).await?;
    let agent = connecting::give_the_agent_a_key(stage, world).await?;
    let request = connecting::ask_for_a_connection(stage, world).await?;
    connecting::consent(stage, world, &request).await?;
    let connection_id = request.connection_id.as_str();
    connecting::look_at_the_connection(stage, world, connection_id).await?;

    let first = usage::get_the_credential(stage, world, connection_id).await?;
    usage::call_the_api(stage, world, &agent, connection_id).await?;
    let newest = usage::refresh_twice(stage, world, connection_id, &first).await?;
    usage::outlive_a_token(stage, world, &agent, connection_id, &newest).await?;

    ending::revoke(stage, world, connection_id, &newest).await?;
    ending::be_refused(stage, world, &agent, connection_id).await?;
    ending::read_the_audit(stage, world, &agent, connection_id).await
}
