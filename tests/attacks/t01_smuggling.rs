//! T1, SMTP smuggling (CVE-2023-51764 and its kin): whatever stands around a dot that is not
//! CRLF.CRLF, and however it is cut into reads, what comes in as one message stays one message.
//!
//! The session is compared with a reader that has no state, for every variant cut at every octet;
//! the running gateway gets the same octet by octet.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use smtp_gateway::smtp::framing::LoneNewlines;
use smtp_gateway::smtp::reply::{self, Reply};
use smtp_gateway::smtp::session::{
    Authentication, Ending, Limits, Question, Session, Settings, Step, Tls,
};

use crate::attacks::smuggling::{
    Delivery, SECOND_MESSAGE, Variant, has_lone_line_break, strictly, with_crlf, with_last_line_end,
};
use crate::support::api::FakeApi;
use crate::support::gateway::Gateway;
use crate::support::http::Request;

const OPENING: &str =
    "EHLO client.example\r\nMAIL FROM:<app@example.com>\r\nRCPT TO:<ann@example.net>\r\n";

/// What came of a dialogue.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    deliveries: Vec<Delivery>,
    ending: Option<Ending>,
}

/// A session that is given these reads, and says yes to everything.
fn session(lone_newlines: LoneNewlines, reads: &[&[u8]]) -> Seen {
    let settings = Settings {
        hostname: "gateway.example".to_owned(),
        lone_newlines,
        limits: Limits {
            command_line: 512,
            message_size: 0,
            recipients: 100,
            fan_out: 0,
            errors: 0,
        },
    };
    let mut session = Session::new(Arc::new(settings), Tls::Off, Authentication::Waived);
    let mut deliveries = Vec::new();
    for read in reads {
        session.receive(read);
        loop {
            match session.step() {
                Step::Send(_) => {}
                Step::Receive | Step::Close | Step::StartTls => break,
                Step::Ask(question) => {
                    session.answer(&yes(&question));
                    deliveries.extend(delivery(question));
                }
            }
        }
    }
    Seen {
        deliveries,
        ending: session.ending(),
    }
}

fn yes(question: &Question) -> Reply {
    match question {
        Question::Data => Reply::plain(354, "Go on"),
        _ => reply::OK.clone(),
    }
}

fn delivery(question: Question) -> Option<Delivery> {
    let Question::Message(envelope, content) = question else {
        return None;
    };
    Some(Delivery {
        from: envelope.reverse_path().to_string(),
        to: envelope
            .recipients()
            .iter()
            .map(ToString::to_string)
            .collect(),
        content: content.to_vec(),
    })
}

/// The messages of a dialogue that begins so, cut at every octet of the rest, are these.
fn at_every_cut(lone: LoneNewlines, opening: &str, rest: &str, expected: &Seen) {
    let whole = [opening, rest].concat();
    assert_eq!(&session(lone, &[whole.as_bytes()]), expected, "{rest:?}");
    for at in 0..rest.len() {
        let (left, right) = rest.as_bytes().split_at(at);
        let seen = session(lone, &[opening.as_bytes(), left, right]);
        assert_eq!(&seen, expected, "{rest:?} cut at {at}");
    }
}

fn one(content: Vec<u8>) -> Vec<Delivery> {
    vec![Delivery {
        from: "app@example.com".to_owned(),
        to: vec!["ann@example.net".to_owned()],
        content,
    }]
}

#[test]
fn mail_data_cut_at_every_octet_is_the_one_message_that_a_strict_reader_sees() {
    let opening = format!("{OPENING}DATA\r\n");
    let (mut whole, mut refused) = (0, 0);
    for (variant, follower) in variants().filter(|(variant, _)| !variant.is_the_end()) {
        let content = variant.content(follower);
        let rest = format!("{content}\r\n.\r\nQUIT\r\n");
        for lone in [LoneNewlines::Normalise, LoneNewlines::Refuse] {
            let deliveries = strictly(format!("{opening}{rest}").as_bytes(), lone);
            let refuses = lone == LoneNewlines::Refuse && has_lone_line_break(content.as_bytes());
            let (count, ending) = match refuses {
                false => (&mut whole, Ending::Quit),
                true => (&mut refused, Ending::LoneLineBreak),
            };
            *count += 1;
            assert_eq!(deliveries.len(), usize::from(!refuses), "{variant:?}");
            assert!(
                deliveries
                    .iter()
                    .all(|found| found.to == ["ann@example.net"])
            );
            let ending = Some(ending);
            at_every_cut(lone, &opening, &rest, &Seen { deliveries, ending });
        }
    }
    assert!(
        whole > 1000 && refused > 500,
        "{whole} whole, {refused} refused"
    );
}

