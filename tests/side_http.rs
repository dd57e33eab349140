//! Health and metrics: what a kubelet and a Prometheus see.

use std::io::{Read as _, Write as _};

use crate::support::api::FakeApi;
use crate::support::gateway::Gateway;
use crate::support::wait_until;

#[test]
fn live_and_ready_say_so() {
    let gateway = Gateway::sandbox(|_| {});
    assert_eq!(gateway.get("/health/live"), (200, "live\n".to_owned()));
    assert_eq!(gateway.get("/health/ready"), (200, "ready\n".to_owned()));
    assert_eq!(gateway.get("/health/other").0, 404);
}

#[test]
fn a_draining_gateway_is_live_but_not_ready_and_still_serves_during_the_pause() {
    let gateway = Gateway::sandbox(|config| {
        config.drain.pause = smtp_gateway::units::Period::seconds(6);
    });
    gateway.begin_drain();
    wait_until(|| gateway.get("/health/ready").0 == 503);
    assert_eq!(gateway.get("/health/live").0, 200);
    let reply = gateway
        .logged_in()
        .submit(&["ann@example.net"], "\r\nx\r\n");
    assert!(reply.starts_with("250"), "{reply}");
}

/// The names that dashboards and alerts are built on.
#[test]
fn every_promised_metric_is_there_from_the_start_and_moves() {
    let api = FakeApi::play([crate::support::api::Play::answer(503, "")]);
    let gateway = Gateway::before(&api.url(), |config| config.delivery.retries = 0);
    let moving = [
        "smtp_connections_total",
        "smtp_emails_received_total",
        "smtp_emails_forwarded_total",
        "smtp_emails_answered_total{reply=\"accepted\"}",
        "smtp_emails_answered_total{reply=\"deferred\"}",
        "smtp_auth_failures_total{reason=\"credentials\"}",
        "smtp_api_errors_total{kind=\"server_error\"}",
        "smtp_processing_duration_seconds_count",
        "smtp_api_latency_seconds_count",
        "smtp_connection_duration_seconds_count",
        "smtp_active_connections",
    ];
    for name in moving {
        assert_eq!(gateway.metric(name), 0.0, "{name}");
    }
    assert_eq!(gateway.metric("smtp_api_key_cache_size"), 0.0);

    let mut client = gateway.secured();
    client.ask("AUTH PLAIN AGFubgB3cm9uZw==", "535 5.7.8");
    client.ask("AUTH PLAIN AGFubgBzZWNyZXQ=", "235");
    client.submit(&["ann@example.net"], "\r\nx\r\n");
    client.submit(&["ann@example.net"], "\r\nx\r\n");
    assert_eq!(gateway.metric("smtp_active_connections"), 1.0);
    client.ask("QUIT", "221");
    client.expect_end();
    drop(client);
    wait_until(|| gateway.metric("smtp_active_connections") == 0.0);
    for (name, value) in moving
        .iter()
        .zip([1.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 1.0, 0.0])
    {
        assert_eq!(gateway.metric(name), value, "{name}");
    }
}

#[test]
fn no_label_carries_an_address_a_domain_or_an_account() {
    let gateway = Gateway::sandbox(|_| {});
    gateway
        .logged_in()
        .submit(&["canary@canary.example"], "\r\nx\r\n");
    let (_, text) = gateway.get("/metrics");
    for word in ["canary", "example.com", "\"ann\"", "127.0.0.1"] {
        assert!(!text.contains(word), "{word} is in {text}");
    }
}

#[test]
fn peers_that_say_nothing_do_not_keep_a_probe_out() {
    let gateway = Gateway::sandbox(|_| {});
    let connect = || std::net::TcpStream::connect(gateway.http()).unwrap();
    let mut silent: Vec<_> = (0..64).map(|_| connect()).collect();
    assert_eq!(gateway.get("/health/live").0, 200);
    // The first has made room, and only that one.
    let mut octets = Vec::new();
    assert_eq!(silent[0].read_to_end(&mut octets).unwrap_or(0), 0);
    for peer in &mut silent[1..] {
        let request = "GET /health/live HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
        peer.write_all(request.as_bytes()).unwrap();
        octets.clear();
        peer.read_to_end(&mut octets).unwrap();
        assert!(octets.starts_with(b"HTTP/1.1 200"));
    }
}
