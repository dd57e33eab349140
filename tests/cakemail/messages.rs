//! What Cakemail is told of a message.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::cakemail::{BOB, accepted, additional, logged_in};
use crate::support::cakemail::Cakemail;
use crate::support::gateway::Gateway;
use crate::support::http::Play;

const PDF: &[u8] = b"%PDF-1.7\r\n.\r\n..\r\n\0\x80\xff no document either";
const PIXEL: &[u8] = b"\x89PNG\r\n\x1a\n not quite a picture \0\xff";

/// The one call that a message to one recipient becomes.
fn email(content: &str) -> Value {
    let cakemail = Cakemail::start();
    let sent = accepted(&cakemail, &BOB, content);
    assert_eq!(sent.len(), 1);
    let email = &sent[0].json;
    assert_eq!(email["email"], BOB[0]);
    assert_eq!(email["sender"]["id"], "1042");
    email.clone()
}

fn multipart(kind: &str, parts: &[String]) -> String {
    let parts = parts.join("\r\n--b\r\n");
    format!(
        "From: app@example.com\r\nTo: bob@example.net\r\nSubject: Hello\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/{kind}; boundary=b\r\n\r\n--b\r\n{parts}\r\n--b--\r\n"
    )
}

fn encoded(fields: &str, octets: &[u8]) -> String {
    let content = STANDARD.encode(octets);
    format!("{fields}Content-Transfer-Encoding: base64\r\n\r\n{content}")
}

#[test]
fn a_text_is_a_text() {
    let email = email("From: Shop <app@example.com>\r\nSubject: Hello\r\n\r\nhello\r\n.dot\r\n");
    assert_eq!(
        email["content"],
        json!({"type": "transactional", "subject": "Hello", "text": "hello\n.dot\n",
            "encoding": "utf-8"})
    );
    assert_eq!(email["sender"], json!({"id": "1042", "name": "Shop"}));
    assert!(email.get("attachment").is_none(), "{email}");
}

#[test]
fn html_alone_is_html_alone() {
    let email = email(
        "From: app@example.com\r\nSubject: Hello\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/html; charset=iso-8859-1\r\n\
         Content-Transfer-Encoding: quoted-printable\r\n\r\n<p>Gr=FC=DFe</p>\r\n",
    );
    assert_eq!(
        email["content"],
        json!({"type": "transactional", "subject": "Hello", "html": "<p>Grüße</p>\n",
            "encoding": "utf-8"})
    );
}

#[test]
fn text_and_html_go_together() {
    let parts = [
        "\r\nboth".to_owned(),
        "Content-Type: text/html\r\n\r\n<p>both</p>".to_owned(),
    ];
    let email = email(&multipart("alternative", &parts));
    assert_eq!(
        email["content"],
        json!({"type": "transactional", "subject": "Hello", "text": "both", "html": "<p>both</p>",
            "encoding": "utf-8"})
    );
}

#[test]
fn where_only_one_text_is_allowed_the_html_goes() {
    let cakemail = Cakemail::start().html_or_text_only();
    let gateway = Gateway::before_cakemail(&cakemail, |_| {});
    let parts = [
        "\r\nboth".to_owned(),
        "Content-Type: text/html\r\n\r\n<p>both</p>".to_owned(),
    ];
    let reply = logged_in(&gateway).submit(&BOB, &multipart("alternative", &parts));
    assert!(reply.starts_with("250"), "{reply}");
    let sent = cakemail.sent();
    let taken: Vec<_> = sent.iter().filter(|sent| sent.fault.is_none()).collect();
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].json["content"]["html"], "<p>both</p>");
    assert!(taken[0].json["content"].get("text").is_none());
}

