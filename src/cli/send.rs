//! Submits messages to a running gateway as an application would, and says what became of them.
//!
//! [`letter`] is what is sent, [`connection`] sends it, [`report`] tells; the dialogue itself is
//! [`crate::smtp::client`]'s.

mod connection;
mod exit;
mod letter;
mod report;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;

use crate::cli::send::connection::{ConnectionError, Target};
use crate::cli::send::exit::Exit;
use crate::cli::send::letter::{Letter, LetterError};
use crate::cli::send::report::Report;
use crate::cli::{environment, tell};
use crate::config::secret_files;
use crate::secret::Secret;
use crate::smtp::address::{ForwardPath, PathError, ReversePath};
use crate::smtp::client::Tls;
use crate::smtp::sasl::Credentials;
use crate::tls::{self, TlsError, TrustAnchors, insecure};

#[derive(Debug, Args)]
#[command(after_help = after_help())]
pub(super) struct Options {
    /// A message to send as it is (- is standard input); only its line ends are made CRLF. Without
    /// it, a small message is made
    file: Option<PathBuf>,
    /// Where the gateway is; without a port, 587 or, with --tls implicit, 465
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:2587")]
    server: Server,
    /// Default: implicit for the ports 465 and 2465, else starttls
    #[arg(long)]
    tls: Option<TlsMode>,
    /// Take any certificate: for the sandbox, which makes its own
    #[arg(long, conflicts_with = "ca")]
    insecure: bool,
    /// Certificates to trust besides the system's, PEM
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// User to log in as
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// File with the password, else it is in the variable `SMTP_PASSWORD`
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
    /// Sender of the envelope; default: From of the file, else the user where it is an address,
    /// else app@example.com
    #[arg(long, value_name = "ADDRESS", value_parser = reverse_path)]
    from: Option<ReversePath>,
    /// Recipient of the envelope; several times for several. Default: To, Cc and Bcc of the file
    #[arg(
        long,
        value_name = "ADDRESS",
        value_parser = forward_path,
        required_unless_present = "file"
    )]
    to: Vec<ForwardPath>,
    /// Subject of the message that is made
    #[arg(long, default_value = "A test message", conflicts_with = "file")]
    subject: String,
    /// Text of the message that is made
    #[arg(long, default_value = "It works.", conflicts_with = "file")]
    text: String,
    /// How often to send it, over one session
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// Print the reply that decided, and nothing else
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TlsMode {
    Starttls,
    Implicit,
    Off,
}

#[derive(Debug, Clone)]
struct Server {
    host: String,
    port: Option<u16>,
    /// The host, as certificates name it.
    name: ServerName<'static>,
}

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = || "expected HOST or HOST:PORT, an IPv6 address in brackets".to_owned();
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !text.ends_with(']') => (host, Some(port)),
            _ => (text, None),
        };
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        if bare.is_none() && host.contains(':') {
            return Err(expected());
        }
        let host = bare.unwrap_or(host).to_owned();
        Ok(Self {
            port: port.map(str::parse).transpose().map_err(|_| expected())?,
            name: ServerName::try_from(host.clone()).map_err(|_| expected())?,
            host,
        })
    }
}

