//! The hard rules of a session, each by its name.

use std::fmt::Write as _;

use super::*;

const ENVELOPE: [&str; 2] = ["MAIL FROM:<ann@example.com>", "RCPT TO:<bob@example.net>"];

/// A driver to which mail data may be sent.
fn in_data(settings: Settings) -> Driver<'static> {
    let mut driver = authenticated(settings);
    driver.must(&ENVELOPE);
    driver.must(&["DATA"]);
    driver
}

#[test]
fn the_banner_comes_first_and_names_the_host() {
    let driver = connected();
    assert_eq!(driver.sends, ["220 gateway.example ESMTP smtp-gateway\r\n"]);
}

#[test]
fn octets_behind_starttls_end_the_session() {
    for behind in ["EHLO x\r\n", "M", "\r\n", "\0"] {
        let mut driver = connected();
        driver.must(&["EHLO client.example"]);
        let sent = driver.send(format!("STARTTLS\r\n{behind}"));
        assert_eq!(codes(&sent), ["421 4.5.0"], "{behind:?}");
        assert_eq!(driver.ending(), Some(Ending::EarlyOctets));
        assert!(!driver.events.contains(&Event::Handshake));
    }
}

#[test]
fn octets_that_came_in_clear_are_not_there_under_tls() {
    let mut driver = connected();
    driver.session.receive(b"STARTTLS\r\n");
    assert!(matches!(driver.session.step(), Step::Send(_)));
    assert!(matches!(driver.session.step(), Step::StartTls));
    // A driver that reads on before the handshake is a fault; it must not be one for the client.
    driver.session.receive(b"EHLO evil.example\r\n");
    driver.session.tls_established();
    driver.run();
    assert!(driver.session.greeting().is_none());
    assert_eq!(driver.session.buffered(), 0);
    assert_eq!(driver.say("NOOP"), "250 2.0.0");
}

#[test]
fn tls_forgets_ehlo_transaction_and_identity() {
    let mut driver = Driver::new(settings(), Tls::Offered, Authentication::Waived, positive);
    driver.must(&["EHLO client.example"]);
    driver.must(&ENVELOPE);
    // AUTH is refused in clear, so the identity is put in by hand.
    driver.session.peer.authenticated = true;
    driver.must(&["STARTTLS"]);
    assert!(driver.session.greeting().is_none());
    assert!(!driver.session.peer.authenticated);
    assert_eq!(driver.say("DATA"), "503 5.5.1");
    assert_eq!(driver.say("MAIL FROM:<>"), "503 5.5.1");
    let offered = driver.send("EHLO client.example\r\n");
    assert!(!offered.contains("STARTTLS"), "{offered}");
    assert_eq!(driver.say("RCPT TO:<bob@example.net>"), "503 5.5.1");
}

#[test]
fn a_line_begun_in_clear_is_not_ended_under_tls() {
    let mut driver = connected();
    driver.send(vec![b'x'; 600]);
    driver.send("\r\nSTARTTLS\r\n");
    assert_eq!(driver.say("EHLO client.example"), "250");
}

#[test]
fn octets_behind_a_refused_data_end_the_session() {
    // Refused by the protocol: no transaction, or no recipient.
    for (lines, reply) in [(&[][..], "503 5.5.1"), (&["MAIL FROM:<>"], "554 5.5.1")] {
        let mut driver = authenticated(settings());
        driver.must(lines);
        let sent = driver.send("DATA\r\nMAIL FROM:<evil@example.org>\r\n");
        assert_eq!(codes(&sent), [reply]);
        assert_eq!(driver.ending(), Some(Ending::EarlyOctets));
    }
    // Refused by the answer.
    let mut driver = deciding(|seen| match seen {
        Seen::Data => Reply::new(452, 3, 1, "No memory"),
        seen => positive(seen),
    });
    driver.must(&ENVELOPE);
    let sent = driver.send("DATA\r\nSubject: x\r\n");
    assert_eq!(codes(&sent), ["452 4.3.1"]);
    assert_eq!(driver.ending(), Some(Ending::EarlyOctets));
}

#[test]
fn a_refused_data_with_nothing_behind_it_leaves_the_transaction() {
    let mut refusals = 1;
    let mut driver = deciding(|seen| match seen {
        Seen::Data if refusals > 0 => {
            refusals -= 1;
            Reply::new(452, 3, 1, "No memory")
        }
        seen => positive(seen),
    });
    driver.must(&ENVELOPE);
    assert_eq!(driver.say("DATA"), "452 4.3.1");
    driver.must(&["DATA", "."]);
    assert_eq!(driver.messages(), [""]);
}

