//! Whatever a receiver answers.

use std::{panic::AssertUnwindSafe, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;

/// What answers are made of.
const PIECES: &[&str] = &[
    "HTTP/1.1 ",
    "HTTP/1.0 ",
    "HTTP/2 ",
    "200 OK",
    "204",
    "100 Continue",
    "101 Switching Protocols",
    "301 Moved",
    "410 Gone",
    "503",
    "000",
    "999",
    "99999",
    "\r\n",
    "\r\n\r\n",
    "\n",
    "location: http://127.0.0.1:1/",
    "retry-after: 99999999999999999999",
    "retry-after: -1",
    "content-length: 18446744073709551616",
    "content-length: 5",
    "transfer-encoding: chunked",
    "connection: upgrade",
    "upgrade: websocket",
    "ffffffffffffffff\r\n",
    ": ",
    "\0",
];

fn answer_of(input: &[u8]) -> Vec<u8> {
    // Half of them begin as an answer does.
    let (first, rest) = input.split_first().unwrap_or((&0, &[]));
    let mut bytes = match first % 4 {
        0 => b"HTTP/1.1 200 OK\r\n".to_vec(),
        1 => b"HTTP/1.1 ".to_vec(),
        _ => vec![],
    };
    for byte in rest {
        match byte.checked_sub(128) {
            Some(index) => {
                bytes.extend_from_slice(PIECES[usize::from(index) % PIECES.len()].as_bytes());
            }
            None => bytes.push(*byte),
        }
    }
    if first & 4 == 0 {
        bytes.extend_from_slice(b"\r\n\r\n");
    }
    bytes
}

#[test]
fn fuzz_a_receivers_answer_is_a_status_that_it_wrote_or_no_answer() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let url: Url = format!("http://{}/hook", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    let egress = Egress::new(Guard {
        allow_private_networks: true,
    });
    // A failure ends the test, so that nobody sees what it broke.
    let all = AssertUnwindSafe((runtime, listener, egress, url));
    bolero::check!()
        .with_test_time(Duration::from_secs(3))
        .with_max_len(24)
        .for_each(|input: &[u8]| {
            let (runtime, listener, egress, url) = &*all;
            let answer = answer_of(input);
            let receive = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                // It may have hung up on what it read so far.
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(&answer).await;
            };
            let send = egress.send_and_ignore_body(EgressRequest {
                method: Method::POST,
                url: url.clone(),
                headers: HeaderMap::new(),
                body: b"{}".to_vec(),
                timeout: Duration::from_secs(10),
            });
            // One connection for each message: no answer leads elsewhere.
            let ((), sent) = runtime.block_on(async { tokio::join!(receive, send) });
            match sent {
                Ok(status) => {
                    let text = String::from_utf8_lossy(&answer).into_owned();
                    let wrote =
                        |version| text.contains(&format!("HTTP/1.{version} {}", status.as_u16()));
                    assert!(wrote(0) || wrote(1), "{status} of {text:?}");
                }
                Err(error) => assert!(matches!(error, EgressError::NoAnswer(_)), "{error}"),
            }
        });
}
