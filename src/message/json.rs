//! The JSON form of a message, version 1: the body of the request to an email API of one's own.
//!
//! The contract is docs/json-api.md, its schema docs/json-api.schema.json. A form is made once for
//! a message, its attachments counted once; [`JsonForm::addressed_to`] then gives the body of a
//! call for some of the recipients at nearly no cost.

use serde::Serialize;

use crate::message::base64_form::Base64Form;
use crate::message::content::Content;
use crate::message::email::{Attachment, Email, HeaderField, VisibleAddress};
use crate::message::json_writer::JsonWriter;
use crate::message::pieces::{Piece, Pieces};
use crate::message::raw::RawMessage;
use crate::message::received::Received;
use crate::smtp::address::{ForwardPath, ReversePath};

/// Raised when a reader of the older version would go wrong.
pub const VERSION: u32 = 1;

/// All of the JSON but the envelope.
#[derive(Clone)]
pub struct JsonForm {
    id: String,
    pieces: Vec<Piece>,
}

impl JsonForm {
    /// `email` is the message read and completed, `content` what it was read from. `id` is ours, of
    /// the transaction. `raw` is put in where the API wants it.
    pub fn new(
        email: &Email,
        content: &Content,
        id: &str,
        received: &Received,
        raw: Option<&RawMessage>,
    ) -> Self {
        let mut writer = JsonWriter::default();
        writer.member("from", &addresses(&email.from));
        writer.optional("sender", email.sender.as_ref().map(Address::new));
        writer.member("to", &addresses(&email.to));
        writer.member("cc", &addresses(&email.cc));
        writer.member("reply_to", &addresses(&email.reply_to));
        writer.optional("message_id", email.message_id.as_ref());
        writer.optional("date", email.date.map(|date| date.rfc3339()));
        writer.optional("subject", email.subject.as_ref());
        for (name, text) in [("text", &email.text), ("html", &email.html)] {
            if let Some(text) = text {
                writer.text_member(name, text);
            }
        }
        let headers: Vec<Field<'_>> = email.headers.iter().map(Field::new).collect();
        writer.member("headers", &headers);
        writer.key("attachments");
        writer.text(b"[");
        for (index, attachment) in email.attachments.iter().enumerate() {
            if index > 0 {
                writer.text(b",");
            }
            write_attachment(&mut writer, attachment, content);
        }
        writer.text(b"]");
        writer.member("received", &Trace::new(received));
        if let Some(raw) = raw {
            writer.base64_member("raw", raw.base64());
        }
        writer.text(b"}");
        Self {
            id: id.to_owned(),
            pieces: writer.finish(),
        }
    }

    /// The body of one call. Only the recipients given here are named in its envelope.
    pub fn addressed_to(&self, reverse_path: &ReversePath, recipients: &[ForwardPath]) -> Pieces {
        let mut writer = JsonWriter::default();
        writer.text(b"{");
        writer.member("version", &VERSION);
        writer.member("id", &self.id);
        writer.member(
            "envelope",
            &Addressed {
                from: reverse_path.to_string(),
                to: recipients.iter().map(ForwardPath::to_string).collect(),
            },
        );
        let mut pieces = writer.finish();
        pieces.extend(self.pieces.iter().cloned());
        pieces.into_iter().collect()
    }
}

fn write_attachment(writer: &mut JsonWriter, attachment: &Attachment, content: &Content) {
    let octets = content.slice(attachment.body.clone());
    let base64 = Base64Form::of_part(octets, attachment.encoding);
    writer.text(b"{");
    writer.optional("filename", attachment.name.as_ref());
    writer.member("content_type", &attachment.content_type);
    writer.member("disposition", &attachment.disposition.name());
    writer.optional("content_id", attachment.content_id.as_ref());
    writer.member("size", &base64.decoded_len());
    writer.base64_member("content", base64);
    writer.text(b"}");
}

#[derive(Serialize)]
struct Addressed {
    from: String,
    to: Vec<String>,
}

#[derive(Serialize)]
struct Address<'a> {
    email: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

impl<'a> Address<'a> {
    fn new(address: &'a VisibleAddress) -> Self {
        Self {
            email: &address.email,
            name: address.name.as_deref(),
        }
    }
}

fn addresses(addresses: &[VisibleAddress]) -> Vec<Address<'_>> {
    addresses.iter().map(Address::new).collect()
}

#[derive(Serialize)]
struct Field<'a> {
    name: &'a str,
    value: &'a str,
}

impl<'a> Field<'a> {
    fn new(field: &'a HeaderField) -> Self {
        Self {
            name: &field.name,
            value: &field.value,
        }
    }
}

#[derive(Serialize)]
struct Trace<'a> {
    at: String,
    by: &'a str,
    from: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    helo: Option<&'a str>,
    protocol: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<&'a str>,
}

