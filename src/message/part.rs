//! One part of a message and the header fields that shape it (RFC 2045 §5, RFC 2183).
//!
//! What is not said or cannot be read has a default: a part is plain text, not encoded, and its
//! place is not known.

use std::ops::Range;

use crate::message::header::Header;
use crate::message::parameters::{MimeField, is_token};
use crate::message::transfer::TransferEncoding;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub header: Header,
    /// Without the line end that belongs to the boundary behind it.
    pub body: Range<usize>,
    /// Type and subtype in lower case. Of a multipart without parts: `text/plain`.
    pub media_type: String,
    pub encoding: TransferEncoding,
    pub presentation: Option<Presentation>,
    /// Split into parts. All else is a leaf.
    pub is_multipart: bool,
    /// The multipart around this one.
    pub parent: Option<usize>,
    /// The index of the next part that is not inside this one.
    pub next: usize,
}

/// What Content-Disposition says (RFC 2183 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presentation {
    Inline,
    Attachment,
    Other,
}

impl Part {
    /// A part that was just found, its body still empty, and the boundary of its own parts if it is
    /// a multipart.
    pub(super) fn begin(
        octets: &[u8],
        header: Header,
        index: usize,
        outer: Option<&Self>,
    ) -> (Self, Option<Vec<u8>>) {
        let fields = MimeFields::read(octets, &header);
        let mut media_type = fields.media_type(outer.map(|outer| outer.media_type.as_str()));
        let mut boundary = None;
        if media_type.starts_with("multipart/") {
            boundary = fields.boundary();
            if boundary.is_none() {
                TEXT_PLAIN.clone_into(&mut media_type);
            }
        }
        let part = Self {
            body: header.body..header.body,
            header,
            media_type,
            encoding: fields.encoding(),
            presentation: fields.presentation(),
            is_multipart: boundary.is_some(),
            parent: None,
            next: index.saturating_add(1),
        };
        (part, boundary)
    }
}

/// The three fields that shape a part; of repeated ones the first.
#[derive(Default)]
struct MimeFields {
    content_type: Option<MimeField>,
    transfer_encoding: Option<MimeField>,
    disposition: Option<MimeField>,
}

impl MimeFields {
    fn read(octets: &[u8], header: &Header) -> Self {
        let mut fields = Self::default();
        for field in header.fields(octets) {
            let slot = if field.is("Content-Type") {
                &mut fields.content_type
            } else if field.is("Content-Transfer-Encoding") {
                &mut fields.transfer_encoding
            } else if field.is("Content-Disposition") {
                &mut fields.disposition
            } else {
                continue;
            };
            slot.get_or_insert_with(|| MimeField::parse(field.value));
        }
        fields
    }

    /// RFC 2045 §5.2 and RFC 2046 §5.1.5 say what a part without a type is; one that cannot be read
    /// is plain text too.
    fn media_type(&self, outer: Option<&str>) -> String {
        let Some(content_type) = &self.content_type else {
            return match outer {
                Some("multipart/digest") => "message/rfc822".to_owned(),
                _ => TEXT_PLAIN.to_owned(),
            };
        };
        let value = content_type.value().unwrap_or_default();
        let is_type = value.split_once('/').is_some_and(|(main, sub)| {
            let token =
                |text: &str| (1..=MAX_TYPE).contains(&text.len()) && text.bytes().all(is_token);
            token(main) && token(sub)
        });
        if is_type { value } else { TEXT_PLAIN }.to_owned()
    }

    fn boundary(&self) -> Option<Vec<u8>> {
        let mut boundary = self.content_type.as_ref()?.parameter("boundary")?;
        boundary.truncate(boundary.trim_ascii_end().len());
        (!boundary.is_empty()).then_some(boundary)
    }

    fn encoding(&self) -> TransferEncoding {
        let value = self.transfer_encoding.as_ref().and_then(MimeField::value);
        TransferEncoding::named(value.unwrap_or_default())
    }

    fn presentation(&self) -> Option<Presentation> {
        Some(match self.disposition.as_ref()?.value()? {
            "inline" => Presentation::Inline,
            "attachment" => Presentation::Attachment,
            _ => Presentation::Other,
        })
    }
}

/// RFC 6838 §4.2.
const MAX_TYPE: usize = 127;

/// What a part is that says nothing of itself (RFC 2045 §5.2).
pub(super) const TEXT_PLAIN: &str = "text/plain";

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(text: &str, outer: Option<&Part>) -> (Part, Option<Vec<u8>>) {
        let header = Header::find(text.as_bytes(), 0, None, |_| false).unwrap();
        Part::begin(text.as_bytes(), header, 0, outer)
    }

    #[test]
    fn types_that_cannot_be_read_are_plain_text() {
        for value in [
            "text",
            "/plain",
            "text/",
            "te xt/plain",
            "=text/html",
            "é/b",
            "*@/b",
            "",
            "multipart/mixed",
        ] {
            let (part, boundary) = begin(&format!("Content-Type: {value}\r\n"), None);
            assert_eq!(
                (part.media_type.as_str(), boundary),
                (TEXT_PLAIN, None),
                "{value}"
            );
        }
        assert_eq!(
            begin("content-type : \"Text/HTML\"\r\n", None).0.media_type,
            "text/html"
        );
    }

    #[test]
    fn messages_are_the_default_in_a_digest() {
        let (digest, _) = begin("Content-Type: multipart/digest; boundary=x\r\n", None);
        assert_eq!(begin("", Some(&digest)).0.media_type, "message/rfc822");
        assert_eq!(
            begin("Content-Type: x\r\n", Some(&digest)).0.media_type,
            TEXT_PLAIN
        );
    }

    #[test]
    fn of_repeated_fields_the_first_counts() {
        let (part, _) = begin(
            concat!(
                "Content-Transfer-Encoding: BASE64 \r\n",
                "Content-Disposition: Attachment;\r\n filename=x\r\n",
                "Content-Transfer-Encoding: 7bit\r\nContent-Disposition: inline\r\n"
            ),
            None,
        );
        assert_eq!(part.encoding, TransferEncoding::Base64);
        assert_eq!(part.presentation, Some(Presentation::Attachment));
    }
}
