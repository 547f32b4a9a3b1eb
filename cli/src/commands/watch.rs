//! `dromos connections watch`.

use std::time::Duration;

use dromos_proto::v1::{WatchConnectionRequest, WatchConnectionResponse};
use serde_json::Value;
use tonic::{Code, Status};

use super::{answer, client};
use crate::{
    arguments::{Common, Output},
    client::Client,
    failure::Failure,
    json,
    output::{harmless, print},
    when,
};

/// How long a stream that broke is begun again, and how often.
const TRIES: u32 = 30;
const PAUSE: Duration = Duration::from_secs(1);

/// Prints each change of a connection as a line, until it is revoked or the
/// person has seen enough.
///
/// # Errors
///
/// What the gateway answered, or that it stays away.
pub async fn run(connection_id: String, common: &Common) -> Result<(), Failure> {
    let client = client(common)?;
    let mut request = WatchConnectionRequest {
        connection_id,
        resume_token: String::new(),
        include_credentials: false,
    };
    let mut tries = 0;
    loop {
        let ended = follow(&client, &mut request, common.output).await?;
        let Some(status) = ended else { return Ok(()) };
        // Before the first message there is nothing to go on with.
        let resumes = status.code() == Code::Unavailable && !request.resume_token.is_empty();
        tries += 1;
        if !resumes || tries > TRIES {
            return Err(client.failure(&status));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// One stream, to its end: the status that ended it, if it was one.
async fn follow(
    client: &Client,
    request: &mut WatchConnectionRequest,
    output: Output,
) -> Result<Option<Status>, Failure> {
    let opened = client.connections().watch_connection(request.clone()).await;
    let mut changes = match opened {
        Err(status) if !request.resume_token.is_empty() => return Ok(Some(status)),
        opened => answer(client, opened)?,
    };
    loop {
        match changes.message().await {
            Ok(Some(change)) => {
                request.resume_token.clone_from(&change.resume_token);
                print(&line(&change, output)?)?;
            }
            Ok(None) => return Ok(None),
            Err(status) => return Ok(Some(status)),
        }
    }
}

fn line(change: &WatchConnectionResponse, output: Output) -> Result<String, Failure> {
    if output == Output::Json {
        let pretty = json::render("WatchConnectionResponse", change)?;
        let value: Value = serde_json::from_str(&pretty)
            .map_err(|_| Failure::new("the answer is no dromos.v1.WatchConnectionResponse"))?;
        return Ok(value.to_string());
    }
    let at = change.occurred_at.as_ref().and_then(when::moment);
    let at = at.map_or_else(
        || "-".to_owned(),
        |at| at.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
    );
    let what = match change.event_type.as_str() {
        "" => "(now)".to_owned(),
        kind => harmless(kind),
    };
    let status = change.status().as_str_name();
    let mut line = format!("{at}  {what:<31} {status:<9}");
    if change.generation > 0 {
        line.push_str(&format!("  generation {}", change.generation));
    }
    if !change.reason.is_empty() {
        line.push_str(&format!("  {}", harmless(&change.reason)));
    }
    Ok(line.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use dromos_proto::v1::connection::Status as ConnectionStatus;

    use super::*;

    #[test]
    fn a_change_is_one_line() {
        let change = WatchConnectionResponse {
            event_type: "connection.attention".to_owned(),
            status: ConnectionStatus::Attention.into(),
            reason: "invalid_grant\nx".to_owned(),
            generation: 3,
            ..WatchConnectionResponse::default()
        };
        let text = line(&change, Output::Table).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(
            text.contains("ATTENTION") && text.contains("generation 3"),
            "{text}"
        );
        let json = line(&change, Output::Json).unwrap();
        assert_eq!(json.lines().count(), 1, "{json}");
    }
}