#[test]
fn an_oversized_message_gets_552_at_its_end_and_the_session_goes_on() {
    let mut driver = in_data(limited(|limits| limits.message_size = 1000));
    for _ in 0..1000 {
        assert_eq!(driver.send("0123456789\r\n.fake end\r\n"), "");
        assert!(driver.session.buffered() <= 1000);
    }
    assert_eq!(codes(&driver.send(".\r\n")), ["552 5.3.4"]);
    driver.must(&ENVELOPE);
    driver.must(&["DATA"]);
    assert_eq!(codes(&driver.send("Subject: x\r\n.\r\n")), ["250 2.0.0"]);
    assert_eq!(driver.messages(), ["Subject: x\r\n"]);
    assert_eq!(driver.session.peer.errors, 0);
}

#[test]
fn without_a_message_size_limit_any_size_is_taken() {
    let mut driver = authenticated(limited(|limits| limits.message_size = 0));
    let offered = driver.send("EHLO client.example\r\n");
    assert!(offered.contains("250-SIZE 0\r\n"), "{offered}");
    driver.must(&["MAIL FROM:<> SIZE=99999999999999999999"]);
    driver.must(&["RCPT TO:<bob@example.net>", "DATA"]);
    driver.send(vec![b'x'; 100_000]);
    assert_eq!(codes(&driver.send("\r\n.\r\n")), ["250 2.0.0"]);
}

#[test]
fn auth_in_clear_is_538() {
    let mut driver = connected();
    let offered = driver.send("EHLO client.example\r\n");
    assert!(!offered.contains("AUTH"), "{offered}");
    for line in ["AUTH PLAIN AGFubgBzZWNyZXQ=", "AUTH PLAIN", "AUTH LOGIN"] {
        assert_eq!(driver.say(line), "538 5.7.11");
    }
    assert_eq!(driver.questions().count(), 0);
}

#[test]
fn mail_needs_tls_and_authentication_where_required() {
    let mut driver = connected();
    driver.must(&["EHLO client.example"]);
    let sent = driver.send("MAIL FROM:<>\r\n");
    assert!(sent.contains("STARTTLS"), "{sent}");
    driver.must(&["STARTTLS", "EHLO client.example"]);
    let sent = driver.send("MAIL FROM:<>\r\n");
    assert_eq!(codes(&sent), ["530 5.7.0"]);
    assert!(!sent.contains("STARTTLS"), "{sent}");
    assert_eq!(driver.questions().count(), 0);
}

#[test]
fn mail_inside_a_transaction_is_503_and_changes_nothing() {
    let mut driver = authenticated(settings());
    driver.must(&ENVELOPE);
    assert_eq!(driver.say("MAIL FROM:<evil@example.org>"), "503 5.5.1");
    driver.must(&["DATA", "."]);
    let Some(Seen::Message(envelope, _)) = driver.questions().last() else {
        panic!("the message is asked about");
    };
    assert_eq!(envelope.reverse_path().to_string(), "ann@example.com");
    assert_eq!(envelope.recipients().len(), 1);
}

#[test]
fn http_verbs_and_tls_records_end_the_session() {
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let long_target = format!("POST /{} HTTP/1.1\r\nHost: x\r\n", "a".repeat(2000));
    for first in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"post /x HTTP/1.1\r\nHost: x\r\n\r\nEHLO x\r\nMAIL FROM:<>\r\n",
        b"CONNECT mail.example:25 HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        // The rest of a ClientHello may hold no line break, or one far away.
        &hello[..],
        &hello[..2],
        // A line beyond its limit is no way round this.
        long_target.as_bytes(),
    ] {
        for mut driver in [connected(), trusted(settings())] {
            let shown = String::from_utf8_lossy(first);
            let codes = codes(&driver.send(first));
            assert_eq!(codes, ["421 4.7.0"], "{shown:?}");
            assert_eq!(driver.ending(), Some(Ending::NotSmtp), "{shown:?}");
        }
    }
}

#[test]
fn an_http_verb_inside_a_line_is_none() {
    let mut driver = with(limited(|limits| limits.errors = 0));
    // Also where the front of the line was thrown away already.
    driver.send(vec![b'x'; 600]);
    driver.send("GET / HTTP/1.1");
    assert_eq!(codes(&driver.send("\r\n")), ["500 5.5.2"]);
    assert_eq!(driver.say("NOOP GET / HTTP/1.1"), "250 2.0.0");
    for line in ["GETTING", "PUTS x", "postmaster"] {
        for cut in 0..line.len() {
            driver.send(&line[..cut]);
            assert_eq!(driver.say(&line[cut..]), "500 5.5.2", "{line} at {cut}");
        }
    }
}

