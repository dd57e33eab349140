//! Structure to [`Email`]: which part is the text, which is the HTML, and what the others are.
//!
//! The choice follows Python's `email.message.EmailMessage.get_body()`, which many have tested
//! before us: the first text/plain and the first text/html that are not attachments, of a
//! multipart/related only in its root. Every other leaf becomes an attachment: nothing is lost.

use std::borrow::Cow;
use std::collections::BTreeSet;

use memchr::memchr_iter;

use crate::message::charset;
use crate::message::content::Content;
use crate::message::email::{Attachment, Disposition, Email};
use crate::message::fields;
use crate::message::header::Header;
use crate::message::parameters::{MimeField, is_token, undo_percents};
use crate::message::structure::{Part, Presentation, Structure};
use crate::message::transfer::{self, TransferEncoding};
use crate::message::words;

/// Reads a message whose structure is known. Nothing in it is an error.
pub fn read(content: &Content, structure: &Structure) -> Email {
    let octets = content.octets();
    let parts = structure.parts();
    let Some(root) = parts.first() else {
        return Email::default();
    };
    let mut email = fields::read(octets, &root.header);
    let text = find_body(octets, parts, "text/plain");
    let html = find_body(octets, parts, "text/html");
    let text_of = |index: usize| Some(leaf_text(octets, parts.get(index)?));
    email.text = text.and_then(text_of);
    email.html = html.and_then(text_of);

    let leaves: Vec<Leaf<'_>> = parts
        .iter()
        .enumerate()
        .filter(|(index, part)| !part.is_multipart && ![text, html].contains(&Some(*index)))
        .map(|(_, part)| Leaf::read(octets, part))
        .collect();
    let ids = leaves
        .iter()
        .filter_map(|leaf| leaf.content_id.as_deref())
        .collect();
    let referenced = referenced_ids(email.html.as_deref().unwrap_or_default(), &ids);
    email.attachments = leaves
        .iter()
        .filter(|leaf| !leaf.says_nothing(octets))
        .map(|leaf| leaf.attachment(octets, parts, &referenced))
        .collect();
    email
}

/// The first leaf of a media type that is no attachment, outer parts before inner ones.
fn find_body(octets: &[u8], parts: &[Part], media_type: &str) -> Option<usize> {
    // Siblings still to be looked at: the next one, and where the last one ends.
    let mut open = vec![(0_usize, parts.len())];
    while let Some((next, end)) = open.last_mut() {
        let index = *next;
        let Some(part) = parts.get(index).filter(|_| index < *end) else {
            open.pop();
            continue;
        };
        *next = part.next;
        if part.presentation == Some(Presentation::Attachment) {
            continue;
        }
        if !part.is_multipart {
            if part.media_type == media_type {
                return Some(index);
            }
            continue;
        }
        if part.media_type == "multipart/related" {
            let root = root_of_related(octets, parts, index)?;
            open.push((root, parts.get(root)?.next));
        } else {
            open.push((index.saturating_add(1), part.next));
        }
    }
    None
}

/// The part that `start` names, or the first (RFC 2387 §3.2).
fn root_of_related(octets: &[u8], parts: &[Part], related: usize) -> Option<usize> {
    let first = related.saturating_add(1);
    let part = parts.get(related)?;
    let start = value_of(octets, &part.header, "Content-Type")
        .and_then(|value| MimeField::parse(value).parameter("start"))
        .and_then(|start| fields::id(&start));
    let mut child = first;
    while let Some(start) = &start
        && child < part.next
    {
        let candidate = parts.get(child)?;
        let id = value_of(octets, &candidate.header, "Content-ID").and_then(fields::id);
        if id.as_ref() == Some(start) {
            return Some(child);
        }
        child = candidate.next;
    }
    Some(first)
}

