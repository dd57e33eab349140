//! T4, STARTTLS injection (CVE-2011-0411, NO STARTTLS): what was said in clear counts for nothing
//! under TLS.

use crate::support::gateway::Gateway;
use crate::support::wait_until;

#[test]
fn octets_behind_starttls_end_the_session() {
    for behind in ["MAIL FROM:<evil@example.com>\r\n", "\r\n", "x"] {
        let gateway = Gateway::sandbox(|_| {});
        let mut client = gateway.connect();
        client.expect("220");
        client.ask("EHLO client.example", "250");
        client.send(format!("STARTTLS\r\n{behind}"));
        client.expect("421 4.5.0");
        client.expect_end();
        let ended = "smtp_sessions_ended_total{ending=\"early_octets\"}";
        wait_until(|| gateway.metric(ended) > 0.0);
    }
}

#[test]
fn a_greeting_in_clear_does_not_count_under_tls() {
    let gateway = Gateway::sandbox(|_| {});
    let mut client = gateway.connect();
    client.expect("220");
    client.ask("EHLO evil.example", "250");
    client.ask("STARTTLS", "220");
    client.start_tls(gateway.certificate.client());
    client.ask("AUTH PLAIN AGFubgBzZWNyZXQ=", "503 5.5.1");
    client.ask("EHLO client.example", "250");
    client.ask("AUTH PLAIN AGFubgBzZWNyZXQ=", "235");
    client.submit(&["ann@example.net"], "\r\nx\r\n");
    let (_, list) = gateway.get("/api/messages");
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    let path = format!(
        "/api/messages/{}",
        list["messages"][0]["id"].as_str().unwrap()
    );
    let message = gateway.get(&path).1;
    assert!(message.contains("client.example") && !message.contains("evil.example"));
}

#[test]
fn a_second_starttls_is_refused() {
    let gateway = Gateway::sandbox(|_| {});
    let mut client = gateway.secured();
    client.ask("STARTTLS", "503 5.5.1");
    client.ask("NOOP", "250");
}
