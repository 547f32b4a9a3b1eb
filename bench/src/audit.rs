//! What the audit costs: GetToken through a broker as it is, and through one
//! whose audit keeps nothing, in turns.

use anyhow::{Result, bail, ensure};
use clap::Args;
use dromos_proto::v1::GetTokenRequest;
use prost::Message;
use serde_json::json;

use crate::{
    database::Database,
    h2load::{self, TARGETS, Target},
    services::Dromos,
    table::{self, median, range},
    token::{FRAME, METHOD, authorization, call, framed},
};

/// Calls that warm everything up and tell how fast it is about.
const WARM_UP: u64 = 5000;
/// How much of its throughput without the audit GetToken is to keep.
const TARGET: f64 = 0.70;

/// How long to measure.
#[derive(Debug, Args)]
pub struct Options {
    /// Rounds; each measures both, in alternating order.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// About how many seconds each measurement takes.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
}

struct Subject {
    name: &'static str,
    dromos: Dromos,
    audited: bool,
    requests: u64,
    rates: Vec<f64>,
}

/// Runs the benchmark and prints its figures.
///
/// # Errors
/// Something does not work as it should. Being slow is no error.
pub async fn run(options: &Options) -> Result<()> {
    let mut database = Database::create().await?;
    let outcome = run_on(&mut database, options).await;
    let removed = database.remove().await;
    outcome.and(removed)
}

async fn run_on(database: &mut Database, options: &Options) -> Result<()> {
    let folder = tempfile::Builder::new().prefix("dromos-bench-").tempdir()?;
    let dromos = Dromos::start(&database.url, folder.path()).await?;
    let Ok(connection_ids) = <[String; TARGETS]>::try_from(dromos.connect(TARGETS).await?) else {
        bail!("there are not as many connections as targets");
    };
    let without = Dromos::start_with(
        "dromos-bench-unaudited-broker",
        &database.url,
        folder.path(),
    )
    .await?;
    let mut size = 0;
    let mut bodies = Vec::new();
    for (index, id) in connection_ids.iter().enumerate() {
        let message = GetTokenRequest {
            connection_id: id.clone(),
        };
        let payload = call(&dromos.url, METHOD, &message).await?;
        ensure!(
            call(&without.url, METHOD, &message).await? == payload,
            "the two brokers answer differently"
        );
        size += (payload.encoded_len() + FRAME) as u64;
        let file = folder.path().join(format!("token-{index}.bin"));
        bodies.push(framed(&message, &file)?);
    }
    let headers = [
        "content-type: application/grpc".to_owned(),
        "te: trailers".to_owned(),
        authorization(),
    ];
    let subject = |name, dromos, audited| Subject {
        name,
        dromos,
        audited,
        requests: WARM_UP,
        rates: vec![],
    };
    let mut subjects = [
        subject("with the audit", dromos, true),
        subject("with an audit that keeps nothing", without, false),
    ];
    let mut calls = 0;
    for round in 0..=options.rounds {
        // Whatever the first of a round has from being first, both have.
        subjects.rotate_left(1);
        for subject in &mut subjects {
            let before = database.reads(&connection_ids).await?;
            let targets: [Target<'_>; TARGETS] = std::array::from_fn(|index| Target {
                url: format!("{}{METHOD}", subject.dromos.url),
                headers: &headers,
                body: Some(bodies[index].clone()),
            });
            let each = subject.requests / TARGETS as u64;
            let run = h2load::run(&targets, each).await?;
            let kept = database.reads(&connection_ids).await? - before;
            let expected = if subject.audited { subject.requests } else { 0 };
            ensure!(
                kept == expected && run.data == each * size,
                "{} calls {}: {kept} are in the audit, {} bytes were answered",
                subject.requests,
                subject.name,
                run.data
            );
            calls += subject.requests;
            subject.rates.push(run.rate);
            if round == 0 {
                // That was the warm-up.
                let each = (run.rate * f64::from(options.seconds)) as u64 / TARGETS as u64;
                subject.requests = each.max(250) * TARGETS as u64;
                subject.rates.clear();
            }
        }
    }
    subjects.sort_by_key(|subject| !subject.audited);
    print(&subjects, options, calls);
    for subject in subjects {
        subject.dromos.stop().await?;
    }
    Ok(())
}

fn print([with, without]: &[Subject; 2], options: &Options, calls: u64) {
    println!(
        "GetTokens a second over gRPC, 32 in flight: medians of {} rounds of about {} s, in turns",
        options.rounds, options.seconds
    );
    let pairs = with.rates.iter().zip(&without.rates);
    let ratios: Vec<f64> = pairs.map(|(with, without)| with / without).collect();
    let mut rows = vec![
        ["", "median", "least", "most", "ratio", "target"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for subject in [without, with] {
        let (least, most) = range(&subject.rates);
        let ratio = match subject.audited {
            true => [format!("{:.2}", median(&ratios)), format!("{TARGET:.2}")],
            false => [String::new(), String::new()],
        };
        let figures = [
            subject.name.to_owned(),
            format!("{:.0}", median(&subject.rates)),
            format!("{least:.0}"),
            format!("{most:.0}"),
        ];
        rows.push(figures.into_iter().chain(ratio).collect());
    }
    table::print(&rows);
    println!("All {calls} calls were answered with OK; each of those with the audit has its row.");
    let record = json!({
        "benchmark": "audit",
        "with": with.rates,
        "without": without.rates,
        "ratio": median(&ratios),
        "target": TARGET,
    });
    println!("{record}");
}
