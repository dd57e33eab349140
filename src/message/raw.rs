//! The raw message that leaves, where an API takes raw content (RFC 6409 §8, RFC 5321 §4.4).
//!
//! A rope of slices of the received octets: Bcc and Resent-Bcc are cut out, what is missing is put
//! in front, nothing is copied. What is added never changes what the rest means: there is always an
//! empty line between the header and a body, also where the message had none.

use bytes::Bytes;

use crate::message::base64_form::Base64Form;
use crate::message::content::Content;
use crate::message::email::Email;
use crate::message::fields;
use crate::message::structure::Structure;
use crate::message::words;

/// The slices of a message in their order.
#[derive(Clone)]
pub struct RawMessage {
    slices: Vec<Bytes>,
}

impl RawMessage {
    /// `email` is the message read and completed: its date and id are what is added where the
    /// message has no such field. `received` is a whole field with its line end, if one is wanted.
    pub fn new(
        content: &Content,
        structure: &Structure,
        email: &Email,
        received: Option<&str>,
    ) -> Self {
        let Some(header) = structure.header() else {
            return Self { slices: Vec::new() };
        };
        let (mut has_date, mut has_id) = (false, false);
        let mut kept = Vec::new();
        let mut at = header.range.start;
        for field in header.fields(content.octets()) {
            has_date |= field.is("Date");
            has_id |= field.is("Message-ID");
            if fields::is_hidden(&field) {
                kept.push(content.slice(at..field.range.start));
                at = field.range.end;
            }
        }
        kept.push(content.slice(at..header.range.end));

        let mut front = received.map(one_field).unwrap_or_default();
        if let (false, Some(date)) = (has_date, email.date) {
            front.push_str(&format!("Date: {}\r\n", date.rfc5322()));
        }
        if let (false, Some(id)) = (has_id, &email.message_id) {
            front.push_str(&format!("Message-ID: <{}>\r\n", words::clean(id)));
        }
        let mut slices = vec![Bytes::from(front)];
        slices.extend(kept);
        slices.push(match content.slice(header.range.end..header.body) {
            empty_line if !empty_line.is_empty() => empty_line,
            _ => missing_empty_line(&slices),
        });
        slices.push(content.slice(header.body..content.len()));
        slices.retain(|slice| !slice.is_empty());
        Self { slices }
    }

    pub fn slices(&self) -> &[Bytes] {
        &self.slices
    }

    pub fn len(&self) -> usize {
        self.slices
            .iter()
            .map(Bytes::len)
            .fold(0, usize::saturating_add)
    }

    pub fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }

    /// All of it as one stream of base64.
    pub fn base64(&self) -> Base64Form {
        Base64Form::of_slices(self.slices.clone())
    }
}

/// The line ends that the message lacks between its header and its body.
fn missing_empty_line(header: &[Bytes]) -> Bytes {
    let last = header.iter().rev().find(|slice| !slice.is_empty());
    Bytes::from_static(match last.is_some_and(|slice| !slice.ends_with(b"\n")) {
        true => b"\r\n\r\n",
        false => b"\r\n",
    })
}

