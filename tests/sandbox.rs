//! The inbox of the sandbox, over HTTP.

use serde_json::Value;
use smtp_gateway::delivery::http::ProviderName;
use smtp_gateway::units::ByteSize;

use crate::support::gateway::Gateway;
use crate::support::http::{full_request, request};

const NASTY: &str = "From: Eve <eve@example.com>\r\nTo: ann@example.net\r\n\
    Subject: <script>alert(1)</script>\r\nMIME-Version: 1.0\r\n\
    Content-Type: multipart/alternative; boundary=b\r\n\r\n\
    --b\r\nContent-Type: text/plain\r\n\r\n</pre><script>alert(2)</script>\r\n\
    --b\r\nContent-Type: text/html\r\n\r\n<script>alert(3)</script><p>hello</p>\r\n--b--\r\n";

fn messages(gateway: &Gateway) -> Vec<Value> {
    let (status, body) = gateway.get("/api/messages");
    assert_eq!(status, 200);
    let list: Value = serde_json::from_str(&body).unwrap();
    list["messages"].as_array().unwrap().clone()
}

#[test]
fn a_message_is_listed_shown_given_raw_and_deleted() {
    let gateway = Gateway::sandbox(|_| {});
    let mut client = gateway.logged_in();
    let reply = client.submit(
        &["ann@example.net", "bob@example.net"],
        "Subject: one\r\n\r\nx\r\n",
    );
    client.submit(&["ann@example.net"], "Subject: two\r\n\r\nx\r\n");
    let listed = messages(&gateway);
    let subjects: Vec<_> = listed.iter().map(|message| &message["subject"]).collect();
    assert_eq!(subjects, ["two", "one"], "the newest first");

    let id = listed[1]["id"].as_str().unwrap();
    assert_eq!(reply, format!("250 2.0.0 Ok: queued as {id}\r\n"));
    let (_, body) = gateway.get(&format!("/api/messages/{id}"));
    let message: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(message["envelope"]["to"][1], "bob@example.net");
    let request = &message["requests"][0];
    assert_eq!(request["method"], "POST");
    assert_eq!(request["body"]["subject"], "one");
    assert_eq!(request["body"]["version"], 1);

    let (status, head, raw) =
        full_request(gateway.http(), "GET", &format!("/api/messages/{id}/raw"));
    assert_eq!((status, raw.as_str()), (200, "Subject: one\r\n\r\nx\r\n"));
    assert!(head.contains("content-type: message/rfc822"), "{head}");

    assert_eq!(request_status(&gateway, "DELETE", "/api/messages"), 204);
    assert_eq!(messages(&gateway), Vec::<Value>::new());
    for path in [
        format!("/api/messages/{id}"),
        format!("/api/messages/{id}/raw"),
        "/api/messages/..".into(),
    ] {
        assert_eq!(gateway.get(&path).0, 404, "{path}");
    }
}

fn request_status(gateway: &Gateway, method: &str, path: &str) -> u16 {
    request(gateway.http(), method, path).0
}

#[test]
fn the_page_shows_messages_escaped_and_html_only_locked_up() {
    let gateway = Gateway::sandbox(|_| {});
    assert!(gateway.get("/").1.contains("Nothing here yet"));
    gateway.logged_in().submit(&["ann@example.net"], NASTY);
    let id = messages(&gateway)[0]["id"].as_str().unwrap().to_owned();
    for path in ["/".to_owned(), format!("/?id={id}")] {
        let (status, head, page) = full_request(gateway.http(), "GET", &path);
        assert_eq!(status, 200);
        assert!(!page.contains("<script"), "{page}");
        assert!(
            page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"),
            "{page}"
        );
        assert!(page.contains(&format!("<iframe sandbox src=\"/api/messages/{id}/html\">")));
        assert!(
            head.contains("content-security-policy: default-src 'none'"),
            "{head}"
        );
    }
    let (_, head, html) = full_request(gateway.http(), "GET", &format!("/api/messages/{id}/html"));
    assert!(html.contains("<p>hello</p>"));
    assert!(
        head.contains("content-security-policy: sandbox; default-src 'none'"),
        "{head}"
    );
    assert!(
        gateway
            .get("/?id=%3Cscript%3E")
            .1
            .contains("No such message")
    );
}

