//! Replies: code, enhanced status and text (RFC 5321 §4.2, RFC 2034, RFC 3463), and the ones the
//! protocol itself decides.
//!
//! The class of the enhanced status comes from the code, so the two never disagree. Text from
//! outside enters through [`Reply::quoting`] only: no octet of it can end a line.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use bytes::BytesMut;

/// What the server answers to one command.
#[derive(Clone, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    /// Subject and detail of the enhanced status; greeting and EHLO replies have none (RFC 2034 §4).
    status: Option<(u16, u16)>,
    /// Printable; several lines are separated by LF.
    text: Cow<'static, str>,
}

/// Text that came from outside is for the peer alone: an API may name a recipient in it.
impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match &self.text {
            Cow::Borrowed(text) => text,
            Cow::Owned(_) => "…",
        };
        write!(f, "Reply({} {:?} {text})", self.code, self.status)
    }
}

impl Reply {
    /// A reply with an enhanced status `<class of the code>.<subject>.<detail>`.
    pub const fn new(code: u16, subject: u16, detail: u16, text: &'static str) -> Self {
        Self {
            code,
            status: Some((subject, detail)),
            text: Cow::Borrowed(text),
        }
    }

    /// A reply without enhanced status: greetings, challenges, 354.
    pub fn plain(code: u16, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            status: None,
            text: text.into(),
        }
    }

    /// The same code and status with other words, some of which may come from outside: what is not
    /// printable ASCII becomes a `?`, and the text is cut at 400 octets.
    #[must_use]
    pub fn quoting(&self, text: &str) -> Self {
        Self {
            code: self.code,
            status: self.status,
            text: Cow::Owned(printable(text, MAX_TEXT)),
        }
    }

    pub const fn code(&self) -> u16 {
        self.code
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// 2yz and 3yz: the command was taken.
    pub const fn is_positive(&self) -> bool {
        self.code < 400
    }

    /// 5yz: the same command will not be taken.
    pub const fn is_permanent(&self) -> bool {
        self.code >= 500
    }

    /// 421: the session is over (RFC 5321 §3.8).
    pub const fn closes(&self) -> bool {
        self.code == 421
    }

    /// Appends the reply as it goes over the wire.
    pub fn write(&self, out: &mut BytesMut) {
        // Writing to a BytesMut cannot fail: it grows.
        let _ = write!(out, "{self}");
    }

    /// Reads one whole reply. Taken as well: a code without text, and an enhanced status on some of
    /// the lines only, which is text then.
    pub fn parse(text: &str) -> Option<Self> {
        let mut code = None;
        let mut lines = Vec::new();
        let mut rest = text.strip_suffix("\r\n")?.split("\r\n").peekable();
        while let Some(line) = rest.next() {
            let (digits, line) = line.split_at_checked(3)?;
            let number = Some(digits)
                .filter(|digits| digits.bytes().all(|octet| octet.is_ascii_digit()))
                .and_then(|digits| digits.parse().ok())
                .filter(|number| (200..600).contains(number))?;
            let line = match rest.peek() {
                Some(_) => line.strip_prefix('-')?,
                None if line.is_empty() => line,
                None => line.strip_prefix(' ')?,
            };
            if *code.get_or_insert(number) != number {
                return None;
            }
            lines.push(line);
        }
        let code = code?;
        let status = |line| enhanced(line, code).map(|(status, _)| status);
        let first = lines.first().copied().and_then(status);
        if first.is_some() && lines.iter().all(|line| status(line) == first) {
            for line in &mut lines {
                *line = enhanced(line, code)?.1;
            }
            return Some(Self::of(code, first, &lines));
        }
        Some(Self::of(code, None, &lines))
    }

    fn of(code: u16, status: Option<(u16, u16)>, lines: &[&str]) -> Self {
        Self {
            code,
            status,
            text: Cow::Owned(lines.join("\n")),
        }
    }
}

/// All lines, each with the code and ended by CRLF.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = self.text.split('\n').peekable();
        while let Some(line) = lines.next() {
            let mark = if lines.peek().is_some() { '-' } else { ' ' };
            write!(f, "{}{mark}", self.code)?;
            if let Some((subject, detail)) = self.status {
                write!(f, "{}.{subject}.{detail} ", self.code / 100)?;
            }
            write!(f, "{line}\r\n")?;
        }
        Ok(())
    }
}

/// Takes `5.1.1 ` off a line, where its class is that of the code.
fn enhanced(line: &str, code: u16) -> Option<((u16, u16), &str)> {
    let (status, rest) = line.split_once(' ')?;
    let mut numbers = status.split('.').map(str::parse::<u16>);
    let mut next = || numbers.next()?.ok();
    let (class, subject, detail) = (next()?, next()?, next()?);
    (class == code / 100 && next().is_none()).then_some(((subject, detail), rest))
}

