//! The release binary, started from a settings file, before a real HTTP server; and real clients
//! that hand it mail: curl, Python's smtplib and lettre. `make clients` runs it.
//!
//! The gateway stands once before an API that takes our own JSON, and once before Cakemail, where
//! it is given the ten variables of the drop-in replacement and nothing else.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that meets something unexpected has failed"
)]
#![expect(dead_code, reason = "this target uses a part of the support only")]

mod support;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use lettre::message::{Attachment, Body, Mailbox, Message, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{Certificate as Trusted, Tls, TlsParameters};
use lettre::{SmtpTransport, Transport as _};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::api::FakeApi;
use crate::support::cakemail::{Cakemail, Sent};
use crate::support::gateway::Certificate;
use crate::support::process::{Process, command, command_of};

const ALL: [&str; 3] = ["ann@example.net", "bob@example.net", "hidden@example.net"];
const PIXEL: &[u8] = b"\x89PNG\r\n\x1a\n not quite a picture \0\xff";
const PDF: &[u8] = b"%PDF-1.7\r\n.\r\n..\r\n\0\x80\xff no document either";

/// One message in the two forms that clients take: octets, or parts to build it from.
struct Sample {
    name: &'static str,
    subject: &'static str,
    /// The header fields of the subject and the content, as octets.
    octets: Vec<u8>,
    /// The same for a client that writes messages itself.
    built: Option<MultiPartOrSingle>,
    recipients: Vec<String>,
    expected: Value,
}

enum MultiPartOrSingle {
    Multi(MultiPart),
    Single(SinglePart),
}

fn samples() -> Vec<Sample> {
    let pixel = STANDARD.encode(PIXEL);
    let pdf = STANDARD.encode(PDF);
    let attachment = json!([{"filename": "report 7.pdf", "content_type": "application/pdf",
        "disposition": "attachment", "size": PDF.len(), "content": pdf}]);
    let image = json!([{"content_type": "image/png", "disposition": "inline",
        "content_id": "pixel", "size": PIXEL.len(), "content": pixel}]);
    let plain = |text: &str| SinglePart::plain(text.to_owned());
    let ann = || vec![ALL[0].to_owned()];
    let html = "<p>Grüße</p>";
    let mime = "MIME-Version: 1.0\r\n";
    vec![
        Sample {
            name: "text",
            subject: "Hello",
            octets: b"Subject: Hello\r\n\r\nplain text\r\n.dot\r\n".to_vec(),
            built: Some(MultiPartOrSingle::Single(plain("plain text\r\n.dot\r\n"))),
            recipients: ann(),
            expected: json!({"text": "plain text\n.dot\n", "attachments": []}),
        },
        Sample {
            name: "HTML",
            subject: "Hello",
            octets: format!("Subject: Hello\r\n{mime}Content-Type: text/html; charset=utf-8\r\n\
                Content-Transfer-Encoding: 8bit\r\n\r\n{html}\r\n").into_bytes(),
            built: Some(MultiPartOrSingle::Single(SinglePart::html(format!("{html}\r\n")))),
            recipients: ann(),
            expected: json!({"html": "<p>Grüße</p>\n", "attachments": []}),
        },
        Sample {
            name: "text and HTML",
            subject: "Hello",
            octets: format!("Subject: Hello\r\n{mime}Content-Type: multipart/alternative; boundary=b\r\n\r\n\
                --b\r\n\r\nboth\r\n--b\r\nContent-Type: text/html; charset=utf-8\r\n\
                Content-Transfer-Encoding: quoted-printable\r\n\r\n<p>Gr=C3=BC=C3=9Fe</p>\r\n--b--\r\n").into_bytes(),
            built: Some(MultiPartOrSingle::Multi(
                MultiPart::alternative_plain_html("both".to_owned(), html.to_owned()))),
            recipients: ann(),
            expected: json!({"text": "both", "html": "<p>Grüße</p>", "attachments": []}),
        },
        Sample {
            name: "attachment",
            subject: "Hello",
            octets: format!("Subject: Hello\r\n{mime}Content-Type: multipart/mixed; boundary=b\r\n\r\n\
                --b\r\n\r\nsee there\r\n--b\r\nContent-Type: application/pdf\r\n\
                Content-Disposition: attachment; filename=\"report 7.pdf\"\r\n\
                Content-Transfer-Encoding: base64\r\n\r\n{pdf}\r\n--b--\r\n").into_bytes(),
            built: Some(MultiPartOrSingle::Multi(MultiPart::mixed().singlepart(plain("see there")).singlepart(
                Attachment::new("report 7.pdf".to_owned())
                    .body(Body::new(PDF.to_vec()), "application/pdf".parse().unwrap())))),
            recipients: ann(),
            expected: json!({"text": "see there", "attachments": attachment}),
        },
        Sample {
            name: "inline image",
            subject: "Hello",
            octets: format!("Subject: Hello\r\n{mime}Content-Type: multipart/related; boundary=b\r\n\r\n\
                --b\r\nContent-Type: text/html\r\n\r\n<img src=\"cid:pixel\">\r\n\
                --b\r\nContent-Type: image/png\r\nContent-ID: <pixel>\r\nContent-Disposition: inline\r\n\
                Content-Transfer-Encoding: base64\r\n\r\n{pixel}\r\n--b--\r\n").into_bytes(),
            built: Some(MultiPartOrSingle::Multi(MultiPart::related()
                .singlepart(SinglePart::html("<img src=\"cid:pixel\">".to_owned()))
                .singlepart(Attachment::new_inline("pixel".to_owned())
                    .body(Body::new(PIXEL.to_vec()), "image/png".parse().unwrap())))),
            recipients: ann(),
            expected: json!({"html": "<img src=\"cid:pixel\">", "attachments": image}),
        },
        Sample {
            name: "8-bit subject",
            subject: "Grüße",
            octets: b"Subject: Gr\xfc\xdfe\r\n\r\nlatin-1\r\n".to_vec(),
            built: None,
            recipients: ann(),
            expected: json!({"text": "latin-1\n"}),
        },
        Sample {
            name: "UTF-8 subject",
            subject: "Grüße 日本 ✓",
            octets: "Subject: Grüße 日本 ✓\r\n\r\nutf-8\r\n".into(),
            built: Some(MultiPartOrSingle::Single(plain("utf-8\r\n"))),
            recipients: ann(),
            expected: json!({"text": "utf-8\n"}),
        },
        Sample {
            name: "three recipients, one of them Bcc",
            subject: "Hello",
            octets: b"Subject: Hello\r\nTo: ann@example.net\r\nCc: bob@example.net\r\n\
                Bcc: hidden@example.net\r\n\r\nall\r\n".to_vec(),
            built: Some(MultiPartOrSingle::Single(plain("all\r\n"))),
            recipients: ALL.map(str::to_owned).to_vec(),
            expected: json!({"text": "all\n", "to": [{"email": "ann@example.net"}],
                "cc": [{"email": "bob@example.net"}]}),
        },
        Sample {
            name: "Reply-To",
            subject: "Hello",
            octets: b"Subject: Hello\r\nReply-To: help@example.com\r\n\r\nask\r\n".to_vec(),
            built: Some(MultiPartOrSingle::Single(plain("ask\r\n"))),
            recipients: ann(),
            expected: json!({"text": "ask\n", "reply_to": [{"email": "help@example.com"}]}),
        },
        Sample {
            name: "a hundred recipients",
            subject: "Hello",
            octets: b"Subject: Hello\r\n\r\nmany\r\n".to_vec(),
            built: Some(MultiPartOrSingle::Single(plain("many\r\n"))),
            recipients: (0..100).map(|number| format!("r{number:02}@example.net")).collect(),
            expected: json!({"text": "many\n"}),
        },
    ]
}

impl Sample {
    fn check(&self, client: &str, request: &[u8]) {
        let body: Value = serde_json::from_slice(request).unwrap();
        let place = format!("{client}, {}", self.name);
        assert_eq!(body["subject"], self.subject, "{place}");
        assert_eq!(body["envelope"]["from"], "app@example.com", "{place}");
        assert_eq!(body["envelope"]["to"], json!(self.recipients), "{place}");
        for (name, value) in self.expected.as_object().unwrap() {
            // lettre ends a message with empty lines of its own.
            assert_eq!(trimmed(&body[name]), trimmed(value), "{place}: {name}");
        }
        let hidden = String::from_utf8_lossy(request).matches(ALL[2]).count();
        assert_eq!(
            hidden,
            usize::from(self.recipients.len() == 3),
            "{place}: Bcc is shown"
        );
    }

