//! A message that its client sends again reaches each recipient once; one that only looks the same
//! goes out.

use std::sync::Arc;

use smtp_gateway::auth::Source;
use smtp_gateway::auth::key_api::dialect::Dialect;
use smtp_gateway::delivery::PartialFailure;
use smtp_gateway::delivery::http::Requests;
use tokio::sync::Semaphore;

use crate::support::api::{FakeApi, Play};
use crate::support::gateway::Gateway;
use crate::support::wait_until;

const MESSAGE: &str = "Message-ID: <1@app.example>\r\nSubject: hello\r\n\r\nhello\r\n";
const WITHOUT_ID: &str = "Subject: hello\r\n\r\nhello\r\n";
const THREE: [&str; 3] = ["a@example.net", "b@example.net", "c@example.net"];

/// A request for each recipient, one after the other.
fn one_by_one(api: &FakeApi) -> Gateway {
    Gateway::before(&api.url(), |config| {
        config.api.requests = Requests::PerRecipient;
        config.api.concurrency = 1;
        config.delivery.retries = 0;
    })
}

fn taken() -> Play {
    Play::answer(202, r#"{"id":"m"}"#)
}

fn later() -> Play {
    Play::answer(503, "")
}

fn no() -> Play {
    Play::answer(400, r#"{"error":"no"}"#)
}

/// Who got something, in the order of the calls.
fn recipients(api: &FakeApi) -> Vec<String> {
    api.recorded()
        .iter()
        .map(|call| {
            call.json()["envelope"]["to"][0]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect()
}

#[test]
fn a_partly_deferred_message_that_comes_again_reaches_each_recipient_once() {
    let api = FakeApi::play([taken(), later(), no(), later(), taken()]);
    let gateway = one_by_one(&api);
    // From another connection each time, as clients do.
    for (reply, calls) in [
        ("451 4.3.0", "a b c"),
        ("451 4.3.0", "a b c b"),
        (
            "250 2.0.0 Ok: queued as m; 2 of 3 recipients, 1 refused",
            "a b c b b",
        ),
    ] {
        let found = gateway.logged_in().submit(&THREE, MESSAGE);
        assert!(found.starts_with(reply), "{found} is not {reply}");
        let called: Vec<_> = recipients(&api)
            .iter()
            .map(|to| to[..1].to_owned())
            .collect();
        assert_eq!(called.join(" "), calls);
    }
    assert_eq!(gateway.metric("smtp_recipients_remembered_total"), 4.0);
}

#[test]
fn another_sender_content_or_account_is_another_message() {
    let api = FakeApi::play([taken(), later()]);
    let gateway = one_by_one(&api);
    let two = &THREE[..2];
    let mut client = gateway.logged_in();
    assert!(client.submit(two, MESSAGE).starts_with("451"));
    let other = MESSAGE.replace("hello", "other");
    assert!(client.submit(two, &other).starts_with("250"));
    client.ask("MAIL FROM:<other@example.com>", "250");
    for recipient in two {
        client.ask(&format!("RCPT TO:<{recipient}>"), "250");
    }
    client.ask("DATA", "354");
    client.send(format!("{MESSAGE}.\r\n"));
    client.expect("250");
    assert_eq!(api.recorded().len(), 6);
}

#[test]
fn two_intended_messages_that_look_the_same_both_go_out() {
    for message in [MESSAGE, WITHOUT_ID] {
        let api = FakeApi::start();
        let gateway = Gateway::before(&api.url(), |_| {});
        let mut client = gateway.logged_in();
        for _ in 0..2 {
            assert!(client.submit(&THREE, message).starts_with("250"));
        }
        client.ask("QUIT", "221");
        // The first client has said more since its answer, and then left.
        assert!(
            gateway
                .logged_in()
                .submit(&THREE, message)
                .starts_with("250")
        );
        assert_eq!(api.recorded().len(), 3);
    }
}

#[test]
fn two_intended_messages_at_the_same_time_both_go_out() {
    let held = Arc::new(Semaphore::new(0));
    let api = FakeApi::play([Play::Held(Arc::clone(&held))]);
    let gateway = Gateway::before(&api.url(), |_| {});
    let (mut one, mut two) = (gateway.logged_in(), gateway.logged_in());
    for client in [&mut one, &mut two] {
        client.begin(&["ann@example.net"]);
        client.send(format!("{MESSAGE}.\r\n"));
    }
    api.wait_for(1);
    held.add_permits(1);
    one.expect("250");
    two.expect("250");
    assert_eq!(api.recorded().len(), 2);
}

#[test]
fn an_acceptance_that_the_client_did_not_hear_is_not_sent_twice() {
    let api = FakeApi::start();
    let gateway = Gateway::before(&api.url(), |_| {});
    let mut client = gateway.logged_in();
    client.begin(&THREE);
    client.send(format!("{MESSAGE}.\r\n"));
    api.wait_for(1);
    // The 250 is on its way, and nobody is there any more.
    drop(client);
    wait_until(|| gateway.metric("smtp_active_connections") == 0.0);
    let mut again = gateway.logged_in();
    let reply = again.submit(&THREE, MESSAGE);
    assert_eq!(reply, "250 2.0.0 Ok: queued as api-1\r\n");
    assert_eq!(api.recorded().len(), 1);
    // That one was heard: from here it is a new message.
    assert!(
        again
            .submit(&THREE, MESSAGE)
            .starts_with("250 2.0.0 Ok: queued as api-2")
    );
}

#[test]
fn a_client_that_gave_up_waiting_and_sends_again_is_told_what_became_of_its_first_try() {
    let held = Arc::new(Semaphore::new(0));
    let api = FakeApi::play([Play::Held(Arc::clone(&held))]);
    let gateway = Gateway::before(&api.url(), |_| {});
    let mut first = gateway.logged_in();
    first.begin(&["ann@example.net"]);
    first.send(format!("{MESSAGE}.\r\n"));
    api.wait_for(1);
    drop(first);
    let mut again = gateway.logged_in();
    again.begin(&["ann@example.net"]);
    again.send(format!("{MESSAGE}.\r\n"));
    wait_until(|| gateway.metric("smtp_emails_received_total") == 2.0);
    held.add_permits(1);
    again.expect("250 2.0.0 Ok: queued as api-1");
    assert_eq!(api.recorded().len(), 1);
}

#[test]
fn a_partial_failure_can_be_a_refusal_and_what_was_delivered_stays_so() {
    let api = FakeApi::play([taken(), no(), taken()]);
    let gateway = Gateway::before(&api.url(), |config| {
        config.api.requests = Requests::PerRecipient;
        config.api.concurrency = 1;
        config.delivery.partial_failure = PartialFailure::Refuse;
    });
    let mut client = gateway.logged_in();
    let reply = client.submit(&THREE, MESSAGE);
    let expected = "554 5.0.0 Sent to 2 of 3 recipients, 1 refused (delivery.partial_failure)\r\n";
    assert_eq!(reply, expected);
    // What was refused has been mended.
    let reply = client.submit(&THREE, MESSAGE);
    assert!(reply.starts_with("250 2.0.0 Ok: queued as"), "{reply}");
    assert_eq!(
        recipients(&api),
        ["a", "b", "c", "b"].map(|to| format!("{to}@example.net"))
    );
}

#[test]
fn a_message_without_an_id_keeps_its_key_while_its_client_tries_and_then_gets_another() {
    let api = FakeApi::play([later()]);
    let gateway = one_by_one(&api);
    let mut client = gateway.logged_in();
    let one = ["ann@example.net"];
    assert!(client.submit(&one, WITHOUT_ID).starts_with("451"));
    assert!(client.submit(&one, WITHOUT_ID).starts_with("250"));
    assert!(client.submit(&one, WITHOUT_ID).starts_with("250"));
    let calls = api.recorded();
    let key = |call: usize| calls[call].header("idempotency-key").unwrap();
    assert_eq!(key(0), key(1));
    assert_ne!(key(1), key(2));
}

#[test]
fn a_message_with_an_id_has_one_key_for_ever() {
    let api = FakeApi::start();
    let keys: Vec<_> = (0..2)
        .map(|_| {
            // Another pod, as good as.
            let gateway = Gateway::before(&api.url(), |_| {});
            gateway.logged_in().submit(&THREE, MESSAGE);
            api.recorded().last().unwrap().header("idempotency-key")
        })
        .collect();
    assert!(keys[0].is_some());
    assert_eq!(keys[0], keys[1]);
}

#[test]
fn the_end_of_one_transaction_forgets_nothing_of_another_one_of_the_same_message() {
    let api = FakeApi::play([taken(), later()]);
    let gateway = one_by_one(&api);
    let (ab, c) = (&THREE[..2], &THREE[2..]);
    assert!(gateway.logged_in().submit(ab, MESSAGE).starts_with("451"));
    // The other half of its recipients.
    let mut other = gateway.logged_in();
    assert!(other.submit(c, MESSAGE).starts_with("250"));
    other.ask("QUIT", "221");
    assert!(gateway.logged_in().submit(ab, MESSAGE).starts_with("250"));
    let expected = ["a", "b", "c", "b"].map(|to| format!("{to}@example.net"));
    assert_eq!(recipients(&api), expected);
}

#[test]
fn other_recipients_of_the_same_message_need_not_wait() {
    let held = Arc::new(Semaphore::new(0));
    let api = FakeApi::play([Play::Held(Arc::clone(&held))]);
    let gateway = Gateway::before(&api.url(), |_| {});
    let mut one = gateway.logged_in();
    one.begin(&THREE[..1]);
    one.send(format!("{MESSAGE}.\r\n"));
    api.wait_for(1);
    let reply = gateway.logged_in().submit(&THREE[1..2], MESSAGE);
    assert!(reply.starts_with("250"), "{reply}");
    held.add_permits(1);
    one.expect("250");
}

#[test]
fn of_two_messages_that_were_sent_at_once_both_answers_may_get_lost() {
    let held = Arc::new(Semaphore::new(0));
    let api = FakeApi::play([Play::Take, Play::Held(Arc::clone(&held))]);
    let gateway = Gateway::before(&api.url(), |_| {});
    let mut client = gateway.logged_in();
    let second = MESSAGE.replace("hello", "other");
    let mut octets = String::new();
    for message in [MESSAGE, &second] {
        octets += "MAIL FROM:<app@example.com>\r\nRCPT TO:<a@example.net>\r\n";
        octets += &format!("BDAT {} LAST\r\n{message}", message.len());
    }
    client.send(octets);
    wait_until(|| gateway.metric("smtp_emails_received_total") == 2.0);
    drop(client);
    held.add_permits(1);
    wait_until(|| gateway.metric("smtp_active_connections") == 0.0);
    let mut again = gateway.logged_in();
    for message in [MESSAGE, &second] {
        assert!(again.submit(&THREE[..1], message).starts_with("250"));
    }
    assert_eq!(api.recorded().len(), 2);
}

#[test]
fn a_client_that_says_quit_and_leaves_before_the_answer_has_not_heard_it() {
    let held = Arc::new(Semaphore::new(0));
    let api = FakeApi::play([Play::Held(Arc::clone(&held))]);
    let gateway = Gateway::before(&api.url(), |_| {});
    let mut client = gateway.logged_in();
    client.begin(&THREE[..1]);
    client.send(format!("{MESSAGE}.\r\n"));
    api.wait_for(1);
    client.send("QUIT\r\n");
    drop(client);
    held.add_permits(1);
    wait_until(|| gateway.metric("smtp_active_connections") == 0.0);
    let reply = gateway.logged_in().submit(&THREE[..1], MESSAGE);
    assert!(reply.starts_with("250"), "{reply}");
    assert_eq!(api.recorded().len(), 1);
}

#[test]
fn a_key_that_was_mended_is_asked_about_again() {
    let refused = Play::answer(401, r#"{"error":"no"}"#);
    let auth = FakeApi::play([
        Play::answer(200, r#"{"api_key":"k1"}"#),
        Play::answer(200, r#"{"api_key":"k1"}"#),
        Play::answer(200, r#"{"api_key":"k2"}"#),
    ]);
    let api = FakeApi::play([later(), refused]);
    let gateway = Gateway::before(&api.url(), |config| {
        config.api.requests = Requests::PerRecipient;
        config.api.concurrency = 1;
        config.delivery.retries = 0;
        config.auth.source = Source::KeyApi;
        config.auth.dialect = Dialect::Validate;
        config.auth.url = auth.url();
        config.auth.accounts.clear();
    });
    let mut client = gateway.logged_in();
    assert!(client.submit(&THREE[..2], MESSAGE).starts_with("451"));
    let reply = client.submit(&THREE[..2], MESSAGE);
    assert!(reply.starts_with("250 2.0.0 Ok"), "{reply}");
    assert!(!reply.contains("refused"), "{reply}");
}
