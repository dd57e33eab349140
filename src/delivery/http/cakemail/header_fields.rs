//! The header fields that go along, as `additional_headers`.
//!
//! Left out are those that have a place of their own, those that Cakemail writes itself, traces of
//! the way so far, and those that speak to an email service.

use serde::Serialize;

use crate::delivery::http::cakemail::wishes;
use crate::delivery::http::provider::Unsendable;
use crate::message::address_list;
use crate::message::email::{Email, HeaderField, VisibleAddress};
use crate::message::encoded_words;
use crate::message::fields;
use crate::message::vendor_fields::{self, VendorField};

#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Field {
    name: String,
    /// One line of ASCII.
    value: String,
}

/// The fields in their order, Reply-To and Message-ID first.
///
/// # Errors
/// [`Unsendable::CannotCarry`] for a field that asks for another message than this one, and for an
/// address that cannot be written in ASCII.
pub(super) fn additional(email: &Email) -> Result<Vec<Field>, Unsendable> {
    let mut additional = Vec::new();
    let mut push = |name: &str, value: String| {
        if !value.is_empty() {
            let name = name.to_owned();
            additional.push(Field { name, value });
        }
    };
    push("Reply-To", addresses("Reply-To", &email.reply_to)?);
    let id = email.message_id.as_deref().unwrap_or_default();
    // There is no way to write another one in ASCII; Cakemail makes its own then.
    if !id.is_empty() && id.bytes().all(|octet| octet.is_ascii_graphic()) {
        push("Message-ID", format!("<{id}>"));
    }
    let author = email.from.first().map(|author| &author.email);
    if let Some(sender) = &email.sender
        && Some(&sender.email) != author
    {
        push("Sender", addresses("Sender", std::slice::from_ref(sender))?);
    }
    for field in &email.headers {
        if let Some(value) = value(field)? {
            push(&field.name, value);
        }
    }
    Ok(additional)
}

/// The value to send; nothing for a field that does not leave.
fn value(field: &HeaderField) -> Result<Option<String>, Unsendable> {
    let name = field.name.to_ascii_lowercase();
    if is_trace(&name) || wishes::is_own(&name) {
        return Ok(None);
    }
    match vendor_fields::read(field) {
        None => {}
        Some(VendorField::Harmless) => return Ok(None),
        Some(VendorField::Another(wish)) => {
            let reason = format!("it cannot do what {wish} asks for");
            return Err(Unsendable::CannotCarry(reason));
        }
    }
    Ok(Some(match fields::holds_addresses(&name) {
        false => encoded_words::text(&field.value),
        // Encoded words are still there: encoded once more they would be shown as they are.
        true if field.value.is_ascii() => field.value.clone(),
        true => addresses(&field.name, &address_list::parse(field.value.as_bytes()))?,
    }))
}

fn addresses(name: &str, addresses: &[VisibleAddress]) -> Result<String, Unsendable> {
    encoded_words::addresses(addresses).ok_or_else(|| {
        let reason = format!("{name} holds an address that is not ASCII");
        Unsendable::CannotCarry(reason)
    })
}

/// Traces of the way so far, which are wrong on the way from here; and signatures, which would not
/// hold.
fn is_trace(name: &str) -> bool {
    TRACES.contains(&name) || name.starts_with("arc-") || name.starts_with("resent-")
}

const TRACES: [&str; 12] = [
    "received",
    "x-received",
    "received-spf",
    "return-path",
    "delivered-to",
    "envelope-to",
    "x-original-to",
    "apparently-to",
    "dkim-signature",
    "x-google-dkim-signature",
    "domainkey-signature",
    "authentication-results",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::header::Header;

    fn fields(text: &str) -> Result<Vec<String>, Unsendable> {
        let header = Header::find(text.as_bytes(), 0, None, |_| false).unwrap();
        let email = fields::read(text.as_bytes(), &header);
        let show = |field: Field| format!("{}: {}", field.name, field.value);
        Ok(additional(&email)?.into_iter().map(show).collect())
    }

    #[test]
    fn fields_of_the_message_go_along_in_ascii() {
        let found = fields(concat!(
            "X-Campaign: =?utf-8?Q?No=C3=ABl?= 7\r\nReply-To: Zo\u{eb} <help@example.com>\r\n",
            "Reply-To: b@example.com\r\nMessage-ID: <7@example.com>\r\nFrom: a@example.com\r\n",
            "Sender: Robot <robot@example.com>\r\nIn-Reply-To: <6@example.com>\r\n",
            "References: <5@example.com>\r\n <6@example.com>\r\nX-Campaign: two\r\nX-Empty:\r\n",
            "List-Unsubscribe: <https://example.com/u>\r\n",
            "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n",
            "Mail-Followup-To: =?utf-8?Q?Zo=C3=AB?= <z@example.com>\r\n",
            "Disposition-Notification-To: Zo\u{eb} <z@example.com>\r\nAuto-Submitted: no\r\n",
        ));
        let expected = [
            "Reply-To: =?utf-8?B?Wm/Dqw==?= <help@example.com>, b@example.com",
            "Message-ID: <7@example.com>",
            "Sender: Robot <robot@example.com>",
            "X-Campaign: =?utf-8?B?Tm/Dq2w=?= 7",
            "In-Reply-To: <6@example.com>",
            "References: <5@example.com> <6@example.com>",
            "X-Campaign: two",
            "List-Unsubscribe: <https://example.com/u>",
            "List-Unsubscribe-Post: List-Unsubscribe=One-Click",
            "Mail-Followup-To: =?utf-8?Q?Zo=C3=AB?= <z@example.com>",
            "Disposition-Notification-To: =?utf-8?B?Wm/Dqw==?= <z@example.com>",
            "Auto-Submitted: no",
        ];
        assert_eq!(found.unwrap(), expected);
    }

    #[test]
    fn what_does_not_concern_the_reader_stays_behind() {
        let found = fields(concat!(
            "From: a@example.com\r\nSender: a@example.com\r\nTo: b@example.net\r\n",
            "Cc: c@example.net\r\nBcc: d@example.net\r\nResent-To: e@example.net\r\n",
            "Received: from x\r\nReturn-Path: <a@example.com>\r\nDKIM-Signature: v=1\r\n",
            "ARC-Seal: i=1\r\nAuthentication-Results: x\r\nX-List-Id: 9\r\nx-group-id: 3\r\n",
            "X-Email-Api-Enabled: true\r\nX-SMTPAPI: {\"category\":\"a\"}\r\nX-MC-Tags: a\r\n",
            "X-Mailgun-Tag: a\r\nX-PM-Tag: a\r\nX-SES-CONFIGURATION-SET: a\r\n",
            "Message-ID: <é@example.com>\r\nDate: Mon, 1 Jan 2024 08:00:00 +0100\r\n",
            "MIME-Version: 1.0\r\nContent-Language: en\r\n",
        ));
        assert_eq!(found.unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_field_that_asks_for_another_message_is_named() {
        for (field, name) in [
            ("X-SMTPAPI: {\"sub\":{\"-a-\":[\"b\"]}}", "X-SMTPAPI (sub)"),
            ("X-MC-Template: welcome", "X-MC-Template"),
            ("Reply-To: zo\u{eb}@example.com", "Reply-To"),
        ] {
            let Err(Unsendable::CannotCarry(reason)) = fields(&format!("{field}\r\n")) else {
                panic!("{field} was taken");
            };
            assert!(reason.contains(name), "{reason}");
        }
    }
}
