//! What each command does, in each phase. The phase table of `docs/smtp-session.md` says the same,
//! and is run against this.

use std::fmt::Write as _;

use crate::smtp::address::{ForwardPath, PathError, ReversePath};
use crate::smtp::command::{Command, SyntaxError, is_bdat};
use crate::smtp::framing::{Line, LoneNewlines};
use crate::smtp::parameter::{MailParameters, ParameterError};
use crate::smtp::reply::{self, Reply};
use crate::smtp::sasl::{Exchange, Progress, SaslError};
use crate::smtp::session::{Ending, Exceeded, Greeting, Limits, Phase, Question, Session, Tls};

impl Session {
    /// Takes one whole line.
    pub(super) fn line(&mut self, line: &Line) {
        // Old applications end lines by LF alone (FIELD: printers); where lone line breaks are
        // refused in mail data, they are refused here too.
        if line.lone_lf && self.settings.lone_newlines == LoneNewlines::Refuse {
            if matches!(self.phase, Phase::Authenticating(_)) {
                self.phase = Phase::Ready;
            } else if is_bdat(&line.octets) {
                return self.unreadable_chunk();
            }
            return self.error(&reply::NOT_TEXT);
        }
        match std::mem::replace(&mut self.phase, Phase::Ready) {
            Phase::Authenticating(exchange) => self.progress(exchange.respond(&line.octets)),
            phase => {
                self.phase = phase;
                match Command::parse(&line.octets) {
                    Ok(command) => self.command(command),
                    Err(_) if is_bdat(&line.octets) => self.unreadable_chunk(),
                    Err(SyntaxError::NotSmtp) => {
                        self.close_with(&reply::NOT_SMTP, Ending::NotSmtp);
                    }
                    Err(error) => self.syntax_error(error),
                }
            }
        }
    }

    /// A bad address is the fault of whoever wrote it, not of the client that hands it on: among the
    /// recipients of a list there are always some. Who may not send is not spared for that.
    fn syntax_error(&mut self, error: SyntaxError) {
        let reply = syntax_reply(error);
        match (error, &self.phase) {
            (SyntaxError::ReversePath(_), Phase::Ready) if self.peer.may_send() => {
                self.phase = Phase::MailRefused;
                self.reply(reply);
            }
            (SyntaxError::ReversePath(_) | SyntaxError::ForwardPath(_), _) => self.reply(reply),
            _ => self.error(reply),
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Ehlo(name) => self.greet(name, true),
            Command::Helo(name) => self.greet(name, false),
            Command::StartTls => self.starttls(),
            Command::Auth(mechanism, initial) => match self.auth_refusal() {
                Some(refusal) => self.error(refusal),
                None => self.progress(Exchange::start(mechanism, initial.as_ref())),
            },
            Command::Mail(path, parameters) => self.mail(path, parameters),
            Command::Rcpt(path) => self.rcpt(path),
            Command::Data => self.data(),
            Command::Bdat(chunk) => self.bdat(chunk),
            Command::Rset => {
                if !matches!(self.phase, Phase::Greeting) {
                    self.phase = Phase::Ready;
                }
                self.reply(&reply::OK);
            }
            Command::Noop => self.reply(&reply::OK),
            Command::Vrfy => self.reply(&reply::CANNOT_VERIFY),
            Command::Help => self.reply(&reply::HELP),
            Command::Quit => self.close_with(&reply::CLOSING, Ending::Quit),
        }
    }

    /// EHLO or HELO; in a transaction it is a RSET too (RFC 5321 §4.1.4).
    fn greet(&mut self, name: String, esmtp: bool) {
        self.peer.greeting = Some(Greeting { name, esmtp });
        self.phase = Phase::Ready;
        let mut text = self.settings.hostname.clone();
        if esmtp {
            self.extensions(&mut text);
        }
        self.reply(&Reply::plain(250, text));
    }

    fn extensions(&self, text: &mut String) {
        let limits = self.settings.limits;
        text.push_str("\nPIPELINING\n8BITMIME\nSMTPUTF8\nENHANCEDSTATUSCODES\nCHUNKING");
        // Writing to a String cannot fail. SIZE 0 says that there is no limit (RFC 1870 §4).
        let _ = write!(text, "\nSIZE {}", limits.message_size);
        if limits.recipients != 0 {
            let _ = write!(text, "\nLIMITS RCPTMAX={}", limits.recipients);
        }
        match self.peer.tls {
            Tls::Off => {}
            Tls::Offered => text.push_str("\nSTARTTLS"),
            Tls::Established => text.push_str("\nAUTH PLAIN LOGIN"),
        }
        text.push_str("\nHELP");
    }

    fn starttls(&mut self) {
        match self.peer.tls {
            // Octets that came along were sent in clear, maybe by someone in between, and would be
            // taken as said under TLS (CVE-2011-0411).
            Tls::Offered if !self.input.is_empty() => {
                self.close_with(&reply::EARLY_OCTETS, Ending::EarlyOctets);
            }
            Tls::Offered => {
                self.reply(&reply::STARTTLS_READY);
                self.phase = Phase::TlsHandshake;
            }
            Tls::Established => self.error(&reply::TLS_ACTIVE),
            Tls::Off => self.error(&reply::NOT_IMPLEMENTED),
        }
    }

