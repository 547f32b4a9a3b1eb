//! Nobody imports what the architecture does not allow; and the check that
//! says so finds what it should.

use std::path::{Path, PathBuf};

use xtask::imports::{self, SourceFile};

/// What the check says of one file, without the file's name.
fn complaints(path: &str, text: &str) -> Vec<String> {
    complaints_of(&[(path, text)])
}

fn complaints_of(files: &[(&str, &str)]) -> Vec<String> {
    let files: Vec<SourceFile> = files
        .iter()
        .map(|(path, text)| SourceFile {
            path: PathBuf::from(path),
            text: (*text).to_owned(),
        })
        .collect();
    imports::check(&files)
        .into_iter()
        .map(|v| format!("{}: {}", v.line, v.message))
        .collect()
}

#[track_caller]
fn allowed(path: &str, text: &str) {
    assert_eq!(complaints(path, text), [""; 0], "{path} may say: {text}");
}

#[track_caller]
fn refused(path: &str, text: &str) {
    assert!(
        !complaints(path, text).is_empty(),
        "{path} may not say: {text}"
    );
}

#[test]
fn the_workspace_keeps_to_the_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let violations = imports::check_workspace(root).unwrap();
    let listed: Vec<String> = violations.iter().map(ToString::to_string).collect();
    assert!(listed.is_empty(), "\n{}\n", listed.join("\n"));
}

#[test]
fn a_complaint_names_the_line_and_what_is_allowed() {
    let text = "//! Pure.\n\nuse crate::store::Row;\n";
    assert_eq!(
        complaints("broker/src/domain/consent.rs", text),
        ["3: domain may import nothing, not store"]
    );
}

#[test]
fn the_brokers_modules_import_only_what_is_below_them() {
    allowed(
        "broker/src/flow/connect.rs",
        "use crate::{domain::Id, grant, vault::Vault, egress, store::Store};",
    );
    allowed(
        "broker/src/grant/refresh.rs",
        "use crate::{domain, egress::Client};",
    );
    allowed(
        "broker/src/rpc/token.rs",
        "use crate::{domain::Id, flow::fetch_token};",
    );
    allowed(
        "broker/src/app.rs",
        "use crate::{rpc, http, store::postgres::Pool, vault::kms};",
    );
    refused("broker/src/flow/connect.rs", "use crate::rpc::token;");
    refused("broker/src/grant/refresh.rs", "use crate::store;");
    refused("broker/src/vault/kms/file.rs", "use crate::egress;");
    refused("broker/src/rpc/token.rs", "use crate::store::credentials;");
    refused("broker/src/egress/mod.rs", "use crate::flow;");
}

#[test]
fn a_path_counts_wherever_it_stands() {
    let file = "broker/src/domain/connection.rs";
    refused(file, "fn f(row: crate::store::Row) {}");
    refused(file, "fn f() { let x = crate::vault::open(); }");
    refused(file, "use super::super::store;");
    refused(
        file,
        "use crate::{\n    domain::{self, Id},\n    egress::{self as net},\n};",
    );
    refused(file, "pub use crate::*;");
    refused(file, "use dromos_broker::store::Row;");
    refused(file, "mod inner { use super::super::super::store::Row; }");
}

#[test]
fn a_module_may_name_itself() {
    allowed(
        "broker/src/domain/connection.rs",
        "use super::{consent::Consent, id}; use self::state::State;",
    );
    allowed(
        "broker/src/domain/mod.rs",
        "mod a { pub(crate) fn f() { super::g() } } pub(super) fn g() {}",
    );
    allowed(
        "broker/src/store/mod.rs",
        "pub(in crate::store) struct Row; pub use self::pg::Pg;",
    );
}

#[test]
fn diesels_table_macro_is_a_module_of_its_own() {
    let file = "broker/src/store/schema.rs";
    allowed(
        file,
        "diesel::table! { use super::super::types::*; keys (id) { id -> Id, } }",
    );
    refused(
        file,
        "diesel::table! { use super::super::super::flow::*; keys (id) { id -> Id, } }",
    );
    refused(
        file,
        "diesel::table! { keys (id) { id -> Id, } } use super::super::types::*;",
    );
}

#[test]
fn diesel_stays_in_the_store_and_the_wire_at_the_edge() {
    allowed(
        "broker/src/store/pg.rs",
        "use diesel::prelude::*; use diesel_async::RunQueryDsl;",
    );
    refused("broker/src/flow/token.rs", "use diesel::prelude::*;");
    refused("broker/src/rpc/token.rs", "use diesel_async::RunQueryDsl;");
    for wire in [
        "tonic::Request",
        "prost::Message",
        "prost_types::Struct",
        "axum::Router",
        "tonic_types::ErrorDetails",
    ] {
        let import = format!("use {wire};");
        for edge in [
            "broker/src/rpc/token.rs",
            "broker/src/http/callback.rs",
            "broker/src/app/mod.rs",
        ] {
            allowed(edge, &import);
        }
        for inner in [
            "flow/token.rs",
            "domain/id.rs",
            "store/pg.rs",
            "vault/mod.rs",
        ] {
            refused(&format!("broker/src/{inner}"), &import);
        }
    }
    refused(
        "broker/src/flow/token.rs",
        "fn f(r: ::tonic::Request<()>) {}",
    );
    refused("broker/src/lib.rs", "use tonic::Request;");
}

#[test]
fn a_module_of_the_broker_without_a_rule_is_refused() {
    assert_eq!(
        complaints("broker/src/utils.rs", ""),
        ["1: xtask/src/imports/table.rs has no rule for the module utils of broker"]
    );
}

