//! Transcripts of SMTP sessions (`tests/dialogues/*.smtp`; the README there has their form), and
//! what runs them.
//!
//! A transcript is run against any [`Peer`]: here the engine in memory, elsewhere a gateway on a
//! socket. [`faults`] does it for all of them.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use smtp_gateway::smtp::framing::LoneNewlines;
use smtp_gateway::smtp::reply::{self, Reply};
use smtp_gateway::smtp::session::{self, Limits, Question, Session, Settings, Step, Tls};

/// The server as a client sees it. Each call blocks until it is done, or fails.
pub(crate) trait Peer {
    /// Writes these octets, in one piece if that can be.
    fn send(&mut self, octets: &[u8]) -> io::Result<()>;

    /// Reads the next line and returns it without its CRLF; nothing once the server has closed.
    fn line(&mut self) -> io::Result<Option<String>>;

    /// Does the TLS handshake behind STARTTLS.
    fn start_tls(&mut self) -> io::Result<()>;
}

/// The listener and the settings that a transcript wants: its lines with `!`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Setup {
    pub(crate) listener: Listener,
    pub(crate) authentication: Authentication,
    /// Other settings by their names, such as `limits.message_size`.
    pub(crate) settings: Vec<(String, String)>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Listener {
    #[default]
    StartTls,
    /// TLS from the first octet: the peer is handed over with its handshake done.
    Implicit,
    Off,
}

/// Where required, [`USERNAME`] is let in with [`PASSWORD`], and nobody else.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Authentication {
    #[default]
    Required,
    Waived,
}

pub(crate) const USERNAME: &str = "ann";
pub(crate) const PASSWORD: &str = "secret";

/// Runs every transcript against a peer of its own, and returns what went wrong, a line each.
pub(crate) fn faults<P: Peer>(mut connect: impl FnMut(&Setup) -> io::Result<P>) -> String {
    let mut faults = String::new();
    let transcripts = match read_all() {
        Ok(transcripts) => transcripts,
        Err(error) => return error,
    };
    for (name, transcript) in transcripts {
        let result = match connect(&transcript.setup) {
            Ok(mut peer) => transcript.run(&mut peer),
            Err(error) => Err(format!("0: cannot connect: {error}")),
        };
        if let Err(fault) = result {
            // Writing to a String cannot fail.
            let _ = writeln!(faults, "{name}:{fault}");
        }
    }
    faults
}

/// All transcripts with their file names, in the order of these.
pub(crate) fn read_all() -> Result<Vec<(String, Transcript)>, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogues");
    let told = |error: io::Error| format!("{}: {error}", folder.display());
    let mut transcripts = Vec::new();
    for entry in fs::read_dir(&folder).map_err(told)? {
        let path = entry.map_err(told)?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "smtp")
        {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let text = fs::read_to_string(&path).map_err(told)?;
            let transcript = Transcript::parse(&text).map_err(|fault| format!("{name}:{fault}"))?;
            transcripts.push((name.into_owned(), transcript));
        }
    }
    transcripts.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(transcripts)
}

/// A session written down.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Transcript {
    pub(crate) setup: Setup,
    /// Each with the number of the line where it begins.
    acts: Vec<(usize, Act)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Act {
    /// One write of the client: all its lines that stand together.
    Send(Vec<u8>),
    /// The write ends here, though more of the client follows.
    Cut,
    /// A line of a reply.
    Line(String),
    /// A whole reply with this code, whatever its lines say.
    Reply(String),
    StartTls,
    /// The server closes, and has sent nothing more.
    End,
}

