//! Logins that fail too often (`limits.auth_failures`), over real sessions.

use smtp_gateway::auth::Source;
use smtp_gateway::config::Config;

use crate::support::api::{FakeApi, Play};
use crate::support::cakemail::{Cakemail, Endpoint};
use crate::support::gateway::Gateway;

const REFUSED: &str = "421 4.7.0 Too many failed logins, try again later\r\n";
const THROTTLED: &str = "smtp_auth_failures_total{reason=\"throttled\"}";

/// Loopback counts like any other network.
fn counted(config: &mut Config) {
    config.limits.exempt_networks.clear();
}

/// The reply to a login in a session of its own.
fn login(gateway: &Gateway, user: &str, password: &str) -> String {
    gateway.secured().authenticate(user, password)
}

fn guess(gateway: &Gateway, user: &str, passwords: usize) {
    for number in 0..passwords {
        let reply = login(gateway, user, &format!("guess-{number}"));
        assert!(reply.starts_with("535 5.7.8"), "{number}: {reply}");
    }
}

#[test]
fn behind_five_wrong_passwords_nobody_is_asked_and_nothing_tells_whether_one_is_right() {
    let cakemail = Cakemail::start();
    let gateway = Gateway::before_cakemail(&cakemail, counted);
    guess(&gateway, "ann@example.com", 5);
    assert_eq!(cakemail.calls(Endpoint::Token), 5);
    for password in ["secret", "guess-0", "another"] {
        let mut client = gateway.secured();
        let reply = client.authenticate("ann@example.com", password);
        assert_eq!(reply, REFUSED, "{password}");
        client.expect_end();
    }
    // Many services take this for the same name.
    assert_eq!(login(&gateway, "Ann@Example.com", "secret"), REFUSED);
    assert_eq!(cakemail.calls(Endpoint::Token), 5);
    assert_eq!(gateway.metric(THROTTLED), 4.0);
    let wrong = "smtp_auth_failures_total{reason=\"credentials\"}";
    assert_eq!(gateway.metric(wrong), 5.0);
}

#[test]
fn a_login_that_is_refused_keeps_no_other_out() {
    let gateway = Gateway::sandbox(counted);
    guess(&gateway, "bob", 5);
    assert_eq!(login(&gateway, "bob", "x"), REFUSED);
    assert!(login(&gateway, "ann", "secret").starts_with("235"));
}

#[test]
fn an_application_with_an_old_password_locks_nobody_out() {
    let gateway = Gateway::sandbox(counted);
    for _ in 0..20 {
        let reply = login(&gateway, "ann", "old");
        assert!(reply.starts_with("535 5.7.8"), "{reply}");
    }
    guess(&gateway, "ann", 3);
    assert!(login(&gateway, "ann", "secret").starts_with("235"));
}

#[test]
fn a_login_that_was_good_is_not_refused_whatever_else_is_tried_from_its_address() {
    let gateway = Gateway::sandbox(counted);
    gateway.logged_in();
    guess(&gateway, "ann", 12);
    assert!(login(&gateway, "ann", "secret").starts_with("235"));
    assert_eq!(gateway.metric(THROTTLED), 0.0);
}

#[test]
fn exempt_networks_and_zero_have_no_bound() {
    let exempt = Gateway::sandbox(|_| {});
    let off = Gateway::sandbox(|config| {
        counted(config);
        config.limits.auth_failures = 0;
    });
    for gateway in [exempt, off] {
        guess(&gateway, "ann", 8);
        assert!(login(&gateway, "ann", "secret").starts_with("235"));
    }
}

#[test]
fn a_look_up_that_is_down_counts_for_nobody() {
    let cakemail = Cakemail::start();
    let gateway = Gateway::before_cakemail(&cakemail, counted);
    cakemail.always(Endpoint::Token, Play::answer(503, "{}"));
    for number in 0..8 {
        let reply = login(&gateway, "ann@example.com", &number.to_string());
        assert!(reply.starts_with("454 4.7.0"), "{reply}");
    }
    cakemail.always(Endpoint::Token, Play::Take);
    assert!(login(&gateway, "ann@example.com", "secret").starts_with("235"));
}

#[test]
fn keys_that_only_a_message_can_tell_to_be_wrong_count_then() {
    let refused = || Play::answer(401, r#"{"error":"no such key"}"#);
    let api = FakeApi::play((0..5).map(|_| refused()));
    let gateway = Gateway::before(&api.url(), |config| {
        config.auth.source = Source::Passthrough;
        config.auth.accounts.clear();
        counted(config);
    });
    for number in 0..5 {
        let mut client = gateway.secured();
        let reply = client.authenticate("apikey", &format!("key-{number}"));
        assert!(reply.starts_with("235"), "{number}: {reply}");
        let reply = client.submit(&["bob@example.net"], "\r\nx\r\n");
        assert!(reply.starts_with("550 5.7.1"), "{reply}");
    }
    assert_eq!(login(&gateway, "apikey", "right"), REFUSED);
    assert_eq!(api.recorded().len(), 5);
}
