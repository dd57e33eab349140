//! Each bound on what a client may do, with its reply (`submission::limits`).

use std::time::Duration;

use smtp_gateway::auth::static_keys::Account;
use smtp_gateway::auth::{Source, TrustedNetwork};
use smtp_gateway::ingress::smtp::{ListenerAuth, ListenerConfig, ListenerTls};
use smtp_gateway::secret::Secret;
use smtp_gateway::units::{ByteSize, Period};

use crate::support::client::SmtpClient;
use crate::support::gateway::{Gateway, listener};
use crate::support::wait_until;

#[test]
fn a_connection_over_the_pods_limit_is_told_to_come_back() {
    let gateway = Gateway::sandbox(|config| config.limits.connections = 2);
    let (mut one, mut two) = (gateway.connect(), gateway.connect());
    one.expect("220");
    two.expect("220");
    let mut three = gateway.connect();
    three.expect("421 4.7.0");
    three.expect_end();
    assert_eq!(
        gateway.metric("smtp_refused_connections_total{limit=\"connections\"}"),
        1.0
    );
    one.ask("QUIT", "221");
    one.expect_end();
    drop(one);
    wait_until(|| gateway.metric("smtp_active_connections") < 2.0);
    gateway.connect().expect("220");
}

#[test]
fn a_connection_over_the_limit_of_its_address_is_told_to_come_back() {
    let gateway = Gateway::sandbox(|config| {
        config.limits.connections_per_ip = 1;
        config.limits.exempt_networks.clear();
    });
    let mut one = gateway.connect();
    one.expect("220");
    gateway.connect().expect("421 4.7.0");
    let name = "smtp_refused_connections_total{limit=\"connections_per_ip\"}";
    assert_eq!(gateway.metric(name), 1.0);
}

#[test]
fn messages_over_the_rate_of_an_address_wait_and_the_reply_names_the_setting() {
    let gateway = Gateway::sandbox(|config| {
        config.limits.messages_per_minute_per_ip = 2;
        config.limits.exempt_networks.clear();
    });
    let mut client = gateway.logged_in();
    for _ in 0..2 {
        assert!(
            client
                .submit(&["ann@example.net"], "\r\nx\r\n")
                .starts_with("250")
        );
    }
    let reply = client.ask("MAIL FROM:<app@example.com>", "451 4.7.1");
    assert!(
        reply.contains("limits.messages_per_minute_per_ip"),
        "{reply}"
    );
    let mut other = gateway.logged_in();
    other.ask("MAIL FROM:<app@example.com>", "451 4.7.1");
    let name = "smtp_rate_limited_total{limit=\"messages_per_minute_per_ip\"}";
    assert_eq!(gateway.metric(name), 2.0);
}

#[test]
fn messages_over_the_rate_of_an_account_wait_wherever_they_come_from() {
    let gateway = Gateway::sandbox(|config| {
        config.limits.messages_per_minute_per_account = 2;
        config.auth.source = Source::Any;
    });
    let (mut one, mut two) = (gateway.logged_in(), gateway.logged_in());
    for client in [&mut one, &mut two] {
        let reply = client.submit(&["ann@example.net"], "\r\nx\r\n");
        assert!(reply.starts_with("250"), "{reply}");
    }
    let reply = one.ask("MAIL FROM:<app@example.com>", "451 4.7.1");
    assert!(
        reply.contains("limits.messages_per_minute_per_account"),
        "{reply}"
    );
    let mut bob = gateway.secured();
    assert!(bob.authenticate("bob", "x").starts_with("235"));
    bob.ask("MAIL FROM:<app@example.com>", "250");
    let name = "smtp_rate_limited_total{limit=\"messages_per_minute_per_account\"}";
    assert_eq!(gateway.metric(name), 1.0);
}

#[test]
fn loopback_is_exempt_from_limits_per_address_by_default() {
    let gateway = Gateway::sandbox(|config| {
        config.limits.messages_per_minute_per_ip = 1;
        config.limits.connections_per_ip = 1;
    });
    let (mut one, mut two) = (gateway.logged_in(), gateway.logged_in());
    for _ in 0..2 {
        assert!(
            one.submit(&["ann@example.net"], "\r\nx\r\n")
                .starts_with("250")
        );
        assert!(
            two.submit(&["ann@example.net"], "\r\nx\r\n")
                .starts_with("250")
        );
    }
}

