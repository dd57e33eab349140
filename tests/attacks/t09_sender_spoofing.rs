//! T9, spoofing between tenants (CVE-2024-7208, CVE-2024-7209): no place of a message names a sender
//! that its account may not use.

use smtp_gateway::auth::TrustedNetwork;
use smtp_gateway::auth::static_keys::Account;
use smtp_gateway::config::Config;
use smtp_gateway::ingress::smtp::{ListenerAuth, ListenerConfig, ListenerTls};
use smtp_gateway::secret::Secret;
use smtp_gateway::submission::senders::Entry;

use crate::support::api::FakeApi;
use crate::support::cakemail::{Cakemail, User};
use crate::support::client::SmtpClient;
use crate::support::gateway::{Gateway, listener};
use crate::support::process::{Process, Scene, serve};

const PERSONAL: &str = "ck_pat_0123456789abcdef0123456789abcdef01234567";

fn allow(config: &mut Config, account: &str, domains: &[&str]) {
    config.policy.senders.push(Entry {
        account: account.to_owned(),
        domains: domains.iter().map(|domain| (*domain).to_owned()).collect(),
    });
}

fn try_mail(client: &mut SmtpClient, path: &str) -> String {
    client.send(format!("MAIL FROM:<{path}>\r\n"));
    client.reply()
}

/// Sends a message with this path and these fields; the reply is that of the step that refuses it, or
/// the last one.
fn send(client: &mut SmtpClient, path: &str, fields: &str) -> String {
    let reply = try_mail(client, path);
    if !reply.starts_with("250") {
        return reply;
    }
    client.ask("RCPT TO:<bob@example.net>", "250");
    client.ask("DATA", "354");
    client.send(format!("{fields}\r\nx\r\n.\r\n"));
    client.reply()
}

#[test]
fn no_place_of_a_message_names_the_sender_of_another_tenant() {
    let api = FakeApi::start();
    let gateway = Gateway::before(&api.url(), |config| allow(config, "ann", &["a.example"]));
    let mut client = gateway.logged_in();
    let (own, evil) = ("app@a.example", "app@b.example");
    for (path, fields, start) in [
        (own, format!("From: {own}\r\n"), "250"),
        ("", format!("From: {own}\r\n"), "250"),
        (own, "Subject: no author\r\n".to_owned(), "250"),
        (
            "app@A.Example",
            format!("from: {own}\r\nSENDER: {own}\r\n"),
            "250",
        ),
        (
            own,
            format!("From: {own}\r\nReply-To: {evil}\r\nTo: {evil}\r\n"),
            "250",
        ),
        (evil, format!("From: {own}\r\n"), "550 5.7.1"),
        ("app@x.a.example", format!("From: {own}\r\n"), "550 5.7.1"),
        (
            "@a.example:app@b.example",
            format!("From: {own}\r\n"),
            "550 5.7.1",
        ),
        (
            "\"x@b.example\"@a.example",
            format!("From: {own}\r\n"),
            "550 5.7.1",
        ),
        ("app@[127.0.0.1]", format!("From: {own}\r\n"), "550 5.7.1"),
        ("", format!("From: {evil}\r\n"), "550 5.7.1"),
        (own, format!("From: {evil}\r\n"), "550 5.7.1"),
        (own, format!("From: {own}, {evil}\r\n"), "550 5.7.1"),
        (own, format!("From: {own}\r\nFrom: {evil}\r\n"), "550 5.7.1"),
        (
            own,
            format!("From: {own}\r\nfRoM : {evil}\r\n"),
            "550 5.7.1",
        ),
        (
            own,
            format!("From: {own}\r\nFrom:\r\n\t{evil}\r\n"),
            "550 5.7.1",
        ),
        (
            own,
            format!("From: {own}\r\nSender: {evil}\r\n"),
            "550 5.7.1",
        ),
        (
            own,
            format!("From: {own}\r\nSender: {own}\r\nSender: {evil}\r\n"),
            "550 5.7.1",
        ),
        (
            own,
            format!("From: {own}\r\nSender: {own}, {evil}\r\n"),
            "550 5.7.1",
        ),
        (
            own,
            format!("From: {own}\r\nResent-From: {evil}\r\n"),
            "550 5.7.1",
        ),
        (
            own,
            format!("From: {own}\r\nResent-Sender: {evil}\r\n"),
            "550 5.7.1",
        ),
        (
            own,
            format!("From: {own}\r\nX-Sender-Id: 1042\r\n"),
            "550 5.7.1",
        ),
        (own, format!("From: {own}\rFrom: {evil}\r\n"), "550 5.7.1"),
        (own, format!("From: {own}\nFrom: {evil}\r\n"), "550 5.7.1"),
        (
            own,
            format!("From: {own}\r\nno field\r\nFrom: {evil}\r\n"),
            "554 5.6.0",
        ),
        (
            own,
            format!("From: {own}\r\nFr\u{f6}m: x\r\nFrom: {evil}\r\n"),
            "554 5.6.0",
        ),
        (own, format!("From: {own}, {evil} {evil}\r\n"), "554 5.6.0"),
        (own, format!("From: {own}\0, {evil}\r\n"), "554 5.6.0"),
    ] {
        let before = api.recorded().len();
        let reply = send(&mut client, path, &fields);
        assert!(reply.starts_with(start), "<{path}> {fields:?}: {reply}");
        let sent = api.recorded();
        assert_eq!(
            sent.len() - before,
            usize::from(start == "250"),
            "{fields:?}"
        );
        if start == "250" {
            let message = sent.last().unwrap().json();
            let from = message["from"][0]["email"].as_str().unwrap();
            assert_eq!(from, own);
            assert_eq!(
                message["envelope"]["from"].as_str().unwrap().to_lowercase(),
                path.to_lowercase()
            );
        }
    }
    // No error was counted for any of them: the session has gone on all the time.
    let refused =
        |place| gateway.metric(&format!("smtp_senders_refused_total{{place=\"{place}\"}}"));
    assert_eq!(refused("reverse_path"), 5.0);
    assert_eq!(refused("sender_id"), 1.0);
    assert_eq!(refused("header"), 2.0);
}

