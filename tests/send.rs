//! `smtp-gateway send`: the real command against the real gateway.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread::JoinHandle;

use serde_json::Value;
use smtp_gateway::auth::TrustedNetwork;
use smtp_gateway::ingress::smtp::{ListenerAuth, ListenerTls};
use tempfile::TempDir;

use crate::support::api::{FakeApi, Play};
use crate::support::gateway::{Gateway, listener};
use crate::support::process::command;

/// What a run of the command came to.
struct Sent {
    code: i32,
    output: String,
    errors: String,
}

impl Sent {
    fn expect(&self, code: i32, line: &str) {
        let all = format!("{}{}", self.output, self.errors);
        assert_eq!(self.code, code, "{all}");
        assert!(all.lines().any(|found| found.starts_with(line)), "{all}");
    }
}

struct Scene {
    folder: TempDir,
    gateway: Gateway,
}

impl Scene {
    fn of(gateway: Gateway) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            gateway,
        }
    }

    fn sandbox() -> Self {
        Self::of(Gateway::sandbox(|_| {}))
    }

    fn file(&self, name: &str, content: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// To a listener, by its place in the settings; its certificate is trusted.
    fn to(&self, place: usize, arguments: &[&str]) -> Command {
        let mut command = to(self.folder.path(), self.gateway.smtp(place));
        command
            .arg("--ca")
            .arg(self.gateway.certificate.chain())
            .args(arguments);
        command
    }

    /// To the STARTTLS port, as ann.
    fn send(&self, arguments: &[&str]) -> Sent {
        run(self
            .to(0, arguments)
            .args(["--user", "ann"])
            .env("SMTP_PASSWORD", "secret"))
    }

    /// What is in the sandbox, the newest first.
    fn messages(&self) -> Vec<Value> {
        let (_, body) = self.gateway.get("/api/messages");
        let list: Value = serde_json::from_str(&body).unwrap();
        list["messages"].as_array().unwrap().clone()
    }

    fn raw(&self, message: &Value) -> String {
        let id = message["id"].as_str().unwrap();
        self.gateway.get(&format!("/api/messages/{id}/raw")).1
    }
}

fn to(folder: &Path, server: SocketAddr) -> Command {
    let mut command = command(folder);
    command.args(["send", "--server", &server.to_string()]);
    command
}

fn run(command: &mut Command) -> Sent {
    let output = command.output().unwrap();
    Sent {
        code: output.status.code().expect("no signal ended it"),
        output: String::from_utf8(output.stdout).unwrap(),
        errors: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A server that takes one connection, and does with it what is told here.
fn server(
    script: impl FnOnce(BufReader<TcpStream>) + Send + 'static,
) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        script(BufReader::new(stream));
    });
    (address, server)
}

/// Gives these replies, and waits for a line behind each.
fn converse(stream: &mut BufReader<TcpStream>, replies: &[&str]) {
    for reply in replies {
        write!(stream.get_mut(), "{reply}\r\n").unwrap();
        stream.read_line(&mut String::new()).unwrap();
    }
}

const ANN: [&str; 2] = ["--to", "ann@example.net"];

#[test]
fn a_made_message_goes_over_starttls_and_the_dialogue_is_shown() {
    let scene = Scene::sandbox();
    let to = ["--to", "ann@example.net", "--to", "bob@example.net"];
    let sent = scene.send(&[&to[..], &["--subject", "Grüße", "--text", "Hello\nyou"]].concat());
    sent.expect(0, "S: 250 2.0.0 Ok: queued as ");
    let mut lines = sent.output.lines();
    for expected in [
        "S: 220 gateway.example ESMTP",
        "C: EHLO [127.0.0.1]",
        "C: STARTTLS",
        "S: 220 2.0.0",
        "-- TLS 1.3, X25519MLKEM768",
        "C: EHLO [127.0.0.1]",
        "C: AUTH PLAIN ***",
        "S: 235 2.7.0",
        "C: MAIL FROM:<app@example.com> SIZE=",
        "C: RCPT TO:<ann@example.net>",
        "C: RCPT TO:<bob@example.net>",
        "C: DATA",
        "S: 354",
        "C: (",
        "S: 250 2.0.0",
        "C: QUIT",
        "S: 221 2.0.0",
    ] {
        assert!(
            lines.any(|line| line.starts_with(expected)),
            "no {expected:?} in its place in {}",
            sent.output
        );
    }
    assert_eq!(sent.errors, "");
    let message = &scene.messages()[0];
    assert_eq!(message["subject"], "Grüße");
    assert_eq!(message["envelope"]["to"][1], "bob@example.net");
    let raw = scene.raw(message);
    for start in ["Date: ", "Message-ID: <", "From: app@", "To: ann@"] {
        assert!(
            raw.lines().any(|line| line.starts_with(start)),
            "{start}: {raw}"
        );
    }
    assert!(raw.ends_with("\r\n\r\nHello\r\nyou\r\n"), "{raw}");
}

