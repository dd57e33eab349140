//! T3, octets we add ourselves: whatever comes in, and whatever a client calls itself, what leaves
//! as raw content is one message of CRLF lines, with just the fields more that we add.

use proptest::prelude::*;
use smtp_gateway::message::content::Content;
use smtp_gateway::message::date::Date;
use smtp_gateway::message::mime;
use smtp_gateway::message::raw::RawMessage;
use smtp_gateway::message::received::Received;
use smtp_gateway::message::structure::{Limits, Structure};
use smtp_gateway::smtp::framing::{DataFramer, LoneNewlines, stuff};

use crate::attacks::smuggling::{has_lone_line_break, leniently};

/// What leaves for this content.
fn raw(content: &Content, helo: &str, host: &str) -> Vec<u8> {
    let structure = Structure::read(content, &Limits::default()).unwrap();
    let email = mime::read(content, &structure);
    let email = email.complete(Date::from_unix(0), format!("new@{host}"), None);
    let received = Received {
        at: Date::from_unix(0),
        by: host.to_owned(),
        from: [127, 0, 0, 1].into(),
        helo: Some(helo.to_owned()),
        protocol: "ESMTPSA",
        account: Some("ann".to_owned()),
    };
    let field = received.field("id");
    let raw = RawMessage::new(content, &structure, &email, Some(&field));
    raw.slices().concat()
}

/// What the framer takes for content, from octets that a client may send.
fn framed(octets: &[u8]) -> Content {
    let mut framer = DataFramer::new(0, None);
    framer.push(&mut &[&stuff(octets), &b"\r\n.\r\n"[..]].concat()[..]);
    Content::new(framer.finish(LoneNewlines::Normalise).unwrap())
}

/// Names of the fields, and how many octets of body.
fn read(content: &Content) -> (Vec<String>, usize) {
    let structure = Structure::read(content, &Limits::default()).unwrap();
    let header = structure.header().unwrap();
    let fields = header.fields(content.octets());
    let names = fields
        .map(|field| String::from_utf8_lossy(field.name).to_lowercase())
        .collect();
    (names, content.len() - header.body)
}

fn octets() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => "[.\r\na:\0 ]{0,8}",
        2 => Just("Subject: x\r\n".to_owned()),
        1 => Just("Date: x\r\n".to_owned()),
        1 => Just("Message-ID:\r\n".to_owned()),
        1 => Just("Bcc: x\r\n y\r\n".to_owned()),
        1 => Just("From x\r\n".to_owned()),
        2 => Just("\r\n".to_owned()),
        1 => Just("\n.\r\nMAIL FROM:<>\r\n".to_owned()),
        1 => "\\PC{0,5}",
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn what_leaves_is_one_message_of_crlf_lines(
        octets in octets(), helo in "[.\r\n\0 a:()<>\u{2028}]{0,12}"
    ) {
        let content = framed(&octets);
        let raw = raw(&content, &helo, "gateway.example");
        prop_assert!(!has_lone_line_break(&raw));
        let data = [&stuff(&raw), &b".\r\n"[..]].concat();
        prop_assert_eq!(leniently(&data), Some(1));
        let mut framer = DataFramer::new(0, None);
        framer.push(&mut &data[..]);
        prop_assert!(framer.is_complete());
        let again = framer.finish(LoneNewlines::Refuse);
        prop_assert_eq!(again.as_deref(), Ok(&raw[..]), "dot-stuffing comes undone");
    }

    #[test]
    fn what_is_added_is_three_fields_at_most_and_no_line_more(
        octets in octets(), helo in "[.\r\n\0 a:()<>\u{2028}]{0,12}"
    ) {
        let content = framed(&octets);
        let (mut expected, body) = read(&content);
        expected.retain(|name| name != "bcc");
        for name in ["message-id", "date"] {
            if !expected.iter().any(|found| found == name) {
                expected.insert(0, name.to_owned());
            }
        }
        expected.insert(0, "received".to_owned());
        let (names, left) = read(&Content::new(raw(&content, &helo, "gateway.example")));
        let only = |names: &[String]| {
            let mut names = names.to_vec();
            names.sort_unstable();
            names
        };
        prop_assert_eq!(only(&names), only(&expected));
        prop_assert_eq!(left, body);
    }
}