impl Transcript {
    /// Reads a transcript. A fault begins with the number of its line.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut transcript = Self::default();
        for (at, line) in text.lines().enumerate() {
            let number = at.saturating_add(1);
            transcript
                .take(number, line)
                .map_err(|fault| format!("{number}: {fault}"))?;
        }
        match transcript.acts.last() {
            // So that every octet the server sends is looked at.
            Some((_, Act::End)) => Ok(transcript),
            _ => Err("0: a transcript ends with EOF".into()),
        }
    }

    fn take(&mut self, number: usize, line: &str) -> Result<(), String> {
        let act = match line.split_at_checked(2).unwrap_or((line, "")) {
            ("", _) | ("# " | "#", _) => return Ok(()),
            ("! ", setting) if self.acts.is_empty() => return self.setup.set(setting),
            ("! ", _) => return Err("settings stand before the session".into()),
            ("C:", rest) => Act::Send(format!("{}\r\n", argument(rest)?).into_bytes()),
            ("C-", rest) => Act::Send(unescape(argument(rest)?)?),
            ("S:", rest) => Act::Line(argument(rest)?.to_owned()),
            ("S*", rest) => Act::Reply(argument(rest)?.to_owned()),
            _ => match line {
                "CUT" => Act::Cut,
                "TLS" => Act::StartTls,
                "EOF" => Act::End,
                _ => return Err(format!("not a line of a transcript: {line:?}")),
            },
        };
        match (self.acts.last_mut(), act) {
            (Some((_, Act::Send(before))), Act::Send(octets)) => before.extend_from_slice(&octets),
            (_, act) => self.acts.push((number, act)),
        }
        Ok(())
    }

    /// All octets of the client.
    pub(crate) fn said(&self) -> Vec<u8> {
        let said = self.acts.iter().map(|(_, act)| match act {
            Act::Send(octets) => octets.as_slice(),
            _ => &[],
        });
        said.collect::<Vec<_>>().concat()
    }

    /// Plays the client's part. A fault begins with the number of its line.
    pub(crate) fn run(&self, peer: &mut impl Peer) -> Result<(), String> {
        for (number, act) in &self.acts {
            act.run(peer)
                .map_err(|fault| format!("{number}: {fault}"))?;
        }
        Ok(())
    }
}

impl Act {
    fn run(&self, peer: &mut impl Peer) -> Result<(), String> {
        let failed = |error: io::Error| error.to_string();
        match self {
            Self::Send(octets) => peer.send(octets).map_err(failed),
            Self::Cut => Ok(()),
            Self::StartTls => peer.start_tls().map_err(failed),
            Self::Line(pattern) => match peer.line().map_err(failed)? {
                Some(line) if matches(pattern, &line) => Ok(()),
                other => Err(format!("expected {pattern:?}, got {}", shown(other))),
            },
            Self::Reply(code) => loop {
                let line = peer.line().map_err(failed)?;
                match line.as_deref().and_then(|line| line.strip_prefix(&**code)) {
                    Some(rest) if rest.starts_with('-') => {}
                    Some(rest) if rest.starts_with(' ') => return Ok(()),
                    _ => return Err(format!("expected a reply {code}, got {}", shown(line))),
                }
            },
            Self::End => match peer.line().map_err(failed)? {
                None => Ok(()),
                line => Err(format!("expected the end, got {}", shown(line))),
            },
        }
    }
}

fn shown(line: Option<String>) -> String {
    line.map_or_else(|| "the end".into(), |line| format!("{line:?}"))
}

impl Setup {
    fn set(&mut self, setting: &str) -> Result<(), String> {
        let (name, value) = setting
            .split_once(' ')
            .ok_or_else(|| format!("{setting}: a setting has a value"))?;
        match (name, value) {
            ("listener", "starttls") => self.listener = Listener::StartTls,
            ("listener", "implicit") => self.listener = Listener::Implicit,
            ("listener", "off") => self.listener = Listener::Off,
            ("authentication", "required") => self.authentication = Authentication::Required,
            ("authentication", "waived") => self.authentication = Authentication::Waived,
            (name, value) if name.contains('.') => {
                self.settings.push((name.to_owned(), value.to_owned()));
            }
            _ => return Err(format!("{name} cannot be {value}")),
        }
        Ok(())
    }
}

/// What follows the mark of a line: all behind one blank.
fn argument(rest: &str) -> Result<&str, String> {
    match rest.strip_prefix(' ') {
        Some(argument) => Ok(argument),
        None if rest.is_empty() => Ok(""),
        None => Err("a blank follows the mark".into()),
    }
}

/// The octets that a text with `\r`, `\n`, `\t`, `\0`, `\\` and `\xNN` stands for.
fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut octets = Vec::new();
    let mut rest = text;
    while let Some((plain, escape)) = rest.split_once('\\') {
        octets.extend_from_slice(plain.as_bytes());
        let unknown = || format!("not an escape: \\{escape}");
        let (octet, length) = match escape.bytes().next() {
            Some(b'r') => (b'\r', 1),
            Some(b'n') => (b'\n', 1),
            Some(b't') => (b'\t', 1),
            Some(b'0') => (0, 1),
            Some(b'\\') => (b'\\', 1),
            Some(b'x') => {
                let digits = escape.get(1..3).ok_or_else(unknown)?;
                (u8::from_str_radix(digits, 16).map_err(|_| unknown())?, 3)
            }
            _ => return Err(unknown()),
        };
        octets.push(octet);
        rest = escape.get(length..).ok_or_else(unknown)?;
    }
    octets.extend_from_slice(rest.as_bytes());
    Ok(octets)
}

