//! The header fields that go along, as `additional_headers`.
//!
//! Left out are those that have a place of their own, those that Cakemail writes itself, traces of
//! the way so far, those that speak to an email service, and what cannot stand in a header: ids that
//! are not ASCII, odd names, and values that fit no line (RFC 5322 §2.1.1).

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
    if is_trace(&name) || wishes::is_own(&name) || !is_plain(&name) {
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
    let value = &field.value;
    let room = MAX_LINE
        .saturating_sub(name.len())
        .saturating_sub(": ".len());
    let value = match name.as_str() {
        // There is no other way to write an id.
        "in-reply-to" | "references" if !value.is_ascii() => return Ok(None),
        "references" => shortened(value, room),
        // Encoded words are still there: encoded once more they would be shown as they are.
        _ if value.is_ascii() && keeps_encoded_words(&name) => value.clone(),
        _ if fields::holds_addresses(&name) => match address_list::parse(value.as_bytes()) {
            found if found.iter().any(|found| found.email.contains('@')) => {
                addresses(&field.name, &found)?
            }
            _ => encoded_words::text(value),
        },
        _ => encoded_words::text(value),
    };
    let fits = value.split(' ').all(|word| word.len() <= room);
    Ok(fits.then_some(value))
}

fn keeps_encoded_words(lower_name: &str) -> bool {
    fields::holds_addresses(lower_name) || fields::holds_ids_or_urls(lower_name)
}

/// The first id and as many of the last ones as there is room for, as RFC 5537 §3.4.4 does it: they
/// name the thread and the place in it.
fn shortened(references: &str, room: usize) -> String {
    let ids: Vec<&str> = references.split_ascii_whitespace().collect();
    let Some((first, others)) = ids.split_first() else {
        return String::new();
    };
    let mut length = first.len();
    let fits = |id: &&&str| {
        length = length.saturating_add(" ".len()).saturating_add(id.len());
        length <= room
    };
    let last = others.iter().rev().take_while(fits).count();
    let last = others.iter().skip(others.len().saturating_sub(last));
    let kept: Vec<&str> = std::iter::once(first).chain(last).copied().collect();
    kept.join(" ")
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
    let begins = |prefix: &&str| name.starts_with(prefix);
    TRACES.contains(&name) || TRACE_PREFIXES.iter().any(begins)
}

/// RFC 5322 allows every sign in a name, such as brackets. Nobody uses them, and an API may not take
/// them.
fn is_plain(name: &str) -> bool {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet);
    name.bytes().all(plain)
}

const TRACES: [&str; 13] = [
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
    // The key of a mail program, longer than a line.
    "autocrypt",
];
const TRACE_PREFIXES: [&str; 6] = [
    "arc-",
    "resent-",
    "x-ms-exchange-",
    "x-forefront-",
    "x-microsoft-antispam",
    "x-spam-",
];
/// Octets in a line without its end (RFC 5322 §2.1.1).
const MAX_LINE: usize = 998;

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
    fn what_fits_no_header_stays_behind() {
        let long = "x".repeat(1000);
        let found = fields(&format!(
            "Autocrypt: addr=a@b.c; keydata={long}\r\nX-MS-Exchange-Organization-SCL: 1\r\n\
             X-Forefront-Antispam-Report: a\r\nX-Microsoft-Antispam: a\r\nX-Spam-Status: No\r\n\
             X-Long: a {long} b\r\nX-Foo(bar)/\"baz\": 1\r\nIn-Reply-To: <é@example.com>\r\n\
             References: <5@example.com> <é@example.com>\r\nReply-To: Support\r\n"
        ));
        assert_eq!(found.unwrap(), Vec::<String>::new());
    }

    #[test]
    fn of_many_references_the_first_and_the_last_go_along() {
        let ids: Vec<String> = (0..40)
            .map(|id| format!("<{id:040}@example.com>"))
            .collect();
        let found = fields(&format!("References: {}\r\n", ids.join("\r\n "))).unwrap();
        let [found] = found.try_into().unwrap();
        assert_eq!(
            found,
            format!("References: {} {}", ids[0], ids[24..].join(" "))
        );
        assert!(found.len() <= MAX_LINE);
    }

    #[test]
    fn urls_and_names_that_are_no_addresses_are_kept() {
        for (field, expected) in [
            ("List-Unsubscribe: <https://x.example/u?q=?a>", None),
            ("List-Help: <https://x.example/=?utf-8?Q?a?=>", None),
            ("X-URL: <https://x.example/u?q=?a>", None),
            ("X-Assigned-To: Ann", None),
            (
                "X-Assigned-To: Zoë",
                Some("X-Assigned-To: =?utf-8?B?Wm/Dqw==?="),
            ),
            (
                "X-Assigned-To: Zoë Müller",
                Some("X-Assigned-To: =?utf-8?B?Wm/DqyBNw7xsbGVy?="),
            ),
        ] {
            let found = fields(&format!("{field}\r\n")).unwrap();
            assert_eq!(found, [expected.unwrap_or(field)]);
        }
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
