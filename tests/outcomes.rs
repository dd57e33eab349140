//! What the client is told about whatever the email API does, when it is asked once.

use std::sync::Arc;
use std::time::Duration;

use smtp_gateway::delivery::UnknownOutcome;
use smtp_gateway::delivery::http::Requests;
use smtp_gateway::units::Period;
use tokio::sync::Semaphore;

use crate::support::api::{FakeApi, Play};
use crate::support::gateway::Gateway;
use crate::support::http::Nobody;
use crate::support::wait_until;

const MESSAGE: &str = "Subject: hello\r\n\r\nhello\r\n";
const THREE: [&str; 3] = ["a@example.net", "b@example.net", "c@example.net"];

/// The reply to a message when the API does this.
fn reply_to(play: Play) -> String {
    let hangs = matches!(play, Play::Hang | Play::Drip(_));
    let api = FakeApi::play([play]);
    let gateway = Gateway::before(&api.url(), |config| {
        config.delivery.retries = 0;
        if hangs {
            config.delivery.deadline = Period::seconds(2);
        }
    });
    let mut client = gateway.logged_in();
    let reply = client.submit(&["ann@example.net"], MESSAGE);
    // Whatever happened, the session goes on and the next message is taken.
    let next = client.submit(&["ann@example.net"], MESSAGE);
    assert!(next.starts_with("250 2.0.0 Ok: queued as api-2"), "{next}");
    reply
}

#[test]
fn a_message_is_accepted_only_on_the_documented_success() {
    for body in [
        r#"{"message_id":"m-7"}"#,
        r#"{"id":"m-7"}"#,
        r#"{"data":{"id":"m-7"}}"#,
    ] {
        let reply = reply_to(Play::answer(201, body));
        assert_eq!(reply, "250 2.0.0 Ok: queued as m-7\r\n");
    }
    for body in ["", "<html>Welcome</html>", "{}", "{\"ok\":true}"] {
        let reply = reply_to(Play::answer(200, body));
        assert!(reply.starts_with("451 4.4.2"), "{body}: {reply}");
    }
}

