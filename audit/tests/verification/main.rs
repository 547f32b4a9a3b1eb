//! What a verification finds, on chains that are made and broken here.

#![expect(clippy::unwrap_used, reason = "a test's own helpers")]

use chrono::{DateTime, Utc};
use dromos_audit::{
    BEGAN, CLOSED, ExportedRow, Fault, GENESIS, Key, Mark, MarkKind, Record, Report, Row,
    SYSTEM_WORKSPACE, Unreadable, WrappedKey, read_heads, verify,
};
use uuid::Uuid;

mod fuzz;

fn key() -> Key {
    Key::new(Uuid::from_u128(1), &[7; 32])
}

fn writer(number: u128) -> Uuid {
    Uuid::from_u128(0xA000 + number)
}

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
}

/// A writer's rows: its first, `events`, and its closing row if it is closed.
fn chain(number: u128, events: u64, closed: bool) -> Vec<ExportedRow> {
    let mut rows = Vec::new();
    let mut previous = GENESIS;
    for seq in 0..=events + u64::from(closed) {
        let system = seq == 0 || seq > events;
        let mut row = ExportedRow {
            writer_id: writer(number),
            seq,
            mac: vec![],
            id: Uuid::from_u128(number * 1000 + u128::from(seq)),
            workspace_id: if system {
                SYSTEM_WORKSPACE
            } else {
                Uuid::from_u128(5)
            },
            occurred_at: at(i64::try_from(seq).unwrap()),
            action: match seq {
                0 => BEGAN.to_owned(),
                _ if system => CLOSED.to_owned(),
                _ => "credential.read".to_owned(),
            },
            error: None,
            api_key_id: None,
            user_id: format!("user-{seq}"),
            connection_id: None,
            provider_name: "acme".to_owned(),
            request_id: if seq == 0 {
                key().id().to_string()
            } else {
                String::new()
            },
        };
        previous = key().sign(&previous, &signed(&row));
        row.mac = previous.to_vec();
        rows.push(row);
    }
    rows
}

fn signed(row: &ExportedRow) -> Row<'_> {
    Row {
        writer_id: row.writer_id,
        seq: row.seq,
        id: row.id,
        workspace_id: row.workspace_id,
        occurred_at: row.occurred_at.timestamp_micros(),
        action: &row.action,
        error: row.error.as_deref(),
        api_key_id: row.api_key_id,
        user_id: &row.user_id,
        connection_id: row.connection_id,
        provider_name: &row.provider_name,
        request_id: &row.request_id,
    }
}

fn mark(kind: MarkKind, row: Option<&ExportedRow>, second: i64) -> Mark {
    let mark = Mark {
        writer_id: row.map_or(Uuid::nil(), |row| row.writer_id),
        seq: row.map_or(0, |row| row.seq),
        row_mac: row.map(|row| row.mac.clone()).unwrap_or_default(),
        key_id: key().id(),
        at: at(second),
        mac: vec![],
    };
    mark.signed(kind, &key())
}

fn export(rows: &[ExportedRow], checkpoints: &[Mark]) -> Vec<Record> {
    let mut records = vec![
        Record::Header(mark(MarkKind::Export, None, 100)),
        Record::Key(WrappedKey {
            key_id: key().id(),
            kek_id: String::new(),
            wrapped: vec![],
        }),
    ];
    records.extend(checkpoints.iter().cloned().map(Record::Checkpoint));
    records.extend(rows.iter().cloned().map(Record::Row));
    let rows = rows.len() as u64;
    records.push(Record::End { rows });
    records
}

fn text(records: &[Record]) -> String {
    let lines = records
        .iter()
        .map(|record| serde_json::to_string(record).unwrap() + "\n");
    lines.collect()
}

fn try_check(records: &[Record], heads: Vec<Mark>) -> Result<Report, Unreadable> {
    verify(text(records).as_bytes(), |_| Ok(key()), heads)
}

fn check(rows: &[ExportedRow], heads: Vec<Mark>) -> Report {
    try_check(&export(rows, &[]), heads).unwrap()
}

/// The one finding: where, and what.
#[track_caller]
fn found(report: &Report) -> (Uuid, u64, Fault) {
    assert_eq!(report.broken.len(), 1, "{:?}", report.broken);
    let broken = &report.broken[0];
    (broken.writer_id, broken.seq, broken.fault)
}

#[test]
fn whole_chains_are_whole() {
    let rows = [chain(1, 5, true), chain(2, 0, false), chain(3, 9, false)].concat();
    let head = mark(MarkKind::Head, Some(&rows[4]), 50);
    let report = check(&rows, vec![head]);
    assert_eq!(report.broken, []);
    assert_eq!((report.rows, report.writers, report.closed), (18, 3, 1));
    assert_eq!(report.heads, 1);
}

