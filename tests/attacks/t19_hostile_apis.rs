//! T19, hostile upstream (CVE-2020-8793, CVE-2020-8794): whatever an API answers, wherever its answer
//! breaks off, there is one reply to the client, in time, and it is a 250 or a 235 for nothing but
//! the whole documented success.

use std::fmt::Write as _;

use smtp_gateway::auth::Source;
use smtp_gateway::units::Period;

use crate::support::api::{FakeApi, Play};
use crate::support::gateway::Gateway;

const TAKEN: &str = "{\"message_id\":\"api-1\"}";
const GRANTED: &str = "{\"access_token\":\"k\",\"token_type\":\"bearer\",\"expires_in\":9999,\
                       \"accounts\":[27]}";

fn raw(octets: String) -> Play {
    Play::Raw(octets.leak())
}

/// The three ways in which HTTP/1.1 tells where a body ends.
fn framings(body: &str) -> [String; 3] {
    let (left, right) = body.split_at(7);
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    [
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ),
        format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}{}0\r\n\r\n",
            chunk(left),
            chunk(right)
        ),
        format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{body}"),
    ]
}

/// Each answer of [`framings`], cut off behind each octet but the last, and then whole.
fn cut_everywhere(body: &str) -> (Vec<Play>, Vec<Play>) {
    let cut = framings(body)
        .into_iter()
        .flat_map(|answer| (0..answer.len()).map(move |end| raw(answer[..end].to_owned())));
    (cut.collect(), framings(body).map(raw).into())
}

/// Answers that take room or time, or that mean two things.
fn floods(body: &str) -> Vec<Play> {
    let length = body.len();
    let many = |line: &str, count: usize| line.repeat(count);
    let mut fields = String::new();
    for number in 0..50_000 {
        let _ = write!(fields, "X-{number}: {number}\r\n");
    }
    let nested = format!("{}{body}{}", "[".repeat(30_000), "]".repeat(30_000));
    vec![
        Play::LongAnswer(1 << 30),
        // 1 GB, as it says, of which hardly any comes.
        raw("HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n{".to_owned()),
        raw(format!(
            "HTTP/1.1 200 OK\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
        )),
        raw(format!("HTTP/1.1 200 OK\r\nX: {}", many("x", 10_000_000))),
        raw(format!("HTTP/1.1 200 {}", many("K", 1_000_000))),
        raw(many("HTTP/1.1 100 Continue\r\n\r\n", 100_000)),
        raw(format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}",
            many("1;x=y\r\n{\r\n", 200_000)
        )),
        raw(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{".to_owned(),
        ),
        raw("HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\n{".to_owned()),
        raw(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{body}"
        )),
        raw(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{nested}",
            nested.len()
        )),
        // What a decoder of gzip would make a bomb of is no JSON to who asked for none.
        raw(format!(
            "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {length}\r\n\r\n{}",
            "\u{1f}".repeat(length)
        )),
        raw(many("\0", 100_000)),
        raw("HTTP/1.1 200 OK\nContent-Length: 5".to_owned()),
        raw("HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\n{}".to_owned()),
        raw("220 mail.example ESMTP\r\n".to_owned()),
        raw("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n".to_owned()),
        raw(format!(
            "HTTP/1.1 999 OK\r\nContent-Length: {length}\r\n\r\n{body}"
        )),
    ]
}

/// The reply to one message for each play, and how many 250 there were in all.
fn replies(plays: Vec<Play>) -> Vec<String> {
    let count = plays.len();
    let api = FakeApi::play(plays);
    let gateway = Gateway::before(&api.url(), |config| {
        config.delivery.deadline = Period::seconds(5);
        config.delivery.retries = 0;
        config.limits.errors = 0;
    });
    let mut client = gateway.logged_in();
    let replies = (0..count).map(|number| {
        // Another text each time: what is deferred is remembered.
        let reply = client.submit(&["ann@example.net"], &format!("\r\n{number}\r\n"));
        assert_eq!(reply.matches("\r\n").count(), 1, "{reply:?}");
        reply
    });
    let replies = replies.collect();
    assert_eq!(gateway.metric("smtp_task_panics_total"), 0.0);
    replies
}

#[test]
fn an_answer_of_the_email_api_that_breaks_off_at_any_octet_is_no_acceptance() {
    let (cut, whole) = cut_everywhere(TAKEN);
    // So many faults in a row open the breaker, so each few have a gateway of their own.
    for plays in cut.chunks(15) {
        for reply in replies(plays.to_vec()) {
            assert!(reply.starts_with("451"), "{reply}");
        }
    }
    // The double closes behind its answer, so each has a gateway without a connection to use again.
    for play in whole {
        assert_eq!(replies(vec![play]), ["250 2.0.0 Ok: queued as api-1\r\n"]);
    }
}

#[test]
fn no_flood_of_the_email_api_is_an_acceptance() {
    for plays in floods(TAKEN).chunks(10) {
        for reply in replies(plays.to_vec()) {
            assert!(reply.starts_with("451"), "{reply}");
        }
    }
}

/// The replies to a login for each play, each with a password of its own.
fn logins(plays: Vec<Play>) -> Vec<String> {
    let count = plays.len();
    let (auth, api) = (FakeApi::play(plays), FakeApi::start());
    let gateway = Gateway::before(&api.url(), |config| {
        config.auth.source = Source::KeyApi;
        config.auth.url = auth.url();
        config.auth.timeout = Period::seconds(5);
        config.auth.accounts = Vec::new();
        config.limits.errors = 0;
    });
    let mut replies = Vec::new();
    for number in 0..count {
        let mut client = gateway.secured();
        replies.push(client.authenticate("ann", &format!("secret-{number}")));
    }
    assert_eq!(gateway.metric("smtp_task_panics_total"), 0.0);
    replies
}

#[test]
fn an_answer_of_the_authentication_api_that_breaks_off_at_any_octet_lets_nobody_in() {
    let (cut, whole) = cut_everywhere(GRANTED);
    for reply in logins(cut) {
        assert!(reply.starts_with("454 4.7.0"), "{reply}");
    }
    for play in whole {
        let replies = logins(vec![play]);
        assert!(replies[0].starts_with("235"), "{replies:?}");
    }
}

#[test]
fn no_flood_of_the_authentication_api_lets_anybody_in() {
    for reply in logins(floods(GRANTED)) {
        assert!(reply.starts_with("454 4.7.0"), "{reply}");
    }
}
