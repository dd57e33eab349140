//! Tests of the session, and the driver they share.
//!
//! [`tables`] runs every table of docs/smtp-session.md; [`rules`] has the hard rules, each by its
//! name, and [`chunks`] those of BDAT; [`properties`] holds for any octets and any answers.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::string_slice,
    reason = "a test that overflows or cuts a character fails, as it should"
)]

mod chunks;
mod properties;
mod rules;
mod tables;

use super::*;

/// What was asked, in a form that can be kept and compared.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Authenticate(String, String),
    Mail(ReversePath, MailParameters),
    Rcpt(ForwardPath),
    Data,
    Message(Envelope, Bytes),
}

impl From<Question> for Seen {
    fn from(question: Question) -> Self {
        match question {
            Question::Authenticate(credentials) => Self::Authenticate(
                credentials.username,
                credentials.password.reveal().to_owned(),
            ),
            Question::Mail(path, parameters) => Self::Mail(path, parameters),
            Question::Rcpt(path) => Self::Rcpt(path),
            Question::Data => Self::Data,
            Question::Message(envelope, content) => Self::Message(envelope, content),
        }
    }
}

/// What happened at the driver's side, besides reading and writing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "there are few, and they live for one test"
)]
enum Event {
    Asked(Seen, Reply),
    Handshake,
}

/// Does what [`Step`] says, answers by a closure, and writes everything down.
struct Driver<'a> {
    session: Session,
    decide: Box<dyn FnMut(&Seen) -> Reply + 'a>,
    /// Each [`Step::Send`] by itself.
    sends: Vec<Bytes>,
    events: Vec<Event>,
    closed: bool,
    /// The most octets that the session held when it waited.
    peak: usize,
}

impl<'a> Driver<'a> {
    /// Connects: the banner is sent.
    fn new(
        settings: Settings,
        tls: Tls,
        authentication: Authentication,
        decide: impl FnMut(&Seen) -> Reply + 'a,
    ) -> Self {
        let mut driver = Self {
            session: Session::new(Arc::new(settings), tls, authentication),
            decide: Box::new(decide),
            sends: Vec::new(),
            events: Vec::new(),
            closed: false,
            peak: 0,
        };
        driver.run();
        driver
    }

    /// Goes on until the session wants octets, or is over.
    fn run(&mut self) {
        loop {
            match self.session.step() {
                Step::Send(octets) => self.sends.push(octets),
                Step::Receive => break,
                Step::Ask(question) => {
                    let seen = Seen::from(question);
                    let reply = (self.decide)(&seen);
                    self.session.answer(&reply);
                    self.events.push(Event::Asked(seen, reply));
                }
                Step::StartTls => {
                    self.session.tls_established();
                    self.events.push(Event::Handshake);
                }
                Step::Close => {
                    self.closed = true;
                    break;
                }
            }
        }
        self.peak = self.peak.max(self.session.buffered());
    }

    /// Gives the session these octets in one read, and returns what it sent for them.
    fn send(&mut self, octets: impl AsRef<[u8]>) -> String {
        let before = self.sends.len();
        self.session.receive(octets.as_ref());
        self.run();
        text(&self.sends[before..].concat())
    }

    /// Sends one line, and returns the codes of the replies.
    fn say(&mut self, line: &str) -> String {
        codes(&self.send(format!("{line}\r\n"))).join(", ")
    }

    /// Sends lines one after the other; each must get a positive reply.
    fn must(&mut self, lines: &[&str]) {
        for line in lines {
            let codes = self.say(line);
            assert!(codes.starts_with(['2', '3']), "{line}: {codes}");
        }
    }

    /// Everything that was sent.
    fn sent(&self) -> Vec<u8> {
        self.sends.concat()
    }

    fn questions(&self) -> impl Iterator<Item = &Seen> {
        self.events.iter().filter_map(|event| match event {
            Event::Asked(seen, _) => Some(seen),
            Event::Handshake => None,
        })
    }

    /// The contents of all messages, in order.
    fn messages(&self) -> Vec<String> {
        self.questions()
            .filter_map(|seen| match seen {
                Seen::Message(_, content) => Some(String::from_utf8_lossy(content).into()),
                _ => None,
            })
            .collect()
    }