    /// Looks at the calls of Cakemail that it became, which the double has found to be right by
    /// themselves.
    fn check_calls(&self, client: &str, calls: &[Arc<Sent>]) {
        let place = format!("{client}, {}", self.name);
        let mut recipients: Vec<&str> = calls.iter().map(|call| call.recipient()).collect();
        recipients.sort_unstable();
        assert_eq!(recipients, self.recipients, "{place}");
        for call in calls {
            assert_eq!(call.fault, None, "{place}");
            let (email, content) = (&call.json, &call.json["content"]);
            assert_eq!(email["sender"]["id"], "1042", "{place}");
            assert_eq!(content["type"], "transactional", "{place}");
            assert_eq!(content["subject"], self.subject, "{place}");
            for name in ["text", "html"] {
                let (found, expected) = (&content[name], &self.expected[name]);
                assert_eq!(trimmed(found), trimmed(expected), "{place}: {name}");
            }
            self.check_attachment(&place, &email["attachment"]);
            let replies = self.expected["reply_to"][0]["email"].as_str();
            let fields = email["additional_headers"].as_array();
            let reply_to = fields
                .into_iter()
                .flatten()
                .find(|field| field["name"] == "Reply-To")
                .and_then(|field| field["value"].as_str());
            assert_eq!(reply_to, replies, "{place}");
            for other in recipients
                .iter()
                .filter(|other| **other != call.recipient())
            {
                assert!(!call.mentions(other), "{place}: {other} is shown");
            }
        }
    }

