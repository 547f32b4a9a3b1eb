//! Who may import whom: reads the paths in every crate's `src` and complains
//! about each that the [`table`] does not allow.

mod scan;
mod table;

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use scan::Source;
use table::{CRATES, CrateRule};

/// A path that should not be where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The file, in the repository.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.message)
    }
}

/// One file of a crate.
#[derive(Debug)]
pub struct SourceFile {
    /// Its path in the repository, for instance `broker/src/flow/connect.rs`.
    pub path: PathBuf,
    /// What it holds.
    pub text: String,
}

/// Checks all crates of the workspace.
///
/// # Errors
/// When a file can't be read, or a crate has no rule.
pub fn check_workspace(root: &Path) -> Result<Vec<Violation>> {
    let manifest = fs::read_to_string(root.join("Cargo.toml")).context("reading Cargo.toml")?;
    for member in members(&manifest) {
        ensure!(
            CRATES.iter().any(|rule| rule.folder == member),
            "xtask/src/imports/table.rs has no rule for the crate in {member}"
        );
    }
    let mut files = Vec::new();
    for rule in CRATES {
        let mut folders = vec![root.join(rule.folder).join("src")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).with_context(|| format!("reading {folder:?}"))? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let text = fs::read_to_string(&path)?;
                    files.push(SourceFile {
                        path: path.strip_prefix(root)?.to_owned(),
                        text,
                    });
                }
            }
        }
    }
    Ok(check(&files))
}

/// The workspace's `members`.
fn members(manifest: &str) -> Vec<&str> {
    manifest
        .lines()
        .find_map(|line| line.strip_prefix("members = "))
        .map(|list| list.split('"').skip(1).step_by(2).collect())
        .unwrap_or_default()
}

/// Checks the files given; those of folders without a rule are passed over.
#[must_use]
pub fn check(files: &[SourceFile]) -> Vec<Violation> {
    let sources: Vec<(&SourceFile, Source)> = files
        .iter()
        .map(|file| (file, Source::read(&file.text)))
        .collect();
    // `#[cfg(test)] mod tests;` makes another file a test.
    let tests: Vec<PathBuf> = sources
        .iter()
        .flat_map(|(file, source)| {
            source
                .test_modules
                .iter()
                .flat_map(|module| module_files(&file.path, module))
        })
        .collect();
    let is_test = |path: &Path| {
        tests
            .iter()
            .any(|test| path == test || path.starts_with(test.with_extension("")))
    };

    let mut violations = Vec::new();
    for (file, source) in &sources {
        let Some((rule, module)) = locate(&file.path) else {
            continue;
        };
        if is_test(&file.path) {
            continue;
        }
        let mut complain = |line, message| {
            violations.push(Violation {
                file: file.path.clone(),
                line,
                message,
            });
        };
        if let Some(message) = rule.complaint_about_module(&module) {
            complain(1, message);
        }
        for used in &source.paths {
            for message in rule.complaints(&file.path, &module, used) {
                violations.push(Violation {
                    file: file.path.clone(),
                    line: used.line,
                    message,
                });
            }
        }
    }
    violations.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    violations.dedup();
    violations
}

/// The files that `mod name;` in `file` may mean.
fn module_files(file: &Path, name: &str) -> [PathBuf; 2] {
    let is_root = file
        .file_stem()
        .is_some_and(|stem| ["lib", "main", "mod"].iter().any(|s| stem == *s));
    let folder = if is_root {
        file.parent().map(Path::to_owned).unwrap_or_default()
    } else {
        file.with_extension("")
    };
    [
        folder.join(format!("{name}.rs")),
        folder.join(name).join("mod.rs"),
    ]
}

/// The crate's rule, and the module that the file is, from the crate's root.
fn locate(file: &Path) -> Option<(&'static CrateRule, Vec<String>)> {
    let rule = CRATES
        .iter()
        .find(|rule| file.starts_with(Path::new(rule.folder).join("src")))?;
    let inside = file
        .strip_prefix(Path::new(rule.folder).join("src"))
        .ok()?
        .with_extension("");
    let mut module: Vec<String> = inside
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if module
        .last()
        .is_some_and(|last| ["lib", "main", "mod"].contains(&last.as_str()))
    {
        module.pop();
    }
    Some((rule, module))
}