/// Printable ASCII of at most `limit` octets; anything else becomes a `?`.
pub fn printable(text: &str, limit: usize) -> String {
    let keep = |c: char| if matches!(c, ' '..='~') { c } else { '?' };
    text.chars().take(limit).map(keep).collect()
}

/// A chunk is there, and others are to follow (RFC 3030 §2).
pub fn chunk_received(size: u64) -> Reply {
    OK.quoting(&format!("{size} octets received"))
}

/// RFC 5321 §4.5.3.1.5 allows 512 octets with the code.
const MAX_TEXT: usize = 400;

// What the protocol decides by itself. Everything else is in `ingress::smtp::replies`.
pub static CLOSING: Reply = Reply::new(221, 0, 0, "Bye");
pub static AUTHENTICATED: Reply = Reply::new(235, 7, 0, "Authentication successful");
pub static OK: Reply = Reply::new(250, 0, 0, "Ok");
pub static SENDER_OK: Reply = Reply::new(250, 1, 0, "Ok");
pub static RECIPIENT_OK: Reply = Reply::new(250, 1, 5, "Ok");
pub static STARTTLS_READY: Reply = Reply::new(220, 0, 0, "Ready to start TLS");
pub static CANNOT_VERIFY: Reply = Reply::new(252, 0, 0, "Cannot verify; send a message and see");
pub static HELP: Reply = Reply::new(
    214,
    0,
    0,
    "EHLO HELO STARTTLS AUTH MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT\n\
     Submission only (RFC 6409): STARTTLS, then AUTH, then MAIL",
);

pub static TIMED_OUT: Reply = Reply::new(421, 4, 2, "Idle for too long, closing");
pub static EXPIRED: Reply = Reply::new(
    421,
    4,
    2,
    "Session too long (limits.session_age), please connect again",
);
pub static SHUTTING_DOWN: Reply = Reply::new(421, 3, 2, "Shutting down, please connect again");
pub static NOT_SMTP: Reply = Reply::new(421, 7, 0, "This is an SMTP server, closing");
pub static EARLY_OCTETS: Reply = Reply::new(421, 5, 0, "Octets behind STARTTLS, closing");
pub static TOO_MANY_ERRORS: Reply =
    Reply::new(421, 7, 0, "Too many errors (limits.errors), closing");

pub static LINE_TOO_LONG: Reply = Reply::new(500, 5, 2, "Line too long");
pub static AUTH_LINE_TOO_LONG: Reply =
    Reply::new(500, 5, 6, "Authentication exchange line too long");
pub static NOT_TEXT: Reply = Reply::new(500, 5, 2, "Not a line of text that ends in CRLF");
pub static UNKNOWN_COMMAND: Reply = Reply::new(500, 5, 2, "Unknown command");
pub static NOT_IMPLEMENTED: Reply = Reply::new(502, 5, 1, "Command not implemented");
pub static BAD_ARGUMENT: Reply = Reply::new(501, 5, 2, "Bad argument");
pub static BAD_PARAMETER: Reply = Reply::new(501, 5, 4, "Bad parameter value");
pub static UNKNOWN_PARAMETER: Reply = Reply::new(555, 5, 4, "Parameter not supported");
pub static BAD_CHUNK: Reply = Reply::new(501, 5, 4, "Bad chunk size, closing");
pub static BAD_SENDER: Reply = Reply::new(501, 1, 7, "Bad sender address");
pub static SENDER_NOT_QUALIFIED: Reply =
    Reply::new(554, 1, 8, "Sender domain is not fully qualified");
pub const SENDER_NEEDS_UTF8: Reply = Reply::new(550, 6, 7, "Address needs the SMTPUTF8 parameter");
pub static BAD_RECIPIENT: Reply = Reply::new(501, 1, 3, "Bad recipient address");
pub static RECIPIENT_NOT_QUALIFIED: Reply =
    Reply::new(554, 1, 2, "Recipient domain is not fully qualified");
pub const RECIPIENT_NEEDS_UTF8: Reply =
    Reply::new(553, 6, 7, "Address needs the SMTPUTF8 parameter");
pub static UNKNOWN_MECHANISM: Reply =
    Reply::new(504, 5, 4, "Mechanism not supported; use PLAIN or LOGIN");
pub static BAD_ENCODING: Reply = Reply::new(501, 5, 2, "Cannot decode the authentication exchange");
pub static BAD_CREDENTIALS: Reply = Reply::new(535, 7, 8, "Authentication credentials invalid");
pub static AUTH_CANCELLED: Reply = Reply::new(501, 7, 0, "Authentication cancelled");