impl<'a> Trace<'a> {
    fn new(received: &'a Received) -> Self {
        Self {
            at: received.at.rfc3339(),
            by: &received.by,
            from: received.from.to_canonical().to_string(),
            helo: received.helo.as_deref(),
            protocol: received.protocol,
            account: received.account.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::date::Date;
    use crate::message::mime;
    use crate::message::structure::{Limits, Structure};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn form(text: &str, with_raw: bool) -> JsonForm {
        let content = Content::new(text.to_owned());
        let structure = Structure::read(&content, &Limits::default()).unwrap();
        let email = mime::read(&content, &structure);
        let email = email.complete(Date::from_unix(0), "new@gw".to_owned(), None);
        let raw = RawMessage::new(&content, &structure, &email, None);
        let received = Received {
            at: Date::from_unix(0),
            by: "gw.example".to_owned(),
            from: "::ffff:192.0.2.1".parse().unwrap(),
            helo: None,
            protocol: "ESMTPSA",
            account: None,
        };
        JsonForm::new(
            &email,
            &content,
            "4f2a",
            &received,
            with_raw.then_some(&raw),
        )
    }

    fn path(text: &str) -> ForwardPath {
        ForwardPath::take(text).unwrap().0
    }

    fn text(pieces: &Pieces) -> String {
        let octets = pieces.frames().collect::<Vec<_>>().concat();
        assert_eq!(octets.len() as u64, pieces.len());
        String::from_utf8(octets).unwrap()
    }

    #[test]
    fn members_come_in_the_order_of_the_contract_and_absent_ones_not_at_all() {
        let form = form(
            "Subject: hi\r\nTo: Ann <ann@example.net>\r\n\r\nhello\r\n",
            false,
        );
        let pieces = form.addressed_to(&ReversePath::Null, &[path("<ann@example.net>")]);
        assert_eq!(
            text(&pieces),
            concat!(
                r#"{"version":1,"id":"4f2a","envelope":{"from":"","to":["ann@example.net"]},"#,
                r#""from":[],"to":[{"email":"ann@example.net","name":"Ann"}],"cc":[],"reply_to":[],"#,
                r#""message_id":"new@gw","date":"1970-01-01T00:00:00Z","subject":"hi","#,
                r#""text":"hello\n","headers":[],"attachments":[],"#,
                r#""received":{"at":"1970-01-01T00:00:00Z","by":"gw.example","from":"192.0.2.1","#,
                r#""protocol":"ESMTPSA"}}"#
            )
        );
    }

    #[test]
    fn a_call_names_only_its_own_recipients() {
        let form = form("To: ann@example.net, bob@example.net\r\n\r\n", false);
        let (from, _) = ReversePath::take("<app@example.com>").unwrap();
        for recipient in ["ann@example.net", "hidden@example.net"] {
            let pieces = form.addressed_to(&from, &[path(&format!("<{recipient}>"))]);
            let json: Value = serde_json::from_str(&text(&pieces)).unwrap();
            assert_eq!(
                json["envelope"],
                json!({"from": "app@example.com", "to": [recipient]})
            );
        }
    }

    #[test]
    fn attachments_and_the_raw_message_are_base64() {
        let form = form(
            concat!(
                "Content-Type: application/pdf; name=\"a \\\"b\\\".pdf\"\r\nBcc: x@y.z\r\n",
                "Content-Transfer-Encoding: base64\r\nContent-ID: <1>\r\n\r\naGVs\r\nbG8=\r\n"
            ),
            true,
        );
        let pieces = form.addressed_to(&ReversePath::Null, &[]);
        let json: Value = serde_json::from_str(&text(&pieces)).unwrap();
        assert_eq!(
            json["attachments"],
            json!([{
                "filename": "a \"b\".pdf",
                "content_type": "application/pdf",
                "disposition": "attachment",
                "content_id": "1",
                "size": 5,
                "content": "aGVsbG8=",
            }])
        );
        let raw = crate::message::transfer::decode(
            json["raw"].as_str().unwrap().as_bytes(),
            crate::message::transfer::TransferEncoding::Base64,
        );
        let raw = String::from_utf8(raw).unwrap();
        assert!(raw.starts_with("Date: ") && !raw.contains("x@y.z"));
    }

    proptest! {
        #[test]
        fn any_message_is_valid_json(
            octets in "(Subject|From|X|Content-Type)?: ?[ -~é\u{0}-\u{1f}\u{2028}\r\n]{0,200}"
        ) {
            let pieces = form(&octets, true).addressed_to(&ReversePath::Null, &[]);
            let json: Value = serde_json::from_str(&text(&pieces)).unwrap();
            prop_assert_eq!(&json["version"], &json!(1));
        }
    }
}
