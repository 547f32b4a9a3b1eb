//! `dromos keys`.

use std::{
    io::{IsTerminal, Write},
    time::Duration,
};

use dromos_proto::v1::{
    DataKey, KeyRotation, ListKeysRequest, ListKeysResponse, RotateKeysRequest,
    key_rotation::Target,
};

use super::{PAGE_SIZE, answer, client};
use crate::{
    arguments::{Common, KeysCommand, Output},
    client::Client,
    failure::Failure,
    json,
    output::{Cell, Table, print},
    style::Style,
    when,
};

/// How often a rotation that is waited for is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Runs the command.
///
/// # Errors
///
/// What the gateway answered, or that it could not be asked; a rotation that
/// was waited for and could not do all.
pub async fn run(command: KeysCommand) -> Result<(), Failure> {
    match command {
        KeysCommand::Status { workspace, common } => status(workspace, &common).await,
        KeysCommand::Rotate {
            kek,
            workspace,
            wait,
            common,
        } => {
            let target = match kek {
                true => Target::KeyEncryptionKey,
                false => Target::DataKeys,
            };
            let request = RotateKeysRequest {
                target: target.into(),
                workspace_id: workspace.unwrap_or_default(),
                request_id: String::new(),
            };
            rotate(request, wait, &common).await
        }
    }
}

async fn status(workspace: Option<String>, common: &Common) -> Result<(), Failure> {
    let client = client(common)?;
    let keys = all_keys(&client, workspace.unwrap_or_default()).await?;
    if common.output == Output::Json {
        return print(&json::render("ListKeysResponse", &keys)?);
    }
    let style = Style::of_stdout();
    let now = when::now();
    let mut keks = Table::new(["KEY-ENCRYPTION KEY", "CURRENT", "DATA KEYS"], "");
    for kek in &keys.key_encryption_keys {
        keks.row([
            (&kek.id).into(),
            yes(kek.current),
            kek.data_keys.to_string().into(),
        ]);
    }
    let header = [
        "DATA KEY",
        "WORKSPACE",
        "KEY-ENCRYPTION KEY",
        "ACTIVE",
        "MADE",
        "SEALS",
        "ROWS LEFT",
    ];
    let mut data_keys = Table::new(header, "No data keys yet: nothing was stored.");
    for key in &keys.data_keys {
        data_keys.row([
            (&key.id).into(),
            (&key.workspace_id).into(),
            (&key.kek_id).into(),
            yes(key.active),
            when::relative(key.created_at.as_ref(), now).into(),
            key.seals.to_string().into(),
            key.rows_left.to_string().into(),
        ]);
    }
    let header = ["ROTATION", "OF", "WORKSPACE", "BEGUN", "PROGRESS", "ENDED"];
    let mut rotations = Table::new(header, "No rotations yet.");
    for rotation in &keys.rotations {
        rotations.row([
            (&rotation.id).into(),
            of(rotation).into(),
            match rotation.workspace_id.as_str() {
                "" => "all",
                id => id,
            }
            .into(),
            when::relative(rotation.started_at.as_ref(), now).into(),
            progress(rotation),
            when::relative(rotation.finished_at.as_ref(), now).into(),
        ]);
    }
    let tables = [&keks, &data_keys, &rotations].map(|table| table.render(style));
    print(&tables.join("\n\n"))
}

/// All data keys, with the first page's other parts.
async fn all_keys(client: &Client, workspace_id: String) -> Result<ListKeysResponse, Failure> {
    let mut all = ListKeysResponse::default();
    let mut data_keys: Vec<DataKey> = Vec::new();
    loop {
        let request = ListKeysRequest {
            page_size: PAGE_SIZE,
            page_token: all.next_page_token.clone(),
            workspace_id: workspace_id.clone(),
        };
        let page = answer(client, client.keys().list_keys(request).await)?;
        if !page.next_page_token.is_empty() && page.next_page_token == all.next_page_token {
            return Err(Failure::new("the gateway's list has no end"));
        }
        all = page;
        data_keys.append(&mut all.data_keys);
        if all.next_page_token.is_empty() {
            all.data_keys = data_keys;
            return Ok(all);
        }
    }
}

