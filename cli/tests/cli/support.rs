//! Runs the binary in a directory of its own, apart from the tester's settings.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio},
};

use tempfile::TempDir;

/// `dromos up` on free ports.
pub const UP: [&str; 7] = [
    "up",
    "--listen",
    "127.0.0.1:0",
    "--broker-listen",
    "127.0.0.1:0",
    "--public-listen",
    "127.0.0.1:0",
];

/// A provider that nobody calls.
pub const PROVIDER: &str = r#"{
    "name": "acme", "display_name": "Acme",
    "oauth2": {
        "client_id": "made-up-client", "client_secret": "made-up-secret",
        "authorization_endpoint": "https://acme.test/authorize",
        "token_endpoint": "https://acme.test/token" },
    "strategy": { "type": "oauth2" } }"#;

/// A directory that commands run in.
pub struct Place(TempDir);

impl Place {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn data(&self, file: &str) -> PathBuf {
        self.path().join(".dromos").join(file)
    }

    pub fn key(&self) -> String {
        let key = std::fs::read_to_string(self.data("admin.key")).unwrap();
        key.trim().to_owned()
    }

    /// The command, without anything of the tester's own environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dromos"));
        command.args(arguments).current_dir(self.path());
        for name in [
            "GATEWAY_URL",
            "DROMOS_API_KEY",
            "RUST_LOG",
            "NO_COLOR",
            "ENCRYPTION_KEY",
            "ENCRYPTION_KEY_FILE",
            "ENCRYPTION_KEY_PREVIOUS",
        ] {
            command.env_remove(name);
        }
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.command(arguments).output().unwrap().into()
    }

    /// `dromos up` on free ports, when it is ready.
    pub fn up(&self) -> Up {
        self.up_with(&[])
    }

    /// The same, with variables of its own.
    pub fn up_with(&self, variables: &[(&str, &str)]) -> Up {
        let mut command = self.command(&UP);
        command.envs(variables.iter().copied());
        self.up_by(command)
    }

    /// What this command starts, when it is ready.
    pub fn up_by(&self, mut command: Command) -> Up {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut greeting = String::new();
        while !greeting.contains("Ctrl-C stops it") {
            let read = stdout.read_line(&mut greeting).unwrap();
            assert_ne!(read, 0, "it ended before it was ready: {greeting}");
        }
        Up {
            child,
            _stdout: stdout,
            greeting,
        }
    }
}

/// A running `dromos up`. It ends with the test.
pub struct Up {
    child: Child,
    // A closed pipe would disturb what it says at its end.
    _stdout: BufReader<ChildStdout>,
    pub greeting: String,
}

impl Up {
    /// The address behind a name in the greeting.
    pub fn address(&self, name: &str) -> String {
        let line = self
            .greeting
            .lines()
            .find_map(|line| line.trim().strip_prefix(name));
        line.expect("the greeting tells it").trim().to_owned()
    }

    pub fn gateway(&self) -> String {
        self.address("Gateway")
    }

    /// SIGTERM, and how it ended.
    pub fn terminate(mut self) -> ExitStatus {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(sent.unwrap().success());
        self.child.wait().unwrap()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // Both fail where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("it exited"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ran {
    /// Standard output of a command that succeeded.
    #[track_caller]
    pub fn good(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.stdout
    }

    /// Standard error of a command that failed with this code.
    #[track_caller]
    pub fn failed(self, code: i32) -> String {
        assert_eq!(self.code, code, "{self:?}");
        assert_eq!(self.stdout, "", "a failure prints to standard error");
        self.stderr
    }
}

/// Runs a command with a standard input.
pub fn run_with(command: &mut Command, stdin: &str) -> Ran {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(stdin.as_bytes()).unwrap();
    drop(input);
    child.wait_with_output().unwrap().into()
}
