//! Log lines on their way to standard error, many in one write.
//!
//! A system call per line, in the middle of serving, costs more than the line.
//! So a thread writes what has gathered a moment later; warnings and errors
//! are written before the code that logs them goes on.

use std::{
    io::{self, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// How long a line may wait for others.
const LINGER: Duration = Duration::from_millis(5);
/// Bytes that may wait; whoever logs beyond that waits for the reader of the
/// log.
const CAPACITY: usize = 1 << 20;

/// Lines that wait to be written to `W`.
pub(crate) struct Lines<W>(Arc<Shared<W>>);

impl<W> Clone for Lines<W> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

struct Shared<W> {
    waiting: Mutex<Vec<u8>>,
    /// Held while writing, so that lines stay in order.
    out: Mutex<W>,
    arrived: Condvar,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<W: Write + Send + 'static> Lines<W> {
    /// Starts the thread that writes. Without one, every line is written at
    /// once.
    pub(crate) fn start(out: W) -> Self {
        let lines = Self(Arc::new(Shared {
            waiting: Mutex::default(),
            out: Mutex::new(out),
            arrived: Condvar::new(),
        }));
        let writing = lines.clone();
        let thread = thread::Builder::new().name("log-writer".to_owned());
        if let Err(error) = thread.spawn(move || writing.run()) {
            eprintln!("log lines are written one by one: {error}");
        }
        lines
    }

    fn run(&self) {
        loop {
            {
                let waiting = lock(&self.0.waiting);
                let arrived = self.0.arrived.wait_while(waiting, |lines| lines.is_empty());
                drop(arrived.unwrap_or_else(PoisonError::into_inner));
            }
            thread::park_timeout(LINGER);
            self.flush();
        }
    }

    /// Writes what waits. Standard error that can't be written to is nobody's
    /// to tell.
    pub(crate) fn flush(&self) {
        let mut out = lock(&self.0.out);
        let lines = std::mem::take(&mut *lock(&self.0.waiting));
        let _ = out.write_all(&lines).and_then(|()| out.flush());
    }
}

/// One line's writer.
pub(crate) struct Line<W> {
    lines: Lines<W>,
    at_once: bool,
}

impl<W: Write + Send + 'static> Write for Line<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let full = {
            let mut waiting = lock(&self.lines.0.waiting);
            if waiting.is_empty() {
                self.lines.0.arrived.notify_one();
            }
            waiting.extend_from_slice(line);
            waiting.len() > CAPACITY
        };
        if full || self.at_once {
            self.lines.flush();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a, W: Write + Send + 'static> MakeWriter<'a> for Lines<W> {
    type Writer = Line<W>;

    fn make_writer(&'a self) -> Line<W> {
        Line {
            lines: self.clone(),
            at_once: true,
        }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line<W> {
        Line {
            lines: self.clone(),
            at_once: *metadata.level() <= Level::WARN,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    struct Sent(mpsc::Sender<String>);

    impl Write for Sent {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if !bytes.is_empty() {
                let _ = self.0.send(String::from_utf8_lossy(bytes).into_owned());
            }
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn log(log: impl FnOnce()) -> mpsc::Receiver<String> {
        let (sender, receiver) = mpsc::channel();
        let subscriber = tracing_subscriber::fmt()
            .without_time()
            .with_ansi(false)
            .with_writer(Lines::start(Sent(sender)))
            .finish();
        tracing::subscriber::with_default(subscriber, log);
        receiver
    }

    #[test]
    fn a_line_is_written_by_itself_a_moment_later() {
        let written = log(|| tracing::info!("one"));
        let line = written.recv_timeout(Duration::from_secs(20)).unwrap();
        assert!(line.contains("one"), "{line}");
    }

    #[test]
    fn a_warning_is_written_before_its_caller_goes_on_and_after_what_came_before() {
        let written = log(|| {
            for count in 0..1000 {
                tracing::info!(count);
            }
            tracing::warn!("the last");
        });
        let all: String = written.try_iter().collect();
        let lines: Vec<&str> = all.lines().collect();
        assert_eq!(lines.len(), 1001);
        for (count, line) in lines[..1000].iter().enumerate() {
            assert!(line.ends_with(&format!("count={count}")), "{line}");
        }
        assert!(lines[1000].contains("the last"));
    }
}