/// The control: where the end is a true one, both readers see what is behind it.
#[test]
fn behind_the_true_end_there_is_a_second_message() {
    let attack = format!(
        "{OPENING}DATA\r\nfirst\r\n.\r\n{}\r\n.\r\nQUIT\r\n",
        SECOND_MESSAGE
    );
    let seen = session(LoneNewlines::Normalise, &[attack.as_bytes()]);
    assert_eq!(seen.deliveries.len(), 2);
    assert_eq!(
        seen.deliveries,
        strictly(attack.as_bytes(), LoneNewlines::Normalise)
    );
}

#[test]
fn a_chunk_cut_at_every_octet_is_one_message_whatever_is_in_it() {
    for (variant, follower) in variants() {
        let content = variant.content(follower);
        let whole = with_last_line_end(with_crlf(content.as_bytes()));
        let lone_breaks = has_lone_line_break(content.as_bytes());
        let rest = format!("BDAT {} LAST\r\n{content}QUIT\r\n", content.len());
        for lone in [LoneNewlines::Normalise, LoneNewlines::Refuse] {
            let expected = match lone == LoneNewlines::Refuse && lone_breaks {
                false => Seen {
                    deliveries: one(whole.clone()),
                    ending: Some(Ending::Quit),
                },
                true => Seen {
                    deliveries: Vec::new(),
                    ending: Some(Ending::LoneLineBreak),
                },
            };
            at_every_cut(lone, OPENING, &rest, &expected);
        }
    }
}

#[test]
fn two_chunks_that_meet_at_any_octet_are_one_message() {
    for (variant, follower) in variants() {
        let content = variant.content(follower);
        let expected = Seen {
            deliveries: one(with_last_line_end(with_crlf(content.as_bytes()))),
            ending: Some(Ending::Quit),
        };
        let content = content.as_bytes();
        for at in 0..content.len() {
            let (left, right) = content.split_at(at);
            let first = format!("{OPENING}BDAT {}\r\n", left.len());
            let last = format!("BDAT {} LAST\r\n", right.len());
            let dialogue = [first.as_bytes(), left, last.as_bytes(), right, b"QUIT\r\n"];
            let seen = session(LoneNewlines::Normalise, &[&dialogue.concat()]);
            assert_eq!(seen, expected, "{variant:?} cut at {at}");
        }
    }
}

/// A second message behind what is most like an end, and text behind the rest.
fn variants() -> impl Iterator<Item = (Variant, &'static str)> {
    let attacks = Variant::around(".").map(|variant| (variant, SECOND_MESSAGE));
    attacks.chain(Variant::all().map(|variant| (variant, "more")))
}

#[test]
fn octet_by_octet_under_tls_each_false_end_reaches_the_api_as_one_message() {
    let api = FakeApi::start();
    let gateway = Gateway::before(&api.url(), |config| config.api.raw = true);
    let mut client = gateway.logged_in();
    let mut sent = 0;
    for variant in Variant::around(".").filter(|variant| !variant.is_the_end()) {
        let content = variant.content(SECOND_MESSAGE);
        client.begin(&["ann@example.net", "bob@example.net"]);
        for octet in format!("{content}\r\n.\r\n").bytes() {
            client.send([octet]);
        }
        client.expect("250 2.0.0 Ok: queued as");
        client.ask("NOOP", "250 2.0.0 Ok\r\n");
        sent += 1;
        let requests = api.recorded();
        assert_eq!(requests.len(), sent, "{variant:?}");
        let dialogue = format!("{OPENING}DATA\r\n{content}\r\n.\r\n");
        let seen = strictly(dialogue.as_bytes(), LoneNewlines::Normalise);
        check(&requests[sent - 1], &seen[0].content);
    }
    assert!(sent > 100);
}

/// The request is for the recipients of the envelope, and has the content behind what we add.
fn check(request: &Request, content: &[u8]) {
    let body = request.json();
    let envelope = &body["envelope"];
    assert_eq!(envelope["from"], "app@example.com");
    assert_eq!(
        envelope["to"],
        serde_json::json!(["ann@example.net", "bob@example.net"])
    );
    let raw = STANDARD.decode(body["raw"].as_str().unwrap()).unwrap();
    assert!(
        raw.ends_with(content),
        "{:?}",
        String::from_utf8_lossy(&raw)
    );
    assert!(!has_lone_line_break(&raw));
}

#[test]
fn lone_line_breaks_can_be_refused_after_the_true_end() {
    let api = FakeApi::start();
    let gateway = Gateway::before(&api.url(), |config| {
        config.smtp.lone_newlines = LoneNewlines::Refuse;
    });
    for end in ["\n.\n", "\n.\r\n", "\r.\r\n", "\r\n.\n", "\r\n.\r"] {
        let mut client = gateway.logged_in();
        client.begin(&["ann@example.net"]);
        client.send(format!("first{end}{}\r\n.\r\n", SECOND_MESSAGE));
        client.expect("550 5.5.2");
        client.expect_end();
    }
    assert!(api.recorded().is_empty());
}
