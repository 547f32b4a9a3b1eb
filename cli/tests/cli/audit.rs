use std::fs;

use serde_json::Value;

use crate::support::{PROVIDER, Place, run_with};

/// The files of heads that the broker wrote, as arguments.
fn heads(place: &Place) -> Vec<String> {
    let files = fs::read_dir(place.data("audit-heads")).unwrap();
    files
        .flat_map(|file| {
            let path = file.unwrap().path().display().to_string();
            ["--heads".to_owned(), path]
        })
        .collect()
}

#[test]
fn an_export_is_verified_offline_and_what_was_changed_is_named() {
    let place = Place::new();
    let up = place.up();
    let create = ["providers", "create", "-", "--gateway-url", &up.gateway()];
    run_with(&mut place.command(&create), PROVIDER).good();
    let export = ["audit", "export", "--to", "audit.jsonl", "--gateway-url"];
    place.run(&[&export[..], &[&up.gateway()]].concat()).good();
    assert_eq!(up.terminate().code(), Some(0));

    // Nothing runs any more; `dromos up` left its key here.
    let mut arguments = vec![
        "audit".to_owned(),
        "verify".to_owned(),
        "audit.jsonl".to_owned(),
    ];
    arguments.extend(heads(&place));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let verified = place.run(&arguments).good();
    assert!(
        verified.contains("every row is as it was written"),
        "{verified}"
    );
    let json = place
        .run(&[&arguments[..], &["--output", "json"]].concat())
        .good();
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["broken"], serde_json::json!([]));
    assert!(report["rows"].as_u64().unwrap() > 1, "{report}");

    // A key file may hold the keys before the current one too.
    let other_key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let key = fs::read_to_string(place.data("encryption.key")).unwrap();
    let two_keys = format!("{other_key}\n{}\n", key.trim());
    fs::write(place.path().join("two.key"), two_keys).unwrap();
    let with_two = ["audit", "verify", "audit.jsonl", "--key-file", "two.key"];
    place.run(&with_two).good();

    let whole = fs::read_to_string(place.path().join("audit.jsonl")).unwrap();
    let changed = whole.replacen("provider.created", "provider.deleted", 1);
    assert_ne!(changed, whole);
    fs::write(place.path().join("changed.jsonl"), changed).unwrap();
    let broken = place
        .command(&["audit", "verify", "changed.jsonl"])
        .output()
        .unwrap();
    assert_eq!(broken.status.code(), Some(1));
    let why = String::from_utf8(broken.stderr).unwrap();
    assert!(why.contains("changed") && why.contains("writer "), "{why}");

    let cut = whole.lines().count() - 1;
    let cut: String = whole
        .lines()
        .take(cut)
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(place.path().join("cut.jsonl"), cut).unwrap();
    fs::write(place.path().join("other.key"), other_key).unwrap();
    for arguments in [
        &["audit", "verify", "cut.jsonl"][..],
        &["audit", "verify", "not-there.jsonl"],
        &["audit", "verify", "audit.jsonl", "--key-file", "other.key"],
        &[
            "audit",
            "verify",
            "audit.jsonl",
            "--key-file",
            "audit.jsonl",
        ],
    ] {
        let unreadable = place.command(arguments).output().unwrap();
        assert_eq!(unreadable.status.code(), Some(2), "{arguments:?}");
    }
}