async fn rotate(request: RotateKeysRequest, wait: bool, common: &Common) -> Result<(), Failure> {
    let client = client(common)?;
    let begun = answer(&client, client.keys().rotate_keys(request).await)?;
    let rotation = match wait {
        true => wait_for(&client, begun).await?,
        false => begun,
    };
    let failed = rotation.failed;
    match common.output {
        Output::Json => print(&json::render("KeyRotation", &rotation)?)?,
        Output::Table if rotation.finished_at.is_some() => {
            print(&format!(
                "Rotated {}: {}.",
                of(&rotation),
                amount(&rotation)
            ))?;
        }
        Output::Table => {
            print(&format!("The rotation of {} has begun.", of(&rotation)))?;
            eprintln!("`dromos keys status` shows how far it is.");
        }
    }
    match failed {
        0 => Ok(()),
        failed => Err(Failure::new(format!(
            "{failed} could not be decrypted, and stay as they are"
        ))
        .next("the broker's log names them")),
    }
}

async fn wait_for(client: &Client, begun: KeyRotation) -> Result<KeyRotation, Failure> {
    let shown = std::io::stderr().is_terminal();
    loop {
        let request = ListKeysRequest {
            page_size: 1,
            // No workspace's: nothing is counted that is not looked at.
            workspace_id: begun.id.clone(),
            ..ListKeysRequest::default()
        };
        let keys = answer(client, client.keys().list_keys(request).await)?;
        let found = keys.rotations.into_iter().find(|now| now.id == begun.id);
        let Some(now) = found else {
            return Err(Failure::new("the rotation is not listed any more")
                .next("`dromos keys status` shows the last ones"));
        };
        let ended = now.finished_at.is_some();
        if shown {
            eprint!("\r\x1b[2K{}", line(&now));
            if ended {
                eprintln!();
            }
            // A progress that can't be shown is no reason to stop.
            let _ = std::io::stderr().flush();
        }
        if ended {
            return Ok(now);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// A bar of 30, and the numbers.
fn line(rotation: &KeyRotation) -> String {
    let (done, total) = (u64::from(rotation.done), u64::from(rotation.total));
    let filled = usize::try_from(done * 30 / total.max(1))
        .unwrap_or(30)
        .min(30);
    let bar = format!("{}{}", "█".repeat(filled), "░".repeat(30 - filled));
    format!("Rotating {} {bar} {done} of {total}", of(rotation))
}

fn of(rotation: &KeyRotation) -> &'static str {
    match rotation.target() {
        Target::KeyEncryptionKey => "the key-encryption key",
        _ => "data keys",
    }
}

fn amount(rotation: &KeyRotation) -> String {
    let (what, which) = match rotation.target() {
        Target::KeyEncryptionKey => ("data key", "wrapped again"),
        _ => ("stored secret", "encrypted again"),
    };
    let done = rotation.done - rotation.failed.min(rotation.done);
    let plural = if done == 1 { "" } else { "s" };
    format!("{done} {what}{plural} {which}")
}

fn progress(rotation: &KeyRotation) -> Cell {
    let text = format!("{} of {}", rotation.done, rotation.total);
    match rotation.failed {
        0 => text.into(),
        failed => Cell::painted(&format!("{text} ({failed} failed)"), Style::bad),
    }
}

fn yes(value: bool) -> Cell {
    match value {
        true => Cell::painted("yes", Style::good),
        false => "no".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_fills_with_what_is_done() {
        let rotation = |done, total| KeyRotation {
            target: Target::DataKeys.into(),
            done,
            total,
            ..KeyRotation::default()
        };
        let empty = line(&rotation(0, 0));
        assert!(empty.contains(&"░".repeat(30)), "{empty}");
        let half = line(&rotation(50, 100));
        assert!(
            half.contains(&"█".repeat(15)) && half.contains(&"░".repeat(15)),
            "{half}"
        );
        let full = line(&rotation(100, 100));
        assert!(
            full.ends_with(&format!("{} 100 of 100", "█".repeat(30))),
            "{full}"
        );
    }
}
