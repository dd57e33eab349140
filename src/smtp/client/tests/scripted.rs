//! What the client makes of each reply, and of what is none.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::*;

/// Talks to a server that gives these replies, one each time it is waited for, and then leaves.
fn talk(settings: Settings, messages: Vec<Message>, replies: &[&str]) -> Outcome {
    let mut client = Client::new(settings);
    let mut replies = replies.iter();
    let mut messages = messages.into_iter();
    let mut outcome = Outcome::default();
    for _ in 0..1000 {
        match client.step() {
            Step::Tell(line) => outcome.dialogue.push(line.to_string()),
            Step::Send(_) => {}
            Step::Receive => match replies.next() {
                Some(reply) => client.receive(reply.as_bytes()),
                None => client.disconnected(),
            },
            Step::StartTls => client.tls_established(),
            Step::Settled(answers) => outcome.settled.push(answers),
            Step::Ready => match messages.next() {
                Some(message) => client.submit(message),
                None => client.quit(),
            },
            Step::Close(ending) => {
                outcome.ending = Some(ending);
                return outcome;
            }
        }
    }
    panic!("the session does not end");
}

/// One message for two recipients in clear, without a login.
fn submit(replies: &[&str]) -> Outcome {
    let two = message(&["a@example.net", "b@example.net"], "x\r\n");
    talk(settings(Tls::Off, None), vec![two], replies)
}

fn refused(reply: &'static str) -> Ending {
    Ending::Refused(Reply::parse(reply).unwrap())
}

const HI: &str = "220 hi\r\n";
const PLAIN_EHLO: &str = "250 hi\r\n";
const TLS_EHLO: &str = "250-hi\r\n250 STARTTLS\r\n";
const AUTH_EHLO: &str = "250-hi\r\n250 AUTH PLAIN\r\n";
const PIPELINING_EHLO: &str = "250-hi\r\n250 PIPELINING\r\n";

#[test]
fn a_refusal_before_the_first_message_ends_the_session() {
    let no = "554 5.7.1 no\r\n";
    let later = "454 4.7.0 later\r\n";
    let login = |reply| Ending::LoginRefused(Reply::parse(reply).unwrap());
    for (replies, ending) in [
        (&[no][..], refused(no)),
        (&[HI, later], refused(later)),
        (&[HI, no, no], refused(no)),
        (&[HI, PLAIN_EHLO], Ending::NotOffered(Missing::StartTls)),
        (&[HI, no, PLAIN_EHLO], Ending::NotOffered(Missing::StartTls)),
        (&[HI, TLS_EHLO, later], refused(later)),
        (&[HI, TLS_EHLO, no], refused(no)),
        (
            &[HI, TLS_EHLO, HI, PLAIN_EHLO],
            Ending::NotOffered(Missing::Auth),
        ),
        (&[HI, TLS_EHLO, HI, AUTH_EHLO, no], login(no)),
        (&[HI, TLS_EHLO, HI, AUTH_EHLO, later], login(later)),
    ] {
        let outcome = talk(settings(Tls::StartTls, Some(ann())), Vec::new(), replies);
        assert_eq!(outcome.ending, Some(ending), "{replies:?}");
        assert_eq!(outcome.said().last(), Some(&"QUIT"), "{replies:?}");
    }
}

#[test]
fn credentials_are_never_sent_in_clear() {
    let outcome = talk(
        settings(Tls::Off, Some(ann())),
        Vec::new(),
        &[HI, AUTH_EHLO],
    );
    assert_eq!(outcome.ending, Some(Ending::NotOffered(Missing::Auth)));
    assert_eq!(outcome.said(), ["EHLO client.example", "QUIT"]);
}

#[test]
fn an_old_server_gets_helo() {
    let outcome = submit(&[
        HI,
        "502 what\r\n",
        "250 hi\r\n",
        "250 ok\r\n",
        "250 ok\r\n",
        "250 ok\r\n",
        "354 go\r\n",
        "250 ok\r\n",
        "221 bye\r\n",
    ]);
    assert_eq!(outcome.ending, Some(Ending::Quit));
    assert_eq!(outcome.codes(), [[250, 250]]);
    assert_eq!(
        outcome.said(),
        [
            "EHLO client.example",
            "HELO client.example",
            "MAIL FROM:<app@example.com>",
            "RCPT TO:<a@example.net>",
            "RCPT TO:<b@example.net>",
            "DATA",
            "(3 octets)",
            "QUIT"
        ]
    );
}

