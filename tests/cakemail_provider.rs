//! Cakemail as the email API, with a key of the settings: its calls, and whom they come from.

use std::num::NonZeroU64;
use std::sync::Arc;

use serde_json::json;
use smtp_gateway::config::Config;
use smtp_gateway::delivery::http::ProviderName;
use smtp_gateway::secret::Secret;
use tokio::sync::Semaphore;

use crate::support::api::FakeApi;
use crate::support::cakemail::{Cakemail, Endpoint, Sender};
use crate::support::gateway::Gateway;
use crate::support::http::Play;

const KEY: &str = "ck_pat_0123456789abcdef0123456789abcdef01234567";
const ANN: [&str; 1] = ["ann@example.net"];
/// From `app@example.com`, the sender of the envelope.
const MESSAGE: &str = "Subject: hello\r\n\r\nhello\r\n";

fn cakemail() -> Cakemail {
    Cakemail::start().personal_token(KEY, &["senders:read", "emailapi:send"])
}

fn gateway(cakemail: &Cakemail, change: impl FnOnce(&mut Config)) -> Gateway {
    Gateway::before(&cakemail.url(), |config| {
        config.api.provider = ProviderName::Cakemail;
        config.api.key = Some(Secret::new(KEY));
        change(config);
    })
}

#[test]
fn each_recipient_has_one_call_and_the_sender_is_looked_up_once() {
    let cakemail = cakemail();
    let gateway = gateway(&cakemail, |_| {});
    let mut client = gateway.logged_in();
    let recipients = ["ann@example.net", "bob@example.net", "hidden@example.net"];
    for subject in ["one", "two"] {
        let content = format!(
            "To: ann@example.net\r\nCc: bob@example.net\r\nBcc: hidden@example.net\r\n\
             Subject: {subject}\r\n\r\nx\r\n"
        );
        let reply = client.submit(&recipients, &content);
        assert!(reply.starts_with("250 2.0.0 Ok: queued as "), "{reply}");
    }
    assert_eq!(cakemail.calls(Endpoint::Senders), 1);
    assert_eq!(gateway.metric("smtp_sender_lookups_total"), 1.0);
    let sent = cakemail.sent();
    assert_eq!(sent.len(), 6);
    for recipient in recipients {
        let own: Vec<_> = sent
            .iter()
            .filter(|sent| sent.mentions(recipient))
            .collect();
        assert_eq!(own.len(), 2, "{recipient} is in no other call");
        for sent in own {
            assert_eq!((sent.recipient(), &sent.fault), (recipient, &None));
            assert_eq!(sent.json["sender"]["id"], "1042");
            assert_eq!(sent.bearer(), KEY);
        }
    }
}

#[test]
fn a_sender_that_is_unknown_or_not_confirmed_is_refused_by_name() {
    let cakemail = cakemail().sender(Sender::unconfirmed(7, "new@example.com"));
    let gateway = gateway(&cakemail, |_| {});
    let mut client = gateway.logged_in();
    for (address, told) in [
        ("new@example.com", "is not confirmed"),
        ("Eve@example.com", "is not a sender of this account"),
    ] {
        let reply = client.submit(&ANN, &format!("From: {address}\r\n{MESSAGE}"));
        assert!(reply.starts_with("550 5.7.1"), "{reply}");
        assert!(reply.contains(&format!("{address} {told}")), "{reply}");
    }
    assert_eq!(cakemail.calls(Endpoint::Senders), 1);
    assert_eq!(cakemail.calls(Endpoint::Emails), 0);

    // Who names a sender by its id needs no look-up.
    let named = format!("From: eve@example.com\r\nX-Sender-Id: 1042\r\n{MESSAGE}");
    let reply = client.submit(&ANN, &named);
    assert!(reply.starts_with("250"), "{reply}");
}

#[test]
fn a_sender_on_a_later_page_is_found() {
    let others = 0..50;
    let cakemail = others.fold(cakemail(), |cakemail, number| {
        cakemail.sender(Sender::confirmed(number, &format!("{number}@example.com")))
    });
    let gateway = gateway(&cakemail, |_| {});
    let content = format!("From: 49@EXAMPLE.com\r\n{MESSAGE}");
    let reply = gateway.logged_in().submit(&ANN, &content);
    assert!(reply.starts_with("250"), "{reply}");
    assert_eq!(cakemail.calls(Endpoint::Senders), 2);
    assert_eq!(cakemail.sent()[0].json["sender"]["id"], "49");
}

