//! Health and metrics: what a kubelet and a Prometheus see.

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

#[test]
fn an_idle_session_gets_421_when_the_drain_begins_and_the_port_is_closed() {
    let mut gateway = Gateway::sandbox(|_| {});
    let mut idle = gateway.secured();
    gateway.begin_drain();
    idle.expect("421 4.3.2");
    idle.expect_end();
    let address = gateway.smtp(0);
    gateway.end();
    assert!(std::net::TcpStream::connect(address).is_err());
}

#[test]
fn mail_data_that_never_ends_does_not_hold_the_drain_up_for_ever() {
    let mut gateway = Gateway::sandbox(|config| {
        config.drain.deadline = smtp_gateway::units::Period::seconds(1);
    });
    let mut stuck = gateway.logged_in();
    stuck.begin(&["ann@example.net"]);
    stuck.send("Subject: half\r\n");
    gateway.end();
    stuck.expect_end();
}

#[test]
fn a_message_in_chunks_may_come_to_its_end_in_the_drain() {
    let mut gateway = Gateway::sandbox(|config| {
        config.delivery.deadline = smtp_gateway::units::Period::seconds(5);
        config.drain.deadline = smtp_gateway::units::Period::seconds(25);
    });
    let mut idle = gateway.secured();
    let mut sending = gateway.logged_in();
    sending.address(&["ann@example.net"]);
    sending.send("BDAT 15\r\nSubject: half\r\n");
    sending.expect("250 2.0.0 15 octets received");
    gateway.begin_drain();
    idle.expect("421 4.3.2");
    sending.ask("NOOP", "250 2.0.0");
    sending.send("BDAT 5 LAST\r\n\r\nx\r\n");
    sending.expect("250 2.0.0 Ok: queued as");
    sending.expect("421 4.3.2");
    sending.expect_end();
    gateway.end();
}

#[test]
fn a_message_whose_next_chunk_never_comes_is_told_that_the_drain_is_over() {
    let mut gateway = Gateway::sandbox(|config| {
        config.drain.deadline = smtp_gateway::units::Period::seconds(1);
    });
    let mut stuck = gateway.logged_in();
    stuck.address(&["ann@example.net"]);
    stuck.send("BDAT 15\r\nSubject: half\r\n");
    stuck.expect("250 2.0.0 15 octets received");
    gateway.begin_drain();
    stuck.expect("421 4.3.2");
    stuck.expect_end();
    gateway.end();
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
        .zip([1.0, 2.0, 1.0, 1.0, 1.0, 2.0, 2.0, 1.0, 0.0])
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