#[test]
fn every_field_of_a_row_is_protected() {
    let changes: [fn(&mut ExportedRow); 12] = [
        |row| row.id = Uuid::from_u128(9),
        |row| row.workspace_id = Uuid::from_u128(9),
        |row| row.occurred_at = at(7),
        |row| row.occurred_at += chrono::TimeDelta::nanoseconds(1),
        |row| row.action.push('x'),
        |row| row.error = Some(String::new()),
        |row| row.api_key_id = Some(Uuid::nil()),
        |row| row.user_id.clear(),
        |row| row.connection_id = Some(Uuid::nil()),
        |row| row.provider_name.push(' '),
        |row| row.request_id.push('x'),
        |row| row.mac[31] ^= 1,
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut rows = chain(1, 5, false);
        change(&mut rows[3]);
        let report = check(&rows, vec![]);
        assert_eq!(
            found(&report),
            (writer(1), 3, Fault::Changed),
            "change {number}"
        );
        assert_eq!(report.broken[0].id, Some(rows[3].id));
    }
}

#[test]
fn a_changed_last_row_is_told_from_an_inserted_one_by_a_head() {
    let mut rows = chain(1, 5, false);
    let head = mark(MarkKind::Head, rows.last(), 50);
    rows[5].user_id.clear();
    assert_eq!(found(&check(&rows, vec![])).2, Fault::ChangedOrInserted);
    assert_eq!(found(&check(&rows, vec![head])).2, Fault::Changed);
}

#[test]
fn removed_rows_are_counted() {
    let mut rows = chain(1, 9, false);
    rows.drain(3..5);
    let gap = (writer(1), 3, Fault::Removed { rows: 2 });
    assert_eq!(found(&check(&rows, vec![])), gap);
    for row in &mut rows[3..] {
        row.seq -= 2;
    }
    assert_eq!(found(&check(&rows, vec![])), gap, "counted down to hide it");
    let mut rows = chain(1, 9, false);
    rows.drain(..2);
    assert_eq!(
        found(&check(&rows, vec![])),
        (writer(1), 0, Fault::Removed { rows: 2 })
    );
}

#[test]
fn an_inserted_row_is_found() {
    let mut rows = chain(1, 5, false);
    let mut made_up = rows[3].clone();
    made_up.id = Uuid::from_u128(99);
    for row in &mut rows[3..] {
        row.seq += 1;
    }
    rows.insert(3, made_up);
    let report = check(&rows, vec![]);
    assert_eq!(found(&report), (writer(1), 3, Fault::Inserted));
    assert_eq!(report.broken[0].id, Some(Uuid::from_u128(99)));
}

#[test]
fn nothing_may_follow_a_closing_row() {
    let mut rows = chain(1, 3, true);
    let mut made_up = rows[2].clone();
    made_up.seq = 5;
    rows.push(made_up);
    assert_eq!(
        found(&check(&rows, vec![])),
        (writer(1), 5, Fault::Inserted)
    );
}

#[test]
fn exchanged_rows_are_reordered() {
    for (one, other) in [(2, 3), (2, 5)] {
        let mut rows = chain(1, 6, false);
        rows.swap(one, other);
        rows[one].seq = one as u64;
        rows[other].seq = other as u64;
        assert_eq!(
            found(&check(&rows, vec![])),
            (writer(1), 2, Fault::Reordered)
        );
    }
}

#[test]
fn a_writer_of_somebody_elses_is_no_writer() {
    let mut rows = chain(1, 3, false);
    let mut made_up = chain(2, 3, false);
    for row in &mut made_up {
        row.mac = vec![1; 32];
    }
    rows.extend(made_up);
    assert_eq!(found(&check(&rows, vec![])).0, writer(2));
}

#[test]
fn heads_show_a_cut_tail_and_a_missing_writer() {
    let (whole, gone) = (chain(1, 6, false), chain(2, 3, false));
    let heads = vec![
        mark(MarkKind::Head, Some(&whole[2]), 10),
        mark(MarkKind::Head, Some(&whole[5]), 20),
        mark(MarkKind::Head, gone.last(), 20),
        mark(MarkKind::Head, whole.last(), 101),
    ];
    let report = check(&whole[..5], heads.clone());
    let found: Vec<_> = report
        .broken
        .iter()
        .map(|b| (b.writer_id, b.seq, b.fault))
        .collect();
    let cut = (writer(1), 5, Fault::CutTail { stood_at: 5 });
    assert_eq!(found, [cut, (writer(2), 3, Fault::MissingWriter)]);
    assert_eq!((report.heads, report.newer_heads), (3, 1));
    assert_eq!(check(&[whole, gone].concat(), heads).broken, []);
}

