//! Listeners, what TLS they speak, and a certificate that changes while they do.

use std::sync::Arc;

use rcgen::date_time_ymd;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, NamedGroup, RootCertStore, SupportedProtocolVersion};
use smtp_gateway::units::Period;
use tokio_util::sync::CancellationToken;

use crate::support::client::SmtpClient;
use crate::support::gateway::{Certificate, Gateway, trusting};
use crate::support::volume::Volume;
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

/// A gateway that looks for another certificate in this volume all the time.
fn watching(volume: &Volume) -> Gateway {
    Gateway::sandbox(|config| {
        config.tls.cert_path = volume.chain();
        config.tls.key_path = volume.key();
        config.tls.reload_interval = MOMENT;
    })
}

#[test]
fn files_renamed_over_are_a_new_certificate_under_load() {
    let gateway = Gateway::sandbox(|config| config.tls.reload_interval = MOMENT);
    let (old, new) = (&gateway.certificate, Certificate::new());
    swap_under_load(&gateway, old, &new, || {
        for (from, to) in [(new.chain(), old.chain()), (new.key(), old.key())] {
            let beside = to.with_extension("new");
            std::fs::copy(from, &beside).unwrap();
            std::fs::rename(beside, to).unwrap();
        }
    });
}

#[test]
fn a_symbolic_link_that_kubernetes_swaps_is_a_new_certificate_under_load() {
    let (old, new) = (Certificate::new(), Certificate::new());
    let mut volume = Volume::new(old.chain(), old.key());
    let gateway = watching(&volume);
    swap_under_load(&gateway, &old, &new, || {
        volume.publish(new.chain(), new.key());
    });
    assert_eq!(gateway.metric(REFUSED), 0.0);
}

/// Sessions of before the swap go on through it, and new ones come all the time: none fails, and
/// from then on new sessions meet the new certificate.
fn swap_under_load(gateway: &Gateway, old: &Certificate, new: &Certificate, swap: impl FnOnce()) {
    let swapped = CancellationToken::new();
    let accepted: u32 = std::thread::scope(|scope| {
        // Ends the load in any case: the scope waits for it.
        let over = swapped.clone().drop_guard();
        let mut load = Vec::new();
        for _ in 0..3 {
            let mut client = SmtpClient::logged_in(gateway.smtp(0), old.client());
            let swapped = swapped.clone();
            load.push(scope.spawn(move || {
                let mut accepted = 0;
                while !swapped.is_cancelled() {
                    accepted += submit(&mut client);
                }
                accepted += submit(&mut client);
                client.ask("QUIT", "221");
                client.expect_end();
                accepted
            }));
        }
        for _ in 0..2 {
            let swapped = swapped.clone();
            load.push(scope.spawn(move || {
                let mut accepted = 0;
                while !swapped.is_cancelled() {
                    let both = trusting(&[old, new]);
                    let mut client = SmtpClient::logged_in(gateway.smtp(0), both);
                    accepted += submit(&mut client);
                    client.ask("QUIT", "221");
                }
                accepted
            }));
        }
        wait_until(|| gateway.metric("smtp_emails_forwarded_total") > 10.0);
        assert_eq!(gateway.metric(LOADED), 0.0);
        swap();
        wait_until(|| gateway.metric(LOADED) == 1.0);
        drop(over);
        load.into_iter().map(|load| load.join().unwrap()).sum()
    });
    let forwarded = gateway.metric("smtp_emails_forwarded_total");
    assert_eq!(forwarded, f64::from(accepted));

    submit(&mut SmtpClient::logged_in(gateway.smtp(0), new.client()));
    let mut implicit = SmtpClient::connect(gateway.smtp(1));
    implicit.start_tls(new.client());
    implicit.expect("220");
    let mut left_behind = SmtpClient::connect(gateway.smtp(1));
    assert!(left_behind.try_start_tls(old.client()).is_err());
}

fn submit(client: &mut SmtpClient) -> u32 {
    let reply = client.submit(&["ann@example.net"], "Subject: x\r\n\r\nx\r\n");
    assert!(reply.starts_with("250 2.0.0"), "{reply}");
    1
}

#[test]
fn a_session_resumes_across_a_new_certificate() {
    let (old, new) = (Certificate::new(), Certificate::new());
    let mut volume = Volume::new(old.chain(), old.key());
    let gateway = watching(&volume);
    let client = old.client();
    SmtpClient::logged_in(gateway.smtp(0), client.clone());
    volume.publish(new.chain(), new.key());
    wait_until(|| gateway.metric(LOADED) == 1.0);
    // Such a client has no need of the new certificate yet.
    submit(&mut SmtpClient::logged_in(gateway.smtp(0), client));
}

#[test]
fn a_gauge_tells_when_the_certificate_in_force_expires() {
    let until = |year| Certificate::with(|wanted| wanted.not_after = date_time_ymd(year, 6, 1));
    let seconds = |year| date_time_ymd(year, 6, 1).unix_timestamp() as f64;
    let (old, new) = (until(2040), until(2060));
    let mut volume = Volume::new(old.chain(), old.key());
    let gateway = watching(&volume);
    assert_eq!(gateway.metric(NOT_AFTER), seconds(2040));
    volume.publish(new.chain(), new.key());
    wait_until(|| gateway.metric(LOADED) == 1.0);
    assert_eq!(gateway.metric(NOT_AFTER), seconds(2060));

    let self_signed = Gateway::sandbox(|config| config.tls.self_signed = true);
    assert!(self_signed.metric(NOT_AFTER) > seconds(2040));
}

/// Between two looks into the files.
const MOMENT: Period = Period(std::time::Duration::from_millis(20));
const LOADED: &str = "smtp_certificate_reloads_total{result=\"loaded\"}";
const REFUSED: &str = "smtp_certificate_reloads_total{result=\"refused\"}";
const NOT_AFTER: &str = "smtp_certificate_not_after_seconds";
