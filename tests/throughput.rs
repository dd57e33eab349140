//! How many messages a second, at which cost: the release binary between real TLS clients and a real
//! HTTP API, all on this machine. `make bench` prints it; it is no test and fails for no number.
//!
//! `SIZE_KIB` (10), `CONNECTIONS` (16) and `MESSAGES` a connection (1000) can be set.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement stops at what it does not expect, prints what it measures, and is set \
              by variables"
)]
#![expect(
    dead_code,
    unused_imports,
    reason = "this target uses a part of the support only"
)]

mod support;

use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use crate::support::api::FakeApi;
use crate::support::client::SmtpClient;
use crate::support::gateway::Certificate;
use crate::support::http::request;
use crate::support::process::{Process, command};

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// Text and HTML, each half of the size.
fn message(octets: usize) -> String {
    let half = |line: &str| line.repeat(octets / 2 / line.len());
    format!(
        "From: App <app@example.com>\r\nTo: Ann <ann@example.net>\r\nSubject: Load\r\n\
         MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n\
         --b\r\n\r\n{}--b\r\nContent-Type: text/html\r\n\r\n{}--b--\r\n.\r\n",
        half("A line of text, as long as lines of text are.\r\n"),
        half("<p>A line of HTML, as long as lines of HTML are.</p>\r\n"),
    )
}

#[test]
fn throughput() {
    let size = setting("SIZE_KIB", 10);
    let (connections, messages) = (setting("CONNECTIONS", 16), setting("MESSAGES", 1000));
    let (api, certificate) = (FakeApi::start(), Certificate::new());
    let folder = tempfile::tempdir().unwrap();
    let settings = format!(
        "[smtp]\nlisteners = [{{ host = \"127.0.0.1\", port = 0 }}]\n\
         [http]\nhost = \"127.0.0.1\"\nport = 0\n\
         [tls]\ncert_path = {:?}\nkey_path = {:?}\n\
         [auth]\nsource = \"static\"\naccounts = [{{ name = \"ann\", password = \"secret\" }}]\n\
         [api]\nprovider = \"json\"\nurl = \"{}\"\n",
        certificate.chain(),
        certificate.key(),
        api.url()
    );
    std::fs::write(folder.path().join("gateway.toml"), settings).unwrap();
    let mut process = Process::start(command(folder.path()).args(["-c", "gateway.toml"]));
    let (smtp, http) = (process.listening("SMTP"), process.listening("HTTP"));
    let metric = |name: &str| -> f64 {
        let (_, text) = request(http, "GET", "/metrics");
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap().parse().unwrap()
    };

    let content = message(size * 1024);
    let (started, cpu) = (Instant::now(), metric("process_cpu_seconds_total"));
    let slowest = thread::scope(|scope| {
        let clients: Vec<_> = (0..connections)
            .map(|_| {
                scope.spawn(|| {
                    send(
                        SmtpClient::logged_in(smtp, certificate.client()),
                        messages,
                        &content,
                    )
                })
            })
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .max()
            .unwrap()
    });
    let elapsed = started.elapsed().as_secs_f64();
    let cpu = metric("process_cpu_seconds_total") - cpu;

    let sent = connections * messages;
    assert_eq!(
        api.recorded().len(),
        sent,
        "each message was forwarded once"
    );
    println!(
        "{sent} messages of {size} KiB over {connections} connections: {:.0} a second, the slowest in \
         {slowest:.1?}; the gateway used {:.0} µs of CPU a message and has {:.0} MiB",
        sent as f64 / elapsed,
        cpu * 1e6 / sent as f64,
        metric("process_resident_memory_bytes") / f64::from(1 << 20),
    );
}

/// Sends the message again and again; the longest that one took.
fn send(mut client: SmtpClient, messages: usize, content: &str) -> Duration {
    let mut slowest = Duration::ZERO;
    for _ in 0..messages {
        let started = Instant::now();
        client.send("MAIL FROM:<app@example.com>\r\nRCPT TO:<ann@example.net>\r\nDATA\r\n");
        for reply in ["250 2.1.0", "250 2.1.5", "354"] {
            client.expect(reply);
        }
        client.send(content);
        client.expect("250 2.0.0");
        slowest = slowest.max(started.elapsed());
    }
    client.ask("QUIT", "221");
    slowest
}
