//! The header section of the message to the fields of [`Email`] (RFC 5322 §3.6).
//!
//! Fields with a place of their own go there; of those that may stand only once the first counts,
//! address fields are joined. Bcc is left out: it must not be seen by anyone (RFC 6409 §8, RFC 5322
//! §3.6.3). All others stay in `headers`, in their order.

use crate::message::address_list;
use crate::message::date::Date;
use crate::message::email::{Email, HeaderField};
use crate::message::header::{Field, Header};
use crate::message::words;

/// An [`Email`] with all but text and attachments.
pub fn read(octets: &[u8], header: &Header) -> Email {
    let mut email = Email::default();
    for field in header.fields(octets) {
        take(&mut email, &field);
    }
    email
}

/// Fields that only name hidden recipients: cut out of all that leaves.
pub fn is_hidden(field: &Field<'_>) -> bool {
    field.is("Bcc") || field.is("Resent-Bcc")
}

/// What is in angle brackets, or all of it: the id without what is around it.
pub(super) fn id(field_value: &[u8]) -> Option<String> {
    let text = words::undecoded(field_value);
    let inner = text
        .split_once('<')
        .map_or(text.as_str(), |(_, behind)| behind);
    let inner = inner.split_once('>').map_or(inner, |(inside, _)| inside);
    let id: String = inner.split_whitespace().collect();
    (!id.is_empty()).then_some(id)
}

fn take(email: &mut Email, field: &Field<'_>) {
    let name = String::from_utf8_lossy(field.name);
    let addresses = || address_list::parse(field.value);
    match name.to_ascii_lowercase().as_str() {
        "from" => email.from.extend(addresses()),
        "to" => email.to.extend(addresses()),
        "cc" => email.cc.extend(addresses()),
        "reply-to" => email.reply_to.extend(addresses()),
        "sender" if email.sender.is_none() => email.sender = addresses().into_iter().next(),
        "subject" if email.subject.is_none() => email.subject = Some(words::text(field.value)),
        "date" if email.date.is_none() => {
            email.date = Date::parse(&String::from_utf8_lossy(field.value));
        }
        "message-id" if email.message_id.is_none() => email.message_id = id(field.value),
        "sender" | "subject" | "date" | "message-id" | "mime-version" => {}
        content if content.starts_with("content-") => {}
        _ if is_hidden(field) => {}
        lower => {
            if lower == "received" {
                email.received_count = email.received_count.saturating_add(1);
            }
            let value = match holds_addresses(lower) || holds_ids_or_urls(lower) {
                true => words::undecoded(field.value),
                false => words::text(field.value),
            };
            email.headers.push(HeaderField {
                name: name.into_owned(),
                value,
            });
        }
    }
}

/// In these fields, named in lower case, encoded words are left as they are: a comma out of one would
/// part one address into two.
pub fn holds_addresses(lower_name: &str) -> bool {
    lower_name != "in-reply-to"
        && ["-to", "-from", "-cc", "-sender"]
            .iter()
            .any(|suffix| lower_name.ends_with(suffix))
}

/// In these, too: what looks like an encoded word belongs to an id or a URL (RFC 5322 §3.6.4, RFC
/// 2369 §2).
pub fn holds_ids_or_urls(lower_name: &str) -> bool {
    ["in-reply-to", "references"].contains(&lower_name) || lower_name.starts_with("list-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn email(text: &str) -> Email {
        let header = Header::find(text.as_bytes(), 0, None, |_| false).unwrap();
        read(text.as_bytes(), &header)
    }

    fn headers(email: &Email) -> Vec<(&str, &str)> {
        let fields = email.headers.iter();
        fields
            .map(|field| (field.name.as_str(), field.value.as_str()))
            .collect()
    }

    #[test]
    fn of_repeated_fields_the_first_counts_and_addresses_are_joined() {
        let email = email(concat!(
            "From: a@b.c\r\nFrom: d@e.f, g@h.i\r\nTo: a@b.c\r\nto: d@e.f\r\n",
            "Subject: one\r\nSubject: two\r\nSender: s@b.c\r\nSender: t@b.c\r\n",
            "Message-ID: <1@b.c>\r\nMessage-Id: <2@b.c>\r\n",
            "Date: Mon, 1 Jan 2024 08:00:00 +0100\r\nDate: Mon, 1 Jan 2025 08:00:00 +0100\r\n",
        ));
        assert_eq!(email.from.len(), 3);
        assert_eq!(email.to.len(), 2);
        assert_eq!(email.subject.as_deref(), Some("one"));
        assert_eq!(email.sender.map(|s| s.email).as_deref(), Some("s@b.c"));
        assert_eq!(email.message_id.as_deref(), Some("1@b.c"));
        assert_eq!(email.date.unwrap().rfc3339(), "2024-01-01T08:00:00+01:00");
        assert!(email.headers.is_empty());
    }

    #[test]
    fn other_fields_stay_in_order_and_bcc_does_not() {
        let email = email(concat!(
            "Received: from a\r\n\tby b\r\nReceived: from c\r\nX-One: =?utf-8?Q?caf=C3=A9?=\r\n",
            "Bcc: hidden@b.c\r\nBCC : hidden@b.c\r\nResent-Bcc: hidden@b.c\r\n",
            "MIME-Version: 1.0\r\nContent-Language: en\r\nX-One: two\r\n",
            "Resent-To: =?utf-8?Q?a=2C?= <a@b.c>\r\nX-Bcc:\r\n",
            "List-Help: <https://b.c/=?utf-8?Q?a?=>\r\n",
        ));
        assert_eq!(email.received_count, 2);
        assert_eq!(
            headers(&email),
            [
                ("Received", "from a by b"),
                ("Received", "from c"),
                ("X-One", "café"),
                ("X-One", "two"),
                ("Resent-To", "=?utf-8?Q?a=2C?= <a@b.c>"),
                ("X-Bcc", ""),
                ("List-Help", "<https://b.c/=?utf-8?Q?a?=>"),
            ]
        );
    }

    #[test]
    fn ids_lose_their_brackets() {
        for (value, found) in [
            (" <1@b.c>", Some("1@b.c")),
            ("<1@\r\n b.c> (x)", Some("1@b.c")),
            ("1@b.c", Some("1@b.c")),
            ("<1@b.c", Some("1@b.c")),
            ("<>", None),
            (" ", None),
        ] {
            assert_eq!(id(value.as_bytes()).as_deref(), found, "{value:?}");
        }
    }
}
