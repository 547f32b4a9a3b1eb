//! What is shipped for operators fits the services: alerts and dashboard ask
//! for metrics that exist, the rules do what their tests say, and every alert
//! leads to words on what to do.

#![expect(clippy::unwrap_used, reason = "a test's own helpers")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

const ALERTS: &str = "deploy/prometheus/alerts.yml";
const DASHBOARD: &str = "deploy/grafana/dromos.json";
/// Prometheus' own.
const UP: &str = "up";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn sources(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(fs::read_to_string(path).unwrap());
        }
    }
}

/// The names that the services register, histograms with their series.
fn registered() -> BTreeSet<String> {
    let mut texts = Vec::new();
    for folder in ["broker/src", "gateway/src", "serve/src"] {
        sources(&root().join(folder), &mut texts);
    }
    let mut names = BTreeSet::new();
    for text in &texts {
        for (kind, is_histogram) in [("counter!", false), ("gauge!", false), ("histogram!", true)] {
            for (at, _) in text.match_indices(kind) {
                let argument = text[at + kind.len()..].trim_start_matches('(').trim_start();
                if let Some(name) = argument.strip_prefix('"') {
                    add(&mut names, name.split('"').next().unwrap(), is_histogram);
                }
            }
        }
        // Those whose names begin with the service's.
        for (at, prefix) in text.match_indices("format!(\"{service}_") {
            let name = text[at + prefix.len()..].split('"').next().unwrap();
            for service in ["gateway", "broker"] {
                let is_histogram = name.ends_with("_seconds");
                add(&mut names, &format!("{service}_{name}"), is_histogram);
            }
        }
    }
    names
}

fn add(names: &mut BTreeSet<String>, name: &str, is_histogram: bool) {
    if is_histogram {
        for series in ["bucket", "sum", "count"] {
            names.insert(format!("{name}_{series}"));
        }
    } else {
        names.insert(name.to_owned());
    }
}

/// The metrics that a PromQL expression asks for: its words, without functions,
/// keywords, labels, durations and strings.
fn asked(expression: &str) -> BTreeSet<String> {
    let mut rest = String::new();
    let mut depth = 0;
    for character in expression.chars() {
        match character {
            '{' | '[' => depth += 1,
            '}' | ']' => {
                depth -= 1;
                rest.push(' ');
            }
            other if depth == 0 => rest.push(other),
            _ => {}
        }
    }
    for group in ["by", "without", "on", "ignoring"] {
        while let Some(at) = rest.find(&format!("{group} (")) {
            let end = at + rest[at..].find(')').expect("a closed list of labels");
            rest.replace_range(at..=end, " ");
        }
    }
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut names = BTreeSet::new();
    let mut start = None;
    for (at, character) in rest.char_indices().chain([(rest.len(), ' ')]) {
        match (start, is_word(character)) {
            (None, true) => start = Some(at),
            (Some(from), false) => {
                let word = &rest[from..at];
                let is_call = rest[at..].trim_start().starts_with('(');
                let is_number = word.starts_with(|c: char| c.is_ascii_digit());
                if !is_call && !is_number && !["and", "or", "unless"].contains(&word) {
                    names.insert(word.to_owned());
                }
                start = None;
            }
            _ => {}
        }
    }
    names
}

struct Alert {
    name: String,
    expression: String,
    runbook_url: String,
}

/// The file's own, plain form: `- alert:`, then `expr:` on its line or folded
/// below it.
fn alerts() -> Vec<Alert> {
    let text = read(ALERTS);
    let alerts: Vec<Alert> = text
        .split("- alert: ")
        .skip(1)
        .map(|block| {
            let (name, block) = block.split_once('\n').unwrap();
            let (_, expression) = block.split_once("expr: ").expect("an expression");
            let end = expression
                .find("\n        for:")
                .or_else(|| expression.find("\n        labels:"));
            let expression = expression[..end.expect("labels")].trim_start_matches(">-");
            let runbook_url = block.split_once("runbook_url: ").expect("a runbook").1;
            Alert {
                name: name.to_owned(),
                expression: expression.to_owned(),
                runbook_url: runbook_url.lines().next().unwrap().to_owned(),
            }
        })
        .collect();
    assert!(alerts.len() > 10, "they were not found");
    alerts
}

fn dashboard_expressions() -> Vec<String> {
    fn collect(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match value {
                        Value::String(text) if name == "expr" => found.push(text.clone()),
                        _ => collect(value, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
            _ => {}
        }
    }
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).expect("valid JSON");
    let mut found = Vec::new();
    collect(&dashboard, &mut found);
    assert!(found.len() > 10, "they were not found");
    found
}

#[test]
fn alerts_and_dashboard_ask_only_for_metrics_that_exist() {
    let registered = registered();
    for known in [
        "connections",
        "gateway_requests_total",
        "oauth_exchange_duration_seconds_bucket",
    ] {
        assert!(
            registered.contains(known),
            "{known} was not found in the sources"
        );
    }
    let alerts = alerts();
    let expressions = alerts.iter().map(|alert| alert.expression.clone());
    for expression in expressions.chain(dashboard_expressions()) {
        let asked = asked(&expression);
        assert!(!asked.is_empty(), "nothing is asked for: {expression}");
        for name in asked {
            assert!(
                name == UP || registered.contains(&name),
                "no service has the metric {name}: {expression}"
            );
        }
    }
}

#[test]
fn the_names_in_an_expression_are_found() {
    let names = asked(
        r#"sum by (le) (rate(a_bucket{b="c", d=~"e|f"}[5m])) / max(g) > 0.01 * 3e2 and h unless on (i) j == 365 * 86400"#,
    );
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(names, ["a_bucket", "g", "h", "j"]);
}

#[test]
fn every_alert_says_what_to_do() {
    let guide = read("docs/operations.md");
    let tested = read("deploy/prometheus/alerts.test.yml");
    for Alert {
        name, runbook_url, ..
    } in alerts()
    {
        let anchor = name.to_lowercase();
        assert_eq!(
            runbook_url,
            format!("docs/operations.md#{anchor}"),
            "{name}"
        );
        assert!(
            guide.contains(&format!("\n### {name}\n")),
            "no heading for {name}"
        );
        assert!(
            tested.contains(&format!("alertname: {name}\n")),
            "no test for {name}"
        );
    }
}

#[test]
fn the_rules_do_what_their_tests_say() {
    for arguments in [
        ["check", "config", "prometheus.yml"],
        ["test", "rules", "alerts.test.yml"],
    ] {
        let ran = Command::new("promtool")
            .args(arguments)
            .current_dir(root().join("deploy/prometheus"))
            .output()
            .expect("promtool is missing: run `cargo xtask setup`");
        let told = String::from_utf8_lossy(&ran.stdout) + String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "promtool {arguments:?}: {told}");
    }
}
