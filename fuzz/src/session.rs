//! A whole session: any octets, cut anywhere, under any settings and any answers.
//!
//! Eight octets choose the listener, what becomes of lone line breaks, the limits, two answers that
//! are no yes, the reads, and what interrupts the session where. The rest is what the client sends.

mod driver;

use std::sync::Arc;

use smtp_gateway::smtp::command::{Chunk, Command};
use smtp_gateway::smtp::envelope::Envelope;
use smtp_gateway::smtp::framing::LoneNewlines;
use smtp_gateway::smtp::reply::{self, Reply};
use smtp_gateway::smtp::session::{Authentication, Limits, Session, Settings, Tls, Wait};

use self::driver::{Driver, Event, Seen};
use super::choices::{Choices, reads};
use super::reference;

pub fn check(input: &[u8]) {
    let mut choices = Choices::new(input);
    let setup = Setup::choose(&mut choices);
    let number = choices.octet();
    let interruption = choices.one_of(&[
        Interruption::TimeOut,
        Interruption::Drain,
        Interruption::LastCall,
        Interruption::Expiry,
        Interruption::NoRoom,
    ]);
    let at = usize::from(choices.octet());
    let stream = choices.rest();

    let (one_by_one, boundaries) = by_octets(&setup, stream);
    setup.check(&one_by_one, stream);
    setup.check_messages(&one_by_one, stream);

    let whole = setup.run(by_boundaries(stream, &boundaries));
    let cut = by_boundaries(stream, &boundaries);
    let cut = setup.run(cut.into_iter().flat_map(|piece| reads(piece, number)));
    for other in [whole, cut] {
        assert_eq!(one_by_one.sent_text(), other.sent_text());
        assert_eq!(one_by_one.events(), other.events());
        assert_eq!(one_by_one.session.ending(), other.session.ending());
        setup.check(&other, stream);
    }
    // Here STARTTLS and DATA may come with what was pipelined behind them.
    let mut pipelined = setup.run(reads(stream, number));
    setup.check(&pipelined, stream);
    check_closed(&mut pipelined, stream);

    let at = stream.len() * at / 255;
    interrupt(&setup, interruption, stream, at, number);
}

/// What the server says in the session that an input chooses.
pub fn server_says(input: &[u8]) -> Vec<u8> {
    let mut choices = Choices::new(input);
    let setup = Setup::choose(&mut choices);
    for _ in 0..3 {
        choices.octet();
    }
    by_octets(&setup, choices.rest()).0.sent
}

/// A listener, its limits, and what is answered.
struct Setup {
    settings: Arc<Settings>,
    tls: Tls,
    authentication: Authentication,
    /// Answers other than yes, by the number of the question modulo 16.
    answers: [(u8, Answer); 2],
}

#[derive(Clone, Copy)]
enum Answer {
    Yes,
    Later,
    No,
    /// Words from outside that try to be two lines.
    Quoting,
    Close,
    /// A refusal that ends the session.
    AndClose,
}

#[derive(Clone, Copy)]
enum Interruption {
    TimeOut,
    Drain,
    LastCall,
    Expiry,
    NoRoom,
}

impl Setup {
    fn choose(choices: &mut Choices<'_>) -> Self {
        use Authentication::{Required, Waived};
        let (tls, authentication) = choices.one_of(&[
            (Tls::Offered, Required),
            (Tls::Established, Required),
            (Tls::Off, Waived),
            (Tls::Offered, Waived),
            (Tls::Established, Waived),
            (Tls::Off, Required),
        ]);
        let lone_newlines = choices.one_of(&[LoneNewlines::Normalise, LoneNewlines::Refuse]);
        let limits = choices.one_of(&LIMITS);
        let answer = |choice: u8| {
            let answers = [
                Answer::Yes,
                Answer::Later,
                Answer::No,
                Answer::Quoting,
                Answer::Close,
                Answer::AndClose,
            ];
            (
                choice % 16,
                answers[usize::from(choice / 16) % answers.len()],
            )
        };
        Self {
            settings: Arc::new(Settings {
                hostname: "gateway.example".to_owned(),
                lone_newlines,
                limits,
            }),
            tls,
            authentication,
            answers: [answer(choices.octet()), answer(choices.octet())],
        }
    }

