//! The leaves that are not the text of the message, each as an [`Attachment`].
//!
//! Names come from Content-Disposition, else from Content-Type; how an attachment belongs to the
//! message is found out where its fields do not say it, since many programs do not.

use std::collections::BTreeSet;

use crate::message::content_id::references;
use crate::message::email::{Attachment, Disposition};
use crate::message::fields;
use crate::message::header::Header;
use crate::message::parameters::{MimeField, is_token};
use crate::message::part::{Part, Presentation};
use crate::message::transfer::TransferEncoding;
use crate::message::words;

/// Makes attachments of `leaves`, which are among `parts`; `html` is the HTML of the message.
pub(super) fn read<'a>(
    octets: &[u8],
    parts: &[Part],
    leaves: impl Iterator<Item = &'a Part>,
    html: &str,
) -> Vec<Attachment> {
    let leaves: Vec<Leaf<'_>> = leaves.map(|part| Leaf::read(octets, part)).collect();
    let ids: BTreeSet<&str> = leaves
        .iter()
        .filter_map(|leaf| leaf.content_id.as_deref())
        .collect();
    let html = if ids.is_empty() { "" } else { html };
    let referenced = references(html)
        .filter_map(|found| ids.get(found.content_id.as_str()).copied())
        .collect();
    leaves
        .iter()
        .filter(|leaf| !leaf.says_nothing(octets))
        .map(|leaf| leaf.attachment(octets, parts, &referenced))
        .collect()
}

/// A leaf that is not the text of the message.
struct Leaf<'a> {
    part: &'a Part,
    content_type: MimeField,
    name: Option<String>,
    content_id: Option<String>,
}

impl<'a> Leaf<'a> {
    fn read(octets: &[u8], part: &'a Part) -> Self {
        let field = |name| part.header.value(octets, name).map(MimeField::parse);
        let content_type = field("Content-Type").unwrap_or_default();
        let name = field("Content-Disposition")
            .and_then(|disposition| disposition.text("filename"))
            .filter(|name| !name.is_empty())
            .or_else(|| content_type.text("name").filter(|name| !name.is_empty()));
        Self {
            part,
            content_type,
            name,
            content_id: part.header.value(octets, "Content-ID").and_then(fields::id),
        }
    }

    /// Some programs close a multipart with an empty text; nobody wants that for an attachment.
    fn says_nothing(&self, octets: &[u8]) -> bool {
        let body = octets.get(self.part.body.clone()).unwrap_or_default();
        self.name.is_none()
            && self.content_id.is_none()
            && self.part.presentation != Some(Presentation::Attachment)
            && self.part.media_type.starts_with("text/")
            && body.trim_ascii().is_empty()
    }

    fn attachment(&self, octets: &[u8], parts: &[Part], referenced: &BTreeSet<&str>) -> Attachment {
        let part = self.part;
        let message = matches!(
            part.media_type.as_str(),
            "message/rfc822" | "message/global"
        );
        let file_of_message = || message.then(|| message_file_name(octets, part));
        Attachment {
            name: self.name.clone().or_else(file_of_message),
            media_type: part.media_type.clone(),
            content_type: self.content_type(),
            content_id: self.content_id.clone(),
            disposition: self.disposition(parts, referenced),
            encoding: part.encoding,
            body: part.body.clone(),
        }
    }

    fn content_type(&self) -> String {
        let mut rendered = self.part.media_type.clone();
        if self.content_type.value() != Some(&rendered) {
            // The type was not taken as it was given: its parameters mean nothing here.
            return rendered;
        }
        for name in KEPT_PARAMETERS {
            let value = self.content_type.text(name).unwrap_or_default();
            if value.is_empty() || value.len() > MAX_PARAMETER || !value.is_ascii() {
                continue;
            }
            let token = value.bytes().all(is_token);
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
            rendered.push_str("; ");
            rendered.push_str(name);
            rendered.push('=');
            rendered.push_str(&if token {
                value
            } else {
                format!("\"{escaped}\"")
            });
        }
        rendered
    }

    /// An image the HTML refers to is inline, whatever its own fields say or do not say.
    fn disposition(&self, parts: &[Part], referenced: &BTreeSet<&str>) -> Disposition {
        let parent = self.part.parent.and_then(|parent| parts.get(parent));
        let parent_type = parent.map_or("", |parent| &parent.media_type);
        let is_referenced = self
            .content_id
            .as_deref()
            .is_some_and(|id| referenced.contains(id));
        match (self.part.presentation, parent_type) {
            _ if is_referenced => Disposition::Inline,
            (Some(Presentation::Attachment), _) => Disposition::Attachment,
            (_, "multipart/alternative") => Disposition::Alternative,
            (Some(Presentation::Inline), _) | (_, "multipart/related") => Disposition::Inline,
            _ => Disposition::Attachment,
        }
    }
}

/// A file name for an attached message, from its subject.
fn message_file_name(octets: &[u8], part: &Part) -> String {
    let inner = octets.get(part.body.clone()).unwrap_or_default();
    let header = Header::find(inner, 0, Some(MAX_INNER_HEADER), |_| false).ok();
    let subject = header
        .filter(|_| part.encoding == TransferEncoding::Identity)
        .and_then(|header| header.value(inner, "Subject"))
        .map(words::text)
        .unwrap_or_default();
    let forbidden = |c: char| "/\\:*?\"<>|".contains(c);
    let stem: String = subject
        .replace(forbidden, "_")
        .chars()
        .take(MAX_STEM)
        .collect();
    match stem.trim_matches([' ', '.']) {
        "" => "message.eml".to_owned(),
        stem => format!("{stem}.eml"),
    }
}