#[test]
fn recipient_over_the_limit_is_452_and_no_error() {
    let mut driver = authenticated(limited(|limits| {
        limits.recipients = 2;
        limits.errors = 2;
    }));
    driver.must(&[
        "MAIL FROM:<>",
        "RCPT TO:<a@x.example>",
        "RCPT TO:<b@x.example>",
    ]);
    for at in 0..50 {
        let line = format!("RCPT TO:<over{at}@x.example>");
        assert_eq!(driver.say(&line), "452 4.5.3");
    }
    // One that is there already takes no place.
    driver.must(&["RCPT TO:<a@x.example>", "DATA", "."]);
    // The next transaction has its places again.
    driver.must(&["MAIL FROM:<>", "RCPT TO:<c@x.example>", "DATA", "."]);
    assert_eq!(driver.messages().len(), 2);
}

#[test]
fn without_a_recipient_limit_all_are_taken() {
    let mut driver = authenticated(limited(|limits| limits.recipients = 0));
    let offered = driver.send("EHLO client.example\r\n");
    assert!(!offered.contains("LIMITS"), "{offered}");
    driver.must(&["MAIL FROM:<>"]);
    for at in 0..300 {
        driver.must(&[&format!("RCPT TO:<r{at}@x.example>")]);
    }
}

#[test]
fn the_same_recipient_twice_is_taken_once() {
    let mut driver = authenticated(settings());
    driver.must(&["MAIL FROM:<ann@example.com>"]);
    driver.must(&["RCPT TO:<bob@example.net>", "RCPT TO:<\"bob\"@EXAMPLE.net>"]);
    // A local part in other case is somebody else (RFC 5321 §2.4).
    driver.must(&["RCPT TO:<Bob@example.net>", "DATA", "."]);
    let Some(Seen::Message(envelope, _)) = driver.questions().last() else {
        panic!("the message is asked about");
    };
    let recipients: Vec<_> = envelope
        .recipients()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(recipients, ["bob@example.net", "Bob@example.net"]);
    let asked = driver
        .questions()
        .filter(|seen| matches!(seen, Seen::Rcpt(_)));
    assert_eq!(asked.count(), 2);
}

#[test]
fn a_refused_recipient_is_not_in_the_envelope() {
    let mut driver = deciding(|seen| match seen {
        Seen::Rcpt(path) if path.to_string().starts_with("dead") => {
            Reply::new(550, 1, 1, "No such mailbox")
        }
        seen => positive(seen),
    });
    driver.must(&["MAIL FROM:<>"]);
    assert_eq!(driver.say("RCPT TO:<dead@x.example>"), "550 5.1.1");
    assert_eq!(driver.say("DATA"), "554 5.5.1");
    driver.must(&["RCPT TO:<bob@x.example>", "DATA", "."]);
    let Some(Seen::Message(envelope, _)) = driver.questions().last() else {
        panic!("the message is asked about");
    };
    assert_eq!(envelope.recipients().len(), 1);
}

#[test]
fn any_answer_to_a_message_ends_the_transaction() {
    for reply in [
        Reply::new(250, 0, 0, "Ok"),
        Reply::new(451, 3, 0, "Later"),
        Reply::new(554, 6, 0, "No"),
    ] {
        let given = reply.clone();
        let mut driver = deciding(move |seen| match seen {
            Seen::Message(..) => given.clone(),
            seen => positive(seen),
        });
        driver.must(&ENVELOPE);
        driver.must(&["DATA"]);
        assert!(driver.say(".").starts_with(&reply.code().to_string()));
        assert_eq!(driver.say("RCPT TO:<bob@example.net>"), "503 5.5.1");
        driver.must(&ENVELOPE);
    }
}

#[test]
fn a_refused_mail_opens_no_transaction() {
    let mut driver = deciding(|seen| match seen {
        Seen::Mail(..) => Reply::new(451, 7, 1, "Too fast"),
        seen => positive(seen),
    });
    assert_eq!(driver.say("MAIL FROM:<>"), "451 4.7.1");
    assert_eq!(driver.say("RCPT TO:<bob@example.net>"), "503 5.5.1");
}

#[test]
fn auth_inside_a_transaction_is_503_and_changes_nothing() {
    let tls = Tls::Established;
    let mut driver = Driver::new(settings(), tls, Authentication::Waived, positive);
    driver.must(&["EHLO client.example"]);
    driver.must(&ENVELOPE);
    assert_eq!(driver.say("AUTH PLAIN AGFubgBzZWNyZXQ="), "503 5.5.1");
    driver.must(&["DATA", ".", "AUTH PLAIN AGFubgBzZWNyZXQ="]);
}