#[test]
fn implicit_tls_and_a_password_file_work_too() {
    let scene = Scene::sandbox();
    let password = scene.file("password", "secret\n");
    let login = ["--user", "ann", "--password-file", &password];
    let sent = run(scene.to(1, &ANN).args(["--tls", "implicit"]).args(login));
    sent.expect(0, "S: 250 2.0.0 Ok: queued as ");
    assert!(!sent.output.contains("STARTTLS"));
}

#[test]
fn where_the_network_is_trusted_neither_tls_nor_a_login_is_needed() {
    let gateway = Gateway::sandbox(|config| {
        let mut open = listener(ListenerTls::Off);
        open.auth = ListenerAuth::Trusted;
        config.smtp.listeners = vec![open];
        config.auth.trusted_networks = vec![TrustedNetwork {
            network: "127.0.0.0/8".parse().unwrap(),
            account: "ann".to_owned(),
        }];
    });
    let scene = Scene::of(gateway);
    run(scene.to(0, &ANN).args(["--tls", "off"])).expect(0, "S: 250 2.0.0 Ok: queued as ");
}

#[test]
fn a_file_goes_as_it_is_to_the_addresses_it_names_unless_others_are_given() {
    let scene = Scene::sandbox();
    let eml = "From: App <app@example.com>\nTo: Ann <ann@example.net>\nBcc: eve@example.net\n\
               Subject: from a file\n\n.\n.dots\n";
    let path = scene.file("message.eml", eml);
    scene.send(&[&path]).expect(0, "S: 250 2.0.0");
    let envelope = &scene.messages()[0]["envelope"];
    assert_eq!(envelope["from"], "app@example.com");
    let recipients = serde_json::json!(["ann@example.net", "eve@example.net"]);
    assert_eq!(envelope["to"], recipients);
    assert_eq!(scene.raw(&scene.messages()[0]), eml.replace('\n', "\r\n"));

    let given = [
        "--from",
        "list@example.com",
        "--to",
        "bob@example.net",
        "-",
        "--user",
        "ann",
    ];
    let stdin = std::fs::File::open(&path).unwrap();
    let sent = run(scene
        .to(0, &given)
        .env("SMTP_PASSWORD", "secret")
        .stdin(stdin));
    sent.expect(0, "C: MAIL FROM:<list@example.com>");
    let envelope = &scene.messages()[0]["envelope"];
    assert_eq!(envelope["to"], serde_json::json!(["bob@example.net"]));
}

#[test]
fn a_count_sends_as_many_messages_with_ids_of_their_own_over_one_session() {
    let scene = Scene::sandbox();
    let sent = scene.send(&[&ANN[..], &["--count", "5"]].concat());
    sent.expect(0, "5 sent, 0 refused, ");
    let dialogue = sent.output.lines();
    assert_eq!(
        dialogue.filter(|line| line.starts_with("C: DATA")).count(),
        1
    );
    let mut ids: Vec<_> = scene
        .messages()
        .iter()
        .map(|message| scene.raw(message).lines().nth(1).unwrap().to_owned())
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 5);
    assert_eq!(scene.gateway.metric("smtp_connections_total"), 1.0);
}

#[test]
fn quiet_prints_the_reply_that_decided_and_nothing_else() {
    let scene = Scene::sandbox();
    let sent = scene.send(&[&ANN[..], &["--quiet"]].concat());
    sent.expect(0, "250 2.0.0 Ok: queued as ");
    assert_eq!(sent.output.lines().count(), 1);
}

