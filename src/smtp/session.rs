//! The server side of one SMTP session (RFC 5321, 3207, 4954, 2920, 3030), without I/O.
//!
//! Octets go in through [`Session::receive`]; [`Session::step`] says what to do next. Whatever the
//! protocol cannot decide is a [`Question`]; its answer is the reply to send, and a positive reply
//! moves the session on. How the octets were cut into reads never changes what comes out, save
//! behind STARTTLS and a refused DATA, where octets that came along show a broken or hostile peer.
//!
//! Invariants: an envelope exists in a transaction only; TLS makes the session forget everything
//! said before; nothing comes after [`Step::Close`].

mod chunks;
mod commands;

use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::smtp::address::{ForwardPath, ReversePath};
use crate::smtp::command::{Chunk, is_not_smtp, may_be_bdat};
use crate::smtp::envelope::Envelope;
use crate::smtp::framing::chunks::{ChunkFramer, ThrownAway};
use crate::smtp::framing::{DataError, DataFramer, LineFramer, LoneNewlines};
use crate::smtp::parameter::MailParameters;
use crate::smtp::reply::{self, Reply};
use crate::smtp::sasl::{Credentials, Exchange};

/// What the driver must do next.
#[derive(Debug)]
pub enum Step {
    /// Write these octets; replies to pipelined commands come as one.
    Send(Bytes),
    /// Read, then [`Session::receive`].
    Receive,
    /// Decide, then [`Session::answer`].
    Ask(Question),
    /// Do the TLS handshake, then [`Session::tls_established`].
    StartTls,
    /// The session is over.
    Close,
}

/// What the protocol cannot decide.
pub enum Question {
    /// Are these good? 235 says so.
    Authenticate(Credentials),
    /// May a transaction start? 250 says so.
    Mail(ReversePath, MailParameters),
    /// Is this recipient taken? 250 says so.
    Rcpt(ForwardPath),
    /// May the mail data come? 354 says so; behind BDAT it is not sent on, for the data comes
    /// unasked.
    Data,
    /// Take this message: any reply ends the transaction.
    Message(Envelope, Bytes),
}

/// Names the question only: it carries credentials and content.
impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Authenticate(_) => "Authenticate",
            Self::Mail(..) => "Mail",
            Self::Rcpt(_) => "Rcpt",
            Self::Data => "Data",
            Self::Message(..) => "Message",
        })
    }
}

/// A bound that the client went beyond, for the operator to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exceeded {
    CommandLine,
    MessageSize,
    Recipients,
    FanOut,
}

/// What the session waits for when it says [`Step::Receive`]; each has a patience of its own
/// (RFC 5321 §4.5.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// The next command, where no transaction is open.
    Command,
    /// The next command of a transaction.
    Transaction,
    /// The command that brings the next chunk of a message.
    Chunk,
    /// The rest of mail data, or of a chunk.
    MailData,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Quit,
    TimedOut,
    /// It has lasted long enough.
    Expired,
    Draining,
    Errors,
    /// The peer speaks HTTP, or TLS without STARTTLS, or a load balancer speaks before it.
    NotSmtp,
    /// Octets behind STARTTLS or behind a refused DATA.
    EarlyOctets,
    /// Behind a BDAT whose size is unknown, or beyond all bounds, no command can be found again.
    UnreadableChunk,
    LoneLineBreak,
    /// An answer was 421, or said to be the last.
    Refused,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// Neither there nor offered.
    Off,
    Offered,
    Established,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication {
    /// MAIL needs AUTH first (RFC 6409 §4.3).
    Required,
    /// Who this is was known when the connection came.
    Waived,
}

/// What is the same for all sessions of a listener.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The name in the banner and in the EHLO reply.
    pub hostname: String,
    pub lone_newlines: LoneNewlines,
    pub limits: Limits,
}

/// Bounds of one session; 0 means none, save for the command line.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Octets of a command with its line break (RFC 5321 §4.5.3.1.4).
    pub command_line: usize,
    /// Octets of a message as SIZE counts them (RFC 1870).
    pub message_size: u64,
    /// Recipients of a transaction (RFC 5321 §4.5.3.1.8 asks for at least 100).
    pub recipients: usize,
    /// Octets of a message, as SIZE= announces them, times its recipients.
    pub fan_out: u64,
    /// The error that ends the session.
    pub errors: u32,
}