#[test]
fn recipients_over_the_limit_are_left_for_another_message() {
    let gateway = Gateway::sandbox(|config| config.limits.recipients = 2);
    let mut client = gateway.logged_in();
    client.ask("MAIL FROM:<app@example.com>", "250");
    client.ask("RCPT TO:<a@example.net>", "250 2.1.5");
    client.ask("RCPT TO:<b@example.net>", "250 2.1.5");
    let reply = client.ask("RCPT TO:<c@example.net>", "452 4.5.3");
    assert!(reply.contains("limits.recipients"), "{reply}");
    client.ask("DATA", "354");
    client.send("\r\nx\r\n.\r\n");
    client.expect("250");
}

#[test]
fn an_idle_session_ends() {
    let gateway = Gateway::sandbox(|config| config.limits.idle_timeout = Period::seconds(1));
    let mut client = gateway.connect();
    client.expect("220");
    client.expect("421 4.4.2");
    client.expect_end();
    let ended = "smtp_sessions_ended_total{ending=\"timed_out\"}";
    wait_until(|| gateway.metric(ended) > 0.0);
}

#[test]
fn a_command_that_drips_in_must_be_whole_in_time() {
    let gateway = Gateway::sandbox(|config| config.limits.idle_timeout = Period::seconds(1));
    let mut client = gateway.connect();
    client.expect("220");
    for _ in 0..100 {
        if client.try_send(b"N").is_err() {
            break;
        }
        if let Some(line) = client.line_within(Duration::from_millis(200)) {
            assert!(line.starts_with("421 4.4.2"), "{line}");
            return;
        }
    }
    panic!("a hundred octets, each in time, are no command in time");
}

#[test]
fn mail_data_that_pauses_for_too_long_ends_the_session() {
    let gateway = Gateway::sandbox(|config| config.limits.data_timeout = Period::seconds(1));
    let mut client = gateway.logged_in();
    client.begin(&["ann@example.net"]);
    client.send("Subject: half\r\n");
    client.expect("421 4.4.2");
    client.expect_end();
    assert!(
        gateway.get("/api/messages").1.contains("[]"),
        "half a message is no message"
    );
}

#[test]
fn mail_data_that_drips_in_must_bring_enough_on_the_whole() {
    let gateway = Gateway::sandbox(|config| config.limits.data_timeout = Period::seconds(1));
    let mut client = gateway.logged_in();
    client.begin(&["ann@example.net"]);
    let ended = "smtp_sessions_ended_total{ending=\"timed_out\"}";
    // Each octet is in time.
    wait_until(|| {
        let _ = client.try_send(b"x");
        gateway.metric(ended) > 0.0
    });
}

#[test]
fn a_message_in_tiny_chunks_must_bring_enough_on_the_whole() {
    let gateway = Gateway::sandbox(|config| {
        config.limits.data_timeout = Period::seconds(1);
        config.limits.data_rate = ByteSize(10 << 20);
    });
    let mut client = gateway.logged_in();
    client.address(&["ann@example.net"]);
    // Each chunk is in time.
    wait_until(|| {
        client.send("BDAT 1\r\nx");
        let reply = client.reply();
        assert!(reply.starts_with("250 2.0.0") || reply.starts_with("421 4.4.2"));
        reply.starts_with("421")
    });
    client.expect_end();
}

#[test]
fn a_session_that_has_lasted_long_enough_ends_between_messages() {
    let gateway = Gateway::sandbox(|config| config.limits.session_age = Period::seconds(2));
    let mut busy = gateway.logged_in();
    let mut sending = gateway.logged_in();
    sending.begin(&["ann@example.net"]);
    // Never idle, and told all the same.
    let mut told = String::new();
    wait_until(|| {
        busy.send("NOOP\r\n");
        told = busy.reply();
        !told.starts_with("250")
    });
    assert!(told.starts_with("421 4.4.2"), "{told}");
    assert!(told.contains("limits.session_age"), "{told}");
    busy.expect_end();
    // As old, but in the middle of a message.
    sending.send("Subject: s\r\n\r\nx\r\n.\r\n");
    sending.expect("250 2.0.0");
    sending.expect("421 4.4.2");
    let ended = "smtp_sessions_ended_total{ending=\"expired\"}";
    wait_until(|| gateway.metric(ended) == 2.0);
}

