//! The pages that the user sees.

const STYLE: &str = "\
:root{color-scheme:light dark;font:1rem/1.5 system-ui,sans-serif}\
body{margin:0;min-height:100vh;display:grid;place-items:center}\
main{width:min(26rem,90vw);padding:2rem;border:1px solid #8886;border-radius:12px}\
h1{font-size:1.25rem;margin:0 0 .5rem}ul{padding-left:1.25rem}\
form{display:flex;gap:.75rem;margin-top:1.5rem}\
button{flex:1;padding:.65rem;border:1px solid #8888;border-radius:8px;font:inherit;cursor:pointer}\
button.approve{background:#1f6feb;border-color:#1f6feb;color:#fff}\
small{opacity:.7}";

/// Asks `subject` whether `client_id` may have `scope`.
pub(crate) fn consent(client_id: &str, subject: &str, scope: &[String], handle: &str) -> String {
    let items: String = scope
        .iter()
        .map(|scope| format!("<li>{}</li>", escape(scope)))
        .collect();
    let wishes = if items.is_empty() {
        "<p>It asks for no particular permission.</p>".to_owned()
    } else {
        format!("<p>It asks for:</p><ul>{items}</ul>")
    };
    let body = format!(
        "<h1>Allow {client} to use your account?</h1>\
         <p>You are signed in as <strong>{subject}</strong>.</p>{wishes}\
         <form method=\"post\" action=\"/authorize/decision\">\
         <input type=\"hidden\" name=\"request\" value=\"{handle}\">\
         <button class=\"approve\" type=\"submit\" name=\"decision\" value=\"approve\">Approve</button>\
         <button type=\"submit\" name=\"decision\" value=\"deny\">Deny</button></form>\
         <p><small>This is a simulated provider. No real account is involved.</small></p>",
        client = escape(client_id),
        subject = escape(subject),
        handle = escape(handle),
    );
    page("Allow access", &body)
}

/// Says why the user goes no further.
pub(crate) fn refusal(reason: &str) -> String {
    page(
        "Request refused",
        &format!(
            "<h1>This request cannot go on</h1><p>{}</p>",
            escape(reason)
        ),
    )
}

fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><style>{STYLE}</style></head>\
         <body><main>{body}</main></body></html>"
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}
