//! What comes from the system's packages: Debian's, where it is Debian.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use rustix::process::geteuid;

use super::Need;
use crate::{console, postgres, process, redis};

/// What a PostgreSQL with standbys runs on: a program, what to ask it, and the
/// package that it comes from.
const CLUSTER: [(&str, &str, &str); 3] = [
    ("patroni", "--version", "patroni"),
    ("etcd", "--version", "etcd-server"),
    // Outside the PATH of most users.
    ("/usr/sbin/haproxy", "-v", "haproxy"),
];

/// Installs the packages that are missing.
pub fn ensure(needs: &[Need], wants_python: bool) -> Result<()> {
    let has = |need| needs.contains(&need);
    let mut missing = Vec::new();
    if has(Need::Postgres) && postgres::bin().is_none() {
        missing.push("postgresql");
    }
    if has(Need::Redis) && !succeeds(redis::PROGRAM, &["--version"]) {
        missing.push("redis-server");
    }
    if has(Need::Curl) && !succeeds("curl", &["--version"]) {
        missing.push("curl");
    }
    if has(Need::LoadGenerator) && !succeeds("h2load", &["--version"]) {
        missing.push("nghttp2-client");
    }
    if has(Need::Cluster) {
        for (program, argument, package) in CLUSTER {
            if !succeeds(program, &[argument]) {
                missing.push(package);
            }
        }
    }
    if has(Need::Promtool) && !succeeds("promtool", &["--version"]) {
        missing.push("prometheus");
    }
    if wants_python && !succeeds("python3", &["-c", "import venv, ensurepip"]) {
        missing.push("python3-venv");
    }
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !succeeds("apt-get", &["--version"]) {
        bail!("missing: {list}\n    Install what these Debian packages hold, then run this again.");
    }
    if !geteuid().is_root() {
        bail!(
            "missing Debian packages. Install them, then run this again:\n    \
             sudo apt-get update && sudo apt-get install --yes {list}"
        );
    }
    console::step(&format!("installing Debian packages: {list}"));
    process::run(&mut apt_get(&["update", "--quiet"]))?;
    let mut install = apt_get(&["install", "--yes", "--quiet", "--no-install-recommends"]);
    process::run(install.args(&missing)).with_context(|| format!("installing {list}"))
}

fn apt_get(arguments: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdout(Stdio::null());
    command
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