#[test]
fn the_tenth_error_ends_the_session() {
    let gateway = Gateway::sandbox(|_| {});
    let mut client = gateway.connect();
    client.expect("220");
    for _ in 0..9 {
        client.ask("FOO", "500 5.5.2");
    }
    client.ask("FOO", "421 4.7.0");
    client.expect_end();
}

#[test]
fn mime_limits_are_settings_with_an_effect() {
    let gateway = Gateway::sandbox(|config| {
        config.limits.mime_parts = 2;
        config.limits.header_size = ByteSize(1000);
    });
    let mut client = gateway.logged_in();
    let part = "--b\r\n\r\nx\r\n";
    let content = format!(
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n{}--b--\r\n",
        part.repeat(3)
    );
    let reply = client.submit(&["ann@example.net"], &content);
    assert!(reply.starts_with("554 5.6.0"), "{reply}");
    let content = format!("X-Long: {}\r\n\r\nx\r\n", "x".repeat(1000));
    let reply = client.submit(&["ann@example.net"], &content);
    assert!(reply.starts_with("554 5.6.0"), "{reply}");
}

/// A gateway whose memory two clients have for theirs, the last lane included.
fn without_memory() -> (Gateway, [SmtpClient; 2]) {
    let gateway = Gateway::sandbox(|config| {
        config.limits.memory = ByteSize(2000 << 10);
        config.limits.message_size = ByteSize(1000 << 10);
    });
    let mut large = [gateway.logged_in(), gateway.logged_in()];
    for client in &mut large {
        client.ask("MAIL FROM:<app@example.com> SIZE=1000000", "250");
        client.ask("RCPT TO:<ann@example.net>", "250");
    }
    (gateway, large)
}

#[test]
fn a_message_that_finds_no_memory_waits_a_little_and_is_then_told_to_come_again() {
    let (gateway, mut large) = without_memory();
    let mut late = gateway.logged_in();
    let reply = late.ask("MAIL FROM:<app@example.com> SIZE=1000000", "452 4.3.1");
    assert!(reply.contains("limits.memory"), "{reply}");
    assert_eq!(gateway.metric("smtp_memory_refusals_total"), 1.0);
    // Room is free again behind a message, RSET and QUIT.
    large[0].ask("DATA", "354");
    large[0].send("Subject: s\r\n\r\nx\r\n.\r\n");
    large[0].expect("250");
    late.ask("MAIL FROM:<app@example.com> SIZE=1000000", "250");
    late.ask("RSET", "250");
    large[1].ask("QUIT", "221");
    wait_until(|| gateway.metric("smtp_memory_reserved_bytes") == 0.0);
}

#[test]
fn a_message_that_announces_nothing_and_finds_no_memory_is_refused_at_data() {
    let (gateway, _large) = without_memory();
    let mut late = gateway.logged_in();
    late.address(&["ann@example.net"]);
    late.ask("DATA", "452 4.3.1");
    late.ask("RSET", "250");
}

/// Or a handful of clients that hang behind MAIL would keep all others from sending.
#[test]
fn memory_that_is_announced_and_not_used_is_for_others_again_and_the_transaction_goes_on() {
    let (gateway, mut idle) = without_memory();
    wait_until(|| {
        // Something to say now and then keeps nothing.
        idle[0].ask("NOOP", "250");
        gateway.metric("smtp_memory_reserved_bytes") == 0.0
    });
    gateway
        .logged_in()
        .ask("MAIL FROM:<app@example.com> SIZE=1000000", "250");
    for client in &mut idle {
        client.ask("DATA", "354");
        client.send(format!(
            "Subject: s\r\n\r\n{}\r\n.\r\n",
            "x".repeat(200_000)
        ));
        client.expect("250");
    }
}