/// Whether a line is the one meant; `...` in the pattern stands for any text.
fn matches(pattern: &str, line: &str) -> bool {
    let Some((start, rest)) = pattern.split_once("...") else {
        return pattern == line;
    };
    let Some(mut line) = line.strip_prefix(start) else {
        return false;
    };
    // The shortest text for each wildcard but the last leaves the most to what follows.
    let (middle, end) = rest.rsplit_once("...").unwrap_or(("", rest));
    for piece in middle.split("...") {
        match line.split_once(piece) {
            Some((_, behind)) => line = behind,
            None => return false,
        }
    }
    line.ends_with(end)
}

/// The engine in memory. It says yes to every question; only ann is let in.
struct Engine {
    session: Session,
    output: Vec<u8>,
    handshake: bool,
    closed: bool,
}

impl Engine {
    fn connect(setup: &Setup) -> io::Result<Self> {
        let mut settings = Settings {
            hostname: "gateway.example".into(),
            lone_newlines: LoneNewlines::Normalise,
            limits: Limits {
                command_line: 512,
                message_size: 26_214_400,
                recipients: 100,
                fan_out: 0,
                errors: 10,
            },
        };
        for (name, value) in &setup.settings {
            let known = set(&mut settings, name, value);
            known.ok_or_else(|| io::Error::other(format!("{name} cannot be {value}")))?;
        }
        let tls = match setup.listener {
            Listener::StartTls => Tls::Offered,
            Listener::Implicit => Tls::Established,
            Listener::Off => Tls::Off,
        };
        let authentication = match setup.authentication {
            Authentication::Required => session::Authentication::Required,
            Authentication::Waived => session::Authentication::Waived,
        };
        let mut engine = Self {
            session: Session::new(Arc::new(settings), tls, authentication),
            output: Vec::new(),
            handshake: false,
            closed: false,
        };
        engine.advance();
        Ok(engine)
    }

    fn advance(&mut self) {
        loop {
            match self.session.step() {
                Step::Send(octets) => self.output.extend_from_slice(&octets),
                Step::Ask(question) => self.session.answer(&decide(&question)),
                Step::Receive => return,
                Step::StartTls => {
                    self.handshake = true;
                    return;
                }
                Step::Close => {
                    self.closed = true;
                    return;
                }
            }
        }
    }
}

impl Peer for Engine {
    fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        if self.closed {
            return Err(io::Error::other("the server has closed"));
        }
        if self.handshake {
            return Err(io::Error::other("the server waits for the handshake"));
        }
        self.session.receive(octets);
        self.advance();
        Ok(())
    }

    fn line(&mut self) -> io::Result<Option<String>> {
        let end = self.output.windows(2).position(|pair| pair == b"\r\n");
        let Some(end) = end else {
            let waits = || io::Error::other("the server waits for more");
            return if self.closed { Ok(None) } else { Err(waits()) };
        };
        let line = self.output.drain(..end).collect();
        self.output.drain(..2);
        String::from_utf8(line).map(Some).map_err(io::Error::other)
    }

    fn start_tls(&mut self) -> io::Result<()> {
        if !self.handshake || !self.output.is_empty() {
            return Err(io::Error::other("the server is not ready for TLS"));
        }
        self.handshake = false;
        self.session.tls_established();
        self.advance();
        Ok(())
    }
}

fn set(settings: &mut Settings, name: &str, value: &str) -> Option<()> {
    let limits = &mut settings.limits;
    match name {
        "limits.command_line" => limits.command_line = value.parse().ok()?,
        "limits.message_size" => limits.message_size = value.parse().ok()?,
        "limits.recipients" => limits.recipients = value.parse().ok()?,
        "limits.errors" => limits.errors = value.parse().ok()?,
        "smtp.lone_newlines" => {
            settings.lone_newlines = match value {
                "normalise" => LoneNewlines::Normalise,
                "refuse" => LoneNewlines::Refuse,
                _ => return None,
            }
        }
        _ => return None,
    }
    Some(())
}

