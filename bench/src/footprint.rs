//! How soon `dromos up` is ready, and what it needs while nobody calls.

use std::{process::Stdio, time::Duration};

use anyhow::Result;
use clap::Args;
use serde_json::json;
use tokio::{
    process::Command,
    time::{Instant, sleep},
};

use crate::{
    services::{free_ports, pid, program, ready},
    table::{self, median},
    usage,
};

/// How often and how long to look.
#[derive(Debug, Args)]
pub struct Options {
    /// Starts whose time is taken, each with an empty folder.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    starts: u32,
    /// Seconds between the last start's being ready and the look at its memory.
    #[arg(long, default_value_t = 60)]
    idle: u64,
}

/// Runs the benchmark and prints its figures.
///
/// # Errors
/// `dromos up` does not become ready. Being large or slow is no error.
pub async fn run(options: &Options) -> Result<()> {
    let mut times = Vec::new();
    let mut memory = (0, 0);
    for start in 1..=options.starts {
        let folder = tempfile::Builder::new().prefix("dromos-bench-").tempdir()?;
        let ports: [u16; 3] = free_ports()?;
        let address = |port: u16| format!("127.0.0.1:{port}");
        let began = Instant::now();
        let mut up = Command::new(program("dromos")?)
            .arg("up")
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            .args(["--listen", &address(ports[0])])
            .args(["--broker-listen", &address(ports[1])])
            .args(["--public-listen", &address(ports[2])])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        ready(&mut up, &format!("http://{}", address(ports[0]))).await?;
        times.push(began.elapsed().as_secs_f64());
        if start == options.starts {
            sleep(Duration::from_secs(options.idle)).await;
            memory = usage::memory(pid(&up)?)?;
        }
        up.kill().await?;
    }
    let mebibytes = |kibibytes: u64| kibibytes as f64 / 1024.0;
    let (now, most) = (mebibytes(memory.0), mebibytes(memory.1));
    println!(
        "`dromos up` with an empty folder, {} starts",
        options.starts
    );
    table::print(&[
        ["", "measured", "target"].map(str::to_owned).to_vec(),
        vec![
            "ready after".to_owned(),
            format!("{:.3} s", median(&times)),
            "< 1 s".to_owned(),
        ],
        vec![
            format!("memory, idle for {} s", options.idle),
            format!("{now:.1} MiB (at most {most:.1})"),
            "< 40 MiB".to_owned(),
        ],
    ]);
    let record = json!({
        "benchmark": "footprint",
        "ready_seconds": { "median": median(&times), "starts": times },
        "idle_rss_mib": now,
        "peak_rss_mib": most,
    });
    println!("{record}");
    Ok(())
}