/// Parameters without which the content cannot be read as it was meant.
const KEPT_PARAMETERS: [&str; 6] = [
    "charset",
    "method",
    "component",
    "format",
    "delsp",
    "smime-type",
];
const MAX_PARAMETER: usize = 100;
const MAX_INNER_HEADER: usize = 64 * 1024;
const MAX_STEM: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::content::Content;
    use crate::message::mime;
    use crate::message::structure::{Limits, Structure};

    /// The attachments of a multipart of these parts, each its fields and its body.
    fn attachments(subtype: &str, parts: &[&str]) -> Vec<Attachment> {
        let part = |part: &&str| format!("--m\r\n{part}\r\n");
        let parts: String = parts.iter().map(part).collect();
        let header = format!("Content-Type: multipart/{subtype}; boundary=m\r\n\r\n");
        let content = Content::new(header + &parts + "--m--\r\n");
        let structure = Structure::read(&content, &Limits::default()).unwrap();
        mime::read(&content, &structure).attachments
    }

    const PLAIN: &str = "Content-Type: text/plain\r\n\r\nplain";
    const HTML: &str = "Content-Type: text/html\r\n\r\n<img src=\"cid:pic%40x\">";
    const PICTURE: &str = "Content-Type: image/png\r\nContent-ID: <pic@x>\r\n\r\nPNG";

    #[test]
    fn dispositions_are_found_without_being_said() {
        let picture = |field: &str| PICTURE.replacen("\r\n", &format!("\r\n{field}\r\n"), 1);
        let marked = picture("Content-Disposition: attachment; filename=pic.png");
        let inline = picture("Content-Disposition: inline");
        let unknown = picture("Content-Disposition: x-own");
        let not_referred_to = PICTURE.replace("pic@x", "other@x");
        for (subtype, text, attached, disposition) in [
            // Referred to by the HTML, wherever it is and whatever it says.
            ("mixed", HTML, PICTURE, Disposition::Inline),
            ("mixed", HTML, &marked, Disposition::Inline),
            ("mixed", HTML, &not_referred_to, Disposition::Attachment),
            ("mixed", PLAIN, &inline, Disposition::Inline),
            ("mixed", PLAIN, &unknown, Disposition::Attachment),
            ("related", PLAIN, PICTURE, Disposition::Inline),
            ("related", PLAIN, &marked, Disposition::Attachment),
            ("alternative", PLAIN, PICTURE, Disposition::Alternative),
        ] {
            let attachments = attachments(subtype, &[text, attached]);
            assert_eq!(
                attachments[0].disposition, disposition,
                "{subtype} {attached}"
            );
            assert_eq!(attachments.len(), 1);
        }
    }

    #[test]
    fn content_ids_lose_their_brackets() {
        let [picture] = attachments("mixed", &[PLAIN, PICTURE]).try_into().unwrap();
        assert_eq!(picture.content_id.as_deref(), Some("pic@x"));
        assert_eq!(picture.name, None);
    }

    #[test]
    fn other_forms_of_the_text_are_alternatives_and_keep_their_parameters() {
        let fields =
            "Content-Type: text/calendar; name=i.ics; METHOD=request; charset=\"utf-8\"; x=y";
        let calendar = format!("{fields}\r\n\r\nBEGIN:VCALENDAR");
        let [invitation] = attachments("alternative", &[PLAIN, &calendar])
            .try_into()
            .unwrap();
        assert_eq!(invitation.disposition, Disposition::Alternative);
        assert_eq!(invitation.media_type, "text/calendar");
        assert_eq!(
            invitation.content_type,
            "text/calendar; charset=utf-8; method=request"
        );
        assert_eq!(invitation.name.as_deref(), Some("i.ics"));
    }

    #[test]
    fn an_attached_message_gets_a_file_name() {
        for (inner, name) in [
            (
                "Subject: =?utf-8?Q?Re:_offer_1/2?=\r\n\r\nx",
                "Re_ offer 1_2.eml",
            ),
            ("Subject: ...\r\n\r\nx", "message.eml"),
            ("x", "message.eml"),
        ] {
            let message = format!("Content-Type: message/rfc822\r\n\r\n{inner}");
            let attachments = attachments("mixed", &[PLAIN, &message]);
            assert_eq!(attachments[0].name.as_deref(), Some(name), "{inner}");
        }
    }

    #[test]
    fn an_empty_text_at_the_end_is_no_attachment() {
        let count = |last: &str| attachments("mixed", &[PLAIN, last]).len();
        assert_eq!(count("Content-Type: text/plain\r\n\r\n\r\n"), 0);
        assert_eq!(count("Content-Type: text/plain; name=empty.txt\r\n\r\n"), 1);
        assert_eq!(count("Content-Type: application/pdf\r\n\r\n"), 1);
    }

    #[test]
    fn html_full_of_cid_urls_is_read_in_no_time() {
        let html = "Content-Type: text/html\r\n\r\n".to_owned() + &"cid:".repeat(500_000);
        let attachments = attachments("mixed", &[&html, PICTURE]);
        assert_eq!(attachments[0].disposition, Disposition::Attachment);
    }
}
