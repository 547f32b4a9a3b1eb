//! Fuzz targets for the reader of exports and heads. Each runs for a bounded
//! time with `cargo test`, and for as long as one likes with `cargo bolero test`.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use dromos_audit::{
    ExportedRow, Mark, MarkKind, Record, SYSTEM_WORKSPACE, WrappedKey, read_heads, read_line,
    verify,
};

use super::{chain, export, key, mark, text};

const TIME: Duration = Duration::from_secs(3);

/// Three changes of four bytes.
const CHANGES: usize = 12;

/// What exports are made of.
const WORDS: &[&str] = &[
    "\n",
    "{\"header\":{",
    "{\"key\":{",
    "{\"checkpoint\":{",
    "{\"row\":{",
    "{\"head\":{",
    "{\"end\":{\"rows\":\"0\"}}",
    "{\"end\":{\"rows\":\"1\"}}",
    "{\"error\":{\"message\":\"\"}}",
    "{\"result\":",
    "}}",
    "}",
    ",",
    "\"writer_id\":\"00000000-0000-0000-0000-000000000000\"",
    "\"writer_id\":\"00000000-0000-0000-0000-00000000a001\"",
    "\"id\":\"00000000-0000-0000-0000-000000000001\"",
    "\"workspace_id\":\"00000000-0000-0000-0000-000000000000\"",
    "\"key_id\":\"00000000-0000-0000-0000-000000000001\"",
    "\"kek_id\":\"\"",
    "\"wrapped\":\"\"",
    "\"seq\":\"0\"",
    "\"seq\":\"18446744073709551615\"",
    "\"seq\":-1",
    "\"action\":\"audit.writer_began\"",
    "\"action\":\"audit.writer_closed\"",
    "\"request_id\":\"00000000-0000-0000-0000-000000000001\"",
    "\"occurred_at\":\"2027-01-15T08:00:00Z\"",
    "\"occurred_at\":\"+262142-12-31T23:59:60.999999999Z\"",
    "\"at\":\"2027-01-15T08:00:00Z\"",
    "\"at\":\"-262143-01-01T00:00:00Z\"",
    "\"mac\":\"AAAA\"",
    "\"row_mac\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"",
];
/// What a forger would put into a true line.
const FORGERIES: &[&str] = &[
    "0",
    "1",
    "9",
    "true",
    "null",
    "Z",
    "+00:00",
    ".000000001",
    "\\u0000",
    "A",
    "=",
    "\"",
    ",",
    "{}",
    " ",
    "\n",
    "-",
    "é",
    "system",
    "audit.writer_closed",
    "\"error\":\"\",",
    "\"note\":\"x\",",
    "\"seq\":\"1\",",
];

fn made_of(input: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for byte in input {
        match WORDS.get(usize::from(byte >> 1)) {
            Some(word) => bytes.extend_from_slice(word.as_bytes()),
            None => bytes.push(*byte),
        }
    }
    bytes
}

/// Changes a text: each four bytes of input say what is done, and where.
fn mutated(text: &str, input: &[u8]) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for change in input.chunks_exact(4) {
        let [what, high, low, with] = [change[0], change[1], change[2], change[3]];
        let place = usize::from(u16::from_be_bytes([high, low]));
        let mut lines: Vec<Vec<u8>> = bytes.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
        let line = place % lines.len();
        let other = usize::from(with) % lines.len();
        match what % 8 {
            0 => drop(lines.remove(line)),
            1 => lines.swap(line, other),
            2 => lines.insert(other, lines[line].clone()),
            _ => {}
        }
        bytes = lines.join(&b'\n');
        if bytes.is_empty() {
            return bytes;
        }
        let at = place % bytes.len();
        let word = FORGERIES[usize::from(with) % FORGERIES.len()].as_bytes();
        match what % 8 {
            3 => bytes[at] ^= with,
            4 => drop(bytes.remove(at)),
            // Where a value begins or ends: anywhere else it is seldom read at all.
            5 => {
                let ends = |b: &u8| matches!(b, b'"' | b'Z' | b',' | b'{' | b'}');
                let ends: Vec<usize> = (0..bytes.len()).filter(|i| ends(&bytes[*i])).collect();
                let at = ends.get(place % ends.len().max(1)).map_or(at, |end| *end);
                drop(bytes.splice(at..at, word.iter().copied()));
            }
            6 => drop(bytes.splice(at..(at + word.len()).min(bytes.len()), word.iter().copied())),
            7 => bytes[at] = with,
            _ => {}
        }
    }
    bytes
}

/// The records of a text, as far as it holds any.
fn records(bytes: &[u8]) -> impl Iterator<Item = Record> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let lines: Vec<Record> = text.lines().flat_map(read_line).collect();
    lines.into_iter()
}

