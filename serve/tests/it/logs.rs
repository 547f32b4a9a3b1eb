use std::{
    io,
    sync::{Arc, Mutex, OnceLock},
};

use axum::{Router, routing::get};
use dromos_serve::{ListenOptions, observe};
use tracing_subscriber::fmt::MakeWriter;

use crate::support::{CHECK, Running, app, echo, grpc_web, http1};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// Everything that this process logs, the other tests included.
fn capture() -> &'static Lines {
    static LINES: OnceLock<Lines> = OnceLock::new();
    LINES.get_or_init(|| {
        let lines = Lines::default();
        tracing_subscriber::fmt()
            .json()
            .with_max_level(tracing::Level::INFO)
            .with_writer(lines.clone())
            .init();
        lines
    })
}

#[tokio::test]
async fn a_request_is_one_line_that_names_the_method_and_the_outcome() {
    let lines = capture();
    let server = Running::start(app(echo)).await;
    let call = grpc_web(&http1(), server.url(CHECK), vec![0; 5]).header("x-request-id", "one-line");
    call.send().await.unwrap().bytes().await.unwrap();
    server.stop().await.unwrap();
    let text = lines.text();
    let access: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("one-line"))
        .collect();
    assert_eq!(access.len(), 1, "{text}");
    let line: serde_json::Value = serde_json::from_str(access[0]).unwrap();
    assert_eq!(line["target"], "dromos::access");
    let fields = &line["fields"];
    assert_eq!(fields["route"], CHECK);
    assert_eq!(fields["method"], "POST");
    assert_eq!(fields["status"], 200);
    assert_eq!(fields["grpc_code"], "OK");
    assert_eq!(fields["transport"], "grpc_web");
    assert_eq!(fields["request_id"], "one-line");
    assert_eq!(fields["complete"], true);
    assert!(fields["duration_ms"].as_f64().unwrap() > 0.0);
}

#[tokio::test]
async fn hardening_18_no_path_query_or_header_as_sent_is_logged() {
    let lines = capture();
    let pages = Router::new().route("/connect/{handle}", get(|| async { "page" }));
    let server = Running::start_with(observe(pages), ListenOptions::default()).await;
    for path in ["/connect/hunter2?state=hunter2", "/hunter2?code=hunter2"] {
        let call = http1()
            .get(server.url(path))
            .header("authorization", "Bearer hunter2");
        call.send().await.unwrap().bytes().await.unwrap();
    }
    server.stop().await.unwrap();
    let text = lines.text();
    assert!(text.contains(r#""route":"/connect/{handle}""#), "{text}");
    assert!(text.contains(r#""route":"unknown""#), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn a_page_that_panics_is_a_500_without_text() {
    let page = get(|| async {
        assert!(std::env::args().count() == 0, "hunter2");
        "page"
    });
    let pages = observe(Router::new().route("/page", page));
    let server = Running::start_with(pages, ListenOptions::default()).await;
    let answer = http1().get(server.url("/page")).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 500);
    assert!(answer.headers().contains_key("x-request-id"));
    assert!(!answer.text().await.unwrap().contains("hunter2"));
}
