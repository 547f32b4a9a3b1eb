use bytes::Bytes;
use dromos_proto::v1::CheckConnectionRequest;
use dromos_serve::{MAX_BODY, status};
use futures_util::stream;
use tonic::Code;
use tonic_types::StatusExt;

use crate::support::{CHECK, Running, app, echo, empty_message, grpc_web, http1};

fn request(length: usize) -> CheckConnectionRequest {
    CheckConnectionRequest {
        connection_id: "x".repeat(length),
    }
}

#[tokio::test]
async fn a_grpc_message_past_one_mebibyte_is_resource_exhausted() {
    let server = Running::start(app(echo)).await;
    let mut client = server.client().await;
    // A tag and a length of three bytes come before the text.
    client
        .check_connection(request(MAX_BODY - 4))
        .await
        .unwrap();
    let status = client
        .check_connection(request(MAX_BODY - 3))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let reason = status
        .get_error_details()
        .error_info()
        .unwrap()
        .reason
        .clone();
    assert_eq!(reason, "REQUEST_TOO_LARGE");
}

#[tokio::test]
async fn a_grpc_web_message_past_one_mebibyte_is_resource_exhausted() {
    let server = Running::start(app(echo)).await;
    let send = async |length: usize| {
        let answer = grpc_web(&http1(), server.url(CHECK), vec![0; length])
            .send()
            .await
            .unwrap();
        let header = answer.headers().get("grpc-status").cloned();
        (header, answer.text().await.unwrap())
    };
    assert!(send(MAX_BODY + 5).await.1.contains("grpc-status:0"));
    assert_eq!(send(MAX_BODY + 6).await.0.unwrap(), "8");
}

#[tokio::test]
async fn a_body_that_declares_no_length_is_counted_as_it_comes() {
    let server = Running::start(app(echo)).await;
    let chunks =
        stream::iter((0..20).map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![0; 100_000]))));
    let call = http1()
        .post(server.url(CHECK))
        .header("content-type", "application/grpc-web+proto")
        .body(reqwest::Body::wrap_stream(chunks));
    let answer = call.send().await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "8");
}

#[tokio::test]
async fn any_other_body_past_one_mebibyte_is_413() {
    let server = Running::start(app(|_| async { empty_message() })).await;
    let call = http1()
        .post(server.url("/v1/request-connection"))
        .body(vec![b' '; MAX_BODY + 1]);
    let answer = call.send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 413);
    let body: serde_json::Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert_eq!(body["code"], 8);
    assert_eq!(body["details"][0]["reason"], "REQUEST_TOO_LARGE");
}

#[test]
fn a_status_carries_its_reason_its_metadata_and_when_to_retry() {
    let after = std::time::Duration::from_secs(3);
    let status = status::status(
        Code::Unavailable,
        "PROVIDER_UNAVAILABLE",
        "try again",
        Some(after),
        &[("provider", "acme")],
    );
    let details = status.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!(
        (info.reason.as_str(), info.domain.as_str()),
        ("PROVIDER_UNAVAILABLE", "dromos")
    );
    assert_eq!(info.metadata["provider"], "acme");
    assert_eq!(details.retry_info().unwrap().retry_delay, Some(after));
}

#[test]
fn an_invalid_argument_names_every_field() {
    let status = status::invalid_argument(&[("name", "is required"), ("scopes", "is empty")]);
    assert_eq!(status.code(), Code::InvalidArgument);
    let details = status.get_error_details();
    let violations = &details.bad_request().unwrap().field_violations;
    let fields: Vec<_> = violations
        .iter()
        .map(|violation| violation.field.as_str())
        .collect();
    assert_eq!(fields, ["name", "scopes"]);
}