    /// The next octets are those of a chunk.
    fn in_chunk(&self) -> bool {
        let session = &self.session;
        session.refused_chunk.is_some() || matches!(session.phase, Phase::Chunk(..))
    }

    fn ending(&self) -> Option<Ending> {
        assert_eq!(self.closed, self.session.ending().is_some());
        self.session.ending()
    }
}

/// STARTTLS is offered, authentication required; nothing said yet.
fn connected<'a>() -> Driver<'a> {
    with(settings())
}

fn with<'a>(settings: Settings) -> Driver<'a> {
    Driver::new(settings, Tls::Offered, Authentication::Required, positive)
}

/// Authenticated, as a client that did everything right.
fn authenticated<'a>(settings: Settings) -> Driver<'a> {
    let mut driver = with(settings);
    driver.must(&["EHLO client.example", "STARTTLS", "EHLO client.example"]);
    driver.must(&["AUTH PLAIN AGFubgBzZWNyZXQ="]);
    driver
}

/// Authenticated, and decided by a closure from then on.
fn deciding<'a>(decide: impl FnMut(&Seen) -> Reply + 'a) -> Driver<'a> {
    let mut driver = authenticated(settings());
    driver.decide = Box::new(decide);
    driver
}

/// No TLS, no authentication, EHLO said.
fn trusted<'a>(settings: Settings) -> Driver<'a> {
    let mut driver = Driver::new(settings, Tls::Off, Authentication::Waived, positive);
    driver.must(&["EHLO client.example"]);
    driver
}

fn settings() -> Settings {
    Settings {
        hostname: "gateway.example".into(),
        lone_newlines: LoneNewlines::Normalise,
        limits: Limits {
            command_line: 512,
            message_size: 26_214_400,
            recipients: 100,
            fan_out: 0,
            errors: 10,
        },
    }
}

fn refusing_lone_newlines() -> Settings {
    Settings {
        lone_newlines: LoneNewlines::Refuse,
        ..settings()
    }
}

/// Settings with other limits.
fn limited(change: impl FnOnce(&mut Limits)) -> Settings {
    let mut settings = settings();
    change(&mut settings.limits);
    settings
}

/// Lets ann in with her password, and says yes to everything else.
fn positive(seen: &Seen) -> Reply {
    match seen {
        Seen::Authenticate(username, password) if (&**username, &**password) == ANN => {
            reply::AUTHENTICATED.clone()
        }
        Seen::Authenticate(..) => reply::BAD_CREDENTIALS.clone(),
        Seen::Mail(..) => reply::SENDER_OK.clone(),
        Seen::Rcpt(_) => reply::RECIPIENT_OK.clone(),
        Seen::Data => Reply::plain(354, "End data with <CR><LF>.<CR><LF>"),
        Seen::Message(..) => reply::OK.quoting("Ok: queued as 1"),
    }
}

/// The replies in what was sent, each with all its lines.
fn replies(sent: &str) -> Vec<&str> {
    let mut replies = Vec::new();
    let mut rest = sent;
    let mut end = 0;
    while let Some(line) = rest[end..].split_inclusive("\r\n").next() {
        end += line.len();
        if line.as_bytes().get(3) == Some(&b' ') {
            let (reply, after) = rest.split_at(end);
            replies.push(reply);
            rest = after;
            end = 0;
        }
    }
    assert_eq!(rest, "", "a reply without its last line");
    replies
}

/// Code and, where there is one, enhanced status of each reply: `250 2.1.0`, `354`.
fn codes(sent: &str) -> Vec<String> {
    let code = |lines: &str| {
        assert!(Reply::parse(lines).is_some(), "not a reply: {lines:?}");
        let (code, text) = lines.split_at(3);
        let word = text[1..].split([' ', '\r']).next().unwrap_or_default();
        let status = word.split('.').count() == 3 && word.bytes().all(is_digit_or_dot);
        if status {
            format!("{code} {word}")
        } else {
            code.to_owned()
        }
    };
    replies(sent).into_iter().map(code).collect()
}

fn is_digit_or_dot(octet: u8) -> bool {
    octet.is_ascii_digit() || octet == b'.'
}

fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).expect("the session sends text")
}

const ANN: (&str, &str) = ("ann", "secret");
