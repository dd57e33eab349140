//! Logins: one look-up for many, the truth about each, and tokens that end before the session.

use std::sync::Arc;
use std::thread;

use serde_json::json;
use smtp_gateway::units::Period;
use tokio::sync::Semaphore;

use crate::cakemail::{BOB, HELLO, logged_in};
use crate::support::cakemail::{Cakemail, Challenge, Endpoint, User};
use crate::support::client::SmtpClient;
use crate::support::gateway::{Certificate, Gateway};
use crate::support::http::{Nobody, Play};
use crate::support::process::{Process, command};
use crate::support::wait_until;

const PERSONAL: &str = "ck_pat_0123456789abcdef0123456789abcdef01234567";

fn attempt(gateway: &Gateway, user: &str, password: &str) -> String {
    gateway.secured().authenticate(user, password)
}

#[test]
fn fifty_logins_at_once_and_fifty_after_make_one_look_up() {
    let cakemail = Cakemail::start();
    let held = Arc::new(Semaphore::new(0));
    cakemail.always(Endpoint::Token, Play::Held(Arc::clone(&held)));
    let gateway = Gateway::before_cakemail(&cakemail, |_| {});
    thread::scope(|scope| {
        for _ in 0..50 {
            scope.spawn(|| {
                let reply = attempt(&gateway, "ann@example.com", "secret");
                assert!(reply.starts_with("235 2.7.0"), "{reply}");
            });
        }
        // All of them have asked before any is answered.
        wait_until(|| gateway.metric("smtp_api_key_cache_misses_total") == 50.0);
        held.add_permits(50);
    });
    for _ in 0..50 {
        logged_in(&gateway);
    }
    assert_eq!(cakemail.calls(Endpoint::Token), 1);
    assert_eq!(gateway.metric("smtp_api_key_cache_hits_total"), 50.0);
    assert_eq!(gateway.metric("smtp_api_key_cache_size"), 1.0);
}

#[test]
fn no_more_than_a_hundred_look_ups_are_made_at_once() {
    let cakemail = Cakemail::start();
    let held = Arc::new(Semaphore::new(0));
    cakemail.always(Endpoint::Token, Play::Held(Arc::clone(&held)));
    let gateway = Gateway::before_cakemail(&cakemail, |config| {
        config.auth.timeout = Period::seconds(60);
    });
    thread::scope(|scope| {
        for number in 0..110 {
            let gateway = &gateway;
            scope.spawn(move || {
                let reply = attempt(gateway, &format!("u{number}@example.com"), "secret");
                assert!(reply.starts_with("535 5.7.8"), "{reply}");
            });
        }
        wait_until(|| gateway.metric("smtp_api_key_cache_misses_total") == 110.0);
        wait_until(|| cakemail.most_at_once() >= 100);
        held.add_permits(110);
    });
    assert_eq!(cakemail.most_at_once(), 100);
    assert_eq!(cakemail.calls(Endpoint::Token), 110);
}

#[test]
fn two_users_have_two_look_ups_and_two_tokens() {
    let cakemail = Cakemail::start().user(User::new("bea+shop@example.com", "+ &=%ü"));
    let gateway = Gateway::before_cakemail(&cakemail, |_| {});
    logged_in(&gateway).submit(&BOB, HELLO);
    let mut client = gateway.secured();
    let reply = client.authenticate("bea+shop@example.com", "+ &=%ü");
    assert!(reply.starts_with("235"), "{reply}");
    client.submit(&BOB, HELLO);
    let sent = cakemail.sent();
    assert_eq!(cakemail.logins(), 2);
    assert_ne!(sent[0].bearer(), sent[1].bearer());
}

/// What a login is told while the look-up does this, and then when it works again.
fn while_login(play: Play) -> String {
    let cakemail = Cakemail::start();
    cakemail.always(Endpoint::Token, play);
    let gateway = Gateway::before_cakemail(&cakemail, |_| {});
    let reply = attempt(&gateway, "ann@example.com", "secret");
    cakemail.always(Endpoint::Token, Play::Take);
    logged_in(&gateway);
    reply
}