/// The content of a text part as text with LF line ends.
fn leaf_text(octets: &[u8], part: &Part) -> String {
    let label = value_of(octets, &part.header, "Content-Type")
        .and_then(|value| MimeField::parse(value).parameter("charset"));
    let body = octets.get(part.body.clone()).unwrap_or_default();
    let decoded = match part.encoding {
        TransferEncoding::Identity => Cow::Borrowed(body),
        encoding => Cow::Owned(transfer::decode(body, encoding)),
    };
    let text = charset::decode(&decoded, label.as_deref());
    if !text.contains(['\r', '\0']) {
        return text;
    }
    // Many JSON readers and databases cannot hold a NUL in a text.
    text.replace("\r\n", "\n")
        .replace('\r', "\n")
        .replace('\0', "\u{fffd}")
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
        let field = |name| value_of(octets, &part.header, name).map(MimeField::parse);
        let content_type = field("Content-Type").unwrap_or_default();
        let name = field("Content-Disposition")
            .and_then(|disposition| disposition.text("filename"))
            .filter(|name| !name.is_empty())
            .or_else(|| content_type.text("name").filter(|name| !name.is_empty()));
        Self {
            part,
            content_type,
            name,
            content_id: value_of(octets, &part.header, "Content-ID").and_then(fields::id),
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

/// Which of `ids` the HTML shows by a `cid:` URL (RFC 2392).
fn referenced_ids<'a>(html: &str, ids: &BTreeSet<&'a str>) -> BTreeSet<&'a str> {
    let mut referenced = BTreeSet::new();
    if ids.is_empty() {
        return referenced;
    }
    let html = html.as_bytes();
    for colon in memchr_iter(b':', html) {
        let before = html.get(..colon).unwrap_or_default();
        let scheme = before
            .get(before.len().saturating_sub(3)..)
            .unwrap_or_default();
        if !scheme.eq_ignore_ascii_case(b"cid") {
            continue;
        }
        let behind = html.get(colon.saturating_add(1)..).unwrap_or_default();
        // The colon among them keeps `cid:cid:cid:…` from being read over and over.
        let ends = |octet: &u8| octet.is_ascii_whitespace() || b"\"'<>():".contains(octet);
        let length = behind.iter().position(ends).unwrap_or(behind.len());
        let url = undo_percents(behind.get(..length).unwrap_or_default());
        let id = std::str::from_utf8(&url).ok().and_then(|id| ids.get(id));
        referenced.extend(id.copied());
    }
    referenced
}