    fn auth_refusal(&self) -> Option<&'static Reply> {
        match (&self.phase, self.peer.tls) {
            (_, Tls::Off | Tls::Offered) => Some(&reply::TLS_FOR_AUTH),
            (Phase::Greeting, _) => Some(&reply::GREETING_FIRST),
            (Phase::Transaction(_), _) => Some(&reply::TRANSACTION_OPEN),
            (Phase::Chunks(..) | Phase::ChunksRefused(_), _) => Some(&reply::CHUNKS_OPEN),
            _ if self.peer.authenticated => Some(&reply::ALREADY_AUTHENTICATED),
            _ => None,
        }
    }

    fn progress(&mut self, progress: Result<Progress, SaslError>) {
        match progress {
            Ok(Progress::Challenge(exchange)) => {
                self.reply(&Reply::plain(334, exchange.challenge()));
                self.phase = Phase::Authenticating(exchange);
            }
            Ok(Progress::Done(credentials)) => {
                self.question = Some(Question::Authenticate(credentials));
            }
            Err(SaslError::Cancelled) => self.error(&reply::AUTH_CANCELLED),
            Err(SaslError::Encoding) => self.error(&reply::BAD_ENCODING),
            Err(SaslError::Identity) => self.error(&reply::BAD_CREDENTIALS),
        }
    }

    fn mail(&mut self, path: ReversePath, parameters: MailParameters) {
        let needs_login = !self.peer.may_send();
        match (&self.phase, self.peer.tls) {
            (Phase::Greeting, _) => return self.error(&reply::GREETING_FIRST),
            (Phase::Transaction(_), _) => return self.error(&reply::TRANSACTION_OPEN),
            (Phase::Chunks(..) | Phase::ChunksRefused(_), _) => {
                return self.error(&reply::CHUNKS_OPEN);
            }
            (_, Tls::Offered) if needs_login => return self.error(&reply::TLS_FIRST),
            _ if needs_login => return self.error(&reply::AUTHENTICATE_FIRST),
            _ => {}
        }
        let limit = self.settings.limits.message_size;
        let ascii = path.mailbox().is_none_or(|mailbox| mailbox.is_ascii());
        let refusal = if !ascii && !parameters.smtputf8 {
            &reply::SENDER_NEEDS_UTF8
        } else if limit != 0 && parameters.size.is_some_and(|size| size > limit) {
            self.exceeded.push(Exceeded::MessageSize);
            &reply::TOO_LARGE
        } else {
            self.question = Some(Question::Mail(path, parameters));
            return;
        };
        self.phase = Phase::MailRefused;
        self.reply(refusal);
    }

    fn rcpt(&mut self, path: ForwardPath) {
        let envelope = match &self.phase {
            Phase::Transaction(envelope) => envelope,
            Phase::MailRefused => return self.reply(&reply::MAIL_FIRST),
            Phase::Chunks(..) | Phase::ChunksRefused(_) => return self.error(&reply::CHUNKS_OPEN),
            _ => return self.error(&reply::MAIL_FIRST),
        };
        let Limits {
            recipients,
            fan_out,
            ..
        } = self.settings.limits;
        let taken = envelope.recipients().len();
        let size = envelope.parameters().size.unwrap_or(0);
        let copies = (taken as u64).saturating_add(1);
        if !path.mailbox().is_ascii() && !envelope.parameters().smtputf8 {
            self.reply(&reply::RECIPIENT_NEEDS_UTF8);
        } else if envelope.has_recipient(&path) {
            self.reply(&reply::RECIPIENT_OK);
        } else if recipients != 0 && taken >= recipients {
            self.exceeded.push(Exceeded::Recipients);
            self.reply(&reply::TOO_MANY_RECIPIENTS);
        } else if fan_out != 0 && taken > 0 && size.saturating_mul(copies) > fan_out {
            self.exceeded.push(Exceeded::FanOut);
            self.reply(&reply::FAN_OUT);
        } else {
            self.question = Some(Question::Rcpt(path));
        }
    }

    fn data(&mut self) {
        let refusal = match &self.phase {
            Phase::Transaction(envelope) if envelope.recipients().is_empty() => {
                &reply::NO_RECIPIENT
            }
            Phase::Transaction(_) => {
                self.question = Some(Question::Data);
                return;
            }
            // RFC 3030 §2: not both in one transaction.
            Phase::Chunks(..) | Phase::ChunksRefused(_) => &reply::CHUNKS_OPEN,
            _ => &reply::MAIL_FIRST,
        };
        if self.closed_for_early_octets(refusal) {
            return;
        }
        match self.phase {
            Phase::MailRefused => self.reply(refusal),
            _ => self.error(refusal),
        }
    }
}

fn syntax_reply(error: SyntaxError) -> &'static Reply {
    match error {
        SyntaxError::NotText => &reply::NOT_TEXT,
        SyntaxError::NotSmtp => &reply::NOT_SMTP,
        SyntaxError::Unknown => &reply::UNKNOWN_COMMAND,
        SyntaxError::NotImplemented => &reply::NOT_IMPLEMENTED,
        SyntaxError::Argument => &reply::BAD_ARGUMENT,
        SyntaxError::Mechanism => &reply::UNKNOWN_MECHANISM,
        SyntaxError::ReversePath(PathError::NotQualified) => &reply::SENDER_NOT_QUALIFIED,
        SyntaxError::ReversePath(_) => &reply::BAD_SENDER,
        SyntaxError::ForwardPath(PathError::NotQualified) => &reply::RECIPIENT_NOT_QUALIFIED,
        SyntaxError::ForwardPath(_) => &reply::BAD_RECIPIENT,
        SyntaxError::Parameter(ParameterError::Unknown) => &reply::UNKNOWN_PARAMETER,
        SyntaxError::Parameter(ParameterError::Value) => &reply::BAD_PARAMETER,
    }
}
