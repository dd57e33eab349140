//! T21, 8-bit and UTF-8: an address beyond ASCII needs SMTPUTF8, content does not, and whatever came
//! in leaves as UTF-8 in JSON and octet for octet in the raw message.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::support::api::FakeApi;
use crate::support::gateway::Gateway;

#[test]
fn utf_8_where_nobody_asked_for_it_is_refused_and_the_session_goes_on() {
    let gateway = Gateway::sandbox(|config| config.limits.errors = 0);
    let mut client = gateway.logged_in();
    for (line, reply) in [
        ("MAIL FROM:<änn@example.com>", "550 5.6.7"),
        ("MAIL FROM:<ann@exämple.com>", "550 5.6.7"),
        ("MAIL FROM:<änn@example.com> BODY=8BITMIME", "550 5.6.7"),
        ("MAIL FROM:<ann@example.com> SIZE=ä", "501 5.5.4"),
        ("MÄIL FROM:<ann@example.com>", "500 5.5.2"),
        ("VRFY änn@example.com", "252"),
        ("NOOP ä", "250"),
    ] {
        client.ask(line, reply);
        client.ask("NOOP", "250 2.0.0 Ok\r\n");
    }
    client.ask("MAIL FROM:<ann@example.com>", "250");
    for address in ["bäb@example.net", "bob@exämple.net", "\"bä b\"@example.net"] {
        client.ask(&format!("RCPT TO:<{address}>"), "553 5.6.7");
    }
    // In a command, what is no UTF-8 is no text.
    client.send(b"RCPT TO:<b\xe4b@example.net> SMTPUTF8\r\n");
    client.expect("500 5.5.2");
    client.ask("RCPT TO:<bob@example.net>", "250");
}

#[test]
fn eight_bit_content_leaves_whatever_was_said_of_it() {
    let api = FakeApi::start();
    let gateway = Gateway::before(&api.url(), |config| config.api.raw = true);
    let mut client = gateway.logged_in();
    let utf8 = "ä € 日本".as_bytes();
    let latin1 = b"\xe4 \x80 \xff".as_slice();
    let cases = [
        ("utf-8", utf8, "ä € 日本"),
        ("iso-8859-1", latin1, "ä € ÿ"),
        // Said of it what is not true, or nothing that is known.
        ("us-ascii", utf8, "ä € 日本"),
        ("us-ascii", latin1, "ä € ÿ"),
        ("x-unknown", latin1, "ä € ÿ"),
    ];
    let mut sent = 0;
    for parameters in [
        "",
        " BODY=8BITMIME",
        " BODY=7BIT",
        " BODY=8BITMIME SMTPUTF8",
    ] {
        for (charset, octets, text) in cases {
            let head = format!("Content-Type: text/plain; charset={charset}\r\n");
            let content = [
                b"Subject: ",
                octets,
                b"\r\n",
                head.as_bytes(),
                b"\r\n",
                octets,
                b"\r\n",
            ];
            let content = content.concat();
            client.ask(&format!("MAIL FROM:<ann@example.com>{parameters}"), "250");
            client.ask("RCPT TO:<bob@example.net>", "250");
            client.ask("DATA", "354");
            client.send([&content, &b".\r\n"[..]].concat());
            client.expect("250");
            let body = api.recorded()[sent].json();
            sent += 1;
            assert_eq!(
                body["text"],
                json!(format!("{text}\n")),
                "{charset}{parameters}"
            );
            assert_eq!(body["subject"], json!(text), "{charset}{parameters}");
            let raw = STANDARD.decode(body["raw"].as_str().unwrap()).unwrap();
            assert!(raw.ends_with(&content), "{charset}{parameters}");
        }
    }
}

#[test]
fn addresses_beyond_ascii_reach_the_api_as_they_came() {
    let api = FakeApi::start();
    let gateway = Gateway::before(&api.url(), |_| {});
    let mut client = gateway.logged_in();
    client.ask("MAIL FROM:<änn@exämple.com> SMTPUTF8", "250");
    client.ask("RCPT TO:<δοκιμή@παράδειγμα.example>", "250");
    client.ask("DATA", "354");
    client.send("From: änn@exämple.com\r\n\r\nx\r\n.\r\n");
    client.expect("250");
    let body = api.recorded()[0].json();
    assert_eq!(
        body["envelope"],
        json!({"from": "änn@exämple.com", "to": ["δοκιμή@παράδειγμα.example"]})
    );
    assert_eq!(body["from"], json!([{"email": "änn@exämple.com"}]));
}