    fn check_attachment(&self, place: &str, found: &Value) {
        let expected = &self.expected["attachments"][0];
        let kind = match expected["content_type"].as_str() {
            None => return assert!(found.is_null(), "{place}: {found}"),
            Some(media_type) => media_type.split('/').nth(1).unwrap(),
        };
        assert_eq!(found.as_array().unwrap().len(), 1, "{place}");
        assert_eq!(found[0]["type"], kind, "{place}");
        assert_eq!(found[0]["content"], expected["content"], "{place}");
    }

    /// The message as lettre writes it.
    fn build(&self) -> Option<Message> {
        let address = |text: &str| text.parse::<Mailbox>().unwrap();
        let builder = Message::builder()
            .from(address("app@example.com"))
            .to(address(&self.recipients[0]))
            .subject(self.subject);
        let builder = match self.recipients.as_slice() {
            [_, cc, bcc] => builder.cc(address(cc)).bcc(address(bcc)),
            [_, others @ ..] => others
                .iter()
                .fold(builder, |builder, other| builder.bcc(address(other))),
            [] => builder,
        };
        let builder = match self.expected["reply_to"][0]["email"].as_str() {
            Some(replies) => builder.reply_to(address(replies)),
            None => builder,
        };
        let message = match self.built.as_ref()? {
            MultiPartOrSingle::Multi(parts) => builder.multipart(parts.clone()),
            MultiPartOrSingle::Single(part) => builder.singlepart(part.clone()),
        };
        Some(message.unwrap())
    }
}

/// A text without the empty lines at its end.
fn trimmed(value: &Value) -> Value {
    match value.as_str() {
        Some(text) => Value::from(text.trim_end()),
        None => value.clone(),
    }
}

/// What the gateway stands before.
enum Behind {
    Json(FakeApi),
    Cakemail(Cakemail),
}

impl Behind {
    /// How many calls have come.
    fn calls(&self) -> usize {
        match self {
            Self::Json(api) => api.recorded().len(),
            Self::Cakemail(cakemail) => cakemail.sent().len(),
        }
    }

