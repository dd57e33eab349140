//! T17, injection into look-ups (CVE-2025-26794, CVE-2025-67896): a login, a sender or a recipient
//! is a key of caches, limits and memories, and data for an API. None is ever a part of a query, of
//! a path, or of a metric.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use smtp_gateway::auth::Source;
use smtp_gateway::auth::key_api::dialect::Dialect;

use crate::support::api::{FakeApi, Play};
use crate::support::client::SmtpClient;
use crate::support::gateway::Gateway;
use crate::support::http::form;

/// Names that would be something else to a database, a shell, a cache key or a label, in pairs that
/// must not run together.
fn odd_names() -> Vec<String> {
    let mut names: Vec<String> = [
        "ann",
        "ANN",
        "ann ",
        "ann:secret",
        "ann\nbob",
        "ann\r\nX-Admin: 1",
        "' OR '1'='1",
        "\"; DROP TABLE accounts; --",
        "ann&grant_type=client_credentials",
        "ann%00",
        "ann%26",
        "a+b",
        "a b",
        "{\"username\":\"root\"}",
        "ann\\",
        "../../etc/passwd",
        "ann\u{301}",
        "\u{202e}nna",
        "ann,outcome=\"found\"} 1\nsmtp_forged_total 1",
        "key:ann",
        "login:ann",
        "account:ann",
    ]
    .map(str::to_owned)
    .to_vec();
    names.push("a".repeat(4096));
    names.push(format!("{}b", "a".repeat(4095)));
    names
}

fn log_in(gateway: &Gateway, name: &str) -> SmtpClient {
    let mut client = gateway.secured();
    let credentials = STANDARD.encode(format!("\0{name}\0secret"));
    client.ask(&format!("AUTH PLAIN {credentials}"), "235");
    client
}

/// One look-up for each name, which gets just this name; and each has a key of its own, also from
/// the cache.
fn each_name_is_somebody_else(dialect: Dialect, name_in: fn(&[u8]) -> String) {
    let names = odd_names();
    let keys = (0..names.len()).map(|place| {
        let key = format!("key-{place}");
        let granted = match dialect {
            Dialect::Token => json!({"access_token": key, "token_type": "bearer",
                                     "expires_in": 9999, "accounts": [27]}),
            Dialect::Validate => json!({"api_key": key, "expires_in": 9999}),
        };
        Play::answer(200, &granted.to_string())
    });
    let (auth, api) = (FakeApi::play(keys), FakeApi::start());
    let gateway = Gateway::before(&api.url(), |config| {
        config.auth.source = Source::KeyApi;
        config.auth.url = auth.url();
        config.auth.dialect = dialect;
        config.auth.accounts = Vec::new();
    });
    let metrics = || gateway.get("/metrics").1.lines().count();
    let before = metrics();
    for round in ["looked up", "from the cache"] {
        for name in &names {
            let reply = log_in(&gateway, name).submit(&["ann@example.net"], "\r\nx\r\n");
            assert!(reply.starts_with("250"), "{round}: {name:?}: {reply}");
        }
    }
    let asked = auth.recorded();
    let asked: Vec<_> = asked.iter().map(|request| name_in(&request.body)).collect();
    assert_eq!(asked, names);
    let keys = api.recorded();
    let keys: Vec<_> = keys
        .iter()
        .filter_map(|sent| sent.header("authorization"))
        .collect();
    let expected = (0..names.len()).map(|place| format!("Bearer key-{place}"));
    let expected: Vec<_> = expected.clone().chain(expected).collect();
    assert_eq!(keys, expected);
    assert_eq!(metrics(), before, "no name makes a metric");
}

#[test]
fn odd_logins_are_data_in_a_form_and_keys_of_their_own() {
    each_name_is_somebody_else(Dialect::Token, |body| {
        let fields = form(std::str::from_utf8(body).unwrap()).expect("a form");
        let names: Vec<_> = fields.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["grant_type", "username", "password"]);
        assert_eq!((&*fields[0].1, &*fields[2].1), ("password", "secret"));
        fields[1].1.clone()
    });
}

#[test]
fn odd_logins_are_data_in_json_and_keys_of_their_own() {
    each_name_is_somebody_else(Dialect::Validate, |body| {
        let body: serde_json::Value = serde_json::from_slice(body).unwrap();
        assert_eq!(body.as_object().unwrap().len(), 2);
        body["username"].as_str().unwrap().to_owned()
    });
}

#[test]
fn odd_senders_and_recipients_are_data_or_refused() {
    let api = FakeApi::start();
    let gateway = Gateway::before(&api.url(), |config| config.limits.errors = 0);
    let before = gateway.get("/metrics").1.lines().count();
    let mut client = gateway.logged_in();
    let long = format!("{}@example.net", "a".repeat(4096));
    for refused in [
        "ann\0@example.net",
        "\"a\nb\"@example.net",
        &long,
        "ann@example.net\0",
    ] {
        for verb in ["MAIL FROM", "RCPT TO"] {
            client.send(format!("{verb}:<{refused}>\r\n"));
            let mut reply = client.reply();
            if refused.contains('\n') {
                // Two lines, and no command in either.
                reply = client.reply();
            }
            assert!(reply.starts_with("50"), "{refused:?}: {reply}");
        }
    }
    let odd = [
        "\"' OR '1'='1\"@example.net",
        "\"a\\\"b\\\\c\"@example.net",
        "\"a:b,c;d|e&f\"@example.net",
        "%s%n@example.net",
        "{{7*7}}@example.net",
        "\"$(id)`id`\"@example.net",
    ];
    for (sent, address) in odd.iter().enumerate() {
        client.ask(&format!("MAIL FROM:<{address}>"), "250");
        client.ask(&format!("RCPT TO:<{address}>"), "250");
        client.ask("DATA", "354");
        client.send("\r\nx\r\n.\r\n");
        client.expect("250");
        let envelope = &api.recorded()[sent].json()["envelope"];
        assert_eq!(*envelope, json!({"from": address, "to": [address]}));
    }
    assert_eq!(gateway.get("/metrics").1.lines().count(), before);
}

#[test]
fn odd_ids_find_nothing_in_the_inbox() {
    let gateway = Gateway::sandbox(|_| {});
    gateway
        .logged_in()
        .submit(&["ann@example.net"], "\r\nx\r\n");
    for id in [
        "..",
        "../metrics",
        "%2e%2e%2fmetrics",
        "%00",
        "'",
        "*",
        "1;id",
        &"a".repeat(4096),
    ] {
        for behind in ["", "/raw"] {
            let (status, body) = gateway.get(&format!("/api/messages/{id}{behind}"));
            assert_eq!(status, 404, "{id}{behind}: {body}");
        }
    }
}
