//! The sandbox's page: a list of messages and one of them, as plain HTML without any script.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use crate::admin::inbox::{self, Rendered, Summary};
use crate::delivery::sandbox::Kept;

/// The page itself: its own style, frames of its own, and nothing else.
pub(super) const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'; form-action 'none'; \
     base-uri 'none'; frame-ancestors 'none'";
/// A message's HTML: inline style and inline images, no script, no network, no origin.
pub(super) const MESSAGE_POLICY: &str = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; \
     base-uri 'none'; frame-ancestors 'self'";

pub(super) fn render(messages: &[Arc<Kept>], selected: Option<&Kept>) -> String {
    let mut page = String::from(HEAD);
    // Writing to a String cannot fail, here and below.
    let _ = write!(
        page,
        "<nav><h1>smtp-gateway sandbox</h1><p>{} messages, ",
        messages.len()
    );
    page.push_str(
        "newest first. Reload to see new ones. <a href=\"/api/messages\">JSON</a></p><ul>",
    );
    for kept in messages {
        let current = selected.is_some_and(|selected| selected.outgoing.id == kept.outgoing.id);
        entry(&mut page, &Summary::of(kept), current);
    }
    page.push_str("</ul></nav><main>");
    match selected {
        Some(kept) => message(&mut page, kept),
        None if messages.is_empty() => {
            page.push_str("<p>Nothing here yet: send a message to the SMTP port.</p>");
        }
        None => page.push_str("<p>No such message: it may have made room for newer ones.</p>"),
    }
    page.push_str("</main></body></html>\n");
    page
}

fn entry(page: &mut String, summary: &Summary, current: bool) {
    let class = if current { " class=\"current\"" } else { "" };
    let _ = write!(
        page,
        "<li{class}><a href=\"/?id={}\"><b>{}</b><br>{} → {}<br><time>{}</time></a></li>",
        escape(&summary.id),
        escape(subject(summary)),
        escape(sender(summary)),
        escape(&summary.envelope.to.join(", ")),
        escape(&summary.received_at),
    );
}

fn message(page: &mut String, kept: &Kept) {
    let summary = Summary::of(kept);
    let (email, id) = (&kept.outgoing.email, escape(&summary.id));
    let _ = write!(page, "<h2>{}</h2><dl>", escape(subject(&summary)));
    for (name, value) in [
        ("Envelope from", sender(&summary).to_owned()),
        ("Envelope to", summary.envelope.to.join(", ")),
        ("Received", summary.received_at.clone()),
        ("Size", format!("{} octets", summary.size)),
    ] {
        let _ = write!(page, "<dt>{name}</dt><dd>{}</dd>", escape(&value));
    }
    page.push_str("</dl>");
    if let Some(text) = &email.text {
        let _ = write!(page, "<h3>Text</h3><pre>{}</pre>", escape(&shortened(text)));
    }
    if email.html.is_some() {
        let _ = write!(
            page,
            "<h3>HTML</h3><iframe sandbox src=\"/api/messages/{id}/html\"></iframe>"
        );
    }
    if !email.attachments.is_empty() {
        page.push_str("<h3>Attachments</h3><ul>");
        for attachment in &email.attachments {
            let name = attachment.name.as_deref().unwrap_or("(no name)");
            let kind = escape(&attachment.media_type);
            let _ = write!(page, "<li>{} <small>{kind}</small></li>", escape(name));
        }
        page.push_str("</ul>");
    }
    for request in inbox::rendered(kept) {
        self::request(page, &request);
    }
    let _ = write!(
        page,
        "<p><a href=\"/api/messages/{id}\">JSON</a> · <a href=\"/api/messages/{id}/raw\">Raw</a></p>"
    );
}

fn request(page: &mut String, sent: &Rendered) {
    let _ = writeln!(
        page,
        "<h3>Request that would have been sent</h3><pre>{} {}",
        escape(&sent.method),
        escape(&sent.url)
    );
    for (name, value) in &sent.headers {
        let _ = writeln!(page, "{}: {}", escape(name), escape(value));
    }
    let body = serde_json::to_string_pretty(&sent.body).unwrap_or_default();
    let _ = write!(page, "\n{}</pre>", escape(&shortened(&body)));
}

/// A page stays readable; the JSON has all of it.
fn shortened(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        None => text.into(),
        Some((end, _)) => format!("{}\n…", text.get(..end).unwrap_or_default()).into(),
    }
}

fn subject(summary: &Summary) -> &str {
    summary.subject.as_deref().unwrap_or("(no subject)")
}

fn sender(summary: &Summary) -> &str {
    match summary.envelope.from.as_str() {
        "" => "<>",
        sender => sender,
    }
}

/// Text as HTML, for elements and quoted attributes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

const SHOWN_CHARACTERS: usize = 20_000;

const HEAD: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
<meta name=\"viewport\" content=\"width=device-width\"><title>smtp-gateway sandbox</title><style>\
body{margin:0;display:flex;min-height:100vh;font:15px/1.5 system-ui,sans-serif;color:#1c1e21;background:#fff}\
nav{width:22rem;flex:none;background:#f4f5f7;border-right:1px solid #dde;padding:1rem;box-sizing:border-box}\
nav h1{font-size:1.1rem;margin:0}nav ul{list-style:none;padding:0}\
nav li a{display:block;padding:.5rem;border-radius:.4rem;color:inherit;text-decoration:none;overflow-wrap:anywhere}\
nav li.current a,nav li a:hover{background:#dfe5f2}time,small,dt{color:#5a6270}\
main{flex:1;min-width:0;padding:1rem 2rem}dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem}\
dd{margin:0;overflow-wrap:anywhere}pre{background:#f4f5f7;padding:1rem;border-radius:.4rem;white-space:pre-wrap;\
overflow-wrap:anywhere}iframe{width:100%;height:24rem;border:1px solid #dde;border-radius:.4rem}\
@media(max-width:50rem){body{display:block}nav{width:auto;border:0}}\
</style></head><body>";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_leave_its_element_or_attribute() {
        assert_eq!(
            escape("<script>\"a\" & 'b'</script>"),
            "&lt;script&gt;&quot;a&quot; &amp; &#39;b&#39;&lt;/script&gt;"
        );
    }
}
