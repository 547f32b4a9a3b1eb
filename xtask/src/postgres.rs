//! A PostgreSQL of our own: a fresh cluster in a temporary folder, on a free
//! port of the loopback interface, durable as in production.

use std::{
    fs,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Signal, geteuid};
use tempfile::TempDir;

use crate::{
    port,
    process::{self, Running},
    workspace::Workspace,
};

const USER: &str = "postgres";
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A running server; dropping it stops the server and removes its data.
#[derive(Debug)]
pub struct Postgres {
    // The server goes before its folder.
    _server: Running,
    _folder: TempDir,
    port: u16,
}

impl Postgres {
    /// Creates a cluster and starts its server. Tests make databases of their
    /// own in it.
    ///
    /// # Errors
    /// When PostgreSQL is missing or does not start; the error names the log.
    pub fn start(workspace: &Workspace) -> Result<Self> {
        let bin = bin().context("PostgreSQL's server is missing: run `cargo xtask setup`")?;
        let account = Account::find()?;
        let folder = tempfile::Builder::new()
            .prefix("dromos-postgres-")
            .tempdir()?;
        if let Some(account) = &account {
            chown(folder.path(), Some(account.uid), Some(account.gid))?;
        }
        let data = folder.path().join("data");
        let (log_path, log) = workspace.log("postgres.log")?;
        let as_account = |program: &str| -> Result<Command> {
            let mut command = Command::new(bin.join(program));
            command
                .current_dir(folder.path())
                .stdout(log.try_clone()?)
                .stderr(log.try_clone()?);
            if let Some(account) = &account {
                command.uid(account.uid).gid(account.gid);
            }
            Ok(command)
        };

        let mut initdb = as_account("initdb")?;
        initdb
            .arg("--pgdata")
            .arg(&data)
            .args(["--username", USER, "--auth", "trust"])
            .args([
                "--encoding",
                "UTF8",
                "--no-locale",
                // Only of initdb itself: the server below syncs.
                "--no-sync",
            ]);
        process::run(&mut initdb).with_context(|| format!("see {}", log_path.display()))?;

        // Somebody may take the port between the probe and the start.
        for _ in 0..3 {
            let port = port::free()?;
            let mut postgres = as_account("postgres")?;
            postgres
                .arg("-D")
                .arg(&data)
                .args(["-c", "listen_addresses=127.0.0.1"])
                .args([
                    "-c".to_owned(),
                    format!("port={port}"),
                    "-c".to_owned(),
                    format!("unix_socket_directories={}", folder.path().display()),
                    "-c".to_owned(),
                    "max_connections=200".to_owned(),
                ]);
            // SIGINT is PostgreSQL's fast shutdown.
            let mut server = process::start_service(&mut postgres, Signal::INT)?;
            if ready(&bin, port, &mut server)? {
                return Ok(Self {
                    _server: server,
                    _folder: folder,
                    port,
                });
            }
        }
        bail!("PostgreSQL did not start: see {}", log_path.display());
    }

    /// The address of the maintenance database, as superuser.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/postgres", self.port)
    }
}

/// Whether the server came to answer before it ended.
fn ready(bin: &Path, port: u16, server: &mut Running) -> Result<bool> {
    let deadline = Instant::now() + START_TIMEOUT;
    while server.is_running()? {
        let mut probe = Command::new(bin.join("pg_isready"));
        probe.args([
            "--quiet",
            "--host",
            "127.0.0.1",
            "--port",
            &port.to_string(),
        ]);
        if process::status(probe.stdout(Stdio::null()))?.success() {
            // Another cluster may answer there while ours fails to bind.
            return server.is_running();
        }
        ensure!(
            Instant::now() < deadline,
            "PostgreSQL did not answer within {START_TIMEOUT:?}"
        );
        thread::sleep(Duration::from_millis(50));
    }
    Ok(false)
}

/// The folder with PostgreSQL's server programs: Debian's, the newest first,
/// else the one in PATH.
#[must_use]
pub fn bin() -> Option<PathBuf> {
    let debian = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let mut versions: Vec<(u32, PathBuf)> = debian
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    versions.sort_by(|a, b| b.cmp(a));
    let in_path = std::env::var_os("PATH").unwrap_or_default();
    versions
        .into_iter()
        .map(|(_, folder)| folder)
        .chain(std::env::split_paths(&in_path))
        .find(|folder| {
            ["initdb", "postgres", "pg_isready"]
                .iter()
                .all(|program| folder.join(program).is_file())
        })
}

/// Whom the server runs as: PostgreSQL refuses to run as root.
struct Account {
    uid: u32,
    gid: u32,
}

impl Account {
    /// `None` where this program's own user will do.
    fn find() -> Result<Option<Self>> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        let passwd = fs::read_to_string("/etc/passwd").context("reading /etc/passwd")?;
        Self::parse(&passwd)
            .map(Some)
            .context("PostgreSQL can't run as root, and there is no user postgres or nobody")
    }

    fn parse(passwd: &str) -> Option<Self> {
        ["postgres", "nobody"].iter().find_map(|wanted| {
            passwd.lines().find_map(|line| {
                let fields: Vec<&str> = line.split(':').collect();
                match fields[..] {
                    [name, _, uid, gid, ..] if name == *wanted => Some(Self {
                        uid: uid.parse().ok()?,
                        gid: gid.parse().ok()?,
                    }),
                    _ => None,
                }
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_postgres_is_preferred_to_nobody() {
        let nobody = "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65533::/:/bin/false\n";
        let both = format!("{nobody}postgres:x:104:110::/var/lib/postgresql:/bin/bash\n");
        let ids = |passwd: &str| Account::parse(passwd).map(|account| (account.uid, account.gid));
        assert_eq!(ids(nobody), Some((65534, 65533)));
        assert_eq!(ids(&both), Some((104, 110)));
        assert_eq!(ids("root:x:0:0::/root:/bin/sh"), None);
    }
}
