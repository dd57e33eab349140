//! A peer that goes silent, at every single step and on either side: what it was doing ends within its
//! bound, with the right reply, and everybody else is served meanwhile.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use smtp_gateway::auth::Source;
use smtp_gateway::config::Config;
use smtp_gateway::units::Period;

use crate::support::api::{FakeApi, Play};
use crate::support::cakemail::{Cakemail, Endpoint};
use crate::support::client::SmtpClient;
use crate::support::gateway::Gateway;
use crate::support::wait_until;

const MESSAGE: &str = "Subject: hello\r\n\r\nhello\r\n";
const TIMED_OUT: &str = "smtp_sessions_ended_total{ending=\"timed_out\"}";
const BAD_HANDSHAKES: &str = "smtp_tls_handshake_failures_total";
const ACTIVE: &str = "smtp_active_connections";

fn impatient(config: &mut Config) {
    config.limits.idle_timeout = Period::seconds(3);
    config.limits.data_timeout = Period::seconds(3);
}

/// The start of a `ClientHello`, whose record says that there is more.
const HALF_HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

/// Leads a client to where it falls silent.
type Step = fn(&Gateway) -> SmtpClient;

fn said(mut client: SmtpClient, octets: impl AsRef<[u8]>) -> SmtpClient {
    client.send(octets);
    client
}

fn asked(mut client: SmtpClient, line: &str, reply: &str) -> SmtpClient {
    client.ask(line, reply);
    client
}

fn greeted(gateway: &Gateway) -> SmtpClient {
    let mut client = gateway.connect();
    client.expect("220");
    client
}

fn addressed(gateway: &Gateway) -> SmtpClient {
    let mut client = gateway.logged_in();
    client.address(&["ann@example.net"]);
    client
}

fn chunked(gateway: &Gateway) -> SmtpClient {
    let client = said(addressed(gateway), "BDAT 5\r\nhello");
    let mut client = said(client, "");
    client.expect("250 2.0.0");
    client
}

#[test]
fn a_client_that_goes_silent_is_told_so_and_cut_off_whatever_it_was_doing() {
    let steps: [(&str, Step); 17] = [
        ("after the banner", greeted),
        ("in a command", |gateway| said(greeted(gateway), "EHLO cli")),
        ("in a line break", |gateway| {
            said(greeted(gateway), "NOOP\r")
        }),
        ("after EHLO", |gateway| {
            asked(greeted(gateway), "EHLO client.example", "250")
        }),
        ("after TLS", |gateway| {
            let mut client = asked(greeted(gateway), "STARTTLS", "220");
            client.start_tls(gateway.certificate.client());
            client
        }),
        ("after EHLO under TLS", Gateway::secured),
        ("before the initial response", |gateway| {
            asked(gateway.secured(), "AUTH PLAIN", "334")
        }),
        ("before the user name", |gateway| {
            asked(gateway.secured(), "AUTH LOGIN", "334")
        }),
        ("before the password", |gateway| {
            asked(asked(gateway.secured(), "AUTH LOGIN", "334"), "YW5u", "334")
        }),
        ("after AUTH", Gateway::logged_in),
        ("after MAIL", |gateway| {
            asked(gateway.logged_in(), "MAIL FROM:<app@example.com>", "250")
        }),
        ("after RCPT", addressed),
        ("after DATA", |gateway| {
            asked(addressed(gateway), "DATA", "354")
        }),
        ("in mail data", |gateway| {
            said(
                asked(addressed(gateway), "DATA", "354"),
                "Subject: half\r\n.",
            )
        }),
        ("in a chunk", |gateway| {
            said(addressed(gateway), "BDAT 100\r\nSubject: half\r\n")
        }),
        ("between chunks", chunked),
        ("after the final reply", |gateway| {
            let mut client = gateway.logged_in();
            let reply = client.submit(&["ann@example.net"], MESSAGE);
            assert!(reply.starts_with("250"), "{reply}");
            client
        }),
    ];
    let gateway = Gateway::sandbox(impatient);
    let mut silent = steps.map(|(step, lead)| (step, lead(&gateway)));
    for (step, client) in &mut silent {
        let word = client.line().unwrap_or_else(|| panic!("{step}: no word"));
        assert!(word.starts_with("421 4.4.2"), "{step}: {word}");
        client.expect_end();
    }
    wait_until(|| gateway.metric(TIMED_OUT) == 17.0);
    wait_until(|| gateway.metric(ACTIVE) == 0.0);
    assert_eq!(gateway.metric("smtp_emails_received_total"), 1.0);
}

