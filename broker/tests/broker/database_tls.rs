//! The broker's link to PostgreSQL over TLS, with servers that have it.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::{Arc, Weak},
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use reqwest::StatusCode;
use tokio::sync::Mutex;

use crate::{
    database::Database,
    postgres::{self, Programs, Server, finish},
    startup::{bind, run, settings, with},
    world::{Db, World, create_database, eventually},
};

/// Made up, as all secrets here.
const PASSWORD: &str = "hunter2-of-the-tests";

/// A certificate authority.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    /// A certificate for this name, and its key.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }
}

/// Two servers: at `localhost` a primary, at `127.0.0.1` one that takes no
/// writes, each with a certificate for that name alone.
struct Servers {
    primary: Server,
    standby: Server,
    /// The CA of both certificates, as sslrootcert names it.
    ca: String,
    /// Another one.
    other_ca: String,
    _folder: tempfile::TempDir,
}

/// The servers, started by whoever needs them first and gone with the last.
async fn servers() -> Arc<Servers> {
    static RUNNING: Mutex<Weak<Servers>> = Mutex::const_new(Weak::new());
    let mut running = RUNNING.lock().await;
    if let Some(servers) = running.upgrade() {
        return servers;
    }
    let servers = Arc::new(Servers::start().await);
    *running = Arc::downgrade(&servers);
    servers
}

impl Servers {
    async fn start() -> Self {
        let programs = Programs::find().await;
        let folder = postgres::folder();
        let authority = Authority::new();
        let ca = folder.path().join("ca.pem");
        let other_ca = folder.path().join("other-ca.pem");
        fs::write(&ca, &authority.pem).expect("a file");
        fs::write(&other_ca, Authority::new().pem).expect("a file");

        let data = programs.init(folder.path(), "primary");
        // By a password, whose proof is bound to the server's certificate.
        let rules = "host all postgres 127.0.0.1/32 trust\n\
                     host all dromos 127.0.0.1/32 scram-sha-256\n\
                     hostnossl all plain 127.0.0.1/32 trust\n\
                     hostssl all encrypted 127.0.0.1/32 trust\n";
        fs::write(data.join("pg_hba.conf"), rules).expect("a file");
        let copy = data.with_file_name("standby");
        let mut cp = Command::new("cp");
        finish(cp.arg("-a").arg(&data).arg(&copy));

        let serve = async |data: &Path, name, read_only| {
            let (certificate, key) = authority.issue(name);
            programs.put(&data.join("server.crt"), &certificate);
            programs.put(&data.join("server.key"), &key);
            let read_only = format!("default_transaction_read_only={read_only}");
            programs.serve(data, &["ssl=on", &read_only]).await
        };
        let primary = serve(&data, "localhost", "off");
        let standby = serve(&copy, "127.0.0.1", "on");
        let servers = Self {
            primary: primary.await,
            standby: standby.await,
            ca: ca.display().to_string(),
            other_ca: other_ca.display().to_string(),
            _folder: folder,
        };
        for port in [servers.primary.port, servers.standby.port] {
            let mut database = Database::open(&servers.superuser(port)).await;
            database
                .execute("set default_transaction_read_only = off")
                .await;
            let roles = format!(
                "create role dromos superuser login password '{PASSWORD}'; \
                 create role plain superuser login; create role encrypted superuser login"
            );
            database.execute(&roles).await;
        }
        servers
    }

    fn superuser(&self, port: u16) -> String {
        format!("postgres://postgres@127.0.0.1:{port}/postgres?sslmode=disable")
    }

    /// A new database of the primary's.
    async fn create_database(&self) -> String {
        let name = format!("t{}", uuid::Uuid::now_v7().simple());
        let mut database = self.primary().await;
        database.execute(&format!("create database {name}")).await;
        name
    }

    async fn primary(&self) -> Database {
        Database::open(&self.superuser(self.primary.port)).await
    }

