//! Tries after the first: when there are some, when there are none, and when nobody is asked.

use smtp_gateway::auth::static_keys::Account;
use smtp_gateway::secret::Secret;
use smtp_gateway::units::Period;

use crate::support::api::{FakeApi, Play};
use crate::support::client::SmtpClient;
use crate::support::gateway::Gateway;
use crate::support::http::Nobody;

const MESSAGE: &str = "Message-ID: <1@app.example>\r\nSubject: hello\r\n\r\nhello\r\n";

fn submit(client: &mut SmtpClient) -> String {
    client.submit(&["ann@example.net"], MESSAGE)
}

fn with_retry_after(status: u16, seconds: &str) -> Play {
    let field = format!("retry-after: {seconds}\r\n").leak();
    Play::Answer(status, field, r#"{"error":"later"}"#.to_owned())
}

#[test]
fn what_was_not_taken_for_now_is_tried_again() {
    for status in [429, 503] {
        let api = FakeApi::play([
            with_retry_after(status, "0"),
            Play::answer(status, r#"{"error":"later"}"#),
        ]);
        let gateway = Gateway::before(&api.url(), |_| {});
        let reply = submit(&mut gateway.logged_in());
        assert_eq!(reply, "250 2.0.0 Ok: queued as api-3\r\n", "{status}");
        assert_eq!(gateway.metric("smtp_api_retries_total"), 2.0);
    }
}

#[test]
fn an_api_that_comes_up_in_time_gets_the_message() {
    let nobody = Nobody::new();
    let gateway = Gateway::before(&nobody.url(), |config| {
        config.delivery.retries = 100;
        config.delivery.deadline = Period::seconds(20);
    });
    let mut client = gateway.logged_in();
    client.begin(&["ann@example.net"]);
    client.send(MESSAGE);
    client.send(".\r\n");
    crate::support::wait_until(|| gateway.metric("smtp_api_errors_total{kind=\"connect\"}") > 0.0);
    let _api = FakeApi::instead_of(nobody);
    client.expect("250 2.0.0");
}

#[test]
fn two_tries_more_are_all() {
    let later = || with_retry_after(503, "0");
    let api = FakeApi::play([later(), later(), later()]);
    let gateway = Gateway::before(&api.url(), |_| {});
    assert!(submit(&mut gateway.logged_in()).starts_with("451 4.3.0"));
    assert_eq!(api.recorded().len(), 3);
}

#[test]
fn what_was_refused_or_may_have_been_taken_is_not_tried_again() {
    let refused = r#"{"error":"no"}"#;
    for play in [
        Play::answer(400, refused),
        Play::answer(402, refused),
        Play::answer(401, refused),
        Play::answer(500, refused),
        Play::answer(404, "<html>"),
        Play::Reset,
        Play::Answer(302, "location: /ok\r\n", String::new()),
    ] {
        let api = FakeApi::play([play]);
        let gateway = Gateway::before(&api.url(), |_| {});
        assert!(!submit(&mut gateway.logged_in()).starts_with("250"));
        assert_eq!(api.recorded().len(), 1);
    }
}

#[test]
fn an_api_that_knows_requests_again_gets_an_unclear_one_again_with_the_same_key() {
    let api = FakeApi::play([Play::Reset, Play::answer(500, "")]);
    let gateway = Gateway::before(&api.url(), |config| config.api.idempotent = true);
    let reply = submit(&mut gateway.logged_in());
    assert_eq!(reply, "250 2.0.0 Ok: queued as api-3\r\n");
    let mut keys: Vec<_> = api
        .recorded()
        .iter()
        .map(|one| one.header("idempotency-key"))
        .collect();
    keys.dedup();
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[0].as_ref().unwrap().len(), 32);
    assert_eq!(gateway.metric("smtp_unknown_outcomes_total"), 0.0);
}

#[test]
fn a_wait_that_does_not_fit_is_answered_at_once_and_kept_for_that_account_only() {
    let api = FakeApi::play([with_retry_after(429, "3600")]);
    let gateway = Gateway::before(&api.url(), |config| {
        config.auth.accounts.push(Account {
            name: "bob".to_owned(),
            password: Some(Secret::new("secret")),
            api_key: Some(Secret::new("bobs-key")),
            ..Account::default()
        });
    });
    let mut ann = gateway.logged_in();
    assert!(submit(&mut ann).starts_with("451 4.7.1"));
    assert!(submit(&mut ann).starts_with("451 4.7.1"));
    assert_eq!(api.recorded().len(), 1, "the second was answered here");
    let mut bob = gateway.secured();
    bob.ask("AUTH PLAIN AGJvYgBzZWNyZXQ=", "235");
    assert!(submit(&mut bob).starts_with("250"));
}

#[test]
fn a_date_to_wait_for_is_understood_too() {
    let api = FakeApi::play([with_retry_after(503, "Fri, 31 Dec 2100 23:59:59 GMT")]);
    let gateway = Gateway::before(&api.url(), |_| {});
    let mut client = gateway.logged_in();
    assert!(submit(&mut client).starts_with("451 4.3.0"));
    assert!(submit(&mut client).starts_with("451 4.3.0"));
    assert_eq!(api.recorded().len(), 1);
}

#[test]
fn an_api_that_is_down_is_left_alone_until_a_probe_succeeds() {
    let api = FakeApi::play((0..20).map(|_| Play::answer(503, "")));
    let gateway = Gateway::before(&api.url(), |config| config.delivery.retries = 0);
    let mut client = gateway.logged_in();
    for _ in 0..20 {
        assert!(submit(&mut client).starts_with("451 4.3.0"));
    }
    assert_eq!(gateway.metric("smtp_api_circuit_open"), 1.0);
    // The API would take it, and nobody asks.
    assert!(submit(&mut client).starts_with("451 4.3.0"));
    assert_eq!(api.recorded().len(), 20);
    assert_eq!(
        gateway.metric("smtp_api_errors_total{kind=\"circuit_open\"}"),
        1.0
    );
    assert_eq!(gateway.get("/health/ready").0, 200);
}

#[test]
fn refusals_never_open_the_breaker() {
    let api = FakeApi::play((0..40).map(|_| Play::answer(400, r#"{"error":"no"}"#)));
    let gateway = Gateway::before(&api.url(), |config| config.limits.errors = 0);
    let mut client = gateway.logged_in();
    for _ in 0..40 {
        assert!(submit(&mut client).starts_with("554"));
    }
    assert!(submit(&mut client).starts_with("250"));
}

#[test]
fn a_request_that_is_still_being_worked_on_is_no_refusal() {
    let in_progress = r#"{"error":"a request with this key is in progress"}"#;
    let api = FakeApi::play([Play::Reset, Play::answer(409, in_progress)]);
    let gateway = Gateway::before(&api.url(), |config| config.api.idempotent = true);
    let reply = submit(&mut gateway.logged_in());
    assert_eq!(reply, "250 2.0.0 Ok: queued as api-3\r\n");
}
