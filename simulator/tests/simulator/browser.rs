//! The browser against servers that are not the simulator.

use axum::Router;
use axum::extract::RawForm;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{any, get};
use dromos_simulator::browser::{Browser, BrowserError, approve_as, deny};
use tokio::net::TcpListener;

async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

fn to(status: u16, location: &str) -> Response {
    let status = StatusCode::from_u16(status).expect("a status");
    (status, [(header::LOCATION, location.to_owned())]).into_response()
}

fn cookies(headers: &HeaderMap) -> String {
    headers
        .get(header::COOKIE)
        .map(|value| value.to_str().expect("text").to_owned())
        .unwrap_or_default()
}

/// The shape of the development pages of the npm package `oidc-provider`: a login, then a consent, with a cookie that
/// only the interaction's path gets.
async fn node_provider() -> String {
    const LOGIN: &str = r#"<!DOCTYPE html><html><head><style>h1 { color: red }</style></head><body><h1>Sign-in</h1>
        <form autocomplete="off" action="/interaction/uid&#x2F;login" method="post">
        <input type="hidden" name="prompt" value="login"/>
        <input required type="text" name="login" placeholder="Enter any login" autofocus="on">
        <input required type="password" name="password" placeholder="and password">
        <button type="submit" class="login login-submit">Sign-in</button></form>
        <div class="login-help"><a href="/interaction/uid/abort">[ Cancel ]</a></div></body></html>"#;
    const CONSENT: &str = r#"<body><form autocomplete="off" action="/interaction/uid/login" method="post">
        <input type="hidden" name="prompt" value="consent"/>
        <button autofocus type="submit" class="login login-submit">Continue</button></form></body>"#;
    async fn submitted(headers: HeaderMap, RawForm(body): RawForm) -> Response {
        if !cookies(&headers).contains("_interaction=i1") {
            return StatusCode::FORBIDDEN.into_response();
        }
        match body.as_ref() {
            b"prompt=login&login=grace&password=grace" => to(303, "/interaction/uid?stage=consent"),
            b"prompt=consent" => to(303, "/auth/uid"),
            _ => StatusCode::BAD_REQUEST.into_response(),
        }
    }
    let router = Router::new()
        .route(
            "/auth",
            get(|| async {
                let cookie = [(
                    header::SET_COOKIE,
                    "_interaction=i1; path=/interaction/uid; httponly; samesite=lax",
                )];
                (cookie, to(303, "/interaction/uid"))
            }),
        )
        .route(
            "/interaction/uid",
            get(|uri: axum::http::Uri| async move {
                Html(if uri.query().is_some() {
                    CONSENT
                } else {
                    LOGIN
                })
            }),
        )
        .route("/interaction/uid/login", axum::routing::post(submitted))
        .route(
            "/interaction/uid/abort",
            get(|| async { to(303, "http://127.0.0.1:1/cb?error=access_denied") }),
        )
        .route(
            "/auth/uid",
            get(|headers: HeaderMap| async move {
                // The cookie belongs to another path.
                if cookies(&headers).is_empty() {
                    to(303, "http://127.0.0.1:1/cb?code=c")
                } else {
                    to(303, "/auth")
                }
            }),
        );
    serve(router).await
}

#[tokio::test]
async fn it_signs_in_and_consents_at_a_provider_with_two_pages() {
    let url = format!("{}/auth", node_provider().await);
    let end = Browser::new()
        .walk(&url, "http://127.0.0.1:1/cb", approve_as("grace"))
        .await
        .expect("the callback");
    assert_eq!(end.as_str(), "http://127.0.0.1:1/cb?code=c");
}

#[tokio::test]
async fn it_cancels_by_a_link() {
    let url = format!("{}/auth", node_provider().await);
    let end = Browser::new()
        .walk(&url, "http://127.0.0.1:1/cb", deny)
        .await
        .expect("the callback");
    assert_eq!(end.query(), Some("error=access_denied"));
}

