use std::{fs, net::TcpListener};

use serde_json::Value;

use crate::support::{PROVIDER, Place, Ran, UP, run_with};

fn mode(path: &std::path::Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn keys_are_made_once_for_their_owner_and_the_data_outlives_a_restart() {
    let place = Place::new();
    let names = ["encryption.key", "state.key", "service.key", "admin.key"];
    let keys = || names.map(|name| fs::read_to_string(place.data(name)).unwrap());

    let up = place.up();
    assert_eq!(mode(&place.data("")), 0o700);
    for name in names {
        assert_eq!(mode(&place.data(name)), 0o600, "{name}");
    }
    let first = keys();
    let create = ["providers", "create", "-", "--gateway-url", &up.gateway()];
    run_with(&mut place.command(&create), PROVIDER).good();
    assert_eq!(up.terminate().code(), Some(0));

    let up = place.up();
    assert_eq!(keys(), first);
    let list = ["providers", "list", "--output", "json"];
    let listed = place
        .command(&list)
        .env("GATEWAY_URL", up.gateway())
        .output();
    let listed = Ran::from(listed.unwrap()).good();
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["providers"][0]["name"], "acme");
    assert!(
        listed["providers"][0]["oauth2"]
            .get("client_secret")
            .is_none()
    );
    assert_eq!(up.terminate().code(), Some(0));
}

#[test]
fn the_greeting_tells_where_the_key_is_and_not_the_key() {
    let place = Place::new();
    let up = place.up();
    assert_eq!(up.address("Admin API key in"), ".dromos/admin.key");
    let bearer = r#"-H "Authorization: Bearer $(cat .dromos/admin.key)""#;
    for tool in ["curl ", "grpcurl -plaintext ", "buf curl "] {
        assert!(up.greeting.contains(tool), "{}", up.greeting);
    }
    assert!(up.greeting.contains(&format!("curl {bearer}")));
    assert!(!up.greeting.contains(&place.key()));
    assert!(!up.greeting.contains('\x1b'), "it is coloured when piped");
}

#[test]
fn a_port_in_use_is_told_with_its_flag() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    for flag in ["--listen", "--broker-listen", "--public-listen"] {
        let place = Place::new();
        let mut arguments = UP.to_vec();
        let place_of_flag = UP.iter().position(|argument| *argument == flag).unwrap();
        arguments[place_of_flag + 1] = &taken;
        let failure = place.run(&arguments).failed(1);
        let told = format!("error: {flag} {taken} can't be listened on");
        assert!(failure.starts_with(&told), "{failure}");
    }
}

#[test]
fn a_data_directory_has_one_user_at_a_time() {
    let place = Place::new();
    let _up = place.up();
    let failure = place.run(&UP);
    let failure = failure.failed(1);
    assert!(
        failure.contains("another `dromos up` uses .dromos"),
        "{failure}"
    );
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    assert_eq!(place.up().terminate().code(), Some(0));
    fs::set_permissions(place.data("state.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let failure = place.run(&UP);
    let failure = failure.failed(78);
    assert!(failure.contains("chmod 600 .dromos/state.key"), "{failure}");
}

#[test]
fn a_lost_encryption_key_is_not_replaced() {
    let place = Place::new();
    let up = place.up();
    // The first credential of any kind makes a data key.
    let create = ["providers", "create", "-", "--gateway-url", &up.gateway()];
    run_with(&mut place.command(&create), PROVIDER).good();
    assert_eq!(up.terminate().code(), Some(0));
    fs::remove_file(place.data("encryption.key")).unwrap();
    let failure = place.run(&UP);
    let failure = failure.failed(78);
    assert!(failure.contains("ENCRYPTION_KEY_FILE"), "{failure}");
    assert!(!place.data("encryption.key").exists());
}
