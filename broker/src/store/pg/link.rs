//! The way to PostgreSQL: what a URL says of TLS, and sessions over it.
//!
//! `sslmode` and `sslrootcert` mean what they mean to libpq. tokio-postgres
//! knows half of them, so they are taken out of the URL here; everything else
//! in it stays for tokio-postgres to read.

use std::{
    error::Error as _,
    fs,
    sync::{Mutex, MutexGuard, PoisonError},
};

use diesel::{ConnectionError, ConnectionResult};
use diesel_async::AsyncPgConnection;
use percent_encoding::percent_decode_str;
use tokio_postgres::{
    Config,
    config::{Host, SslMode, SslNegotiation},
    error::SqlState,
};

use super::tls::{Roots, Tls, Verify};

const MODES: &str = "sslmode is disable, allow, prefer, require, verify-ca or verify-full";
const ROOTS: &str = "sslrootcert is the path of a PEM file with the CA's certificate, or system";
const FORM: &str = "postgres://user:password@host:5432/database?name=value, each part percent-encoded, with the parameters that docs/settings.md names";

/// Makes sessions with the servers of one URL.
pub(super) struct Link {
    /// What is tried in turn: the second where the first is refused for being
    /// with TLS, or without.
    attempts: Vec<Config>,
    tls: Tls,
    /// What was last said in the log. Several attempts a second may fail alike.
    told: Mutex<Option<String>>,
}

/// Why there is no session.
struct Failure {
    told: String,
    /// Whether the other one of TLS and plain text may fare better.
    is_about_tls: bool,
}

impl Link {
    /// The way that a URL describes. Certificates are read now.
    ///
    /// # Errors
    /// What is wrong with the URL, or with the file it names, and what to do.
    /// Nothing of the URL but the file's path is repeated.
    pub(super) fn to(url: &str) -> Result<Self, String> {
        let (rest, mode, roots) = split_off(url);
        let is_system = roots.as_deref() == Some("system");
        // As libpq has it: public CAs vouch for anybody, so only for a name.
        let mode = mode.unwrap_or(if is_system { "verify-full" } else { "prefer" }.to_owned());
        let (modes, verify): (&[SslMode], _) = match mode.as_str() {
            "disable" => (&[SslMode::Disable], Verify::Issuer),
            "allow" => (&[SslMode::Disable, SslMode::Require], Verify::Issuer),
            "prefer" => (&[SslMode::Prefer, SslMode::Disable], Verify::Issuer),
            "require" | "verify-ca" => (&[SslMode::Require], Verify::Issuer),
            "verify-full" => (&[SslMode::Require], Verify::Name),
            _ => return Err(MODES.to_owned()),
        };
        let roots = match roots {
            _ if mode == "disable" => None,
            Some(_) if is_system && mode != "verify-full" => {
                return Err(format!(
                    "sslrootcert=system takes sslmode=verify-full, not {mode}"
                ));
            }
            Some(_) if is_system => Some(Roots::of_the_system()?),
            Some(path) => Some(Roots::of_pem(&fs::read(&path).map_err(|error| {
                format!("sslrootcert={path} can't be read ({error}); {ROOTS}")
            })?)?),
            None if mode.starts_with("verify-") => {
                return Err(format!("sslmode={mode} needs sslrootcert too: {ROOTS}"));
            }
            None => None,
        };
        let mut config: Config = rest.parse().map_err(|_| FORM.to_owned())?;
        if config.get_hosts().is_empty() {
            // An address alone is what a certificate can be checked against.
            for address in config.get_hostaddrs().to_vec() {
                config.host(address.to_string());
            }
        }
        // As to libpq, sockets of this machine need none of it.
        let is_local = |host: &Host| matches!(host, Host::Unix(_));
        let modes = if config.get_hosts().iter().all(is_local) {
            &[SslMode::Disable]
        } else {
            modes
        };
        let attempt = |mode: &SslMode| config.clone().ssl_mode(*mode).to_owned();
        let is_direct = config.get_ssl_negotiation() == SslNegotiation::Direct;
        Ok(Self {
            attempts: modes.iter().map(attempt).collect(),
            tls: Tls::new(roots, verify, is_direct)?,
            told: Mutex::default(),
        })
    }

    /// A session with the first server that suits.
    pub(super) async fn connect(&self) -> ConnectionResult<AsyncPgConnection> {
        let mut refusals: Vec<String> = vec![];
        for config in &self.attempts {
            match self.attempt(config).await {
                Ok(session) => {
                    let refused = refusals.first();
                    self.tell(refused.map(|told| {
                        format!("connected at the second attempt, as sslmode allows: {told}")
                    }));
                    return Ok(session);
                }
                Err(failure) => {
                    refusals.push(failure.told);
                    if !failure.is_about_tls {
                        break;
                    }
                }
            }
        }
        let told = refusals.join("; ");
        self.tell(Some(told.clone()));
        Err(ConnectionError::BadConnection(told))
    }

    async fn attempt(&self, config: &Config) -> Result<AsyncPgConnection, Failure> {
        let tls = self.tls.watched();
        let connected = Box::pin(config.connect(tls.clone())).await;
        let (client, connection) = connected.map_err(|error| {
            let mut told = tls.failures();
            let is_about_tls = !told.is_empty()
                || error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION);
            let last = explain(&error);
            if !told.iter().any(|failure| last.ends_with(failure)) {
                told.push(last);
            }
            Failure {
                told: told.join("; "),
                is_about_tls,
            }
        })?;
        let session = AsyncPgConnection::try_from_client_and_connection(client, connection);
        session.await.map_err(|error| Failure {
            told: error.to_string(),
            is_about_tls: false,
        })
    }

    /// What stands between the broker and its database, as it was last told.
    pub(super) fn trouble(&self) -> Option<String> {
        self.told().clone()
    }

    fn tell(&self, trouble: Option<String>) {
        let mut told = self.told();
        if *told != trouble {
            if let Some(trouble) = &trouble {
                tracing::warn!(trouble, "sessions with PostgreSQL");
            }
            *told = trouble;
        }
    }

    fn told(&self) -> MutexGuard<'_, Option<String>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An error with all its causes, and what to do where that is not in them.