#[test]
fn login_is_used_where_plain_is_not_offered_and_a_long_response_follows_a_challenge() {
    let secured = |credentials, offer| {
        let replies = [HI, offer, "334 \r\n", "334 \r\n", "235 ok\r\n"];
        talk(
            settings(Tls::Established, Some(credentials)),
            Vec::new(),
            &replies,
        )
    };
    let outcome = secured(ann(), "250-hi\r\n250 AUTH LOGIN\r\n");
    assert_eq!(
        outcome.said(),
        ["EHLO client.example", "AUTH LOGIN", "***", "***", "QUIT"]
    );
    let token = Credentials {
        password: Secret::new("x".repeat(400)),
        ..ann()
    };
    let outcome = secured(token, AUTH_EHLO);
    assert_eq!(outcome.said(), ["EHLO client.example", "AUTH PLAIN", "***"]);
    assert_eq!(
        outcome.ending,
        Some(Ending::Fault(Fault::Unexpected(334))),
        "PLAIN has one response"
    );
}

#[test]
fn each_recipient_gets_the_reply_that_decided() {
    let (ok, go) = ("250 ok\r\n", "354 go\r\n");
    let (no, later) = ("550 no\r\n", "450 later\r\n");
    for (replies, codes) in [
        (&[no][..], [550, 550]),
        (&[later], [450, 450]),
        (&[ok, no, later], [550, 450]),
        (&[ok, no, ok, go, ok], [550, 250]),
        (&[ok, ok, no, go, ok], [250, 550]),
        (&[ok, ok, later, go, "554 no\r\n"], [554, 450]),
        (&[ok, ok, ok, no], [550, 550]),
        (&[ok, ok, no, "451 later\r\n"], [451, 550]),
        (&[ok, ok, ok, go, later], [450, 450]),
        (&[ok, ok, ok, go, "552 no\r\n"], [552, 552]),
    ] {
        let replies = [&[HI, PLAIN_EHLO], replies, &["221 bye\r\n"]].concat();
        let outcome = submit(&replies);
        assert_eq!(outcome.codes(), [codes], "{replies:?}");
        assert_eq!(outcome.ending, Some(Ending::Quit), "{replies:?}");
    }
}

#[test]
fn where_pipelining_is_offered_the_reply_to_mail_still_decides() {
    let replies = "550 5.1.7 who\r\n503 5.5.1 first\r\n503 5.5.1 first\r\n";
    let outcome = submit(&[HI, PIPELINING_EHLO, replies, "221 bye\r\n"]);
    assert_eq!(outcome.codes(), [[550, 550]]);
}

#[test]
fn a_transaction_that_was_left_is_reset_before_the_next() {
    let messages = || {
        vec![
            message(&["a@example.net"], "x"),
            message(&["b@example.net"], "x"),
        ]
    };
    let (ok, no) = ("250 ok\r\n", "550 no\r\n");
    for refusal in [&[no][..], &[ok, no], &[ok, ok, no]] {
        let rest = [ok, ok, ok, "354 go\r\n", ok, "221 bye\r\n"];
        let replies = [&[HI, PLAIN_EHLO], refusal, &rest].concat();
        let outcome = talk(settings(Tls::Off, None), messages(), &replies);
        assert_eq!(outcome.codes(), [[550], [250]], "{replies:?}");
        assert!(outcome.said().contains(&"RSET"));
        let outcome = talk(
            settings(Tls::Off, None),
            messages(),
            &[&[HI, PLAIN_EHLO], refusal, &[no]].concat(),
        );
        assert_eq!(outcome.ending, Some(refused(no)));
    }
}

#[test]
fn a_reply_of_421_ends_the_session_wherever_it_comes() {
    let (ok, go, closing) = ("250 ok\r\n", "354 go\r\n", "421 4.3.2 closing\r\n");
    let whole = [
        HI,
        TLS_EHLO,
        HI,
        AUTH_EHLO,
        "235 ok\r\n",
        ok,
        ok,
        ok,
        go,
        ok,
        "221 bye\r\n",
    ];
    for place in 0..whole.len() {
        let replies = [&whole[..place], &[closing]].concat();
        let two = message(&["a@example.net", "b@example.net"], "x");
        let outcome = talk(settings(Tls::StartTls, Some(ann())), vec![two], &replies);
        let last = place == whole.len() - 1;
        let ending = if last { Ending::Quit } else { refused(closing) };
        assert_eq!(outcome.ending, Some(ending), "{replies:?}");
        assert_eq!(outcome.settled.len(), usize::from(last), "{replies:?}");
    }
}

#[test]
fn a_server_that_leaves_settles_nothing() {
    let ok = "250 ok\r\n";
    let outcome = submit(&[HI, PLAIN_EHLO, ok, ok, ok, "354 go\r\n"]);
    assert_eq!(outcome.ending, Some(Ending::Disconnected));
    assert_eq!(outcome.codes(), [[0_u16; 0]; 0]);
}

