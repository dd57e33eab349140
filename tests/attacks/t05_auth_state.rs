//! T5, authentication state: it belongs to one connection, needs TLS, and survives RSET only.

use crate::support::gateway::Gateway;

#[test]
fn auth_in_clear_is_neither_offered_nor_taken() {
    let gateway = Gateway::sandbox(|_| {});
    let mut client = gateway.connect();
    client.expect("220");
    assert!(!client.ask("EHLO client.example", "250").contains("AUTH"));
    for line in ["AUTH PLAIN AGFubgBzZWNyZXQ=", "AUTH PLAIN", "AUTH LOGIN"] {
        client.ask(line, "538 5.7.11");
    }
    client.ask("MAIL FROM:<app@example.com>", "530 5.7.0");
}

#[test]
fn one_login_among_a_hundred_connections_lets_no_other_send() {
    let gateway = Gateway::sandbox(|_| {});
    let mut clients: Vec<_> = (0..99).map(|_| gateway.secured()).collect();
    let mut one = gateway.logged_in();
    one.ask("MAIL FROM:<app@example.com>", "250 2.1.0");
    for client in &mut clients {
        client.ask("MAIL FROM:<app@example.com>", "530 5.7.0");
    }
    // A connection that comes after it, from the same address, starts from nothing too.
    one.ask("QUIT", "221");
    gateway
        .secured()
        .ask("MAIL FROM:<app@example.com>", "530 5.7.0");
}

#[test]
fn a_login_survives_rset_and_ehlo_and_not_a_failed_second_one() {
    let gateway = Gateway::sandbox(|_| {});
    let mut client = gateway.logged_in();
    client.ask("RSET", "250");
    client.ask("EHLO client.example", "250");
    client.ask("AUTH PLAIN AGV2ZQB4", "503 5.5.1");
    assert!(
        client
            .submit(&["ann@example.net"], "\r\nx\r\n")
            .starts_with("250")
    );
}

#[test]
fn a_refused_login_leaves_nobody_logged_in() {
    let gateway = Gateway::sandbox(|_| {});
    let mut client = gateway.secured();
    client.ask("AUTH PLAIN AGFubgB3cm9uZw==", "535 5.7.8");
    client.ask("MAIL FROM:<app@example.com>", "530 5.7.0");
    client.ask("AUTH LOGIN YW5u", "334 UGFzc3dvcmQ6");
    client.ask("*", "501 5.7.0");
    client.ask("MAIL FROM:<app@example.com>", "530 5.7.0");
}