#[test]
fn a_message_that_outgrows_the_memory_is_read_to_its_end_and_the_session_goes_on() {
    let gateway = Gateway::sandbox(|config| {
        config.limits.memory = ByteSize(2000 << 10);
        config.limits.message_size = ByteSize(1000 << 10);
    });
    let mut lane = gateway.logged_in();
    let mut pool = gateway.logged_in();
    for client in [&mut pool, &mut lane] {
        client.ask("MAIL FROM:<app@example.com> SIZE=800000", "250");
    }
    let mut growing = gateway.logged_in();
    let content = format!("Subject: s\r\n\r\n{}\r\n", "x".repeat(400_000));
    let reply = growing.submit(&["ann@example.net"], &content);
    assert!(reply.starts_with("452 4.3.1"), "{reply}");
    lane.ask("RSET", "250");
    let reply = growing.submit(&["ann@example.net"], &content);
    assert!(reply.starts_with("250"), "{reply}");
}

#[test]
fn text_that_takes_more_memory_than_there_ever_is_is_refused_and_a_file_is_not() {
    let gateway = Gateway::sandbox(|config| config.limits.memory = ByteSize(1000 << 10));
    let mut client = gateway.logged_in();
    let hello = client.ask("EHLO client.example", "250");
    assert!(hello.contains("SIZE 1024000"), "{hello}");
    let octets = "x".repeat(600_000);
    let text = format!("Subject: s\r\n\r\n{octets}\r\n");
    let reply = client.submit(&["ann@example.net"], &text);
    assert!(reply.starts_with("552 5.3.4"), "{reply}");
    assert!(reply.contains("limits.memory"), "{reply}");
    let file = format!("Content-Type: application/pdf\r\n{text}");
    let reply = client.submit(&["ann@example.net"], &file);
    assert!(reply.starts_with("250"), "{reply}");
}

#[test]
fn a_trusted_network_sends_in_clear_without_login_and_others_do_not() {
    let plain = ListenerConfig {
        auth: ListenerAuth::Trusted,
        ..listener(ListenerTls::Off)
    };
    let printer = Account {
        name: "printer".to_owned(),
        api_key: Some(Secret::new("printers-key")),
        ..Account::default()
    };
    for (network, reply) in [("127.0.0.0/8", "250"), ("192.0.2.0/24", "530 5.7.0")] {
        let gateway = Gateway::sandbox(|config| {
            config.smtp.listeners.push(plain.clone());
            config.auth.accounts.push(printer.clone());
            config.auth.trusted_networks = vec![TrustedNetwork {
                network: network.parse().unwrap(),
                account: "printer".to_owned(),
            }];
        });
        let mut client = SmtpClient::connect(gateway.smtp(2));
        client.expect("220");
        let greeting = client.ask("EHLO printer", "250");
        assert!(
            !greeting.contains("AUTH") && !greeting.contains("STARTTLS"),
            "{greeting}"
        );
        client.ask("MAIL FROM:<app@example.com>", reply);
        client.ask("AUTH PLAIN AGFubgBzZWNyZXQ=", "538 5.7.11");
        // Trust is a matter of the listener too: elsewhere the same host must log in.
        let mut elsewhere = gateway.secured();
        elsewhere.ask("MAIL FROM:<app@example.com>", "530 5.7.0");
    }
}

#[test]
fn a_large_message_for_many_is_refused_at_rcpt_where_it_is_announced_and_at_its_end_where_not() {
    use smtp_gateway::delivery::http::Requests;

    let api = crate::support::api::FakeApi::start();
    let gateway = Gateway::before(&api.url(), |config| {
        config.api.requests = Requests::PerRecipient;
        config.limits.fan_out = ByteSize(2500);
    });
    let mut client = gateway.logged_in();
    client.ask("MAIL FROM:<app@example.com> SIZE=1000", "250");
    client.ask("RCPT TO:<a@example.net>", "250");
    client.ask("RCPT TO:<b@example.net>", "250");
    client.ask("RCPT TO:<c@example.net>", "452 4.5.3");
    client.ask("DATA", "354");
    client.send("Subject: s\r\n\r\nx\r\n.\r\n");
    client.expect("250");
    assert_eq!(api.recorded().len(), 2);
    let large = format!("Subject: s\r\n\r\n{}\r\n", "x".repeat(990));
    let three = ["a@example.net", "b@example.net", "c@example.net"];
    let reply = client.submit(&three, &large);
    assert!(reply.starts_with("452 4.5.3"), "{reply}");
    assert!(client.submit(&three[..2], &large).starts_with("250"));
    assert_eq!(api.recorded().len(), 4);
}
