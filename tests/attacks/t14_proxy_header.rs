//! T14, the PROXY header: it is believed from load balancers only, and whoever sends none, half of one
//! or too much of one holds up nobody else.

use std::time::Duration;

use smtp_gateway::auth::TrustedNetwork;
use smtp_gateway::auth::static_keys::Account;
use smtp_gateway::config::Config;
use smtp_gateway::ingress::smtp::{ListenerAuth, ListenerConfig, ListenerTls};
use smtp_gateway::secret::Secret;

use crate::support::api::FakeApi;
use crate::support::client::SmtpClient;
use crate::support::gateway::{Gateway, listener};
use crate::support::wait_until;

/// Load balancers are in this network.
fn behind(network: &'static str) -> impl FnOnce(&mut Config) {
    move |config| {
        for listener in &mut config.smtp.listeners {
            listener.proxy_networks = vec![network.parse().unwrap()];
        }
    }
}

/// Everybody here is a load balancer.
const HERE: &str = "127.0.0.0/8";

fn line(client: &str) -> Vec<u8> {
    let family = if client.contains(':') { 6 } else { 4 };
    let to = if family == 6 { "::1" } else { "127.0.0.1" };
    format!("PROXY TCP{family} {client} {to} 56324 587\r\n").into_bytes()
}

/// Version 2. The length is that of the block, or another one.
fn binary(version_and_command: u8, family: u8, length: usize, block: &[u8]) -> Vec<u8> {
    let mut octets = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    octets.extend([version_and_command, family]);
    octets.extend(u16::try_from(length).unwrap().to_be_bytes());
    octets.extend(block);
    octets
}

fn binary4(client: [u8; 4], tlvs: &[u8]) -> Vec<u8> {
    let block = [&client[..], &[127, 0, 0, 1, 0xdc, 4, 2, 0x4b], tlvs].concat();
    binary(0x21, 0x11, block.len(), &block)
}

fn binary6(client: &str) -> Vec<u8> {
    let client: std::net::Ipv6Addr = client.parse().unwrap();
    let block = [&client.octets()[..], &[0; 20]].concat();
    binary(0x21, 0x21, block.len(), &block)
}

/// What balancers of clouds add, and what they add for TLS.
const TLVS: &[u8] = b"\x03\x00\x04\x11\x22\x33\x44\xea\x00\x17\x01vpce-08d2bf15fac5001c9\
                      \x20\x00\x0b\x01\x00\x00\x00\x00\x21\x00\x03TLS";

#[test]
fn the_address_of_the_header_is_the_clients() {
    let api = FakeApi::start();
    let gateway = Gateway::before(&api.url(), behind(HERE));
    for (header, client) in [
        (line("192.0.2.1"), "192.0.2.1"),
        (line("2001:db8::1"), "2001:db8::1"),
        (line("::ffff:192.0.2.2"), "192.0.2.2"),
        (binary4([192, 0, 2, 3], b""), "192.0.2.3"),
        (binary4([192, 0, 2, 4], TLVS), "192.0.2.4"),
        (binary4([192, 0, 2, 5], &[4; 4000]), "192.0.2.5"),
        (binary6("2001:db8::2"), "2001:db8::2"),
        (binary6("::ffff:192.0.2.6"), "192.0.2.6"),
        // What names nobody: the socket's own address.
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (
            b"PROXY UNKNOWN 192.0.2.7 of whatever\r\n".to_vec(),
            "127.0.0.1",
        ),
        (binary(0x20, 0x00, 0, b""), "127.0.0.1"),
        (binary(0x20, 0x11, 12, &[9; 12]), "127.0.0.1"),
        (binary(0x21, 0x00, 0, b""), "127.0.0.1"),
        (binary(0x21, 0x31, 216, &[b'/'; 216]), "127.0.0.1"),
    ] {
        // In clear, and EHLO with the header: that it comes before the banner is no fault.
        let mut starttls = gateway.connect();
        starttls.send([&header[..], b"EHLO client.example\r\n"].concat());
        starttls.expect("220");
        starttls.expect("250");
        starttls.ask("STARTTLS", "220 2.0.0");
        starttls.start_tls(gateway.certificate.client());
        // Under TLS, and the ClientHello with the header.
        let mut implicit = SmtpClient::connect(gateway.smtp(1));
        implicit
            .start_tls_behind(&header, gateway.certificate.client())
            .unwrap();
        implicit.expect("220");
        for mut smtp in [starttls, implicit] {
            smtp.ask("EHLO client.example", "250");
            smtp.ask("AUTH PLAIN AGFubgBzZWNyZXQ=", "235");
            let reply = smtp.submit(&["ann@example.net"], "Subject: s\r\n\r\nx\r\n");
            assert!(reply.starts_with("250"), "{client}: {reply}");
            let requests = api.recorded();
            assert_eq!(requests.last().unwrap().json()["received"]["from"], client);
        }
    }
}

