//! A line to a [`Command`] (RFC 5321 §4.1.1, RFC 3207, RFC 4954, RFC 3030).
//!
//! Leniencies, each seen in the field: any case; blanks around arguments; `MAIL FROM: <path>`; a
//! path without brackets.

use std::fmt;

use crate::secret::Secret;
use crate::smtp::address::{ForwardPath, PathError, ReversePath};
use crate::smtp::parameter::{BodyType, MailParameters, ParameterError};
use crate::smtp::sasl::Mechanism;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Ehlo(String),
    Helo(String),
    StartTls,
    Auth(Mechanism, Option<Secret>),
    Mail(ReversePath, MailParameters),
    Rcpt(ForwardPath),
    Data,
    Bdat(Chunk),
    Rset,
    Noop,
    Vrfy,
    Help,
    Quit,
}

/// What BDAT says about the octets that follow its line (RFC 3030 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    pub size: u64,
    /// The message ends with this chunk.
    pub last: bool,
}

/// Why a line is not a command that is taken here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxError {
    #[error("not a line of UTF-8 text")]
    NotText,
    /// A request line of HTTP, or a TLS record: the peer speaks another protocol (ALPACA).
    #[error("not SMTP")]
    NotSmtp,
    #[error("unknown command")]
    Unknown,
    #[error("command known but not implemented")]
    NotImplemented,
    #[error("bad argument")]
    Argument,
    #[error("mechanism not supported")]
    Mechanism,
    #[error("reverse-path: {0}")]
    ReversePath(PathError),
    #[error("forward-path: {0}")]
    ForwardPath(PathError),
    #[error(transparent)]
    Parameter(#[from] ParameterError),
}

impl Command {
    /// Reads one line, without its line break.
    ///
    /// # Errors
    /// [`SyntaxError`]: the first thing wrong with it, from left to right.
    pub fn parse(line: &[u8]) -> Result<Self, SyntaxError> {
        if is_not_smtp(line) {
            return Err(SyntaxError::NotSmtp);
        }
        let line = std::str::from_utf8(line).map_err(|_| SyntaxError::NotText)?;
        if line.chars().any(|c| c.is_control() && c != '\t') {
            return Err(SyntaxError::NotText);
        }
        let line = line.trim_end();
        let (verb, argument) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let argument = argument.trim_start();
        let alone = |command| {
            argument
                .is_empty()
                .then_some(command)
                .ok_or(SyntaxError::Argument)
        };
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => Ok(Self::Ehlo(greeting_name(argument)?)),
            "HELO" => Ok(Self::Helo(greeting_name(argument)?)),
            "STARTTLS" => alone(Self::StartTls),
            "AUTH" => auth(argument),
            "MAIL" => mail(argument),
            "RCPT" => rcpt(argument),
            "DATA" => alone(Self::Data),
            "BDAT" => bdat(argument),
            "RSET" => alone(Self::Rset),
            "NOOP" => Ok(Self::Noop),
            "VRFY" if argument.is_empty() => Err(SyntaxError::Argument),
            "VRFY" => Ok(Self::Vrfy),
            "HELP" => Ok(Self::Help),
            "QUIT" => alone(Self::Quit),
            "EXPN" | "SEND" | "SOML" | "SAML" | "TURN" => Err(SyntaxError::NotImplemented),
            verb if is_foreign(verb.as_bytes()) => Err(SyntaxError::NotSmtp),
            _ => Err(SyntaxError::Unknown),
        }
    }
}

/// Whether a line that begins with these octets is a BDAT, or meant to be one: octets follow it
/// that must not be read as commands, even where the line itself cannot be read.
///
/// So `BDAT1` is one, and so are `BDATA` and a BDAT behind blanks: no client has a use for these,
/// and the session of one that sends them is better ended than misread.
pub fn is_bdat(start: &[u8]) -> bool {
    let start = start.trim_ascii_start();
    let verb = start.get(..BDAT.len());
    verb.is_some_and(|verb| verb.eq_ignore_ascii_case(BDAT))
}

/// Whether a line that is too long may be a BDAT, by what stands before its limit: its verb may be
/// hidden behind so many blanks.
pub fn may_be_bdat(front: &[u8]) -> bool {
    is_bdat(front) || front.trim_ascii_start().len() < BDAT.len()
}