/// Why nothing, or not everything, was sent.
#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error("--user needs a password: set SMTP_PASSWORD, or name its file with --password-file")]
    NoPassword,
    #[error("--user needs TLS: a password is never sent in clear")]
    LoginInClear,
    #[error("SMTP_PASSWORD is not UTF-8")]
    PasswordNotText,
    #[error("{} {why}", path.display())]
    PasswordFile { path: PathBuf, why: String },
    #[error("{} cannot be read: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
    #[error("{} is larger than {MAX_FILE} octets", path.display())]
    TooLarge { path: PathBuf },
    #[error("{0}")]
    Letter(#[from] LetterError),
    #[error("{0}")]
    TrustAnchors(#[from] TlsError),
    #[error("{0}")]
    Connection(#[from] ConnectionError),
    #[error("cannot start: {0}")]
    Runtime(io::Error),
}

impl SendError {
    fn exit(&self) -> Exit {
        match self {
            Self::NoPassword | Self::LoginInClear => Exit::Usage,
            Self::PasswordNotText | Self::TooLarge { .. } | Self::Letter(_) => Exit::DataError,
            Self::PasswordFile { .. } | Self::File { .. } => Exit::NoInput,
            Self::TrustAnchors(TlsError::Read { .. }) => Exit::NoInput,
            Self::TrustAnchors(TlsError::Pem { .. } | TlsError::Pair(_)) => Exit::DataError,
            Self::TrustAnchors(_) => Exit::Protocol,
            Self::Connection(ConnectionError::Tls(_)) => Exit::Protocol,
            Self::Connection(_) => Exit::TempFail,
            Self::Runtime(_) => Exit::OsError,
        }
    }
}

/// Sends, tells, and gives the exit code.
pub(super) fn run(options: Options) -> ExitCode {
    let mut report = Report::new(options.count, options.quiet);
    let result = send(options, &mut report);
    let exit = match &result {
        Ok(exit) => *exit,
        Err(error) => error.exit(),
    };
    let exit = exit.max(report.exit());
    report.end(exit);
    if let Err(error) = result {
        tell(&mut io::stderr(), &error.to_string());
    }
    ExitCode::from(exit.code())
}

fn send(options: Options, report: &mut Report) -> Result<Exit, SendError> {
    let tls = options.tls();
    let target = Target {
        host: options.server.host.clone(),
        port: options.server.port.unwrap_or(match tls {
            TlsMode::Implicit => 465,
            TlsMode::Starttls | TlsMode::Off => 587,
        }),
        name: options.server.name.clone(),
        tls: match tls {
            TlsMode::Off => Tls::Off,
            TlsMode::Starttls => Tls::StartTls,
            TlsMode::Implicit => Tls::Established,
        },
        tls_config: Arc::new(options.tls_config()?),
        credentials: options.credentials()?,
    };
    let count = options.count;
    let letter = options.letter()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(SendError::Runtime)?;
    let messages = (0..count).map(|_| letter.message());
    let ending = runtime.block_on(connection::converse(target, messages, report));
    // A look-up of a name that hangs must not hold the end up.
    runtime.shutdown_background();
    Ok(report.ended(&ending?))
}

impl Options {
    fn tls(&self) -> TlsMode {
        match (self.tls, self.server.port) {
            (Some(mode), _) => mode,
            (None, Some(465 | 2465)) => TlsMode::Implicit,
            (None, _) => TlsMode::Starttls,
        }
    }

    fn tls_config(&self) -> Result<ClientConfig, TlsError> {
        let anchors = match self.tls() {
            TlsMode::Off => TrustAnchors::Optional,
            TlsMode::Starttls | TlsMode::Implicit => TrustAnchors::Required,
        };
        match self.insecure {
            true => insecure::client(),
            false => tls::client(self.ca.as_deref(), anchors),
        }
    }

    /// The password is no argument on purpose: those of a process are seen by every user of the
    /// machine, and kept in the shell's history.
    fn credentials(&self) -> Result<Option<Credentials>, SendError> {
        let Some(username) = self.user.clone() else {
            return Ok(None);
        };
        if self.tls() == TlsMode::Off {
            return Err(SendError::LoginInClear);
        }
        let password = match &self.password_file {
            Some(path) => secret_files::read(path).map_err(|why| SendError::PasswordFile {
                path: path.clone(),
                why,
            })?,
            None => environment()
                .find(|(name, _)| name == PASSWORD)
                .ok_or(SendError::NoPassword)?
                .1
                .into_string()
                .map_err(|_| SendError::PasswordNotText)?,
        };
        Ok(Some(Credentials {
            username,
            password: Secret::new(password),
        }))
    }

    fn letter(self) -> Result<Letter, SendError> {
        if let Some(path) = &self.file {
            return Ok(Letter::of_file(read(path)?, self.from, self.to)?);
        }
        let user = || reverse_path(self.user.as_deref()?).ok();
        let from = self.from.or_else(user);
        Ok(Letter::made(from, self.to, self.subject, self.text))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, SendError> {
    let mut octets = Vec::new();
    let read = match path.to_str() {
        Some("-") => io::stdin().take(MAX_FILE + 1).read_to_end(&mut octets),
        _ => File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut octets)),
    };
    let path = path.to_owned();
    match read {
        Err(error) => Err(SendError::File { path, error }),
        Ok(length) if length as u64 > MAX_FILE => Err(SendError::TooLarge { path }),
        Ok(_) => Ok(octets),
    }
}

/// With or without angle brackets; `<>` is the null reverse-path.
fn reverse_path(text: &str) -> Result<ReversePath, PathError> {
    match ReversePath::take(&bracketed(text))? {
        (path, "") => Ok(path),
        _ => Err(PathError::Syntax),
    }
}

fn forward_path(text: &str) -> Result<ForwardPath, PathError> {
    match ForwardPath::take(&bracketed(text))? {
        (path, "") => Ok(path),
        _ => Err(PathError::Syntax),
    }
}

fn bracketed(text: &str) -> String {
    let text = text.trim();
    match text.starts_with('<') || text.is_empty() {
        true => text.to_owned(),
        false => format!("<{text}>"),
    }
}

fn after_help() -> String {
    format!(
        "\
The dialogue is printed without credentials and content. With --count, it is that of the first \
message, and a summary follows.

SMTP takes recipients from the envelope, never from header fields. Only this command reads them \
from the file where --to is not given; a Bcc field stays in what is sent, and it is the gateway's \
work to remove it.

Exit codes:
{}
Example: SMTP_PASSWORD=secret smtp-gateway send --insecure --user app --to ann@example.net",
        Exit::list()
    )
}

const PASSWORD: &str = "SMTP_PASSWORD";
/// More than any server takes; a wrong path may well lead to something endless.
const MAX_FILE: u64 = 256 << 20;

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Arguments, Command};

    #[test]
    fn a_server_is_a_host_and_maybe_a_port() {
        for (text, host, port) in [
            ("mail.example", "mail.example", None),
            ("mail.example:25", "mail.example", Some(25)),
            ("127.0.0.1:2587", "127.0.0.1", Some(2587)),
            ("[::1]:2587", "::1", Some(2587)),
            ("[::1]", "::1", None),
        ] {
            let server: Server = text.parse().unwrap();
            assert_eq!((server.host.as_str(), server.port), (host, port), "{text}");
        }
        for text in [
            "",
            ":25",
            "::1",
            "host:",
            "host:x",
            "host:99999",
            "a b:25",
            "[::1",
        ] {
            assert!(text.parse::<Server>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_port_says_how_tls_starts_unless_it_is_given() {
        let mode = |arguments: &[&str]| {
            let line = [&["gateway", "send", "--to", "a@example.net"], arguments].concat();
            match Arguments::parse_from(line).command {
                Some(Command::Send(options)) => options.tls(),
                other => panic!("not send: {other:?}"),
            }
        };
        assert_eq!(mode(&[]), TlsMode::Starttls);
        assert_eq!(mode(&["--server", "mail.example"]), TlsMode::Starttls);
        assert_eq!(mode(&["--server", "mail.example:465"]), TlsMode::Implicit);
        assert_eq!(mode(&["--server", "[::1]:2465"]), TlsMode::Implicit);
        let given = ["--server", "mail.example:465", "--tls", "starttls"];
        assert_eq!(mode(&given), TlsMode::Starttls);
    }

    #[test]
    fn a_recipient_may_have_a_comma_in_quotes() {
        let to = |text| Arguments::try_parse_from(["gateway", "send", "--to", text]);
        let Some(Command::Send(options)) = to("\"a,b\"@example.net").unwrap().command else {
            panic!("it is send");
        };
        let (recipient, _) = ForwardPath::take("<\"a,b\"@example.net>").unwrap();
        assert_eq!(options.to, [recipient]);
        assert!(to("a@example.net,b@example.net").is_err());
    }

    #[test]
    fn addresses_are_taken_with_and_without_brackets() {
        for text in ["ann@example.net", "<ann@example.net>", " ann@example.net"] {
            assert_eq!(forward_path(text).unwrap().to_string(), "ann@example.net");
        }
        assert_eq!(reverse_path("<>"), Ok(ReversePath::Null));
        for text in [
            "",
            "ann",
            "<ann@example.net> x",
            "a@example.net b@example.net",
        ] {
            assert!(forward_path(text).is_err(), "{text}");
            assert!(reverse_path(text).is_err(), "{text}");
        }
    }
}
