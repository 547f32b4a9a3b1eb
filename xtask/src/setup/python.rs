//! The Python client's environment, from its pinned requirements.

use std::{fs, process::Command};

use anyhow::{Context, Result};

use super::{is_installed, mark_installed, read};
use crate::{console, process, workspace::Workspace};

/// The client's environment.
const ENVIRONMENT: &str = "clients/python/.venv";

/// Installs the pinned requirements into an environment of their own.
pub fn requirements(workspace: &Workspace) -> Result<()> {
    let requirements = workspace.path("clients/python/requirements.txt");
    let source = read(&requirements)?;
    let environment = workspace.path(ENVIRONMENT);
    if is_installed(&environment, &source) {
        return Ok(());
    }
    console::step("installing Python packages of clients/python");
    if environment.exists() {
        fs::remove_dir_all(&environment)
            .with_context(|| format!("removing {}", environment.display()))?;
    }
    process::run(
        Command::new("python3")
            .args(["-m", "venv"])
            .arg(&environment),
    )?;
    pip(workspace, |pip| pip.arg("--requirement").arg(&requirements))?;
    mark_installed(&environment, &source)
}

/// Installs one package into the client's environment.
pub fn package(workspace: &Workspace, package: &str) -> Result<()> {
    pip(workspace, |pip| pip.arg(package))
}

fn pip(workspace: &Workspace, what: impl Fn(&mut Command) -> &mut Command) -> Result<()> {
    let mut pip = Command::new(workspace.path(ENVIRONMENT).join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check"]);
    process::run(what(&mut pip))
}