/// The name a client gave in EHLO or HELO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    pub name: String,
    pub esmtp: bool,
}

enum Phase {
    /// No EHLO yet, or none since TLS.
    Greeting,
    Ready,
    /// Ready, and the last MAIL was refused: RCPT and DATA may follow that were pipelined behind it
    /// (RFC 2920 §3.1), and are no fault of the client.
    MailRefused,
    Authenticating(Exchange),
    Transaction(Envelope),
    MailData(Envelope, DataFramer),
    /// Octets of a chunk come next.
    Chunk(Envelope, ChunkFramer, Chunk),
    /// Behind a chunk, and before the next one of the same message.
    Chunks(Envelope, ChunkFramer),
    /// A chunk was refused, and the message with it: there may be more of it, up to LAST or RSET.
    ChunksRefused(Reply),
    TlsHandshake,
    Closing,
}

/// A chunk that is refused. Its octets come all the same, and the refusal is told behind them
/// (RFC 3030 §2).
struct RefusedChunk {
    octets: ThrownAway,
    refusal: Reply,
    blame: Blame,
}

/// Whether a refusal counts as an error of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blame {
    Client,
    Nobody,
}

/// A question that waits for its answer, with what a positive one needs.
enum Asked {
    Authenticate,
    Mail(ReversePath, MailParameters),
    Rcpt(ForwardPath),
    Data,
    Message,
}

/// What outlives a transaction.
struct Peer {
    tls: Tls,
    authentication: Authentication,
    authenticated: bool,
    greeting: Option<Greeting>,
    errors: u32,
}

impl Peer {
    /// Whether it is known who this is.
    fn may_send(&self) -> bool {
        self.authentication == Authentication::Waived || self.authenticated
    }
}

pub struct Session {
    settings: Arc<Settings>,
    phase: Phase,
    /// While its octets come, nothing else is read; `phase` is the one behind it.
    refused_chunk: Option<RefusedChunk>,
    peer: Peer,
    input: BytesMut,
    lines: LineFramer,
    output: BytesMut,
    question: Option<Question>,
    asked: Option<Asked>,
    draining: bool,
    ending: Option<Ending>,
    /// Each goes with a reply, so there are no more of them than replies between two steps.
    exceeded: Vec<Exceeded>,
}

impl Session {
    pub fn new(settings: Arc<Settings>, tls: Tls, authentication: Authentication) -> Self {
        let mut session = Self {
            phase: Phase::Greeting,
            refused_chunk: None,
            peer: Peer {
                tls,
                authentication,
                authenticated: false,
                greeting: None,
                errors: 0,
            },
            input: BytesMut::new(),
            lines: LineFramer::default(),
            output: BytesMut::new(),
            question: None,
            asked: None,
            draining: false,
            ending: None,
            exceeded: Vec::new(),
            settings,
        };
        let banner = format!("{} ESMTP smtp-gateway", session.settings.hostname);
        session.reply(&Reply::plain(220, banner));
        session
    }

    /// Takes octets that were read. Mail data goes straight to its framer, without a stop in the
    /// input buffer.
    pub fn receive(&mut self, mut octets: &[u8]) {
        if self.input.is_empty() {
            match (&mut self.refused_chunk, &mut self.phase) {
                (Some(chunk), _) => chunk.octets.push(&mut octets),
                (None, Phase::MailData(_, framer)) => framer.push(&mut octets),
                (None, Phase::Chunk(_, framer, _)) => framer.push(&mut octets),
                _ => {}
            }
        }
        if !matches!(self.phase, Phase::Closing) {
            self.input.extend_from_slice(octets);
        }
    }

