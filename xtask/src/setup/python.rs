//! Python environments, each from its folder's pinned requirements.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result};

use super::{is_installed, mark_installed, read};
use crate::{console, process, workspace::Workspace};

/// The client's folder.
pub const CLIENT: &str = "clients/python";
/// The folder of what the tests need.
pub const TOOLS: &str = "xtask/tools";

/// Installs a folder's pinned requirements into an environment of their own.
pub fn requirements(workspace: &Workspace, folder: &str) -> Result<()> {
    let requirements = workspace.path(folder).join("requirements.txt");
    let source = read(&requirements)?;
    let environment = workspace.path(folder).join(".venv");
    if is_installed(&environment, &source) {
        return Ok(());
    }
    console::step(&format!("installing Python packages of {folder}"));
    if environment.exists() {
        fs::remove_dir_all(&environment)
            .with_context(|| format!("removing {}", environment.display()))?;
    }
    process::run(
        Command::new("python3")
            .args(["-m", "venv"])
            .arg(&environment),
    )?;
    pip(&environment, |pip| {
        pip.arg("--requirement").arg(&requirements)
    })?;
    mark_installed(&environment, &source)
}

/// Installs one package into the client's environment.
pub fn package(workspace: &Workspace, package: &str) -> Result<()> {
    let environment = workspace.path(CLIENT).join(".venv");
    pip(&environment, |pip| pip.arg(package))
}

fn pip(environment: &Path, what: impl Fn(&mut Command) -> &mut Command) -> Result<()> {
    let mut pip = Command::new(environment.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check"]);
    process::run(what(&mut pip))
}
