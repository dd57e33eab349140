//! What holds for any octets and any answers.
//!
//! Streams are of two kinds: octets at random, and commands at random with a bias to those that
//! lead somewhere. The cuts are the reads of the driver.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::smtp::framing::stuff;

/// A listener, its limits, and what the driver answers.
#[derive(Debug, Clone)]
struct Setup {
    settings: Settings,
    tls: Tls,
    authentication: Authentication,
    answers: Vec<Answer>,
}

impl Setup {
    /// What a client says until it may send.
    fn opening(&self) -> &'static str {
        match (self.authentication, self.tls) {
            (Authentication::Waived, _) => "EHLO a\r\n",
            (_, Tls::Off | Tls::Offered) => {
                "EHLO a\r\nSTARTTLS\r\nEHLO a\r\nAUTH PLAIN AGFubgBzZWNyZXQ=\r\n"
            }
            (_, Tls::Established) => "EHLO a\r\nAUTH PLAIN AGFubgBzZWNyZXQ=\r\n",
        }
    }

    fn connect(&self) -> Driver<'_> {
        let mut answers = self.answers.iter().cycle();
        let decide = move |seen: &Seen| {
            let answer = answers.next().copied().unwrap_or(Answer::Positive);
            answer.to(seen)
        };
        let settings = self.settings.clone();
        Driver::new(settings, self.tls, self.authentication, decide)
    }
}

#[derive(Debug, Clone, Copy)]
enum Answer {
    Positive,
    Transient,
    Permanent,
    /// Words from outside that try to be two lines.
    Quoting,
    Close,
}

impl Answer {
    fn to(self, seen: &Seen) -> Reply {
        match self {
            Self::Positive => positive(seen),
            Self::Transient => Reply::new(451, 3, 0, "Later"),
            Self::Permanent => Reply::new(550, 7, 1, "No"),
            Self::Quoting => Reply::new(554, 6, 0, "").quoting("a\r\n250 2.0.0 b\nc\r\0\u{85}"),
            Self::Close => Reply::new(421, 3, 0, "Enough"),
        }
    }
}

fn setups() -> impl Strategy<Value = Setup> {
    let limits = (
        prop_oneof![Just(64usize), Just(512)],
        prop_oneof![Just(0u64), Just(40), Just(100_000)],
        prop_oneof![Just(0usize), Just(1), Just(100)],
        prop_oneof![2 => Just(0u64), 1 => Just(50)],
        prop_oneof![2 => Just(0u32), 1 => Just(2), 2 => Just(10)],
    );
    let answer = prop_oneof![
        16 => Just(Answer::Positive),
        1 => Just(Answer::Transient),
        1 => Just(Answer::Permanent),
        1 => Just(Answer::Quoting),
        1 => Just(Answer::Close),
    ];
    let tls = prop_oneof![
        1 => Just(Tls::Off),
        3 => Just(Tls::Offered),
        2 => Just(Tls::Established)
    ];
    let authentication = prop_oneof![Just(Authentication::Required), Just(Authentication::Waived)];
    let lone_newlines = prop_oneof![
        3 => Just(LoneNewlines::Normalise),
        1 => Just(LoneNewlines::Refuse)
    ];
    let answers = prop_oneof![Just(vec![Answer::Positive]), vec(answer, 1..12)];
    (limits, answers, tls, authentication, lone_newlines).prop_map(
        |(limits, answers, tls, authentication, lone_newlines)| {
            let (command_line, message_size, recipients, fan_out, errors) = limits;
            let settings = Settings {
                hostname: "gateway.example".into(),
                lone_newlines,
                limits: Limits {
                    command_line,
                    message_size,
                    recipients,
                    fan_out,
                    errors,
                },
            };
            Setup {
                settings,
                tls,
                authentication,
                answers,
            }
        },
    )
}