/// The text as one field, whatever it holds: folds are kept, any other line end is not.
fn one_field(text: &str) -> String {
    let mut field = String::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        match (field.is_empty(), line.starts_with([' ', '\t'])) {
            (true, _) => {}
            (false, true) => field.push_str("\r\n\t"),
            (false, false) => field.push_str("\r\n "),
        }
        field.push_str(&words::clean(line));
    }
    if !field.is_empty() {
        field.push_str("\r\n");
    }
    field
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::date::Date;
    use crate::message::mime;
    use crate::message::structure::Limits;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    fn read(text: &str) -> (Content, Structure, Email) {
        let content = Content::new(text.to_owned());
        let structure = Structure::read(&content, &Limits::default()).unwrap();
        let email = mime::read(&content, &structure);
        let email = email.complete(Date::from_unix(0), "new@gw".to_owned(), None);
        (content, structure, email)
    }

    fn raw(text: &str, received: Option<&str>) -> String {
        let (content, structure, email) = read(text);
        let raw = RawMessage::new(&content, &structure, &email, received);
        let octets = raw.slices().concat();
        assert_eq!(octets.len(), raw.len());
        let base64: Vec<u8> = raw.base64().frames().flatten().collect();
        assert_eq!(STANDARD.decode(base64).unwrap(), octets);
        String::from_utf8(octets).unwrap()
    }

    const BOTH: &str = "Date: Thu, 1 Jan 1970 00:00:00 +0000\r\nMessage-ID: <new@gw>\r\n";

    #[test]
    fn hidden_recipients_are_cut_out_with_their_folds() {
        let text = concat!(
            "Bcc: a@b.c\r\nDate: x\r\nBCC :\r\n a@b.c,\r\n\td@e.f\r\nMessage-Id: y\r\n",
            "Resent-Bcc: a@b.c\r\nX-Bcc: kept\r\nbcc: a@b.c\r\n\r\nBcc: in the body\r\n"
        );
        assert_eq!(
            raw(text, None),
            "Date: x\r\nMessage-Id: y\r\nX-Bcc: kept\r\n\r\nBcc: in the body\r\n"
        );
    }

    #[test]
    fn what_is_missing_is_put_in_front() {
        assert_eq!(
            raw("Subject: x\r\n\r\nbody", None),
            format!("{BOTH}Subject: x\r\n\r\nbody")
        );
        assert_eq!(
            raw("date:\r\n\r\nbody", Some("Received: by gw;\r\n\tnow\r\n")),
            "Received: by gw;\r\n\tnow\r\nMessage-ID: <new@gw>\r\ndate:\r\n\r\nbody"
        );
    }

    #[test]
    fn a_header_and_a_body_are_always_kept_apart() {
        for (text, rest) in [
            ("", "\r\n"),
            ("just text", "\r\njust text"),
            (" folded: text", "\r\n folded: text"),
            ("\r\nbody", "\r\nbody"),
            ("A: b", "A: b\r\n\r\n"),
            ("A: b\r\n", "A: b\r\n\r\n"),
            ("A: b\r\nno field\r\n", "A: b\r\n\r\nno field\r\n"),
            ("Bcc: b", "\r\n"),
            ("From me Mon Jan 1\r\nA: b\r\n\r\nbody", "A: b\r\n\r\nbody"),
        ] {
            assert_eq!(raw(text, None), format!("{BOTH}{rest}"), "{text:?}");
        }
    }

    #[test]
    fn the_field_that_is_given_stays_one_field() {
        let injected = "Received: by gw\r\n\tnow\r\n\r\nBcc: a@b.c\n\rSubject: y";
        let text = raw("Date: x\r\nMessage-ID: y\r\n\r\n", Some(injected));
        assert_eq!(
            text,
            "Received: by gw\r\n\tnow\r\n Bcc: a@b.c\r\n Subject: y\r\nDate: x\r\nMessage-ID: y\r\n\r\n"
        );
    }

    proptest! {
        #[test]
        fn what_is_added_changes_nothing_else(
            pieces in prop::collection::vec(0_usize..PIECES.len(), 0..20)
        ) {
            let text: String = pieces.into_iter().map(|index| PIECES[index]).collect();
            let (content, structure, email) = read(&text);
            let received = "Received: by gw; now\r\n";
            let raw = RawMessage::new(&content, &structure, &email, Some(received));
            let left = String::from_utf8(raw.slices().concat()).unwrap();
            let (again, structure, mut email_again) = read(&left);
            prop_assert_eq!(email_again.headers.remove(0).value, "by gw; now");
            email_again.received_count = email.received_count;
            let offset = |email: &Email| email.attachments.first().map_or(0, |a| a.body.start);
            let shift = offset(&email_again).wrapping_sub(offset(&email));
            for attachment in &mut email_again.attachments {
                attachment.body.start = attachment.body.start.wrapping_sub(shift);
                attachment.body.end = attachment.body.end.wrapping_sub(shift);
            }
            prop_assert!(email_again == email);

            let twice = RawMessage::new(&again, &structure, &email_again, None);
            prop_assert_eq!(twice.slices().concat(), raw.slices().concat());
        }
    }

    const PIECES: [&str; 14] = [
        "Subject: x\r\n",
        "Bcc: a@b.c\r\n",
        "Resent-BCC : a@b.c,\r\n\td@e.f\r\n",
        "Date: Mon, 1 Jan 2024 00:00:00 +0000\r\n",
        "Message-ID: <1@b.c>\r\n",
        "To: a@b.c, d@e.f",
        "Content-Type: multipart/mixed; boundary=a\r\n",
        "Content-Type: application/pdf\r\n",
        "\r\n",
        "--a\r\n",
        "--a--\r\n",
        " fold\r\n",
        "text\r\n",
        "text",
    ];
}
