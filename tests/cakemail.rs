//! Mail to Cakemail: what it is told, who may tell it, and what the client hears of it.

mod logins;
mod messages;
mod outcomes;
mod senders;

use std::sync::Arc;

use serde_json::Value;

use crate::support::cakemail::{Cakemail, Sent};
use crate::support::client::SmtpClient;
use crate::support::gateway::Gateway;

const HELLO: &str = "From: app@example.com\r\nSubject: Hello\r\n\r\nhello\r\n";
const BOB: [&str; 1] = ["bob@example.net"];

/// A client that has logged in as `ann@example.com`.
fn logged_in(gateway: &Gateway) -> SmtpClient {
    let mut client = gateway.secured();
    let reply = client.authenticate("ann@example.com", "secret");
    assert!(reply.starts_with("235 2.7.0"), "{reply}");
    client
}

/// Submits a message that is to be accepted, and gives the calls it became.
fn accepted(cakemail: &Cakemail, recipients: &[&str], content: &str) -> Vec<Arc<Sent>> {
    let gateway = Gateway::before_cakemail(cakemail, |_| {});
    let reply = logged_in(&gateway).submit(recipients, content);
    assert!(reply.starts_with("250 2.0.0 Ok: queued as "), "{reply}");
    let sent = cakemail.sent();
    for sent in &sent {
        assert_eq!(sent.fault, None, "{}", sent.json);
    }
    sent
}

/// The value of a field in `additional_headers`, whatever the case of its name.
fn additional<'a>(email: &'a Value, name: &str) -> Option<&'a str> {
    let fields = email["additional_headers"].as_array()?;
    let field = fields.iter().find(|field| {
        let found = field["name"].as_str().unwrap_or_default();
        found.eq_ignore_ascii_case(name)
    })?;
    field["value"].as_str()
}
