//! Does what the session says, as a connection does, and writes everything down.

use bytes::Bytes;
use smtp_gateway::smtp::address::{ForwardPath, ReversePath};
use smtp_gateway::smtp::envelope::Envelope;
use smtp_gateway::smtp::parameter::MailParameters;
use smtp_gateway::smtp::reply::{self, Reply};
use smtp_gateway::smtp::session::{Question, Session, Step};

/// What was asked, in a form that can be kept and compared.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Authenticate(String, String),
    Mail(ReversePath, MailParameters),
    Rcpt(ForwardPath),
    Data,
    Message(Box<Envelope>, Bytes),
}

impl Seen {
    pub(crate) fn yes(&self) -> Reply {
        match self {
            Self::Authenticate(..) => reply::AUTHENTICATED.clone(),
            Self::Mail(..) => reply::SENDER_OK.clone(),
            Self::Rcpt(_) => reply::RECIPIENT_OK.clone(),
            Self::Data => Reply::plain(354, "End data with <CR><LF>.<CR><LF>"),
            Self::Message(..) => reply::OK.quoting("Ok: queued as 1"),
        }
    }
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
            Question::Message(envelope, content) => Self::Message(Box::new(envelope), content),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Asked(Seen, Reply),
    Handshake,
}

type Decide<'a> = Box<dyn Fn(usize, &Seen) -> (Reply, bool) + 'a>;

pub(crate) struct Driver<'a> {
    pub(crate) session: Session,
    decide: Decide<'a>,
    questions: usize,
    received: usize,
    pub(crate) sent: Vec<u8>,
    /// Each event with the octets that had been received by then.
    pub(crate) history: Vec<(Event, usize)>,
    pub(crate) handshakes: usize,
    pub(crate) closed: bool,
    /// The most octets that the session held when it waited.
    pub(crate) peak: usize,
}

impl<'a> Driver<'a> {
    /// Connects: the banner is sent. `decide` gets the number of the question too, and says with
    /// its reply whether the session ends behind it.
    pub(crate) fn new(
        session: Session,
        decide: impl Fn(usize, &Seen) -> (Reply, bool) + 'a,
    ) -> Self {
        let mut driver = Self {
            session,
            decide: Box::new(decide),
            questions: 0,
            received: 0,
            sent: Vec::new(),
            history: Vec::new(),
            handshakes: 0,
            closed: false,
            peak: 0,
        };
        driver.run();
        driver
    }

    /// Gives the session these octets in one read.
    pub(crate) fn receive(&mut self, octets: &[u8]) {
        self.session.receive(octets);
        self.received += octets.len();
        self.run();
    }

    /// Goes on until the session wants octets, or is over.
    pub(crate) fn run(&mut self) {
        loop {
            match self.session.step() {
                Step::Send(octets) => {
                    assert!(!self.closed && !octets.is_empty());
                    self.sent.extend_from_slice(&octets);
                }
                Step::Receive => break,
                Step::Ask(question) => self.ask(question.into()),
                Step::StartTls => {
                    self.session.tls_established();
                    self.handshakes += 1;
                    self.history.push((Event::Handshake, self.received));
                }
                Step::Close => {
                    self.closed = true;
                    break;
                }
            }
        }
        self.peak = self.peak.max(self.session.buffered());
    }

    fn ask(&mut self, seen: Seen) {
        let (reply, closes) = (self.decide)(self.questions, &seen);
        self.questions += 1;
        if closes {
            self.session.answer_and_close(&reply);
        } else {
            self.session.answer(&reply);
        }
        self.history
            .push((Event::Asked(seen, reply), self.received));
    }

    pub(crate) fn events(&self) -> Vec<&Event> {
        self.history.iter().map(|(event, _)| event).collect()
    }

    pub(crate) fn sent_text(&self) -> &str {
        str::from_utf8(&self.sent).expect("the session sends text")
    }
}
