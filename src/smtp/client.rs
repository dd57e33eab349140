//! The client's side of one submission session (RFC 5321, 3207, 4954, 2920), without I/O.
//!
//! Octets go in through [`Client::receive`]; [`Client::step`] says what to do next. The session is
//! opened, secured and logged in by itself; then messages are handed over one after the other.
//!
//! Invariants: credentials are sent under TLS only, and hidden where the server repeats them; what it
//! says comes out as printable ASCII; nothing comes after [`Step::Close`]; a message that was not settled by then may have
//! arrived or not.

mod extensions;
mod hidden;
mod transaction;

use std::collections::VecDeque;
use std::fmt;

use bytes::{Bytes, BytesMut};

use crate::secret::Secret;
use crate::smtp::client::extensions::Extensions;
use crate::smtp::client::hidden::{Hidden, MARK};
use crate::smtp::client::transaction::{Piece, Progress, Transaction};
use crate::smtp::command::Command;
use crate::smtp::framing::LineFramer;
use crate::smtp::reply::{Reply, printable};
use crate::smtp::sasl::{self, Credentials, Mechanism};

pub use crate::smtp::client::transaction::{Answer, Message};

/// What the driver must do next.
#[derive(Debug)]
pub enum Step {
    /// Show it to whoever watches, or throw it away.
    Tell(Line),
    /// Write these octets. What comes meanwhile goes to [`Client::receive`]: a server that leaves in
    /// the middle of a message may say why.
    Send(Bytes),
    /// Read, then [`Client::receive`], or [`Client::disconnected`] where there is nothing more.
    Receive,
    /// Do the TLS handshake, then [`Client::tls_established`].
    StartTls,
    /// What became of the message.
    Settled(Vec<Answer>),
    /// The session is open and idle: [`Client::submit`] or [`Client::quit`].
    Ready,
    /// The session is over.
    Close(Ending),
}

/// A line of the dialogue. Credentials and content are not in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    Client(String),
    Server(String),
}

/// As RFCs show dialogues.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(line) => write!(f, "C: {line}"),
            Self::Server(line) => write!(f, "S: {line}"),
        }
    }
}

/// What the client waits for when it says [`Step::Receive`]; each has a patience of its own
/// (RFC 5321 §4.5.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    Reply,
    /// The reply to a whole message.
    EndOfData,
}

/// Why a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    Quit,
    /// The server does not want the session, ended it with 421, or refused a message before its end,
    /// where no command can follow.
    Refused(Reply),
    LoginRefused(Reply),
    /// The session cannot go on without it.
    NotOffered(Missing),
    Fault(Fault),
    /// The server left without a word.
    Disconnected,
}

/// An extension that the server does not offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    StartTls,
    /// AUTH PLAIN or LOGIN, under TLS: what is offered in clear is not used.
    Auth,
    SmtpUtf8,
    EightBitMime,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StartTls => "STARTTLS",
            Self::Auth => "AUTH PLAIN or LOGIN under TLS",
            Self::SmtpUtf8 => "SMTPUTF8, which an address needs",
            Self::EightBitMime => "8BITMIME, which the content needs",
        })
    }
}

/// What the server said is not SMTP.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("a reply has a line of more than {REPLY_LINE} octets")]
    LineTooLong,
    #[error("a reply has more than {REPLY_LINES} lines")]
    TooManyLines,
    #[error("what came is no reply")]
    NotAReply,
    #[error("the reply {0} makes no sense here")]
    Unexpected(u16),
    /// Sent in clear, maybe by someone in between, and would be taken as said under TLS.
    #[error("octets came behind the reply to STARTTLS")]
    EarlyOctets,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// Neither there nor wanted.
    Off,
    /// Asked for by STARTTLS; nothing goes on without it.
    StartTls,
    Established,
}

pub struct Settings {
    /// The name in EHLO.
    pub hostname: String,
    pub tls: Tls,
    pub credentials: Option<Credentials>,
}