/// Whether a line that begins with these octets is another protocol's: a TLS record, an HTTP method
/// and a blank, or a PROXY header.
///
/// The rest of such a line need not be waited for. It may hold no line break (a TLS handshake), or
/// one beyond the limit (a long URL), and what follows may be SMTP in the body of a POST. A client
/// whose load balancer writes a header that nobody expects would take each reply for the one to its
/// next command.
pub fn is_not_smtp(start: &[u8]) -> bool {
    // The longest method has seven letters.
    let front = start.get(..8).unwrap_or(start);
    let mut words = front.split(|octet| matches!(octet, b' ' | b'\t'));
    let first = words.next().filter(|word| is_foreign(word));
    start.starts_with(TLS_RECORD) || (first.is_some() && words.next().is_some())
}

fn is_foreign(verb: &[u8]) -> bool {
    HTTP_METHODS
        .iter()
        .chain(&["PROXY"])
        .any(|method| method.as_bytes().eq_ignore_ascii_case(verb))
}

/// The line that [`Command::parse`] reads as this command, without line break. Credentials are
/// part of it: it is for the wire, not for a log.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ehlo(name) => write!(f, "EHLO {name}"),
            Self::Helo(name) => write!(f, "HELO {name}"),
            Self::StartTls => f.write_str("STARTTLS"),
            Self::Auth(mechanism, None) => write!(f, "AUTH {}", mechanism.name()),
            Self::Auth(mechanism, Some(initial)) => {
                write!(f, "AUTH {} {}", mechanism.name(), initial.reveal())
            }
            Self::Mail(path, parameters) => {
                write!(f, "MAIL FROM:<{path}>")?;
                if let Some(size) = parameters.size {
                    write!(f, " SIZE={size}")?;
                }
                match parameters.body {
                    None => {}
                    Some(BodyType::SevenBit) => f.write_str(" BODY=7BIT")?,
                    Some(BodyType::EightBitMime) => f.write_str(" BODY=8BITMIME")?,
                }
                if parameters.smtputf8 {
                    f.write_str(" SMTPUTF8")?;
                }
                Ok(())
            }
            Self::Rcpt(path) => write!(f, "RCPT TO:<{path}>"),
            Self::Data => f.write_str("DATA"),
            Self::Bdat(Chunk { size, last: false }) => write!(f, "BDAT {size}"),
            Self::Bdat(Chunk { size, last: true }) => write!(f, "BDAT {size} LAST"),
            Self::Rset => f.write_str("RSET"),
            Self::Noop => f.write_str("NOOP"),
            Self::Vrfy => f.write_str("VRFY postmaster"),
            Self::Help => f.write_str("HELP"),
            Self::Quit => f.write_str("QUIT"),
        }
    }
}

/// The name after EHLO is what the client likes: Nodemailer says `[127.0.0.1]`, others a name with
/// an underscore. It is shown to people in reports and decides nothing.
fn greeting_name(argument: &str) -> Result<String, SyntaxError> {
    let fits = !argument.is_empty() && argument.len() <= MAX_GREETING_NAME;
    let one_word = !argument.contains(char::is_whitespace);
    (fits && one_word)
        .then(|| argument.to_owned())
        .ok_or(SyntaxError::Argument)
}

fn auth(argument: &str) -> Result<Command, SyntaxError> {
    let mut words = argument.split_ascii_whitespace();
    let name = words.next().ok_or(SyntaxError::Argument)?;
    let mechanism = Mechanism::parse(name).ok_or(SyntaxError::Mechanism)?;
    let initial = words.next().map(Secret::new);
    match words.next() {
        None => Ok(Command::Auth(mechanism, initial)),
        Some(_) => Err(SyntaxError::Argument),
    }
}

fn mail(argument: &str) -> Result<Command, SyntaxError> {
    let path = after_keyword(argument, "FROM:")?;
    let (path, parameters) = ReversePath::take(path).map_err(SyntaxError::ReversePath)?;
    Ok(Command::Mail(path, MailParameters::parse(parameters)?))
}