#[test]
fn a_look_up_that_is_down_is_no_wrong_password() {
    for play in [
        Play::answer(500, "{}"),
        Play::answer(502, "<html>Bad gateway</html>"),
        Play::answer(503, "{}"),
        Play::answer(429, r#"{"detail":"slow down"}"#),
        Play::Reset,
        Play::Raw("HTTP/1.1 200 X\r\ncontent-length: 100\r\n\r\n{\"access_token\""),
        Play::LongAnswer(1 << 30),
    ] {
        let reply = while_login(play);
        assert!(reply.starts_with("454 4.7.0"), "{reply}");
    }
}

#[test]
fn a_look_up_that_says_nothing_is_no_wrong_password() {
    let reply = while_login(Play::Hang);
    assert!(reply.starts_with("454 4.7.0"), "{reply}");
}

#[test]
fn a_look_up_that_somebody_else_answers_is_no_wrong_password() {
    for status in [200, 401, 403, 404] {
        let reply = while_login(Play::answer(status, "<html>Sign in to this network</html>"));
        assert!(reply.starts_with("454 4.7.0"), "{status}: {reply}");
    }
    let elsewhere = Cakemail::start();
    let location = format!("location: {}/token\r\n", elsewhere.url()).leak();
    let reply = while_login(Play::Answer(307, location, String::new()));
    assert!(reply.starts_with("454 4.7.0"), "{reply}");
    assert_eq!(
        elsewhere.calls(Endpoint::Token),
        0,
        "nobody gets the password"
    );
}

#[test]
fn a_look_up_that_refuses_connections_is_no_wrong_password() {
    let (cakemail, nobody) = (Cakemail::start(), Nobody::new());
    let gateway = Gateway::before_cakemail(&cakemail, |config| config.auth.url = nobody.url());
    let reply = attempt(&gateway, "ann@example.com", "secret");
    assert!(reply.starts_with("454 4.7.0"), "{reply}");
    assert_eq!(gateway.get("/health/ready").0, 200);
}

#[test]
fn a_wrong_password_is_refused_and_remembered() {
    let cakemail = Cakemail::start();
    let gateway = Gateway::before_cakemail(&cakemail, |_| {});
    for _ in 0..2 {
        let reply = attempt(&gateway, "ann@example.com", "wrong");
        assert!(reply.starts_with("535 5.7.8"), "{reply}");
    }
    assert_eq!(cakemail.logins(), 1);
    let other = attempt(&gateway, "nobody@example.com", "wrong");
    assert_eq!(other, attempt(&gateway, "ann@example.com", "wrong"));
    logged_in(&gateway);
}

#[test]
fn a_second_factor_is_named_to_who_needs_one() {
    for challenge in [Challenge::Ok, Challenge::Unauthorized] {
        let user = User::new("ann@example.com", "secret").with_second_factor(challenge);
        let cakemail = Cakemail::start().user(user);
        let gateway = Gateway::before_cakemail(&cakemail, |_| {});
        let reply = attempt(&gateway, "ann@example.com", "secret");
        assert!(reply.starts_with("535 5.7."), "{reply}");
        let words = reply.to_ascii_lowercase();
        assert!(words.contains("factor") || words.contains("mfa"), "{reply}");
    }
}

#[test]
fn a_token_that_expires_in_the_session_is_renewed_unnoticed() {
    let cakemail = Cakemail::start();
    let gateway = Gateway::before_cakemail(&cakemail, |_| {});
    let mut client = logged_in(&gateway);
    client.submit(&BOB, HELLO);
    for (ending, calls) in [("expired", 2), ("revoked", 3)] {
        match ending {
            "expired" => cakemail.expire_tokens(),
            _ => cakemail.revoke_tokens(),
        }
        let reply = client.submit(&BOB, HELLO);
        assert!(reply.starts_with("250"), "{ending}: {reply}");
        let renewals = cakemail.logins() + cakemail.refreshes();
        // A refresh token that is gone as well costs the one call more that finds it out.
        assert!(
            (calls..=calls + 1).contains(&renewals),
            "{ending}: {renewals}"
        );
    }
    let taken = cakemail.sent();
    let taken = taken.iter().filter(|sent| sent.fault.is_none()).count();
    assert_eq!(taken, 3, "each message went out once");
}

fn unauthorized() -> Play {
    let detail = json!({"detail": [{"msg": "Token is revoked", "type": "unauthorized"}]});
    Play::json(401, &detail)
}

#[test]
fn a_token_that_is_refused_is_looked_up_once_more() {
    let cakemail = Cakemail::start().script([unauthorized()]);
    let gateway = Gateway::before_cakemail(&cakemail, |_| {});
    let mut client = logged_in(&gateway);
    let reply = client.submit(&BOB, HELLO);
    assert!(reply.starts_with("250"), "{reply}");
    let sent = cakemail.sent();
    assert_eq!(sent.len(), 2);
    assert_ne!(sent[0].bearer(), sent[1].bearer());
    assert_eq!(cakemail.logins() + cakemail.refreshes(), 2);
    client.submit(&BOB, HELLO);
    assert_eq!(
        cakemail.sent()[2].bearer(),
        sent[1].bearer(),
        "the new one stays"
    );
}

#[test]
fn a_token_that_is_refused_again_is_the_end_for_that_message() {
    let cakemail = Cakemail::start().script([unauthorized(), unauthorized()]);
    let gateway = Gateway::before_cakemail(&cakemail, |_| {});
    let reply = logged_in(&gateway).submit(&BOB, HELLO);
    assert!(reply.starts_with("550 5.7.1"), "{reply}");
    assert_eq!(cakemail.calls(Endpoint::Emails), 2);
    assert_eq!(cakemail.logins() + cakemail.refreshes(), 2);
}

#[test]
fn a_personal_token_is_a_password_that_needs_no_look_up() {
    let scopes = ["accounts:read", "senders:read", "emailapi:send"];
    let cakemail = Cakemail::start().personal_token(PERSONAL, &scopes);
    let gateway = Gateway::before_cakemail(&cakemail, |_| {});
    let mut client = gateway.secured();
    let reply = client.authenticate("anything", PERSONAL);
    assert!(reply.starts_with("235"), "{reply}");
    let reply = client.submit(&BOB, HELLO);
    assert!(reply.starts_with("250"), "{reply}");
    assert_eq!(cakemail.sent()[0].bearer(), PERSONAL);
    assert_eq!(cakemail.calls(Endpoint::Token), 0);
    let unknown = PERSONAL.replace('0', "f");
    let reply = attempt(&gateway, "anything", &unknown);
    assert!(reply.starts_with("535 5.7.8"), "{reply}");
}

#[test]
fn no_secret_reaches_a_log() {
    let (cakemail, certificate) = (Cakemail::start(), Certificate::new());
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(
        command(folder.path())
            .envs(cakemail.variables(&certificate))
            .env("LOG_LEVEL", "trace")
            .env("GATEWAY__DRAIN__PAUSE", "0s"),
    );
    let smtp = process.listening("SMTP");
    let mut client = SmtpClient::secured(smtp, certificate.client());
    client.authenticate("ann@example.com", "secret");
    let reply = client.submit(&BOB, HELLO);
    assert!(reply.starts_with("250"), "{reply}");
    cakemail.expire_tokens();
    client.submit(&BOB, HELLO);
    client.ask("QUIT", "221");
    process.signal("TERM");
    let (_, log) = process.end();
    let bearers = cakemail.sent();
    assert!(
        bearers
            .iter()
            .any(|sent| sent.bearer().starts_with("token-"))
    );
    for words in [
        "\"secret\"",
        "password=secret",
        "token-1",
        "token-2",
        "refresh-",
        "ann@",
        "bob@",
    ] {
        let line = log.iter().find(|line| line.contains(words));
        assert_eq!(line, None, "{words}");
    }
}

#[test]
fn the_contract_of_the_gateway_before_can_be_kept() {
    let (cakemail, certificate) = (Cakemail::start(), Certificate::new());
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(
        command(folder.path())
            .envs(cakemail.variables(&certificate))
            .env("GATEWAY__AUTH__DIALECT", "validate")
            .env("GATEWAY__API__PROVIDER", "json")
            .env("GATEWAY__API__PATH", "/email"),
    );
    let smtp = process.listening("SMTP");
    let mut client = SmtpClient::secured(smtp, certificate.client());
    let reply = client.authenticate("ann@example.com", "wrong");
    assert!(reply.starts_with("535 5.7.8"), "{reply}");
    let reply = client.authenticate("ann@example.com", "secret");
    assert!(reply.starts_with("235"), "{reply}");
    let reply = client.submit(&BOB, HELLO);
    assert!(reply.starts_with("250 2.0.0 Ok: queued as m-1"), "{reply}");
    assert_eq!(cakemail.calls(Endpoint::Validate), 2);
    assert_eq!(cakemail.calls(Endpoint::Token), 0);
    assert_eq!(cakemail.sent()[0].bearer(), "key-1");
    assert_eq!(cakemail.sent()[0].json["subject"], "Hello");
}

/// Two tenants who call themselves alike, since with a token the user name says nothing.
fn two_tenants(cakemail: &Cakemail) -> (Gateway, SmtpClient, SmtpClient) {
    let gateway = Gateway::before_cakemail(cakemail, |config| config.delivery.retries = 0);
    let clients = [PERSONAL.to_owned(), PERSONAL.replace('0', "f")].map(|token| {
        let mut client = gateway.secured();
        let reply = client.authenticate("apikey", &token);
        assert!(reply.starts_with("235"), "{reply}");
        client
    });
    let [one, other] = clients;
    (gateway, one, other)
}

fn with_two_tokens() -> Cakemail {
    let scopes = ["accounts:read", "senders:read", "emailapi:send"];
    Cakemail::start()
        .personal_token(PERSONAL, &scopes)
        .personal_token(&PERSONAL.replace('0', "f"), &scopes)
}

#[test]
fn tenants_with_one_name_do_not_share_what_was_delivered() {
    let cakemail = with_two_tokens().script([Play::Take, Play::answer(503, "")]);
    let (_gateway, mut one, mut other) = two_tenants(&cakemail);
    let two = ["ann@example.net", "bob@example.net"];
    assert!(one.submit(&two, HELLO).starts_with("451"));
    assert!(other.submit(&two, HELLO).starts_with("250"));
    assert_eq!(cakemail.calls(Endpoint::Emails), 4);
}

#[test]
fn tenants_with_one_name_do_not_stop_each_other() {
    let slow_down = r#"{"detail":"slow down"}"#.to_owned();
    let hour = Play::Answer(429, "retry-after: 3600\r\n", slow_down);
    let cakemail = with_two_tokens().script([hour]);
    let (_gateway, mut one, mut other) = two_tenants(&cakemail);
    assert!(one.submit(&BOB, HELLO).starts_with("451 4.7.1"));
    assert!(one.submit(&BOB, HELLO).starts_with("451 4.7.1"));
    assert!(other.submit(&BOB, HELLO).starts_with("250"));
    assert_eq!(cakemail.calls(Endpoint::Emails), 2);
}

#[test]
fn a_token_for_sending_alone_is_told_how_to_name_its_sender() {
    let cakemail = Cakemail::start().personal_token(PERSONAL, &["emailapi:send"]);
    let gateway = Gateway::before_cakemail(&cakemail, |_| {});
    let mut client = gateway.secured();
    assert!(client.authenticate("ann", PERSONAL).starts_with("235"));
    let reply = client.submit(&BOB, HELLO);
    assert!(reply.starts_with("550 5.7.1"), "{reply}");
    assert!(reply.contains("X-Sender-Id"), "{reply}");
    let named = format!("X-Sender-Id: 1042\r\n{HELLO}");
    assert!(client.submit(&BOB, &named).starts_with("250"));
}
