//! SIGTERM to the real binary, in every phase of a session: what the client sees, what is at the API in
//! the end, and how the process exits.
//!
//! Between messages a client is told 421 4.3.2. A message in flight gets its final reply. One that never
//! comes whole gets none: whoever sends it keeps it.

use std::process::Command;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::support::api::{FakeApi, Play};
use crate::support::cakemail::{Cakemail, Endpoint};
use crate::support::client::SmtpClient;
use crate::support::http::request;
use crate::support::process::{Process, Scene, serve};
use crate::support::wait_until;

/// A gateway in a process of its own, before an API.
struct Drain {
    scene: Scene,
    process: Process,
    starttls: std::net::SocketAddr,
    implicit: std::net::SocketAddr,
    http: std::net::SocketAddr,
}

impl Drain {
    fn of(scene: Scene, change: impl FnOnce(&mut Command)) -> Self {
        let mut command = serve(&scene.folder);
        command.env("GATEWAY__DRAIN__PAUSE", "0");
        change(&mut command);
        let mut process = Process::start(&mut command);
        Self {
            starttls: process.listening("SMTP"),
            implicit: process.listening("SMTP"),
            http: process.listening("HTTP"),
            process,
            scene,
        }
    }

    fn new() -> Self {
        Self::of(Scene::new(), |_| {})
    }

    /// What does not come in six seconds has no time left.
    fn short() -> Self {
        Self::of(Scene::new(), |command| {
            command
                .env("GATEWAY__DELIVERY__DEADLINE", "2s")
                .env("GATEWAY__DRAIN__DEADLINE", "8s");
        })
    }

    fn connect(&self) -> SmtpClient {
        SmtpClient::connect(self.starttls)
    }

    fn greeted(&self) -> SmtpClient {
        let mut client = self.connect();
        client.expect("220");
        client
    }

    fn secured(&self) -> SmtpClient {
        SmtpClient::secured(self.starttls, self.scene.certificate.client())
    }

    fn logged_in(&self) -> SmtpClient {
        SmtpClient::logged_in(self.starttls, self.scene.certificate.client())
    }

    fn addressed(&self) -> SmtpClient {
        let mut client = self.logged_in();
        client.address(&["ann@example.net"]);
        client
    }

    /// The connections that the gateway has taken.
    fn active(&self) -> String {
        let (_, metrics) = request(self.http, "GET", "/metrics");
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix("smtp_active_connections "));
        line.expect("there is such a metric").to_owned()
    }

    /// SIGTERM. Afterwards the drain has begun.
    fn begin(&mut self) {
        self.process.signal("TERM");
        self.process.wait_for("draining: not ready any more");
    }

    /// The process ends well, in time, and these subjects are at the API, in the order of their names.
    fn ends_with(self, subjects: &[&str]) {
        let (status, log) = self.process.end();
        assert_eq!(status.code(), Some(0), "{log:#?}");
        let log = log.join("\n");
        assert!(log.contains("\"drained\""), "{log}");
        assert!(!log.contains("drain.deadline passed"), "{log}");
        assert_eq!(arrived(&self.scene.api), subjects);
    }
}

fn arrived(api: &FakeApi) -> Vec<String> {
    let mut subjects: Vec<_> = api
        .recorded()
        .iter()
        .map(|request| request.json()["subject"].as_str().unwrap().to_owned())
        .collect();
    subjects.sort();
    subjects
}

fn message(subject: &str) -> String {
    format!("Subject: {subject}\r\n\r\nx\r\n")
}

fn is_told_to_connect_again(phase: &str, client: &mut SmtpClient) {
    let word = client.line().unwrap_or_else(|| panic!("{phase}: no word"));
    assert!(word.starts_with("421 4.3.2"), "{phase}: {word}");
    client.expect_end();
}

#[test]
fn between_messages_every_client_is_told_to_connect_again() {
    let mut drain = Drain::new();
    let mut unread = drain.connect();
    let mut tls = SmtpClient::connect(drain.implicit);
    tls.start_tls(drain.scene.certificate.client());
    tls.expect("220");
    let mut half_a_command = drain.greeted();
    half_a_command.send("EHLO cli");
    let mut hello = drain.greeted();
    hello.ask("EHLO client.example", "250");
    let mut half_a_login = drain.secured();
    half_a_login.ask("AUTH LOGIN", "334");
    half_a_login.ask("YW5u", "334");
    let mut mail = drain.logged_in();
    mail.ask("MAIL FROM:<app@example.com>", "250");
    let mut behind_a_message = drain.logged_in();
    let reply = behind_a_message.submit(&["ann@example.net"], &message("before"));
    assert!(reply.starts_with("250"), "{reply}");
    let mut clients = [
        ("after the banner", drain.greeted()),
        ("under TLS from the start", tls),
        ("in a command", half_a_command),
        ("after EHLO", hello),
        ("after EHLO under TLS", drain.secured()),
        ("in AUTH", half_a_login),
        ("after AUTH", drain.logged_in()),
        ("after MAIL", mail),
        ("after RCPT", drain.addressed()),
        ("between two messages", behind_a_message),
    ];
    wait_until(|| drain.active() == "11");
    drain.begin();
    for (phase, client) in &mut clients {
        is_told_to_connect_again(phase, client);
    }
    unread.expect("220");
    is_told_to_connect_again("before the banner is read", &mut unread);
    drain.ends_with(&["before"]);
}

