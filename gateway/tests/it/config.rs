use std::process::Command;

use dromos_gateway::Config;
use dromos_serve::Settings;

const KEY: (&str, &str) = ("BROKER_API_KEY", "service-key-0123456789");
const URL: (&str, &str) = ("BROKER_URL", "http://127.0.0.1:9090");

fn error(pairs: &[(&str, &str)]) -> String {
    Config::from_settings(&Settings::from_map(pairs.iter().copied()))
        .unwrap_err()
        .to_string()
}

#[test]
fn two_settings_are_enough() {
    let config = Config::from_settings(&Settings::from_map([URL, KEY])).unwrap();
    assert_eq!(config.listen, "0.0.0.0:8080");
    assert!(config.tls.is_none() && config.cors_allowed_origins.is_empty());
}

#[test]
fn each_setting_that_cant_be_used_is_named() {
    for (pairs, named) in [
        (&[KEY][..], "BROKER_URL is missing: "),
        (&[URL], "BROKER_API_KEY is missing: "),
        (
            &[URL, ("BROKER_API_KEY", "hunter2")],
            "BROKER_API_KEY is malformed: ",
        ),
        (
            &[KEY, ("BROKER_URL", "broker:9090")],
            "BROKER_URL is malformed: ",
        ),
        (
            &[KEY, ("BROKER_URL", "ftp://broker")],
            "BROKER_URL is malformed: ",
        ),
        (
            &[KEY, ("BROKER_URL", "http://a:hunter2@broker")],
            "BROKER_URL is malformed: ",
        ),
        (
            &[KEY, ("BROKER_URL", "http://broker/path")],
            "BROKER_URL is malformed: ",
        ),
        (&[KEY, URL, ("LISTEN", "8080")], "LISTEN is malformed: "),
        (
            &[KEY, URL, ("CORS_ALLOWED_ORIGINS", "*")],
            "CORS_ALLOWED_ORIGINS is malformed: ",
        ),
        (
            &[KEY, URL, ("CORS_ALLOWED_ORIGINS", "https://a.test/")],
            "CORS_ALLOWED_ORIGINS is malformed: ",
        ),
        (
            &[KEY, URL, ("BROKER_CA_FILE", "absent.pem")],
            "BROKER_CA_FILE is malformed: ",
        ),
        (
            &[KEY, URL, ("BROKER_CERT_FILE", "absent.pem")],
            "BROKER_KEY_FILE is missing: ",
        ),
        (
            &[KEY, URL, ("BROKER_KEY_FILE", "absent.pem")],
            "BROKER_CERT_FILE is missing: ",
        ),
        (
            &[KEY, URL, ("TLS_CERT_FILE", "absent.pem")],
            "TLS_KEY_FILE is missing: ",
        ),
    ] {
        let line = error(pairs);
        assert!(line.starts_with(named), "{line}");
        assert!(!line.contains("hunter2") && !line.contains('\n'), "{line}");
    }
}

fn run(pairs: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dromos-gateway"));
    command.env_clear().envs(pairs.iter().copied());
    let output = command.output().unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn the_program_without_its_key_says_so_in_one_line_and_exits_with_78() {
    let (code, stderr) = run(&[URL]);
    assert_eq!(code, Some(78));
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(
        stderr.starts_with("BROKER_API_KEY is missing: "),
        "{stderr}"
    );
    assert!(stderr.contains("openssl rand -hex 32"), "{stderr}");
}

#[test]
fn the_program_with_unreadable_tls_files_exits_with_78() {
    let (code, stderr) = run(&[
        URL,
        KEY,
        ("TLS_CERT_FILE", "absent.pem"),
        ("TLS_KEY_FILE", "absent.pem"),
    ]);
    assert_eq!(code, Some(78));
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(
        stderr.starts_with("TLS_CERT_FILE is malformed: "),
        "{stderr}"
    );
}
