use tokio_stream::StreamExt;
use tonic::transport::Channel;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::{v1, v1alpha};

use crate::support::{FakeBroker, Running, healthy};

const CONNECTIONS: &str = "dromos.v1.ConnectionService";

async fn gateway() -> (Running, Channel) {
    let broker = FakeBroker::start(healthy).await;
    let gateway = Running::before(&broker).await;
    let channel = Channel::from_shared(gateway.url(""))
        .unwrap()
        .connect()
        .await
        .unwrap();
    (gateway, channel)
}

#[tokio::test]
async fn health_needs_no_key_and_says_serving() {
    let (_gateway, channel) = gateway().await;
    for service in ["", CONNECTIONS] {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer = HealthClient::new(channel.clone())
            .check(request)
            .await
            .unwrap();
        assert_eq!(
            answer.into_inner().status(),
            ServingStatus::Serving,
            "{service}"
        );
    }
}

/// Asks the same of reflection v1 and v1alpha, which differ in nothing but
/// their package.
macro_rules! ask {
    ($version:ident, $channel:expr, $request:expr) => {{
        use $version::{
            ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
            server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
        };
        let message_request = Some($request(
            MessageRequest::ListServices,
            MessageRequest::FileContainingSymbol,
        ));
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request,
        };
        let mut client = ServerReflectionClient::new($channel.clone());
        let answer = client
            .server_reflection_info(tokio_stream::once(request))
            .await
            .unwrap();
        let answer = answer.into_inner().next().await.unwrap();
        match answer.map(|answer| answer.message_response.unwrap()) {
            Ok(MessageResponse::ListServicesResponse(list)) => list
                .service
                .into_iter()
                .map(|service| service.name)
                .collect(),
            Ok(MessageResponse::FileDescriptorResponse(files)) => {
                vec![format!("{} file", files.file_descriptor_proto.len())]
            }
            Ok(other) => vec![format!("{other:?}")],
            Err(status) => vec![format!("{:?}", status.code())],
        }
    }};
}

#[tokio::test]
async fn reflection_tells_of_the_public_services_and_not_of_the_brokers() {
    let (_gateway, channel) = gateway().await;
    let lists: [Vec<String>; 2] = [
        ask!(v1, channel, |list: fn(String) -> _, _| list(String::new())),
        ask!(v1alpha, channel, |list: fn(String) -> _, _| list(
            String::new()
        )),
    ];
    for services in lists {
        assert!(
            services.iter().any(|name| name == CONNECTIONS),
            "{services:?}"
        );
        assert!(
            services.iter().any(|name| name == "grpc.health.v1.Health"),
            "{services:?}"
        );
        assert!(
            !services
                .iter()
                .any(|name| name.starts_with("dromos.broker.")),
            "{services:?}"
        );
    }
    for (symbol, expected) in [
        (CONNECTIONS, "1 file"),
        ("dromos.broker.v1.ConnectionService", "NotFound"),
    ] {
        let found: [Vec<String>; 2] = [
            ask!(v1, channel, |_, symbol_of: fn(String) -> _| symbol_of(
                symbol.to_owned()
            )),
            ask!(v1alpha, channel, |_, symbol_of: fn(String) -> _| symbol_of(
                symbol.to_owned()
            )),
        ];
        assert_eq!(
            found,
            [[expected.to_owned()], [expected.to_owned()]],
            "{symbol}"
        );
    }
}
