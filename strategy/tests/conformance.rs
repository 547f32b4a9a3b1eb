//! What holds for every strategy, whatever it does.

use dromos_strategy::{ApplyErrorKind, ConfigErrorKind, Strategy};
use http::request::Parts;
use proptest::{prelude::*, strategy::Strategy as _};
use serde_json::{Map, Value, json};

const SECRET: &str = "made-up-secret-4711";

fn every_strategy() -> impl Iterator<Item = Strategy> {
    Strategy::kinds().map(|kind| {
        Strategy::parse(kind, &Map::new())
            .unwrap_or_else(|error| panic!("{kind} can't do without settings: {error}"))
    })
}

/// Credentials that hold what the strategy needs, all of them `value`.
fn credentials(strategy: &Strategy, value: &Value) -> Map<String, Value> {
    let names = strategy.required_credentials();
    names
        .into_iter()
        .map(|name| (name.to_owned(), value.clone()))
        .collect()
}

fn request() -> Parts {
    let request = http::Request::get("https://api.acme.test/v1/items?limit=2")
        .header("accept", "application/json")
        .body(());
    request.expect("a valid request").into_parts().0
}

/// A request as text, header values in the clear.
fn text(parts: &Parts) -> String {
    let headers: Vec<_> = parts
        .headers
        .iter()
        .map(|(name, value)| (name, value.as_bytes()))
        .collect();
    format!("{} {} {headers:?}", parts.method, parts.uri)
}

#[test]
fn the_names_are_distinct_and_are_the_ones_that_parse() {
    let mut names: Vec<_> = Strategy::kinds().collect();
    assert_eq!(
        every_strategy()
            .map(|strategy| strategy.kind())
            .collect::<Vec<_>>(),
        names
    );
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Strategy::kinds().count());
}

#[test]
fn the_settings_it_shows_give_the_same_strategy() {
    for strategy in every_strategy() {
        let again = Strategy::parse(strategy.kind(), &strategy.config()).expect("its own settings");
        assert_eq!(again.config(), strategy.config());
        assert_eq!(
            again.required_credentials(),
            strategy.required_credentials()
        );
    }
}

#[test]
fn an_unknown_setting_is_refused_by_name() {
    for kind in Strategy::kinds() {
        let config = Map::from_iter([("no_such_setting".to_owned(), json!(1))]);
        let error = Strategy::parse(kind, &config).expect_err("an unknown setting");
        assert_eq!(error.kind(), ConfigErrorKind::UnknownField);
        assert_eq!(error.field(), "config.no_such_setting");
    }
}

#[test]
fn every_required_credential_is_missed_by_name_and_the_request_stays_as_it_was() {
    for strategy in every_strategy() {
        let whole = credentials(&strategy, &json!(SECRET));
        assert!(!whole.is_empty(), "{} needs a credential", strategy.kind());
        for name in strategy.required_credentials() {
            for (value, kind) in [
                (None, ApplyErrorKind::Missing),
                (Some(json!(null)), ApplyErrorKind::Missing),
                (Some(json!("")), ApplyErrorKind::Empty),
                (Some(json!(7)), ApplyErrorKind::WrongType),
            ] {
                let mut credentials = whole.clone();
                credentials.remove(name);
                credentials.extend(value.map(|value| (name.to_owned(), value)));
                let mut parts = request();
                let error = strategy
                    .apply(&credentials, &mut parts)
                    .expect_err("a bad credential");
                assert_eq!(error.kind(), kind);
                assert_eq!(error.field(), format!("credentials.{name}"));
                assert_eq!(text(&parts), text(&request()));
            }
        }
    }
}

#[test]
fn a_signed_request_carries_the_secret_and_its_debug_hides_it() {
    for strategy in every_strategy() {
        let mut parts = request();
        strategy
            .apply(&credentials(&strategy, &json!(SECRET)), &mut parts)
            .expect("signs");
        let carried = parts.headers.values().any(|value| {
            value.to_str().is_ok_and(|value| value.contains(SECRET)) && value.is_sensitive()
        });
        assert!(carried, "{}", strategy.kind());
        assert!(
            !format!("{parts:?}").contains(SECRET),
            "{}",
            strategy.kind()
        );
        assert!(
            !format!("{strategy:?}").contains(SECRET),
            "{}",
            strategy.kind()
        );
    }
}

#[test]
fn signing_twice_is_signing_once() {
    for strategy in every_strategy() {
        let credentials = credentials(&strategy, &json!(SECRET));
        let (mut once, mut twice) = (request(), request());
        strategy.apply(&credentials, &mut once).expect("signs");
        strategy.apply(&credentials, &mut twice).expect("signs");
        strategy.apply(&credentials, &mut twice).expect("signs");
        assert_eq!(text(&once), text(&twice), "{}", strategy.kind());
    }
}

#[test]
fn no_refusal_tells_the_secret() {
    for strategy in every_strategy() {
        let credentials = credentials(&strategy, &json!(format!("{SECRET}\r\nX-Evil: 1")));
        let error = strategy
            .apply(&credentials, &mut request())
            .expect_err("CR LF");
        assert_eq!(error.kind(), ApplyErrorKind::Invalid);
        assert!(!format!("{error} {error:?}").contains(SECRET));
        let error = strategy.metadata(&credentials).expect_err("CR LF");
        assert!(!format!("{error} {error:?}").contains(SECRET));
    }
}

fn any_json() -> impl proptest::strategy::Strategy<Value = Value> {
    prop_oneof![
        4 => any::<String>().prop_map(Value::from),
        2 => "[ -~]{0,12}[\\x00-\\x1f\\x7f]?[ -~]{0,4}".prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn signing_never_panics_and_never_yields_a_control_character(
        secret in any_json(),
        token_type in any_json(),
        header_name in "[!-~]{1,20}|\\PC{0,8}",
        value_prefix in "[ -~]{0,8}|\\PC{0,8}|[ -~]{0,4}[\\x00-\\x1f]",
    ) {
        let header = json!({ "header_name": header_name, "value_prefix": value_prefix });
        let header = header.as_object().expect("an object");
        let configured = Strategy::kinds().filter_map(|kind| Strategy::parse(kind, header).ok());
        for strategy in every_strategy().chain(configured) {
            let mut credentials = credentials(&strategy, &secret);
            credentials.insert("token_type".to_owned(), token_type.clone());
            let mut parts = request();
            match strategy.apply(&credentials, &mut parts) {
                Ok(()) => prop_assert_ne!(text(&parts), text(&request())),
                Err(_) => prop_assert_eq!(text(&parts), text(&request())),
            }
            for value in parts.headers.values() {
                prop_assert!(!value.as_bytes().iter().any(u8::is_ascii_control));
            }
            for (_, value) in strategy.metadata(&credentials).into_iter().flatten() {
                prop_assert!(!value.as_bytes().iter().any(u8::is_ascii_control));
                prop_assert!(value.is_sensitive());
            }
        }
    }
}
