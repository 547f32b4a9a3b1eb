//! PostgreSQL servers of a test's own, for what the shared one can't do: have
//! TLS, or stop.

use std::{
    fs,
    net::TcpListener,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use crate::{database::Database, world::eventually};

/// A server that runs.
pub struct Server {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    process: Child,
    start: Command,
    stop: Command,
}

impl Server {
    /// Stops it as a crash does: sessions are cut, nothing is finished.
    pub fn crash(&mut self) {
        finish(&mut self.stop);
        self.process.wait().expect("its end");
    }

    /// Starts it again, where it was.
    pub fn start(&mut self) {
        self.process = self.start.spawn().expect("it starts");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Killed, it would leave its shared memory behind.
        let _ = self.stop.output();
        let _ = self.process.wait();
    }
}

/// A temporary folder that PostgreSQL's account can pass.
pub fn folder() -> TempDir {
    let folder = tempfile::Builder::new()
        .prefix("dromos-postgres-")
        .tempdir();
    let folder = folder.expect("a temporary folder");
    let open = fs::Permissions::from_mode(0o711);
    fs::set_permissions(folder.path(), open).expect("a mode");
    folder
}

/// The programs of the shared server, and the account that runs them.
pub struct Programs {
    folder: PathBuf,
    account: Option<(u32, u32)>,
}

impl Programs {
    /// Those of TEST_POSTGRES_URL's server.
    pub async fn find() -> Self {
        let server = std::env::var("TEST_POSTGRES_URL").expect("`cargo xtask test` sets it");
        let sql = "select setting as line from pg_config where name = 'BINDIR'";
        let folder = Database::open(&server).await.lines(sql).await.remove(0);
        let passwd = fs::read_to_string("/etc/passwd").expect("accounts");
        let account = |wanted: &&str| {
            let line = passwd
                .lines()
                .find(|line| line.split(':').next() == Some(*wanted))?;
            let mut ids = line.split(':').skip(2).map(|id| id.parse().expect("an id"));
            Some((ids.next()?, ids.next()?))
        };
        let is_root = fs::metadata("/proc/self").expect("this process").uid() == 0;
        Self {
            folder: folder.into(),
            // PostgreSQL refuses to run as root.
            account: is_root
                .then(|| ["postgres", "nobody"].iter().find_map(account))
                .flatten(),
        }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.folder.join(program));
        command.current_dir("/").stdin(Stdio::null());
        if let Some((uid, gid)) = self.account {
            command.uid(uid).gid(gid);
        }
        command
    }

    fn give(&self, path: &Path) {
        if let Some((uid, gid)) = self.account {
            chown(path, Some(uid), Some(gid)).expect("its new owner");
        }
    }

    /// Writes a file that is the account's alone.
    pub fn put(&self, path: &Path, text: &str) {
        fs::write(path, text).expect("a file");
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("a mode");
        self.give(path);
    }

    /// A new cluster's data, whose superuser is `postgres`.
    pub fn init(&self, folder: &Path, name: &str) -> PathBuf {
        let home = folder.join("home");
        fs::create_dir_all(&home).expect("a folder");
        self.give(&home);
        let data = home.join(name);
        let mut initdb = self.command("initdb");
        initdb.arg("-D").arg(&data).args(["-U", "postgres"]);
        initdb.args(["--auth", "trust", "--no-locale", "-E", "UTF8", "--no-sync"]);
        finish(&mut initdb);
        data
    }

    /// Starts a server over the data, with these settings.
    pub async fn serve(&self, data: &Path, settings: &[&str]) -> Server {
        // Somebody may take the port between the probe and the start.
        for _ in 0..3 {
            let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let port = free.local_addr().expect("an address").port();
            drop(free);
            let log = fs::File::create(data.with_extension("log")).expect("a log");
            let mut start = self.command("postgres");
            start.arg("-D").arg(data).stdout(Stdio::null()).stderr(log);
            let port_setting = format!("port={port}");
            let common = [
                port_setting.as_str(),
                "listen_addresses=127.0.0.1",
                "unix_socket_directories=",
                "fsync=off",
            ];
            for setting in common.iter().chain(settings) {
                start.arg("-c").arg(setting);
            }
            let mut stop = self.command("pg_ctl");
            stop.arg("-D").arg(data).args(["-m", "immediate", "stop"]);
            let mut server = Server {
                port,
                process: start.spawn().expect("it starts"),
                start,
                stop,
            };
            let mut ended = false;
            eventually("PostgreSQL answers", || {
                ended = server.process.try_wait().expect("its state").is_some();
                let mut probe = self.command("pg_isready");
                probe.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]);
                let answers = ended || probe.status().expect("an answer").success();
                std::future::ready(answers)
            })
            .await;
            if !ended {
                return server;
            }
        }
        let log = fs::read_to_string(data.with_extension("log")).unwrap_or_default();
        panic!("PostgreSQL did not start: {log}");
    }
}

/// Runs a command that must succeed.
pub fn finish(command: &mut Command) {
    let output = command.output().expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {told}");
}
