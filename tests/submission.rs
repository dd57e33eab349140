//! What reaches the email API: the envelope decides, and nothing is lost on the way.

use serde_json::json;
use smtp_gateway::auth::static_keys::Account;
use smtp_gateway::delivery::http::Requests;
use smtp_gateway::secret::Secret;

use crate::support::api::FakeApi;
use crate::support::gateway::Gateway;

#[test]
fn recipients_come_from_the_envelope_and_never_from_header_fields() {
    let api = FakeApi::start();
    let gateway = Gateway::before(&api.url(), |_| {});
    let content = "From: Shop <shop@example.com>\r\nTo: header-only@example.net\r\n\
                   Cc: other@example.net\r\nBcc: hidden@example.net\r\nSubject: s\r\n\r\nx\r\n";
    let reply = gateway
        .logged_in()
        .submit(&["ann@example.net", "hidden@example.net"], content);
    assert!(reply.starts_with("250"), "{reply}");
    let request = &api.recorded()[0];
    let body = request.json();
    assert_eq!(
        body["envelope"],
        json!({"from": "app@example.com", "to": ["ann@example.net", "hidden@example.net"]})
    );
    assert_eq!(body["to"], json!([{"email": "header-only@example.net"}]));
    let text = String::from_utf8(request.body.clone()).unwrap();
    assert_eq!(
        text.matches("hidden@example.net").count(),
        1,
        "Bcc is shown nowhere"
    );
}

#[test]
fn a_request_per_recipient_names_that_recipient_only() {
    let api = FakeApi::start();
    let gateway = Gateway::before(&api.url(), |config| {
        config.api.requests = Requests::PerRecipient;
    });
    let recipients = ["a@example.net", "b@example.net", "c@example.net"];
    gateway
        .logged_in()
        .submit(&recipients, "Subject: s\r\n\r\nx\r\n");
    let mut named: Vec<_> = api
        .recorded()
        .iter()
        .map(|request| request.json()["envelope"]["to"].clone())
        .collect();
    named.sort_by_key(ToString::to_string);
    assert_eq!(named, recipients.map(|recipient| json!([recipient])));
}

#[test]
fn the_request_carries_key_headers_and_path() {
    let api = FakeApi::start();
    let gateway = Gateway::before(&api.url(), |config| {
        config.api.path = "/v1/mail".to_owned();
        config
            .api
            .headers
            .insert("X-Tenant".to_owned(), Secret::new("7"));
    });
    gateway
        .logged_in()
        .submit(&["ann@example.net"], "\r\nx\r\n");
    let request = &api.recorded()[0];
    assert!(
        request
            .head
            .text()
            .starts_with("POST /v1/mail HTTP/1.1\r\n"),
        "{}",
        request.head.text()
    );
    for line in [
        "content-type: application/json",
        "authorization: Bearer gateway-key",
        "x-tenant: 7",
    ] {
        assert!(
            request.has_header(line),
            "{line} is not in {}",
            request.head.text()
        );
    }
}

#[test]
fn an_account_with_a_key_of_its_own_uses_it() {
    let api = FakeApi::start();
    let gateway = Gateway::before(&api.url(), |config| {
        config.auth.accounts = vec![Account {
            name: "ann".to_owned(),
            password: Some(Secret::new("secret")),
            api_key: Some(Secret::new("anns-key")),
            ..Account::default()
        }];
    });
    gateway
        .logged_in()
        .submit(&["ann@example.net"], "\r\nx\r\n");
    assert!(api.recorded()[0].has_header("authorization: Bearer anns-key"));
}

#[test]
fn date_message_id_and_author_are_added_where_missing() {
    let api = FakeApi::start();
    let gateway = Gateway::before(&api.url(), |config| config.api.raw = true);
    let mut client = gateway.logged_in();
    client.submit(&["ann@example.net"], "Subject: s\r\n\r\nx\r\n");
    client.submit(
        &["ann@example.net"],
        "From: b@example.com\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\nMessage-ID: <m@x.example>\r\n\r\nx\r\n",
    );
    let requests = api.recorded();
    let (bare, full) = (requests[0].json(), requests[1].json());
    assert_eq!(bare["from"], json!([{"email": "app@example.com"}]));
    let id = bare["message_id"].as_str().unwrap();
    assert!(id.ends_with("@gateway.example"), "{id}");
    assert_eq!(bare["date"], bare["received"]["at"]);
    assert_eq!(full["message_id"], "m@x.example");
    assert_eq!(full["date"], "2026-11-22T10:00:00Z");
    assert_eq!(full["from"], json!([{"email": "b@example.com"}]));
    let raw = raw(&bare);
    assert!(raw.starts_with("Received: "), "{raw}");
    assert!(
        raw.contains(&format!("\r\nMessage-ID: <{id}>\r\n")),
        "{raw}"
    );
    assert!(raw.ends_with("\r\nSubject: s\r\n\r\nx\r\n"), "{raw}");
}

fn raw(body: &serde_json::Value) -> String {
    use base64::Engine as _;
    let raw = body["raw"].as_str().expect("raw is included");
    let raw = base64::engine::general_purpose::STANDARD
        .decode(raw)
        .unwrap();
    String::from_utf8(raw).unwrap()
}

#[test]
fn received_says_how_the_message_came() {
    let api = FakeApi::start();
    let gateway = Gateway::before(&api.url(), |_| {});
    gateway
        .logged_in()
        .submit(&["ann@example.net"], "\r\nx\r\n");
    let received = api.recorded()[0].json()["received"].clone();
    assert_eq!(received["by"], "gateway.example");
    assert_eq!(received["from"], "127.0.0.1");
    assert_eq!(received["helo"], "client.example");
    assert_eq!(received["protocol"], "ESMTPSA");
    assert_eq!(received["account"], "ann");
}