#[test]
fn in_the_proxy_header_the_client_is_told_so_where_there_is_no_tls_yet() {
    let mut drain = Drain::of(Scene::new(), |command| {
        command.env(
            "GATEWAY__SMTP__LISTENERS",
            r#"[{host = "127.0.0.1", port = 0, proxy_networks = ["127.0.0.1/32"]},
                {host = "127.0.0.1", port = 0, proxy_networks = ["127.0.0.1/32"], tls = "implicit"}]"#,
        );
    });
    let mut silent = drain.connect();
    let mut half = drain.connect();
    half.send("PROXY TCP4 192.0.2.1");
    let mut implicit = SmtpClient::connect(drain.implicit);
    wait_until(|| drain.active() == "3");
    drain.begin();
    is_told_to_connect_again("before the header", &mut silent);
    is_told_to_connect_again("in the header", &mut half);
    implicit.expect_end();
    drain.ends_with(&[]);
}

/// Clients behind 354, in mail data, in a chunk, and between two chunks.
fn in_messages(drain: &Drain) -> [SmtpClient; 4] {
    let mut asked = drain.addressed();
    asked.ask("DATA", "354");
    let mut half = drain.addressed();
    half.ask("DATA", "354");
    half.send("Subject: half\r\n");
    let mut chunk = drain.addressed();
    chunk.send("BDAT 16\r\nSubject: ");
    let mut chunks = drain.addressed();
    chunks.send("BDAT 17\r\nSubject: chunks\r\n");
    chunks.expect("250 2.0.0 17 octets received");
    [asked, half, chunk, chunks]
}

#[test]
fn a_message_that_has_begun_may_come_to_its_end() {
    let mut drain = Drain::new();
    let [mut asked, mut half, mut chunk, mut chunks] = in_messages(&drain);
    drain.begin();
    asked.send(format!("{}.\r\n", message("asked")));
    half.send("\r\nx\r\n.\r\n");
    chunk.send("chunk\r\nBDAT 5 LAST\r\n\r\nx\r\n");
    chunk.expect("250 2.0.0 16 octets received");
    chunks.ask("NOOP", "250 2.0.0");
    chunks.send("BDAT 5 LAST\r\n\r\nx\r\n");
    for (phase, client) in [
        ("after 354", &mut asked),
        ("in mail data", &mut half),
        ("in a chunk", &mut chunk),
        ("between chunks", &mut chunks),
    ] {
        client.expect("250 2.0.0 Ok: queued as");
        is_told_to_connect_again(phase, client);
    }
    drain.ends_with(&["asked", "chunk", "chunks", "half"]);
}

#[test]
fn a_message_that_never_comes_whole_gets_no_reply_and_reaches_nobody() {
    let mut drain = Drain::short();
    let [mut asked, mut half, mut chunk, mut chunks] = in_messages(&drain);
    drain.begin();
    asked.expect_end();
    half.expect_end();
    chunk.expect_end();
    // The next chunk is a command, which has a reply.
    is_told_to_connect_again("between chunks", &mut chunks);
    drain.ends_with(&[]);
}

#[test]
fn a_handshake_may_come_to_its_end_and_one_that_does_not_is_cut_off() {
    let mut drain = Drain::short();
    let mut late = drain.greeted();
    late.ask("STARTTLS", "220");
    let mut silent = drain.greeted();
    silent.ask("STARTTLS", "220");
    let mut half = SmtpClient::connect(drain.implicit);
    half.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
    wait_until(|| drain.active() == "3");
    drain.begin();
    late.start_tls(drain.scene.certificate.client());
    is_told_to_connect_again("behind the handshake", &mut late);
    silent.expect_end();
    half.expect_end();
    drain.ends_with(&[]);
}