#[test]
fn a_chain_that_was_replaced_by_the_keys_holder_differs_from_its_head() {
    let before = chain(1, 4, false);
    let mut after = before.clone();
    after[2].user_id = "somebody else".to_owned();
    for seq in 2..5 {
        let previous: [u8; 32] = after[seq - 1].mac.clone().try_into().unwrap();
        after[seq].mac = key().sign(&previous, &signed(&after[seq])).to_vec();
    }
    assert_eq!(check(&after, vec![]).broken, []);
    let head = mark(MarkKind::Head, Some(&before[3]), 20);
    assert_eq!(
        found(&check(&after, vec![head])),
        (writer(1), 3, Fault::DiffersFromHead)
    );
}

#[test]
fn a_head_that_the_key_did_not_sign_is_not_believed() {
    let rows = chain(1, 3, false);
    let mut forged = mark(MarkKind::Head, rows.last(), 20);
    forged.seq += 5;
    assert_eq!(found(&check(&rows, vec![forged])).2, Fault::ForgedHead);
    let other = mark(MarkKind::Checkpoint, rows.last(), 20);
    assert_eq!(found(&check(&rows, vec![other])).2, Fault::ForgedHead);
}

#[test]
fn a_chain_may_begin_at_a_checkpoint() {
    let rows = chain(1, 6, true);
    let checkpoint = mark(MarkKind::Checkpoint, Some(&rows[3]), 50);
    let report = try_check(
        &export(&rows[4..], std::slice::from_ref(&checkpoint)),
        vec![],
    )
    .unwrap();
    assert_eq!(report.broken, []);
    assert_eq!((report.pruned, report.closed), (1, 1));

    let later = export(&rows[5..], std::slice::from_ref(&checkpoint));
    let fault = found(&try_check(&later, vec![]).unwrap());
    assert_eq!(fault, (writer(1), 4, Fault::Removed { rows: 1 }));

    let nothing = export(&[], std::slice::from_ref(&checkpoint));
    let fault = found(&try_check(&nothing, vec![]).unwrap()).2;
    assert_eq!(
        fault,
        Fault::CutTail { stood_at: 4 },
        "pruning leaves a row"
    );

    let mut moved = checkpoint;
    moved.seq = 4;
    moved.row_mac = rows[4].mac.clone();
    let forged = try_check(&export(&rows[5..], &[moved]), vec![]).unwrap();
    assert_eq!(forged.broken[0].fault, Fault::ForgedCheckpoint);
}

#[test]
fn an_export_that_is_not_whole_is_not_verified() {
    let whole = export(&chain(1, 3, false), &[]);
    for cut in 0..whole.len() {
        assert!(
            matches!(
                try_check(&whole[..cut], vec![]),
                Err(Unreadable::Incomplete(_))
            ),
            "{cut}"
        );
    }
    let mut fewer = whole.clone();
    fewer.remove(4);
    assert!(matches!(
        try_check(&fewer, vec![]),
        Err(Unreadable::Incomplete(_))
    ));
    let text = text(&whole).replace("credential", "\u{1}");
    let read = verify(text.as_bytes(), |_| Ok(key()), vec![]);
    assert!(matches!(read, Err(Unreadable::Line { line: 4, .. })));
    let other = verify(
        self::text(&whole).as_bytes(),
        |_| Err("no".to_owned()),
        vec![],
    );
    assert!(matches!(other, Err(Unreadable::Key(_))));
    let foreign = |_: &WrappedKey| Ok(Key::new(key().id(), &[8; 32]));
    let report = verify(self::text(&whole).as_bytes(), foreign, vec![]).unwrap();
    assert_eq!(report.broken[0].fault, Fault::ForgedHeader);
}

#[test]
fn lines_are_read_as_rest_streams_them() {
    let records = export(&chain(1, 2, false), &[]);
    let lines = records.iter().map(|record| {
        format!(
            "{{\"result\":{}}}\n",
            serde_json::to_string(record).unwrap()
        )
    });
    let text: String = lines.collect();
    let report = verify(text.as_bytes(), |_| Ok(key()), vec![]).unwrap();
    assert_eq!((report.rows, report.broken.len()), (3, 0));
    let broken_off = "{\"error\":{\"code\":14,\"message\":\"the database can't be reached\"}}\n";
    let text = text.replacen('\n', &format!("\n{broken_off}"), 1);
    let read = verify(text.as_bytes(), |_| Ok(key()), vec![]);
    assert!(matches!(read, Err(Unreadable::Incomplete(why)) if why.contains("can't be reached")));
}

#[test]
fn a_crash_in_the_middle_of_a_head_loses_that_head_alone() {
    let rows = chain(1, 2, false);
    let line = serde_json::to_string(&Record::Head(mark(MarkKind::Head, rows.last(), 9))).unwrap();
    let text = format!("{line}\n{line}\n{}", &line[..40]);
    assert_eq!(read_heads(text.as_bytes()).unwrap().len(), 2);
    let text = format!("{}\n{line}\n", &line[..40]);
    assert!(read_heads(text.as_bytes()).is_err());
}
