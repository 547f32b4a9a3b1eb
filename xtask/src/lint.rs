//! `cargo xtask lint`: everything that can be said of the code without running
//! it.

use std::process::Stdio;

use anyhow::Result;

use crate::{
    console, imports, process,
    setup::{self, Need},
    workspace::Workspace,
};

/// What a check found.
enum Outcome {
    Passed,
    Failed,
    /// Left out, and why.
    Skipped(String),
}

impl From<bool> for Outcome {
    fn from(passed: bool) -> Self {
        if passed { Self::Passed } else { Self::Failed }
    }
}

type Check = fn(&Workspace) -> Result<Outcome>;

const CHECKS: [(&str, Check); 7] = [
    ("imports", imports),
    ("cargo fmt", |workspace| {
        cargo(workspace, &["fmt", "--all", "--check"])
    }),
    ("buf lint", |workspace| buf(workspace, &["lint"])),
    ("buf format", |workspace| {
        buf(workspace, &["format", "--diff", "--exit-code"])
    }),
    ("buf breaking", breaking),
    ("cargo deny", deny),
    ("cargo clippy", |workspace| {
        cargo(
            workspace,
            &[
                "clippy",
                "--locked",
                "--workspace",
                "--all-targets",
                "--",
                "--deny",
                "warnings",
            ],
        )
    }),
];

/// Runs every check, those after a failed one too; whether none failed.
///
/// # Errors
/// When setup fails or the user interrupts.
pub fn run(workspace: &Workspace) -> Result<bool> {
    setup::run(workspace, &[Need::Tools])?;
    let mut failed = Vec::new();
    for (name, check) in CHECKS {
        console::step(name);
        let outcome = match check(workspace) {
            Err(error) if process::interrupted() => return Err(error),
            Err(error) => {
                console::error(&format!("{error:#}"));
                Outcome::Failed
            }
            Ok(outcome) => outcome,
        };
        match outcome {
            Outcome::Passed => {}
            Outcome::Failed => failed.push(name),
            Outcome::Skipped(why) => console::note(&format!("skipped: {why}")),
        }
    }
    if failed.is_empty() {
        console::step("lint: no complaint");
    } else {
        console::error(&format!("lint failed: {}", failed.join(", ")));
    }
    Ok(failed.is_empty())
}

fn cargo(workspace: &Workspace, arguments: &[&str]) -> Result<Outcome> {
    Ok(process::status(&mut workspace.cargo(arguments))?
        .success()
        .into())
}

fn buf(workspace: &Workspace, arguments: &[&str]) -> Result<Outcome> {
    Ok(process::status(workspace.command("buf").args(arguments))?
        .success()
        .into())
}

fn imports(workspace: &Workspace) -> Result<Outcome> {
    let violations = imports::check_workspace(workspace.root())?;
    for violation in &violations {
        console::note(&violation.to_string());
    }
    Ok(violations.is_empty().into())
}

/// The public API against the last release.
fn breaking(workspace: &Workspace) -> Result<Outcome> {
    let git = |arguments: &[&str]| {
        let mut git = workspace.command("git");
        process::output(git.args(arguments).stderr(Stdio::null()))
            .map(|text| text.trim().to_owned())
    };
    let Ok(tag) = git(&["describe", "--tags", "--abbrev=0", "--match", "v[0-9]*"]) else {
        return Ok(Outcome::Skipped(
            "there is no release yet to compare with".to_owned(),
        ));
    };
    let repository = git(&["rev-parse", "--path-format=absolute", "--git-common-dir"])?;
    console::note(&format!("against {tag}"));
    buf(
        workspace,
        &["breaking", "--against", &format!("{repository}#tag={tag}")],
    )
}

/// Licences, bans and sources. Not the advisories: they come from a database
/// that has to be fetched.
fn deny(workspace: &Workspace) -> Result<Outcome> {
    if workspace.find_program("cargo-deny").is_none() {
        return Ok(Outcome::Skipped("cargo-deny is not installed".to_owned()));
    }
    cargo(
        workspace,
        &["deny", "--locked", "check", "licenses", "bans", "sources"],
    )
}