#[test]
fn keys_in_requests_are_hidden() {
    let gateway = Gateway::sandbox(|config| {
        config.api.key = Some(smtp_gateway::secret::Secret::new("canary-key"));
    });
    gateway
        .logged_in()
        .submit(&["ann@example.net"], "\r\nx\r\n");
    let id = messages(&gateway)[0]["id"].as_str().unwrap().to_owned();
    for path in ["/".to_owned(), format!("/api/messages/{id}")] {
        let (_, body) = gateway.get(&path);
        assert!(
            body.contains("authorization") && !body.contains("canary-key"),
            "{body}"
        );
    }
}

#[test]
fn requests_are_those_of_the_provider_and_nobody_is_asked_for_a_sender() {
    let gateway = Gateway::sandbox(|config| config.api.provider = ProviderName::Cakemail);
    let mut client = gateway.logged_in();
    let reply = client.submit(
        &["ann@example.net", "bob@example.net"],
        "Subject: s\r\n\r\nx\r\n",
    );
    assert!(reply.starts_with("250"), "{reply}");
    let id = messages(&gateway)[0]["id"].as_str().unwrap().to_owned();
    let (_, body) = gateway.get(&format!("/api/messages/{id}"));
    let message: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(message["requests_total"], 2);
    let request = &message["requests"][0];
    assert_eq!(request["url"], "https://api.example/v2/emails");
    assert_eq!(request["body"]["email"], "ann@example.net");
    assert_eq!(request["body"]["sender"]["id"], "the id of app@example.com");

    let reply = client.submit(&["ann@example.net"], "X-Mc-Template: t\r\n\r\nx\r\n");
    assert!(reply.starts_with("554 5.6.1"), "{reply}");
}

#[test]
fn the_inbox_is_bounded_and_the_oldest_makes_room() {
    let gateway = Gateway::sandbox(|config| config.sandbox.messages = 2);
    let mut client = gateway.logged_in();
    for number in 1..=3 {
        client.submit(
            &["ann@example.net"],
            &format!("Subject: {number}\r\n\r\nx\r\n"),
        );
    }
    let subjects: Vec<_> = messages(&gateway)
        .iter()
        .map(|message| message["subject"].clone())
        .collect();
    assert_eq!(subjects, ["3", "2"]);

    let gateway = Gateway::sandbox(|config| config.sandbox.memory = ByteSize(100_000));
    let mut client = gateway.logged_in();
    let content = format!("Subject: large\r\n\r\n{}", "x\r\n".repeat(10_000));
    for _ in 0..3 {
        assert!(
            client
                .submit(&["ann@example.net"], &content)
                .starts_with("250")
        );
    }
    assert_eq!(messages(&gateway).len(), 1);
}

#[test]
fn without_the_sandbox_there_is_no_inbox() {
    let gateway = Gateway::before("http://127.0.0.1:9", |_| {});
    for path in ["/", "/api/messages"] {
        assert_eq!(gateway.get(path).0, 404);
    }
}

#[test]
fn a_message_with_many_requests_shows_some_of_them_and_their_number() {
    let gateway = Gateway::sandbox(|config| {
        config.api.requests = smtp_gateway::delivery::http::Requests::PerRecipient;
    });
    let recipients: Vec<_> = (0..15)
        .map(|number| format!("r{number}@example.net"))
        .collect();
    let recipients: Vec<_> = recipients.iter().map(String::as_str).collect();
    gateway.logged_in().submit(&recipients, "\r\nx\r\n");
    let id = messages(&gateway)[0]["id"].as_str().unwrap().to_owned();
    let message: Value =
        serde_json::from_str(&gateway.get(&format!("/api/messages/{id}")).1).unwrap();
    assert_eq!(message["requests"].as_array().unwrap().len(), 10);
    assert_eq!(message["requests_total"], 15);
}