#[test]
fn a_server_that_leaves_after_quit_does_no_harm() {
    let outcome = talk(settings(Tls::Off, None), Vec::new(), &[HI, PLAIN_EHLO]);
    assert_eq!(outcome.ending, Some(Ending::Quit));
}

#[test]
fn an_address_beyond_ascii_needs_a_server_that_takes_it() {
    let send = |offer| {
        let umlaut = message(&["änn@example.net"], "x");
        talk(settings(Tls::Off, None), vec![umlaut], &[HI, offer])
    };
    assert_eq!(
        send(PLAIN_EHLO).ending,
        Some(Ending::NotOffered(Missing::SmtpUtf8))
    );
    let outcome = send("250-hi\r\n250 SMTPUTF8\r\n");
    assert_eq!(
        outcome.said().last(),
        Some(&"MAIL FROM:<app@example.com> SMTPUTF8")
    );
}

#[test]
fn parameters_are_said_where_they_are_offered_and_needed() {
    let mail = |offer, content| {
        let one = message(&["a@example.net"], content);
        let outcome = talk(settings(Tls::Off, None), vec![one], &[HI, offer]);
        outcome.said()[1].to_owned()
    };
    let all = "250-hi\r\n250-SIZE 5\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n";
    let plain = "MAIL FROM:<app@example.com>";
    assert_eq!(mail(all, ".x\n"), format!("{plain} SIZE=4"));
    assert_eq!(mail(all, "é"), format!("{plain} SIZE=4 BODY=8BITMIME"));
    assert_eq!(mail(PLAIN_EHLO, "x"), plain);
}

#[test]
fn octets_beyond_ascii_need_a_server_that_takes_them() {
    let umlaut = vec![message(&["a@example.net"], "é")];
    let outcome = talk(settings(Tls::Off, None), umlaut, &[HI, PLAIN_EHLO]);
    assert_eq!(
        outcome.ending,
        Some(Ending::NotOffered(Missing::EightBitMime))
    );
    assert_eq!(outcome.said(), ["EHLO client.example", "QUIT"]);
}

#[test]
fn a_refusal_before_the_end_of_the_mail_data_is_taken_and_ends_the_session() {
    let (ok, early) = ("250 ok\r\n", "354 go\r\n552 5.3.4 no\r\n");
    let outcome = submit(&[HI, PLAIN_EHLO, ok, ok, ok, early]);
    assert_eq!(outcome.codes(), [[552, 552]]);
    assert_eq!(outcome.ending, Some(refused("552 5.3.4 no\r\n")));
    let outcome = submit(&[HI, PLAIN_EHLO, ok, ok, ok, "354 go\r\n250 ok\r\n"]);
    assert_eq!(outcome.codes(), [[0_u16; 0]; 0]);
    let fault = Ending::Fault(Fault::Unexpected(250));
    assert_eq!(outcome.ending, Some(fault), "nothing was sent yet");
}

#[test]
fn credentials_that_a_server_repeats_are_hidden() {
    let ann = || Credentials {
        username: "ann".to_owned(),
        password: Secret::new("pä55 w>rd"),
    };
    let encode = |text: &str| STANDARD.encode(text);
    let (plain, password) = (encode("\0ann\0pä55 w>rd"), encode("pä55 w>rd"));
    for (text, shown) in [
        (
            format!("Command unrecognized: \"AUTH PLAIN {plain}\""),
            "Command unrecognized: \"AUTH PLAIN ***\"",
        ),
        (format!("{}.", plain.trim_end_matches('=')), "***."),
        (format!("{password} for ann"), "*** for ann"),
        ("pä55 w>rd, pä55 w>rd".to_owned(), "***, ***"),
    ] {
        let whole = format!("500-5.5.1 {text}\r\n500 5.5.1 {text}\r\n");
        let outcome = talk(
            settings(Tls::Established, Some(ann())),
            Vec::new(),
            &[HI, AUTH_EHLO, &whole],
        );
        let Some(Ending::LoginRefused(reply)) = &outcome.ending else {
            panic!("{:?}", outcome.ending);
        };
        assert_eq!(reply.text(), format!("{shown}\n{shown}"));
        assert_eq!(outcome.dialogue[5], format!("S: 500-5.5.1 {shown}"));
        assert_eq!(outcome.dialogue[6], format!("S: 500 5.5.1 {shown}"));
    }
}