#[tokio::test]
async fn cookies_are_set_changed_and_deleted_along_redirects() {
    let router = Router::new()
        .route(
            "/set",
            get(|| async {
                (
                    [
                        (header::SET_COOKIE, "a=1; Path=/"),
                        (header::LOCATION, "/change"),
                    ],
                    StatusCode::FOUND,
                )
                    .into_response()
            }),
        )
        .route(
            "/change",
            get(|headers: HeaderMap| async move {
                let cookie = format!("b={}; Path=/", cookies(&headers).replace('=', "-"));
                (
                    [
                        (header::SET_COOKIE, cookie),
                        (header::LOCATION, "/delete".to_owned()),
                    ],
                    StatusCode::FOUND,
                )
                    .into_response()
            }),
        )
        .route(
            "/delete",
            get(|| async {
                (
                    [(header::SET_COOKIE, "a=; Path=/; Max-Age=0")],
                    to(302, "/show"),
                )
            }),
        )
        .route(
            "/show",
            get(|headers: HeaderMap| async move { cookies(&headers) }),
        );
    let url = serve(router).await;
    let mut browser = Browser::new();
    let page = browser.open(&format!("{url}/set")).await.expect("a page");
    assert_eq!(page.body, "b=a-1");
    assert_eq!(browser.cookie(&page.url, "b").as_deref(), Some("a-1"));
    assert_eq!(browser.cookie(&page.url, "a"), None);
}

#[tokio::test]
async fn a_form_is_repeated_by_307_and_becomes_a_get_by_302() {
    let router = Router::new()
        .route(
            "/",
            get(|| async { Html("<form method=post><input name=a value='1 &amp; 2'></form>") })
                .post(|| async { to(307, "/again") }),
        )
        .route(
            "/again",
            any(
                |method: axum::http::Method, RawForm(body): RawForm| async move {
                    to(
                        302,
                        &format!("/end?{method}={}", String::from_utf8_lossy(&body)),
                    )
                },
            ),
        )
        .route(
            "/end",
            any(|method: axum::http::Method| async move { method.to_string() }),
        );
    let url = serve(router).await;
    let mut browser = Browser::new();
    let form = browser.get(&url).await.expect("a page");
    let submitted = browser.submit(&form, &[]).await.expect("an answer");
    assert_eq!(submitted.status, 307);
    let again = browser
        .follow(&submitted)
        .await
        .expect("an answer")
        .expect("a redirect");
    let end = browser
        .follow(&again)
        .await
        .expect("an answer")
        .expect("a redirect");
    assert_eq!(
        (end.url.query(), end.body.as_str()),
        (Some("POST=a=1+%26+2"), "GET")
    );
}

#[tokio::test]
async fn endless_redirects_end() {
    let url = serve(Router::new().route("/", get(|| async { to(302, "/") }))).await;
    assert!(matches!(
        Browser::new().open(&url).await,
        Err(BrowserError::TooFar(..))
    ));
    let walk = Browser::new().walk(&url, "http://127.0.0.1:1/", deny).await;
    assert!(matches!(walk, Err(BrowserError::TooFar(..))));
}

#[tokio::test]
async fn a_page_that_leads_nowhere_is_reported_with_its_words() {
    let router = Router::new().route(
        "/",
        get(|| async { (StatusCode::BAD_REQUEST, Html("<p>No &lt;way&gt;</p>")) }),
    );
    let url = serve(router).await;
    match Browser::new().walk(&url, "http://127.0.0.1:1/", deny).await {
        Err(BrowserError::DeadEnd {
            status: 400, text, ..
        }) => assert_eq!(text, "No <way>"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn only_http_is_spoken() {
    assert!(matches!(
        Browser::new().get("https://127.0.0.1/").await,
        Err(BrowserError::Address(_))
    ));
    assert!(matches!(
        Browser::new().get("nonsense").await,
        Err(BrowserError::Address(_))
    ));
}