    fn connect(&self) -> Driver<'_> {
        let session = Session::new(Arc::clone(&self.settings), self.tls, self.authentication);
        Driver::new(session, |number, seen| self.answer(number, seen))
    }

    fn run<'a>(&self, reads: impl IntoIterator<Item = &'a [u8]>) -> Driver<'_> {
        let mut driver = self.connect();
        for read in reads {
            driver.receive(read);
        }
        driver
    }

    /// The reply to a question, and whether the session ends behind it.
    fn answer(&self, number: usize, seen: &Seen) -> (Reply, bool) {
        let other = self
            .answers
            .iter()
            .find(|(at, _)| usize::from(*at) == number % 16);
        match other.map_or(Answer::Yes, |(_, answer)| *answer) {
            Answer::Yes => (seen.yes(), false),
            Answer::Later => (Reply::new(451, 3, 0, "Later"), false),
            Answer::No => (Reply::new(550, 7, 1, "No"), false),
            Answer::Quoting => {
                let no = Reply::new(554, 6, 0, "");
                (no.quoting("a\r\n250 2.0.0 b\nc\r\0\u{85}"), false)
            }
            Answer::Close => (Reply::new(421, 3, 0, "Enough"), false),
            Answer::AndClose => (Reply::new(550, 7, 1, "No, and goodbye"), true),
        }
    }

    fn check(&self, driver: &Driver<'_>, stream: &[u8]) {
        assert!(driver.peak <= self.most_held(stream));
        check_replies(driver);
        self.check_questions(driver);
    }

    /// Lines are cut off where they are too long, but a read may lie on top; output is sent in
    /// pieces of about 4 KiB.
    fn most_held(&self, stream: &[u8]) -> usize {
        let content = match self.settings.limits.message_size {
            0 => 2 * stream.len(),
            limit => usize::try_from(limit).expect("a limit of ours"),
        };
        content + 12_288 + 4096 + 1024 + stream.len()
    }

    /// A message follows a login, MAIL, RCPT and DATA that were taken, and has exactly the
    /// recipients that they named; behind TLS, nothing counts that came before it.
    fn check_questions(&self, driver: &Driver<'_>) {
        let waived = self.authentication == Authentication::Waived;
        let mut identified = waived;
        let mut envelope: Option<Envelope> = None;
        let mut data = false;
        for event in driver.events() {
            let Event::Asked(seen, reply) = event else {
                identified = waived;
                envelope = None;
                data = false;
                continue;
            };
            // A message over the limit is not asked about, and its transaction is over too.
            if data && !matches!(seen, Seen::Message(..)) {
                envelope = None;
                data = false;
            }
            let taken = reply.is_positive();
            match seen {
                Seen::Authenticate(..) => identified |= taken,
                Seen::Mail(path, parameters) => {
                    assert!(identified, "MAIL before the login");
                    envelope = taken.then(|| Envelope::new(path.clone(), parameters.clone()));
                }
                Seen::Rcpt(path) => {
                    let envelope = envelope.as_mut().expect("RCPT follows MAIL");
                    if taken {
                        envelope.add_recipient(path.clone());
                    }
                }
                Seen::Data => {
                    let envelope = envelope.as_ref().expect("DATA follows MAIL");
                    assert!(!envelope.recipients().is_empty());
                    data = taken;
                }
                Seen::Message(found, content) => {
                    assert!(data, "a message without DATA");
                    assert_eq!(Some(&**found), envelope.take().as_ref());
                    let limits = self.settings.limits;
                    let most = limits.message_size;
                    assert!(most == 0 || content.len() as u64 <= most);
                    let recipients = found.recipients().len();
                    assert!(limits.recipients == 0 || recipients <= limits.recipients);
                    data = false;
                }
            }
        }
    }

    /// One message a DATA or BDAT, made of just the octets that follow it. The driver got them one
    /// by one, so that each event has its place among them.
    fn check_messages(&self, driver: &Driver<'_>, stream: &[u8]) {
        let mut data: Option<usize> = None;
        for (event, end) in &driver.history {
            match event {
                Event::Asked(Seen::Message(_, content), _) => {
                    let start = data.take().expect("a message follows its command");
                    let expected = self.content(&stream[start..*end]);
                    assert_eq!(content, &expected);
                }
                Event::Asked(Seen::Data, reply) if reply.is_positive() => {
                    data = Some(line_start(stream, *end));
                }
                _ => data = None,
            }
        }
        let wanted = Seen::Data.yes().to_string();
        if let Some(start) = data
            && driver.sent_text().ends_with(&wanted)
            && let (line, behind) = line(&stream[start..])
            && Command::parse(line) == Ok(Command::Data)
        {
            assert_eq!(reference::end_of_data(behind), None, "the end was missed");
        }
    }

    /// What a naive reader takes for the content: of the octets from the command to the last one
    /// that the session had when it asked.
    fn content(&self, octets: &[u8]) -> Vec<u8> {
        let (first, mut rest) = line(octets);
        let (content, lone) = if Command::parse(first) == Ok(Command::Data) {
            assert_eq!(reference::end_of_data(rest), Some(rest.len()));
            reference::normalised(&reference::unstuffed(rest))
        } else {
            rest = octets;
            let mut chunks = Vec::new();
            loop {
                let (line, behind) = line(rest);
                rest = behind;
                // Other commands may stand between two chunks.
                if let Ok(Command::Bdat(Chunk { size, last })) = Command::parse(line) {
                    let size = usize::try_from(size).expect("a chunk that was read");
                    let (chunk, behind) = rest.split_at(size);
                    chunks.extend_from_slice(chunk);
                    rest = behind;
                    if last {
                        break;
                    }
                }
            }
            assert!(rest.is_empty(), "the message came before or behind its end");
            reference::ended(&chunks)
        };
        assert!(!lone || self.settings.lone_newlines == LoneNewlines::Normalise);
        content
    }
}

