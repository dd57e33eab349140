//! What the client is told about whatever Cakemail does: one test a row.

use serde_json::{Value, json};
use smtp_gateway::delivery::UnknownOutcome;
use smtp_gateway::units::Period;

use crate::cakemail::{BOB, HELLO, logged_in};
use crate::support::api::FakeApi;
use crate::support::cakemail::{Cakemail, Endpoint};
use crate::support::gateway::Gateway;
use crate::support::http::{Nobody, Play};
use crate::support::wait_until;

/// The reply to a message when its one call gets this, without any repetition. Whatever it is, the
/// session goes on and the next message is taken.
fn reply_to(play: Play) -> String {
    let cakemail = Cakemail::start().script([play]);
    let gateway = Gateway::before_cakemail(&cakemail, |config| {
        config.delivery.retries = 0;
        config.delivery.deadline = Period::seconds(3);
    });
    let mut client = logged_in(&gateway);
    let reply = client.submit(&BOB, HELLO);
    assert_eq!(cakemail.calls(Endpoint::Emails), 1, "{reply}");
    let next = client.submit(&BOB, HELLO);
    assert!(next.starts_with("250 2.0.0"), "{next}");
    reply
}

fn taken(submitted: bool, status: &str) -> Play {
    let body = json!({"email": BOB[0], "object": "email", "submitted": submitted,
        "data": {"id": "6F0C0000-0000-4000-8000-000000000001", "status": status}});
    Play::json(201, &body)
}

fn error(status: u16, detail: &Value) -> Play {
    Play::json(status, &json!({"detail": detail}))
}

#[test]
fn queued_is_accepted_under_its_id() {
    let reply = reply_to(taken(true, "queued"));
    let id = reply.strip_prefix("250 2.0.0 Ok: queued as ").unwrap();
    let id = id.trim_end().to_ascii_lowercase();
    assert_eq!(id, "6f0c0000-0000-4000-8000-000000000001");
}

#[test]
fn rejected_is_no_acceptance_in_spite_of_201() {
    let reply = reply_to(taken(true, "rejected"));
    assert!(reply.starts_with("550 5.7.1"), "{reply}");
}

#[test]
fn error_is_no_acceptance_in_spite_of_201() {
    let reply = reply_to(taken(true, "error"));
    assert!(reply.starts_with("451 4."), "{reply}");
}

#[test]
fn what_was_not_submitted_is_no_acceptance_in_spite_of_201() {
    for status in ["queued", "rejected", "error"] {
        let reply = reply_to(taken(false, status));
        assert!(reply.starts_with(['4', '5']), "{status}: {reply}");
    }
}

#[test]
fn a_status_that_is_not_described_is_no_acceptance() {
    let reply = reply_to(taken(true, "delivered maybe"));
    assert!(reply.starts_with("451 4.4.2"), "{reply}");
}

#[test]
fn a_success_with_a_foreign_body_is_unknown() {
    for body in [
        "",
        "<html>Welcome</html>",
        "{}",
        "[]",
        r#"{"data":{"id":"x"}}"#,
    ] {
        for status in [200, 201, 202] {
            let reply = reply_to(Play::answer(status, body));
            assert!(reply.starts_with("451 4.4.2"), "{status} {body}: {reply}");
        }
    }
}

#[test]
fn a_documented_refusal_is_permanent_and_quoted() {
    let detail = json!([{"loc": ["content"], "msg": "no such template", "type": "bad_request"}]);
    for status in [400, 422] {
        let reply = reply_to(error(status, &detail));
        assert!(reply.starts_with("554 5.6.0"), "{status}: {reply}");
        assert!(reply.contains("no such template"), "{reply}");
    }
}

#[test]
fn a_quotation_cannot_break_out_of_its_line() {
    let detail = json!([{"msg": "no\r\n250 2.0.0 Ok\u{1b}[2J", "type": "bad_request"}]);
    let reply = reply_to(error(400, &detail));
    assert!(reply.starts_with("554 5.6.0"), "{reply}");
    assert_eq!(reply.matches("\r\n").count(), 1, "{reply:?}");
    assert!(!reply.contains('\u{1b}'), "{reply:?}");
}

#[test]
fn a_refusal_of_somebody_in_between_is_transient() {
    for status in [400, 401, 403, 404, 405, 413, 415, 422] {
        for body in [
            "",
            "<html>blocked</html>",
            r#"{"message":"no Route matched"}"#,
        ] {
            let reply = reply_to(Play::answer(status, body));
            assert!(reply.starts_with("451 4.3.5"), "{status} {body}: {reply}");
        }
    }
}