/// One whole line with its CRLF.
fn lines() -> impl Strategy<Value = Vec<u8>> {
    let mail = prop_oneof![
        Just("MAIL FROM:<ann@example.com>"),
        Just("MAIL FROM:<>"),
        Just("mail from: <ann@example.com> size=30 BODY=8BITMIME SMTPUTF8"),
        Just("MAIL FROM:<ann@example.com> SIZE=99999"),
        Just("MAIL FROM:<\u{fc}@example.com>"),
        Just("MAIL FROM:<ann@example.com> RET=FULL"),
        Just("MAIL FROM:<root@localhost>"),
    ];
    let rcpt = prop_oneof![
        Just("RCPT TO:<bob@example.net>"),
        Just("RCPT TO:<carol@example.net>"),
        Just("RCPT TO:<\"b@b> \"@example.net>"),
        Just("rcpt to:<@a.example:dan@[192.0.2.1]>"),
        Just("RCPT TO:<\u{fc}@example.net>"),
        Just("RCPT TO:<>"),
    ];
    let auth = prop_oneof![
        4 => Just("AUTH PLAIN AGFubgBzZWNyZXQ="),
        1 => Just("AUTH PLAIN"),
        1 => Just("AUTH LOGIN"),
        1 => Just("AUTH LOGIN YW5u"),
        1 => Just("AUTH PLAIN ="),
        1 => Just("AUTH PLAIN AGFubgB3cm9uZw=="),
        2 => Just("AGFubgBzZWNyZXQ="),
        2 => Just("YW5u"),
        2 => Just("c2VjcmV0"),
        1 => Just("*"),
    ];
    let other = prop_oneof![
        4 => Just("EHLO client.example"),
        1 => Just("HELO client.example"),
        2 => Just("STARTTLS"),
        2 => Just("RSET"),
        2 => Just("NOOP"),
        1 => Just("VRFY ann"),
        1 => Just("HELP"),
        1 => Just("EXPN x"),
        1 => Just("QUIT"),
        1 => Just("GET / HTTP/1.1"),
        1 => Just(""),
        1 => Just("FOO"),
        2 => Just("BDAT 5 LAST"),
        2 => Just("BDAT 5"),
        1 => Just("BDAT 0"),
        2 => Just("BDAT 0 LAST"),
        1 => Just("BDAT 300"),
        1 => Just("bdat 00050 last"),
        1 => Just("BDAT five"),
        1 => Just("BDAT 18446744073709551616"),
        1 => Just("."),
    ];
    let text = prop_oneof![
        3 => mail.boxed(),
        4 => rcpt.boxed(),
        4 => Just("DATA").boxed(),
        2 => auth.boxed(),
        3 => other.boxed(),
    ];
    prop_oneof![
        30 => text.prop_map(|line| line.as_bytes().to_vec()),
        1 => (0usize..700).prop_map(|length| vec![b'x'; length]),
        1 => (12_000usize..12_400).prop_map(|length| vec![b'A'; length]),
        1 => (12_000usize..12_400).prop_map(|length| {
            [b"AUTH PLAIN ", &*vec![b'A'; length]].concat()
        }),
        1 => vec(any::<u8>().prop_filter("no line break", |octet| *octet != b'\n'), 0..20),
    ]
    .prop_map(|mut line| {
        line.extend_from_slice(b"\r\n");
        line
    })
}

/// Pieces of streams that lead somewhere, or disturb what does.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let octets = |text: &'static str| Just(text.as_bytes().to_vec());
    let transaction = "MAIL FROM:<ann@example.com>\r\nRCPT TO:<bob@example.net>\r\nDATA\r\n";
    let disturbance = prop_oneof![
        12 => lines(),
        4 => "[.\r\na]{0,12}".prop_map(String::into_bytes),
        2 => octets("\r\n.\r\n"),
        1 => octets("NOOP\n"),
        1 => octets("\r"),
        1 => octets("AUTH "),
        1 => octets("POST "),
        1 => octets("\x16\x03\x01\x02"),
        1 => vec(any::<u8>(), 0..20),
    ];
    prop_oneof![
        4 => octets(transaction),
        1 => octets("AUTH LOGIN\r\nYW5u\r\nc2VjcmV0\r\n"),
        1 => octets("AUTH PLAIN\r\n"),
        2 => octets("MAIL FROM:<>\r\n"),
        2 => octets("RCPT TO:<carol@example.net>\r\n"),
        2 => octets("RCPT TO:<carol@example.net>\r\nDATA\r\n"),
        6 => octets("Subject: x\r\n\r\nhello\r\n.\r\n"),
        2 => octets("MAIL FROM:<>\r\nRCPT TO:<dan@example.net>\r\nBDAT 9\r\nSubject: "),
        2 => octets("BDAT 5\r\nx\r\n\r\n"),
        2 => octets("BDAT 7\r\nDATA\r\n."),
        2 => octets("BDAT 8 LAST\r\nhello\r\n\r"),
        1 => octets("BDAT 0 LAST\r\n"),
        1 => octets("BDAT 1\n\n"),
        3 => disturbance,
    ]
}

