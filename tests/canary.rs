//! T28, logs: a canary in everything that comes from outside or is secret, through a whole life of
//! the gateway, and none of it in a log line, a metric, an error text or `Debug` output.

use std::process::{self, Stdio};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use smtp_gateway::auth::api_key::ApiKey;
use smtp_gateway::auth::static_keys::Account;
use smtp_gateway::auth::{self, Identity};
use smtp_gateway::config::Config;
use smtp_gateway::delivery::http::provider::Unsendable;
use smtp_gateway::delivery::{self, Outcome, Quote};
use smtp_gateway::message::content::Content;
use smtp_gateway::message::parameters::MimeField;
use smtp_gateway::message::structure::{self, Structure};
use smtp_gateway::message::{content_id, mime};
use smtp_gateway::secret::Secret;
use smtp_gateway::smtp::address::{ForwardPath, ReversePath};
use smtp_gateway::smtp::command::Command;
use smtp_gateway::smtp::envelope::Envelope;
use smtp_gateway::smtp::framing::LoneNewlines;
use smtp_gateway::smtp::parameter::MailParameters;
use smtp_gateway::smtp::reply;
use smtp_gateway::smtp::sasl::Credentials;
use smtp_gateway::smtp::session::{self, Authentication, Session, Step, Tls};
use smtp_gateway::telemetry::logging;
use tempfile::TempDir;

use crate::support::api::{FakeApi, Play};
use crate::support::client::SmtpClient;
use crate::support::gateway::Certificate;
use crate::support::http::request;
use crate::support::process::{Process, command_of};

/// The canary in any form that it might be printed in.
fn canaries() -> Vec<String> {
    let plain = "canary";
    // Whatever stands before it shifts what base64 makes of it.
    let base64 = ["", "x", "xx"].map(|before| {
        let whole = STANDARD.encode(format!("{before}{plain}"));
        let clear = [0, 2, 3][before.len()];
        whole[clear..].trim_end_matches('=')[..6].to_owned()
    });
    let hex: String = plain.bytes().map(|octet| format!("{octet:02x}")).collect();
    let list = plain.bytes().map(|octet| octet.to_string());
    let list = list.collect::<Vec<_>>().join(", ");
    [plain.to_owned(), hex, list]
        .into_iter()
        .chain(base64)
        .collect()
}

#[track_caller]
fn assert_no_canary(what: &str, text: &str) {
    for line in text.lines() {
        let lower = line.to_ascii_lowercase();
        for canary in canaries() {
            let found = lower.contains(&canary) || line.contains(&canary);
            assert!(!found, "{canary} is in {what}: {line}");
        }
    }
}

#[test]
fn a_canary_is_found_in_every_form() {
    for text in [
        "a CaNaRy b".to_owned(),
        format!("{:?}", b"my canary".to_vec()),
        STANDARD.encode("canary"),
        STANDARD.encode("\0canary-user\0x"),
        STANDARD.encode("ab canary"),
        STANDARD.encode("a-canary"),
        "x63616e617279x".to_owned(),
    ] {
        let found = std::panic::catch_unwind(|| assert_no_canary("a text", &text));
        assert!(found.is_err(), "{text}");
    }
}

/// A gateway before an authentication API and an email API, each with a canary in all it says.
struct Scene {
    folder: TempDir,
    certificate: Certificate,
    _auth: FakeApi,
    _api: FakeApi,
}

impl Scene {
    fn new(provider: &str, auth: Vec<Play>, api: Vec<Play>) -> Self {
        let scene = Self {
            folder: tempfile::tempdir().unwrap(),
            certificate: Certificate::new(),
            _auth: FakeApi::play(auth),
            _api: FakeApi::play(api),
        };
        let settings = format!(
            "[smtp]\nhostname = \"gateway.example\"\nlisteners = [\n\
             {{ host = \"127.0.0.1\", port = 0 }},\n\
             {{ host = \"127.0.0.1\", port = 0, tls = \"implicit\" }}]\n\
             [http]\nhost = \"127.0.0.1\"\nport = 0\n\
             [tls]\ncert_path = {:?}\nkey_path = {:?}\n\
             [auth]\nurl = \"{}\"\ntimeout = \"1s\"\n\
             accounts = [{{ name = \"printer\", password = \"canary-pass\", api_key = \"canary\" }}]\n\
             [api]\nprovider = \"{provider}\"\nurl = \"{}\"\nkey = \"canary-gateway-key\"\n\
             headers = {{ X-Api-Key = \"canary-header-key\" }}\n\
             {}\
             [delivery]\nretries = 0\ndeadline = \"1s\"\n\
             [drain]\npause = \"0\"\n[limits]\nerrors = 0\n",
            scene.certificate.chain(),
            scene.certificate.key(),
            scene._auth.url(),
            scene._api.url(),
            if provider == "json" {
                "path = \"/hook/canary-token\"\nrequests = \"per_recipient\"\nraw = true\n"
            } else {
                ""
            },
        );
        std::fs::write(scene.folder.path().join("gateway.toml"), settings).unwrap();
        scene
    }