enum Phase {
    /// Nothing said yet.
    Greeting,
    Ehlo,
    Helo,
    StartTls,
    TlsHandshake,
    /// What is still to be said.
    Authenticating(VecDeque<Secret>),
    Ready,
    /// RSET was said, as an earlier transaction may be open.
    Resetting(Message),
    /// MAIL and RCPT.
    Paths(Transaction),
    Data(Transaction),
    /// Mail data is going out.
    Content(Transaction),
    EndOfData(Transaction),
    Quitting(Ending),
    Closed(Ending),
}

pub struct Client {
    settings: Settings,
    phase: Phase,
    extensions: Extensions,
    /// Empty before the login.
    hidden: Hidden,
    /// A transaction was begun and not ended by mail data.
    transaction_left: bool,
    input: Input,
    output: BytesMut,
    told: VecDeque<Line>,
    settled: Option<Vec<Answer>>,
}

/// What came, and the lines of the reply so far.
#[derive(Default)]
struct Input {
    octets: BytesMut,
    lines: LineFramer,
    reply: Vec<String>,
}

impl Client {
    /// A session on a new connection; the server speaks first.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            phase: Phase::Greeting,
            extensions: Extensions::default(),
            hidden: Hidden::default(),
            transaction_left: false,
            input: Input::default(),
            output: BytesMut::new(),
            told: VecDeque::new(),
            settled: None,
        }
    }

    /// Takes octets that were read.
    pub fn receive(&mut self, octets: &[u8]) {
        if !matches!(self.phase, Phase::Closed(_)) {
            self.input.octets.extend_from_slice(octets);
        }
    }

    /// Says what to do next.
    pub fn step(&mut self) -> Step {
        loop {
            if let Some(line) = self.told.pop_front() {
                return Step::Tell(line);
            }
            if let Some(answers) = self.settled.take() {
                return Step::Settled(answers);
            }
            if !self.output.is_empty() {
                return Step::Send(self.output.split().freeze());
            }
            match &self.phase {
                Phase::Ready => return Step::Ready,
                Phase::TlsHandshake => return Step::StartTls,
                Phase::Closed(ending) => return Step::Close(ending.clone()),
                _ => {}
            }
            if !self.advance() && !self.send_piece() {
                return Step::Receive;
            }
        }
    }

    /// Hands a message over, after [`Step::Ready`]. What becomes of it is [`Step::Settled`].
    pub fn submit(&mut self, message: Message) {
        if !matches!(self.phase, Phase::Ready) {
            return;
        }
        if std::mem::take(&mut self.transaction_left) {
            self.say(&Command::Rset);
            self.phase = Phase::Resetting(message);
        } else {
            self.begin(message);
        }
    }

    /// Ends the session, after [`Step::Ready`].
    pub fn quit(&mut self) {
        if matches!(self.phase, Phase::Ready) {
            self.leave(Ending::Quit);
        }
    }

    /// Tells the client that the handshake is done: what the server offered in clear is forgotten
    /// (RFC 3207 §4.2).
    pub fn tls_established(&mut self) {
        if matches!(self.phase, Phase::TlsHandshake) {
            self.settings.tls = Tls::Established;
            self.greet();
        }
    }

    /// Tells the client that the server has closed the connection.
    pub fn disconnected(&mut self) {
        let ending = match std::mem::replace(&mut self.phase, Phase::Greeting) {
            Phase::Quitting(ending) | Phase::Closed(ending) => ending,
            _ => Ending::Disconnected,
        };
        self.close(ending);
    }

    pub fn waiting_for(&self) -> Wait {
        match self.phase {
            Phase::EndOfData(_) => Wait::EndOfData,
            _ => Wait::Reply,
        }
    }

    /// Takes the next line of the input; false when it is not whole yet.
    fn advance(&mut self) -> bool {
        let Some(line) = self.input.lines.next(&mut self.input.octets, REPLY_LINE) else {
            return false;
        };
        let Ok(line) = line else {
            self.close(Ending::Fault(Fault::LineTooLong));
            return true;
        };
        let line = self.hidden.hide(&String::from_utf8_lossy(&line.octets));
        let line = printable(&line, REPLY_LINE);
        let is_last = line.as_bytes().get(3) != Some(&b'-');
        self.told.push_back(Line::Server(line.clone()));
        self.input.reply.push(line);
        if is_last {
            let text = std::mem::take(&mut self.input.reply).join("\r\n");
            match Reply::parse(&format!("{text}\r\n")) {
                Some(reply) => self.reply(reply),
                None => self.close(Ending::Fault(Fault::NotAReply)),
            }
        } else if self.input.reply.len() >= REPLY_LINES {
            self.close(Ending::Fault(Fault::TooManyLines));
        }
        true
    }

    /// What each reply leads to, in each phase.
    fn reply(&mut self, reply: Reply) {
        let phase = std::mem::replace(&mut self.phase, Phase::Greeting);
        match (phase, Class::of(&reply)) {
            (Phase::Quitting(ending), _) => self.close(ending),
            (_, Class::Closing) => self.close(Ending::Refused(reply)),
            (Phase::Greeting, Class::Completed) => self.greet(),
            (Phase::Ehlo, Class::Completed) => self.greeted(Extensions::of(&reply)),
            (Phase::Ehlo, Class::Permanent) => {
                self.say(&Command::Helo(self.settings.hostname.clone()));
                self.phase = Phase::Helo;
            }
            (Phase::Helo, Class::Completed) => self.greeted(Extensions::default()),
            (Phase::StartTls, Class::Completed) if self.input.octets.is_empty() => {
                self.phase = Phase::TlsHandshake;
            }
            (Phase::StartTls, Class::Completed) => self.close(Ending::Fault(Fault::EarlyOctets)),
            (Phase::Authenticating(_), Class::Completed) => self.phase = Phase::Ready,
            (Phase::Authenticating(responses), Class::Intermediate) => {
                self.respond(responses, &reply);
            }
            (Phase::Authenticating(_), Class::Transient | Class::Permanent) => {
                self.leave(Ending::LoginRefused(reply));
            }
            (Phase::Resetting(message), Class::Completed) => self.begin(message),
            (
                Phase::Greeting | Phase::Ehlo | Phase::Helo | Phase::StartTls | Phase::Resetting(_),
                Class::Transient | Class::Permanent,
            ) => self.leave(Ending::Refused(reply)),
            (
                Phase::Paths(mut transaction),
                Class::Completed | Class::Transient | Class::Permanent,
            ) => {
                transaction.answer(reply);
                self.transact(transaction);
            }
            (Phase::Data(transaction), Class::Intermediate) => {
                let size = format!("({} octets)", transaction.size());
                self.told.push_back(Line::Client(size));
                self.phase = Phase::Content(transaction);
            }
            (Phase::Data(transaction), Class::Transient | Class::Permanent) => {
                self.transaction_left = true;
                self.settle(transaction.settle(&reply));
            }
            (Phase::Content(transaction), Class::Transient | Class::Permanent) => {
                self.settle(transaction.settle(&reply));
                self.close(Ending::Refused(reply));
            }
            (
                Phase::EndOfData(transaction),
                Class::Completed | Class::Transient | Class::Permanent,
            ) => self.settle(transaction.settle(&reply)),
            _ => self.close(Ending::Fault(Fault::Unexpected(reply.code()))),
        }
    }

    fn greet(&mut self) {
        self.say(&Command::Ehlo(self.settings.hostname.clone()));
        self.phase = Phase::Ehlo;
    }

    /// After EHLO or HELO: TLS first, then the login.
    fn greeted(&mut self, extensions: Extensions) {
        match self.settings.tls {
            Tls::StartTls if extensions.starttls => {
                self.say(&Command::StartTls);
                self.phase = Phase::StartTls;
            }
            Tls::StartTls => self.leave(Ending::NotOffered(Missing::StartTls)),
            Tls::Off | Tls::Established => {
                self.extensions = extensions;
                self.log_in();
            }
        }
    }

    fn log_in(&mut self) {
        let Some(credentials) = &self.settings.credentials else {
            self.phase = Phase::Ready;
            return;
        };
        let (Tls::Established, Some(mechanism)) = (self.settings.tls, self.extensions.mechanism)
        else {
            return self.leave(Ending::NotOffered(Missing::Auth));
        };
        self.hidden = Hidden::of(credentials);
        let mut responses = VecDeque::from(sasl::responses(mechanism, credentials));
        let initial = responses.pop_front_if(|response| {
            mechanism == Mechanism::Plain && response.reveal().len() <= INITIAL_RESPONSE
        });
        self.say(&Command::Auth(mechanism, initial));
        self.phase = Phase::Authenticating(responses);
    }

    fn respond(&mut self, mut responses: VecDeque<Secret>, challenge: &Reply) {
        match responses.pop_front() {
            Some(response) => {
                self.say_line(response.reveal(), MARK.to_owned());
                self.phase = Phase::Authenticating(responses);
            }
            None => self.close(Ending::Fault(Fault::Unexpected(challenge.code()))),
        }
    }

    fn begin(&mut self, message: Message) {
        if message.needs_utf8() && !self.extensions.smtputf8 {
            return self.leave(Ending::NotOffered(Missing::SmtpUtf8));
        }
        if message.needs_eight_bit_mime() && !self.extensions.eight_bit_mime {
            return self.leave(Ending::NotOffered(Missing::EightBitMime));
        }
        self.transact(Transaction::new(message, &self.extensions));
    }

    /// Goes on with MAIL, RCPT and DATA, once what was said is answered.
    fn transact(&mut self, mut transaction: Transaction) {
        match transaction.progress() {
            Progress::Waiting => self.phase = Phase::Paths(transaction),
            Progress::Say(commands) => {
                for command in commands {
                    self.say(&command);
                }
                self.phase = Phase::Paths(transaction);
            }
            Progress::Data => {
                self.say(&Command::Data);
                self.phase = Phase::Data(transaction);
            }
            Progress::Refused(answers) => {
                self.transaction_left = true;
                self.settle(answers);
            }
        }
    }

    /// Sends the next piece of mail data; false when there is none to send.
    fn send_piece(&mut self) -> bool {
        let phase = std::mem::replace(&mut self.phase, Phase::Greeting);
        let Phase::Content(mut transaction) = phase else {
            self.phase = phase;
            return false;
        };
        match transaction.next_piece() {
            Piece::Inner(octets) => {
                self.output.extend_from_slice(&octets);
                self.phase = Phase::Content(transaction);
            }
            Piece::Last(octets) => {
                self.output.extend_from_slice(&octets);
                self.phase = Phase::EndOfData(transaction);
            }
        }
        true
    }

    fn settle(&mut self, answers: Vec<Answer>) {
        self.settled = Some(answers);
        self.phase = Phase::Ready;
    }

    /// Ends the session as the RFC wants it: with QUIT.
    fn leave(&mut self, ending: Ending) {
        self.say(&Command::Quit);
        self.phase = Phase::Quitting(ending);
    }

    fn close(&mut self, ending: Ending) {
        self.input = Input::default();
        self.output.clear();
        self.phase = Phase::Closed(ending);
    }

    fn say(&mut self, command: &Command) {
        let line = command.to_string();
        let shown = match command {
            Command::Auth(mechanism, Some(_)) => {
                format!("AUTH {} {MARK}", mechanism.name())
            }
            _ => line.clone(),
        };
        self.say_line(&line, shown);
    }

    fn say_line(&mut self, line: &str, shown: String) {
        self.told.push_back(Line::Client(shown));
        self.output.extend_from_slice(line.as_bytes());
        self.output.extend_from_slice(b"\r\n");
    }
}

/// What a reply is good for (RFC 5321 §4.2.1).
#[derive(Clone, Copy)]
enum Class {
    Completed,
    Intermediate,
    Transient,
    Permanent,
    /// 421, whatever was asked.
    Closing,
}

impl Class {
    fn of(reply: &Reply) -> Self {
        match reply.code() {
            421 => Self::Closing,
            ..300 => Self::Completed,
            300..400 => Self::Intermediate,
            400..500 => Self::Transient,
            500.. => Self::Permanent,
        }
    }
}

/// RFC 5321 §4.5.3.1.5, with code and line break.
const REPLY_LINE: usize = 512;
/// A reply to EHLO has a line for each extension; no other has so many.
const REPLY_LINES: usize = 100;
/// What makes `AUTH PLAIN` as long as a command may be. A longer one follows a challenge
/// (RFC 4954 §4).
const INITIAL_RESPONSE: usize = 512 - "AUTH PLAIN \r\n".len();

#[cfg(test)]
mod tests;
