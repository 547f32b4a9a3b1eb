use std::io::Write;

use dromos_serve::{Settings, SettingsError};

#[test]
fn the_environment_overrides_the_file() {
    let settings = Settings::from_map([("LISTEN", "127.0.0.1:1")])
        .with_toml("listen = \"127.0.0.1:2\"\nbase_url = \"http://localhost\"")
        .unwrap();
    assert_eq!(settings.optional("LISTEN").as_deref(), Some("127.0.0.1:1"));
    assert_eq!(
        settings.optional("BASE_URL").as_deref(),
        Some("http://localhost")
    );
}

#[test]
fn a_file_may_spell_names_either_way_and_hold_numbers_flags_and_lists() {
    let text =
        "RATE_LIMIT_PER_KEY = 20\nallow_private_networks = true\nApi_Keys = [\"one\", \"two\"]";
    let settings = Settings::from_map([("X", "")]).with_toml(text).unwrap();
    assert_eq!(
        settings
            .parsed::<u32>("RATE_LIMIT_PER_KEY", "a number")
            .unwrap(),
        Some(20)
    );
    assert!(settings.flag("ALLOW_PRIVATE_NETWORKS").unwrap());
    assert_eq!(settings.list("API_KEYS"), ["one", "two"]);
}

#[test]
fn an_empty_setting_counts_as_absent() {
    let settings = Settings::from_map([("LISTEN", "  "), ("API_KEYS", " , ,")]);
    assert_eq!(settings.optional("LISTEN"), None);
    assert_eq!(
        settings.required("LISTEN", "x"),
        Err(SettingsError::missing("LISTEN", "x"))
    );
    assert!(settings.list("API_KEYS").is_empty());
    assert!(!settings.flag("ABSENT").unwrap());
}

#[test]
fn a_missing_setting_is_one_line_that_names_it_and_how_to_make_one() {
    let how = "32 random bytes, base64; make one with `openssl rand -base64 32`";
    let error = Settings::from_map([("X", "")])
        .required("ENCRYPTION_KEY", how)
        .unwrap_err();
    let line = "ENCRYPTION_KEY is missing: 32 random bytes, base64; make one with `openssl rand -base64 32`";
    assert_eq!(error.to_string(), line);
}

#[test]
fn neither_an_error_nor_debug_shows_a_value() {
    let settings = Settings::from_map([("PORT", "hunter2"), ("FLAG", "hunter2")])
        .with_toml("other = \"hunter2\"")
        .unwrap();
    let port = settings.parsed::<u16>("PORT", "a port").unwrap_err();
    let flag = settings.flag("FLAG").unwrap_err();
    let shown = format!("{settings:?} {port} {port:?} {flag} {flag:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
    assert_eq!(port.to_string(), "PORT is malformed: a port");
}

#[test]
fn a_broken_file_is_told_by_its_line_and_not_by_its_content() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "listen = \"127.0.0.1:1\"\napi_key = \"hunter2").unwrap();
    let error = Settings::load(Some(file.path())).unwrap_err().to_string();
    assert!(error.ends_with("line 2 is not valid TOML"), "{error}");
    assert!(
        !error.contains("hunter2") && !error.contains('\n'),
        "{error}"
    );
}

#[test]
fn an_absent_file_and_a_nested_table_are_errors() {
    let absent = std::path::Path::new("absent.toml");
    let error = Settings::load(Some(absent)).unwrap_err().to_string();
    assert!(
        error.starts_with("the configuration file absent.toml can't be used: "),
        "{error}"
    );
    let nested = Settings::from_map([("X", "")])
        .with_toml("[api_keys]\na = 1")
        .unwrap_err();
    assert!(
        nested.to_string().starts_with("API_KEYS is malformed: "),
        "{nested}"
    );
}