fn rcpt(argument: &str) -> Result<Command, SyntaxError> {
    let path = after_keyword(argument, "TO:")?;
    let (path, parameters) = ForwardPath::take(path).map_err(SyntaxError::ForwardPath)?;
    if !parameters.trim().is_empty() {
        return Err(ParameterError::Unknown.into());
    }
    Ok(Command::Rcpt(path))
}

/// The size has no sign and fits 64 bits; as that of SIZE= (RFC 1870 §4) it has up to twenty
/// digits.
fn bdat(argument: &str) -> Result<Command, SyntaxError> {
    let mut words = argument.split_ascii_whitespace();
    let size = words
        .next()
        .filter(|digits| digits.len() <= 20 && digits.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok())
        .ok_or(SyntaxError::Argument)?;
    let last = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case("LAST") => true,
        Some(_) => return Err(SyntaxError::Argument),
    };
    match words.next() {
        None => Ok(Command::Bdat(Chunk { size, last })),
        Some(_) => Err(SyntaxError::Argument),
    }
}

fn after_keyword<'a>(argument: &'a str, keyword: &str) -> Result<&'a str, SyntaxError> {
    argument
        .split_at_checked(keyword.len())
        .filter(|(found, _)| found.eq_ignore_ascii_case(keyword))
        .map(|(_, rest)| rest.trim_start())
        .ok_or(SyntaxError::Argument)
}