#[test]
fn a_wrong_address_of_the_api_is_transient() {
    let reply = reply_to(error(404, &json!("Not Found")));
    assert!(reply.starts_with("451 4.3.5"), "{reply}");
}

#[test]
fn throttling_is_transient() {
    let reply = reply_to(error(429, &json!("Too many requests")));
    assert!(reply.starts_with("451 4.7.1"), "{reply}");
}

#[test]
fn throttling_that_passes_soon_is_waited_for() {
    let fields = "retry-after: 1\r\n";
    let cakemail = Cakemail::start().script([Play::Answer(429, fields, String::new())]);
    let gateway = Gateway::before_cakemail(&cakemail, |_| {});
    let reply = logged_in(&gateway).submit(&BOB, HELLO);
    assert!(reply.starts_with("250"), "{reply}");
    assert_eq!(cakemail.calls(Endpoint::Emails), 2);
}

#[test]
fn throttling_that_lasts_is_answered_without_asking_again() {
    let fields = "retry-after: 3600\r\n";
    let cakemail = Cakemail::start().script([Play::Answer(429, fields, String::new())]);
    let gateway = Gateway::before_cakemail(&cakemail, |_| {});
    let mut client = logged_in(&gateway);
    for _ in 0..3 {
        let reply = client.submit(&BOB, HELLO);
        assert!(reply.starts_with("451 4.7.1"), "{reply}");
    }
    assert_eq!(cakemail.calls(Endpoint::Emails), 1);
}

#[test]
fn an_api_that_is_down_for_now_is_transient() {
    let reply = reply_to(Play::answer(503, "<html>down</html>"));
    assert!(reply.starts_with("451 4.3.0"), "{reply}");
}

#[test]
fn an_api_that_is_down_for_a_moment_is_asked_again() {
    let cakemail = Cakemail::start().script([Play::answer(503, ""), Play::answer(503, "")]);
    let gateway = Gateway::before_cakemail(&cakemail, |_| {});
    let reply = logged_in(&gateway).submit(&BOB, HELLO);
    assert!(reply.starts_with("250"), "{reply}");
    assert_eq!(cakemail.calls(Endpoint::Emails), 3);
}

#[test]
fn a_fault_of_the_api_is_unknown() {
    for status in [500, 502, 504] {
        let reply = reply_to(error(status, &json!([{"msg": "Internal error"}])));
        assert!(reply.starts_with("451 4.4.2"), "{status}: {reply}");
    }
}

#[test]
fn a_connection_that_ends_without_an_answer_is_unknown() {
    let reply = reply_to(Play::Reset);
    assert!(reply.starts_with("451 4.4.2"), "{reply}");
}

#[test]
fn a_connection_that_ends_before_the_message_left_is_transient() {
    let cakemail = Cakemail::start().script([Play::ResetBeforeBody]);
    let gateway = Gateway::before_cakemail(&cakemail, |config| config.delivery.retries = 0);
    let mut client = logged_in(&gateway);
    let line = format!("{}\r\n", "x".repeat(98));
    let reply = client.submit(&BOB, &format!("{HELLO}{}", line.repeat(100_000)));
    assert!(reply.starts_with("451 4.4"), "{reply}");
    assert!(cakemail.sent().is_empty());
}

#[test]
fn silence_is_unknown() {
    let reply = reply_to(Play::Hang);
    assert!(reply.starts_with("451 4.4.2"), "{reply}");
}

#[test]
fn half_an_answer_is_unknown() {
    let reply = reply_to(Play::Raw(
        "HTTP/1.1 201 X\r\ncontent-length: 100\r\n\r\n{\"submitted\":true",
    ));
    assert!(reply.starts_with("451 4.4.2"), "{reply}");
}

#[test]
fn an_answer_that_is_no_http_is_unknown() {
    let reply = reply_to(Play::Raw("SSH-2.0-OpenSSH_9.9\r\n"));
    assert!(reply.starts_with("451 4.4.2"), "{reply}");
}

#[test]
fn a_gigabyte_of_answer_is_unknown() {
    let reply = reply_to(Play::LongAnswer(1 << 30));
    assert!(reply.starts_with("451 4.4.2"), "{reply}");
}

#[test]
fn a_redirect_is_not_followed_and_is_no_acceptance() {
    let elsewhere = FakeApi::start();
    let location = format!("location: {}/\r\n", elsewhere.url()).leak();
    let reply = reply_to(Play::Answer(302, location, String::new()));
    assert!(reply.starts_with("451 4.3.5"), "{reply}");
    assert!(elsewhere.recorded().is_empty());
}