#[test]
fn what_is_signed_encrypted_or_a_report_goes_with_its_exact_octets() {
    let api = FakeApi::start();
    let gateway = Gateway::before(&api.url(), |_| {});
    let mut client = gateway.logged_in();
    for kind in ["signed", "encrypted", "report", "mixed"] {
        let content = format!(
            "Bcc: hidden@example.net\r\nContent-Type: multipart/{kind}; boundary=b\r\n\r\n\
             --b\r\n\r\nx\r\n--b--\r\n"
        );
        client.submit(&["ann@example.net"], &content);
        let body = api.recorded().last().unwrap().json();
        assert_eq!(body["raw"].is_string(), kind != "mixed", "{kind}");
        if kind != "mixed" {
            let raw = raw(&body);
            assert!(raw.contains("\r\n--b\r\n\r\nx\r\n--b--\r\n"), "{raw}");
            assert!(!raw.contains("hidden@"), "{raw}");
        }
    }
}

#[test]
fn lone_line_feeds_are_normalised_and_do_not_cut_a_message() {
    let api = FakeApi::start();
    let gateway = Gateway::before(&api.url(), |config| config.api.raw = true);
    let reply = gateway.logged_in().submit(
        &["ann@example.net"],
        "Subject: printer\n\nline 1\nline 2\r\n",
    );
    assert!(reply.starts_with("250"), "{reply}");
    let body = api.recorded()[0].json();
    assert_eq!(body["subject"], "printer");
    assert_eq!(body["text"], "line 1\nline 2\n");
    assert!(raw(&body).ends_with("Subject: printer\r\n\r\nline 1\r\nline 2\r\n"));
}

#[test]
fn a_message_in_chunks_reaches_the_api_as_the_one_by_data_does() {
    let api = FakeApi::start();
    let gateway = Gateway::before(&api.url(), |config| config.api.raw = true);
    let mut client = gateway.logged_in();
    let lines = "A line of text, and one with dots:\r\n..\r\n.\r\n\n".repeat(2000);
    let content = format!("Message-ID: <m@x.example>\r\nSubject: s\r\n\r\n{lines}end\r\n");
    let reply = client.submit(&["ann@example.net"], &content);
    assert!(reply.starts_with("250"), "{reply}");
    // 97 octets cut the lines, and CRLF, at each place.
    for size in [97, 1000, 60_000, content.len()] {
        let reply = client.submit_in_chunks(&["ann@example.net"], content.as_bytes(), size);
        assert!(
            reply.starts_with("250 2.0.0 Ok: queued as"),
            "{size}: {reply}"
        );
    }
    let requests = api.recorded();
    assert_eq!(requests.len(), 5);
    let by_data = requests[0].json();
    for request in &requests[1..] {
        let by_chunks = request.json();
        assert_eq!(by_chunks["text"], by_data["text"]);
        assert_eq!(by_chunks["envelope"], by_data["envelope"]);
        let behind_trace = |body| raw(body).split_once("Message-ID").unwrap().1.to_owned();
        assert_eq!(behind_trace(&by_chunks), behind_trace(&by_data));
    }
}

#[test]
fn a_message_that_goes_round_in_circles_is_refused() {
    let gateway = Gateway::sandbox(|_| {});
    let mut client = gateway.logged_in();
    let hop = "Received: from a.example by b.example\r\n";
    let reply = client.submit(
        &["ann@example.net"],
        &format!("{}\r\nx\r\n", hop.repeat(51)),
    );
    assert!(reply.starts_with("554 5.4.6"), "{reply}");
    let reply = client.submit(
        &["ann@example.net"],
        &format!("{}\r\nx\r\n", hop.repeat(50)),
    );
    assert!(reply.starts_with("250"), "{reply}");
}

#[test]
fn a_message_of_25_mib_passes_and_one_octet_more_does_not() {
    const LIMIT: usize = 25 << 20;
    let api = FakeApi::start();
    let gateway = Gateway::before(&api.url(), |_| {});
    let mut client = gateway.logged_in();

    let line = format!("{}\r\n", "x".repeat(98));
    let mut content = "Subject: large\r\n\r\n".to_owned();
    content.push_str(&line.repeat((LIMIT - content.len()) / line.len()));
    content.push_str(&"x".repeat(LIMIT - content.len() - 2));
    content.push_str("\r\n");
    assert_eq!(content.len(), LIMIT);
    let reply = client.submit(&["ann@example.net"], &content);
    assert!(reply.starts_with("250"), "{reply}");
    let text = api.recorded()[0].json()["text"].as_str().unwrap().len();
    assert!(text > LIMIT - LIMIT / 50, "the text has {text} octets");

    client.ask(
        &format!("MAIL FROM:<app@example.com> SIZE={}", LIMIT + 1),
        "552 5.3.4",
    );
    client.ask(&format!("MAIL FROM:<app@example.com> SIZE={LIMIT}"), "250");
    client.ask("RSET", "250");
    let reply = client.submit(&["ann@example.net"], &format!("x{content}"));
    assert!(reply.starts_with("552 5.3.4"), "{reply}");
    let reply = client.submit(&["ann@example.net"], "Subject: small\r\n\r\nx\r\n");
    assert!(reply.starts_with("250"), "the session goes on: {reply}");
    assert_eq!(api.recorded().len(), 2);
}