/// A session and the octets that come: at random, or a good opening and pieces.
fn sessions() -> impl Strategy<Value = (Setup, Vec<u8>)> {
    // How many lines of the opening are left out: most often none, or just AUTH.
    let missing = prop_oneof![8 => Just(0usize), 3 => Just(1), 1 => 2usize..5];
    let stream = prop_oneof![
        8 => vec(pieces(), 0..14).prop_map(|pieces| pieces.concat()),
        1 => vec(any::<u8>(), 0..200),
    ];
    (setups(), missing, stream).prop_map(|(setup, missing, stream)| {
        let opening: Vec<_> = setup.opening().split_inclusive("\r\n").collect();
        let opening = opening[..opening.len().saturating_sub(missing)].concat();
        let stream = [opening.as_bytes(), &stream].concat();
        (setup, stream)
    })
}

/// Gives the stream octet by octet, and says behind which octets a cut is a boundary: where the
/// handshake took place, and behind a DATA that brought no mail data.
fn by_octets<'a>(setup: &'a Setup, stream: &[u8]) -> (Driver<'a>, Vec<usize>) {
    let mut driver = setup.connect();
    let mut boundaries = Vec::new();
    let mut line = Vec::new();
    for (at, octet) in stream.iter().enumerate() {
        let handshakes = handshakes(&driver);
        let in_chunk = driver.in_chunk();
        driver.send([*octet]);
        if in_chunk {
            continue;
        }
        line.push(*octet);
        let waits_for_data = matches!(driver.session.phase, Phase::MailData(..));
        let data = line.trim_ascii().eq_ignore_ascii_case(b"DATA") && !waits_for_data;
        if *octet == b'\n' {
            if data || handshakes != self::handshakes(&driver) {
                boundaries.push(at + 1);
            }
            line.clear();
        }
    }
    (driver, boundaries)
}

fn handshakes(driver: &Driver<'_>) -> usize {
    let handshakes = driver
        .events
        .iter()
        .filter(|event| **event == Event::Handshake);
    handshakes.count()
}

/// Gives the stream in reads that end at `cuts`.
fn by_reads<'a>(setup: &'a Setup, stream: &[u8], mut cuts: Vec<usize>) -> Driver<'a> {
    let mut driver = setup.connect();
    cuts.retain(|cut| *cut < stream.len());
    cuts.push(stream.len());
    cuts.sort_unstable();
    let mut start = 0;
    for end in cuts {
        driver.send(&stream[start..end]);
        start = end;
    }
    driver
}

/// A message follows MAIL and RCPT that were taken, and has exactly what they said; behind TLS,
/// nothing counts that came before it.
fn check_questions(setup: &Setup, events: &[Event]) -> Result<(), TestCaseError> {
    let waived = setup.authentication == Authentication::Waived;
    let mut identified = waived;
    let mut envelope: Option<Envelope> = None;
    let mut data = false;
    for event in events {
        let Event::Asked(seen, reply) = event else {
            identified = waived;
            envelope = None;
            data = false;
            continue;
        };
        // A message over the limit is not asked about, nor is one in chunks behind RSET; its
        // transaction is over too.
        if data && !matches!(seen, Seen::Message(..)) {
            envelope = None;
            data = false;
        }
        let taken = reply.is_positive();
        match seen {
            Seen::Authenticate(..) => identified |= taken,
            Seen::Mail(path, parameters) => {
                prop_assert!(identified, "MAIL before AUTH");
                envelope = taken.then(|| Envelope::new(path.clone(), parameters.clone()));
            }
            Seen::Rcpt(path) => {
                prop_assert!(envelope.is_some(), "RCPT without MAIL");
                if let (true, Some(envelope)) = (taken, &mut envelope) {
                    envelope.add_recipient(path.clone());
                }
            }
            Seen::Data => {
                let recipients = envelope
                    .as_ref()
                    .map_or(0, |found| found.recipients().len());
                prop_assert!(recipients > 0, "DATA without recipient");
                data = taken;
            }
            Seen::Message(found, content) => {
                prop_assert!(data, "a message without DATA");
                prop_assert_eq!(Some(found), envelope.as_ref());
                let limits = setup.settings.limits;
                let most = limits.message_size;
                prop_assert!(most == 0 || content.len() as u64 <= most);
                let recipients = found.recipients().len();
                prop_assert!(limits.recipients == 0 || recipients <= limits.recipients);
                envelope = None;
                data = false;
            }
        }
    }
    Ok(())
}

