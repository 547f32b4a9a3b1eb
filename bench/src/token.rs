//! GetToken through gateway and broker, beside the floor.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use dromos_proto::v1::{CredentialPayload, GetTokenRequest};
use prost::Message;
use serde_json::json;
use tokio::time::{Instant, sleep};
use tonic::{client, transport::Endpoint};
use tonic_prost::ProstCodec;

use crate::{
    database::Database,
    floor,
    h2load::{self, TARGETS, Target},
    proof::{self, Proof},
    services::{ADMIN_KEY, Dromos, Floor},
    table::{self, median, range},
    usage::processor_time,
    wire::Statements,
};

pub(crate) const METHOD: &str = "/dromos.v1.ConnectionService/GetToken";
/// Calls that warm everything up and tell how fast it is about.
const WARM_UP: u64 = 5000;
/// Calls that are counted statement by statement, one by one and together.
const COUNTED: u64 = 500;
/// How late the gateway may count a call.
const COUNT_DELAY: Duration = Duration::from_secs(2);
/// Bytes that gRPC puts before a message.
pub(crate) const FRAME: usize = 5;

/// How long to measure.
#[derive(Debug, Args)]
pub struct Options {
    /// Rounds; each measures the floor, gRPC and REST.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// About how many seconds each measurement takes.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
}

/// The caller's header.
#[must_use]
pub fn authorization() -> String {
    format!("authorization: Bearer {ADMIN_KEY}")
}

