//! A Redis of our own: empty, in memory alone, on a free port of the loopback
//! interface.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    port,
    process::{self, Running},
    workspace::Workspace,
};

/// The server's program.
pub const PROGRAM: &str = "redis-server";
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// A running server; dropping it stops the server.
#[derive(Debug)]
pub struct Redis {
    // The server goes before its folder.
    _server: Running,
    _folder: TempDir,
    port: u16,
}

impl Redis {
    /// Starts a server. Tests keep apart by the names of what they keep.
    ///
    /// # Errors
    /// When Redis is missing or does not start; the error names the log.
    pub fn start(workspace: &Workspace) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("dromos-redis-").tempdir()?;
        let (log_path, log) = workspace.log("redis.log")?;
        // Somebody may take the port between the probe and the start.
        for _ in 0..3 {
            let port = port::free()?;
            let mut redis = Command::new(PROGRAM);
            redis
                .current_dir(folder.path())
                .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
                .args(["--save", "", "--appendonly", "no"])
                .stdout(log.try_clone()?)
                .stderr(log.try_clone()?);
            let mut server = process::start_service(&mut redis, Signal::TERM)?;
            if ready(port, &mut server)? {
                return Ok(Self {
                    _server: server,
                    _folder: folder,
                    port,
                });
            }
        }
        bail!("Redis did not start: see {}", log_path.display());
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

/// Whether the server came to answer before it ended.
fn ready(port: u16, server: &mut Running) -> Result<bool> {
    let deadline = Instant::now() + START_TIMEOUT;
    while server.is_running()? {
        if answers(port) {
            // Another one may answer there while ours fails to bind.
            return server.is_running();
        }
        ensure!(
            Instant::now() < deadline,
            "Redis did not answer within {START_TIMEOUT:?}"
        );
        thread::sleep(Duration::from_millis(50));
    }
    Ok(false)
}

fn answers(port: u16) -> bool {
    let ask = || -> std::io::Result<[u8; 5]> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"PING\r\n")?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| &answer == b"+PONG")
}
