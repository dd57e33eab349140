//! Command lines: cut out of octets, read, printed, and the exchange that AUTH begins.
//!
//! Two octets choose the limit of a line and the reads. The rest is what a client sends.

use bytes::BytesMut;
use smtp_gateway::secret::Secret;
use smtp_gateway::smtp::command::{Command, SyntaxError, is_bdat, is_not_smtp, may_be_bdat};
use smtp_gateway::smtp::framing::{Line, LineFramer, LineTooLong};
use smtp_gateway::smtp::sasl::{Credentials, Exchange, Mechanism, Progress, responses};

use super::choices::{Choices, reads};

pub fn check(input: &[u8]) {
    let mut choices = Choices::new(input);
    let limit = choices.one_of(&[512, 1, 2, 16, 12_288]);
    let number = choices.octet();
    let octets = choices.rest();
    let lines = cut(octets, limit, number);
    assert_eq!(lines, expected(octets, limit));
    let mut lines = lines.into_iter().flatten();
    while let Some(Line { octets, .. }) = lines.next() {
        if let Some((mechanism, initial)) = parse(&octets) {
            let responses = lines.by_ref().map(|line| line.octets);
            exchange(mechanism, initial.as_ref(), responses);
        }
    }
}

fn cut(octets: &[u8], limit: usize, number: u8) -> Vec<Result<Line, LineTooLong>> {
    let mut framer = LineFramer::default();
    let mut input = BytesMut::new();
    let mut lines = Vec::new();
    for read in reads(octets, number) {
        input.extend_from_slice(read);
        while let Some(line) = framer.next(&mut input, limit) {
            lines.push(line);
        }
        assert!(input.len() < limit, "more is held than a line may have");
    }
    lines
}

fn expected(octets: &[u8], limit: usize) -> Vec<Result<Line, LineTooLong>> {
    let mut lines = Vec::new();
    for line in octets.split_inclusive(|octet| *octet == b'\n') {
        let Some(inner) = line.strip_suffix(b"\n") else {
            break;
        };
        if line.len() > limit {
            lines.push(Err(LineTooLong { limit }));
            continue;
        }
        lines.push(Ok(Line {
            octets: inner.strip_suffix(b"\r").unwrap_or(inner).into(),
            lone_lf: !inner.ends_with(b"\r"),
        }));
    }
    lines
}

/// Reads a line; what AUTH says is returned.
fn parse(line: &[u8]) -> Option<(Mechanism, Option<Secret>)> {
    let parsed = Command::parse(line);
    // The session looks at the front of a line before it is whole.
    for end in 0..line.len() {
        if is_not_smtp(&line[..end]) {
            assert_eq!(parsed, Err(SyntaxError::NotSmtp));
        }
        if is_bdat(&line[..end]) {
            assert!(is_bdat(line));
        }
        assert!(may_be_bdat(&line[..end]) || !is_bdat(line));
    }
    let command = parsed.ok()?;
    assert!(!matches!(command, Command::Bdat(_)) || is_bdat(line));
    let printed = command.to_string();
    assert!(!printed.contains(['\r', '\n', '\0']));
    assert_eq!(
        Command::parse(printed.as_bytes()).as_ref(),
        Ok(&command),
        "{printed:?}"
    );
    match command {
        Command::Auth(mechanism, initial) => Some((mechanism, initial)),
        _ => None,
    }
}

fn exchange(
    mechanism: Mechanism,
    initial: Option<&Secret>,
    responses: impl Iterator<Item = BytesMut>,
) {
    let mut progress = Exchange::start(mechanism, initial);
    for response in responses {
        match progress {
            Ok(Progress::Challenge(exchange)) => progress = exchange.respond(&response),
            Ok(Progress::Done(_)) | Err(_) => break,
        }
    }
    if let Ok(Progress::Done(credentials)) = progress {
        said_again(&credentials);
    }
}

/// Credentials that were read are read again from what a client would send of them.
fn said_again(credentials: &Credentials) {
    assert!(!credentials.username.contains('\0'));
    assert!(!credentials.password.reveal().contains('\0'));
    for mechanism in [Mechanism::Plain, Mechanism::Login] {
        let mut progress = Exchange::start(mechanism, None);
        for response in responses(mechanism, credentials) {
            let Ok(Progress::Challenge(exchange)) = progress else {
                panic!("a response that nobody waits for");
            };
            progress = exchange.respond(response.reveal().as_bytes());
        }
        let Ok(Progress::Done(found)) = progress else {
            panic!("credentials that cannot be said");
        };
        assert_eq!(found.username, credentials.username);
        assert!(found.password == credentials.password);
    }
}
