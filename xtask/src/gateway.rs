//! A whole Dromos on free ports, for the clients' tests: `dromos up`, as a
//! user starts it.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    port,
    process::{self, Running},
    workspace::Workspace,
};

const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A running `dromos up`; dropping it stops it and removes its data.
#[derive(Debug)]
pub struct Gateway {
    // The server goes before its folder.
    _server: Running,
    _folder: TempDir,
    port: u16,
    api_key: String,
}

impl Gateway {
    /// Starts the workspace's own `dromos up` with a data folder of its own.
    ///
    /// # Errors
    /// When it does not become ready; the error names the log.
    pub fn start(workspace: &Workspace) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("dromos-up-").tempdir()?;
        let data = folder.path().join("data");
        let (log_path, log) = workspace.log("dromos-up.log")?;
        let port = port::free()?;
        let mut up = Command::new(workspace.built("dromos"));
        up.current_dir(folder.path())
            .arg("up")
            .arg("--data-dir")
            .arg(&data);
        for (flag, port) in [
            ("--listen", port),
            ("--broker-listen", port::free()?),
            ("--public-listen", port::free()?),
        ] {
            up.args([flag, &format!("127.0.0.1:{port}")]);
        }
        up.stdout(log.try_clone()?).stderr(log);
        let mut server = process::start_service(&mut up, Signal::TERM)?;
        wait_until_ready(&mut server, port)
            .with_context(|| format!("`dromos up`: see {}", log_path.display()))?;
        let api_key = read_key(&data.join("admin.key"))?;
        Ok(Self {
            _server: server,
            _folder: folder,
            port,
            api_key,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The administrator's API key.
    #[must_use]
    pub fn api_key(&self) -> &str {
        &self.api_key
    }
}

fn read_key(path: &Path) -> Result<String> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("`dromos up` wrote no {}", path.display()))?;
    Ok(text.trim().to_owned())
}

fn wait_until_ready(server: &mut Running, port: u16) -> Result<()> {
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        if !server.is_running()? {
            bail!("it ended before it was ready");
        }
        if matches!(get_status(port, "/readyz"), Ok(200)) {
            return Ok(());
        }
        if process::interrupted() {
            bail!("interrupted");
        }
        if Instant::now() > deadline {
            bail!("not ready within {START_TIMEOUT:?}");
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// The HTTP status of a GET.
fn get_status(port: u16, path: &str) -> Result<u16> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\r\n");
    // At once: who reads a part of it only may answer, and close, too soon.
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let status_line = answer
        .split(|byte| *byte == b'\r')
        .next()
        .unwrap_or_default();
    let status = std::str::from_utf8(status_line)?
        .split(' ')
        .nth(1)
        .context("no status line")?;
    Ok(status.parse()?)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_status_is_read_from_the_status_line() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 512];
            let read = stream.read(&mut request).unwrap();
            stream
                .write_all(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n")
                .unwrap();
            String::from_utf8_lossy(&request[..read]).into_owned()
        });
        assert_eq!(get_status(port, "/readyz").unwrap(), 503);
        assert!(
            server
                .join()
                .unwrap()
                .starts_with("GET /readyz HTTP/1.1\r\n")
        );
    }
}
