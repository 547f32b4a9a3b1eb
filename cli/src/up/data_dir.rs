//! The directory where a development installation lives.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use crate::failure::Failure;

/// A directory that this process alone uses, until this is dropped.
pub struct DataDir {
    /// Where it is.
    pub path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Opens the directory; it is made, for its owner only, where there is none.
    ///
    /// # Errors
    ///
    /// It can't be made or written to, or another process uses it.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let unusable = |error: std::io::Error| {
            Failure::new(format!("{shown} can't be used: {error}"))
                .next("choose another directory with --data-dir")
                .configuration()
        };
        if !path.is_dir() {
            make(path).map_err(unusable)?;
        }
        let lock = File::create(path.join("lock")).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => {
                let failure = Failure::new(format!("another `dromos up` uses {shown}"));
                Err(failure.next("end that one, or choose another directory with --data-dir"))
            }
            Err(TryLockError::Error(error)) => Err(unusable(error)),
        }
    }
}

fn make(path: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)?;
    // Keys don't belong in a repository, and `git add .` is quickly typed.
    fs::write(path.join(".gitignore"), "*\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_user_at_a_time() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("new/.dromos");
        let first = DataDir::open(&path).map_err(|failure| failure.to_string());
        let second = DataDir::open(&path).map_err(|failure| failure.to_string());
        let failure = second.err().unwrap();
        assert!(failure.contains("another `dromos up` uses"), "{failure}");
        drop(first.unwrap());
        assert!(DataDir::open(&path).is_ok());
    }

    #[test]
    fn what_is_in_it_stays_out_of_repositories() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join(".dromos");
        assert!(DataDir::open(&path).is_ok());
        let ignored = fs::read_to_string(path.join(".gitignore")).unwrap();
        assert_eq!(ignored, "*\n");
    }

    #[test]
    fn a_file_is_no_directory() {
        let place = tempfile::NamedTempFile::new().unwrap();
        let failure = DataDir::open(place.path()).err().unwrap();
        assert_eq!(failure.exit_code(), dromos_serve::EXIT_CONFIG);
    }
}
