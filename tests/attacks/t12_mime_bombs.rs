//! T12, MIME bombs (CVE-2026-26312, CVE-2024-39929): the real process under a limit of 64 MiB of
//! memory that the system enforces. Each bomb has a reply, and the next message still passes.

use std::process::Command;

use smtp_gateway::smtp::framing::stuff;
use smtp_gateway::tls::insecure;

use crate::support::client::SmtpClient;
use crate::support::process::{Process, command_of};

/// `ulimit -d` bounds all private writable memory of the process, thread stacks included; an
/// allocation beyond it fails, and with it the process.
fn bounded() -> Command {
    let mut shell = command_of("/bin/sh", std::path::Path::new("/tmp"));
    shell.args([
        "-c",
        "ulimit -d 65536 && exec \"$0\" sandbox",
        env!("CARGO_BIN_EXE_smtp-gateway"),
    ]);
    shell
        .env(
            "GATEWAY__SMTP__LISTENERS",
            "[{host = \"127.0.0.1\", port = 0}]",
        )
        .env("HTTP_PORT", "0")
        .env("GATEWAY__SANDBOX__MEMORY", "1KiB")
        // The provider that carries whatever a bomb is made of.
        .env("GATEWAY__API__PROVIDER", "json")
        // Stacks count too, and each core would bring one.
        .env("TOKIO_WORKER_THREADS", "2");
    shell
}

fn replies_to(bombs: impl IntoIterator<Item = (&'static str, Vec<u8>, &'static str)>) {
    let mut process = Process::start(&mut bounded());
    let address = process.listening("SMTP");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", process.id())).unwrap();
    let limit = limits
        .lines()
        .find(|line| line.starts_with("Max data size"))
        .unwrap();
    assert!(
        limit.contains(" 67108864 "),
        "the limit is in force: {limit}"
    );
    let mut client = SmtpClient::logged_in(address, insecure::client().unwrap());
    for (name, content, start) in bombs {
        assert!(content.len() < 25 << 20, "{name} is too large to get in");
        client.begin(&["ann@example.net"]);
        client.send(stuff(&content));
        client.send(".\r\n");
        let reply = client.reply();
        assert!(reply.starts_with(start), "{name}: {reply}");
        assert!(
            client
                .submit(&["ann@example.net"], "\r\nx\r\n")
                .starts_with("250"),
            "after {name}"
        );
    }
}

fn nest(depth: usize, layer: impl Fn(usize) -> String) -> Vec<u8> {
    let mut content: String = (0..depth).map(layer).collect();
    content.push_str("Subject: innermost\r\n\r\nx\r\n");
    content.into_bytes()
}

fn multipart(boundary: usize) -> String {
    format!("Content-Type: multipart/mixed; boundary=b{boundary}\r\n\r\n--b{boundary}\r\n")
}

#[test]
fn a_nest_of_messages_or_multiparts_takes_neither_stack_nor_memory() {
    let attached = |_| "Content-Type: message/rfc822\r\n\r\n".to_owned();
    replies_to([
        // An attached message is opaque: it goes out as it came in.
        ("50 000 messages in messages", nest(50_000, attached), "250"),
        (
            "10 000 multiparts in multiparts",
            nest(10_000, multipart),
            "554 5.6.0",
        ),
        (
            "300 000 multiparts in multiparts",
            nest(300_000, multipart),
            "554 5.6.0",
        ),
        (
            "multiparts and messages in turn",
            nest(50_000, |layer| match layer % 2 {
                0 => multipart(layer),
                _ => attached(layer),
            }),
            "250",
        ),
        (
            "the same boundary all the way down",
            nest(50_000, |_| multipart(1)),
            "554 5.6.0",
        ),
    ]);
}

#[test]
fn a_million_parts_or_fields_have_a_reply() {
    let head = "Content-Type: multipart/mixed; boundary=b\r\n\r\n";
    let parts =
        |count: usize| format!("{head}{}--b--\r\n", "--b\r\n\r\nx\r\n".repeat(count)).into_bytes();
    let fields = |count: usize| format!("{}\r\nx\r\n", "X-A: b\r\n".repeat(count)).into_bytes();
    replies_to([
        ("10^6 parts", parts(1_000_000), "554 5.6.0"),
        ("as many parts as there may be", parts(900), "250"),
        ("10^6 header fields", fields(1_000_000), "554 5.6.0"),
        ("as many fields as there may be", fields(100_000), "250"),
    ]);
}

#[test]
fn long_and_broken_header_fields_have_a_reply() {
    let line = |length: usize| format!("Subject: {}\r\n\r\nx\r\n", "x".repeat(length)).into_bytes();
    let folds = format!("Subject: a{}\r\n\r\nx\r\n", "\r\n b".repeat(200_000)).into_bytes();
    let pieces: String = (0..20_000)
        .rev()
        .map(|n| format!(";\r\n filename*{n}*=%41"))
        .collect();
    let rfc2231 = format!("Content-Disposition: attachment{pieces}\r\n\r\nx\r\n").into_bytes();
    let addresses = format!("To: {}\r\n\r\nx\r\n", "a@b.example, ".repeat(60_000)).into_bytes();
    let comments = format!("To: {}a@b.example\r\n\r\nx\r\n", "(".repeat(900_000)).into_bytes();
    let words = format!("Subject: {}\r\n\r\nx\r\n", "=?utf-8?q?a?= ".repeat(60_000)).into_bytes();
    let boundaries = format!(
        "Content-Type: multipart/mixed; boundary=\"b\"; boundary=\"b b\"\r\n\r\n{}",
        "--b\r\n--b b\r\n--b--\r\n".repeat(100_000)
    )
    .into_bytes();
    replies_to([
        ("a header line of 10 MB", line(10_000_000), "554 5.6.0"),
        ("a header line of 1 MB", line(1_000_000), "250"),
        ("200 000 folds", folds, "250"),
        ("20 000 pieces of a file name, backwards", rfc2231, "250"),
        ("60 000 addresses", addresses, "250"),
        ("900 000 open comments", comments, "250"),
        ("60 000 encoded words", words, "250"),
        ("boundaries that end each other", boundaries, "250"),
    ]);
}