#[test]
fn a_call_that_runs_and_one_that_waits_for_its_next_try_come_to_their_end() {
    let held = Arc::new(Semaphore::new(0));
    let later = Play::Answer(503, "retry-after: 2\r\n", String::new());
    let api = FakeApi::play([Play::Held(Arc::clone(&held)), later]);
    let mut drain = Drain::of(Scene::before(api), |_| {});
    let mut running = drain.logged_in();
    running.begin(&["ann@example.net"]);
    running.send(format!("{}.\r\n", message("running")));
    drain.scene.api.wait_for(1);
    let mut backing_off = drain.logged_in();
    backing_off.begin(&["ann@example.net"]);
    backing_off.send(format!("{}.\r\n", message("backing off")));
    drain.scene.api.wait_for(2);
    drain.begin();
    held.add_permits(1);
    for (phase, client) in [("running", &mut running), ("backing off", &mut backing_off)] {
        client.expect("250 2.0.0 Ok: queued as");
        is_told_to_connect_again(phase, client);
    }
    // The first try of this one was answered 503: not taken.
    drain.ends_with(&["backing off", "backing off", "running"]);
}

#[test]
fn a_call_without_an_answer_ends_with_its_deadline() {
    let scene = Scene::before(FakeApi::play([Play::Hang]));
    let mut drain = Drain::of(scene, |command| {
        command
            .env("GATEWAY__DELIVERY__DEADLINE", "2s")
            .env("GATEWAY__DRAIN__DEADLINE", "4s");
    });
    let mut client = drain.logged_in();
    client.begin(&["ann@example.net"]);
    client.send(format!("{}.\r\n", message("unknown")));
    drain.scene.api.wait_for(1);
    drain.begin();
    client.expect("451 4.4.2 No clear answer");
    is_told_to_connect_again("behind a message", &mut client);
    drain.ends_with(&["unknown"]);
}

#[test]
fn a_client_that_leaves_while_its_message_is_on_its_way_does_not_hold_the_drain_up() {
    let held = Arc::new(Semaphore::new(0));
    let api = FakeApi::play([Play::Held(Arc::clone(&held))]);
    let mut drain = Drain::of(Scene::before(api), |_| {});
    let mut client = drain.logged_in();
    client.begin(&["ann@example.net"]);
    client.send(format!("{}.\r\n", message("left")));
    drain.scene.api.wait_for(1);
    drain.begin();
    drop(client);
    held.add_permits(1);
    drain.ends_with(&["left"]);
}

#[test]
fn a_login_that_is_being_looked_up_comes_to_its_end() {
    let held = Arc::new(Semaphore::new(0));
    let logins = Cakemail::start();
    logins.always(Endpoint::Token, Play::Held(Arc::clone(&held)));
    let mut drain = Drain::of(Scene::new(), |command| {
        command
            .env("GATEWAY__AUTH__SOURCE", "key-api")
            .env("GATEWAY__AUTH__ACCOUNTS", "[]")
            .env("CAKEMAIL_AUTH_URL", logins.url());
    });
    let mut client = drain.secured();
    // ann@example.com and secret
    client.send("AUTH PLAIN AGFubkBleGFtcGxlLmNvbQBzZWNyZXQ=\r\n");
    wait_until(|| logins.calls(Endpoint::Token) == 1);
    drain.begin();
    held.add_permits(1);
    client.expect("235 2.7.0");
    is_told_to_connect_again("behind AUTH", &mut client);
    drain.ends_with(&[]);
}

#[test]
fn before_the_listeners_close_old_and_new_clients_are_served() {
    let mut drain = Drain::of(Scene::new(), |command| {
        command.env("GATEWAY__DRAIN__PAUSE", "8s");
    });
    let mut old = drain.logged_in();
    drain.begin();
    assert_eq!(request(drain.http, "GET", "/health/ready").0, 503);
    assert_eq!(request(drain.http, "GET", "/health/live").0, 200);
    let mut new = drain.logged_in();
    for (subject, client) in [("old", &mut old), ("new", &mut new)] {
        let reply = client.submit(&["ann@example.net"], &message(subject));
        assert!(reply.starts_with("250"), "{subject}: {reply}");
    }
    is_told_to_connect_again("old", &mut old);
    is_told_to_connect_again("new", &mut new);
    let address = drain.starttls;
    drain.ends_with(&["new", "old"]);
    assert!(std::net::TcpStream::connect(address).is_err());
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let held = Arc::new(Semaphore::new(0));
    let api = FakeApi::play([Play::Held(Arc::clone(&held))]);
    for (first, second) in [("TERM", "TERM"), ("TERM", "INT"), ("INT", "TERM")] {
        let mut drain = Drain::of(Scene::new(), |command| {
            command
                .env("CAKEMAIL_API_URL", api.url())
                .env("GATEWAY__DRAIN__PAUSE", "1h");
        });
        let mut client = drain.logged_in();
        client.begin(&["ann@example.net"]);
        client.send(format!("{}.\r\n", message("running")));
        drain.process.signal(first);
        drain.process.wait_for("draining: not ready any more");
        drain.process.signal(second);
        let (status, log) = drain.process.end();
        assert_eq!(status.code(), Some(1), "{log:#?}");
        assert!(!log.join("\n").contains("\"drained\""), "{log:#?}");
    }
}