    /// What is written to standard error comes with the rest.
    fn start(&self, level: &str) -> Process {
        Process::start(self.command(level).stderr(Stdio::null()))
    }

    fn command(&self, level: &str) -> process::Command {
        let mut shell = command_of("/bin/sh", self.folder.path());
        let gateway = env!("CARGO_BIN_EXE_smtp-gateway");
        shell.args(["-c", "exec \"$0\" -c gateway.toml \"$@\" 2>&1", gateway]);
        shell.env("LOG_LEVEL", level);
        shell
    }
}

fn refusal(status: u16) -> Play {
    // What it says would be a line of its own, were it printed as it is.
    Play::answer(
        status,
        "{\"error\":\"canary-reason\\n{\\\"level\\\":\\\"INFO\\\"}\\u001b[31m\",\
         \"detail\":[{\"msg\":\"canary-detail\",\"type\":\"unauthorized\"}]}",
    )
}

/// Answers that say nothing which is documented.
fn nonsense() -> [Play; 7] {
    [
        Play::answer(200, "<html>canary-page</html>"),
        Play::answer(403, "<html>canary-page</html>"),
        Play::answer(500, "canary-fault"),
        Play::Answer(302, "location: https://canary.example/\r\n", String::new()),
        Play::Raw("HTTP/1.1 200 X\r\ncontent-length: 100\r\n\r\n{\"id\":\"canary"),
        Play::Raw("canary canary canary\r\n\r\n"),
        Play::Reset,
    ]
}

const CONTENT: &str = concat!(
    "Received: from canary-host by canary-relay; now\r\n",
    "From: \"Canary Name\" <canary-from@canary.example>\r\n",
    "Sender: canary-sender@canary.example\r\nReply-To: canary-reply@canary.example\r\n",
    "To: canary-to@canary.example\r\nCc: Canary:canary-cc@canary.example;\r\n",
    "Bcc: canary-bcc@canary.example\r\n",
    "Subject: =?utf-8?q?canary=0A=7B=22level=22=3A1=7D=1B[31m?=\r\n",
    "Message-ID: <canary-id@canary.example>\r\nX-Canary-Name: canary-value\r\n",
    "X-Bad \u{1b}[31m canary\r\n",
    "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=canary-boundary\r\n\r\n",
    "--canary-boundary\r\nContent-Type: text/plain; charset=canary-charset\r\n\r\n",
    "canary-text\r\n{\"level\":\"INFO\",\"message\":\"forged\"}\r\n",
    "--canary-boundary\r\nContent-Type: text/html\r\n\r\n<p>canary-html</p>\r\n",
    "--canary-boundary\r\nContent-Type: application/canary-type\r\n",
    "Content-ID: <canary-cid>\r\n",
    "Content-Disposition: attachment; filename=\"canary-\u{1b}[31m-file.pdf\"\r\n\r\n",
    "canary-attachment\r\n--canary-boundary--\r\n",
);

const PLAIN_LOGIN: (&str, &str) = ("canary-login", "canary-password");

/// Logins with every answer that the authentication API may give; the last one is let in.
fn log_in(client: &mut SmtpClient) {
    let (user, password) = PLAIN_LOGIN;
    for wrong in ["canary-one", "canary-two"] {
        let told = client.authenticate(user, wrong);
        assert!(told.starts_with("535 5.7.8"), "{told}");
    }
    for _ in 0..nonsense().len() {
        let told = client.authenticate(user, password);
        assert!(told.starts_with("454 4.7.0"), "{told}");
    }
    client.ask("AUTH PLAIN canary-no-base64", "501");
    client.ask("AUTH CANARY canary", "504");
    client.ask("AUTH LOGIN", "334");
    client.ask("Y2FuYXJ5", "334");
    client.ask("*", "501");
    let told = client.authenticate(user, password);
    assert!(told.starts_with("235"), "{told}");
}

