//! Where things are.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

/// The repository and the folder cargo builds into.
#[derive(Debug, Clone)]
pub struct Workspace {
    root: PathBuf,
    profile: PathBuf,
}

impl Workspace {
    /// The repository that this program was built from, built into the folder
    /// that it runs from.
    ///
    /// # Errors
    /// When the running program's own path can't be read.
    pub fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("xtask is a folder of the repository")?
            .to_owned();
        // Asked before anything is built: afterwards the file may be another.
        let executable = env::current_exe().context("where this program is")?;
        let profile = executable
            .parent()
            .context("this program is in a folder")?
            .to_owned();
        Ok(Self { root, profile })
    }

    /// The repository's folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path in the repository.
    #[must_use]
    pub fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// A program of this workspace, as cargo built it.
    #[must_use]
    pub fn built(&self, program: &str) -> PathBuf {
        self.profile.join(program)
    }

    /// A log file that outlives this program, below cargo's target folder.
    ///
    /// # Errors
    /// When the file can't be created.
    pub fn log(&self, name: &str) -> Result<(PathBuf, fs::File)> {
        let folder = self.profile.join("logs");
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        let path = folder.join(name);
        let file =
            fs::File::create(&path).with_context(|| format!("creating {}", path.display()))?;
        Ok((path, file))
    }

    /// Cargo, in the repository.
    #[must_use]
    pub fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(arguments);
        self.prepare(&mut command);
        command
    }

    /// A program found among what `setup` installed, then in PATH; it runs in
    /// the repository.
    #[must_use]
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let program = program.as_ref();
        let path = self.find_program(&program.to_string_lossy());
        let mut command = Command::new(path.as_deref().unwrap_or(program));
        self.prepare(&mut command);
        command
    }

    fn prepare(&self, command: &mut Command) {
        command
            .current_dir(&self.root)
            .env("PATH", self.search_path());
        // Cargo sets these for this program alone. A cargo below it would
        // hand them on to build scripts, which then seem to have changed.
        for (name, _) in env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
                command.env_remove(name);
            }
        }
    }

    /// The first file of that name among what `setup` installed and in PATH.
    #[must_use]
    pub fn find_program(&self, name: &str) -> Option<PathBuf> {
        env::split_paths(&self.search_path())
            .map(|folder| folder.join(name))
            .find(|path| path.is_file())
    }

    fn search_path(&self) -> OsString {
        let ours = [
            ".tools/bin",
            "xtask/tools/node_modules/.bin",
            "clients/typescript/node_modules/.bin",
            "clients/python/.venv/bin",
            // Where the system's Node.js is too old; it is a Python
            // environment too, and must not hide the one above.
            ".tools/node/bin",
        ];
        let inherited = env::var_os("PATH").unwrap_or_default();
        let all = ours.iter().map(|folder| self.root.join(folder));
        env::join_paths(all.chain(env::split_paths(&inherited))).unwrap_or(inherited)
    }
}
