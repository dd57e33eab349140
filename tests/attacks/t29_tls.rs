//! T29, the TLS library (CVE-2024-32650, CVE-2019-15846): whatever comes in place of a handshake
//! costs its own connection only, and versions below 1.2 are refused by name.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use crate::support::client::SmtpClient;
use crate::support::gateway::Gateway;
use crate::support::wait_until;

const HANDSHAKE: u8 = 22;
const ALERT: u8 = 21;
const CLOSE_NOTIFY: [u8; 2] = [1, 0];
const FAILURES: &str = "smtp_tls_handshake_failures_total";

fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[kind, 3, 1], &length[..], content].concat()
}

/// With its length in front, of so many octets.
fn sized(octets: usize, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    [&length[length.len() - octets..], content].concat()
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes(), &sized(2, content)[..]].concat()
}

/// A name for the server that may hold anything.
fn server_name(name: &[u8]) -> Vec<u8> {
    let name = [&[0], &sized(2, name)[..]].concat();
    extension(0, &sized(2, &name))
}

/// A `ClientHello` of this version, for a handshake that would go on if the rest were right.
fn client_hello(version: [u8; 2], more: &[u8]) -> Vec<u8> {
    // ECDHE_ECDSA with AES-128-GCM, and with AES-128-CBC for the old versions.
    let suites = sized(2, &[0xc0, 0x2b, 0xc0, 0x09]);
    let extensions = [
        extension(10, &sized(2, &[0, 29, 0, 23])),
        extension(11, &sized(1, &[0])),
        extension(13, &sized(2, &[4, 3, 5, 3])),
        more.to_vec(),
    ];
    let random = [7; 32];
    let hello = [
        &version[..],
        &random,
        &sized(1, &[]),
        &suites,
        &sized(1, &[0]),
        &sized(2, &extensions.concat()),
    ];
    [&[1], &sized(3, &hello.concat())[..]].concat()
}

/// All that the gateway says to these octets, to the end of the connection, which it must bring
/// about once we have no more to say.
fn told(gateway: &Gateway, octets: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(gateway.smtp(1)).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    // The gateway may have left before it has read all of it.
    let _ = stream.write_all(octets);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("it never ends"),
        Ok(_) | Err(_) => answer,
    }
}

/// The description in a fatal alert.
fn alert(answer: &[u8]) -> Option<u8> {
    match answer {
        [ALERT, 3, _, 0, 2, 2, description] => Some(*description),
        _ => None,
    }
}

#[test]
fn versions_below_1_2_are_refused_by_name() {
    const PROTOCOL_VERSION: u8 = 70;
    let gateway = Gateway::sandbox(|_| {});
    for version in [[3, 0], [3, 1], [3, 2]] {
        let hello = record(HANDSHAKE, &client_hello(version, &[]));
        let answer = told(&gateway, &hello);
        assert_eq!(
            alert(&answer),
            Some(PROTOCOL_VERSION),
            "{version:?}: {answer:?}"
        );
    }
    // The control: the same hello of version 1.2 is answered by a ServerHello.
    let answer = told(&gateway, &record(HANDSHAKE, &client_hello([3, 3], &[])));
    assert_eq!((answer[0], answer[5]), (HANDSHAKE, 2), "{answer:?}");
}

#[test]
fn odd_names_of_the_server_are_refused_or_passed_over() {
    let gateway = Gateway::sandbox(|_| {});
    let long = vec![b'a'; 8000];
    for (name, goes_on) in [
        (&b"localhost"[..], true),
        (b"127.0.0.1", true),
        (b"", false),
        (b"a\0b.example", false),
        (b"a\\b.example\\", false),
        (b"../../etc/passwd", false),
        (b"a b.example", false),
        (b"\xff\xfe.example", false),
        (&long, false),
    ] {
        let hello = client_hello([3, 3], &server_name(name));
        let answer = told(&gateway, &record(HANDSHAKE, &hello));
        let shown = String::from_utf8_lossy(&name[..name.len().min(20)]);
        let went_on = answer.first() == Some(&HANDSHAKE);
        assert_eq!(went_on, goes_on, "{shown:?}: {answer:?}");
        assert_eq!(alert(&answer).is_some(), !goes_on, "{shown:?}: {answer:?}");
    }
    still_serves(&gateway);
}

#[test]
fn what_is_no_handshake_costs_its_own_connection_only() {
    let gateway = Gateway::sandbox(|_| {});
    let hello = client_hello([3, 3], &[]);
    let whole = record(HANDSHAKE, &hello);
    let piecemeal: Vec<u8> = hello
        .iter()
        .flat_map(|octet| record(HANDSHAKE, &[*octet]))
        .collect();
    let mut too_long = hello.clone();
    // More than the record has, and more than any may have.
    too_long[1] = 0xff;
    let cases = [
        ("nothing", Vec::new()),
        ("one octet", vec![HANDSHAKE]),
        ("half a hello", whole[..40].to_vec()),
        ("an endless hello", record(HANDSHAKE, &too_long)),
        ("empty records", record(HANDSHAKE, &[]).repeat(10_000)),
        ("close_notify first", record(ALERT, &CLOSE_NOTIFY)),
        (
            "close_notify behind a hello",
            [whole.clone(), record(ALERT, &CLOSE_NOTIFY)].concat(),
        ),
        ("warnings", record(ALERT, &[1, 90]).repeat(10_000)),
        ("cipher changes", record(20, &[1]).repeat(10_000)),
        ("application data", record(23, &[b'x'; 100])),
        ("a heartbeat", record(24, &[1, 0x40, 0])),
        ("two hellos", [whole.clone(), whole.clone()].concat()),
        ("a hello octet by octet, and no more", piecemeal),
        ("a record of 64 KiB", record(HANDSHAKE, &[1; 65_535])),
        ("SSL 2", vec![0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10]),
        ("SMTP", b"EHLO client.example\r\n".repeat(1000)),
        ("zeros", vec![0; 100_000]),
        ("ones", vec![0xff; 100_000]),
    ];
    let count = cases.len();
    for (_, octets) in cases {
        told(&gateway, &octets);
    }
    // Each is over, and none counted as anything else.
    wait_until(|| gateway.metric(FAILURES) >= count as f64);
    wait_until(|| gateway.metric("smtp_active_connections") == 0.0);
    still_serves(&gateway);
}

#[test]
fn an_end_without_close_notify_ends_no_message() {
    let gateway = Gateway::sandbox(|_| {});
    let mut client = gateway.logged_in();
    client.begin(&["ann@example.net"]);
    client.send("Subject: half\r\n\r\nhalf of it\r\n");
    drop(client);
    wait_until(|| gateway.metric("smtp_active_connections") == 0.0);
    assert_eq!(gateway.metric("smtp_emails_received_total"), 0.0);
    still_serves(&gateway);
}

fn still_serves(gateway: &Gateway) {
    let mut client = SmtpClient::connect(gateway.smtp(1));
    client.start_tls(gateway.certificate.client());
    client.expect("220");
    let mut client = gateway.logged_in();
    assert!(
        client
            .submit(&["ann@example.net"], "\r\nx\r\n")
            .starts_with("250")
    );
    assert_eq!(gateway.metric("smtp_task_panics_total"), 0.0);
}