fn logins() -> Vec<Play> {
    let token = "{\"access_token\":\"canary-key\",\"token_type\":\"bearer\",\"expires_in\":9999,\
                 \"refresh_token\":\"canary-refresh\",\"accounts\":[27]}";
    [
        refusal(401),
        Play::answer(200, "{\"challenge\":\"canary-challenge\"}"),
    ]
    .into_iter()
    .chain(nonsense())
    .chain([Play::answer(200, token)])
    .collect()
}

fn transaction(client: &mut SmtpClient, recipients: &[&str], reply: &str) -> String {
    client.ask(
        "MAIL FROM:<\"canary\\\"'; DROP\"@canary.example> BODY=8BITMIME",
        "250",
    );
    for recipient in recipients {
        client.ask(&format!("RCPT TO:<{recipient}>"), "250");
    }
    client.ask("DATA", "354");
    client.send(CONTENT);
    client.send(".\r\n");
    client.expect(reply)
}

fn mistakes(client: &mut SmtpClient) {
    for (line, reply) in [
        ("CANARY canary", "500"),
        ("MAIL FROM:<canary", "501"),
        ("MAIL FROM:<canary@canary.example> CANARY=canary", "555"),
        ("RCPT TO:<canary@canary.example>", "503"),
        ("VRFY canary@canary.example", "252"),
        ("EXPN canary", "502"),
        ("NOOP canary \u{1b}[31m", "500"),
    ] {
        client.ask(line, reply);
    }
}