#[test]
fn quiet_prints_the_refusal_of_one_recipient_though_another_was_taken() {
    let folder = tempfile::tempdir().unwrap();
    for (first, second, code, decided) in [
        ("550 5.1.1 no", "250 ok", 69, "550 5.1.1 no\n"),
        ("550 5.1.1 no", "450 4.2.1 later", 69, "550 5.1.1 no\n"),
        ("450 4.2.1 later", "250 ok", 75, "450 4.2.1 later\n"),
    ] {
        let (address, server) = server(move |mut stream| {
            converse(&mut stream, &["220 hi", "250 hi", "250 ok", first, second]);
            if second.starts_with('2') {
                stream.get_mut().write_all(b"354 go\r\n").unwrap();
                let mut line = String::new();
                while line != ".\r\n" {
                    line.clear();
                    assert_ne!(stream.read_line(&mut line).unwrap(), 0);
                }
                converse(&mut stream, &["250 ok"]);
            }
        });
        let two = ["--to", "bob@example.net", "--tls", "off", "--quiet"];
        let sent = run(to(folder.path(), address).args(ANN).args(two));
        assert_eq!((sent.code, sent.output.as_str()), (code, decided));
        server.join().unwrap();
    }
}

#[test]
fn a_wrong_password_is_77_and_shown_nowhere() {
    let scene = Scene::sandbox();
    let wrong = |user: &str| {
        run(scene
            .to(0, &ANN)
            .args(["--user", user])
            .env("SMTP_PASSWORD", "canary-password"))
    };
    let sent = wrong("ann");
    sent.expect(77, "S: 535 5.7.8");
    let all = format!("{}{}", sent.output, sent.errors);
    // The password in base64, by itself and as PLAIN has it.
    for canary in [
        "canary",
        "Y2FuYXJ5LXBhc3N3b3Jk",
        "AGFubgBjYW5hcnktcGFzc3dvcmQ=",
    ] {
        assert!(!all.contains(canary), "{all}");
    }
    run(&mut scene.to(0, &ANN)).expect(77, "S: 530 5.7.0");
}

#[test]
fn a_certificate_that_is_not_trusted_is_76_unless_any_is_taken() {
    let scene = Scene::sandbox();
    let send = || {
        let mut command = to(scene.folder.path(), scene.gateway.smtp(0));
        command
            .args(ANN)
            .args(["--user", "ann"])
            .env("SMTP_PASSWORD", "secret");
        command
    };
    let sent = run(&mut send());
    assert_eq!(sent.code, 76, "{}", sent.errors);
    assert!(!sent.output.contains("AUTH"), "{}", sent.output);
    run(send().arg("--insecure")).expect(0, "S: 250 2.0.0 Ok: queued as ");
}

#[test]
fn a_server_without_starttls_gets_no_password() {
    let gateway = Gateway::sandbox(|config| {
        let mut open = listener(ListenerTls::Off);
        open.auth = ListenerAuth::Trusted;
        config.smtp.listeners = vec![open];
    });
    let scene = Scene::of(gateway);
    let sent = scene.send(&ANN);
    sent.expect(76, "the server does not offer STARTTLS");
    assert!(!sent.output.contains("AUTH"), "{}", sent.output);
}