#[test]
fn a_client_that_goes_silent_in_the_handshake_is_cut_off() {
    let gateway = Gateway::sandbox(impatient);
    let implicit = || SmtpClient::connect(gateway.smtp(1));
    let starttls = || asked(greeted(&gateway), "STARTTLS", "220");
    let mut silent = [
        implicit(),
        said(implicit(), HALF_HELLO),
        starttls(),
        said(starttls(), HALF_HELLO),
    ];
    for client in &mut silent {
        client.expect_end();
    }
    wait_until(|| gateway.metric(TIMED_OUT) == 4.0);
    wait_until(|| gateway.metric(ACTIVE) == 0.0);
    assert_eq!(gateway.metric(BAD_HANDSHAKES), 4.0);
}

#[test]
fn a_client_that_never_reads_while_replies_pile_up_is_cut_off() {
    let gateway = Gateway::sandbox(impatient);
    let mut client = gateway.connect();
    let commands = "HELP\r\n".repeat(10_000);
    // Far more than the system keeps for both of us.
    let refused = (0..10_000).find_map(|_| client.try_send(commands.as_bytes()).err());
    let refused = refused.expect("nobody takes 600 MB without an answer being read");
    assert!(
        matches!(
            refused.kind(),
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
        ),
        "{refused}"
    );
    wait_until(|| gateway.metric(TIMED_OUT) == 1.0);
    wait_until(|| gateway.metric(ACTIVE) == 0.0);
    gateway.connect().expect("220");
}

#[test]
fn a_client_that_never_closes_does_not_hold_the_goodbye_up() {
    let gateway = Gateway::sandbox(|_| {});
    let mut in_clear = greeted(&gateway);
    let mut under_tls = gateway.secured();
    for client in [&mut in_clear, &mut under_tls] {
        client.ask("QUIT", "221");
    }
    wait_until(|| gateway.metric(ACTIVE) == 0.0);
    in_clear.expect_end();
    under_tls.expect_end();
}

#[test]
fn a_peer_that_goes_silent_on_the_side_server_is_cut_off() {
    let gateway = Gateway::sandbox(|_| {});
    let mut silent = ["", "GET /met", "GET /metrics HTTP/1.1\r\nhost: x\r\n"].map(|octets| {
        let mut stream = TcpStream::connect(gateway.http()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        stream.write_all(octets.as_bytes()).unwrap();
        stream
    });
    assert_eq!(gateway.get("/health/live").0, 200);
    for stream in &mut silent {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).expect("the server closes");
    }
}

/// What an API does with a request before it falls silent, once it has read all of it.
const AFTER_THE_REQUEST: [(&str, Play); 8] = [
    ("after the request", Play::Hang),
    ("after 100", Play::Stall("HTTP/1.1 100 Continue\r\n\r\n")),
    ("in the status line", Play::Stall("HTTP/1.1 20")),
    (
        "after the status line",
        Play::Stall("HTTP/1.1 202 Accepted\r\n"),
    ),
    (
        "after the header",
        Play::Stall("HTTP/1.1 202 Accepted\r\ncontent-length: 40\r\n\r\n"),
    ),
    (
        "in the body",
        Play::Stall("HTTP/1.1 202 Accepted\r\ncontent-length: 40\r\n\r\n{\"message_id\":\"m"),
    ),
    (
        "before the end, which only closing tells",
        Play::Stall("HTTP/1.1 202 Accepted\r\n\r\n{\"message_id\":\"m1\"}"),
    ),
    (
        "while its answer drips",
        Play::Endless("HTTP/1.1 202 Accepted\r\nx-blanks:"),
    ),
];

/// Runs the cases side by side, for each waits.
fn at_once<T: Send>(cases: impl IntoIterator<Item = T>, case: impl Fn(T) + Sync) {
    std::thread::scope(|scope| {
        for one in cases {
            scope.spawn(|| case(one));
        }
    });
}

fn soon(config: &mut Config) {
    config.delivery.deadline = Period::seconds(2);
    config.auth.timeout = Period::seconds(2);
    config.delivery.retries = 0;
}

/// Somebody else is served while the client waits for its reply.
fn is_served(gateway: &Gateway) {
    assert_eq!(gateway.get("/health/ready").0, 200);
    let mut other = gateway.secured();
    other.ask("NOOP", "250");
}

#[test]
fn an_api_that_goes_silent_behind_the_request_is_an_unknown_outcome() {
    at_once(AFTER_THE_REQUEST, |(step, play)| {
        let api = FakeApi::play([play]);
        let gateway = Gateway::before(&api.url(), soon);
        let mut client = gateway.logged_in();
        client.begin(&["ann@example.net"]);
        client.send(format!("{MESSAGE}.\r\n"));
        is_served(&gateway);
        let reply = client.reply();
        assert!(
            reply.starts_with("451 4.4.2 No clear answer"),
            "{step}: {reply}"
        );
        assert_eq!(gateway.metric("smtp_unknown_outcomes_total"), 1.0, "{step}");
        let next = client.submit(&["ann@example.net"], MESSAGE);
        assert!(next.starts_with("250"), "{step}: {next}");
    });
}