/// A file name for an attached message, from its subject.
fn message_file_name(octets: &[u8], part: &Part) -> String {
    let inner = octets.get(part.body.clone()).unwrap_or_default();
    let header = Header::find(inner, 0, Some(MAX_INNER_HEADER), |_| false).ok();
    let subject = header
        .filter(|_| part.encoding == TransferEncoding::Identity)
        .and_then(|header| value_of(inner, &header, "Subject"))
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

/// The value of the first field of that name.
fn value_of<'a>(octets: &'a [u8], header: &Header, name: &str) -> Option<&'a [u8]> {
    let field = header.fields(octets).find(|field| field.is(name))?;
    Some(field.value)
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
    use crate::message::structure::Limits;

    fn email(text: &str) -> Email {
        let content = Content::new(text.to_owned());
        let structure = Structure::read(&content, &Limits::default()).unwrap();
        read(&content, &structure)
    }

    /// A multipart of these parts, each its fields and its body.
    fn multipart(subtype: &str, boundary: &str, parts: &[&str]) -> String {
        let parts: String = parts
            .iter()
            .map(|part| format!("--{boundary}\r\n{part}\r\n"))
            .collect();
        format!(
            "Content-Type: multipart/{subtype}; boundary={boundary}\r\n\r\n{parts}--{boundary}--\r\n"
        )
    }

    fn kinds(email: &Email) -> Vec<(&str, Disposition)> {
        let attachments = email.attachments.iter();
        attachments
            .map(|a| (a.media_type.as_str(), a.disposition))
            .collect()
    }

    const PLAIN: &str = "Content-Type: text/plain\r\n\r\nplain";
    const HTML: &str = "Content-Type: text/html\r\n\r\n<img src=\"cid:pic%40x\">";
    const PDF: &str = "Content-Type: application/pdf; name=a.pdf\r\n\r\n%PDF";
    const PICTURE: &str = "Content-Type: image/png\r\nContent-ID: <pic@x>\r\n\r\nPNG";

    #[test]
    fn text_and_html_are_the_first_that_are_no_attachments() {
        let email = email(&multipart(
            "mixed",
            "m",
            &[
                PDF,
                "Content-Disposition: attachment\r\n\r\nnotes",
                &multipart("alternative", "a", &[PLAIN, HTML]),
                PLAIN,
            ],
        ));
        assert_eq!(email.text.as_deref(), Some("plain"));
        assert_eq!(email.html.as_deref(), Some("<img src=\"cid:pic%40x\">"));
        assert_eq!(
            kinds(&email),
            [
                ("application/pdf", Disposition::Attachment),
                ("text/plain", Disposition::Attachment),
                ("text/plain", Disposition::Attachment),
            ]
        );
        assert_eq!(email.attachments[0].name.as_deref(), Some("a.pdf"));
    }

    #[test]
    fn of_a_related_only_the_root_is_text() {
        let first = email(&multipart("related", "r", &[HTML, PICTURE, PLAIN]));
        assert_eq!((first.text.is_some(), first.html.is_some()), (false, true));
        assert_eq!(
            kinds(&first),
            [
                ("image/png", Disposition::Inline),
                ("text/plain", Disposition::Inline)
            ]
        );

        let named = multipart(
            "related; start=\"<root@x>\"",
            "r",
            &[
                PLAIN,
                "Content-ID: <root@x>\r\nContent-Type: text/html\r\n\r\nroot",
            ],
        );
        let named = email(&named);
        assert_eq!(
            (named.text.as_deref(), named.html.as_deref()),
            (None, Some("root"))
        );
        assert_eq!(kinds(&named), [("text/plain", Disposition::Inline)]);

        let unknown = multipart("related; start=\"<other@x>\"", "r", &[PLAIN, HTML]);
        assert_eq!(email(&unknown).text.as_deref(), Some("plain"));
    }

    #[test]
    fn a_multipart_that_is_an_attachment_holds_no_text() {
        let hidden =
            "Content-Disposition: attachment\r\n".to_owned() + &multipart("mixed", "h", &[PLAIN]);
        let email = email(&multipart("mixed", "m", &[&hidden, HTML]));
        assert_eq!(email.text, None);
        assert!(email.html.is_some());
        assert_eq!(kinds(&email), [("text/plain", Disposition::Attachment)]);
    }

    #[test]
    fn dispositions_are_found_without_being_said() {
        let picture = |field: &str| PICTURE.replacen("\r\n", &format!("\r\n{field}\r\n"), 1);
        let marked = picture("Content-Disposition: attachment; filename=pic.png");
        let other = PICTURE.replace("pic@x", "other@x");
        for (parts, disposition) in [
            // Referred to by the HTML, wherever it is and whatever it says.
            (
                multipart("mixed", "m", &[HTML, PICTURE]),
                Disposition::Inline,
            ),
            (
                multipart("mixed", "m", &[HTML, &marked]),
                Disposition::Inline,
            ),
            // Not referred to.
            (
                multipart("mixed", "m", &[HTML, &other]),
                Disposition::Attachment,
            ),
            (
                multipart(
                    "mixed",
                    "m",
                    &[PLAIN, &picture("Content-Disposition: inline")],
                ),
                Disposition::Inline,
            ),
            (
                multipart(
                    "mixed",
                    "m",
                    &[PLAIN, &picture("Content-Disposition: x-own")],
                ),
                Disposition::Attachment,
            ),
            (
                multipart("related", "m", &[PLAIN, PICTURE]),
                Disposition::Inline,
            ),
            (
                multipart("related", "m", &[PLAIN, &marked]),
                Disposition::Attachment,
            ),
            (
                multipart("alternative", "m", &[PLAIN, PICTURE]),
                Disposition::Alternative,
            ),
        ] {
            let email = email(&parts);
            assert_eq!(kinds(&email), [("image/png", disposition)], "{parts}");
            assert!(
                email.attachments[0]
                    .content_id
                    .as_deref()
                    .unwrap()
                    .ends_with("@x")
            );
        }
    }

    #[test]
    fn other_forms_of_the_text_are_alternatives_and_keep_their_parameters() {
        let calendar = "Content-Type: text/calendar; name=i.ics; METHOD=request; charset=\"utf-8\"; x=y\r\n\r\nBEGIN";
        let email = email(&multipart("alternative", "a", &[PLAIN, calendar]));
        let [invitation] = email.attachments.as_slice() else {
            panic!()
        };
        assert_eq!(invitation.disposition, Disposition::Alternative);
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
            let email = email(&multipart("mixed", "m", &[PLAIN, &message]));
            assert_eq!(email.attachments[0].name.as_deref(), Some(name), "{inner}");
        }
    }

    #[test]
    fn an_empty_text_at_the_end_is_no_attachment() {
        let count = |last: &str| {
            email(&multipart("mixed", "m", &[PLAIN, last]))
                .attachments
                .len()
        };
        assert_eq!(count("Content-Type: text/plain\r\n\r\n\r\n"), 0);
        assert_eq!(count("Content-Type: text/plain; name=empty.txt\r\n\r\n"), 1);
        assert_eq!(count("Content-Type: application/pdf\r\n\r\n"), 1);
    }

    #[test]
    fn texts_end_their_lines_with_line_feeds_and_hold_no_nul() {
        let encoded = "Content-Type: text/plain; charset=iso-8859-2\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=B1=\r\n=00\r\nb=0Dc\r\n";
        assert_eq!(email(encoded).text.as_deref(), Some("ą\u{fffd}\nb\nc\n"));
        assert_eq!(email("").text.as_deref(), Some(""));
        let image = email("Content-Type: image/png\r\n\r\nPNG");
        assert_eq!((image.text, image.attachments.len()), (None, 1));
    }

    #[test]
    fn html_full_of_cid_urls_is_read_in_no_time() {
        let html = "Content-Type: text/html\r\n\r\n".to_owned() + &"cid:".repeat(500_000);
        let email = email(&multipart("mixed", "m", &[&html, PICTURE]));
        assert_eq!(kinds(&email), [("image/png", Disposition::Attachment)]);
    }
}