pub static TOO_MANY_RECIPIENTS: Reply = Reply::new(
    452,
    5,
    3,
    "Too many recipients (limits.recipients); send the rest in another message",
);
pub static FAN_OUT: Reply = Reply::new(
    452,
    5,
    3,
    "Too large for so many recipients (limits.fan_out); send the rest in another message",
);
pub static TOO_LARGE: Reply = Reply::new(552, 3, 4, "Message exceeds the size limit");
pub static NO_ROOM: Reply = Reply::new(
    452,
    3,
    1,
    "Not enough memory now (limits.memory), try again later",
);
pub static CHUNK_TOO_LARGE: Reply = Reply::new(
    552,
    3,
    4,
    "Chunk exceeds the message size limit many times over, closing",
);
pub static LONE_LINE_BREAK: Reply = Reply::new(
    550,
    5,
    2,
    "Lone CR or LF in the message (smtp.lone_newlines), closing",
);

pub static GREETING_FIRST: Reply = Reply::new(503, 5, 1, "Send EHLO first");
pub static TRANSACTION_OPEN: Reply =
    Reply::new(503, 5, 1, "A transaction is open; finish it or send RSET");
pub static CHUNKS_OPEN: Reply = Reply::new(
    503,
    5,
    1,
    "A message in chunks is open; finish it or send RSET",
);
pub static MAIL_FIRST: Reply = Reply::new(503, 5, 1, "Send MAIL first");
pub static NO_RECIPIENT: Reply = Reply::new(554, 5, 1, "No valid recipients");
pub static TLS_ACTIVE: Reply = Reply::new(503, 5, 1, "TLS is active already");
pub static ALREADY_AUTHENTICATED: Reply = Reply::new(503, 5, 1, "Already authenticated");
pub static TLS_FIRST: Reply = Reply::new(530, 7, 0, "Must issue a STARTTLS command first");
pub static AUTHENTICATE_FIRST: Reply = Reply::new(530, 7, 0, "Authentication required");
pub static TLS_FOR_AUTH: Reply = Reply::new(
    538,
    7,
    11,
    "Encryption required for the requested authentication mechanism",
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_class_of_the_status_is_that_of_the_code() {
        assert_eq!(
            TOO_LARGE.to_string(),
            "552 5.3.4 Message exceeds the size limit\r\n"
        );
        assert_eq!(OK.to_string(), "250 2.0.0 Ok\r\n");
    }

    #[test]
    fn every_line_of_a_long_reply_carries_code_and_status() {
        let text = HELP.to_string();
        assert!(text.starts_with("214-2.0.0 EHLO"), "{text}");
        assert!(text.contains("\r\n214 2.0.0 Submission"), "{text}");
    }

    #[test]
    fn text_from_outside_cannot_end_a_line() {
        let reply = OK.quoting("a\r\n250 b\0\u{2028}é");
        assert_eq!(reply.to_string(), "250 2.0.0 a??250 b???\r\n");
    }

    #[test]
    fn replies_of_other_servers_are_read_too() {
        let parse = |text| Reply::parse(text).map(|reply| (reply.code, reply.status, reply.text));
        for (text, reply) in [
            ("250\r\n", (250, None, "")),
            (
                "550-5.1.1 a\r\n550 5.1.1 b\r\n",
                (550, Some((1, 1)), "a\nb"),
            ),
            ("550-5.1.1 a\r\n550 b\r\n", (550, None, "5.1.1 a\nb")),
            ("550 4.1.1 a\r\n", (550, None, "4.1.1 a")),
        ] {
            assert_eq!(parse(text), Some((reply.0, reply.1, reply.2.into())));
        }
    }

    #[test]
    fn what_is_no_reply_is_not_read() {
        for text in [
            "",
            "\r\n",
            "250",
            "25 \r\n",
            "+25 a\r\n",
            "999 a\r\n",
            "150 a\r\n",
            "250a\r\n",
            "250-a\r\n",
            "250 a\r\n250 b\r\n",
            "250-a\r\n251 b\r\n",
            "HTTP/1.1 400 Bad\r\n",
        ] {
            assert_eq!(Reply::parse(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn parsing_what_was_printed_gives_the_same_reply(
            code in 200u16..600, status in proptest::option::of((0u16..8, 0u16..30)),
            lines in proptest::collection::vec("[a-zA-Z][ -~]{0,30}", 1..4)
        ) {
            let reply = Reply { code, status, text: Cow::Owned(lines.join("\n")) };
            prop_assert_eq!(Reply::parse(&reply.to_string()), Some(reply));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,40}(\r\n)?") {
            let _ = Reply::parse(&text);
        }
    }
}
