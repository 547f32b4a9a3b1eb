//! The load: h2load, with the same flags for everything that is measured.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use tokio::process::Command;

/// Targets of one run, each with a connection of its own.
pub const TARGETS: usize = 4;
/// Calls in flight, unless a benchmark asks for more.
pub const IN_FLIGHT: u64 = 32;

/// Where a part of the load goes.
#[derive(Debug, Clone)]
pub struct Target<'a> {
    /// An http URL; HTTP/2 is spoken to it at once.
    pub url: String,
    /// The request's headers, as `name: value`.
    pub headers: &'a [String],
    /// The request's body, which makes it a POST.
    pub body: Option<Box<Path>>,
}

/// What one run came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Run {
    /// Calls a second.
    pub rate: f64,
    /// Bytes of answers, without headers and trailers.
    pub data: u64,
}

/// Sends `requests` calls to each target, `in_flight` at once in all.
///
/// # Errors
/// h2load can't be run, or a single answer is not a 2xx.
pub async fn run(targets: &[Target<'_>; TARGETS], requests: u64, in_flight: u64) -> Result<Run> {
    let each = in_flight / TARGETS as u64;
    let runs = try_join_all(targets.iter().map(|target| one(target, requests, each))).await?;
    let slowest = runs
        .iter()
        .map(|run| requests as f64 / run.rate)
        .fold(0.0, f64::max);
    Ok(Run {
        rate: (requests * TARGETS as u64) as f64 / slowest,
        data: runs.iter().map(|run| run.data).sum(),
    })
}

async fn one(target: &Target<'_>, requests: u64, in_flight: u64) -> Result<Run> {
    let mut command = Command::new("h2load");
    command
        .arg("--clients=1")
        .arg(format!("--max-concurrent-streams={in_flight}"))
        .arg(format!("--requests={requests}"))
        .arg("--threads=1");
    for header in target.headers {
        command.args(["--header", header]);
    }
    if let Some(body) = &target.body {
        command.arg("--data").arg(&**body);
    }
    let output = command
        .arg(&target.url)
        .kill_on_drop(true)
        .output()
        .await
        .context("h2load is missing: run `cargo xtask setup`")?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let (run, good) = parse(&printed).with_context(|| {
        format!(
            "h2load ended with {} and printed:\n{printed}",
            output.status
        )
    })?;
    ensure!(
        output.status.success() && good == requests,
        "{good} of {requests} answers of {} are good; h2load printed:\n{printed}",
        target.url
    );
    Ok(run)
}

/// The figures, and how many answers were 2xx.
fn parse(printed: &str) -> Option<(Run, u64)> {
    let line = |start: &str| printed.lines().find_map(|line| line.strip_prefix(start));
    let rate = line("finished in ")?.split(", ").nth(1)?;
    let rate = rate.strip_suffix(" req/s")?.parse().ok()?;
    let good = line("status codes: ")?.split_once(" 2xx")?.0.parse().ok()?;
    let data = line("traffic: ")?.rsplit_once('(')?.1;
    let data = data.strip_suffix(") data")?.parse().ok()?;
    Some((Run { rate, data }, good))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h2loads_closing_lines_are_understood() {
        let printed = "starting benchmark...\n\
            finished in 1.05s, 9523.81 req/s, 1.21MB/s\n\
            requests: 10000 total, 10000 started, 10000 done, 9999 succeeded, 1 failed, 0 errored, 0 timeout\n\
            status codes: 9999 2xx, 0 3xx, 1 4xx, 0 5xx\n\
            traffic: 1.27MB (1330000) total, 203.2KB (208000) headers (space savings 91.87%), 800KB (819200) data\n";
        let run = Run {
            rate: 9523.81,
            data: 819_200,
        };
        assert_eq!(parse(printed), Some((run, 9999)));
        assert_eq!(parse("starting benchmark...\n"), None);
    }
}