/// All that was sent is whole replies, each line within RFC 5321 §4.5.3.1.5.
fn check_replies(driver: &Driver<'_>) -> Result<(), TestCaseError> {
    let sent = text(&driver.sent());
    codes(&sent);
    for line in sent.split_inclusive("\r\n") {
        prop_assert!(line.len() <= 512, "{line:?}");
        let inner = &line[..line.len() - 2];
        prop_assert!(inner.bytes().all(|b| matches!(b, b' '..=b'~')), "{line:?}");
    }
    Ok(())
}

/// Whatever comes, a session that is over says and holds nothing.
fn check_closed(driver: &mut Driver<'_>, stream: &[u8]) -> Result<(), TestCaseError> {
    let ending = driver.ending();
    if ending.is_none() {
        return Ok(());
    }
    let (sends, events) = (driver.sends.len(), driver.events.len());
    driver.send(stream);
    driver.session.draining();
    driver.session.last_call();
    driver.session.timed_out();
    driver.session.answer(&reply::OK);
    driver.session.tls_established();
    driver.send(b"EHLO a\r\n");
    prop_assert_eq!((driver.sends.len(), driver.events.len()), (sends, events));
    prop_assert_eq!(driver.ending(), ending);
    prop_assert_eq!(driver.session.buffered(), 0);
    Ok(())
}