const BDAT: &[u8] = b"BDAT";
/// RFC 5321 §4.5.3.1.2.
const MAX_GREETING_NAME: usize = 255;
/// Handshake record, TLS 1.x: the client took this for a port with implicit TLS.
const TLS_RECORD: &[u8] = &[0x16, 0x03];
const HTTP_METHODS: [&str; 10] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "PRI",
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(line: &str) -> Result<Command, SyntaxError> {
        Command::parse(line.as_bytes())
    }

    #[test]
    fn commands_are_read_in_any_case_with_blanks_around() {
        assert_eq!(
            parse("ehlo [127.0.0.1]"),
            Ok(Command::Ehlo("[127.0.0.1]".into()))
        );
        assert_eq!(parse("QUIT  "), Ok(Command::Quit));
        assert_eq!(parse("noop whatever this is"), Ok(Command::Noop));
        let Ok(Command::Mail(path, parameters)) = parse("mail from: <a@b.example>  size=5") else {
            panic!("MAIL is read");
        };
        assert_eq!(
            (path.to_string().as_str(), parameters.size),
            ("a@b.example", Some(5))
        );
        assert!(matches!(
            parse("MAIL FROM:<a@b.example> BODY=8BITMIME SMTPUTF8"),
            Ok(Command::Mail(..))
        ));
        assert!(matches!(
            parse("AUTH login dXNlcg=="),
            Ok(Command::Auth(Mechanism::Login, Some(_)))
        ));
    }

    #[test]
    fn each_fault_has_its_name() {
        for (line, fault) in [
            ("", SyntaxError::Unknown),
            ("FOO", SyntaxError::Unknown),
            ("BDATA 5", SyntaxError::Unknown),
            ("EHLO", SyntaxError::Argument),
            ("EHLO a b", SyntaxError::Argument),
            ("EXPN list", SyntaxError::NotImplemented),
            ("VRFY", SyntaxError::Argument),
            ("DATA x", SyntaxError::Argument),
            ("STARTTLS now", SyntaxError::Argument),
            ("MAIL TO:<a@b.example>", SyntaxError::Argument),
            (
                "MAIL FROM:<a@b",
                SyntaxError::ReversePath(PathError::Syntax),
            ),
            (
                "MAIL FROM:<a@b>",
                SyntaxError::ReversePath(PathError::NotQualified),
            ),
            (
                "MAIL FROM:<> RET=FULL",
                SyntaxError::Parameter(ParameterError::Unknown),
            ),
            (
                "MAIL FROM:<> SIZE=x",
                SyntaxError::Parameter(ParameterError::Value),
            ),
            ("RCPT TO:<>", SyntaxError::ForwardPath(PathError::Syntax)),
            (
                "RCPT TO:<a@b.example> NOTIFY=NEVER",
                SyntaxError::Parameter(ParameterError::Unknown),
            ),
            ("AUTH", SyntaxError::Argument),
            ("AUTH CRAM-MD5", SyntaxError::Mechanism),
            ("AUTH PLAIN a b", SyntaxError::Argument),
            ("GET / HTTP/1.1", SyntaxError::NotSmtp),
            ("NOOP a\rb", SyntaxError::NotText),
            ("NOOP a\0b", SyntaxError::NotText),
        ] {
            assert_eq!(parse(line), Err(fault), "{line:?}");
        }
        assert_eq!(Command::parse(b"NOOP \xff"), Err(SyntaxError::NotText));
        assert_eq!(
            Command::parse(b"\x16\x03\x01\x02"),
            Err(SyntaxError::NotSmtp)
        );
    }

    #[test]
    fn a_chunk_has_a_size_of_up_to_twenty_digits_and_maybe_an_end() {
        for (line, size, last) in [
            ("BDAT 0", 0, false),
            ("BDAT 0 LAST", 0, true),
            ("bdat  86\tlast ", 86, true),
            ("BDAT 00000000000000000007", 7, false),
            ("BDAT 18446744073709551615", u64::MAX, false),
        ] {
            assert_eq!(
                parse(line),
                Ok(Command::Bdat(Chunk { size, last })),
                "{line}"
            );
        }
        for line in [
            "BDAT",
            "BDAT LAST",
            "BDAT -1",
            "BDAT +1",
            "BDAT 0x10",
            "BDAT 1,000",
            "BDAT 1.5",
            "BDAT \u{661}",
            "BDAT 18446744073709551616",
            "BDAT 000000000000000000007",
            "BDAT 5 FIRST",
            "BDAT 5 LAST 5",
        ] {
            assert_eq!(parse(line), Err(SyntaxError::Argument), "{line}");
        }
    }

    #[test]
    fn debug_output_hides_credentials() {
        let command = parse("AUTH PLAIN AGFubgBzZWNyZXQ=").unwrap();
        assert!(!format!("{command:?}").contains("AGFub"));
    }

    fn commands() -> impl Strategy<Value = Command> {
        let size = proptest::option::of(any::<u64>());
        let body = proptest::option::of(prop_oneof![
            Just(BodyType::SevenBit),
            Just(BodyType::EightBitMime)
        ]);
        let mailbox = "(\"[ a-z@>]{1,8}\"|[a-z.]{0,3}[a-zé])@[a-z]{1,5}\\.[a-z]{2}";
        prop_oneof![
            "[!-~]{1,20}".prop_map(Command::Ehlo),
            "[!-~]{1,20}".prop_map(Command::Helo),
            "[A-Za-z0-9+/]{0,8}={0,2}".prop_map(|text| {
                let initial = (!text.is_empty()).then(|| Secret::new(text));
                Command::Auth(Mechanism::Plain, initial)
            }),
            (proptest::option::of(mailbox), size, body, any::<bool>()).prop_filter_map(
                "not a mailbox",
                |(mailbox, size, body, smtputf8)| {
                    let text = format!("<{}>", mailbox.unwrap_or_default());
                    let (path, _) = ReversePath::take(&text).ok()?;
                    Some(Command::Mail(
                        path,
                        MailParameters {
                            size,
                            body,
                            smtputf8,
                        },
                    ))
                }
            ),
            mailbox.prop_filter_map("not a mailbox", |text| {
                Some(Command::Rcpt(
                    ForwardPath::take(&format!("<{text}>")).ok()?.0,
                ))
            }),
            (any::<u64>(), any::<bool>())
                .prop_map(|(size, last)| Command::Bdat(Chunk { size, last })),
            prop_oneof![
                Just(Command::StartTls),
                Just(Command::Data),
                Just(Command::Rset),
                Just(Command::Noop),
                Just(Command::Vrfy),
                Just(Command::Help),
                Just(Command::Quit)
            ],
        ]
    }

    proptest! {
        #[test]
        fn parsing_what_was_printed_gives_the_same_command(command in commands()) {
            prop_assert_eq!(parse(&command.to_string()), Ok(command));
        }

        #[test]
        fn no_line_makes_the_parser_panic(line in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Command::parse(&line);
        }
    }
}