#[test]
fn a_header_in_pieces_is_the_same() {
    let api = FakeApi::start();
    let gateway = Gateway::before(&api.url(), behind(HERE));
    for header in [line("192.0.2.1"), binary4([192, 0, 2, 1], TLVS)] {
        let mut client = gateway.connect();
        for octet in header {
            client.send([octet]);
        }
        client.expect("220");
        client.ask("EHLO client.example", "250");
        client.ask("STARTTLS", "220 2.0.0");
        client.start_tls(gateway.certificate.client());
        client.ask("EHLO client.example", "250");
        client.ask("AUTH PLAIN AGFubgBzZWNyZXQ=", "235");
        client.submit(&["ann@example.net"], "Subject: s\r\n\r\nx\r\n");
        let requests = api.recorded();
        let received = &requests.last().unwrap().json()["received"];
        assert_eq!(received["from"], "192.0.2.1");
    }
}

#[test]
fn from_elsewhere_no_header_is_needed_and_none_is_believed() {
    let printer = Account {
        name: "printer".to_owned(),
        api_key: Some(Secret::new("printers-key")),
        ..Account::default()
    };
    let gateway = Gateway::sandbox(|config| {
        config.smtp.listeners.push(ListenerConfig {
            auth: ListenerAuth::Trusted,
            ..listener(ListenerTls::Off)
        });
        behind("192.0.2.0/24")(config);
        config.auth.accounts.push(printer);
        config.auth.trusted_networks = vec![TrustedNetwork {
            network: "203.0.113.0/24".parse().unwrap(),
            account: "printer".to_owned(),
        }];
    });
    // As the kubelet does, and any client beside the load balancer.
    drop(gateway.logged_in());

    let mut client = SmtpClient::connect(gateway.smtp(2));
    client.expect("220");
    client.send(line("203.0.113.9"));
    client.expect("421 4.7.0");
    client.expect_end();

    // Version 2 is made to be a QUIT to a server that does not expect it.
    let mut client = SmtpClient::connect(gateway.smtp(2));
    let _ = client.try_send(
        &[
            &binary4([203, 0, 113, 9], b"")[..],
            b"\r\nEHLO printer\r\nMAIL FROM:<app@example.com>\r\n",
        ]
        .concat(),
    );
    client.expect("220");
    let replies: Vec<_> = std::iter::from_fn(|| client.line()).collect();
    let positive = |reply: &String| reply.starts_with("250") || reply.starts_with("354");
    assert!(!replies.iter().any(positive), "{replies:#?}");
}

#[test]
fn a_trusted_network_is_that_of_the_client_and_not_of_the_balancer() {
    let gateway = Gateway::sandbox(|config| {
        config.smtp.listeners = vec![ListenerConfig {
            auth: ListenerAuth::Trusted,
            ..listener(ListenerTls::Off)
        }];
        behind(HERE)(config);
        config.auth.trusted_networks = vec![TrustedNetwork {
            network: "203.0.113.0/24".parse().unwrap(),
            account: "ann".to_owned(),
        }];
    });
    for (header, reply) in [
        (line("203.0.113.9"), "250 2.1.0"),
        (line("::ffff:203.0.113.9"), "250 2.1.0"),
        (line("192.0.2.1"), "530 5.7.0"),
        (b"PROXY UNKNOWN 203.0.113.9\r\n".to_vec(), "530 5.7.0"),
    ] {
        let mut client = gateway.connect();
        client.send(header);
        client.expect("220");
        client.ask("EHLO client.example", "250");
        client.ask("MAIL FROM:<app@example.com>", reply);
    }
}

#[test]
fn limits_per_address_are_for_the_client_and_not_for_the_balancer() {
    let gateway = Gateway::sandbox(|config| {
        behind(HERE)(config);
        config.limits.connections_per_ip = 1;
        config.limits.messages_per_minute_per_ip = 1;
        config.limits.exempt_networks = vec!["198.51.100.0/24".parse().unwrap()];
        config.limits.errors = 0;
    });
    let connect = |client: &str| {
        let mut smtp = gateway.connect();
        smtp.send(line(client));
        smtp
    };
    let refused = "smtp_refused_connections_total{limit=\"connections_per_ip\"}";
    for (first, second) in [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.2", "::ffff:192.0.2.2"),
        ("2001:db8::1", "2001:db8::2"),
    ] {
        let before = gateway.metric(refused);
        let mut one = connect(first);
        one.expect("220");
        let mut two = connect(second);
        two.expect("421 4.7.0");
        two.expect_end();
        assert_eq!(gateway.metric(refused), before + 1.0);
        one.ask("QUIT", "221");
        one.expect_end();
        drop(one);
        // The place is free again.
        wait_until(|| {
            let mut again = connect(first);
            again.reply().starts_with("220")
        });
    }
    let exempt: Vec<_> = (0..3).map(|_| connect("198.51.100.1")).collect();
    for mut client in exempt {
        client.expect("220");
    }

    let submit = |client: &str| {
        let mut smtp = connect(client);
        smtp.expect("220");
        smtp.ask("EHLO client.example", "250");
        smtp.ask("STARTTLS", "220 2.0.0");
        smtp.start_tls(gateway.certificate.client());
        smtp.ask("EHLO client.example", "250");
        smtp.ask("AUTH PLAIN AGFubgBzZWNyZXQ=", "235");
        smtp.send("MAIL FROM:<app@example.com>\r\nRSET\r\nMAIL FROM:<app@example.com>\r\n");
        let replies = [smtp.reply(), smtp.reply(), smtp.reply()];
        assert!(replies[0].starts_with("250"), "{replies:?}");
        replies[2].starts_with("451 4.7.1")
    };
    assert!(submit("192.0.2.3") && submit("192.0.2.4"));
    assert!(!submit("198.51.100.2"));
}

