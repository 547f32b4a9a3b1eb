//! What the audit costs: GetToken through a broker as it is, and through one
//! whose audit keeps nothing, in turns.

use std::path::Path;

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
    usage::processor_time,
};

/// Calls that warm everything up and tell how fast it is about.
const WARM_UP: u64 = 5000;
/// How much of its throughput without the audit GetToken is to keep: of what
/// both can at most, with enough calls in flight that neither waits for more.
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
    /// Calls in flight: what a few callers see, and what Dromos can at most.
    #[arg(long, value_delimiter = ',', default_values_t = [h2load::IN_FLIGHT, 256],
          value_parser = clap::value_parser!(u64).range(4..=400))]
    in_flight: Vec<u64>,
}

struct Subject {
    name: &'static str,
    dromos: Dromos,
    audited: bool,
    requests: u64,
    rates: Vec<f64>,
    /// Microseconds of processor time a call: gateway, broker, database.
    costs: [Vec<f64>; 3],
}

impl Subject {
    fn forget(&mut self) {
        self.rates.clear();
        self.costs = Default::default();
    }
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
        costs: Default::default(),
    };
    let mut subjects = [
        subject("with the audit", dromos, true),
        subject("with an audit that keeps nothing", without, false),
    ];
    let what = What {
        connection_ids: &connection_ids,
        headers: &headers,
        bodies: &bodies,
        size,
    };
    for in_flight in &options.in_flight {
        for subject in &mut subjects {
            subject.requests = WARM_UP;
            subject.forget();
        }
        let calls = measure(&mut subjects, *in_flight, options, database, &what).await?;
        subjects.sort_by_key(|subject| !subject.audited);
        print(&subjects, *in_flight, options, calls);
    }
    for subject in subjects {
        subject.dromos.stop().await?;
    }
    Ok(())
}

/// What is asked, and the bytes of one answer of each connection together.
struct What<'a> {
    connection_ids: &'a [String],
    headers: &'a [String],
    bodies: &'a [Box<Path>],
    size: u64,
}

/// All rounds: how many calls they were.
async fn measure(
    subjects: &mut [Subject; 2],
    in_flight: u64,
    options: &Options,
    database: &mut Database,
    what: &What<'_>,
) -> Result<u64> {
    let mut calls = 0;
    for round in 0..=options.rounds {
        // Whatever the first of a round has from being first, both have.
        subjects.rotate_left(1);
        for subject in &mut *subjects {
            let before = database.reads(what.connection_ids).await?;
            let targets: [Target<'_>; TARGETS] = std::array::from_fn(|index| Target {
                url: format!("{}{METHOD}", subject.dromos.url),
                headers: what.headers,
                body: Some(what.bodies[index].clone()),
            });
            let each = subject.requests / TARGETS as u64;
            let [gateway, broker] = subject.dromos.processes()?;
            let groups = [vec![gateway], vec![broker], database.processes().await?];
            let used = || groups.each_ref().map(|pids| processor_time(pids));
            let used_before = used();
            let run = h2load::run(&targets, each, in_flight).await?;
            let used = used();
            let kept = database.reads(what.connection_ids).await? - before;
            let expected = if subject.audited { subject.requests } else { 0 };
            ensure!(
                kept == expected && run.data == each * what.size,
                "{} calls {}: {kept} are in the audit, {} bytes were answered",
                subject.requests,
                subject.name,
                run.data
            );
            calls += subject.requests;
            subject.rates.push(run.rate);
            for (index, cost) in subject.costs.iter_mut().enumerate() {
                let used = used[index].saturating_sub(used_before[index]);
                cost.push(used as f64 / subject.requests as f64);
            }
            if round == 0 {
                // That was the warm-up.
                let each = (run.rate * f64::from(options.seconds)) as u64 / TARGETS as u64;
                subject.requests = each.max(250) * TARGETS as u64;
                subject.forget();
            }
        }
    }
    Ok(calls)
}

fn print([with, without]: &[Subject; 2], in_flight: u64, options: &Options, calls: u64) {
    println!(
        "GetTokens a second over gRPC, {in_flight} in flight: medians of {} rounds of about {} s, in turns",
        options.rounds, options.seconds
    );
    let pairs = with.rates.iter().zip(&without.rates);
    let ratios: Vec<f64> = pairs.map(|(with, without)| with / without).collect();
    let mut rows = vec![
        [
            "",
            "median",
            "least",
            "most",
            "ratio",
            "target",
            "processor time a call",
        ]
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
        let names = ["gateway", "broker", "PostgreSQL"];
        let costs: Vec<String> = names
            .iter()
            .zip(&subject.costs)
            .map(|(name, cost)| format!("{name} {:.0} µs", median(cost)))
            .collect();
        let costs = [costs.join(", ")];
        rows.push(figures.into_iter().chain(ratio).chain(costs).collect());
    }
    table::print(&rows);
    println!("All {calls} calls were answered with OK; each of those with the audit has its row.");
    let record = json!({
        "benchmark": "audit",
        "in_flight": in_flight,
        "with": with.rates,
        "without": without.rates,
        "ratio": median(&ratios),
        "target": TARGET,
    });
    println!("{record}");
}
