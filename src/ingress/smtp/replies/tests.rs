//! Every reply against the table of situations, and the page that is made of it.

use super::*;
use crate::delivery::Quote;
use crate::message::structure::StructureError;
use crate::submission::Rate;

/// What happens, what the table says to it, and what we say.
type Row = (&'static str, &'static str, Reply);

fn refusal(cause: Deferral) -> Reply {
    refused(&Refusal::Deferred {
        cause,
        reason: None,
    })
}

fn failure(cause: Failure) -> Reply {
    refused(&Refusal::Failed {
        cause,
        reason: None,
    })
}

/// What the protocol decides by itself.
fn protocol() -> Vec<Row> {
    let row = |situation, status, reply: &Reply| (situation, status, reply.clone());
    vec![
        row("STARTTLS", "220 2.0.0", &reply::STARTTLS_READY),
        row("QUIT", "221 2.0.0", &reply::CLOSING),
        row("Login succeeded", "235 2.7.0", &reply::AUTHENTICATED),
        row("NOOP, RSET", "250 2.0.0", &reply::OK),
        row("Sender taken", "250 2.1.0", &reply::SENDER_OK),
        row("Recipient taken", "250 2.1.5", &reply::RECIPIENT_OK),
        row("VRFY", "252 2.0.0", &reply::CANNOT_VERIFY),
        row("HELP", "214 2.0.0", &reply::HELP),
        row(
            "Wrong user or password",
            "535 5.7.8",
            &reply::BAD_CREDENTIALS,
        ),
        row("MAIL before AUTH", "530 5.7.0", &reply::AUTHENTICATE_FIRST),
        row(
            "Command before STARTTLS where needed",
            "530 5.7.0",
            &reply::TLS_FIRST,
        ),
        row("AUTH in clear", "538 5.7.11", &reply::TLS_FOR_AUTH),
        row("Mechanism unknown", "504 5.5.4", &reply::UNKNOWN_MECHANISM),
        row("Bad base64 in AUTH", "501 5.5.2", &reply::BAD_ENCODING),
        row(
            "AUTH given up with `*`",
            "501 5.7.0",
            &reply::AUTH_CANCELLED,
        ),
        row(
            "AUTH line too long",
            "500 5.5.6",
            &reply::AUTH_LINE_TOO_LONG,
        ),
        row("AUTH twice", "503 5.5.1", &reply::ALREADY_AUTHENTICATED),
        row(
            "Command inside a transaction that has no place there",
            "503 5.5.1",
            &reply::TRANSACTION_OPEN,
        ),
        row("Command before EHLO", "503 5.5.1", &reply::GREETING_FIRST),
        row("Command before MAIL", "503 5.5.1", &reply::MAIL_FIRST),
        row("STARTTLS twice", "503 5.5.1", &reply::TLS_ACTIVE),
        row("Unknown command", "500 5.5.2", &reply::UNKNOWN_COMMAND),
        row(
            "Command not implemented",
            "502 5.5.1",
            &reply::NOT_IMPLEMENTED,
        ),
        row("Bad argument", "501 5.5.2", &reply::BAD_ARGUMENT),
        row("Bad parameter value", "501 5.5.4", &reply::BAD_PARAMETER),
        row("Unknown parameter", "555 5.5.4", &reply::UNKNOWN_PARAMETER),
        row("Line too long", "500 5.5.2", &reply::LINE_TOO_LONG),
        row(
            "Line of other octets than text",
            "500 5.5.2",
            &reply::NOT_TEXT,
        ),
        row("Sender syntax", "501 5.1.7", &reply::BAD_SENDER),
        row(
            "Sender domain not qualified",
            "554 5.1.8",
            &reply::SENDER_NOT_QUALIFIED,
        ),
        row("Recipient syntax", "501 5.1.3", &reply::BAD_RECIPIENT),
        row(
            "Recipient domain not qualified",
            "554 5.1.2",
            &reply::RECIPIENT_NOT_QUALIFIED,
        ),
        row(
            "Sender needs SMTPUTF8",
            "550 5.6.7",
            &reply::SENDER_NEEDS_UTF8,
        ),
        row(
            "Recipient needs SMTPUTF8",
            "553 5.6.7",
            &reply::RECIPIENT_NEEDS_UTF8,
        ),
        row(
            "Message too large, announced or found",
            "552 5.3.4",
            &reply::TOO_LARGE,
        ),
        row("No memory left", "452 4.3.1", &reply::NO_ROOM),
        row(
            "Too many recipients",
            "452 4.5.3",
            &reply::TOO_MANY_RECIPIENTS,
        ),
        row(
            "Fan-out limit (size × recipients)",
            "452 4.5.3",
            &reply::FAN_OUT,
        ),
        row("Bad size of a chunk", "501 5.5.4", &reply::BAD_CHUNK),
        row("Chunk far too large", "552 5.3.4", &reply::CHUNK_TOO_LARGE),
        row(
            "Another command between chunks",
            "503 5.5.1",
            &reply::CHUNKS_OPEN,
        ),
        row("Chunk received", "250 2.0.0", &reply::chunk_received(1000)),
        row(
            "No recipient taken, then DATA",
            "554 5.5.1",
            &reply::NO_RECIPIENT,
        ),
        row(
            "Lone CR or LF, where refused",
            "550 5.5.2",
            &reply::LONE_LINE_BREAK,
        ),
        row(
            "Too many errors in a session",
            "421 4.7.0",
            &reply::TOO_MANY_ERRORS,
        ),
        row(
            "HTTP, TLS without STARTTLS, or a PROXY header that nobody expects",
            "421 4.7.0",
            &reply::NOT_SMTP,
        ),
        row("Octets behind STARTTLS", "421 4.5.0", &reply::EARLY_OCTETS),
        row("Idle for too long", "421 4.4.2", &reply::TIMED_OUT),
        row("Session too long", "421 4.4.2", &reply::EXPIRED),
        row("Shutting down", "421 4.3.2", &reply::SHUTTING_DOWN),
    ]
}