#[test]
fn a_pdf_is_attached_under_a_name_that_fits() {
    let fields = "Content-Type: application/pdf\r\n\
                  Content-Disposition: attachment; filename=\"report 7.pdf\"\r\n";
    let parts = ["\r\nsee there".to_owned(), encoded(fields, PDF)];
    let email = email(&multipart("mixed", &parts));
    assert_eq!(email["content"]["text"], "see there");
    let attachments = email["attachment"].as_array().unwrap();
    assert_eq!(attachments.len(), 1);
    assert_eq!(attachments[0]["type"], "pdf");
    assert_eq!(attachments[0]["content"], STANDARD.encode(PDF));
    let name = attachments[0]["filename"].as_str().unwrap();
    assert!(
        name.starts_with("report") && name.ends_with("7.pdf"),
        "{name}"
    );
}

#[test]
fn an_inline_image_goes_as_an_attachment() {
    let fields = "Content-Type: image/png\r\nContent-ID: <pixel>\r\n\
                  Content-Disposition: inline\r\n";
    let html = "Content-Type: text/html\r\n\r\n<img src=\"cid:pixel\">".to_owned();
    let email = email(&multipart("related", &[html, encoded(fields, PIXEL)]));
    assert_eq!(email["content"]["html"], "<img src=\"cid:pixel\">");
    let attachments = email["attachment"].as_array().unwrap();
    assert_eq!(attachments.len(), 1);
    assert_eq!(attachments[0]["type"], "png");
    assert_eq!(attachments[0]["content"], STANDARD.encode(PIXEL));
}

#[test]
fn a_signature_with_a_gif_is_shown() {
    let fields = "Content-Type: image/gif; name=image001.gif\r\nContent-ID: <logo>\r\n\
                  Content-Disposition: inline\r\n";
    let html = "Content-Type: text/html\r\n\r\n<img src=\"cid:logo\">".to_owned();
    let email = email(&multipart("related", &[html, encoded(fields, PIXEL)]));
    let shown = format!(
        "<img src=\"data:image/gif;base64,{}\">",
        STANDARD.encode(PIXEL)
    );
    assert_eq!(email["content"]["html"], shown);
    assert!(email.get("attachment").is_none(), "{email}");
}

#[test]
fn the_footer_of_a_list_is_a_part_of_the_text() {
    let footer = "Content-Type: text/plain\r\nContent-Disposition: inline\r\n\r\n-- \r\nlist";
    let parts = ["\r\nhello".to_owned(), footer.to_owned()];
    let email = email(&multipart("mixed", &parts));
    assert_eq!(email["content"]["text"], "hello\n-- \nlist");
    assert!(email.get("attachment").is_none(), "{email}");
}

#[test]
fn fields_that_only_look_like_cakemails_change_nothing() {
    let email = email(
        "From: app@example.com\r\nX-List-ID: <users.lists.example.org>\r\n\
         X-Tags: urgent, follow up\r\nX-Track-Opens: perhaps\r\nSubject: Hello\r\n\r\nx\r\n",
    );
    assert!(email.get("list_id").is_none(), "{email}");
    assert_eq!(email["tags"], json!(["urgent", "follow-up"]));
    assert_eq!(email["tracking"]["opens"], false);
    assert_eq!(additional(&email, "x-list-id"), None);
}

#[test]
fn a_jpg_is_a_jpeg() {
    let fields = "Content-Type: image/jpeg\r\n\
                  Content-Disposition: attachment; filename=me.JPG\r\n";
    let parts = ["\r\nx".to_owned(), encoded(fields, PIXEL)];
    let email = email(&multipart("mixed", &parts));
    assert_eq!(email["attachment"][0]["filename"], "me.jpeg");
    assert_eq!(email["attachment"][0]["type"], "jpeg");
}

#[test]
fn what_cakemail_cannot_carry_is_refused_and_never_left_out() {
    let cakemail = Cakemail::start();
    let gateway = Gateway::before_cakemail(&cakemail, |_| {});
    let mut client = logged_in(&gateway);
    for (kind, name) in [("application/zip", "a.zip"), ("text/plain", "a.txt")] {
        let fields =
            format!("Content-Type: {kind}\r\nContent-Disposition: attachment; filename={name}\r\n");
        let parts = ["\r\nx".to_owned(), encoded(&fields, b"x")];
        let reply = client.submit(&BOB, &multipart("mixed", &parts));
        assert!(reply.starts_with("554 5.6.1"), "{name}: {reply}");
    }
    assert!(cakemail.sent().is_empty());
}

