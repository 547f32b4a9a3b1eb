//! Installs what is missing, and only that. A second run finds everything in
//! place and takes no time.

mod debian;
mod grpcurl;
mod node;
mod python;

use std::{fs, path::Path};

use anyhow::{Context, Result};

use crate::workspace::Workspace;

/// Something that a command needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// PostgreSQL's server programs.
    Postgres,
    /// Redis's server.
    Redis,
    /// curl, for the tests that speak REST as a user does.
    Curl,
    /// h2load, for the benchmarks.
    LoadGenerator,
    /// Patroni, etcd and HAProxy, for a PostgreSQL with standbys.
    Cluster,
    /// promtool, for the alert rules.
    Promtool,
    /// buf and the OpenID provider, with the Node.js that they run on.
    Tools,
    /// What the TypeScript client builds with.
    TypeScript,
    /// What the Python client builds with, in an environment of its own.
    Python,
    /// grpcurl, for the tests that speak gRPC as a user does.
    Grpcurl,
    /// moto, which plays AWS KMS in the tests.
    Moto,
}

impl Need {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Postgres,
        Self::Redis,
        Self::Curl,
        Self::LoadGenerator,
        Self::Cluster,
        Self::Promtool,
        Self::Tools,
        Self::TypeScript,
        Self::Python,
        Self::Grpcurl,
        Self::Moto,
    ];
}

/// Makes sure that all of `needs` are there.
///
/// # Errors
/// When one is missing and can't be installed; the error says what to do.
pub fn run(workspace: &Workspace, needs: &[Need]) -> Result<()> {
    let has = |need| needs.contains(&need);
    let wants_node = has(Need::Tools) || has(Need::TypeScript);
    let node_is_missing = wants_node && !node::is_current(workspace);
    let wants_python = has(Need::Python)
        || has(Need::Moto)
        || node_is_missing
        || grpcurl::comes_from_python(workspace, needs);

    debian::ensure(needs, wants_python)?;
    if node_is_missing {
        node::install(workspace)?;
    }
    if has(Need::Tools) {
        node::packages(workspace, "xtask/tools")?;
    }
    if has(Need::TypeScript) {
        node::packages(workspace, "clients/typescript")?;
    }
    if has(Need::Python) {
        python::requirements(workspace, python::CLIENT)?;
    }
    if has(Need::Moto) {
        python::requirements(workspace, python::TOOLS)?;
    }
    if has(Need::Grpcurl) {
        grpcurl::ensure(workspace)?;
    }
    Ok(())
}

/// What a folder was installed from, kept inside it.
const STAMP: &str = ".installed-from";

/// Whether `folder` was installed from exactly `source`.
fn is_installed(folder: &Path, source: &str) -> bool {
    fs::read_to_string(folder.join(STAMP)).is_ok_and(|stamp| stamp == source)
}

fn mark_installed(folder: &Path, source: &str) -> Result<()> {
    let path = folder.join(STAMP);
    fs::write(&path, source).with_context(|| format!("writing {}", path.display()))
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_installed_only_from_the_very_same_source() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_installed(folder.path(), "a==1\n"));
        mark_installed(folder.path(), "a==1\n").unwrap();
        assert!(is_installed(folder.path(), "a==1\n"));
        assert!(!is_installed(folder.path(), "a==2\n"));
    }
}
