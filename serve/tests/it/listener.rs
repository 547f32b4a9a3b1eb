use std::{sync::Arc, time::Duration};

use axum::{Router, routing::get};
use dromos_serve::ListenOptions;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
};

use crate::support::{Running, http1, http2};

/// A page that tells when it is asked for, and waits to be let go.
fn held() -> (Router, Arc<Notify>, Arc<Notify>) {
    let (asked, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (asks, released) = (asked.clone(), release.clone());
    let page = move || {
        let (asks, released) = (asks.clone(), released.clone());
        async move {
            asks.notify_one();
            released.notified().await;
            "done"
        }
    };
    (Router::new().route("/", get(page)), asked, release)
}

fn page() -> Router {
    Router::new().route("/", get(|| async { "page" }))
}

#[tokio::test]
async fn hardening_17_a_shutdown_lets_requests_in_flight_finish_and_takes_no_new_ones() {
    for client in [http1(), http2()] {
        let (app, asked, release) = held();
        let server = Running::start_with(app, ListenOptions::default()).await;
        let (address, url) = (server.address, server.url("/"));
        let answer = tokio::spawn(client.get(url).send());
        asked.notified().await;
        let stopped = server.stop();
        // The listener is dropped when the shutdown has begun.
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        assert!(!stopped.is_finished());
        release.notify_one();
        assert_eq!(answer.await.unwrap().unwrap().text().await.unwrap(), "done");
        stopped.await.unwrap();
    }
}

#[tokio::test]
async fn a_shutdown_ends_even_when_a_request_does_not() {
    let (app, asked, _release) = held();
    let options = ListenOptions {
        drain: Duration::from_millis(10),
        ..ListenOptions::default()
    };
    let server = Running::start_with(app, options).await;
    let answer = tokio::spawn(http1().get(server.url("/")).send());
    asked.notified().await;
    server.stop().await.unwrap();
    assert!(answer.await.unwrap().is_err());
}

#[tokio::test]
async fn hardening_02_the_allow_list_looks_at_the_tcp_peer_and_never_at_a_header() {
    let allowed = vec!["10.0.0.0/8".parse().unwrap()];
    let server = Running::start_with(
        page(),
        ListenOptions {
            allowed,
            ..ListenOptions::default()
        },
    )
    .await;
    for header in ["x-forwarded-for", "x-real-ip", "forwarded"] {
        let claim = http1().get(server.url("/")).header(header, "10.0.0.1");
        assert!(claim.send().await.is_err(), "{header}");
    }
    let allowed = vec![
        "10.0.0.0/8".parse().unwrap(),
        "127.0.0.0/8".parse().unwrap(),
    ];
    let server = Running::start_with(
        page(),
        ListenOptions {
            allowed,
            ..ListenOptions::default()
        },
    )
    .await;
    let answer = http1()
        .get(server.url("/"))
        .header("x-forwarded-for", "203.0.113.1");
    assert_eq!(answer.send().await.unwrap().text().await.unwrap(), "page");
}

#[tokio::test]
async fn a_connection_that_stays_silent_is_closed() {
    let header_timeout = Duration::from_millis(20);
    let options = ListenOptions {
        header_timeout,
        ..ListenOptions::default()
    };
    let server = Running::start_with(page(), options).await;
    for sent in ["", "PRI * HT", "GET / HTTP/1.1\r\nhost: a\r\n"] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        // Whether it ends in a FIN, a reset or a 408 is the protocol's affair.
        let _ = stream.read_to_end(&mut rest).await;
        assert!(!String::from_utf8_lossy(&rest).contains("page"), "{sent:?}");
    }
}

#[tokio::test]
async fn a_slow_answer_does_not_count_as_a_silent_connection() {
    let (app, asked, release) = held();
    let header_timeout = Duration::from_millis(20);
    let options = ListenOptions {
        header_timeout,
        ..ListenOptions::default()
    };
    let server = Running::start_with(app, options).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    asked.notified().await;
    // Another connection's timeout has to pass before this one is answered.
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let _ = silent.read_to_end(&mut Vec::new()).await;
    release.notify_one();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("done"), "{answer}");
}

#[tokio::test]
async fn connections_past_the_limit_wait_for_a_place() {
    let (app, asked, release) = held();
    let options = ListenOptions {
        max_connections: 1,
        ..ListenOptions::default()
    };
    let server = Running::start_with(app, options).await;
    let first = tokio::spawn(
        http1()
            .get(server.url("/"))
            .header("connection", "close")
            .send(),
    );
    asked.notified().await;
    let mut second = TcpStream::connect(server.address).await.unwrap();
    second.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    release.notify_one();
    assert_eq!(first.await.unwrap().unwrap().text().await.unwrap(), "done");
    asked.notified().await;
    release.notify_one();
    let mut answer = String::new();
    second.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("done"), "{answer}");
}

#[tokio::test]
async fn a_request_with_too_many_or_too_large_headers_is_431() {
    let server = Running::start_with(page(), ListenOptions::default()).await;
    for (count, size) in [(200, 1), (1, 100 << 10)] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let mut head = String::from("GET / HTTP/1.1\r\nhost: a\r\n");
        for number in 0..count {
            head.push_str(&format!("x-{number}: {}\r\n", "v".repeat(size)));
        }
        // The server may answer, and close, before it has read everything.
        let _ = stream.write_all(format!("{head}\r\n").as_bytes()).await;
        let mut start = [0; 12];
        stream.read_exact(&mut start).await.unwrap();
        assert_eq!(&start, b"HTTP/1.1 431", "{count} headers of {size} bytes");
    }
}