#[test]
fn a_kept_connection_that_closed_in_between_loses_and_repeats_nothing() {
    let cakemail = Cakemail::start().script([(); 5].map(|()| Play::TakeAndClose));
    let gateway = Gateway::before_cakemail(&cakemail, |_| {});
    let mut client = logged_in(&gateway);
    for sent in 0..6 {
        // A request that meets the end of its connection would have no clear answer.
        wait_until(|| cakemail.closed() >= sent);
        let reply = client.submit(&BOB, HELLO);
        assert!(reply.starts_with("250"), "{reply}");
    }
    assert_eq!(cakemail.sent().len(), 6);
}

#[test]
fn an_api_that_refuses_connections_is_transient() {
    let (cakemail, nobody) = (Cakemail::start(), Nobody::new());
    let gateway = Gateway::before_cakemail(&cakemail, |config| {
        config.api.url = nobody.url();
        config.delivery.retries = 0;
    });
    let reply = logged_in(&gateway).submit(&BOB, HELLO);
    assert!(reply.starts_with("451 4.4.1"), "{reply}");
}

#[test]
fn an_unknown_outcome_can_be_refused_instead_and_is_not_repeated() {
    let cakemail = Cakemail::start().script([Play::Reset]);
    let gateway = Gateway::before_cakemail(&cakemail, |config| {
        config.delivery.unknown_outcome = UnknownOutcome::Refuse;
    });
    let reply = logged_in(&gateway).submit(&BOB, HELLO);
    assert!(reply.starts_with("554 5.4.7"), "{reply}");
    assert_eq!(cakemail.calls(Endpoint::Emails), 1);
    assert_eq!(gateway.metric("smtp_unknown_outcomes_total"), 1.0);
    assert_eq!(gateway.metric("smtp_emails_unclear_total"), 1.0);
}

#[test]
fn several_recipients_have_one_reply() {
    let no = || error(400, &json!([{"msg": "no", "type": "bad_request"}]));
    let later = || Play::answer(503, "");
    let ok = || taken(true, "queued");
    for (plays, expected) in [
        ([ok(), ok(), ok()], "250 2.0.0 Ok: queued as 6"),
        ([ok(), ok(), no()], "250 2.0.0 Ok: queued as 6"),
        ([no(), no(), no()], "554 5.6.0"),
        ([no(), later(), no()], "451 4.3.0"),
        ([ok(), later(), no()], "451 4.3.0"),
    ] {
        let cakemail = Cakemail::start().script(plays);
        let gateway = Gateway::before_cakemail(&cakemail, |config| config.delivery.retries = 0);
        let three = ["a@example.net", "b@example.net", "c@example.net"];
        let reply = logged_in(&gateway).submit(&three, HELLO);
        assert!(reply.starts_with(expected), "{reply} is not {expected}");
        assert_eq!(cakemail.sent().len(), 3);
    }
}

fn many() -> Vec<String> {
    (0..60)
        .map(|number| format!("r{number}@example.net"))
        .collect()
}

fn forbidden() -> Play {
    error(
        403,
        &json!([{"msg": "not in your plan", "type": "forbidden"}]),
    )
}

#[test]
fn what_the_api_says_to_the_account_is_asked_for_no_other_recipient() {
    for (play, start, most) in [
        (error(429, &json!("slow down")), "451 4.7.1", 3 * 10),
        (forbidden(), "550 5.7.1", 2 * 10),
    ] {
        let cakemail = Cakemail::start();
        let gateway = Gateway::before_cakemail(&cakemail, |_| {});
        cakemail.always(Endpoint::Emails, play);
        let many = many();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let reply = logged_in(&gateway).submit(&many, HELLO);
        assert!(reply.starts_with(start), "{reply}");
        // As many as are on their way at the same time, and their tries.
        let calls = cakemail.calls(Endpoint::Emails);
        assert!(calls <= most, "{calls} calls");
        assert!(cakemail.logins() <= 2, "one more look-up for the message");
    }
}

#[test]
fn what_a_key_may_not_do_is_no_wrong_password() {
    let cakemail = Cakemail::start().script([forbidden(), forbidden()]);
    let gateway = Gateway::before_cakemail(&cakemail, |_| {});
    let mut client = logged_in(&gateway);
    let reply = client.submit(&BOB, HELLO);
    assert!(reply.starts_with("550 5.7.1"), "{reply}");
    assert!(reply.contains("not in your plan"), "{reply}");
    assert!(client.submit(&BOB, HELLO).starts_with("250"));
    let failures = gateway.metric("smtp_auth_failures_total{reason=\"credentials\"}");
    assert_eq!(failures, 0.0);
}
