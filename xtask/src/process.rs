//! Programs that never outlive this one: each runs in a process group of its
//! own, and the group ends with it, on failure and on Ctrl-C alike.

use std::{
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::{consts, iterator::Signals};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static GROUPS: Mutex<Vec<(Pid, Kind)>> = Mutex::new(Vec::new());

/// How a program ends when the user interrupts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// At once: somebody waits for it.
    Task,
    /// When its owner drops it: tasks may still be using it.
    Service,
}

fn groups() -> MutexGuard<'static, Vec<(Pid, Kind)>> {
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Handles Ctrl-C and its kin for as long as this program runs: the first one
/// ends the running tasks, so that their owners stop the services and clean
/// up; the second one ends everything.
///
/// # Errors
/// When the handlers can't be installed.
pub fn watch_signals() -> Result<()> {
    let mut signals = Signals::new([consts::SIGINT, consts::SIGTERM, consts::SIGHUP])
        .context("handling Ctrl-C")?;
    thread::spawn(move || {
        for _ in signals.forever() {
            let again = INTERRUPTED.swap(true, Ordering::SeqCst);
            for (group, kind) in groups().iter() {
                if again {
                    signal(*group, Signal::KILL);
                } else if *kind == Kind::Task {
                    signal(*group, Signal::TERM);
                }
            }
            if again {
                std::process::exit(130);
            }
        }
    });
    Ok(())
}

/// Whether the user asked to stop.
#[must_use]
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

fn signal(group: Pid, signal: Signal) {
    // The group may have ended by itself.
    let _ = kill_process_group(group, signal);
}

/// A started program; dropping it ends its whole group.
#[derive(Debug)]
pub struct Running {
    child: Child,
    group: Pid,
    stop_with: Signal,
}

fn start(command: &mut Command, kind: Kind, stop_with: Signal) -> Result<Running> {
    // Held while starting, so that an interruption finds the group or
    // prevents it.
    let mut groups = groups();
    ensure!(!interrupted(), "interrupted");
    let child = command
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .with_context(|| format!("starting {}", command.get_program().to_string_lossy()))?;
    let group = Pid::from_child(&child);
    groups.push((group, kind));
    Ok(Running {
        child,
        group,
        stop_with,
    })
}

/// Starts a program that others use while it runs; `stop_with` is the signal
/// that ends it in good order.
///
/// # Errors
/// When it can't be started, or the user interrupted.
pub fn start_service(command: &mut Command, stop_with: Signal) -> Result<Running> {
    start(command, Kind::Service, stop_with)
}

impl Running {
    /// Whether it still runs.
    ///
    /// # Errors
    /// When the system can't tell.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    fn wait(&mut self) -> Result<ExitStatus> {
        let status = self.child.wait()?;
        if interrupted() {
            bail!("interrupted");
        }
        Ok(status)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            signal(self.group, self.stop_with);
            let deadline = Instant::now() + Duration::from_secs(10);
            while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(20));
            }
        }
        // Whatever is left of the group, the program itself included.
        signal(self.group, Signal::KILL);
        let _ = self.child.wait();
        groups().retain(|(group, _)| *group != self.group);
    }
}

/// Runs a program to its end; its output goes where ours goes.
///
/// # Errors
/// When it can't be started, or the user interrupted.
pub fn status(command: &mut Command) -> Result<ExitStatus> {
    start(command, Kind::Task, Signal::TERM)?.wait()
}

/// Runs a program that must succeed.
///
/// # Errors
/// As [`status`], and when the program fails.
pub fn run(command: &mut Command) -> Result<()> {
    let status = status(command)?;
    ensure!(status.success(), "`{}` failed ({status})", shown(command));
    Ok(())
}

/// Runs a program that must succeed and gives back what it printed.
///
/// # Errors
/// As [`run`].
pub fn output(command: &mut Command) -> Result<String> {
    let mut text = String::new();
    let status = lines(command, |line| {
        text.push_str(line);
        text.push('\n');
    })?;
    ensure!(status.success(), "`{}` failed ({status})", shown(command));
    Ok(text)
}

/// Runs a program and hands over each line of its standard output as it
/// comes.
///
/// # Errors
/// As [`status`].
pub fn lines(command: &mut Command, mut each: impl FnMut(&str)) -> Result<ExitStatus> {
    let mut running = start(command.stdout(Stdio::piped()), Kind::Task, Signal::TERM)?;
    let (sender, receiver) = mpsc::channel();
    if let Some(stdout) = running.child.stdout.take() {
        thread::spawn(move || read_lines(BufReader::new(stdout), &sender));
    }
    // A grandchild may hold the pipe open after the program itself has ended:
    // the program's end counts, not the pipe's.
    while running.is_running()? {
        match receiver.recv_timeout(Duration::from_millis(50)) {
            Ok(line) => each(&line),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let status = running.wait()?;
    signal(running.group, Signal::KILL);
    while let Ok(line) = receiver.recv_timeout(Duration::from_secs(1)) {
        each(&line);
    }
    Ok(status)
}

fn read_lines(mut reader: impl BufRead, sender: &mpsc::Sender<String>) {
    let mut line = Vec::new();
    while matches!(reader.read_until(b'\n', &mut line), Ok(1..)) {
        let text = String::from_utf8_lossy(&line)
            .trim_end_matches(['\n', '\r'])
            .to_owned();
        if sender.send(text).is_err() {
            return;
        }
        line.clear();
    }
}

/// The command line, for messages.
fn shown(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|part| part.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}