#[test]
fn what_is_refused_at_mail_is_refused_without_a_rate_or_an_error() {
    let gateway = Gateway::sandbox(|config| {
        allow(config, "ann", &["a.example"]);
        config.limits.errors = 2;
        config.limits.messages_per_minute_per_account = 1;
    });
    let mut client = gateway.logged_in();
    for _ in 0..5 {
        assert!(try_mail(&mut client, "app@b.example").starts_with("550 5.7.1"));
    }
    assert!(try_mail(&mut client, "app@a.example").starts_with("250"));
}

#[test]
fn an_account_is_held_to_its_own_list_and_others_to_that_of_all_or_to_none() {
    for (everybody, bobs) in [(None, "250"), (Some("c.example"), "550 5.7.1")] {
        let gateway = Gateway::sandbox(|config| {
            config.auth.accounts.push(Account {
                name: "bob".to_owned(),
                password: Some(Secret::new("secret")),
                ..Account::default()
            });
            allow(config, "ANN", &["a.example"]);
            if let Some(domain) = everybody {
                allow(config, "*", &[domain]);
            }
        });
        let mut ann = gateway.logged_in();
        assert!(try_mail(&mut ann, "x@c.example").starts_with("550 5.7.1"));
        assert!(try_mail(&mut ann, "x@a.example").starts_with("250"));
        let mut bob = gateway.secured();
        assert!(bob.authenticate("bob", "secret").starts_with("235"));
        assert!(try_mail(&mut bob, "x@a.example").starts_with(bobs));
        bob.ask("RSET", "250");
        assert!(try_mail(&mut bob, "x@c.example").starts_with("250"));
    }
}

#[test]
fn a_trusted_network_is_held_to_the_list_of_its_account() {
    let gateway = Gateway::sandbox(|config| {
        config.smtp.listeners.push(ListenerConfig {
            auth: ListenerAuth::Trusted,
            ..listener(ListenerTls::Off)
        });
        config.auth.accounts.push(Account {
            name: "printer".to_owned(),
            ..Account::default()
        });
        config.auth.trusted_networks = vec![TrustedNetwork {
            network: "127.0.0.0/8".parse().unwrap(),
            account: "printer".to_owned(),
        }];
        allow(config, "printer", &["a.example"]);
    });
    let mut client = SmtpClient::connect(gateway.smtp(2));
    client.expect("220");
    client.ask("EHLO printer", "250");
    assert!(try_mail(&mut client, "x@b.example").starts_with("550 5.7.1"));
    let reply = send(&mut client, "x@a.example", "From: x@b.example\r\n");
    assert!(reply.starts_with("550 5.7.1"), "{reply}");
}

#[test]
fn a_login_of_the_key_api_is_held_to_its_list_however_its_name_is_spelt() {
    let cakemail = Cakemail::start()
        .user(User::new("ANN@example.com", "secret"))
        .personal_token(PERSONAL, &["email:send"]);
    let gateway = Gateway::before_cakemail(&cakemail, |config| {
        allow(config, "ann@example.com", &["a.example"]);
    });
    for name in ["ann@example.com", "ANN@example.com"] {
        let mut client = gateway.secured();
        let reply = client.authenticate(name, "secret");
        assert!(reply.starts_with("235"), "{reply}");
        let reply = try_mail(&mut client, "app@example.com");
        assert!(reply.starts_with("550 5.7.1"), "{name}: {reply}");
        assert!(try_mail(&mut client, "app@a.example").starts_with("250"));
    }
    // The name beside a key is free, so it frees nobody.
    let mut client = gateway.secured();
    let reply = client.authenticate("anybody", PERSONAL);
    assert!(reply.starts_with("235"), "{reply}");
    assert!(try_mail(&mut client, "app@example.com").starts_with("550 5.7.1"));
}

#[test]
fn a_refusal_is_one_line_in_the_log_and_names_nobody() {
    let scene = Scene::new();
    let senders = r#"[{account = "ann", domains = ["a.example"]}]"#;
    let mut process = Process::start(serve(&scene.folder).env("GATEWAY__POLICY__SENDERS", senders));
    let address = process.listening("SMTP");
    let mut client = SmtpClient::logged_in(address, scene.certificate.client());
    assert!(try_mail(&mut client, "canary@b.example").starts_with("550 5.7.1"));
    let reply = send(&mut client, "x@a.example", "From: canary@b.example\r\n");
    assert!(reply.starts_with("550 5.7.1"), "{reply}");
    let at_mail = process.wait_for("transaction not begun");
    assert_eq!(at_mail["refusal.cause"], "policy.senders: reverse_path");
    let behind = process.wait_for("message not accepted");
    assert_eq!(behind["refusal.cause"], "policy.senders: from");
    process.signal("TERM");
    let (_, log) = process.end();
    let warnings = log.iter().filter(|line| line.contains("\"WARN\""));
    assert_eq!(warnings.count(), 2, "{log:?}");
    for line in &log {
        assert!(
            !line.contains("canary") && !line.contains("b.example"),
            "{line}"
        );
    }
}