#[test]
fn crates_import_only_the_crates_below_them() {
    allowed(
        "gateway/src/proxy.rs",
        "use dromos_proto::v1; use transcode::Table; use dromos_serve::Limits;",
    );
    allowed(
        "bridge/src/lib.rs",
        "use dromos_proto::v1; use dromos_strategy::Strategy;",
    );
    allowed("serve/src/rest.rs", "use transcode::Table;");
    allowed("broker/src/flow/apply.rs", "use dromos_strategy::Strategy;");
    allowed("broker/src/http/mod.rs", "use dromos_serve::Limits;");
    refused("gateway/src/proxy.rs", "use dromos_broker::app;");
    refused("gateway/src/proxy.rs", "fn f() { dromos_broker::run() }");
    refused("bridge/src/lib.rs", "use dromos_serve::Limits;");
    refused(
        "bridge/src/lib.rs",
        "extern crate dromos_broker; use dromos_broker as b;",
    );
    refused("strategy/src/lib.rs", "use dromos_proto::v1;");
    refused("transcode/src/lib.rs", "use dromos_proto::v1;");
    refused("serve/src/rest.rs", "use dromos_proto::v1;");
    refused("simulator/src/lib.rs", "use dromos_strategy::Strategy;");
    refused("broker/src/store/mod.rs", "use dromos_strategy::Strategy;");
    refused("broker/src/flow/connect.rs", "use dromos_proto::v1;");
}

#[test]
fn only_up_and_demo_run_the_services_in_process() {
    for file in [
        "cli/src/up.rs",
        "cli/src/demo/mod.rs",
        "cli/src/demo/browser.rs",
    ] {
        allowed(
            file,
            "use dromos_broker::app; use dromos_gateway::App; use dromos_simulator::World;",
        );
    }
    allowed(
        "cli/src/token.rs",
        "use dromos_bridge::Bridge; use dromos_proto::v1;",
    );
    refused("cli/src/token.rs", "use dromos_broker::app;");
    refused("cli/src/main.rs", "use dromos_simulator::World;");
}

#[test]
fn a_status_is_made_in_one_file_of_a_service() {
    let text = "fn f() -> Status { Status::internal(\"x\") }";
    allowed("gateway/src/status.rs", text);
    allowed("broker/src/rpc/error.rs", text);
    refused("gateway/src/proxy.rs", text);
    refused("broker/src/rpc/token.rs", text);
    refused(
        "broker/src/rpc/token.rs",
        "fn f() { x.map_err(tonic::Status::unauthenticated) }",
    );
    refused(
        "broker/src/rpc/token.rs",
        "fn f() { Status::new(Code::Internal, \"\") }",
    );
    allowed(
        "broker/src/rpc/token.rs",
        "fn f(s: &Status) -> bool { s.code() == Code::Ok && x == connection::Status::Active }",
    );
}

#[test]
fn comments_and_strings_import_nothing() {
    let text = r##"
        //! See crate::store and tonic::Status.
        /* use crate::store; /* nested */ use diesel::*; */
        const A: &str = "use crate::store;";
        const B: &str = r#"crate::"store"::x"#;
        const C: &[u8] = b"\"crate::store::x";
        fn f<'a>(c: &'a str) -> char { 'outer: loop { break 'outer '"' } }
    "##;
    allowed("broker/src/domain/id.rs", text);
}

#[test]
fn an_import_after_a_string_or_a_lifetime_is_seen() {
    for before in [
        "const A: &str = \"a \\\" b\";",
        "const A: &str = r#\"\"\"#;",
        "const A: char = '\\'';",
        "const A: char = '\"';",
        "fn f<'a>(x: &'a str) {}",
        "fn r(b: u8, c: u8) -> u8 { b }",
    ] {
        let text = format!("{before}\nuse crate::store;\n");
        assert_eq!(
            complaints("broker/src/domain/id.rs", &text),
            ["2: domain may import nothing, not store"],
            "{before}"
        );
    }
}

#[test]
fn test_code_may_import_more_and_nothing_else_may() {
    let test = "#[cfg(test)]\nmod tests { use crate::store::Row; fn f() { crate::flow::g() } }\n";
    allowed("broker/src/domain/id.rs", test);
    allowed(
        "broker/src/domain/id.rs",
        "#[cfg(test)]\nuse crate::{store::Row};",
    );
    assert_eq!(
        complaints(
            "broker/src/domain/id.rs",
            &format!("{test}use crate::vault::Key;\n")
        ),
        ["3: domain may import nothing, not vault"]
    );
    assert_eq!(
        complaints(
            "broker/src/domain/id.rs",
            "struct S {\n    #[cfg(test)]\n    a: Map<u8, u8>,\n    b: crate::store::Row,\n}"
        ),
        ["4: domain may import nothing, not store"]
    );
    refused(
        "broker/src/domain/id.rs",
        "#[cfg(not(test))]\nuse crate::store::Row;",
    );
}

#[test]
fn a_test_module_in_a_file_of_its_own_is_test_code() {
    let test = ("broker/src/domain/tests.rs", "use crate::store::Row;");
    let below = ("broker/src/domain/tests/rows.rs", "use crate::store::Row;");
    let declared = ("broker/src/domain/mod.rs", "#[cfg(test)]\nmod tests;\n");
    let plain = ("broker/src/domain/mod.rs", "mod tests;\n");
    assert_eq!(complaints_of(&[test, below, declared]), [""; 0]);
    assert_eq!(complaints_of(&[test, below, plain]).len(), 2);
}