#[test]
fn every_call_has_the_key_the_header_fields_of_the_settings_and_the_account() {
    let list = json!({"data": [{"id": "1", "email": "app@example.com", "confirmed": true}]});
    let taken = json!({"data": {"id": "6f0c", "status": "queued"}});
    let api = FakeApi::play([Play::json(200, &list), Play::json(201, &taken)]);
    let gateway = Gateway::before(&api.url(), |config| {
        config.api.provider = ProviderName::Cakemail;
        config.api.cakemail.account_id = NonZeroU64::new(27);
        let tenant = Secret::new("7");
        config.api.headers.insert("X-Tenant".to_owned(), tenant);
    });
    let reply = gateway.logged_in().submit(&ANN, MESSAGE);
    assert_eq!(reply, "250 2.0.0 Ok: queued as 6f0c\r\n");
    let calls = api.recorded();
    let paths: Vec<_> = calls.iter().map(|call| call.head.path()).collect();
    assert_eq!(paths, ["/brands/default/senders", "/v2/emails"]);
    for call in &calls {
        assert!(call.has_header("authorization: Bearer gateway-key"));
        assert!(call.has_header("x-tenant: 7"));
        let account = ("account_id".to_owned(), "27".to_owned());
        assert!(call.head.query().unwrap().contains(&account));
    }
}

#[test]
fn a_look_up_that_fails_is_transient_and_not_remembered() {
    for (play, start) in [
        (Play::answer(500, ""), "451 4.3.0"),
        (Play::answer(429, ""), "451 4.7.1"),
        (Play::answer(200, "<html>"), "451 4.3.5"),
        (Play::answer(404, "<html>"), "451 4.3.5"),
        (Play::Reset, "451 4.3.0"),
    ] {
        let cakemail = cakemail().script_for(Endpoint::Senders, [play]);
        let gateway = gateway(&cakemail, |config| config.delivery.retries = 0);
        let mut client = gateway.logged_in();
        let reply = client.submit(&ANN, MESSAGE);
        assert!(reply.starts_with(start), "{reply} is not {start}");
        let reply = client.submit(&ANN, MESSAGE);
        assert!(reply.starts_with("250"), "{reply}");
        assert_eq!(gateway.metric("smtp_unknown_outcomes_total"), 0.0);
    }
}

#[test]
fn whoever_comes_during_a_look_up_waits_for_it() {
    let held = Arc::new(Semaphore::new(0));
    let plays = [Play::Held(Arc::clone(&held))];
    let cakemail = cakemail().script_for(Endpoint::Senders, plays);
    let gateway = gateway(&cakemail, |_| {});
    let mut clients: Vec<_> = (0..3).map(|_| gateway.logged_in()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.begin(&ANN);
        client.send(format!("Subject: {number}\r\n\r\nx\r\n.\r\n"));
    }
    held.add_permits(1);
    for client in &mut clients {
        client.expect("250 2.0.0 Ok: queued as ");
    }
    assert_eq!(cakemail.calls(Endpoint::Senders), 1);
    assert_eq!(cakemail.calls(Endpoint::Emails), 3);
}

#[test]
fn a_201_that_is_no_acceptance_is_not_repeated() {
    for (status, start) in [
        ("rejected", "550 5.7.1 The email API rejected the message"),
        ("error", "451 4.3.5"),
        ("accepted", "451 4.4.2"),
    ] {
        let body = json!({"submitted": true, "data": {"id": "6f0c", "status": status}});
        let cakemail = cakemail().script([Play::json(201, &body)]);
        let gateway = gateway(&cakemail, |_| {});
        let reply = gateway.logged_in().submit(&ANN, MESSAGE);
        assert!(reply.starts_with(start), "{status}: {reply}");
        assert_eq!(cakemail.calls(Endpoint::Emails), 1);
    }
}

#[test]
fn an_api_that_takes_one_text_gets_the_html_and_no_other_refusal_is_tried_again() {
    let both = "Subject: s\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n\
                --b\r\n\r\nplain\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>html</p>\r\n--b--\r\n";
    let picky = cakemail().html_or_text_only();
    let reply = gateway(&picky, |_| {}).logged_in().submit(&ANN, both);
    assert!(reply.starts_with("250"), "{reply}");
    let sent = picky.sent();
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[1].json["content"]["html"], "<p>html</p>");
    assert_eq!(sent[1].json["content"].get("text"), None);

    let strict = cakemail().list_required();
    let reply = gateway(&strict, |_| {}).logged_in().submit(&ANN, both);
    assert!(reply.starts_with("554 5.6.0"), "{reply}");
    assert!(reply.contains("List Management"), "{reply}");
    assert_eq!(strict.sent().len(), 1);
}

#[test]
fn what_a_later_page_of_senders_says_is_not_said_of_the_message() {
    let page = r#"{"data":[{"id":"s1","email":"app@example.com","confirmed":true}],
        "pagination":{"has_more":true}}"#;
    let sent = r#"{"submitted":true,"data":{"id":"x","status":"queued"}}"#;
    for (status, body) in [(403, r#"{"detail":"no"}"#), (429, "")] {
        let api = FakeApi::play([
            Play::answer(200, page),
            Play::answer(status, body),
            Play::answer(201, sent),
        ]);
        let gateway = Gateway::before(&api.url(), |config| {
            config.api.provider = ProviderName::Cakemail;
            config.delivery.retries = 0;
        });
        let content = "From: app@example.com\r\nSubject: s\r\n\r\nx\r\n";
        let reply = gateway.logged_in().submit(&["a@example.net"], content);
        assert!(reply.starts_with("250"), "{status}: {reply}");
    }
}