    /// The broker's URL of a database there.
    fn url(&self, host: &str, name: &str, parameters: &str) -> String {
        let port = self.primary.port;
        format!("postgres://dromos:{PASSWORD}@{host}:{port}/{name}?{parameters}")
    }

    /// Each session of that database: its last statement, and whether it has
    /// TLS.
    async fn sessions(&self, name: &str) -> Vec<(String, bool)> {
        let sql = format!(
            "select ssl || ' ' || query as line from pg_stat_activity join pg_stat_ssl using (pid) \
             where datname = '{name}' and backend_type = 'client backend'"
        );
        let lines = self.primary().await.lines(&sql).await;
        let session = |line: String| {
            let (ssl, query) = line.split_once(' ').expect("two columns");
            (query.to_owned(), ssl == "true")
        };
        lines.into_iter().map(session).collect()
    }

    /// Starts a system there; whether the pool's sessions have TLS, and
    /// whether the listening one has.
    async fn encrypted(&self, name: &str, url: &str) -> (bool, bool) {
        let world = World::start_empty(Db::Postgres, &[("DATABASE_URL", url)]).await;
        let listens = |query: &str| query.ends_with(" dromos_changes");
        eventually("it listens", async || {
            let sessions = self.sessions(name).await;
            sessions.iter().any(|session| listens(&session.0))
        })
        .await;
        let (status, _) = world.get("/v1/api-keys").await;
        assert_eq!(status, StatusCode::OK);
        let sessions = self.sessions(name).await;
        let all = |listening: bool| {
            let mut kind = sessions
                .iter()
                .filter(|session| listens(&session.0) == listening)
                .peekable();
            assert!(kind.peek().is_some(), "{sessions:?}");
            kind.all(|session| session.1)
        };
        let encrypted = (all(false), all(true));
        world.stop().await;
        encrypted
    }
}

