//! What is sent: a file as it is, or a small message made here (RFC 5322), and its envelope.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::message::date::Date;
use crate::message::header::{Field, Header};
use crate::message::{address_list, words};
use crate::smtp::address::{ForwardPath, ReversePath};
use crate::smtp::client::Message;
use crate::telemetry::privacy::random_id;

/// Why a file gives no envelope.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LetterError {
    #[error("the message has no usable From field: give --from")]
    NoSender,
    #[error("the message has no usable To, Cc or Bcc field: give --to")]
    NoRecipient,
}

pub(super) enum Letter {
    AsItIs(Message),
    Made {
        from: ReversePath,
        to: Vec<ForwardPath>,
        subject: String,
        text: String,
    },
}

impl Letter {
    /// What is not given is taken from the header fields.
    pub(super) fn of_file(
        octets: impl AsRef<[u8]>,
        from: Option<ReversePath>,
        to: Vec<ForwardPath>,
    ) -> Result<Self, LetterError> {
        let octets = octets.as_ref();
        let addresses = |wanted: &[&str]| addresses(octets, wanted);
        let from = match from {
            Some(path) => path,
            None => addresses(&["From"])
                .into_iter()
                .next()
                .map(|path| ReversePath::Mailbox(path.mailbox().clone()))
                .ok_or(LetterError::NoSender)?,
        };
        let to = match to.is_empty() {
            true => addresses(&["To", "Cc", "Bcc"]),
            false => to,
        };
        if to.is_empty() {
            return Err(LetterError::NoRecipient);
        }
        Ok(Self::AsItIs(Message::new(from, to, octets)))
    }

    pub(super) fn made(
        from: Option<ReversePath>,
        to: Vec<ForwardPath>,
        subject: String,
        text: String,
    ) -> Self {
        let (default, _) = ReversePath::take(DEFAULT_SENDER).expect("it is an address");
        Self::Made {
            from: from.unwrap_or(default),
            to,
            subject,
            text,
        }
    }

    /// The next message. One that is made here has an id of its own each time, so that nobody takes
    /// it for the one before.
    pub(super) fn message(&self) -> Message {
        match self {
            Self::AsItIs(message) => message.clone(),
            Self::Made {
                from,
                to,
                subject,
                text,
            } => {
                let content = compose(from, to, subject, text);
                Message::new(from.clone(), to.clone(), content)
            }
        }
    }
}

/// The usable addresses of these fields, each once.
fn addresses(octets: &[u8], wanted: &[&str]) -> Vec<ForwardPath> {
    let Ok(header) = Header::find(octets, 0, None, |_| false) else {
        return Vec::new();
    };
    let is_wanted = |field: &Field<'_>| wanted.iter().any(|name| field.is(name));
    let mut paths = Vec::new();
    for field in header.fields(octets).filter(is_wanted) {
        for address in address_list::parse(field.value) {
            match ForwardPath::take(&format!("<{}>", address.email)) {
                Ok((path, "")) if !paths.contains(&path) => paths.push(path),
                _ => {}
            }
        }
    }
    paths
}

fn compose(from: &ReversePath, to: &[ForwardPath], subject: &str, text: &str) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let date = Date::from_unix(now.unwrap_or_default().as_secs()).rfc5322();
    let (from, domain) = match from.mailbox() {
        Some(mailbox) => (mailbox.to_string(), mailbox.domain().to_string()),
        None => ("MAILER-DAEMON@localhost".to_owned(), "localhost".to_owned()),
    };
    let to: Vec<_> = to.iter().map(ToString::to_string).collect();
    let (encoding, body) = body(text);
    format!(
        "Date: {date}\r\n\
         Message-ID: <{id}@{domain}>\r\n\
         From: {from}\r\n\
         To: {to}\r\n\
         Subject: {subject}\r\n\
         MIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\
         Content-Transfer-Encoding: {encoding}\r\n\
         \r\n\
         {body}",
        id = random_id(),
        to = to.join(",\r\n "),
        subject = unstructured(subject),
    )
}

/// As it is where that is safe on any way, else in base64.
fn body(text: &str) -> (&'static str, String) {
    let plain = |line: &str| line.len() <= MAX_LINE && line.bytes().all(is_text);
    let lines: Vec<_> = text.lines().collect();
    if lines.iter().all(|line| plain(line)) {
        return ("7bit", lines.join("\r\n"));
    }
    let encoded = STANDARD.encode(lines.join("\r\n"));
    let mut wrapped = String::new();
    for (place, c) in encoded.chars().enumerate() {
        if place > 0 && place.is_multiple_of(BASE64_LINE) {
            wrapped.push_str("\r\n");
        }
        wrapped.push(c);
    }
    ("base64", wrapped)
}

