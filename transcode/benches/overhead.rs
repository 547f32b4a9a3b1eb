//! What REST costs over gRPC.
//!
//! First the throughput of both over the same kind of connection (HTTP/2 on
//! loopback, the same service behind it), as a ratio; then the parts of a
//! call in process.

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use divan::Bencher;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use prost::Message as _;
use tokio::time::Instant;
use tonic::service::Routes;
use tower::ServiceExt as _;
use transcode::{TranscodeService, Transcoder};

#[path = "../examples/shelf/service.rs"]
mod service;

const CALLERS: usize = 16;
const ROUND: Duration = Duration::from_secs(1);
const ROUNDS: usize = 3;

type Sender = http2::SendRequest<Full<Bytes>>;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(ratio());
    divan::main();
}

fn service() -> TranscodeService<Routes> {
    let pool = service::pool().expect("the example's protos compile");
    let transcoder = Transcoder::builder(pool).build().expect("they are valid");
    transcoder.service(Routes::new(service::Shelf::with_one_book()).prepare())
}

fn grpc(authority: &str) -> Request<Full<Bytes>> {
    let message = service::GetBookRequest {
        name: "shelves/1/books/1".to_owned(),
    };
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.encoded_len()).expect("a small message"));
    message.encode(&mut frame).expect("a growing buffer");
    Request::post(format!("http://{authority}/shelf.v1.ShelfService/GetBook"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(frame.freeze()))
        .expect("a valid request")
}

fn rest(authority: &str) -> Request<Full<Bytes>> {
    Request::get(format!("http://{authority}/v1/shelves/1/books/1"))
        .body(Full::default())
        .expect("a valid request")
}

async fn ratio() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let service = service();
        while let Ok((socket, _)) = listener.accept().await {
            // Or Nagle's algorithm holds back the trailers of gRPC, and the
            // ratio flatters REST.
            socket.set_nodelay(true).expect("a TCP socket");
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(async move {
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(socket), service)
                    .await;
            });
        }
    });
    let socket = tokio::net::TcpStream::connect(address)
        .await
        .expect("a server");
    socket.set_nodelay(true).expect("a TCP socket");
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(socket))
        .await
        .expect("HTTP/2");
    tokio::spawn(connection);

    let authority = address.to_string();
    let mut totals = [0_f64; 2];
    // In turns, so that a busy machine slows both.
    for _ in 0..ROUNDS {
        totals[0] += throughput(&sender, &grpc(&authority)).await;
        totals[1] += throughput(&sender, &rest(&authority)).await;
    }
    let [grpc, rest] = totals.map(|total| total / ROUNDS as f64);
    println!(
        "gRPC {grpc:.0}/s, REST {rest:.0}/s, ratio {:.2}\n",
        rest / grpc
    );
}

async fn throughput(sender: &Sender, request: &Request<Full<Bytes>>) -> f64 {
    let start = Instant::now();
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (mut sender, request) = (sender.clone(), request.clone());
            tokio::spawn(async move {
                let mut done = 0_u32;
                while start.elapsed() < ROUND {
                    let answer = sender
                        .send_request(request.clone())
                        .await
                        .expect("an answer");
                    assert!(answer.status().is_success());
                    answer.into_body().collect().await.expect("a whole answer");
                    done += 1;
                }
                done
            })
        })
        .collect();
    let mut done = 0;
    for caller in callers {
        done += caller.await.expect("no panic");
    }
    f64::from(done) / start.elapsed().as_secs_f64()
}

fn in_process(bencher: Bencher<'_, '_>, request: Request<Full<Bytes>>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let service = service();
    bencher.bench(|| {
        runtime.block_on(async {
            let Ok(answer) = service.clone().oneshot(request.clone()).await;
            answer.into_body().collect().await.expect("a whole answer")
        })
    });
}

#[divan::bench]
fn grpc_in_process(bencher: Bencher<'_, '_>) {
    in_process(bencher, grpc("local"));
}

#[divan::bench]
fn rest_in_process(bencher: Bencher<'_, '_>) {
    in_process(bencher, rest("local"));
}