#[test]
fn a_refusal_for_good_is_69() {
    let api = FakeApi::play([Play::answer(400, r#"{"error":"no such list"}"#)]);
    let scene = Scene::of(Gateway::before(&api.url(), |_| {}));
    scene.send(&ANN).expect(69, "S: 554 5.6.0");
}

#[test]
fn a_refusal_for_now_is_75_and_the_summary_shows_it() {
    let gateway = Gateway::sandbox(|config| {
        config.limits.exempt_networks = Vec::new();
        config.limits.messages_per_minute_per_ip = 1;
    });
    let sent = Scene::of(gateway).send(&[&ANN[..], &["--count", "2"]].concat());
    sent.expect(75, "1 sent, 1 refused, ");
    sent.expect(75, "The last refusal: 451 4.7.1");
}

#[test]
fn nobody_listening_is_75() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = SocketAddr::from(([127, 0, 0, 1], 9));
    run(to(folder.path(), nobody).args(ANN)).expect(75, "no connection to 127.0.0.1 port 9: ");
}

#[test]
fn a_server_that_leaves_in_the_handshake_is_75() {
    let folder = tempfile::tempdir().unwrap();
    for (tls, replies) in [
        ("implicit", &[][..]),
        ("starttls", &["220 hi", "250-hi\r\n250 STARTTLS", "220 go"]),
    ] {
        let (address, server) = server(move |mut stream| {
            if let Some((last, replies)) = replies.split_last() {
                converse(&mut stream, replies);
                write!(stream.get_mut(), "{last}\r\n").unwrap();
            }
            stream.read_exact(&mut [0; 10]).unwrap();
        });
        let sent = run(to(folder.path(), address).args(ANN).args(["--tls", tls]));
        sent.expect(75, "the connection broke: ");
        server.join().unwrap();
    }
}

#[test]
fn the_word_of_a_server_that_leaves_in_the_middle_of_a_message_is_heard() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.eml");
    let large = format!(
        "From: app@example.com\n\n{}",
        "0123456789\n".repeat(800_000)
    );
    std::fs::write(&path, large).unwrap();
    let (address, server) = server(|mut stream| {
        let replies = ["220 hi", "250 hi", "250 ok", "250 ok"];
        converse(&mut stream, &replies);
        stream.get_mut().write_all(b"354 go\r\n").unwrap();
        stream.read_exact(&mut vec![0; 64 << 10]).unwrap();
        let word = b"552 5.3.4 Too large\r\n";
        stream.get_mut().write_all(word).unwrap();
    });
    let sent = run(to(folder.path(), address)
        .args(ANN)
        .args(["--tls", "off"])
        .arg(path));
    sent.expect(69, "S: 552 5.3.4 Too large");
    assert_eq!(sent.errors, "");
    server.join().unwrap();
}

#[test]
fn what_does_not_speak_smtp_is_76_and_cannot_control_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let (address, server) = server(|mut stream| {
        stream.get_mut().write_all(b"\x1b[2JSSH-2.0-x\r\n").unwrap();
    });
    let sent = run(to(folder.path(), address).args(ANN));
    sent.expect(76, "the server does not speak SMTP");
    assert_eq!(sent.output, "S: ?[2JSSH-2.0-x\n");
    server.join().unwrap();
}

#[test]
fn files_that_cannot_be_used_are_65_and_66() {
    let scene = Scene::sandbox();
    scene.send(&["/nowhere/message.eml"]).expect(66, "/nowhere");
    let no_sender = scene.file("no-sender.eml", "To: ann@example.net\n\nx\n");
    scene
        .send(&[&no_sender])
        .expect(65, "the message has no usable From field");
    let missing = ["--user", "ann", "--password-file", "/nowhere/password"];
    run(scene.to(0, &ANN).args(missing)).expect(66, "/nowhere/password");
    let no_pem = scene.file("no.pem", "x");
    let mut command = to(scene.folder.path(), scene.gateway.smtp(0));
    run(command.args(ANN).args(["--ca", &no_pem])).expect(65, "no CA certificates in ");
    assert_eq!(scene.messages(), Vec::<Value>::new());
}

#[test]
fn what_the_command_line_lacks_is_said_before_anything_is_sent() {
    let scene = Scene::sandbox();
    run(scene.to(0, &ANN).args(["--user", "ann"])).expect(2, "--user needs a password");
    let clear = ["--user", "ann", "--tls", "off"];
    run(scene.to(0, &ANN).args(clear)).expect(2, "--user needs TLS");
    run(&mut scene.to(0, &[])).expect(2, "error: the following required arguments");
    run(&mut scene.to(0, &["--to", "ann"])).expect(2, "error: invalid value 'ann'");
    let mut with_settings = command(scene.folder.path());
    with_settings
        .args(["--config", "x.toml", "send"])
        .args(ANN)
        .env("SMTP_PASSWORD", "secret");
    run(&mut with_settings).expect(2, "error: send takes no settings");
}

#[test]
fn the_help_tells_exit_codes_and_no_settings() {
    let folder = tempfile::tempdir().unwrap();
    let help = run(command(folder.path()).args(["send", "--help"]));
    help.expect(0, "  71  ");
    assert!(!help.output.contains("--config"));
}
