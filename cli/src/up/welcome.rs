//! What `dromos up` says when it is ready.

use std::{path::Path, time::Duration};

use super::services::Places;
use crate::{client::KEY_FILE, output::Details, style::Style, when};

/// Where everything is, what to try, and how to stop.
pub fn text(
    places: &Places,
    data_dir: &Path,
    admin_file: &Path,
    took: Duration,
    style: Style,
) -> String {
    let url = places.gateway_url();
    let host = places.gateway;
    let details = Details::default()
        .line("  Gateway", url.as_str())
        .line("  Broker, internal", format!("http://{}", places.internal))
        .line("  Public pages", format!("http://{}", places.public))
        .line("  Data and keys", data_dir.display().to_string())
        .line("  Admin API key in", admin_file.display().to_string());
    let key = format!("$(cat {})", quoted(admin_file));
    let header = format!("-H \"Authorization: Bearer {key}\"");
    let method = "dromos.v1.ProviderService/ListProviders";
    let mut own = String::new();
    if url != "http://127.0.0.1:8090" {
        own.push_str(&format!("GATEWAY_URL={url} "));
    }
    if admin_file != Path::new(KEY_FILE) {
        own.push_str(&format!("DROMOS_API_KEY=\"{key}\" "));
    }
    format!(
        "{title} in {took}\n\n{details}\n\n{try_it}\n  \
         {own}dromos providers list\n  \
         curl {header} \\\n    {url}/v1/providers\n  \
         grpcurl -plaintext {header} \\\n    {host} {method}\n  \
         buf curl --protocol grpc --http2-prior-knowledge \\\n    {header} \\\n    {url}/{method}\n\n\
         {stop}",
        title = style.good("Dromos is ready"),
        took = when::elapsed(took),
        details = details.render(style),
        try_it = style.bold("Try it from another terminal, in this directory:"),
        stop = style
            .dim("Ctrl-C stops it. For development only: private networks and http are allowed."),
    )
}

/// A path as a POSIX shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    match text.chars().all(plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_where_a_shell_needs_it() {
        assert_eq!(quoted(Path::new(".dromos/admin.key")), ".dromos/admin.key");
        assert_eq!(quoted(Path::new("/a b/k")), "'/a b/k'");
        assert_eq!(quoted(Path::new("/it's/$k")), r"'/it'\''s/$k'");
    }
}