#[test]
fn rset_and_ehlo_empty_the_envelope_and_keep_the_identity() {
    for reset in ["RSET", "EHLO client.example", "HELO client.example"] {
        let mut driver = authenticated(settings());
        driver.must(&ENVELOPE);
        driver.must(&[reset, "MAIL FROM:<carol@example.com>"]);
        assert_eq!(driver.say("DATA"), "554 5.5.1", "{reset}");
        driver.must(&["RCPT TO:<dan@example.net>", "DATA", "."]);
        let Some(Seen::Message(envelope, _)) = driver.questions().last() else {
            panic!("the message is asked about");
        };
        assert_eq!(envelope.reverse_path().to_string(), "carol@example.com");
        assert_eq!(envelope.recipients().len(), 1, "{reset}");
    }
}

#[test]
fn draining_waits_for_the_message_in_flight() {
    let mut driver = in_data(settings());
    driver.send("Subject: x\r\n");
    driver.session.draining();
    driver.run();
    assert!(!driver.closed);
    assert_eq!(driver.send("\r\nmore\r\n"), "");
    let sent = driver.send(".\r\nMAIL FROM:<too@late.example>\r\n");
    assert_eq!(codes(&sent), ["250 2.0.0", "421 4.3.2"]);
    assert_eq!(driver.ending(), Some(Ending::Draining));
    assert_eq!(driver.messages().len(), 1);
}

#[test]
fn draining_waits_for_the_answer_to_a_question() {
    let mut driver = authenticated(settings());
    driver
        .session
        .receive(b"MAIL FROM:<>\r\nRCPT TO:<bob@example.net>\r\n");
    let Step::Ask(Question::Mail(..)) = driver.session.step() else {
        panic!("MAIL is asked about");
    };
    driver.session.draining();
    assert!(matches!(driver.session.step(), Step::Receive));
    driver.session.answer(&reply::SENDER_OK);
    driver.run();
    let last = codes(&text(driver.sends.last().unwrap()));
    assert_eq!(last, ["250 2.1.0", "421 4.3.2"]);
    assert_eq!(driver.ending(), Some(Ending::Draining));
}

#[test]
fn draining_ends_a_session_without_mail_data_at_once() {
    for lines in [&[][..], &["MAIL FROM:<>"], &ENVELOPE] {
        let mut driver = authenticated(settings());
        driver.must(lines);
        driver.session.draining();
        driver.run();
        assert_eq!(driver.ending(), Some(Ending::Draining), "{lines:?}");
        assert_eq!(codes(&text(driver.sends.last().unwrap())), ["421 4.3.2"]);
    }
}

#[test]
fn draining_waits_for_the_handshake() {
    let mut driver = connected();
    driver.session.receive(b"STARTTLS\r\n");
    assert!(matches!(driver.session.step(), Step::Send(_)));
    driver.session.draining();
    assert!(matches!(driver.session.step(), Step::StartTls));
    driver.session.tls_established();
    driver.run();
    assert_eq!(driver.ending(), Some(Ending::Draining));
}

#[test]
fn a_time_out_is_421_and_takes_no_half_message() {
    let mut driver = in_data(settings());
    assert_eq!(driver.session.waiting_for(), Wait::MailData);
    driver.send("Subject: x\r\n");
    driver.session.timed_out();
    driver.run();
    assert_eq!(codes(&text(driver.sends.last().unwrap())), ["421 4.4.2"]);
    assert_eq!(driver.ending(), Some(Ending::TimedOut));
    assert_eq!(driver.send("\r\n.\r\n"), "");
    assert!(driver.messages().is_empty());
    assert_eq!(driver.session.buffered(), 0);
}

#[test]
fn a_session_does_not_expire_within_a_message() {
    let mut driver = in_data(settings());
    driver.session.expired();
    assert_eq!(codes(&driver.send("x\r\n.\r\n")), ["250 2.0.0"]);
    driver.must(&ENVELOPE);
    driver.session.expired();
    driver.run();
    assert_eq!(codes(&text(driver.sends.last().unwrap())), ["421 4.4.2"]);
    assert_eq!(driver.ending(), Some(Ending::Expired));
}

#[test]
fn without_room_mail_data_is_read_to_its_end_and_the_next_message_is_taken() {
    let mut driver = in_data(settings());
    driver.send("Subject: one\r\n");
    driver.session.no_room();
    assert_eq!(driver.session.buffered(), 0);
    assert_eq!(driver.send("more\r\n"), "");
    assert_eq!(driver.session.buffered(), 0);
    assert_eq!(codes(&driver.send("..\r\n.\r\n")), ["452 4.3.1"]);
    assert!(driver.messages().is_empty());
    driver.must(&ENVELOPE);
    driver.must(&["DATA"]);
    assert_eq!(codes(&driver.send("two\r\n.\r\n")), ["250 2.0.0"]);
}

#[test]
fn an_answer_after_a_time_out_changes_nothing() {
    let mut driver = authenticated(settings());
    driver.session.receive(b"MAIL FROM:<>\r\n");
    assert!(matches!(driver.session.step(), Step::Ask(_)));
    driver.session.timed_out();
    driver.session.answer(&reply::SENDER_OK);
    driver.run();
    assert_eq!(codes(&text(driver.sends.last().unwrap())), ["421 4.4.2"]);
    assert_eq!(driver.ending(), Some(Ending::TimedOut));
}