/// All that the process has said on both outputs, with what its HTTP server says of it.
fn life(level: &str) -> (Vec<String>, Vec<(&'static str, String)>) {
    let one = ["canary-rcpt@canary.example"];
    let mut plays = vec![Play::Take, refusal(400), Play::Take, refusal(422)];
    plays.extend([
        refusal(413),
        refusal(409),
        Play::Hang,
        Play::ResetBeforeBody,
    ]);
    plays.extend(nonsense());
    plays.extend([refusal(401), refusal(401), Play::LongAnswer(1 << 20)]);
    let scene = Scene::new("json", logins(), plays);
    let mut process = scene.start(level);
    let (address, implicit) = (process.listening("SMTP"), process.listening("SMTP"));
    let http = process.listening("HTTP");

    let mut client = SmtpClient::connect(address);
    client.expect("220");
    client.ask("EHLO canary-client.canary.example", "250");
    client.ask("AUTH PLAIN AGNhbmFyeS11c2VyAGNhbmFyeS1wYXNzd29yZA==", "538");
    client.ask("STARTTLS", "220");
    client.start_tls(scene.certificate.client());
    client.ask("EHLO canary-client.canary.example", "250");
    log_in(&mut client);
    transaction(&mut client, &one, "250 2.0.0");
    let quoted = transaction(&mut client, &one, "554 5.6.0");
    assert!(
        quoted.contains("canary-reason"),
        "the client is told: {quoted}"
    );
    let two = ["canary-rcpt@canary.example", "canary-other@canary.example"];
    let partly = transaction(&mut client, &two, "250 2.0.0");
    assert!(partly.contains("1 of 2"), "{partly}");
    for reply in ["552", "554", "451", "451"] {
        transaction(&mut client, &one, reply);
    }
    for _ in nonsense() {
        transaction(&mut client, &one, "451");
    }
    // The key is refused, and so is the next one, which the authentication API does not give.
    transaction(&mut client, &one, "4");
    mistakes(&mut client);
    // A structure that is refused.
    let deep: String = (0..20)
        .map(|level| {
            format!(
                "Content-Type: multipart/mixed; boundary=canary{level}\r\n\r\n--canary{level}\r\n"
            )
        })
        .collect();
    let told = client.submit(&one, &deep);
    assert!(told.starts_with("554 5.6.0"), "{told}");

    // Those who leave in mid-sentence, and those who speak another language.
    let mut gone = SmtpClient::connect(address);
    gone.send("GET /canary HTTP/1.1\r\nHost: canary.example\r\n\r\n");
    drop(gone);
    let mut noise = SmtpClient::connect(implicit);
    noise.send("canary canary canary canary canary\r\n");
    while noise.line().is_some() {}
    let asked = [
        "/metrics",
        "/health/ready",
        "/health/live",
        "/canary?canary=canary",
    ];
    let said = asked.map(|path| (path, request(http, "GET", path).1));

    // A message in flight while the gateway is told to stop.
    client.begin(&one);
    client.send("Subject: canary\r\n\r\ncanary-half");
    process.signal("TERM");
    process.wait_for("draining: not ready any more");
    client.send("\r\n.\r\n");
    client.expect("4");
    let (status, log) = process.end();
    assert_eq!(status.code(), Some(0), "{log:#?}");
    (log, said.into_iter().collect())
}

fn check_life(level: &str) {
    let (log, said) = life(level);
    for line in &log {
        assert_no_canary("the log", line);
        let read: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        assert!(
            read["level"].is_string() && read["message"].is_string(),
            "{line}"
        );
        assert!(!line.contains('\u{1b}'), "{line}");
    }
    let told = |message: &str| {
        let count = log.iter().filter(|line| line.contains(message)).count();
        assert!(count > 0, "no {message:?} in {log:#?}");
    };
    for message in [
        "message accepted",
        "message accepted for some recipients",
        "message not accepted",
        "a call to the email API failed",
        "a key cannot be looked up",
        "drained",
        "login refused",
        "session ended",
    ] {
        told(message);
    }
    if level.contains("hyper") {
        told("pooling idle connection");
    }
    for (path, text) in said {
        assert_no_canary(path, &text);
    }
}

#[test]
fn a_whole_life_at_debug_leaves_no_canary() {
    check_life("DEBUG");
}

#[test]
fn a_whole_life_with_all_that_the_libraries_say_leaves_no_canary() {
    check_life(
        "warn,smtp_gateway=trace,rustls=trace,tokio_rustls=trace,reqwest=trace,hyper=trace,\
         hyper_util=trace,tower=trace,axum=trace,moka=trace,mail_parser=trace",
    );
}

#[test]
fn a_whole_life_before_cakemail_leaves_no_canary() {
    let scene = Scene::new(
        "cakemail",
        logins(),
        [refusal(422), refusal(401)]
            .into_iter()
            .chain(nonsense())
            .collect(),
    );
    let mut process = scene.start("DEBUG");
    let address = process.listening("SMTP");
    let mut client = SmtpClient::secured(address, scene.certificate.client());
    log_in(&mut client);
    for _ in 0..nonsense().len() {
        transaction(&mut client, &["canary-rcpt@canary.example"], "");
    }
    client.ask("QUIT", "221");
    process.signal("TERM");
    let (_, log) = process.end();
    assert_no_canary("the log", &log.join("\n"));
    assert!(log.iter().any(|line| line.contains("message not accepted")));
}

#[test]
fn the_settings_that_check_prints_have_no_secret() {
    let scene = Scene::new("cakemail", Vec::new(), Vec::new());
    let mut shell = scene.command("INFO");
    let output = shell.arg("check").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && said.contains("\"***\""),
        "{said}"
    );
    assert_no_canary("the settings", &said);
}

