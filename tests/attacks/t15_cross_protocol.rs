//! T15, cross-protocol attacks (ALPACA, CVE-2021-3618): a browser led to this port gets nothing.

use crate::support::client::SmtpClient;
use crate::support::gateway::Gateway;

#[test]
fn an_http_request_ends_the_session_at_its_first_line() {
    let gateway = Gateway::sandbox(|_| {});
    for request in [
        "GET / HTTP/1.1\r\nHost: gateway\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 60\r\n\r\nEHLO x\r\nMAIL FROM:<evil@example.com>\r\n",
        "OPTIONS * HTTP/1.1\r\n\r\n",
        "CONNECT mail:25 HTTP/1.1\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut client = gateway.connect();
        client.expect("220");
        client.send(request);
        client.expect("421 4.7.0");
        client.expect_end();
    }
}

#[test]
fn an_http_request_under_tls_ends_the_session_too() {
    let gateway = Gateway::sandbox(|_| {});
    let mut client = SmtpClient::connect(gateway.smtp(1));
    client.start_tls(gateway.certificate.client());
    client.expect("220");
    client.send("POST / HTTP/1.1\r\nHost: gateway\r\n\r\nEHLO x\r\n");
    client.expect("421 4.7.0");
    client.expect_end();
}

#[test]
fn a_client_hello_on_a_starttls_port_is_cut_off() {
    let gateway = Gateway::sandbox(|_| {});
    let mut client = gateway.connect();
    client.expect("220");
    client.send([0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, b'\n']);
    client.expect("421 4.7.0");
    client.expect_end();
}

#[test]
fn a_tls_client_that_wants_http_fails_in_the_handshake() {
    let gateway = Gateway::sandbox(|_| {});
    for (protocols, agreed) in [
        (&["h2", "http/1.1"][..], false),
        (&["smtp"], true),
        (&[], true),
    ] {
        let mut config = gateway.certificate.client();
        config.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        let mut client = SmtpClient::connect(gateway.smtp(1));
        // Under TLS 1.3 the client is done before it hears of the refusal.
        let done = client.try_start_tls(config).is_ok() && client.line().is_some();
        assert_eq!(done, agreed, "{protocols:?}");
    }
}