#[test]
fn a_subject_is_utf_8_however_it_came() {
    for subject in [
        "Grüße 日本 ✓",
        "=?utf-8?q?Gr=C3=BC=C3=9Fe_?= =?utf-8?b?5pel5pys?= =?utf-8?q?_=E2=9C=93?=",
    ] {
        let email = email(&format!(
            "From: app@example.com\r\nSubject: {subject}\r\n\r\nx\r\n"
        ));
        assert_eq!(email["content"]["subject"], "Grüße 日本 ✓");
    }
}

#[test]
fn reply_to_and_fields_of_the_client_go_along() {
    let email = email(
        "From: app@example.com\r\nReply-To: help@example.com\r\nX-Order: 7\r\n\
         Subject: Hello\r\n\r\nx\r\n",
    );
    assert_eq!(additional(&email, "reply-to"), Some("help@example.com"));
    assert_eq!(additional(&email, "x-order"), Some("7"));
    for name in [
        "from",
        "to",
        "subject",
        "content-type",
        "mime-version",
        "received",
    ] {
        assert_eq!(additional(&email, name), None, "{name}");
    }
}

#[test]
fn each_recipient_has_a_call_and_a_hidden_one_is_seen_by_nobody() {
    let cakemail = Cakemail::start();
    let recipients = ["ann@example.net", "bob@example.net", "hidden@example.net"];
    let content = "From: app@example.com\r\nTo: Ann <ann@example.net>\r\nCc: bob@example.net\r\n\
                   Bcc: hidden@example.net\r\nSubject: all\r\n\r\nall\r\n";
    let sent = accepted(&cakemail, &recipients, content);
    let mut found: Vec<&str> = sent.iter().map(|sent| sent.recipient()).collect();
    found.sort_unstable();
    assert_eq!(found, recipients);
    for sent in &sent {
        for other in recipients
            .iter()
            .filter(|other| **other != sent.recipient())
        {
            assert!(
                !sent.mentions(other),
                "{other} in the call for {}",
                sent.recipient()
            );
        }
        let whole = String::from_utf8(sent.body.clone()).unwrap();
        assert_eq!(whole.matches(sent.recipient()).count(), 1, "{whole}");
        assert!(!whole.to_ascii_lowercase().contains("bcc"), "{whole}");
    }
}

#[test]
fn a_hundred_recipients_are_a_hundred_calls_each_once() {
    let cakemail = Cakemail::start();
    let recipients: Vec<String> = (0..100).map(|n| format!("r{n:02}@example.net")).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    let sent = accepted(&cakemail, &recipients, crate::cakemail::HELLO);
    let mut found: Vec<&str> = sent.iter().map(|sent| sent.recipient()).collect();
    found.sort_unstable();
    assert_eq!(found, recipients);
    assert!(cakemail.most_at_once() <= 100);
    let one = &sent[0].json;
    for sent in &sent {
        assert_eq!(sent.json["content"], one["content"]);
        assert_eq!(sent.json["sender"], one["sender"]);
    }
}

#[test]
fn no_more_calls_at_once_than_the_settings_allow() {
    let held = Arc::new(Semaphore::new(0));
    let plays = [(); 9].map(|()| Play::Held(Arc::clone(&held)));
    let cakemail = Cakemail::start().script(plays);
    let gateway = Gateway::before_cakemail(&cakemail, |config| config.api.concurrency = 3);
    let recipients: Vec<String> = (0..9).map(|n| format!("r{n}@example.net")).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    let mut client = logged_in(&gateway);
    client.begin(&recipients);
    client.send(format!("{}.\r\n", crate::cakemail::HELLO));
    cakemail.wait_for(3);
    held.add_permits(9);
    client.expect("250 2.0.0");
    assert_eq!(cakemail.sent().len(), 9);
    assert!(cakemail.most_at_once() <= 3, "{}", cakemail.most_at_once());
}