#[test]
fn waits_are_named_for_their_patience() {
    let mut driver = authenticated(settings());
    assert_eq!(driver.session.waiting_for(), Wait::Command);
    driver.must(&ENVELOPE);
    assert_eq!(driver.session.waiting_for(), Wait::Transaction);
    driver.must(&["DATA"]);
    assert_eq!(driver.session.waiting_for(), Wait::MailData);
    driver.must(&["."]);
    assert_eq!(driver.session.waiting_for(), Wait::Command);
}

#[test]
fn the_error_budget_is_one_for_the_whole_session() {
    let mut driver = with(limited(|limits| limits.errors = 4));
    assert_eq!(driver.say("FOO"), "500 5.5.2");
    driver.must(&["EHLO client.example", "STARTTLS", "EHLO client.example"]);
    assert_eq!(driver.say("AUTH PLAIN AGFubgB3cm9uZw=="), "535 5.7.8");
    driver.must(&["AUTH PLAIN AGFubgBzZWNyZXQ="]);
    assert_eq!(driver.say("AUTH PLAIN"), "503 5.5.1");
    driver.must(&["NOOP", "RSET"]);
    assert_eq!(driver.say("VRFY"), "421 4.7.0");
    assert_eq!(driver.ending(), Some(Ending::Errors));
}

#[test]
fn without_an_error_limit_a_session_goes_on() {
    let mut driver = with(limited(|limits| limits.errors = 0));
    for _ in 0..100 {
        assert_eq!(driver.say("FOO"), "500 5.5.2");
    }
}

#[test]
fn refusals_by_the_gateway_are_no_errors_of_the_client() {
    let mut driver = deciding(|seen| match seen {
        Seen::Message(..) => Reply::new(554, 6, 0, "No"),
        Seen::Mail(path, _) if path.to_string() == "eve@example.com" => {
            Reply::new(550, 7, 1, "Not yours")
        }
        Seen::Rcpt(path) if path.to_string() == "dead@example.net" => {
            Reply::new(550, 1, 1, "No such mailbox")
        }
        seen => positive(seen),
    });
    for _ in 0..10 {
        assert_eq!(driver.say("MAIL FROM:<eve@example.com>"), "550 5.7.1");
        assert_eq!(driver.say("MAIL FROM:<ünï@example.com>"), "550 5.6.7");
        assert_eq!(driver.say("MAIL FROM:<> SIZE=999999999"), "552 5.3.4");
        driver.must(&ENVELOPE);
        assert_eq!(driver.say("RCPT TO:<dead@example.net>"), "550 5.1.1");
        assert_eq!(driver.say("RCPT TO:<ünï@example.net>"), "553 5.6.7");
        driver.must(&["DATA"]);
        assert_eq!(driver.say("."), "554 5.6.0");
    }
    assert_eq!(driver.session.peer.errors, 0);
}

#[test]
fn a_look_up_that_is_down_is_454_and_no_error() {
    let mut driver = connected();
    driver.decide = Box::new(|_| Reply::new(454, 7, 0, "Later"));
    driver.must(&["STARTTLS", "EHLO client.example"]);
    for _ in 0..20 {
        assert_eq!(driver.say("AUTH PLAIN AGFubgBzZWNyZXQ="), "454 4.7.0");
    }
    assert_eq!(driver.say("MAIL FROM:<>"), "530 5.7.0");
}

#[test]
fn pipelined_replies_come_as_one_send() {
    let mut driver = authenticated(settings());
    let before = driver.sends.len();
    let sent = driver.send(
        "MAIL FROM:<ann@example.com>\r\n\
         RCPT TO:<bob@example.net>\r\n\
         RCPT TO:<root@localhost>\r\n\
         RCPT TO:<carol@example.net>\r\n\
         DATA\r\n",
    );
    assert_eq!(driver.sends.len(), before + 1);
    assert_eq!(
        codes(&sent),
        ["250 2.1.0", "250 2.1.5", "554 5.1.2", "250 2.1.5", "354"]
    );
}

#[test]
fn replies_to_a_flood_of_commands_leave_in_bounded_pieces() {
    let mut driver = connected();
    let sent = driver.send("NOOP\r\n".repeat(5000));
    assert_eq!(codes(&sent).len(), 5000);
    let longest = driver.sends.iter().map(Bytes::len).max();
    assert!(longest <= Some(FLUSH_AT + 512), "{longest:?}");
}

