//! The line to Redis: nobody waits long for it, and it comes back by itself.

use std::time::Duration;

use dromos_broker::cache::{
    link::{Heard, Link, PATIENCE},
    notices::{Notice, Notices, channel},
    proofs::Proofs,
};
use tokio::{net::TcpListener, sync::mpsc, time::Instant};

use crate::{
    network::Line,
    shared::{PATIENT, link, redis_address, redis_at, redis_url, state_key},
};

const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_cut_line_answers_at_once_and_comes_back() {
    let proofs = Proofs::new(&state_key());
    let line = Line::to(redis_address()).await;
    let (link, mut heard) = link(&redis_at(line.port), &proofs, PATIENT).await;
    let ping = redis::cmd("PING");
    assert_eq!(heard.recv().await, Some(Heard::Connected));
    assert!(link.ask::<String>(&ping).await.is_ok());
    line.cut();
    // The first may be what finds out.
    let _ = link.ask::<String>(&ping).await;
    let began = Instant::now();
    for _ in 0..1000 {
        assert!(link.ask::<String>(&ping).await.is_err());
    }
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    line.mend();
    assert!(link.ready(LONG).await);
    assert!(link.ask::<String>(&ping).await.is_ok());
    // So that whoever listens knows that something may have been missed.
    assert_eq!(heard.recv().await, Some(Heard::Connected));
}

#[tokio::test]
async fn a_redis_that_fell_silent_is_waited_for_once_and_not_for_long() {
    // It takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = redis_at(silent.local_addr().expect("an address").port());
    let proofs = Proofs::new(&state_key());
    let (said, _heard) = mpsc::channel(8);
    let link = Link::start(&url, channel(&proofs), PATIENCE, said).expect("a URL");
    assert!(!link.ready(Duration::from_millis(200)).await);
    let began = Instant::now();
    for _ in 0..100 {
        let answer = link.ask::<String>(&redis::cmd("PING")).await;
        assert!(answer.is_err());
    }
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn a_question_that_is_not_answered_in_time_ends_the_line_for_all() {
    let proofs = Proofs::new(&state_key());
    let (link, _heard) = link(&redis_url(), &proofs, PATIENCE).await;
    // Blocks this connection alone, for longer than anybody waits.
    let mut slow = redis::cmd("BLPOP");
    slow.arg(proofs.name("nothing", "there")).arg(30);
    let began = Instant::now();
    assert!(link.ask::<()>(&slow).await.is_err());
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    assert!(link.ready(LONG).await, "a new line is made");
}

#[tokio::test]
async fn an_error_of_redis_itself_does_not_end_the_line() {
    let proofs = Proofs::new(&state_key());
    let (link, _heard) = link(&redis_url(), &proofs, PATIENT).await;
    assert!(
        link.ask::<()>(&redis::cmd("NO-SUCH-COMMAND"))
            .await
            .is_err()
    );
    assert!(link.ask::<String>(&redis::cmd("PING")).await.is_ok());
}

#[tokio::test]
async fn notices_are_heard_by_their_own_deployment_and_forged_ones_by_nobody() {
    let key = state_key();
    let hear = async |key: &[u8; 32]| {
        let proofs = std::sync::Arc::new(Proofs::new(key));
        let (link, mut heard) = link(&redis_url(), &proofs, PATIENT).await;
        assert_eq!(heard.recv().await, Some(Heard::Connected));
        (Notices::new(Some((link.clone(), proofs))), link, heard)
    };
    let (one, ..) = hear(&key).await;
    let (other, _link, mut heard) = hear(&key).await;
    let (foreign, foreign_link, mut foreign_heard) = hear(&state_key()).await;
    let notice = Notice::ApiKeyDeleted(uuid::Uuid::now_v7());
    one.announce(&notice).await;
    let Some(Heard::Message(message)) = heard.recv().await else {
        panic!("no message");
    };
    assert_eq!(other.open(&message), Some(notice.clone()));
    assert_eq!(foreign.open(&message), None);
    assert!(foreign_heard.try_recv().is_err(), "it has another channel");

    // Whoever can write to Redis says it on the right channel.
    let forged = Proofs::new(&state_key()).seal_notice(&serde_json::to_vec(&notice).expect("JSON"));
    let mut publish = redis::cmd("PUBLISH");
    publish.arg(channel(&Proofs::new(&key))).arg(forged);
    foreign_link.ask::<()>(&publish).await.expect("said");
    let Some(Heard::Message(message)) = heard.recv().await else {
        panic!("no message");
    };
    assert_eq!(other.open(&message), None);
}
