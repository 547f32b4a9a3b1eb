use std::{
    io,
    sync::{Arc, Mutex},
};

use tracing_subscriber::fmt::MakeWriter;

use crate::support::{FakeBroker, KEY, Running, SERVICE_KEY, VIAS, config, healthy, http1};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

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

#[tokio::test]
async fn hardening_18_no_key_and_no_id_is_in_the_logs_at_any_level_or_in_the_metrics() {
    let lines = Lines::default();
    // The whole process's: what the other tests cause must be clean as well.
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(lines.clone())
        .init();
    let broker = FakeBroker::start(healthy).await;
    let gateway = Running::before(&broker).await;
    for via in VIAS {
        via.check_with_key(&gateway).await;
    }
    broker.stop().await;
    for via in VIAS {
        via.check_with_key(&gateway).await;
    }
    let metrics = http1()
        .get(gateway.url("/metrics"))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    gateway.stop().await.unwrap();
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    // The test's own clients log here too; what they say is not the gateway's.
    let own = text
        .lines()
        .filter(|line| line.contains("dromos"))
        .collect::<Vec<_>>()
        .join("\n");
    assert!(
        own.contains("grpc_code=\"UNAVAILABLE\"")
            && own.contains("route=\"/dromos.v1.ConnectionService/CheckConnection\""),
        "{own}"
    );
    for secret in [KEY, SERVICE_KEY] {
        assert!(!text.contains(secret), "{secret} is logged");
    }
    assert!(!own.contains("conn-1"), "{own}");
    for secret in [KEY, SERVICE_KEY, "conn-1"] {
        assert!(!metrics.contains(secret), "{secret} is in\n{metrics}");
    }
    for transport in ["grpc", "grpc_web", "rest"] {
        let rpc = "/dromos.v1.ConnectionService/CheckConnection";
        for code in ["OK", "UNAVAILABLE"] {
            let line = format!(
                r#"gateway_requests_total{{rpc="{rpc}",transport="{transport}",code="{code}"}}"#
            );
            assert!(metrics.contains(&line), "{line} is missing in\n{metrics}");
        }
    }
    assert!(
        metrics.contains(r#"gateway_broker_errors_total{kind="transport"}"#),
        "{metrics}"
    );
}

#[test]
fn debug_of_a_configuration_shows_no_secret() {
    let mut config = config("127.0.0.1:1".parse().unwrap());
    config.broker_tls.identity = Some((b"certificate".to_vec(), "hunter2".to_owned().into()));
    let shown = format!("{config:?}");
    assert!(
        !shown.contains(SERVICE_KEY) && !shown.contains("hunter2"),
        "{shown}"
    );
}
