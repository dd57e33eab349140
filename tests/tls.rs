//! Listeners and what TLS they speak.

use std::sync::Arc;

use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, NamedGroup, RootCertStore, SupportedProtocolVersion};

use crate::support::client::SmtpClient;
use crate::support::gateway::Gateway;
use crate::support::wait_until;

#[test]
fn implicit_tls_takes_a_message_from_the_first_octet_on() {
    let gateway = Gateway::sandbox(|_| {});
    let mut client = SmtpClient::connect(gateway.smtp(1));
    client.start_tls(gateway.certificate.client());
    client.expect("220 gateway.example ESMTP");
    let greeting = client.ask("EHLO client.example", "250");
    assert!(
        greeting.contains("AUTH PLAIN LOGIN") && !greeting.contains("STARTTLS"),
        "{greeting}"
    );
    client.ask("AUTH PLAIN AGFubgBzZWNyZXQ=", "235");
    assert!(
        client
            .submit(&["ann@example.net"], "\r\nx\r\n")
            .starts_with("250")
    );
    client.ask("QUIT", "221");
    client.expect_end();
}

#[test]
fn starttls_is_offered_in_clear_and_auth_under_tls_only() {
    let gateway = Gateway::sandbox(|_| {});
    let mut client = gateway.connect();
    client.expect("220");
    let clear = client.ask("EHLO client.example", "250");
    assert!(
        clear.contains("STARTTLS") && !clear.contains("AUTH"),
        "{clear}"
    );
    client.ask("STARTTLS", "220");
    client.start_tls(gateway.certificate.client());
    let tls = client.ask("EHLO client.example", "250");
    assert!(
        tls.contains("AUTH PLAIN LOGIN") && !tls.contains("STARTTLS"),
        "{tls}"
    );
}

fn client_of(gateway: &Gateway, version: &'static SupportedProtocolVersion) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    let pem = std::fs::read(gateway.certificate.chain()).unwrap();
    for certificate in rustls_pki_types::pem::PemObject::pem_slice_iter(&pem) {
        roots.add(certificate.unwrap()).unwrap();
    }
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

#[test]
fn tls_1_2_and_1_3_are_spoken() {
    let gateway = Gateway::sandbox(|_| {});
    for version in [&TLS12, &TLS13] {
        let mut client = SmtpClient::connect(gateway.smtp(1));
        client.start_tls(client_of(&gateway, version));
        assert_eq!(client.tls_version(), Some(version.version));
        client.expect("220");
    }
}

#[test]
fn a_client_that_offers_the_hybrid_group_gets_it() {
    let gateway = Gateway::sandbox(|_| {});
    let mut client = SmtpClient::connect(gateway.smtp(1));
    client.start_tls(gateway.certificate.client());
    assert_eq!(client.key_exchange(), Some(NamedGroup::X25519MLKEM768));
}

#[test]
fn a_peer_that_does_not_speak_tls_costs_its_own_connection_only() {
    let gateway = Gateway::sandbox(|_| {});
    let mut client = SmtpClient::connect(gateway.smtp(1));
    client.send("EHLO client.example\r\n");
    while client.line().is_some() {}
    wait_until(|| gateway.metric("smtp_tls_handshake_failures_total") > 0.0);
    gateway.connect().expect("220");
}