#[test]
fn the_354_is_not_delayed() {
    let mut driver = authenticated(settings());
    driver.must(&ENVELOPE);
    // Mail data that came along, its end included, does not hold it back.
    let before = driver.sends.len();
    let sent = driver.send("DATA\r\nSubject: x\r\n.\r\nQUIT\r\n");
    assert_eq!(codes(&sent), ["354", "250 2.0.0", "221 2.0.0"]);
    assert!(driver.sends[before].starts_with(b"354 "));
    assert!(driver.sends[before].ends_with(b"\r\n"));
    assert_eq!(driver.sends.len(), before + 2);
}

#[test]
fn earlier_replies_leave_before_a_slow_question() {
    let mut driver = connected();
    driver.must(&["STARTTLS", "EHLO client.example"]);
    driver
        .session
        .receive(b"NOOP\r\nAUTH PLAIN AGFubgBzZWNyZXQ=\r\n");
    assert!(matches!(driver.session.step(), Step::Send(_)));
    assert!(matches!(
        driver.session.step(),
        Step::Ask(Question::Authenticate(_))
    ));
}

#[test]
fn body_and_smtputf8_of_go_are_taken_on_every_mail() {
    let mut driver = authenticated(settings());
    for _ in 0..3 {
        driver.must(&["MAIL FROM:<ann@example.com> BODY=8BITMIME SMTPUTF8"]);
        driver.must(&["RCPT TO:<bob@example.net>", "DATA"]);
        driver.must(&["."]);
    }
    let all = driver.questions().filter_map(|seen| match seen {
        Seen::Mail(_, parameters) => Some(parameters.smtputf8),
        _ => None,
    });
    assert_eq!(all.collect::<Vec<_>>(), [true; 3]);
}

#[test]
fn an_auth_line_of_12288_octets_fits_and_one_more_gets_500() {
    let mut driver = connected();
    driver.decide = Box::new(|seen| match seen {
        Seen::Authenticate(_, password) if password.len() > 9000 => reply::AUTHENTICATED.clone(),
        seen => positive(seen),
    });
    driver.must(&["STARTTLS", "EHLO client.example"]);
    assert_eq!(driver.say("AUTH PLAIN"), "334");
    let response = |length: usize| "A".repeat(length - 2);
    assert_eq!(driver.say(&response(12_289)), "500 5.5.6");
    // The exchange is over, and the rest of the line is not read as a command.
    assert_eq!(driver.say("NOOP"), "250 2.0.0");
    assert_eq!(driver.say("AUTH PLAIN"), "334");
    assert_eq!(driver.say(&response(12_288)), "501 5.5.2");
    assert_eq!(driver.say("AUTH LOGIN"), "334");
    assert_eq!(driver.say("YW5u"), "334");
    // The longest line of whole groups of base64: 12 286 octets, a password of 9213.
    assert_eq!(driver.say(&"eHh4".repeat(3071)), "235 2.7.0");
}

#[test]
fn lone_lf_ends_a_command_unless_refused() {
    let mut driver = connected();
    assert_eq!(
        codes(&driver.send("EHLO client.example\nNOOP\n")),
        ["250", "250 2.0.0"]
    );
    let mut driver = with(refusing_lone_newlines());
    assert_eq!(codes(&driver.send("EHLO client.example\n")), ["500 5.5.2"]);
    assert!(driver.session.greeting().is_none());
    assert_eq!(driver.say("NOOP"), "250 2.0.0");
}

#[test]
fn a_refused_line_inside_an_exchange_ends_the_exchange() {
    let mut driver = with(refusing_lone_newlines());
    driver.must(&["STARTTLS", "EHLO client.example", "AUTH LOGIN"]);
    assert_eq!(codes(&driver.send("YW5u\n")), ["500 5.5.2"]);
    assert_eq!(driver.say("NOOP"), "250 2.0.0");
}

#[test]
fn quit_behind_the_end_of_data_is_answered() {
    let mut driver = in_data(settings());
    assert_eq!(
        codes(&driver.send("a\r\n.\r\nQUIT\r\n")),
        ["250 2.0.0", "221 2.0.0"]
    );
    assert_eq!(driver.ending(), Some(Ending::Quit));
}

#[test]
fn dot_stuffing_is_undone() {
    let mut driver = in_data(settings());
    driver.send("..\r\n...a\r\n.b\r\n.\r\n");
    assert_eq!(driver.messages(), [".\r\n..a\r\nb\r\n"]);
}

#[test]
fn words_from_outside_stay_in_one_line() {
    let mut driver = deciding(|seen| match seen {
        Seen::Message(..) => reply::OK.quoting("queued\r\n250 2.0.0 forged\r\n\0\u{2028}é"),
        seen => positive(seen),
    });
    driver.must(&ENVELOPE);
    driver.must(&["DATA"]);
    let sent = driver.send(".\r\n");
    assert_eq!(codes(&sent), ["250 2.0.0"]);
    assert!(sent.is_ascii());
}