#[test]
fn an_api_that_stops_reading_has_not_taken_the_message() {
    let api = FakeApi::play([Play::HangBeforeBody]);
    let gateway = Gateway::before(&api.url(), soon);
    let mut client = gateway.logged_in();
    // More than the system keeps for a reader.
    let content = format!("Subject: large\r\n\r\n{}", "0123456789\r\n".repeat(1 << 20));
    let reply = client.submit(&["ann@example.net"], &content);
    assert!(
        reply.starts_with("451 4.4.2 The email API took too long"),
        "{reply}"
    );
    assert_eq!(gateway.metric("smtp_unknown_outcomes_total"), 0.0);
    assert_eq!(
        gateway.metric("smtp_api_errors_total{kind=\"timeout\"}"),
        1.0
    );
    let next = client.submit(&["ann@example.net"], MESSAGE);
    assert!(next.starts_with("250"), "{next}");
}

#[test]
fn a_list_of_senders_that_never_comes_whole_is_no_unknown_outcome() {
    let behind_the_head = [("before the body", Play::HangBeforeBody)];
    at_once(
        AFTER_THE_REQUEST.into_iter().chain(behind_the_head),
        |(step, play)| {
            let api = Cakemail::start().script_for(Endpoint::Senders, [play]);
            let gateway = Gateway::before_cakemail(&api, soon);
            let mut client = gateway.secured();
            let reply = client.authenticate("ann@example.com", "secret");
            assert!(reply.starts_with("235"), "{step}: {reply}");
            client.begin(&["ann@example.net"]);
            client.send(format!("From: app@example.com\r\n{MESSAGE}.\r\n"));
            is_served(&gateway);
            let reply = client.reply();
            assert!(reply.starts_with("451 4."), "{step}: {reply}");
            assert_eq!(gateway.metric("smtp_unknown_outcomes_total"), 0.0, "{step}");
            assert!(api.sent().is_empty(), "{step}");
        },
    );
}

/// A port whose connections the system takes, and nobody else.
fn nobody_at_home() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address.to_string())
}

#[test]
fn an_api_that_goes_silent_in_the_handshake_was_not_reached() {
    for says in [&b""[..], b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03"] {
        let (listener, address) = nobody_at_home();
        let gateway = Gateway::before(&format!("https://{address}"), |config| {
            soon(config);
            config.api.connect_timeout = Period::seconds(1);
            config.api.ca_path = Some(config.tls.cert_path.clone());
        });
        let mut client = gateway.logged_in();
        client.begin(&["ann@example.net"]);
        client.send(format!("{MESSAGE}.\r\n"));
        let (mut silent, _) = listener.accept().unwrap();
        silent.write_all(says).unwrap();
        is_served(&gateway);
        client.expect("451 4.4.1");
        assert_eq!(
            gateway.metric("smtp_api_errors_total{kind=\"connect\"}"),
            1.0
        );
        assert_eq!(gateway.metric("smtp_unknown_outcomes_total"), 0.0);
    }
}

#[test]
fn an_authentication_api_that_goes_silent_at_any_step_does_not_hold_a_login_up() {
    const UNAVAILABLE: &str = "smtp_auth_lookups_total{outcome=\"unavailable\"}";
    let login = "AUTH PLAIN AGFubgBzZWNyZXQ=";
    let before = |url: String, change: fn(&mut Config)| {
        Gateway::sandbox(move |config| {
            soon(config);
            config.auth.source = Source::KeyApi;
            config.auth.url = url;
            config.auth.accounts = Vec::new();
            change(config);
        })
    };
    let fails = |gateway: &Gateway, step: &str| {
        let mut client = gateway.secured();
        client.send(format!("{login}\r\n"));
        is_served(gateway);
        let reply = client.reply();
        assert!(reply.starts_with("454 4.7.0"), "{step}: {reply}");
        assert_eq!(gateway.metric(UNAVAILABLE), 1.0, "{step}");
        client.ask("NOOP", "250");
    };
    let behind_the_head = [("before the body", Play::HangBeforeBody)];
    at_once(
        AFTER_THE_REQUEST.into_iter().chain(behind_the_head),
        |(step, play)| {
            let api = FakeApi::play([play]);
            fails(&before(api.url(), |_| {}), step);
        },
    );
    let (_listener, address) = nobody_at_home();
    fails(&before(format!("http://{address}"), |_| {}), "at once");
    let handshake = before(format!("https://{address}"), |config| {
        config.api.ca_path = Some(config.tls.cert_path.clone());
    });
    fails(&handshake, "in the handshake");
}
