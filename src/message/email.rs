//! The neutral form of a message, which every JSON form is made of.
//!
//! Addresses here are those that are shown. Who gets the message is said by the envelope alone, so
//! they are another type than its paths, and none is ever made of the other.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::message::date::Date;
use crate::message::transfer::TransferEncoding;

/// An address of a header field (RFC 5322 §3.4), for people to see.
#[derive(Clone, PartialEq, Eq)]
pub struct VisibleAddress {
    pub name: Option<String>,
    /// `local-part@domain`, quoted where it must be; the domain as it was written.
    pub email: String,
}

/// A field that has no place of its own in [`Email`].
#[derive(Clone, PartialEq, Eq)]
pub struct HeaderField {
    pub name: String,
    /// Unfolded; in unstructured fields encoded words are decoded.
    pub value: String,
}

/// A part that is not the text of the message. Its content stays in the received octets.
#[derive(Clone, PartialEq, Eq)]
pub struct Attachment {
    pub name: Option<String>,
    /// Type and subtype in lower case.
    pub media_type: String,
    /// The media type with the parameters that matter to its reader, such as `charset` and
    /// `method`.
    pub content_type: String,
    /// Without angle brackets, as `cid:` URLs have it (RFC 2392).
    pub content_id: Option<String>,
    pub disposition: Disposition,
    pub encoding: TransferEncoding,
    /// Where the encoded content is.
    pub body: Range<usize>,
}

/// How an attachment belongs to the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    Attachment,
    /// Shown within the text: an image the HTML refers to.
    Inline,
    /// Another form of the text itself: a calendar invitation, AMP (RFC 2046 §5.1.4).
    Alternative,
}

#[derive(Clone, Default, PartialEq, Eq)]
pub struct Email {
    /// All authors, of all From fields.
    pub from: Vec<VisibleAddress>,
    pub sender: Option<VisibleAddress>,
    pub to: Vec<VisibleAddress>,
    pub cc: Vec<VisibleAddress>,
    pub reply_to: Vec<VisibleAddress>,
    pub subject: Option<String>,
    pub date: Option<Date>,
    /// Without angle brackets.
    pub message_id: Option<String>,
    /// Line ends are LF. What is made of it shares it.
    pub text: Option<Arc<String>>,
    /// Line ends are LF.
    pub html: Option<Arc<String>>,
    /// The other fields in their order, repeated ones too.
    pub headers: Vec<HeaderField>,
    pub attachments: Vec<Attachment>,
    /// How many Received fields there are: the hops so far (RFC 5321 §6.3).
    pub received_count: usize,
}

impl VisibleAddress {
    pub fn without_name(email: impl Into<String>) -> Self {
        Self {
            name: None,
            email: email.into(),
        }
    }
}

impl Email {
    /// Adds what a submission server adds where it is missing (RFC 6409 §8.2, §8.3): the date, the
    /// Message-ID, and `author`, the reverse-path, where no From address could be read.
    #[must_use]
    pub fn complete(
        mut self,
        now: Date,
        new_message_id: String,
        author: Option<VisibleAddress>,
    ) -> Self {
        self.date.get_or_insert(now);
        self.message_id.get_or_insert(new_message_id);
        if self.from.is_empty() {
            self.from.extend(author);
        }
        self
    }
}

impl Disposition {
    /// Its name in the JSON form.
    pub fn name(self) -> &'static str {
        match self {
            Self::Attachment => "attachment",
            Self::Inline => "inline",
            Self::Alternative => "alternative",
        }
    }
}

/// Addresses, subjects and content do not belong in logs: the debug forms show none of them.
impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Email")
            .field("attachments", &self.attachments)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attachment")
            .field("media_type", &self.media_type)
            .field("disposition", &self.disposition)
            .field("encoding", &self.encoding)
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for VisibleAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VisibleAddress(…)")
    }
}

impl fmt::Debug for HeaderField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HeaderField({}: …)", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_added() {
        let author = VisibleAddress::without_name("app@example.com");
        let (now, later) = (Date::from_unix(0), Date::from_unix(9));
        let email = Email::default().complete(now, "1@gw".to_owned(), Some(author.clone()));
        assert_eq!(email.date, Some(now));
        assert_eq!(email.message_id.as_deref(), Some("1@gw"));
        assert_eq!(email.from, [author]);

        let other = VisibleAddress::without_name("other@example.com");
        let again = email
            .clone()
            .complete(later, "2@gw".to_owned(), Some(other));
        assert_eq!(again, email);
    }

    #[test]
    fn debug_output_shows_neither_addresses_nor_text() {
        let email = Email {
            from: vec![VisibleAddress::without_name("ann@example.net")],
            subject: Some("secret".to_owned()),
            text: Some(Arc::new("secret".to_owned())),
            ..Email::default()
        };
        let shown = format!("{email:?} {:?}", email.from);
        assert!(!shown.contains("secret") && !shown.contains("ann"));
    }
}