/// Gives the stream octet by octet, and says behind which octets a cut is a boundary: where the
/// handshake took place, and behind a DATA that brought no mail data.
fn by_octets<'a>(setup: &'a Setup, stream: &[u8]) -> (Driver<'a>, Vec<usize>) {
    let mut driver = setup.connect();
    let mut boundaries = Vec::new();
    for (at, octet) in stream.iter().enumerate() {
        let handshakes = driver.handshakes;
        driver.receive(&[*octet]);
        if *octet != b'\n' {
            continue;
        }
        let end = at + 1;
        let line = stream[line_start(stream, end)..end].to_ascii_uppercase();
        let data = line.windows(4).any(|four| four == b"DATA")
            && driver.session.waiting_for() != Wait::MailData;
        if data || handshakes != driver.handshakes {
            boundaries.push(end);
        }
    }
    (driver, boundaries)
}

fn by_boundaries<'a>(stream: &'a [u8], boundaries: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    let mut start = 0;
    for end in boundaries.iter().copied().chain([stream.len()]) {
        pieces.push(&stream[start..end]);
        start = end;
    }
    pieces
}

/// Where the line begins that ends at `end`.
fn line_start(stream: &[u8], end: usize) -> usize {
    let before = stream[..end].strip_suffix(b"\n").unwrap_or_default();
    let line_end = before.iter().rposition(|octet| *octet == b'\n');
    line_end.map_or(0, |at| at + 1)
}

/// The first line without its line end, and what follows it.
fn line(octets: &[u8]) -> (&[u8], &[u8]) {
    let end = octets.iter().position(|octet| *octet == b'\n');
    let (line, rest) = octets.split_at(end.expect("a whole line") + 1);
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    (line.strip_suffix(b"\r").unwrap_or(line), rest)
}

/// All that was sent is whole replies, each line within RFC 5321 §4.5.3.1.5.
fn check_replies(driver: &Driver<'_>) {
    let sent = driver.sent_text();
    let mut reply = String::new();
    for line in sent.split_inclusive("\r\n") {
        assert!(line.len() <= 512, "{line:?}");
        let inner = line.strip_suffix("\r\n").expect("a whole line");
        assert!(inner.bytes().all(|b| matches!(b, b' '..=b'~')), "{line:?}");
        reply.push_str(line);
        if inner.as_bytes().get(3) != Some(&b'-') {
            assert!(Reply::parse(&reply).is_some(), "not a reply: {reply:?}");
            reply.clear();
        }
    }
    assert_eq!(reply, "", "a reply without its last line");
}

/// Whatever comes, a session that is over says and holds nothing.
fn check_closed(driver: &mut Driver<'_>, stream: &[u8]) {
    assert_eq!(driver.closed, driver.session.ending().is_some());
    if !driver.closed {
        return;
    }
    let ending = driver.session.ending();
    let before = (driver.sent.len(), driver.history.len());
    driver.receive(stream);
    driver.session.draining();
    driver.session.last_call();
    driver.session.timed_out();
    driver.session.answer(&reply::OK);
    driver.session.tls_established();
    driver.receive(b"EHLO a\r\n");
    assert_eq!((driver.sent.len(), driver.history.len()), before);
    assert_eq!(driver.session.ending(), ending);
    assert_eq!(driver.session.buffered(), 0);
}

/// A time-out and the last call end the session at once; a drain and its age do between messages.
fn interrupt(setup: &Setup, with: Interruption, stream: &[u8], at: usize, number: u8) {
    let (left, right) = stream.split_at(at);
    let mut driver = setup.run(reads(left, number));
    let wait = driver.session.waiting_for();
    let in_message = matches!(wait, Wait::MailData | Wait::Chunk);
    let before = driver.sent.len();
    match with {
        Interruption::TimeOut => driver.session.timed_out(),
        Interruption::Drain => driver.session.draining(),
        Interruption::LastCall => driver.session.last_call(),
        Interruption::Expiry => driver.session.expired(),
        Interruption::NoRoom => driver.session.no_room(),
    }
    driver.run();
    match with {
        Interruption::TimeOut => assert!(driver.closed),
        Interruption::Drain | Interruption::Expiry => assert!(driver.closed || in_message),
        Interruption::LastCall => {
            assert!(driver.closed);
            let has_answered = driver.sent.len() > before;
            assert!(
                wait != Wait::MailData || !has_answered,
                "an answer to half a message"
            );
        }
        Interruption::NoRoom => assert_eq!(driver.session.content_len(), 0),
    }
    for read in reads(right, number) {
        driver.receive(read);
    }
    setup.check(&driver, stream);
    check_closed(&mut driver, stream);
}

const fn limits(command_line: usize, message_size: u64, recipients: usize) -> Limits {
    Limits {
        command_line,
        message_size,
        recipients,
        fan_out: 0,
        errors: 10,
    }
}

const LIMITS: [Limits; 5] = [
    limits(512, 26_214_400, 100),
    limits(512, 200, 2),
    Limits {
        errors: 0,
        ..limits(512, 0, 0)
    },
    Limits {
        fan_out: 50,
        ..limits(64, 40, 1)
    },
    Limits {
        errors: 3,
        ..limits(512, 1000, 100)
    },
];
