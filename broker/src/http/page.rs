//! Plain pages for people whose way ends here.

use axum::{
    http::StatusCode,
    response::{Html, IntoResponse, Response},
};

fn page(status: StatusCode, title: &str, text: &str) -> Response {
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <style>body{{font:1rem/1.5 system-ui,sans-serif;max-width:32rem;margin:4rem auto;padding:0 1rem}}</style>\n\
         <h1>{title}</h1>\n<p>{text}</p>\n</html>\n"
    );
    (status, Html(html)).into_response()
}

/// The link or the answer can't be used.
pub(super) fn bad_request() -> Response {
    page(
        StatusCode::BAD_REQUEST,
        "This link can’t be used",
        "It has expired, was used before, or was opened in another browser. \
         Go back to the application and connect again.",
    )
}

/// A part of Dromos, or the provider, is away.
pub(super) fn unavailable() -> Response {
    page(
        StatusCode::SERVICE_UNAVAILABLE,
        "Please try again in a moment",
        "The connection could not be made just now. Nothing was changed.",
    )
}

/// There is no such page.
pub(super) async fn not_found() -> Response {
    page(
        StatusCode::NOT_FOUND,
        "There is nothing here",
        "Go back to the application and connect again.",
    )
}