/// One of the things that are measured.
struct Subject<'a> {
    name: &'static str,
    targets: [Target<'a>; TARGETS],
    /// The bytes of one answer of each target together.
    size: usize,
    /// The transport's label, where it is Dromos.
    transport: Option<&'static str>,
    /// The processes that serve it, by name.
    processes: [(&'static str, u32); 2],
    /// Of one measurement, to all targets.
    requests: u64,
    rates: Vec<f64>,
    /// Microseconds of processor time a call: the two processes and the
    /// database's.
    costs: [Vec<f64>; 3],
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
    let connection_ids = &connection_ids;
    let ask = |id: &str| GetTokenRequest {
        connection_id: id.to_owned(),
    };
    let payload = call(&dromos.url, METHOD, &ask(&connection_ids[0])).await?;
    let floor_ids = database.fill(&floor::seal(&payload)?, TARGETS).await?;
    let floor = Floor::start(&database.url).await?;
    for id in &floor_ids {
        ensure!(
            call(&floor.url, floor::METHOD, &ask(&id.to_string())).await? == payload,
            "the floor does not answer what Dromos answers"
        );
    }
    let proof = proof::prove(database, folder.path(), connection_ids, COUNTED).await?;

    let mut bodies = Vec::new();
    let (mut floor_size, mut size, mut rest_size) = (0, 0, 0);
    for (index, (id, floor_id)) in connection_ids.iter().zip(&floor_ids).enumerate() {
        let file = |name| folder.path().join(format!("{name}-{index}.bin"));
        bodies.push((
            framed(&ask(id), &file("token"))?,
            framed(&ask(&floor_id.to_string()), &file("floor"))?,
        ));
        floor_size += payload.encoded_len() + FRAME;
        size += call(&dromos.url, METHOD, &ask(id)).await?.encoded_len() + FRAME;
        rest_size += dromos.get(&format!("/v1/token/{id}")).await?.len();
    }
    let grpc_headers = [
        "content-type: application/grpc".to_owned(),
        "te: trailers".to_owned(),
        authorization(),
    ];
    let rest_headers = [authorization()];
    let target = |url: String, headers, body| Target { url, headers, body };
    let floor_targets = std::array::from_fn(|index| {
        let url = format!("{}{}", floor.url, floor::METHOD);
        target(url, &grpc_headers[..], Some(bodies[index].1.clone()))
    });
    let grpc_targets = std::array::from_fn(|index| {
        let url = format!("{}{METHOD}", dromos.url);
        target(url, &grpc_headers[..], Some(bodies[index].0.clone()))
    });
    let rest_targets = std::array::from_fn(|index| {
        let url = format!("{}/v1/token/{}", dromos.url, connection_ids[index]);
        target(url, &rest_headers[..], None)
    });
    let [front, back] = floor.processes()?;
    let [gateway, broker] = dromos.processes()?;
    let subject = |name, targets, size, transport, processes| Subject {
        name,
        targets,
        size,
        transport,
        processes,
        requests: WARM_UP,
        rates: vec![],
        costs: Default::default(),
    };
    let ours = [("gateway", gateway), ("broker", broker)];
    let mut subjects = [
        subject(
            "floor",
            floor_targets,
            floor_size,
            None,
            [("front", front), ("back", back)],
        ),
        subject("gRPC", grpc_targets, size, Some("grpc"), ours),
        subject("REST", rest_targets, rest_size, Some("rest"), ours),
    ];
    let mut calls = 0;
    for round in 0..=options.rounds {
        for subject in &mut subjects {
            let rate = measure(subject, &dromos, database, connection_ids).await?;
            calls += subject.requests;
            if round == 0 {
                // That was the warm-up.
                let each = (rate * f64::from(options.seconds)) as u64 / TARGETS as u64;
                subject.requests = each.max(250) * TARGETS as u64;
                subject.rates.clear();
                subject.costs = Default::default();
            }
        }
    }
    print(&proof, &subjects, options, calls);
    Ok(())
}

/// One measurement, and the proof that every call was a good one: answers of
/// the right size, the gateway's count of OKs, and an audit row each.
async fn measure(
    subject: &mut Subject<'_>,
    dromos: &Dromos,
    database: &mut Database,
    connection_ids: &[String],
) -> Result<f64> {
    let answered = async || match subject.transport {
        Some(transport) => dromos.answered(transport).await,
        None => Ok(0),
    };
    let server = database.processes().await?;
    let groups = [
        vec![subject.processes[0].1],
        vec![subject.processes[1].1],
        server,
    ];
    let costs = || groups.each_ref().map(|pids| processor_time(pids));
    let before = (
        answered().await?,
        database.reads(connection_ids).await?,
        costs(),
    );
    let run = h2load::run(
        &subject.targets,
        subject.requests / TARGETS as u64,
        h2load::IN_FLIGHT,
    )
    .await?;
    let costs = costs();
    let expected = if subject.transport.is_some() {
        subject.requests
    } else {
        0
    };
    let audited = database.reads(connection_ids).await? - before.1;
    // The gateway counts a call when its last byte is away: a moment later.
    let deadline = Instant::now() + COUNT_DELAY;
    let mut counted = answered().await? - before.0;
    while counted < expected && Instant::now() < deadline {
        sleep(Duration::from_millis(10)).await;
        counted = answered().await? - before.0;
    }
    ensure!(
        counted == expected && audited == expected,
        "{} calls of {}: {counted} counted as OK, {audited} audited",
        subject.requests,
        subject.name
    );
    let data = subject.requests / TARGETS as u64 * subject.size as u64;
    ensure!(
        run.data == data,
        "{} answers of {} have {} bytes, not {data}",
        subject.requests,
        subject.name,
        run.data
    );
    subject.rates.push(run.rate);
    for (index, cost) in subject.costs.iter_mut().enumerate() {
        let used = costs[index].saturating_sub(before.2[index]);
        cost.push(used as f64 / subject.requests as f64);
    }
    Ok(run.rate)
}

pub(crate) async fn call(
    url: &str,
    method: &'static str,
    message: &GetTokenRequest,
) -> Result<CredentialPayload> {
    let channel = Endpoint::from_shared(url.to_owned())?.connect().await?;
    let mut client = client::Grpc::new(channel);
    client.ready().await?;
    let mut request = tonic::Request::new(message.clone());
    let key = format!("Bearer {ADMIN_KEY}").parse()?;
    request.metadata_mut().insert("authorization", key);
    let path = http::uri::PathAndQuery::from_static(method);
    let answer = client.unary(request, path, ProstCodec::default()).await;
    Ok(answer
        .with_context(|| format!("{url}{method}"))?
        .into_inner())
}

/// Writes a message as gRPC frames it.
pub(crate) fn framed(message: &GetTokenRequest, path: &Path) -> Result<Box<Path>> {
    let length = u32::try_from(message.encoded_len())?;
    let mut bytes = vec![0];
    bytes.extend(length.to_be_bytes());
    message.encode(&mut bytes)?;
    fs::write(path, bytes)?;
    Ok(path.into())
}

fn print(proof: &Proof, subjects: &[Subject<'_>; 3], options: &Options, calls: u64) {
    println!(
        "What {0} GetTokens of {TARGETS} connections do in the store, one by one and {0} more, 32 in flight:",
        proof.calls
    );
    println!(
        "  SELECT, once a call, and once for all calls that come together: {}",
        proof.select.replace('"', "")
    );
    for line in &proof.plan {
        println!("    {line}");
    }
    for (when, statements) in [
        ("one by one", &proof.alone),
        ("32 in flight", &proof.together),
    ] {
        for (statement, count) in grouped(statements) {
            println!("  {when}: {count} × {statement}");
        }
    }

    let [floor, grpc, rest] = subjects;
    let ratios = |of: &Subject<'_>, to: &Subject<'_>| -> Vec<f64> {
        of.rates
            .iter()
            .zip(&to.rates)
            .map(|(of, to)| of / to)
            .collect()
    };
    let (to_floor, to_grpc) = (ratios(grpc, floor), ratios(rest, grpc));
    println!(
        "Calls a second, 32 in flight: medians of {} rounds of about {} s, each round one of each",
        options.rounds, options.seconds
    );
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
    for (subject, ratios, target) in [
        (floor, None, ""),
        (grpc, Some((&to_floor, "of the floor")), "0.50 (aim 0.70)"),
        (rest, Some((&to_grpc, "of gRPC")), "0.80"),
    ] {
        let (least, most) = range(&subject.rates);
        let names = [subject.processes[0].0, subject.processes[1].0, "PostgreSQL"];
        let costs: Vec<String> = names
            .iter()
            .zip(&subject.costs)
            .map(|(name, cost)| format!("{name} {:.0} µs", median(cost)))
            .collect();
        rows.push(vec![
            subject.name.to_owned(),
            format!("{:.0}", median(&subject.rates)),
            format!("{least:.0}"),
            format!("{most:.0}"),
            ratios.map_or_else(String::new, |(ratios, what)| {
                format!("{:.2} {what}", median(ratios))
            }),
            target.to_owned(),
            costs.join(", "),
        ]);
    }
    table::print(&rows);
    println!("All {calls} calls were answered with OK; each of Dromos' has its audit row.");
    let rates = |subject: &Subject<'_>| json!({ "median": median(&subject.rates), "rounds": subject.rates });
    let record = json!({
        "benchmark": "token",
        "floor": rates(floor),
        "grpc": rates(grpc),
        "rest": rates(rest),
        "grpc_to_floor": median(&to_floor),
        "rest_to_grpc": median(&to_grpc),
    });
    println!("{record}");
}

/// Executions by the statement's beginning: the audit's differ in their
/// length only.
fn grouped(statements: &Statements) -> Vec<(String, u64)> {
    let mut groups = Statements::new();
    for (statement, count) in statements {
        let words: Vec<&str> = statement.split_whitespace().take(3).collect();
        *groups.entry(words.join(" ").replace('"', "")).or_default() += count;
    }
    groups.into_iter().collect()
}