/// A line over its limit is thrown away once it is longer, so a read may be held on top of it; and
/// output is held until it is a piece to send.
fn most_held(settings: &Settings, content: usize, read: usize) -> usize {
    let limit = settings.limits.message_size;
    let message = usize::try_from(limit).expect("a limit of the tests");
    let message = if message == 0 { content } else { message };
    message + AUTH_LINE + FLUSH_AT + 1024 + read
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn however_octets_are_cut_the_replies_and_questions_are_the_same(
        (setup, stream) in sessions(), cuts in vec(0usize..400, 0..6)
    ) {
        let (one_by_one, boundaries) = by_octets(&setup, &stream);
        let few = by_reads(&setup, &stream, boundaries.clone());
        let more = by_reads(&setup, &stream, [boundaries, cuts].concat());
        for other in [few, more] {
            prop_assert_eq!(text(&one_by_one.sent()), text(&other.sent()));
            prop_assert_eq!(&one_by_one.events, &other.events);
            prop_assert_eq!(one_by_one.ending(), other.ending());
        }
    }

    #[test]
    fn no_octets_make_a_session_panic_or_hold_more_than_its_limits(
        (setup, stream) in sessions(), cuts in vec(0usize..400, 0..6)
    ) {
        let mut driver = by_reads(&setup, &stream, cuts);
        prop_assert!(driver.peak <= most_held(&setup.settings, stream.len(), stream.len()));
        check_replies(&driver)?;
        check_questions(&setup, &driver.events)?;
        check_closed(&mut driver, &stream)?;
    }

    #[test]
    fn what_a_session_holds_does_not_grow_with_what_it_is_sent(
        (setup, read) in sessions(), times in 1usize..300
    ) {
        let mut setup = setup;
        setup.settings.limits.message_size = 1000;
        let mut driver = setup.connect();
        for _ in 0..times {
            driver.send(&read);
        }
        prop_assert!(driver.peak <= most_held(&setup.settings, 0, read.len()));
    }

    #[test]
    fn each_command_gets_exactly_one_reply(
        setup in setups(), commands in vec(lines(), 0..30), content in "([.a]{0,3}\r\n){0,4}"
    ) {
        let mut driver = setup.connect();
        let count = |driver: &Driver<'_>| codes(&text(&driver.sent())).len();
        prop_assert_eq!(count(&driver), 1, "the banner");
        for line in setup.opening().lines() {
            driver.say(line);
        }
        for command in commands {
            let mut units = vec![command];
            while let Some(unit) = units.pop() {
                let (before, over) = (count(&driver), driver.closed);
                driver.send(&unit);
                // The chunk is a part of the command: one reply for both.
                while driver.in_chunk() {
                    prop_assert_eq!(count(&driver), before);
                    driver.send("\r");
                }
                let replies = count(&driver) - before;
                let shown = String::from_utf8_lossy(&unit);
                prop_assert_eq!(replies, usize::from(!over), "{:?}", shown);
                if matches!(driver.session.phase, Phase::MailData(..)) {
                    let mut data = stuff(content.as_bytes());
                    data.extend_from_slice(b".\r\n");
                    units.push(data);
                }
            }
        }
    }

    #[test]
    fn a_message_that_is_taken_is_the_one_that_was_sent(
        content in vec("[ -~]{0,20}|\\.{1,3}", 0..6), cuts in vec(0usize..200, 0..6)
    ) {
        let content: String = content.iter().map(|line| format!("{line}\r\n")).collect();
        let mut stream = b"MAIL FROM:<>\r\nRCPT TO:<bob@example.net>\r\nDATA\r\n".to_vec();
        stream.extend_from_slice(&stuff(content.as_bytes()));
        stream.extend_from_slice(b".\r\nQUIT\r\n");
        let setup = Setup {
            settings: settings(),
            tls: Tls::Off,
            authentication: Authentication::Waived,
            answers: vec![Answer::Positive],
        };
        let whole = [b"EHLO a\r\n".to_vec(), stream].concat();
        let driver = by_reads(&setup, &whole, cuts);
        prop_assert_eq!(driver.messages(), [content]);
        prop_assert_eq!(driver.ending(), Some(Ending::Quit));
    }

    #[test]
    fn a_message_in_chunks_is_the_one_that_data_brings(
        lines in vec("[ -~]{0,9}|\\.{1,3}|\r|a\n\\.", 0..6), ends in vec(0usize..60, 0..5),
        cuts in vec(0usize..200, 0..6)
    ) {
        let content: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let setup = Setup {
            settings: settings(),
            tls: Tls::Off,
            authentication: Authentication::Waived,
            answers: vec![Answer::Positive],
        };
        let opening = b"EHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.net>\r\n";
        let data = [opening, &b"DATA\r\n"[..], &stuff(content.as_bytes()), b".\r\n"].concat();
        let expected = by_reads(&setup, &data, Vec::new()).messages();
        prop_assert_eq!(expected.len(), 1);

        let mut ends: Vec<_> = ends.into_iter().filter(|end| *end < content.len()).collect();
        ends.sort_unstable();
        let mut chunks = opening.to_vec();
        let mut start = 0;
        for end in ends {
            chunks.extend_from_slice(format!("BDAT {}\r\n", end - start).as_bytes());
            chunks.extend_from_slice(&content.as_bytes()[start..end]);
            start = end;
        }
        let rest = &content.as_bytes()[start..];
        chunks.extend_from_slice(format!("BDAT {} LAST\r\n", rest.len()).as_bytes());
        chunks.extend_from_slice(rest);
        chunks.extend_from_slice(b"QUIT\r\n");
        let driver = by_reads(&setup, &chunks, cuts);
        prop_assert_eq!(driver.messages(), expected);
        prop_assert_eq!(driver.ending(), Some(Ending::Quit));
    }

    #[test]
    fn draining_or_a_time_out_at_any_point_ends_the_session_and_loses_no_answer(
        (setup, stream) in sessions(), at in 0usize..400, drain in any::<bool>()
    ) {
        let (left, right) = stream.split_at(at.min(stream.len()));
        let mut driver = setup.connect();
        driver.send(left);
        let in_data = driver.session.is_in_message();
        if drain {
            driver.session.draining();
        } else {
            driver.session.timed_out();
        }
        driver.run();
        prop_assert!(driver.closed || (drain && in_data));
        driver.send(right);
        // Whatever was begun comes to its end.
        while driver.in_chunk() {
            driver.send("x");
        }
        driver.send(b"\r\n.\r\n\r\n.\r\n");
        if matches!(driver.session.phase, Phase::Chunks(..)) {
            driver.say("BDAT 0 LAST");
        }
        prop_assert!(driver.closed);
        check_replies(&driver)?;
        check_questions(&setup, &driver.events)?;
    }
}