    /// Looks at the calls for one sample, which are all after the first `before`.
    fn check(&self, client: &str, sample: &Sample, before: usize) {
        match self {
            Self::Json(api) => {
                let recorded = api.wait_for(before + 1);
                sample.check(client, &recorded.last().unwrap().body);
                assert_eq!(recorded.len(), before + 1, "nothing was sent twice");
            }
            Self::Cakemail(cakemail) => {
                let calls = cakemail.wait_for(before + sample.recipients.len());
                sample.check_calls(client, &calls[before..]);
            }
        }
    }
}

/// The gateway in its process, and what it stands before.
struct Scene {
    folder: TempDir,
    certificate: Certificate,
    behind: Behind,
    user: &'static str,
    ports: Vec<(u16, &'static str)>,
    _process: Process,
}

impl Scene {
    /// Of a settings file, before an API that takes our own JSON.
    fn json() -> Self {
        let (folder, certificate, api) = (
            tempfile::tempdir().unwrap(),
            Certificate::new(),
            FakeApi::start(),
        );
        let settings = format!(
            "[smtp]\nlisteners = [{{ host = \"127.0.0.1\", port = 0 }},\n\
             {{ host = \"127.0.0.1\", port = 0, tls = \"implicit\" }}]\n\
             [http]\nhost = \"127.0.0.1\"\nport = 0\n\
             [tls]\ncert_path = {:?}\nkey_path = {:?}\n\
             [auth]\nsource = \"static\"\n\
             accounts = [{{ name = \"ann\", password_file = \"password\" }}]\n\
             [api]\nprovider = \"json\"\nurl = \"{}\"\nkey = \"k\"\n",
            certificate.chain(),
            certificate.key(),
            api.url()
        );
        std::fs::write(folder.path().join("gateway.toml"), settings).unwrap();
        std::fs::write(folder.path().join("password"), "secret\n").unwrap();
        let mut process = Process::start(command(folder.path()).args(["-c", "gateway.toml"]));
        let ports = vec![
            (process.listening("SMTP").port(), "starttls"),
            (process.listening("SMTP").port(), "implicit"),
        ];
        Self {
            folder,
            certificate,
            behind: Behind::Json(api),
            user: "ann",
            ports,
            _process: process,
        }
    }

    /// Of ten variables and nothing else, before Cakemail.
    fn cakemail() -> Self {
        let (folder, certificate, cakemail) = (
            tempfile::tempdir().unwrap(),
            Certificate::new(),
            Cakemail::start(),
        );
        let mut process = Process::start(
            command(folder.path())
                .envs(cakemail.variables(&certificate))
                .env("LOG_LEVEL", "INFO")
                .env("RATE_LIMIT_PER_IP", "100"),
        );
        let ports = vec![(process.listening("SMTP").port(), "starttls")];
        Self {
            folder,
            certificate,
            behind: Behind::Cakemail(cakemail),
            user: "ann@example.com",
            ports,
            _process: process,
        }
    }