fn explain(error: &tokio_postgres::Error) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        told = format!("{told}: {error}");
        cause = error.source();
    }
    if told.ends_with("server does not support TLS") {
        told += "; switch TLS on there (ssl = on), or set sslmode=disable in DATABASE_URL if nobody else can read that network";
    }
    told
}

/// Where a URL's parameters begin. Not in its password, though it should have
/// written a question mark as %3F.
pub(super) fn split_query(url: &str) -> (&str, &str) {
    let credentials = url.find('@').unwrap_or(0);
    match url[credentials..].find('?') {
        Some(at) => (&url[..credentials + at], &url[credentials + at + 1..]),
        None => (url, ""),
    }
}

/// The URL without `sslmode` and `sslrootcert`, and their values. Of several
/// the last one counts, and an empty one is none.
fn split_off(url: &str) -> (String, Option<String>, Option<String>) {
    let (base, query) = split_query(url);
    let (mut mode, mut roots) = (None, None);
    let rest: Vec<&str> = query
        .split('&')
        .filter(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = percent_decode_str(value).decode_utf8_lossy().into_owned();
            let value = Some(value).filter(|value| !value.is_empty());
            match name {
                "sslmode" => mode = value,
                "sslrootcert" => roots = value,
                _ => return !parameter.is_empty(),
            }
            false
        })
        .collect();
    let mark = if rest.is_empty() { "" } else { "?" };
    (format!("{base}{mark}{}", rest.join("&")), mode, roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modes(url: &str) -> Vec<SslMode> {
        let link = Link::to(url).unwrap_or_else(|error| panic!("{url}: {error}"));
        link.attempts.iter().map(Config::get_ssl_mode).collect()
    }

    #[track_caller]
    fn refused(url: &str) -> String {
        let error = Link::to(url)
            .err()
            .unwrap_or_else(|| panic!("{url} is taken"));
        assert!(!error.contains("s3cret"), "{error}");
        error
    }

    #[test]
    fn what_is_said_of_tls_is_taken_out_and_the_rest_stays() {
        for (url, rest, mode, roots) in [
            (
                "postgres://u:p@a,b:5/d",
                "postgres://u:p@a,b:5/d",
                None,
                None,
            ),
            (
                "postgres://h?sslmode=require",
                "postgres://h",
                Some("require"),
                None,
            ),
            (
                "postgres://h/d?a=1&sslmode=verify-ca&b=%20&sslrootcert=%2Fa%20b.pem",
                "postgres://h/d?a=1&b=%20",
                Some("verify-ca"),
                Some("/a b.pem"),
            ),
            (
                "postgres://h/d?sslmode=allow&sslmode=disable&sslrootcert=",
                "postgres://h/d",
                Some("disable"),
                None,
            ),
            (
                "postgres://u:p?sslmode=allow@h/d?sslmode=require",
                "postgres://u:p?sslmode=allow@h/d",
                Some("require"),
                None,
            ),
        ] {
            let (got, got_mode, got_roots) = split_off(url);
            assert_eq!(got, rest);
            assert_eq!((got_mode.as_deref(), got_roots.as_deref()), (mode, roots));
        }
    }

    #[test]
    fn modes_mean_what_they_mean_to_libpq() {
        use SslMode::{Disable, Prefer, Require};
        for (url, expected) in [
            ("postgres://h/d", vec![Prefer, Disable]),
            ("postgres://h/d?sslmode=prefer", vec![Prefer, Disable]),
            ("postgres://h/d?sslmode=allow", vec![Disable, Require]),
            (
                "postgres://h/d?sslmode=disable&sslrootcert=/no/file",
                vec![Disable],
            ),
            ("postgres://h/d?sslmode=require", vec![Require]),
            ("postgres://h/d?sslrootcert=system", vec![Require]),
            (
                "postgres://%2Frun%2Fpostgresql/d?sslmode=require",
                vec![Disable],
            ),
        ] {
            assert_eq!(modes(url), expected, "{url}");
        }
    }

    #[test]
    fn what_can_not_be_meant_is_refused_with_what_to_do() {
        let url = "postgres://u:s3cret@h/d?";
        assert_eq!(refused(&format!("{url}sslmode=verify_full")), MODES);
        for mode in ["verify-ca", "verify-full"] {
            let error = refused(&format!("{url}sslmode={mode}"));
            assert!(error.contains("sslrootcert is the path"), "{error}");
        }
        let error = refused(&format!("{url}sslmode=require&sslrootcert=system"));
        assert!(error.contains("takes sslmode=verify-full"), "{error}");
        let error = refused(&format!("{url}sslmode=require&sslrootcert=/no/file.pem"));
        assert!(error.contains("/no/file.pem can't be read"), "{error}");
        // A password that was cut in two is not told as a parameter's name.
        assert_eq!(refused(&format!("{url}password=a&s3cret")), FORM);
        assert_eq!(refused(&format!("{url}s3cret=1")), FORM);
    }

    #[test]
    fn an_address_without_a_name_is_its_own_name() {
        let link = Link::to("postgres:///d?hostaddr=192.0.2.1").expect("a link");
        let name = Host::Tcp("192.0.2.1".to_owned());
        assert_eq!(link.attempts[0].get_hosts(), [name]);
    }
}