#[test]
fn a_421_from_any_question_ends_the_session() {
    for at in 0..5 {
        let mut driver = connected();
        driver.must(&["STARTTLS", "EHLO client.example"]);
        let mut asked = 0;
        driver.decide = Box::new(move |seen| {
            asked += 1;
            if asked > at {
                Reply::new(421, 7, 0, "Enough")
            } else {
                positive(seen)
            }
        });
        let lines = [
            "AUTH PLAIN AGFubgBzZWNyZXQ=",
            ENVELOPE[0],
            ENVELOPE[1],
            "DATA",
            ".",
        ];
        for line in &lines[..at] {
            driver.must(&[line]);
        }
        assert_eq!(driver.say(lines[at]), "421 4.7.0", "{}", lines[at]);
        assert_eq!(driver.ending(), Some(Ending::Refused));
        assert_eq!(driver.say("NOOP"), "");
    }
}

#[test]
fn an_answer_said_to_be_the_last_ends_the_session_behind_it() {
    let mut driver = authenticated(settings());
    driver.must(&ENVELOPE);
    driver.must(&["DATA"]);
    driver.session.receive(b"x\r\n.\r\nNOOP\r\n");
    assert!(matches!(
        driver.session.step(),
        Step::Ask(Question::Message(..))
    ));
    driver
        .session
        .answer_and_close(&Reply::new(550, 7, 1, "No"));
    let Step::Send(octets) = driver.session.step() else {
        panic!("the answer is sent");
    };
    assert_eq!(octets, "550 5.7.1 No\r\n");
    assert!(matches!(driver.session.step(), Step::Close));
    assert_eq!(driver.session.ending(), Some(Ending::Refused));
}

#[test]
fn nothing_brings_a_closed_session_back() {
    let inputs: [fn(&mut Session); 6] = [
        |session| session.receive(b"NOOP\r\n"),
        |session| session.answer(&reply::OK),
        Session::timed_out,
        Session::draining,
        Session::last_call,
        Session::tls_established,
    ];
    for input in inputs {
        let mut driver = connected();
        driver.say("QUIT");
        input(&mut driver.session);
        assert!(matches!(driver.session.step(), Step::Close));
        assert_eq!(driver.session.ending(), Some(Ending::Quit));
        assert_eq!(driver.session.buffered(), 0);
    }
}

#[test]
fn a_handshake_that_nobody_asked_for_changes_nothing() {
    let mut driver = authenticated(settings());
    driver.must(&ENVELOPE);
    driver.session.tls_established();
    driver.run();
    driver.must(&["DATA"]);
}

#[test]
fn the_protocol_is_named_as_received_fields_name_it() {
    let mut driver = connected();
    assert_eq!(driver.session.protocol(), "SMTP");
    driver.must(&["HELO client.example"]);
    assert_eq!(driver.session.protocol(), "SMTP");
    driver.must(&["EHLO client.example"]);
    assert_eq!(driver.session.protocol(), "ESMTP");
    driver.must(&["STARTTLS", "EHLO client.example"]);
    assert_eq!(driver.session.protocol(), "ESMTPS");
    driver.must(&["AUTH PLAIN AGFubgBzZWNyZXQ="]);
    assert_eq!(driver.session.protocol(), "ESMTPSA");
    assert_eq!(
        driver.session.greeting(),
        Some(&Greeting {
            name: "client.example".into(),
            esmtp: true
        })
    );
}

/// Line ends around a dot that some server takes for the end of data (FIELD, row T1).
const SMUGGLING: [&[u8]; 17] = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r.\r",
    b"\r.\n",
    b"\r.\r\n",
    b"\n.\r",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\n.\0\r\n",
    b"\r\n.\0\n",
    b"\r\n.\r\r\n",
    b"\r\r\n.\r\r\n",
    b"\n\n.\r\r\n",
    b"\r\n. \r\n",
    b"\r\n\x0b.\r\n",
];

/// One message to the eye of RFC 5321; two, where `end` is taken for the end of data.
fn smuggled(end: &[u8]) -> Vec<u8> {
    let second = b"MAIL FROM:<evil@example.org>\r\nRCPT TO:<bob@example.net>\r\nDATA\r\n\
                   Subject: second\r\n\r\nb\r\n.\r\n";
    [b"Subject: first\r\n\r\na", end, second].concat()
}

#[test]
fn smuggling_variants_never_make_two_messages() {
    for end in SMUGGLING {
        let mut driver = in_data(settings());
        assert_eq!(codes(&driver.send(smuggled(end))), ["250 2.0.0"], "{end:?}");
        let messages = driver.messages();
        assert_eq!(messages.len(), 1, "{end:?}");
        assert!(
            messages[0].contains("MAIL FROM:<evil@example.org>"),
            "{end:?}"
        );
        assert_eq!(driver.say("QUIT"), "221 2.0.0", "{end:?}");
    }
}