    /// Sends every sample to every port with `send`, and looks at what arrived.
    fn every(&self, client: &str, send: impl Fn(&Sample, &Path, u16, &'static str) -> bool) {
        for sample in samples() {
            let path = self.folder.path().join("message.eml");
            std::fs::write(&path, &sample.octets).unwrap();
            for (port, tls) in &self.ports {
                let before = self.behind.calls();
                if send(&sample, &path, *port, tls) {
                    self.behind
                        .check(&format!("{client}, {tls}"), &sample, before);
                }
            }
        }
    }
}

fn program(name: &str) -> Command {
    let path = std::env::split_paths(env!("PATH")).map(|folder| folder.join(name));
    let found: Option<PathBuf> = path.into_iter().find(|path| path.is_file());
    let found = found.unwrap_or_else(|| panic!("{name} is not installed: `make clients` needs it"));
    command_of(found, Path::new("/"))
}

fn succeeds(command: &mut Command) -> bool {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    true
}

#[test]
fn curl_to_our_own_json() {
    curl(&Scene::json());
}

#[test]
fn curl_to_cakemail() {
    curl(&Scene::cakemail());
}

#[test]
fn smtplib_to_our_own_json() {
    smtplib(&Scene::json());
}

#[test]
fn smtplib_to_cakemail() {
    smtplib(&Scene::cakemail());
}

#[test]
fn lettre_to_our_own_json() {
    lettre(&Scene::json());
}

#[test]
fn lettre_to_cakemail() {
    lettre(&Scene::cakemail());
}

fn curl(scene: &Scene) {
    scene.every("curl", |sample, path, port, tls| {
        let mut curl = program("curl");
        let scheme = if tls == "implicit" { "smtps" } else { "smtp" };
        curl.args(["--silent", "--show-error", "--ssl-reqd", "--max-time", "20"])
            .arg("--cacert")
            .arg(scene.certificate.chain())
            .args([
                "--url",
                &format!("{scheme}://localhost:{port}/client.example"),
            ])
            .args(["--user", &format!("{}:secret", scene.user)])
            .args(["--mail-from", "app@example.com"]);
        for recipient in &sample.recipients {
            curl.args(["--mail-rcpt", recipient]);
        }
        succeeds(curl.arg("--upload-file").arg(path))
    });
}

fn smtplib(scene: &Scene) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/submit.py");
    for mechanism in ["PLAIN", "LOGIN"] {
        scene.every(mechanism, |sample, path, port, tls| {
            let mut python = program("python3");
            python
                .arg(&script)
                .args([&port.to_string(), tls])
                .arg(scene.certificate.chain())
                .args([mechanism, scene.user])
                .arg(path)
                .args(&sample.recipients);
            succeeds(&mut python)
        });
    }
}

fn lettre(scene: &Scene) {
    let pem = std::fs::read(scene.certificate.chain()).unwrap();
    for mechanism in [Mechanism::Plain, Mechanism::Login] {
        scene.every("lettre", |sample, _, port, tls| {
            let Some(message) = sample.build() else {
                return false;
            };
            let parameters = TlsParameters::builder("localhost".to_owned())
                .add_root_certificate(Trusted::from_pem(&pem).unwrap())
                .build_rustls()
                .unwrap();
            let tls = match tls {
                "implicit" => Tls::Wrapper(parameters),
                _ => Tls::Required(parameters),
            };
            let transport = SmtpTransport::builder_dangerous("localhost")
                .port(port)
                .tls(tls)
                .credentials(Credentials::new(scene.user.to_owned(), "secret".to_owned()))
                .authentication(vec![mechanism])
                .build();
            transport.send(&message).unwrap();
            true
        });
    }
}

/// The five-minute start: what the sandbox prints is pasted into a shell, and the message arrives.
/// README shows the same command.
#[test]
fn the_printed_command_delivers_and_is_the_one_in_the_readme() {
    let folder = tempfile::tempdir().unwrap();
    let ports =
        "[{host = \"127.0.0.1\", port = 0}, {host = \"127.0.0.1\", port = 0, tls = \"implicit\"}]";
    let mut process = Process::start(
        command(folder.path())
            .arg("sandbox")
            .env("GATEWAY__SMTP__LISTENERS", ports)
            .env("HTTP_PORT", "0"),
    );
    let mut printed = String::new();
    while !printed.contains("--upload-file -\n") {
        printed.push_str(&process.line().expect("the sandbox prints a command"));
        printed.push('\n');
    }
    let (_, pasted) = printed.split_once("Send a message:\n\n").unwrap();
    let smtp: SocketAddr = process.listening("SMTP");
    process.listening("SMTP");
    let http = process.listening("HTTP");
    let mut shell = command_of("/bin/sh", folder.path());
    shell
        .env("PATH", env!("PATH"))
        .args(["-c", pasted])
        .stdout(Stdio::null());
    succeeds(&mut shell);
    let (_, list) = support::http::request(http, "GET", "/api/messages");
    assert!(list.contains("\"subject\":\"Hello\""), "{list}");

    let readme = include_str!("../README.md");
    let default = pasted.replace(&smtp.to_string(), "127.0.0.1:2587");
    let lines: Vec<_> = default
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let readme: Vec<_> = readme.lines().map(str::trim).collect();
    assert!(
        readme.windows(lines.len()).any(|window| window == lines),
        "{lines:#?}"
    );
}