    /// Says what to do next. Call it until it says [`Step::Receive`], and again after every input.
    pub fn step(&mut self) -> Step {
        loop {
            let asking = self.question.is_some() || self.asked.is_some();
            let handshake = matches!(self.phase, Phase::TlsHandshake);
            if self.draining && !asking && !handshake && !self.is_in_message() {
                self.close_with(&reply::SHUTTING_DOWN, Ending::Draining);
            }
            match &self.phase {
                Phase::Closing => return self.flush_or(Step::Close),
                Phase::TlsHandshake => return self.flush_or(Step::StartTls),
                _ => {}
            }
            if self.output.len() >= FLUSH_AT {
                return self.flush_or(Step::Receive);
            }
            if let Some(question) = self.question.take() {
                return self.ask(question);
            }
            if self.asked.is_some() || !self.advance() {
                return self.flush_or(Step::Receive);
            }
        }
    }

    /// Answers the question that was asked last. 421 ends the session whatever was asked.
    pub fn answer(&mut self, reply: &Reply) {
        if reply.closes() {
            return self.answer_and_close(reply);
        }
        let Some(asked) = self.asked.take() else {
            return;
        };
        match asked {
            Asked::Authenticate if reply.is_positive() => self.peer.authenticated = true,
            Asked::Authenticate if reply.is_permanent() => return self.error(reply),
            Asked::Mail(path, parameters) if reply.is_positive() => {
                self.phase = Phase::Transaction(Envelope::new(path, parameters));
            }
            Asked::Mail(..) => self.phase = Phase::MailRefused,
            Asked::Rcpt(path) if reply.is_positive() => {
                if let Phase::Transaction(envelope) = &mut self.phase {
                    envelope.add_recipient(path);
                }
            }
            Asked::Data if matches!(self.phase, Phase::Chunk(..)) => {
                if !reply.is_positive() {
                    self.refuse_first_chunk(reply);
                }
                return;
            }
            Asked::Data if reply.is_positive() => self.start_mail_data(),
            Asked::Data if self.closed_for_early_octets(reply) => return,
            _ => {}
        }
        self.reply(reply);
    }

    /// Answers the question that was asked last, and ends the session behind the reply.
    pub fn answer_and_close(&mut self, reply: &Reply) {
        if self.asked.take().is_some() {
            self.close_with(reply, Ending::Refused);
        }
    }

    /// Tells the session that the handshake is done: it forgets what was said in clear
    /// (RFC 3207 §4.2).
    pub fn tls_established(&mut self) {
        if !matches!(self.phase, Phase::TlsHandshake) {
            return;
        }
        self.input.clear();
        self.lines = LineFramer::default();
        self.phase = Phase::Greeting;
        self.peer.tls = Tls::Established;
        self.peer.authenticated = false;
        self.peer.greeting = None;
    }

    /// Tells the session that what it waited for did not come in time.
    pub fn timed_out(&mut self) {
        self.close_with(&reply::TIMED_OUT, Ending::TimedOut);
    }

    /// Ends a session that has lasted long enough, where no message is in flight.
    pub fn expired(&mut self) {
        if !self.is_in_message() {
            self.close_with(&reply::EXPIRED, Ending::Expired);
        }
    }

    /// Tells the session that there is no memory for the message that comes in: what came of it is
    /// dropped, and what comes is thrown away up to its end, where the client is told.
    pub fn no_room(&mut self) {
        match &mut self.phase {
            Phase::MailData(_, framer) => framer.drop_content(),
            Phase::Chunk(_, framer, _) | Phase::Chunks(_, framer) => framer.drop_content(),
            _ => {}
        }
    }

    /// Asks the session to end at the next point where no message is in flight.
    pub fn draining(&mut self) {
        self.draining = true;
    }

    pub fn is_draining(&self) -> bool {
        self.draining
    }

    /// Ends the session even if a message is in flight. Inside mail data it says nothing: a reply
    /// there could be taken for the one to the message, which nobody has answered for.
    pub fn last_call(&mut self) {
        if self.waiting_for() == Wait::MailData {
            self.ending.get_or_insert(Ending::Draining);
        }
        self.close_with(&reply::SHUTTING_DOWN, Ending::Draining);
    }