fn decide(question: &Question) -> Reply {
    match question {
        Question::Authenticate(credentials) => {
            let known = credentials.username == USERNAME;
            if known && credentials.password.reveal() == PASSWORD {
                reply::AUTHENTICATED.clone()
            } else {
                reply::BAD_CREDENTIALS.clone()
            }
        }
        Question::Mail(..) => reply::SENDER_OK.clone(),
        Question::Rcpt(_) => reply::RECIPIENT_OK.clone(),
        Question::Data => Reply::plain(354, "End data with <CR><LF>.<CR><LF>"),
        Question::Message(..) => reply::OK.quoting("Ok: queued as 1"),
    }
}

#[test]
fn transcripts_hold_against_the_engine() {
    let faults = faults(Engine::connect);
    assert!(faults.is_empty(), "\n{faults}");
}

/// A path gone wrong would find none, and pass.
#[test]
fn there_are_transcripts() {
    let transcripts = read_all().unwrap();
    assert!(transcripts.len() >= 25, "{}", transcripts.len());
}

#[test]
fn lines_of_the_client_that_stand_together_are_one_write() {
    let text = "! listener off\n! limits.errors 3\n# why\nC: a\\r \n\n# why\nC:\nC- b\\r\\xe9\\\\\n\
                CUT\nC: c\nS: 2 ...\nS* 250\nTLS\nEOF\n";
    let transcript = Transcript::parse(text).unwrap();
    assert_eq!(
        transcript.setup,
        Setup {
            listener: Listener::Off,
            authentication: Authentication::Required,
            settings: vec![("limits.errors".into(), "3".into())],
        }
    );
    assert_eq!(
        transcript.acts,
        [
            (4, Act::Send(b"a\\r \r\n\r\nb\r\xe9\\".to_vec())),
            (9, Act::Cut),
            (10, Act::Send(b"c\r\n".to_vec())),
            (11, Act::Line("2 ...".into())),
            (12, Act::Reply("250".into())),
            (13, Act::StartTls),
            (14, Act::End),
        ]
    );
}

#[test]
fn what_is_no_transcript_is_refused_with_its_line() {
    for (text, line) in [
        ("C: QUIT\n", "0"),
        ("C:QUIT\nEOF\n", "1"),
        ("EOF\nQUIT\n", "2"),
        ("S 250\nEOF\n", "1"),
        ("C- \\q\nEOF\n", "1"),
        ("C- \\x1\nEOF\n", "1"),
        ("C- \\xzz\nEOF\n", "1"),
        ("C- \\\nEOF\n", "1"),
        ("! listener maybe\nEOF\n", "1"),
        ("! limits.errors\nEOF\n", "1"),
        ("C: a\n! listener off\nEOF\n", "2"),
    ] {
        let fault = Transcript::parse(text).unwrap_err();
        assert_eq!(fault.split(':').next(), Some(line), "{text:?}: {fault}");
    }
}

#[test]
fn a_wildcard_stands_for_any_text() {
    for (pattern, line, whole) in [
        ("250 Ok", "250 Ok", true),
        ("250 Ok", "250 Ok ", false),
        ("250 ...", "250 ", true),
        ("250 ...", "250-x", false),
        ("220 ... ESMTP ...", "220 gateway.example ESMTP x", true),
        ("220 ... ESMTP ...", "220 gateway.example SMTP", false),
        ("250 ... as ...1", "250 Ok: queued as 21", true),
        ("250 ...1", "250 ", false),
    ] {
        assert_eq!(matches(pattern, line), whole, "{pattern:?} {line:?}");
    }
}

#[test]
fn what_the_engine_does_otherwise_is_a_fault() {
    for (text, line) in [
        ("S: 220 ...\nC: QUIT\nS: 250 ...\nEOF\n", "3"),
        ("S: 220 ...\nC: NOOP\nS: 250 ...\nEOF\n", "4"),
        ("S: 220 ...\nC: NOOP\nC: QUIT\nS: 250 ...\nEOF\n", "5"),
        ("S: 220 ...\nC: EHLO x\nS* 220\nEOF\n", "3"),
        ("S: 220 ...\nC: EHLO x\nS* 250\nS: 250 ...\nEOF\n", "4"),
        ("S: 220 ...\nTLS\nEOF\n", "2"),
        ("S: 220 ...\nC: QUIT\nS* 221\nC: NOOP\nEOF\n", "4"),
        ("! limits.unknown 3\nEOF\n", "0"),
    ] {
        let transcript = Transcript::parse(text).unwrap();
        let ran = Engine::connect(&transcript.setup)
            .map_err(|error| format!("0: {error}"))
            .and_then(|mut engine| transcript.run(&mut engine));
        let fault = ran.unwrap_err();
        assert_eq!(fault.split(':').next(), Some(line), "{text:?}: {fault}");
    }
}