/// Wrong settings whose fault must be told without the value that is wrong.
#[test]
fn faults_of_the_settings_show_no_secret() {
    let scene = Scene::new("json", Vec::new(), Vec::new());
    for (name, value) in [
        ("GATEWAY__API__KEY", "canary\nkey"),
        ("GATEWAY__API__KEY", "canary\u{1b}[31m"),
        ("GATEWAY__API", "canary"),
        ("GATEWAY__API__KEY__X", "canary"),
        ("GATEWAY__API__KYE", "canary"),
        ("GATEWAY__API__HEADERS", "{X-Key = \"canary}"),
        ("GATEWAY__API__HEADERS", "{X-Key = \"canary\\n\"}"),
        ("GATEWAY__API__HEADERS", "[\"X-Key: canary\"]"),
        ("GATEWAY__API__HEADERS", "X-Key: canary"),
        ("GATEWAY__API__HEADERS__X", "canary\u{7f}"),
        ("GATEWAY__AUTH__ACCOUNTS", "canary"),
        ("GATEWAY__AUTH__ACCOUNTS", "[\"ann:canary\"]"),
        (
            "GATEWAY__AUTH__ACCOUNTS",
            "[{name = \"ann\", password = [\"canary\"]}]",
        ),
        (
            "GATEWAY__AUTH__ACCOUNTS",
            "[{name = \"ann\", password = \"canary}]",
        ),
        (
            "GATEWAY__AUTH__ACCOUNTS",
            "[{name = \"ann\", passwort = \"canary\"}]",
        ),
        (
            "GATEWAY__AUTH__ACCOUNTS",
            "[{name = \"ann\", password_hash = \"canary\"}]",
        ),
        ("GATEWAY__AUTH__URL", "https://canary:canary@api.example"),
        ("GATEWAY__AUTH__URL", "https://api.example/?key=canary"),
        ("GATEWAY__AUTH__URL", "canary"),
        ("CAKEMAIL_API_URL", "http://api.example/canary"),
    ] {
        let mut shell = scene.command("INFO");
        check_fault(shell.env(name, value), name);
    }
}

#[test]
fn faults_in_the_text_of_settings_show_none_of_it() {
    for (name, text) in [
        ("gateway.toml", "[api]\nkey = \"canary\n"),
        ("gateway.toml", "[api]\nkey = canary\n"),
        ("gateway.toml", "[api]\nkey = [\"canary\"]\n"),
        ("gateway.toml", "[api]\nkye = \"canary\"\n"),
        (
            "gateway.toml",
            "[auth]\naccounts = [{name = \"ann\" password = \"canary\"}]\n",
        ),
        ("gateway.toml", "[api]\nkey = \"a\"\nkey = \"canary\"\n"),
        ("gateway.yaml", "api:\n  key: [canary\n"),
        ("gateway.yaml", "api:\n key: canary\n  key: canary\n"),
        ("gateway.yaml", "api:\n  key: !canary canary\n"),
        ("gateway.yaml", "api:\n  key: {canary: canary}\n"),
        (".env", "GATEWAY__API__KEY=\"canary\n"),
        (".env", "GATEWAY__API__KEY canary\n"),
        (".env", "GATEWAY__API__KYE=canary\n"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(name), text).unwrap();
        let mut shell = command_of("/bin/sh", folder.path());
        let gateway = env!("CARGO_BIN_EXE_smtp-gateway");
        let script = match name {
            ".env" => "exec \"$0\" 2>&1",
            _ => "exec \"$0\" -c \"$1\" 2>&1",
        };
        check_fault(shell.args(["-c", script, gateway, name]), text);
    }
}

fn check_fault(command: &mut process::Command, what: &str) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(78), "{what}: {said}");
    assert!(
        !said.is_empty() && !said.contains('\u{1b}'),
        "{what}: {said:?}"
    );
    assert_no_canary(what, &said);
}