/// What is decided around the protocol. Who adds a cause finds its place by the matches of
/// `replies.rs`, which do not compile without it.
fn decisions() -> Vec<Row> {
    let delivered = Receipt {
        id: "<id>".to_owned(),
        recipients: 3,
        failed: 0,
    };
    let partly = Receipt {
        failed: 1,
        ..delivered.clone()
    };
    vec![
        ("Accepted", "250 2.0.0", accepted(&delivered)),
        (
            "Accepted, and some recipients refused",
            "250 2.0.0",
            accepted(&partly),
        ),
        (
            "Some recipients refused, where that is no success",
            "554 5.0.0",
            refused(&Refusal::PartlyFailed {
                recipients: 3,
                failed: 1,
            }),
        ),
        (
            "Login cannot be checked: look-up down, time-out, 5xx, 429",
            "454 4.7.0",
            denied(Denied::Unavailable).clone(),
        ),
        (
            "Login needs a second factor, which SMTP cannot give",
            "535 5.7.8",
            denied(Denied::Challenge).clone(),
        ),
        (
            "Too many wrong passwords for this login before (limits.auth_failures)",
            "421 4.7.0",
            denied(Denied::Throttled).clone(),
        ),
        (
            "Too many connections",
            "421 4.7.0",
            TOO_MANY_CONNECTIONS.clone(),
        ),
        (
            "Rate limit of the gateway",
            "451 4.7.1",
            refused(&Refusal::RateLimited(Rate::PerIp)),
        ),
        (
            "Sender that the account may not use",
            "550 5.7.1",
            refused(&Refusal::Sender(SenderFault::NotAllowed(SenderPlace::From))),
        ),
        (
            "Sender that cannot be told for sure, where the account has a list",
            "554 5.6.0",
            refused(&Refusal::Sender(SenderFault::Unclear(SenderPlace::From))),
        ),
        (
            "MIME too deep, too many parts, header too long",
            "554 5.6.0",
            refused(&Refusal::Structure(StructureError::TooDeep { limit: 10 })),
        ),
        ("Mail loop", "554 5.4.6", refused(&Refusal::Loop)),
        (
            "Text that takes more memory than there ever is",
            "552 5.3.4",
            refused(&Refusal::TooMuchText),
        ),
        (
            "A fault of the gateway's own",
            "451 4.3.0",
            internal_fault(),
        ),
        (
            "API unreachable",
            "451 4.4.1",
            refusal(Deferral::Unreachable),
        ),
        (
            "Deadline passed before the request had left",
            "451 4.4.2",
            refusal(Deferral::TimedOut),
        ),
        (
            "API says 429, throttling",
            "451 4.7.1",
            refusal(Deferral::Throttled),
        ),
        ("API says 503", "451 4.3.0", refusal(Deferral::Unavailable)),
        ("Circuit open", "451 4.3.0", refusal(Deferral::CircuitOpen)),
        (
            "API's answer not understood: foreign body, redirect",
            "451 4.3.5",
            refusal(Deferral::NotUnderstood),
        ),
        (
            "A key of the settings refused",
            "451 4.7.0",
            refusal(Deferral::KeyRefused),
        ),
        (
            "Key of the account cannot be looked up",
            "451 4.7.0",
            refusal(Deferral::KeyUnavailable),
        ),
        (
            "Account's allowance used up",
            "452 4.3.1",
            refusal(Deferral::Quota),
        ),
        (
            "Outcome unknown, `defer`",
            "451 4.4.2",
            refusal(Deferral::Unknown),
        ),
        (
            "Outcome unknown, `refuse`",
            "554 5.4.7",
            failure(Failure::Unknown),
        ),
        (
            "API refuses the content: 400, 422",
            "554 5.6.0",
            failure(Failure::Refused),
        ),
        ("API says 413", "552 5.3.4", failure(Failure::TooLarge)),
        (
            "API took the message only to reject it",
            "550 5.7.1",
            failure(Failure::Rejected),
        ),
        (
            "Key that the login gave refused, also a new one",
            "550 5.7.1",
            failure(Failure::KeyRefused),
        ),
        (
            "What the login may not do at the API, also with a new key",
            "550 5.7.1",
            failure(Failure::Forbidden),
        ),
        (
            "Sender not known or not confirmed at the API",
            "550 5.7.1",
            failure(Failure::Sender),
        ),
        (
            "Attachment type or structure the API cannot carry",
            "554 5.6.1",
            failure(Failure::CannotCarry),
        ),
    ]
}

