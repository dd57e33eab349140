//! T7, CRLF and header injection: nothing from outside ends a line, of a reply, of a request or of
//! a header field that somebody makes of it.

use serde_json::Value;

use crate::support::api::{FakeApi, Play};
use crate::support::gateway::Gateway;

#[test]
fn one_command_has_one_reply_whatever_is_in_it() {
    let gateway = Gateway::sandbox(|config| config.limits.errors = 0);
    let mut client = gateway.logged_in();
    for (line, reply) in [
        ("MAIL FROM:<a@example.com\u{2028}>", "501 5.1.7"),
        ("MAIL FROM:<a\u{200b}b@example.com>", "501 5.1.7"),
        ("MAIL FROM:<\"a\0b\"@example.com>", "500 5.5.2"),
        ("MAIL FROM:<\"a\rRCPT TO:<x>\"@example.com>", "500 5.5.2"),
        (
            "MAIL FROM:<a@example.com>\rRCPT TO:<b@example.net>",
            "500 5.5.2",
        ),
        ("NOOP \u{1b}[31m", "500 5.5.2"),
        ("EHLO a\u{85}b", "500 5.5.2"),
    ] {
        client.ask(line, reply);
        client.ask("NOOP", "250 2.0.0 Ok\r\n");
    }
}

#[test]
fn what_the_api_says_cannot_break_a_reply() {
    for body in [
        r#"{"error":"no\r\n250 2.0.0 Ok: queued as forged"}"#,
        "{\"error\":\"no\\u0000\\u2028\\u001b[31m\"}",
    ] {
        let api = FakeApi::play([Play::answer(400, body)]);
        let gateway = Gateway::before(&api.url(), |_| {});
        let mut client = gateway.logged_in();
        let reply = client.submit(&["ann@example.net"], "\r\nx\r\n");
        assert!(reply.starts_with("554 5.6.0 "), "{reply}");
        assert_eq!(reply.matches('\n').count(), 1, "{reply:?}");
        assert!(
            reply
                .trim_end()
                .bytes()
                .all(|octet| matches!(octet, b' '..=b'~')),
            "{reply:?}"
        );
        client.ask("NOOP", "250 2.0.0 Ok\r\n");
    }
    let api = FakeApi::play([Play::answer(200, r#"{"id":"a\r\n554 forged"}"#)]);
    let gateway = Gateway::before(&api.url(), |_| {});
    let reply = gateway
        .logged_in()
        .submit(&["ann@example.net"], "\r\nx\r\n");
    assert_eq!(reply, "250 2.0.0 Ok: queued as a??554 forged\r\n");
}

#[test]
fn encoded_words_cannot_smuggle_header_fields() {
    let api = FakeApi::start();
    let gateway = Gateway::before(&api.url(), |_| {});
    let evil = "=?utf-8?q?x=0D=0ABcc:_victim@example.net=00=E2=80=A8?=";
    let content = format!(
        "From: {evil} <a@example.com>\r\nTo: {evil} <b@example.net>\r\nSubject: {evil}\r\n\
         X-Other: {evil}\r\nMIME-Version: 1.0\r\n\
         Content-Type: application/pdf; name=\"{evil}\"\r\n\
         Content-Disposition: attachment; filename*=utf-8''x%0D%0ABcc%3A%20victim\r\n\r\nx\r\n"
    );
    gateway.logged_in().submit(&["ann@example.net"], &content);
    let body = api.recorded()[0].json();
    let mut strings = 0;
    no_line_breaks(&body, "", &mut strings);
    assert!(strings > 8, "the strings were looked at");
}

/// Looks into every string that a receiver may use in a header field.
fn no_line_breaks(value: &Value, key: &str, strings: &mut usize) {
    match value {
        Value::Object(members) => members
            .iter()
            .for_each(|(key, value)| no_line_breaks(value, key, strings)),
        Value::Array(values) => values
            .iter()
            .for_each(|value| no_line_breaks(value, key, strings)),
        Value::String(text) if !matches!(key, "text" | "html" | "content") => {
            *strings += 1;
            let bad = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
            assert!(!text.contains(bad), "{key}: {text:?}");
        }
        _ => {}
    }
}