/// A forger would not forget to count, either.
fn counted_again(bytes: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let is_row = |line: &&str| matches!(read_line(line), Ok(Record::Row(_)));
    let rows = text.lines().filter(is_row).count();
    let lines = text.lines().map(|line| match read_line(line) {
        Ok(Record::End { .. }) => format!("{{\"end\":{{\"rows\":\"{rows}\"}}}}\n"),
        _ => format!("{line}\n"),
    });
    lines.collect::<String>().into_bytes()
}

/// The rows that a chain protects, each writer's in their order.
fn protected(bytes: &[u8]) -> Vec<ExportedRow> {
    let mut rows: Vec<ExportedRow> = records(bytes)
        .filter_map(|record| match record {
            Record::Row(row) if row.writer_id != SYSTEM_WORKSPACE => Some(row),
            _ => None,
        })
        .collect();
    rows.sort_by_key(|row| row.writer_id);
    rows
}

fn unwrap(wrapped: &WrappedKey) -> Result<dromos_audit::Key, String> {
    match wrapped.key_id == key().id() {
        true => Ok(key()),
        false => Err("no key of ours".to_owned()),
    }
}

#[test]
fn fuzz_no_bytes_make_the_reader_panic_or_pass_for_an_audit() {
    bolero::check!()
        .with_test_time(TIME)
        .for_each(|input: &[u8]| {
            let bytes = made_of(input);
            let heads = read_heads(&bytes[..]).unwrap_or_default();
            if let Ok(report) = verify(&bytes[..], unwrap, heads) {
                // Not even the header can be made up without the key.
                assert!(!report.broken.is_empty());
                let rows = records(&bytes).filter(|one| matches!(one, Record::Row(_)));
                assert_eq!(report.rows, rows.count() as u64);
            }
        });
}

#[test]
fn fuzz_an_export_that_was_changed_is_never_called_whole() {
    let (one, two) = (chain(1, 2, true), chain(2, 1, false));
    let pruned = chain(3, 4, false);
    let heads: Vec<Mark> = [&one, &two, &pruned]
        .map(|rows| mark(MarkKind::Head, rows.last(), 50))
        .to_vec();
    let checkpoint = mark(MarkKind::Checkpoint, Some(&pruned[2]), 40);
    let rows = [&one[..], &two, &pruned[3..]].concat();
    let whole = text(&export(&rows, &[checkpoint]));
    let written = protected(whole.as_bytes());
    let check = |bytes: &[u8]| verify(bytes, unwrap, heads.clone());
    let (read, broken) = (AtomicU64::new(0), AtomicU64::new(0));
    assert!(check(whole.as_bytes()).unwrap().broken.is_empty());
    bolero::check!()
        .with_test_time(TIME)
        // A few changes: many leave nothing that could be read.
        .with_max_len(CHANGES)
        .for_each(|input: &[u8]| {
            let changed = mutated(&whole, input);
            for bytes in [counted_again(&changed), changed] {
                let Ok(report) = check(&bytes) else { continue };
                read.fetch_add(1, Relaxed);
                if report.broken.is_empty() {
                    assert_eq!(protected(&bytes), written);
                    assert_eq!(report.heads, 3);
                } else {
                    broken.fetch_add(1, Relaxed);
                }
            }
        });
    let (read, broken) = (read.into_inner(), broken.into_inner());
    println!("{read} changed exports could be read; {broken} were found broken");
    assert!(broken > 0, "nothing was changed that could be read");
}

#[test]
fn fuzz_a_head_that_was_changed_is_never_believed() {
    let rows = [chain(1, 4, true), chain(2, 3, false)].concat();
    let whole = text(&export(&rows, &[]));
    let heads: Vec<Mark> = [2, 4, 7]
        .map(|row| mark(MarkKind::Head, Some(&rows[row]), 50))
        .to_vec();
    let lines: Vec<Record> = heads.iter().cloned().map(Record::Head).collect();
    let lines = text(&lines);
    bolero::check!()
        .with_test_time(TIME)
        // A few changes: many leave nothing that could be read.
        .with_max_len(CHANGES)
        .for_each(|input: &[u8]| {
            let Ok(read) = read_heads(&mutated(&lines, input)[..]) else {
                return;
            };
            let report = verify(whole.as_bytes(), unwrap, read.clone()).unwrap();
            assert_eq!(report.heads + report.newer_heads, read.len() as u64);
            if report.broken.is_empty() {
                let compared = read.iter().filter(|head| head.at <= report.exported_at);
                for head in compared {
                    assert!(heads.contains(head), "{head:?}");
                }
            }
        });
}