fn rows() -> Vec<Row> {
    protocol().into_iter().chain(decisions()).collect()
}

#[test]
fn every_situation_has_the_reply_of_the_table() {
    for (situation, status, reply) in rows() {
        let text = reply.to_string();
        assert!(
            text.replace("214-", "214 ")
                .starts_with(&format!("{status} ")),
            "{situation}: {text:?} is not {status:?}"
        );
        assert!(text.is_ascii() && text.ends_with("\r\n"));
    }
}

#[test]
fn no_reply_is_without_its_row() {
    let sources = [
        include_str!("../replies.rs"),
        include_str!("../../../smtp/reply.rs"),
    ];
    let texts: Vec<String> = rows().iter().map(|(.., reply)| reply.to_string()).collect();
    let constants = sources.iter().flat_map(|source| {
        let definitions = source.split(": Reply =").skip(1);
        definitions.filter_map(|definition| definition.split(';').next())
    });
    let mut count = 0;
    for definition in constants {
        let words = definition.split('"').nth(1).unwrap_or_default();
        let words = words.split('\\').next().unwrap_or_default();
        assert!(
            texts.iter().any(|text| text.contains(words)),
            "{words:?} has no row"
        );
        count += 1;
    }
    assert!(count > 60, "the constants were found");
}

#[test]
fn the_page_of_replies_is_up_to_date() {
    let mut page = String::from(HEAD);
    for (title, rows) in [("The protocol", protocol()), ("Decisions", decisions())] {
        page.push_str(&format!(
            "\n## {title}\n\n| Situation | Reply |\n|---|---|\n"
        ));
        for (situation, _, reply) in rows {
            let reply = reply.to_string();
            let text = reply.trim_end().replace("\r\n", "<br>");
            page.push_str(&format!(
                "| {situation} | {} |\n",
                text.replace('<', "&lt;").replace("&lt;br>", "<br>")
            ));
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/replies.md");
    #[expect(clippy::disallowed_methods, reason = "as the message corpus does")]
    let update = std::env::var("UPDATE_EXPECTED").is_ok();
    if update {
        std::fs::write(path, &page).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(
        written, page,
        "UPDATE_EXPECTED=1 cargo test replies writes docs/replies.md"
    );
}

#[test]
fn the_apis_own_words_stand_behind_ours() {
    let refusal = Refusal::Failed {
        cause: Failure::Refused,
        reason: Some(Quote::new("no such\r\n250 template")),
    };
    assert_eq!(
        refused(&refusal).to_string(),
        "554 5.6.0 The email API refuses the message: no such??250 template\r\n"
    );
}

const HEAD: &str = "# Replies

What the gateway says, and when. Made from the code: `UPDATE_EXPECTED=1 cargo test replies`.

4yz: the message is still the client's, and may be taken later. 5yz: it will not be. The second number
is the enhanced status (RFC 3463). Behind a colon may stand the API's own words, cut to 200 characters of
printable ASCII. EHLO, HELO, the greeting and 354 have no enhanced status.
";
