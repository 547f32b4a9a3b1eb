//! Which annotations and settings are refused when a transcoder is built.

use prost_reflect::DescriptorPool;
use transcode::{BuildError, Transcoder};

use crate::world::pool;

fn compile(methods: &str) -> DescriptorPool {
    let source = format!(
        r#"syntax = "proto3";
        package t;
        import "google/api/annotations.proto";
        import "google/protobuf/timestamp.proto";
        message M {{
            string a = 1; int32 b = 2; M m = 3; repeated string list = 4;
            map<string, string> map = 5; google.protobuf.Timestamp time = 6;
        }}
        service S {{ {methods} }}"#
    );
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/proto");
    let mut resolver = protox::file::ChainFileResolver::new();
    resolver.add(Source(source));
    resolver.add(protox::file::IncludeFileResolver::new(root.into()));
    resolver.add(protox::file::GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).open_file("t.proto").unwrap();
    DescriptorPool::decode(compiler.encode_file_descriptor_set().as_slice()).unwrap()
}

struct Source(String);

impl protox::file::FileResolver for Source {
    fn open_file(&self, name: &str) -> Result<protox::file::File, protox::Error> {
        if name == "t.proto" {
            protox::file::File::from_source(name, &self.0)
        } else {
            Err(protox::Error::file_not_found(name))
        }
    }
}

fn refused(methods: &str) -> (String, String, String) {
    match Transcoder::builder(compile(methods)).build() {
        Err(BuildError::InvalidRule {
            method,
            template,
            reason,
        }) => (method, template, reason),
        other => panic!("{methods}: {other:?}"),
    }
}

#[test]
fn a_rule_that_cannot_work_is_refused_with_its_method_and_template() {
    for (rule, template, words) in [
        (r#"get: "v1/a""#, "v1/a", "must start with '/'"),
        (r#"get: "/v1/{a""#, "/v1/{a", "not closed"),
        (
            r#"get: "/v1/{nope}""#,
            "/v1/{nope}",
            "variable nope: no such field",
        ),
        (
            r#"get: "/v1/{m.nope}""#,
            "/v1/{m.nope}",
            "variable m.nope: no such field",
        ),
        (r#"get: "/v1/{list}""#, "/v1/{list}", "is repeated"),
        (r#"get: "/v1/{map}""#, "/v1/{map}", "is a map"),
        (r#"get: "/v1/{m}""#, "/v1/{m}", "is a message"),
        (
            r#"get: "/v1/{time.seconds}""#,
            "/v1/{time.seconds}",
            "as a whole",
        ),
        (r#"get: "/v1/{a}/{a}""#, "/v1/{a}/{a}", "same field"),
        (r#"post: "/v1" body: "nope""#, "/v1", "body names no field"),
        (
            r#"post: "/v1/{a}" body: "a""#,
            "/v1/{a}",
            "path and the body",
        ),
        (
            r#"get: "/v1" response_body: "nope""#,
            "/v1",
            "response_body names no field",
        ),
        (
            r#"custom { kind: "A B" path: "/v1" }"#,
            "",
            "not an HTTP method",
        ),
        (r#"body: "*""#, "", "no HTTP method"),
        (
            r#"get: "/v1" additional_bindings { get: "/v1" }"#,
            "/v1",
            "same requests",
        ),
        (
            r#"get: "/v1/{a}" additional_bindings { get: "/v1/{b}" }"#,
            "/v1/{b}",
            "of t.S.R",
        ),
    ] {
        let (method, source, reason) = refused(&format!(
            "rpc R(M) returns (M) {{ option (google.api.http) = {{ {rule} }}; }}"
        ));
        assert_eq!(
            (method.as_str(), source.as_str()),
            ("t.S.R", template),
            "{rule}"
        );
        assert!(reason.contains(words), "{rule}: {reason}");
    }
}

#[test]
fn client_streaming_is_refused_only_where_it_is_annotated() {
    let annotated = r#"option (google.api.http) = { post: "/v1" body: "*" };"#;
    let (_, _, reason) = refused(&format!("rpc R(stream M) returns (M) {{ {annotated} }}"));
    assert!(reason.contains("client-streaming"));
    assert!(
        Transcoder::builder(compile("rpc R(stream M) returns (M);"))
            .build()
            .is_ok()
    );
}

#[test]
fn a_timestamp_may_be_a_variable() {
    let rule = r#"rpc R(M) returns (M) { option (google.api.http) = { get: "/v1/{time}" }; }"#;
    assert!(Transcoder::builder(compile(rule)).build().is_ok());
}

#[test]
fn settings_are_checked() {
    let builder = || Transcoder::builder(pool());
    assert_eq!(
        builder().services(["test.v1.Nope"]).build().unwrap_err(),
        BuildError::UnknownService {
            service: "test.v1.Nope".into()
        }
    );
    for header in ["content-type", "Grpc-Status", "te", "bad name", "host"] {
        let error = builder().request_headers([header]).build().unwrap_err();
        assert_eq!(
            error,
            BuildError::InvalidHeader {
                header: header.into()
            }
        );
        assert!(builder().response_headers([header]).build().is_err());
    }
    let bare = Transcoder::builder(DescriptorPool::new())
        .build()
        .unwrap_err();
    assert_eq!(bare, BuildError::MissingAnnotations);
    assert!(builder().services(["test.v1.TestService"]).build().is_ok());
}

/// What axum's `fallback_service` and hyper ask of a service.
fn fits<S, B>(_: S)
where
    S: tower::Service<
            http::Request<B>,
            Response = http::Response<tonic::body::Body>,
            Error = std::convert::Infallible,
            Future: Send,
        > + Clone
        + Send
        + Sync
        + 'static,
{
}

#[tokio::test]
async fn it_wraps_routes_and_channels_alike() {
    let transcoder = Transcoder::builder(pool()).build().unwrap();
    let routes = tonic::service::Routes::default();
    fits::<_, tonic::body::Body>(transcoder.service(routes.clone()));
    fits::<_, http_body_util::Full<bytes::Bytes>>(transcoder.service(routes));
    let channel = tonic::transport::Endpoint::from_static("http://service.test").connect_lazy();
    fits::<_, tonic::body::Body>(tower::Layer::layer(&transcoder, channel));
}