#[test]
fn what_is_no_header_to_be_believed_ends_the_connection_without_a_word() {
    let gateway = Gateway::sandbox(behind(HERE));
    let faults = |fault: &str| {
        gateway.metric(&format!(
            "smtp_proxy_header_faults_total{{fault=\"{fault}\"}}"
        ))
    };
    let mut counted = 0.0;
    for (octets, fault) in [
        (b"EHLO client.example\r\n".to_vec(), "missing"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc".to_vec(), "missing"),
        (
            b"PROXY TCP4 192.0.2.1 192.0.2.9 1 65536\r\n".to_vec(),
            "malformed",
        ),
        (b"PROXY UNKNOWN\n".to_vec(), "malformed"),
        ([&b"PROXY UNKNOWN "[..], &[b'x'; 93]].concat(), "too_long"),
        (binary(0x21, 0x11, 65_535, &[0; 65_535]), "too_long"),
        (binary(0x21, 0x11, 65_535, b""), "too_long"),
        (binary(0x21, 0x11, 11, &[0; 11]), "malformed"),
        (binary(0x21, 0x12, 12, &[0; 12]), "malformed"),
        (binary(0x11, 0x11, 12, &[0; 12]), "malformed"),
    ] {
        for place in [0, 1] {
            let before = faults(fault);
            let mut client = SmtpClient::connect(gateway.smtp(place));
            let _ = client.try_send(&octets);
            client.expect_end();
            wait_until(|| faults(fault) == before + 1.0);
            counted += 1.0;
        }
    }
    for header in [
        &b"P"[..],
        b"PROXY UNKNOWN",
        &binary4([192, 0, 2, 1], b"")[..27],
    ] {
        let before = faults("broken_off");
        gateway.connect().send(header);
        wait_until(|| faults("broken_off") == before + 1.0);
    }
    // A probe that connects and leaves is no fault.
    drop(gateway.connect());
    let connections = counted + 4.0;
    wait_until(|| gateway.metric("smtp_connections_total") == connections);
    wait_until(|| gateway.metric("smtp_active_connections") == 0.0);
    assert_eq!(faults("broken_off"), 3.0);
    assert_eq!(faults("timed_out"), 0.0);
}

#[test]
fn fifty_that_never_finish_their_header_hold_up_nobody_and_are_cut_off() {
    let gateway = Gateway::sandbox(behind(HERE));
    let half = binary4([192, 0, 2, 1], TLVS);
    let mut silent: Vec<_> = (0..50).map(|_| gateway.connect()).collect();
    for (place, client) in silent.iter_mut().enumerate() {
        match place % 3 {
            0 => {}
            1 => client.send("PROXY TCP4 192.0.2.1"),
            _ => client.send(&half[..half.len() - 1]),
        }
    }
    wait_until(|| gateway.metric("smtp_active_connections") == 50.0);
    let mut client = gateway.connect();
    client.send(line("192.0.2.2"));
    client.expect("220");
    client.ask("NOOP", "250");
    for client in &mut silent {
        client.expect_end();
    }
    let timed_out = "smtp_proxy_header_faults_total{fault=\"timed_out\"}";
    assert_eq!(gateway.metric(timed_out), 50.0);
    wait_until(|| gateway.metric("smtp_active_connections") == 1.0);
    client.ask("QUIT", "221");
}

#[test]
fn a_header_that_drips_in_must_be_whole_in_time() {
    let gateway = Gateway::sandbox(behind(HERE));
    let mut client = gateway.connect();
    let header = binary4([192, 0, 2, 1], &[4; 4000]);
    let timed_out = "smtp_proxy_header_faults_total{fault=\"timed_out\"}";
    for octet in header {
        if client.try_send(&[octet]).is_err() || gateway.metric(timed_out) > 0.0 {
            break;
        }
        let word = client.line_within(Duration::from_millis(50));
        assert_eq!(word, None);
    }
    assert_eq!(gateway.metric(timed_out), 1.0);
    client.expect_end();
}

#[test]
fn a_connection_without_a_header_yet_counts_for_the_whole_pod() {
    let gateway = Gateway::sandbox(|config| {
        behind(HERE)(config);
        config.limits.connections = 2;
    });
    let _silent = [gateway.connect(), gateway.connect()];
    let mut third = gateway.connect();
    third.expect("421 4.7.0");
    third.expect_end();
}
