//! PostgreSQL with synchronous standbys: the example in `deploy/postgres-ha`,
//! as a person would run it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use reqwest::StatusCode;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

const START_TIMEOUT: Duration = Duration::from_secs(180);
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// A running cluster; dropping it ends it.
pub struct Cluster {
    /// Where the primary is reached, whichever that is.
    pub database_url: String,
    nodes: Vec<Node>,
    script: Child,
    // Read no further, but open: the script would end at its next line.
    _lines: Lines<BufReader<ChildStdout>>,
}

/// A PostgreSQL and its Patroni.
pub struct Node {
    /// Its name in the cluster.
    pub name: String,
    patroni: String,
    patroni_pid: i32,
    data: PathBuf,
}

impl Cluster {
    /// Starts one and waits until it has a primary and two standbys.
    ///
    /// # Errors
    /// A package is missing, or it does not come up.
    pub async fn start() -> Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/postgres-ha/run.sh");
        let mut script = Command::new(&script)
            // Nobody needs the killed node again.
            .args(["--restart-after", "600"])
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .with_context(|| format!("starting {}", script.display()))?;
        let stdout = script.stdout.take().context("standard output is piped")?;
        let mut lines = BufReader::new(stdout).lines();
        let mut nodes = Vec::new();
        let reading = async {
            while let Some(line) = lines.next_line().await? {
                if let Some(url) = line.strip_prefix("DATABASE_URL=") {
                    return Ok(url.to_owned());
                }
                nodes.extend(Node::parse(&line));
            }
            bail!("the cluster did not start: see above")
        };
        let database_url = timeout(START_TIMEOUT, reading)
            .await
            .context("the cluster took too long to start")??;
        ensure!(nodes.len() == 3, "the script names {} nodes", nodes.len());
        Ok(Self {
            database_url,
            nodes,
            script,
            _lines: lines,
        })
    }

    /// The node that takes writes.
    ///
    /// # Errors
    /// None does.
    pub async fn primary(&self, http: &reqwest::Client) -> Result<&Node> {
        for node in &self.nodes {
            let asked = http.get(format!("{}/primary", node.patroni)).send().await;
            if asked.is_ok_and(|answer| answer.status() == StatusCode::OK) {
                return Ok(node);
            }
        }
        bail!("the cluster has no primary")
    }

    /// Ends all of it, and waits for that.
    ///
    /// # Errors
    /// It does not end in time.
    pub async fn stop(mut self) -> Result<()> {
        if let Some(pid) = self.script.id() {
            signal(pid as i32, Signal::TERM)?;
        }
        timeout(STOP_TIMEOUT, self.script.wait())
            .await
            .context("the cluster did not stop")??;
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // After `stop` it has no id any more.
        if let Some(pid) = self.script.id() {
            let _ = signal(pid as i32, Signal::TERM);
        }
    }
}

impl Node {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix("NODE ")?.split(' ');
        let name = words.next()?.to_owned();
        let mut field = |wanted: &str| {
            let word = words.find(|word| word.starts_with(wanted))?;
            Some(word.split_once('=')?.1.to_owned())
        };
        Some(Self {
            name,
            patroni: field("patroni=")?,
            data: field("data=")?.into(),
            patroni_pid: field("patroni_pid=")?.parse().ok()?,
        })
    }

    /// Ends Patroni and PostgreSQL as a power cut would: neither can say
    /// goodbye.
    ///
    /// # Errors
    /// One is not there.
    pub fn kill(&self) -> Result<()> {
        let file = fs::read_to_string(self.data.join("postmaster.pid"))?;
        let postmaster = file.lines().next().context("an empty postmaster.pid")?;
        let postmaster: i32 = postmaster.parse()?;
        signal(self.patroni_pid, Signal::KILL)?;
        // Before its children notice that it is gone, and finish anything.
        let children = children(postmaster)?;
        for pid in std::iter::once(postmaster).chain(children) {
            signal(pid, Signal::KILL)?;
        }
        Ok(())
    }
}

fn signal(pid: i32, signal: Signal) -> Result<()> {
    let pid = Pid::from_raw(pid).context("no process")?;
    match kill_process(pid, signal) {
        // It went first.
        Err(rustix::io::Errno::SRCH) => Ok(()),
        outcome => Ok(outcome?),
    }
}

fn children(parent: i32) -> Result<Vec<i32>> {
    let list = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))?;
    Ok(list
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect())
}
