//! T8, address differentials (CVE-2023-27043, CVE-2025-13033, "Splitting the Email Atom"): what is
//! parsed here is what the API gets; what a list allows is what the API gets, or nothing is.

use smtp_gateway::config::Config;
use smtp_gateway::submission::senders::Entry;

use crate::support::api::FakeApi;
use crate::support::client::SmtpClient;
use crate::support::gateway::Gateway;

/// The value of a From field, the addresses that the API gets, and whether a client that may send as
/// `example.com` may write it so.
type Row = (&'static str, &'static [&'static str], bool);

const CORPUS: &[Row] = &[
    // Plain, and in every legal dress.
    ("app@example.com", &["app@example.com"], true),
    ("App <app@Example.COM>", &["app@Example.COM"], true),
    ("\"The, App\" <app@example.com>", &["app@example.com"], true),
    (
        "\"evil@evil.example\" <app@example.com>",
        &["app@example.com"],
        true,
    ),
    ("app@example.com (The App)", &["app@example.com"], true),
    ("\"app\"@example.com", &["app@example.com"], true),
    (
        "=?utf-8?Q?Caf=C3=A9=2C_App?= <app@example.com>",
        &["app@example.com"],
        true,
    ),
    ("App\r\n <app@example.com>", &["app@example.com"], true),
    (
        "a@example.com, b@example.com",
        &["a@example.com", "b@example.com"],
        true,
    ),
    (
        "Team: a@example.com, B <b@example.com>;",
        &["a@example.com", "b@example.com"],
        true,
    ),
    // Others, and others hidden among them.
    ("app@evil.example", &["app@evil.example"], false),
    (
        "a@example.com, b@evil.example",
        &["a@example.com", "b@evil.example"],
        false,
    ),
    (
        "Team: a@example.com, b@evil.example;",
        &["a@example.com", "b@evil.example"],
        false,
    ),
    ("app@sub.example.com", &["app@sub.example.com"], false),
    (
        "app@example.com.evil.example",
        &["app@example.com.evil.example"],
        false,
    ),
    ("app@notexample.com", &["app@notexample.com"], false),
    // Quoted local parts.
    (
        "\"app@example.com\"@evil.example",
        &["\"app@example.com\"@evil.example"],
        false,
    ),
    (
        "\"app@evil.example\"@example.com",
        &["\"app@evil.example\"@example.com"],
        false,
    ),
    (
        "\"app@evil.example> x\"@example.com",
        &["\"app@evil.example> x\"@example.com"],
        false,
    ),
    (
        "\"app@evil.example,\"@example.com",
        &["\"app@evil.example,\"@example.com"],
        false,
    ),
    // Comments.
    (
        "(app@example.com) x@evil.example",
        &["x@evil.example"],
        false,
    ),
    (
        "(x@evil.example) app@example.com",
        &["app@example.com"],
        false,
    ),
    (
        "app@example.com(.evil.example)",
        &["app@example.com"],
        false,
    ),
    ("app@(x)example.com", &["app@example.com"], false),
    (
        "<app(@evil.example)@example.com>",
        &["app@example.com"],
        false,
    ),
    // Encoded words are names, never syntax.
    (
        "=?utf-8?Q?evil=40evil.example?= <app@example.com>",
        &["app@example.com"],
        false,
    ),
    (
        "=?utf-8?Q?app=40example.com=3E?= <x@evil.example>",
        &["x@evil.example"],
        false,
    ),
    (
        "=?utf-8?Q?evil=40evil.example=2C?= <app@example.com>",
        &["app@example.com"],
        false,
    ),
    (
        "=?utf-8?B?ZXZp?= =?utf-8?B?bEBlLng=?= <app@example.com>",
        &["app@example.com"],
        false,
    ),
    (
        "=?utf-16be?B?AGUA?= =?utf-16be?B?QAB4?= <app@example.com>",
        &["app@example.com"],
        false,
    ),
    (
        "=?utf-8?Q?evil=40evil.example?=@example.com",
        &["=?utf-8?Q?evil=40evil.example?=@example.com"],
        false,
    ),
    // Source routes, and lists that forget something.
    (
        "<@evil.example:app@example.com>",
        &["app@example.com"],
        false,
    ),
    (
        "<@example.com,@evil.example:x@evil.example>",
        &["x@evil.example"],
        false,
    ),
    (
        "<app@example.com> <x@evil.example>",
        &["app@example.com", "x@evil.example"],
        false,
    ),
    ("App <app@example.com", &["app@example.com"], false),
    (
        "<app@example.com>, x@evil.example,",
        &["app@example.com", "x@evil.example"],
        false,
    ),
    (
        "<app@example.com>; x@evil.example",
        &["app@example.com", "x@evil.example"],
        false,
    ),
    // What nobody can read is left out; the sender is then that of MAIL.
    ("app@evil.example@example.com", &["app@example.com"], false),
    ("app@example.com@evil.example", &["app@example.com"], false),
    (
        "<x@evil.example <app@example.com>",
        &["app@example.com"],
        false,
    ),
    (
        "x@evil.example:app@example.com",
        &["app@example.com"],
        false,
    ),
    ("app@example.com\u{200b}", &["app@example.com"], false),
    ("app@example\u{3002}com", &["app@example.com"], false),
    (
        "=?utf-8?Q?app=40evil.example?=",
        &["app@example.com"],
        false,
    ),
    // Letters that only look or sound alike.
    ("app@ex\u{430}mple.com", &["app@ex\u{430}mple.com"], false),
    ("app@\u{ff45}xample.com", &["app@\u{ff45}xample.com"], false),
    ("app@xn--xample-2of.com", &["app@xn--xample-2of.com"], false),
    (
        "x\u{ff20}evil.example@example.com",
        &["x\u{ff20}evil.example@example.com"],
        false,
    ),
];

fn ann_for(config: &mut Config, domains: &[&str]) {
    config.policy.senders.push(Entry {
        account: "ann".to_owned(),
        domains: domains.iter().map(|domain| (*domain).to_owned()).collect(),
    });
}

fn submit(client: &mut SmtpClient, from: &str) -> String {
    let content = format!("From: {from}\r\nSubject: s\r\n\r\nx\r\n");
    client.submit(&["bob@example.net"], &content)
}

/// The authors that the API got with its latest message.
fn authors(api: &FakeApi) -> Vec<String> {
    let message = api.recorded().last().unwrap().json();
    let from = message["from"].as_array().unwrap().iter();
    from.map(|author| author["email"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn what_the_api_gets_as_sender_is_what_was_parsed() {
    let api = FakeApi::start();
    let gateway = Gateway::before(&api.url(), |_| {});
    let mut client = gateway.logged_in();
    for (from, expected, _) in CORPUS {
        let reply = submit(&mut client, from);
        assert!(reply.starts_with("250"), "{from}: {reply}");
        assert_eq!(authors(&api), *expected, "{from}");
    }
    assert_eq!(api.recorded().len(), CORPUS.len());
}

#[test]
fn what_a_list_allows_is_what_the_api_gets_and_nothing_else_leaves() {
    let api = FakeApi::start();
    let gateway = Gateway::before(&api.url(), |config| ann_for(config, &["example.com"]));
    let mut client = gateway.logged_in();
    let mut sent = 0;
    for (from, expected, allowed) in CORPUS {
        let reply = submit(&mut client, from);
        if *allowed {
            assert!(reply.starts_with("250"), "{from}: {reply}");
            assert_eq!(authors(&api), *expected, "{from}");
            sent += 1;
        } else {
            let refused = reply.starts_with("550 5.7.1") || reply.starts_with("554 5.6.0");
            assert!(refused, "{from}: {reply}");
            assert!(reply.contains("policy.senders"), "{reply}");
        }
        assert_eq!(api.recorded().len(), sent, "{from}");
    }
}

#[test]
fn the_spellings_of_a_domain_are_one() {
    let api = FakeApi::start();
    let gateway = Gateway::before(&api.url(), |config| {
        ann_for(
            config,
            &["example.com", "B\u{dc}CHER.example", "*.example.org"],
        );
    });
    let mut client = gateway.logged_in();
    for from in [
        "app@EXAMPLE.com",
        "app@xn--bcher-kva.example",
        "app@XN--BCHER-KVA.Example",
        "app@b\u{fc}cher.example",
        "app@a.b.example.org",
    ] {
        let reply = submit(&mut client, from);
        assert!(reply.starts_with("250"), "{from}: {reply}");
        assert_eq!(authors(&api), [from]);
    }
    for from in [
        "app@example.org",
        "app@bucher.example",
        "app@x.b\u{fc}cher.example",
    ] {
        let reply = submit(&mut client, from);
        assert!(reply.starts_with("550 5.7.1"), "{from}: {reply}");
    }
}