/// Runs the other test in a process of its own, for it panics and the log is the process's.
#[test]
fn the_text_of_a_panic_is_in_no_line() {
    let output = process::Command::new(std::env::current_exe().unwrap())
        .args(["canary::a_panic", "--exact", "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    let line = said
        .lines()
        .find(|line| line.contains("panic: this is a bug"));
    let line: Value = serde_json::from_str(line.expect("a line")).unwrap();
    assert!(
        line["place"].as_str().unwrap().starts_with("canary.rs:"),
        "{line}"
    );
    assert!(!said.contains("what the panic says"), "{said}");
}

#[test]
#[ignore = "the_text_of_a_panic_is_in_no_line runs it"]
fn a_panic() {
    logging::start(&logging::Config::default()).unwrap();
    let panicked = std::panic::catch_unwind(|| panic!("what the panic says"));
    assert!(panicked.is_err());
}

/// What may end up in a line by an accident such as `{value:?}`.
#[test]
fn debug_output_shows_no_canary() {
    let address = "canary@example.net";
    let (reverse, _) = ReversePath::take(&format!("<{address}>")).unwrap();
    let (forward, _) = ForwardPath::take(&format!("<{address}>")).unwrap();
    let mut envelope = Envelope::new(reverse, MailParameters::default());
    envelope.add_recipient(forward);
    let credentials = Credentials {
        username: address.to_owned(),
        password: Secret::new("canary"),
    };
    let identity = Identity {
        account: address.to_owned(),
        api_key: ApiKey::Fixed(Secret::new("canary")),
    };
    let content = Content::new(CONTENT.replace("canary-type", "pdf"));
    let structure = Structure::read(&content, &structure::Limits::default()).unwrap();
    let header = structure.header().unwrap();
    let fields: Vec<_> = header.fields(content.octets()).collect();
    let email = mime::read(&content, &structure);
    let command = |line: &str| Command::parse(line.as_bytes()).unwrap();
    let quoting = reply::OK.quoting("canary");
    let mut session = Session::new(settings(), Tls::Established, Authentication::Required);
    let mut steps = Vec::new();
    session.receive(b"EHLO a\r\nAUTH PLAIN AGNhbmFyeQBjYW5hcnk=\r\n");
    while !matches!(session.step(), Step::Ask(_)) {}
    session.answer(&reply::AUTHENTICATED);
    session.receive(b"MAIL FROM:<canary@example.com>\r\nRCPT TO:<canary@example.net>\r\nDATA\r\n");
    session.receive(b"canary\r\n.\r\n");
    loop {
        match session.step() {
            Step::Receive => break,
            step => {
                steps.push(format!("{step:?}"));
                session.answer(&reply::OK);
            }
        }
    }
    assert!(
        steps.iter().any(|step| step.contains("Message")),
        "{steps:?}"
    );
    let config = Config {
        auth: auth::Config {
            accounts: vec![Account {
                name: "ann".to_owned(),
                password: Some(Secret::new("canary")),
                password_hash: Some(Secret::new("canary")),
                api_key: Some(Secret::new("canary")),
            }],
            ..auth::Config::default()
        },
        api: delivery::http::Config {
            key: Some(Secret::new("canary")),
            headers: [("X-Key".to_owned(), Secret::new("canary"))].into(),
            ..delivery::http::Config::default()
        },
        ..Config::default()
    };
    for (what, shown) in [
        ("secret", format!("{:?}", Secret::new("canary"))),
        ("credentials", format!("{credentials:?}")),
        ("identity", format!("{identity:?}")),
        ("envelope", format!("{envelope:?}")),
        (
            "login",
            format!("{:?}", command("AUTH PLAIN AGNhbmFyeQBjYW5hcnk=")),
        ),
        (
            "mail",
            format!("{:?}", command("MAIL FROM:<canary@example.com>")),
        ),
        (
            "rcpt",
            format!("{:?}", command("RCPT TO:<canary@example.com>")),
        ),
        ("content", format!("{content:?}")),
        ("structure", format!("{structure:?}")),
        ("header", format!("{header:?}")),
        (
            "iterator of fields",
            format!("{:?}", header.fields(content.octets())),
        ),
        ("fields", format!("{fields:?}")),
        ("email", format!("{email:#?}")),
        (
            "addresses",
            format!("{:?} {:?} {:?}", email.from, email.to, email.cc),
        ),
        ("attachments", format!("{:?}", email.attachments)),
        (
            "parameters",
            format!(
                "{:?}",
                MimeField::parse(b"a/b; name=canary; x*=utf-8''canary")
            ),
        ),
        (
            "reference",
            format!(
                "{:?}",
                content_id::references("<img src='cid:canary'>").collect::<Vec<_>>()
            ),
        ),
        ("reply", format!("{quoting:?}")),
        ("quote", format!("{:?}", Quote::new("canary"))),
        (
            "outcome",
            format!(
                "{:?}",
                Outcome::Delivered {
                    id: Quote::new("canary")
                }
            ),
        ),
        (
            "unsendable",
            format!("{:?}", Unsendable::Sender(address.to_owned())),
        ),
        (
            "unsendable",
            format!("{:?}", Unsendable::CannotCarry("canary".to_owned())),
        ),
        ("steps of a session", steps.join("\n")),
        ("settings", format!("{config:?}")),
    ] {
        assert_no_canary(what, &shown);
    }
}

fn settings() -> Arc<session::Settings> {
    Arc::new(session::Settings {
        hostname: "gateway.example".to_owned(),
        lone_newlines: LoneNewlines::Normalise,
        limits: session::Limits {
            command_line: 512,
            message_size: 0,
            recipients: 100,
            fan_out: 0,
            errors: 10,
        },
    })
}
