use crate::support::Place;

#[test]
fn the_demo_succeeds_and_leaves_nothing_behind() {
    let place = Place::new();
    let mut command = place.command(&["demo"]);
    // Whatever it makes, it makes in here.
    let ran: crate::support::Ran = command.env("TMPDIR", place.path()).output().unwrap().into();
    assert_eq!(ran.stderr, "");
    let text = ran.good();
    for told in ["ACTIVE", "REVOKED", "CONNECTION_REVOKED", "claims checked"] {
        assert!(text.contains(told), "{told} is missing: {text}");
    }
    let left: Vec<_> = std::fs::read_dir(place.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_demo_shows_no_secret_and_is_plain_and_narrow_when_piped() {
    let text = Place::new().run(&["demo"]).good();
    assert!(!text.contains('\x1b'), "it is coloured: {text}");
    for line in text.lines() {
        assert!(line.chars().count() <= 88, "too wide: {line}");
    }
    assert!(!text.contains("sim secret"), "the client secret is shown");
    // Keys, tokens and states are long runs of base64url; ids are UUIDs.
    let runs = text.split(|c: char| !c.is_ascii_alphanumeric() && !"_-".contains(c));
    for run in runs.filter(|run| run.len() >= 24) {
        let groups: Vec<usize> = run.split('-').map(str::len).collect();
        assert_eq!(groups, [8, 4, 4, 4, 12], "this looks like a secret: {run}");
    }
}