/// The value of an unstructured field; encoded words where it needs some (RFC 2047 §2).
fn unstructured(text: &str) -> String {
    let text = words::clean(text);
    if text.len() <= MAX_PLAIN_SUBJECT && text.bytes().all(is_text) && !text.contains("=?") {
        return text;
    }
    let mut pieces = vec![String::new()];
    for c in text.chars() {
        match pieces.last_mut() {
            Some(piece) if piece.len() + c.len_utf8() <= ENCODED_WORD => piece.push(c),
            _ => pieces.push(c.into()),
        }
    }
    let word = |piece: &String| format!("=?utf-8?B?{}?=", STANDARD.encode(piece));
    let encoded: Vec<_> = pieces.iter().map(word).collect();
    encoded.join("\r\n ")
}

fn is_text(octet: u8) -> bool {
    matches!(octet, b' '..=b'~' | b'\t')
}

/// Nobody has it (RFC 2606 §3).
const DEFAULT_SENDER: &str = "<app@example.com>";
/// RFC 5322 §2.1.1.
const MAX_LINE: usize = 998;
/// RFC 2045 §6.8.
const BASE64_LINE: usize = 76;
/// With the name of the field, the line is not longer than RFC 5322 §2.1.1 wants it to be.
const MAX_PLAIN_SUBJECT: usize = 78 - "Subject: ".len();
/// Octets that make an encoded word of at most 75 (RFC 2047 §2).
const ENCODED_WORD: usize = 45;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::content::Content;
    use crate::message::mime;
    use crate::message::structure::{Limits, Structure};

    fn envelope(octets: &str) -> (Vec<String>, Vec<String>) {
        let text = |wanted| {
            let paths = addresses(octets.as_bytes(), wanted);
            paths.iter().map(ToString::to_string).collect()
        };
        (text(&["From"]), text(&["To", "Cc", "Bcc"]))
    }

    #[test]
    fn the_envelope_comes_from_the_fields_of_a_file() {
        let (from, to) = envelope(
            "From: App <app@example.com>\nTo: Ann <ann@example.net>,\n bob@example.net\n\
             Subject: x@example.net\nCc: ann@example.net\nBCC: eve@example.net\n\n\
             To: body@example.net\n",
        );
        assert_eq!(from, ["app@example.com"]);
        assert_eq!(
            to,
            ["ann@example.net", "bob@example.net", "eve@example.net"]
        );
    }

    #[test]
    fn a_file_without_addresses_needs_them_as_arguments() {
        let file = |text: &str| Letter::of_file(text, None, Vec::new()).err();
        assert_eq!(file("To: a@example.net\n\n"), Some(LetterError::NoSender));
        assert_eq!(
            file("From: a@example.net\nTo: undisclosed-recipients:;\n\n"),
            Some(LetterError::NoRecipient)
        );
        let sender = ReversePath::Null;
        let (recipient, _) = ForwardPath::take("<a@example.net>").unwrap();
        assert!(Letter::of_file("x", Some(sender), vec![recipient]).is_ok());
    }

    #[test]
    fn a_made_message_is_read_as_it_was_meant() {
        let long = "é".repeat(200);
        for (subject, text) in [
            ("Hello", "It works."),
            ("Grüße, =?utf-8?Q?x?=", "Grüße\nund mehr"),
            (&long, &"x".repeat(2000)),
            ("", ""),
        ] {
            let (from, _) = ReversePath::take("<app@example.com>").unwrap();
            let recipients = ["<a@example.net>", "<\"b b\"@example.net>"];
            let to: Vec<_> = recipients
                .iter()
                .map(|text| ForwardPath::take(text).unwrap().0)
                .collect();
            let content = compose(&from, &to, subject, text);
            assert!(content.is_ascii() && content.lines().all(|line| line.len() <= 998));
            let content = Content::new(content);
            let structure = Structure::read(&content, &Limits::default()).unwrap();
            let email = mime::read(&content, &structure);
            assert_eq!(email.subject.as_deref(), Some(subject));
            assert_eq!(email.text.unwrap_or_default().trim_end(), text);
            assert_eq!(email.to.len(), 2);
            assert!(email.date.is_some() && email.message_id.is_some());
        }
    }

    #[test]
    fn a_subject_cannot_end_its_line() {
        assert_eq!(
            unstructured("a\r\nBcc: b@example.net"),
            "a  Bcc: b@example.net"
        );
    }
}