#[test]
fn a_password_that_looks_like_a_code_makes_no_reply_unreadable() {
    let short = Credentials {
        password: Secret::new("5"),
        ..ann()
    };
    let outcome = talk(
        settings(Tls::Established, Some(short)),
        Vec::new(),
        &[HI, AUTH_EHLO, "535 no 5\r\n", "221 5\r\n"],
    );
    assert_eq!(
        outcome.ending,
        Some(Ending::LoginRefused(Reply::plain(535, "no ***")))
    );
}

#[test]
fn what_is_no_reply_is_hidden_from_its_first_octet() {
    let outcome = talk(
        settings(Tls::Established, Some(ann())),
        Vec::new(),
        &[HI, AUTH_EHLO, "AGFubgBzZWNyZXQ=\r\n"],
    );
    assert_eq!(outcome.ending, Some(Ending::Fault(Fault::NotAReply)));
    assert_eq!(outcome.dialogue.last().unwrap(), "S: ***");
}

#[test]
fn what_is_no_smtp_ends_the_session_at_once() {
    let long = format!("220 {}\r\n", "x".repeat(600));
    let endless = "220-hi\r\n".repeat(200);
    let early = format!("{HI}250 ok\r\n");
    for (replies, fault) in [
        (&["HTTP/1.1 400 Bad Request\r\n"][..], Fault::NotAReply),
        (&["\r\n"], Fault::NotAReply),
        (&["220-a\r\n250 b\r\n"], Fault::NotAReply),
        (&[&long], Fault::LineTooLong),
        (&[&endless], Fault::TooManyLines),
        (&["354 go\r\n"], Fault::Unexpected(354)),
        (&[HI, "334 \r\n"], Fault::Unexpected(334)),
        (&[HI, TLS_EHLO, &early], Fault::EarlyOctets),
    ] {
        let outcome = talk(settings(Tls::StartTls, None), Vec::new(), replies);
        assert_eq!(outcome.ending, Some(Ending::Fault(fault)), "{replies:?}");
        assert_ne!(outcome.said().last(), Some(&"QUIT"));
    }
    let ok = "250 ok\r\n";
    for (replies, code) in [
        (&["354 go\r\n"][..], 354),
        (&[ok, "354 go\r\n"], 354),
        (&[ok, ok, ok, ok], 250),
        (&[ok, ok, ok, "354 go\r\n", "354 go\r\n"], 354),
    ] {
        let outcome = submit(&[&[HI, PLAIN_EHLO], replies].concat());
        let fault = Ending::Fault(Fault::Unexpected(code));
        assert_eq!(outcome.ending, Some(fault), "{replies:?}");
    }
}

#[test]
fn nothing_that_controls_a_terminal_comes_out() {
    let outcome = submit(&[
        "220 \x1b[2J\u{9b}1mhi\rthere\x07\r\n",
        "554 \x1b]0;no\x07\r\n",
    ]);
    assert_eq!(outcome.dialogue[0], "S: 220 ?[2J?1mhi?there?");
    let Some(Ending::Disconnected) = outcome.ending else {
        panic!("{:?}", outcome.ending);
    };
}

proptest! {
    #[test]
    fn whatever_a_server_sends_is_shown_as_printable_text_within_bounds(
        reads in proptest::collection::vec(
            prop_oneof![
                "[2-5][0-9]{2}[ -][ -~]{0,10}\r\n".prop_map(String::into_bytes),
                Just(b"250 ok\r\n".to_vec()),
                Just(b"354 go\r\n".to_vec()),
                Just(b"250-a\r\n250 PIPELINING\r\n".to_vec()),
                proptest::collection::vec(any::<u8>(), 0..700),
            ],
            0..30
        )
    ) {
        let mut client = Client::new(settings(Tls::Off, None));
        let mut reads = reads.iter();
        for _ in 0..2000 {
            match client.step() {
                Step::Tell(line) => {
                    let line = line.to_string();
                    prop_assert!(line.bytes().all(|octet| matches!(octet, b' '..=b'~')));
                    prop_assert!(line.len() < 600);
                }
                Step::Receive => {
                    prop_assert!(client.input.octets.len() <= REPLY_LINE);
                    match reads.next() {
                        Some(read) => client.receive(read),
                        None => client.disconnected(),
                    }
                }
                Step::Ready => client.submit(message(&["a@example.net"], "x")),
                Step::Close(ending) => {
                    client.receive(b"250 ok\r\n");
                    client.submit(message(&["a@example.net"], "x"));
                    let again = client.step();
                    prop_assert!(matches!(again, Step::Close(same) if same == ending));
                    return Ok(());
                }
                Step::Send(_) | Step::Settled(_) | Step::StartTls => {}
            }
        }
        prop_assert!(false, "the session does not end");
    }
}