#[test]
fn a_documented_refusal_is_permanent_and_quoted() {
    for (status, start) in [(400, "554 5.6.0"), (422, "554 5.6.0"), (413, "552 5.3.4")] {
        let reply = reply_to(Play::answer(status, r#"{"error":"no such template"}"#));
        assert!(reply.starts_with(start), "{status}: {reply}");
        assert!(reply.ends_with(": no such template\r\n"), "{reply}");
    }
}

#[test]
fn a_refusal_that_is_not_the_apis_own_is_transient() {
    for status in [400, 401, 403, 404, 413, 422] {
        let reply = reply_to(Play::answer(status, "<html>blocked by a firewall</html>"));
        assert!(reply.starts_with("451 4.3.5"), "{status}: {reply}");
    }
}

#[test]
fn statuses_that_pass_are_transient() {
    let error = r#"{"error":"later"}"#;
    for (status, start) in [
        (401, "451 4.7.0"),
        (402, "452 4.3.1"),
        (403, "451 4.7.0"),
        (408, "451 4.4.2"),
        (429, "451 4.7.1"),
        (500, "451 4.4.2"),
        (502, "451 4.4.2"),
        (503, "451 4.3.0"),
        (504, "451 4.4.2"),
    ] {
        let reply = reply_to(Play::answer(status, error));
        assert!(reply.starts_with(start), "{status}: {reply}");
    }
}

#[test]
fn a_redirect_is_not_followed_and_is_no_acceptance() {
    let elsewhere = FakeApi::start();
    let location = format!("location: {}/\r\n", elsewhere.url()).leak();
    for status in [301, 302, 303, 307, 308] {
        let reply = reply_to(Play::Answer(status, location, String::new()));
        assert!(reply.starts_with("451 4.3.5"), "{status}: {reply}");
    }
    assert!(elsewhere.recorded().is_empty());
}

#[test]
fn a_request_that_left_without_an_answer_is_unknown() {
    for play in [
        Play::Reset,
        Play::Hang,
        Play::Raw("HTTP/1.1 200 X\r\ncontent-length: 100\r\n\r\n{\"message_id\""),
        // The id is there, but the answer is not whole.
        Play::Raw("HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\nb\r\n{\"id\":\"m1\"}\r\n"),
        Play::LongAnswer(1 << 30),
    ] {
        let reply = reply_to(play);
        assert!(reply.starts_with("451 4.4.2"), "{reply}");
    }
}

#[test]
fn an_answer_that_drips_in_counts_if_it_is_whole_in_time() {
    let reply = reply_to(Play::Drip(Duration::from_millis(2)));
    assert_eq!(reply, "250 2.0.0 Ok: queued as api-1\r\n");
    let reply = reply_to(Play::Drip(Duration::from_millis(500)));
    assert!(reply.starts_with("451 4.4.2"), "{reply}");
}

#[test]
fn an_unknown_outcome_can_be_refused_instead_and_is_counted() {
    let api = FakeApi::play([Play::Reset]);
    let gateway = Gateway::before(&api.url(), |config| {
        config.delivery.unknown_outcome = UnknownOutcome::Refuse;
    });
    let reply = gateway.logged_in().submit(&["ann@example.net"], MESSAGE);
    assert!(reply.starts_with("554 5.4.7"), "{reply}");
    assert_eq!(gateway.metric("smtp_unknown_outcomes_total"), 1.0);
    assert_eq!(gateway.metric("smtp_emails_unclear_total"), 1.0);
    assert_eq!(gateway.metric("smtp_api_errors_total{kind=\"reset\"}"), 1.0);
}

#[test]
fn an_api_that_cannot_be_reached_gets_451_and_no_hang() {
    let nobody = Nobody::new();
    let gateway = Gateway::before(&nobody.url(), |config| config.delivery.retries = 0);
    let reply = gateway.logged_in().submit(&["ann@example.net"], MESSAGE);
    assert!(reply.starts_with("451 4.4.1"), "{reply}");
    assert_eq!(
        gateway.metric("smtp_api_errors_total{kind=\"connect\"}"),
        1.0
    );
    assert_eq!(
        gateway.get("/health/ready").0,
        200,
        "an API outage is no reason to leave"
    );
}

#[test]
fn one_request_for_all_recipients_has_one_outcome() {
    let api = FakeApi::start();
    let gateway = Gateway::before(&api.url(), |_| {});
    let reply = gateway.logged_in().submit(&THREE, MESSAGE);
    assert_eq!(reply, "250 2.0.0 Ok: queued as api-1\r\n");
    assert_eq!(api.recorded().len(), 1);
}

/// Replies by the recipient that a request is for, so that order does not matter.
fn reply_to_three(answers: [(u16, &str); 3]) -> (String, Gateway) {
    // One at a time: the script is played in the order of the recipients.
    let api = FakeApi::play(answers.map(|(status, body)| Play::answer(status, body)));
    let gateway = Gateway::before(&api.url(), |config| {
        config.api.requests = Requests::PerRecipient;
        config.api.concurrency = 1;
        config.delivery.retries = 0;
    });
    let reply = gateway.logged_in().submit(&THREE, MESSAGE);
    assert_eq!(api.recorded().len(), 3);
    (reply, gateway)
}

#[test]
fn several_outcomes_become_one_reply() {
    let ok = (202, r#"{"id":"m"}"#);
    let later = (429, "");
    let no = (400, r#"{"error":"no"}"#);
    for (answers, expected) in [
        ([ok, ok, ok], "250 2.0.0 Ok: queued as m\r\n"),
        (
            [ok, no, ok],
            "250 2.0.0 Ok: queued as m; 2 of 3 recipients, 1 refused\r\n",
        ),
        (
            [no, no, no],
            "554 5.6.0 The email API refuses the message: no\r\n",
        ),
        ([no, later, no], "451 4.7.1"),
        ([ok, later, no], "451 4.7.1"),
    ] {
        let (reply, _gateway) = reply_to_three(answers);
        assert!(reply.starts_with(expected), "{reply} is not {expected}");
    }
}

#[test]
fn recipients_are_counted_by_outcome() {
    let (_, gateway) = reply_to_three([
        (202, r#"{"id":"m"}"#),
        (400, r#"{"error":"no"}"#),
        (503, ""),
    ]);
    for outcome in ["delivered", "deferred", "failed"] {
        let name = format!("smtp_recipients_total{{outcome=\"{outcome}\"}}");
        assert_eq!(gateway.metric(&name), 1.0, "{outcome}");
    }
    assert_eq!(gateway.metric("smtp_emails_forwarded_total"), 1.0);
}

#[test]
fn a_call_waits_for_its_permit_within_the_deadline() {
    let api = FakeApi::play([Play::Hang]);
    let gateway = Gateway::before(&api.url(), |config| {
        config.api.concurrency = 1;
        config.delivery.deadline = Period::seconds(1);
    });
    let mut first = gateway.logged_in();
    first.begin(&["ann@example.net"]);
    first.send("Subject: 1\r\n\r\n.\r\n");
    api.wait_for(1);
    let mut second = gateway.logged_in();
    let reply = second.submit(&["ann@example.net"], MESSAGE);
    assert!(first.reply().starts_with("451 4.4.2"));
    // Either its own deadline passed, or the first one's end let it through just before.
    assert!(
        reply.starts_with("451 4.4.2") || reply.starts_with("250"),
        "{reply}"
    );
}

#[test]
fn an_answer_to_half_a_request_is_no_acceptance() {
    use std::io::{Read as _, Write as _};
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    let api = std::thread::spawn(move || {
        let (mut stream, _) = socket.accept().unwrap();
        stream.read_exact(&mut [0; 1000]).unwrap();
        let answer = "HTTP/1.1 200 X\r\ncontent-length: 11\r\n\r\n{\"id\":\"m1\"}";
        stream.write_all(answer.as_bytes()).unwrap();
        // Open until the gateway gives up, and never read any further.
        stream
    });
    let gateway = Gateway::before(&url, |config| {
        config.delivery.deadline = Period::seconds(3);
        // It had not left: so this is not asked.
        config.delivery.unknown_outcome = UnknownOutcome::Refuse;
    });
    let content = format!("Subject: large\r\n\r\n{}", "x".repeat(98) + "\r\n");
    let content = content + &format!("{}\r\n", "x".repeat(98)).repeat(200_000);
    let reply = gateway.logged_in().submit(&["ann@example.net"], &content);
    // Which one depends on whether there is time for another try.
    assert!(
        reply.starts_with("451 4.4") || reply.starts_with("451 4.3.0"),
        "{reply}"
    );
    drop(api.join());
}

#[test]
fn what_a_router_says_of_itself_bounces_nothing() {
    for status in [404, 405, 415] {
        let reply = reply_to(Play::answer(status, r#"{"message":"no Route matched"}"#));
        assert!(reply.starts_with("451 4.3.5"), "{status}: {reply}");
    }
}

#[test]
fn a_client_that_leaves_does_not_cancel_the_call() {
    let held = Arc::new(Semaphore::new(0));
    let api = FakeApi::play([Play::Held(Arc::clone(&held))]);
    let gateway = Gateway::before(&api.url(), |_| {});
    let mut client = gateway.logged_in();
    client.begin(&["ann@example.net"]);
    client.send("Subject: s\r\n\r\nx\r\n.\r\n");
    api.wait_for(1);
    drop(client);
    held.add_permits(1);
    wait_until(|| gateway.metric("smtp_emails_forwarded_total") > 0.0);
    assert_eq!(api.recorded().len(), 1);
}
