//! T1, SMTP smuggling (CVE-2023-51764 and its kin): whatever stands around a dot that is not
//! CRLF.CRLF, what comes in as one message stays one message.

use serde_json::Value;
use smtp_gateway::smtp::framing::LoneNewlines;

use crate::support::gateway::Gateway;

const FALSE_ENDS: [&str; 14] = [
    "\n.\n",
    "\n.\r\n",
    "\r.\r",
    "\r.\r\n",
    "\r.\n",
    "\n.\r",
    "\r\n.\n",
    "\r\n.\r",
    "\r\n\0.\r\n",
    "\r\n.\0\r\n",
    "\n.\0\r\n",
    "\r\r\n.\n",
    "\n\n.\r\n",
    "\r\n. \r\n",
];

fn attack(end: &str) -> String {
    format!(
        "Subject: one\r\n\r\nfirst{end}MAIL FROM:<evil@example.com>\r\nRCPT TO:<victim@example.net>\r\n\
         DATA\r\nSubject: two\r\n\r\nsecond\r\n.\r\n"
    )
}

fn messages(gateway: &Gateway) -> Vec<Value> {
    let list: Value = serde_json::from_str(&gateway.get("/api/messages").1).unwrap();
    list["messages"].as_array().unwrap().clone()
}

#[test]
fn a_false_end_of_data_never_makes_two_messages() {
    for end in FALSE_ENDS {
        let gateway = Gateway::sandbox(|_| {});
        let mut client = gateway.logged_in();
        client.begin(&["ann@example.net"]);
        client.send(attack(end));
        client.expect("250 2.0.0");
        client.ask("NOOP", "250 2.0.0");
        let messages = messages(&gateway);
        assert_eq!(messages.len(), 1, "{end:?}");
        assert_eq!(
            messages[0]["envelope"]["to"],
            serde_json::json!(["ann@example.net"])
        );
        let path = format!("/api/messages/{}", messages[0]["id"].as_str().unwrap());
        let message = gateway.get(&path).1;
        assert!(
            message.contains("second"),
            "what was smuggled is text: {end:?}"
        );
    }
}

#[test]
fn a_false_end_cut_over_packets_never_makes_two_messages() {
    let gateway = Gateway::sandbox(|_| {});
    for end in ["\n.\r\n", "\r\n.\n", "\r.\r\n"] {
        let mut client = gateway.logged_in();
        client.begin(&["ann@example.net"]);
        let text = attack(end);
        let at = text.find(end).unwrap();
        client.send(&text[..at]);
        for octet in end.bytes() {
            client.send([octet]);
        }
        client.send(&text[at + end.len()..]);
        client.expect("250 2.0.0");
        client.ask("NOOP", "250 2.0.0");
    }
    assert_eq!(messages(&gateway).len(), 3);
}

#[test]
fn lone_line_breaks_can_be_refused_after_the_true_end() {
    for end in ["\n.\n", "\n.\r\n", "\r.\r\n"] {
        let gateway = Gateway::sandbox(|config| config.smtp.lone_newlines = LoneNewlines::Refuse);
        let mut client = gateway.logged_in();
        client.begin(&["ann@example.net"]);
        client.send(attack(end));
        client.expect("550 5.5.2");
        client.expect_end();
        assert!(messages(&gateway).is_empty(), "{end:?}");
    }
}
