//! Whom a message comes from at Cakemail, and what its client wishes for it.

use serde_json::{Value, json};

use crate::cakemail::{BOB, HELLO, accepted, additional, logged_in};
use crate::support::cakemail::{Cakemail, Endpoint, SUB_ACCOUNTS, Sender};
use crate::support::gateway::Gateway;
use crate::support::http::Play;

fn from(address: &str) -> String {
    format!("From: {address}\r\nSubject: Hello\r\n\r\nhello\r\n")
}

#[test]
fn a_sender_that_is_not_confirmed_or_not_there_is_refused_by_name() {
    let cakemail = Cakemail::start().sender(Sender::unconfirmed(7, "new@example.com"));
    let gateway = Gateway::before_cakemail(&cakemail, |_| {});
    let mut client = logged_in(&gateway);
    for address in ["new@example.com", "nobody@example.com"] {
        let reply = client.submit(&BOB, &from(address));
        assert!(reply.starts_with("550 5.7.1"), "{reply}");
        assert!(reply.contains(address), "{reply}");
    }
    let reply = client.submit(&BOB, HELLO);
    assert!(reply.starts_with("250"), "the session goes on: {reply}");
    assert_eq!(cakemail.calls(Endpoint::Emails), 1);
}

#[test]
fn senders_are_looked_up_once_for_many_messages() {
    let cakemail = Cakemail::start();
    let gateway = Gateway::before_cakemail(&cakemail, |_| {});
    for _ in 0..3 {
        let mut client = logged_in(&gateway);
        for _ in 0..3 {
            let reply = client.submit(&BOB, HELLO);
            assert!(reply.starts_with("250"), "{reply}");
        }
        client.ask("QUIT", "221");
    }
    assert_eq!(cakemail.calls(Endpoint::Emails), 9);
    assert_eq!(cakemail.calls(Endpoint::Senders), 1);
}

#[test]
fn a_sender_on_the_last_page_is_found() {
    let cakemail = (0..250).fold(Cakemail::start(), |cakemail, number| {
        cakemail.sender(Sender::confirmed(number, &format!("s{number}@example.com")))
    });
    let sent = accepted(&cakemail, &BOB, &from("s249@example.com"));
    assert_eq!(sent[0].json["sender"]["id"], "249");
}

#[test]
fn an_address_is_found_whatever_its_case() {
    let cakemail = Cakemail::start().sender(Sender::confirmed(8, "Sales@Example.com"));
    let sent = accepted(&cakemail, &BOB, &from("sales@EXAMPLE.com"));
    assert_eq!(sent[0].json["sender"]["id"], "8");
}

#[test]
fn a_senders_list_that_cannot_be_read_is_no_reason_to_bounce() {
    for play in [
        Play::answer(503, "{}"),
        Play::answer(500, "{}"),
        Play::answer(404, "<html>not here</html>"),
        Play::answer(200, "<html>Welcome</html>"),
        Play::Reset,
    ] {
        let cakemail = Cakemail::start();
        cakemail.always(Endpoint::Senders, play);
        let gateway = Gateway::before_cakemail(&cakemail, |config| config.delivery.retries = 0);
        let reply = logged_in(&gateway).submit(&BOB, HELLO);
        assert!(reply.starts_with("451 4."), "{reply}");
        assert_eq!(cakemail.calls(Endpoint::Emails), 0);
    }
}

/// The call that HELLO becomes with these fields before it, and its query.
fn wished(cakemail: &Cakemail, fields: &str) -> (Value, Vec<(String, String)>) {
    let sent = accepted(cakemail, &BOB, &format!("{fields}{HELLO}"));
    assert_eq!(sent.len(), 1);
    let whole = String::from_utf8_lossy(&sent[0].body).to_ascii_lowercase();
    for line in fields.lines() {
        let name = line.split(':').next().unwrap().to_ascii_lowercase();
        assert!(!whole.contains(&name), "{name} is forwarded in {whole}");
    }
    (sent[0].json.clone(), sent[0].head.query().unwrap())
}

#[test]
fn x_sender_id_names_the_sender() {
    let cakemail = Cakemail::start().sender(Sender::confirmed(2001, "other@example.com"));
    let (email, _) = wished(&cakemail, "X-Sender-Id: 2001\r\n");
    assert_eq!(email["sender"]["id"], "2001");
}

#[test]
fn tracking_is_what_the_client_says() {
    let fields =
        "X-Track-Opens: true\r\nx-track-clicks-html: false\r\nX-TRACK-CLICKS-TEXT: true\r\n";
    let (email, _) = wished(&Cakemail::start(), fields);
    assert_eq!(
        email["tracking"],
        json!({"opens": true, "clicks_html": false, "clicks_text": true})
    );
}

#[test]
fn list_type_and_tags_are_what_the_client_says() {
    let fields = "X-List-Id: 9\r\nX-Email-Api-Type: marketing\r\nX-Tags: receipt,shop\r\n\
                  X-Email-Api-Enabled: true\r\n";
    let (email, _) = wished(&Cakemail::start(), fields);
    assert_eq!(email["list_id"], 9);
    assert_eq!(email["content"]["type"], "marketing");
    assert_eq!(email["tags"], json!(["receipt", "shop"]));
}

#[test]
fn a_sub_account_sends_with_its_own_senders() {
    let [sub, _] = SUB_ACCOUNTS;
    let cakemail = Cakemail::start().sender(Sender::confirmed(3, "app@example.com").of(sub));
    let (email, query) = wished(&cakemail, &format!("X-Account-Id: {sub}\r\n"));
    assert_eq!(email["sender"]["id"], "3");
    assert_eq!(query, [("account_id".to_owned(), sub.to_string())]);
}

#[test]
fn an_account_that_needs_a_list_is_told_so_and_can_name_one() {
    let cakemail = Cakemail::start().list_required();
    let gateway = Gateway::before_cakemail(&cakemail, |_| {});
    let mut client = logged_in(&gateway);
    let reply = client.submit(&BOB, HELLO);
    assert!(reply.starts_with("554 5.6.0"), "{reply}");
    assert!(reply.contains("List Management"), "{reply}");
    let reply = client.submit(&BOB, &format!("X-List-Id: 9\r\n{HELLO}"));
    assert!(reply.starts_with("250"), "{reply}");
    assert_eq!(additional(&cakemail.sent()[1].json, "x-list-id"), None);
}