    /// A chunk that is thrown away is waited for as mail data is. Before AUTH it must be whole in
    /// time, as a command: a stranger may not hold a session by octets that drip in. Nor may they
    /// hold a message between two of its chunks.
    pub fn waiting_for(&self) -> Wait {
        match self.phase {
            Phase::MailData(..) | Phase::Chunk(..) => Wait::MailData,
            _ if self.refused_chunk.is_some() && self.peer.may_send() => Wait::MailData,
            Phase::Chunks(..) => Wait::Chunk,
            Phase::Transaction(_) | Phase::ChunksRefused(_) => Wait::Transaction,
            _ => Wait::Command,
        }
    }

    /// Whether there is more to come of a message, or of a chunk that is thrown away.
    fn is_in_message(&self) -> bool {
        matches!(self.waiting_for(), Wait::Chunk | Wait::MailData)
    }

    pub fn greeting(&self) -> Option<&Greeting> {
        self.peer.greeting.as_ref()
    }

    /// The protocol as `Received` fields name it (RFC 3848).
    pub fn protocol(&self) -> &'static str {
        let esmtp = self.greeting().is_some_and(|greeting| greeting.esmtp);
        let tls = self.peer.tls == Tls::Established;
        match (esmtp, tls, self.peer.authenticated) {
            (false, ..) => "SMTP",
            (true, true, true) => "ESMTPSA",
            (true, true, false) => "ESMTPS",
            (true, false, true) => "ESMTPA",
            (true, false, false) => "ESMTP",
        }
    }

    /// Why the session ended, once it has.
    pub fn ending(&self) -> Option<Ending> {
        self.ending
    }

    /// The bounds that the client went beyond since this was asked last.
    pub fn exceeded(&mut self) -> Vec<Exceeded> {
        std::mem::take(&mut self.exceeded)
    }

    /// Octets that the session holds: input, output and mail data.
    pub fn buffered(&self) -> usize {
        self.content_len()
            .saturating_add(self.input.len())
            .saturating_add(self.output.len())
    }

    /// Octets of mail data that the session holds.
    pub fn content_len(&self) -> usize {
        match &self.phase {
            Phase::MailData(_, framer) => framer.buffered(),
            Phase::Chunk(_, framer, _) | Phase::Chunks(_, framer) => framer.buffered(),
            _ => 0,
        }
    }

    /// Makes what progress the input allows; false when more is needed.
    fn advance(&mut self) -> bool {
        if self.refused_chunk.is_some() {
            return self.throw_away_chunk();
        }
        match self.phase {
            Phase::MailData(..) => return self.mail_data(),
            Phase::Chunk(..) => return self.chunk(),
            _ => {}
        }
        let authenticating = matches!(self.phase, Phase::Authenticating(_));
        if !authenticating && self.lines.is_at_line_start() && is_not_smtp(&self.input) {
            self.close_with(&reply::NOT_SMTP, Ending::NotSmtp);
            return true;
        }
        let limit = self.settings.limits.command_line;
        let limit = if authenticating || starts_with(&self.input, b"AUTH ") {
            AUTH_LINE.max(limit)
        } else if starts_with(&self.input, b"MAIL ") {
            limit.saturating_add(MAIL_PARAMETERS)
        } else {
            limit
        };
        let front = self.input.get(..limit).unwrap_or(&self.input);
        let bdat = !authenticating && self.lines.is_at_line_start() && may_be_bdat(front);
        match self.lines.next(&mut self.input, limit) {
            None if bdat && !self.lines.is_at_line_start() => self.unreadable_chunk(),
            None => return false,
            Some(Err(_)) if bdat => self.unreadable_chunk(),
            Some(Err(fault)) => {
                if authenticating {
                    self.phase = Phase::Ready;
                }
                self.exceeded.push(Exceeded::CommandLine);
                self.error(if fault.limit >= AUTH_LINE {
                    &reply::AUTH_LINE_TOO_LONG
                } else {
                    &reply::LINE_TOO_LONG
                });
            }
            Some(Ok(line)) => self.line(&line),
        }
        true
    }

    /// Octets behind a DATA that is refused were mail data for the client, and must not be read as
    /// commands: they end the session.
    fn closed_for_early_octets(&mut self, refusal: &Reply) -> bool {
        if !self.input.is_empty() {
            self.close_with(refusal, Ending::EarlyOctets);
        }
        matches!(self.phase, Phase::Closing)
    }

    fn start_mail_data(&mut self) {
        if let Phase::Transaction(envelope) = std::mem::replace(&mut self.phase, Phase::Ready) {
            let announced = envelope.parameters().size;
            let framer = DataFramer::new(self.settings.limits.message_size, announced);
            self.phase = Phase::MailData(envelope, framer);
        }
    }

    /// Takes mail data from the input; false when its end has not come yet.
    fn mail_data(&mut self) -> bool {
        let Phase::MailData(envelope, mut framer) =
            std::mem::replace(&mut self.phase, Phase::Ready)
        else {
            return false;
        };
        framer.push(&mut self.input);
        if !framer.is_complete() {
            self.phase = Phase::MailData(envelope, framer);
            return false;
        }
        self.end_of_data(envelope, framer.finish(self.settings.lone_newlines));
        true
    }

    fn end_of_data(&mut self, envelope: Envelope, content: Result<Bytes, DataError>) {
        match content {
            Ok(content) => self.question = Some(Question::Message(envelope, content)),
            Err(fault) => {
                // Between chunks the same fault is told with each; here it is told once.
                if matches!(fault, DataError::TooLarge) {
                    self.exceeded.push(Exceeded::MessageSize);
                }
                self.data_fault(fault);
            }
        }
    }

    fn data_fault(&mut self, fault: DataError) {
        match fault {
            DataError::TooLarge => self.reply(&reply::TOO_LARGE),
            DataError::NoRoom => self.reply(&reply::NO_ROOM),
            DataError::LoneLineBreak => {
                self.close_with(&reply::LONE_LINE_BREAK, Ending::LoneLineBreak);
            }
        }
    }

    fn ask(&mut self, question: Question) -> Step {
        // These two take their time: earlier replies go out first. The others are answered at
        // once, and their replies travel together (RFC 2920 §3.2).
        let slow = matches!(question, Question::Authenticate(_) | Question::Message(..));
        if slow && !self.output.is_empty() {
            self.question = Some(question);
            return self.flush_or(Step::Receive);
        }
        self.asked = Some(match &question {
            Question::Authenticate(_) => Asked::Authenticate,
            Question::Mail(path, parameters) => Asked::Mail(path.clone(), parameters.clone()),
            Question::Rcpt(path) => Asked::Rcpt(path.clone()),
            Question::Data => Asked::Data,
            Question::Message(..) => Asked::Message,
        });
        Step::Ask(question)
    }

    fn flush_or(&mut self, step: Step) -> Step {
        if self.output.is_empty() {
            step
        } else {
            Step::Send(self.output.split().freeze())
        }
    }

    fn reply(&mut self, reply: &Reply) {
        reply.write(&mut self.output);
    }

    /// A reply to a fault of the client; the last one it may make ends the session instead.
    fn error(&mut self, reply: &Reply) {
        self.peer.errors = self.peer.errors.saturating_add(1);
        if self.peer.errors == self.settings.limits.errors {
            self.close_with(&reply::TOO_MANY_ERRORS, Ending::Errors);
        } else {
            self.reply(reply);
        }
    }

    fn close_with(&mut self, reply: &Reply, ending: Ending) {
        if self.ending.is_none() {
            self.reply(reply);
            self.ending = Some(ending);
        }
        self.phase = Phase::Closing;
        self.refused_chunk = None;
        self.input = BytesMut::new();
        self.question = None;
        self.asked = None;
    }
}

fn starts_with(input: &[u8], verb: &[u8]) -> bool {
    input
        .get(..verb.len())
        .is_some_and(|found| found.eq_ignore_ascii_case(verb))
}

/// RFC 4954 §4: a line of the exchange may be this long.
const AUTH_LINE: usize = 12_288;
/// What the parameters of MAIL add to its line: SIZE (RFC 1870 §3), BODY (RFC 6152 §2), SMTPUTF8
/// (RFC 6531 §3.1) and AUTH (RFC 4954 §3).
const MAIL_PARAMETERS: usize = 26 + 17 + 10 + 500;
/// Replies to a flood of pipelined commands leave in pieces of about this size.
const FLUSH_AT: usize = 4096;

#[cfg(test)]
mod tests;