/// Why a broker does not start on that database.
async fn refusal(url: &str) -> String {
    let error = bind(&with(&settings(url), &[])).await.err();
    let told = error.expect("no broker").to_string();
    assert!(told.starts_with("DATABASE_URL: "), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(!told.contains("hunter2"), "{told}");
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_session_is_as_sslmode_says() {
    let servers = servers().await;
    for (host, mode, encrypted) in [
        ("localhost", "sslmode=verify-full&sslrootcert=", true),
        ("127.0.0.1", "sslmode=verify-ca&sslrootcert=", true),
        ("127.0.0.1", "sslmode=require&channel_binding=require", true),
        ("127.0.0.1", "", true),
        ("127.0.0.1", "sslmode=disable", false),
        ("127.0.0.1", "sslmode=allow", false),
    ] {
        let roots = if mode.ends_with("sslrootcert=") {
            servers.ca.as_str()
        } else {
            ""
        };
        let name = servers.create_database().await;
        let url = servers.url(host, &name, &format!("{mode}{roots}"));
        let got = servers.encrypted(&name, &url).await;
        assert_eq!(got, (encrypted, encrypted), "{mode}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_not_the_one_that_is_meant_is_refused_by_its_certificate() {
    let servers = servers().await;
    let name = servers.create_database().await;
    let (ca, other) = (&servers.ca, &servers.other_ca);
    for (host, parameters, cause) in [
        (
            "localhost",
            format!("sslmode=verify-full&sslrootcert={other}"),
            "the certificate of localhost is not trusted: no CA of sslrootcert issued it",
        ),
        (
            "localhost",
            "sslrootcert=system".to_owned(),
            "the certificate of localhost is not trusted: no CA of sslrootcert issued it",
        ),
        (
            "127.0.0.1",
            format!("sslmode=verify-ca&sslrootcert={other}"),
            "the certificate of 127.0.0.1 is not trusted",
        ),
        // With a CA, libpq verifies who issued the certificate here too.
        (
            "127.0.0.1",
            format!("sslmode=require&sslrootcert={other}"),
            "the certificate of 127.0.0.1 is not trusted",
        ),
        (
            "127.0.0.1",
            format!("sslmode=verify-full&sslrootcert={ca}"),
            "the certificate of 127.0.0.1 is for another name",
        ),
    ] {
        let told = refusal(&servers.url(host, &name, &parameters)).await;
        assert!(told.contains(cause), "{parameters}: {told}");
    }
    // Nobody got so far as to show a password.
    assert!(servers.sessions(&name).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_hosts_each_is_verified_by_its_own_name() {
    let servers = servers().await;
    let name = servers.create_database().await;
    let (primary, standby) = (servers.primary.port, servers.standby.port);
    let verified = format!("sslmode=verify-full&sslrootcert={}", servers.ca);
    let url = |first: &str| {
        format!("postgres://dromos:{PASSWORD}@{first},localhost:{primary}/{name}?{verified}")
    };
    // The first is trusted, by its own name, and takes no writes.
    let mut there = Database::open(&servers.superuser(standby)).await;
    there
        .execute("set default_transaction_read_only = off")
        .await;
    there.execute(&format!("create database {name}")).await;
    let first = url(&format!("127.0.0.1:{standby}"));
    assert_eq!(servers.encrypted(&name, &first).await, (true, true));

    // The first is not who it should be; the second one is.
    let name_of_another = url(&format!("127.0.0.1:{primary}"));
    let got = servers.encrypted(&name, &name_of_another).await;
    assert_eq!(got, (true, true));
    let wrong = format!("postgres://dromos:{PASSWORD}@localhost:{standby}/{name}?{verified}");
    let told = refusal(&wrong).await;
    assert!(told.contains("localhost is for another name"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_tls_at_the_server_only_what_allows_it_connects() {
    let url = create_database().await;
    let told = refusal(&format!("{url}?sslmode=require")).await;
    assert!(told.contains("server does not support TLS"), "{told}");
    assert!(told.contains("ssl = on"), "{told}");
    let bound = bind(&with(&settings(&format!("{url}?sslmode=prefer")), &[])).await;
    assert!(bound.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prefer_and_allow_take_the_other_way_where_the_server_wants_it() {
    let servers = servers().await;
    for (role, mode, encrypted) in [
        ("plain", "prefer", Some(false)),
        ("encrypted", "allow", Some(true)),
        ("plain", "require", None),
        ("encrypted", "disable", None),
    ] {
        let name = servers.create_database().await;
        let port = servers.primary.port;
        let url = format!("postgres://{role}@127.0.0.1:{port}/{name}?sslmode={mode}");
        match encrypted {
            Some(encrypted) => {
                let got = servers.encrypted(&name, &url).await;
                assert_eq!(got, (encrypted, encrypted), "{role} {mode}");
            }
            None => {
                let told = refusal(&url).await;
                assert!(told.contains("no pg_hba.conf entry"), "{told}");
            }
        }
    }
    // Where a CA is named and the certificate is not of it, prefer goes on
    // without TLS: to libpq too it protects from nobody.
    let name = servers.create_database().await;
    let prefer = format!("sslmode=prefer&sslrootcert={}", servers.other_ca);
    let url = servers.url("127.0.0.1", &name, &prefer);
    assert_eq!(servers.encrypted(&name, &url).await, (false, false));
}

#[test]
fn a_url_that_can_not_be_used_ends_the_start_at_once_and_keeps_its_password() {
    for (parameters, how) in [
        ("sslmode=verify-full", "needs sslrootcert too"),
        ("sslmode=always", "sslmode is disable, allow, prefer"),
        ("sslmode=require&sslrootcert=/no/file.pem", "can't be read"),
    ] {
        let url = format!("postgres://someone:{PASSWORD}@localhost/dromos?{parameters}");
        let output = run(&with(&settings(&url), &[("DATA_DIR", "/tmp")]));
        crate::startup::assert_config_error(&output, "DATABASE_URL is malformed", how);
        assert!(!String::from_utf8_lossy(&output.stderr).contains(PASSWORD));
    }
}