#[test]
fn smuggling_variants_split_at_every_octet_never_make_two_messages() {
    for end in SMUGGLING {
        let octets = smuggled(end);
        let mut content = None;
        for at in 0..=octets.len() {
            let (left, right) = octets.split_at(at);
            let mut driver = in_data(settings());
            let mut sent = driver.send(left);
            sent.push_str(&driver.send(right));
            assert_eq!(codes(&sent), ["250 2.0.0"], "{end:?} at {at}");
            let messages = driver.messages();
            assert_eq!(messages.len(), 1, "{end:?} at {at}");
            assert_eq!(
                content.get_or_insert(messages.clone()),
                &messages,
                "{end:?} at {at}"
            );
        }
    }
}

#[test]
fn smuggling_variants_are_refused_at_the_true_end_where_lone_newlines_are() {
    for end in SMUGGLING {
        let lone = {
            let joined = text(end).replace("\r\n", "");
            joined.contains(['\r', '\n'])
        };
        let octets = smuggled(end);
        for at in 0..=octets.len() {
            let (left, right) = octets.split_at(at);
            let mut driver = in_data(refusing_lone_newlines());
            let mut sent = driver.send(left);
            sent.push_str(&driver.send(right));
            let expected = if lone { "550 5.5.2" } else { "250 2.0.0" };
            assert_eq!(codes(&sent), [expected], "{end:?} at {at}");
            assert_eq!(driver.closed, lone, "{end:?} at {at}");
            assert_eq!(
                driver.messages().len(),
                usize::from(!lone),
                "{end:?} at {at}"
            );
        }
    }
}

#[test]
fn normalised_content_has_no_lone_cr_or_lf() {
    for end in SMUGGLING {
        let mut driver = in_data(settings());
        driver.send(smuggled(end));
        let rest = driver.messages().concat().replace("\r\n", "");
        assert!(!rest.contains(['\r', '\n']), "{end:?}");
    }
}

/// A client that pipelines has sent RCPT and DATA before it learns that MAIL was refused
/// (RFC 2920 §3.1): that is no fault of its own.
#[test]
fn commands_pipelined_behind_a_refused_mail_are_no_errors() {
    let mut driver = deciding(|seen| match seen {
        Seen::Mail(..) => Reply::new(451, 7, 1, "Too fast"),
        seen => positive(seen),
    });
    let mut batch = String::from("MAIL FROM:<>\r\n");
    for at in 0..20 {
        let _ = write!(batch, "RCPT TO:<r{at}@example.net>\r\n");
    }
    batch.push_str("DATA\r\n");
    let codes = codes(&driver.send(batch));
    assert_eq!(codes.len(), 22);
    assert_eq!(driver.ending(), None);
}

/// Among the recipients of a list there are always some that are no addresses: the rest must get
/// their message, however many they are.
#[test]
fn bad_addresses_are_no_errors_of_the_client() {
    let mut driver = authenticated(settings());
    driver.must(&["MAIL FROM:<ann@example.com>", "RCPT TO:<bob@example.net>"]);
    for _ in 0..30 {
        assert_eq!(
            codes(&driver.send("RCPT TO:<x@localhost>\r\n")),
            ["554 5.1.2"]
        );
        assert_eq!(codes(&driver.send("RCPT TO:<x y>\r\n")), ["501 5.1.3"]);
    }
    driver.must(&["RSET"]);
    // A sender that is none is refused, and what was pipelined behind it counts as little.
    let mut batch = String::from("MAIL FROM:<root@localhost>\r\n");
    batch.push_str(&"RCPT TO:<bob@example.net>\r\n".repeat(20));
    batch.push_str("DATA\r\n");
    assert_eq!(codes(&driver.send(batch)).len(), 22);
    assert_eq!(driver.ending(), None);
}

/// RFC 5321 §4.5.3.1.4: extensions raise the limit by what their parameters may need.
#[test]
fn a_mail_line_has_room_for_all_parameters() {
    let mut driver = authenticated(settings());
    let path = format!("<{}@example.com>", "a".repeat(240));
    let auth = "+40".repeat(166);
    let line = format!("MAIL FROM:{path} SIZE=10 BODY=8BITMIME SMTPUTF8 AUTH={auth}\r\n");
    assert!(line.len() > 512, "{}", line.len());
    assert_eq!(codes(&driver.send(line)), ["250 2.1.0"]);
    let long = format!("MAIL FROM:<> AUTH={}\r\n", "a".repeat(1050));
    assert_eq!(codes(&driver.send(long)), ["500 5.5.2"]);
}
