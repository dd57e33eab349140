//! Structure to [`Email`]: which part is the text, which is the HTML, and what the others are.
//!
//! The choice follows Python's `email.message.EmailMessage.get_body()`, which many have tested
//! before us: the first text/plain and the first text/html that are not attachments, of a
//! multipart/related only in its root. It departs from it in two places: a part with a file name is
//! a file, and text and HTML are one body in a multipart/alternative only. Every other leaf becomes
//! an attachment: nothing is lost.

use std::borrow::Cow;
use std::sync::Arc;

use memchr::memchr;

use crate::message::attachments;
use crate::message::charset;
use crate::message::content::Content;
use crate::message::email::Email;
use crate::message::fields;
use crate::message::parameters::MimeField;
use crate::message::part::{Part, Presentation};
use crate::message::structure::Structure;
use crate::message::transfer::{self, TransferEncoding};

/// Reads a message whose structure is known. Nothing in it is an error.
pub fn read(content: &Content, structure: &Structure) -> Email {
    let octets = content.octets();
    let parts = structure.parts();
    let Some(root) = parts.first() else {
        return Email::default();
    };
    let mut email = fields::read(octets, &root.header);
    let (text_at, html_at) = forms_of_one_body(
        parts,
        find_body(octets, parts, "text/plain"),
        find_body(octets, parts, "text/html"),
    );
    let text_of = |index: usize| Some(Arc::new(text(octets, parts.get(index)?)));
    email.text = text_at.and_then(text_of);
    email.html = html_at.and_then(text_of);

    let others = parts
        .iter()
        .enumerate()
        .filter(|(index, part)| !part.is_multipart && ![text_at, html_at].contains(&Some(*index)))
        .map(|(_, part)| part);
    let html = email.html.clone().unwrap_or_default();
    email.attachments = attachments::read(octets, parts, others, &html);
    email
}

/// The content of a text part as text with LF line ends.
pub fn text(octets: &[u8], part: &Part) -> String {
    let label = part
        .header
        .value(octets, "Content-Type")
        .and_then(|value| MimeField::parse(value).parameter("charset"));
    let body = octets.get(part.body.clone()).unwrap_or_default();
    let decoded = match part.encoding {
        TransferEncoding::Identity => Cow::Borrowed(body),
        encoding => Cow::Owned(transfer::decode(body, encoding)),
    };
    let text = charset::decode(&decoded, label.as_deref());
    drop(decoded);
    with_lf(text)
}

/// Text and HTML are two forms of one body inside a multipart/alternative only. Elsewhere the second
/// is something else: who shows HTML in place of the text would hide one of them.
fn forms_of_one_body(
    parts: &[Part],
    text: Option<usize>,
    html: Option<usize>,
) -> (Option<usize>, Option<usize>) {
    let (Some(text_at), Some(html_at)) = (text, html) else {
        return (text, html);
    };
    let (first, last) = (text_at.min(html_at), text_at.max(html_at));
    let around = parts.get(..first).unwrap_or_default().iter().enumerate();
    let innermost = around
        .rev()
        .find(|(index, part)| *index < first && last < part.next && part.is_multipart);
    match innermost {
        Some((_, part)) if part.media_type == "multipart/alternative" => (text, html),
        _ if text_at < html_at => (text, None),
        _ => (None, html),
    }
}

/// Octets of memory that reading takes besides the content, at the most: for the texts, which may be
/// decoded twice and become longer, and for the fields.
pub fn cost(content: &Content, structure: &Structure) -> u64 {
    let parts = structure.parts();
    let text = |part: &Part| {
        let body = content.octets().get(part.body.clone()).unwrap_or_default();
        let times = match part.encoding {
            TransferEncoding::Identity if body.is_ascii() => 2,
            TransferEncoding::Identity => 3,
            // Once more without its encoding, and then as text.
            _ => 4,
        };
        (body.len() as u64).saturating_mul(times)
    };
    let largest = |media_type: &str| {
        let texts = parts.iter().filter(|part| part.media_type == media_type);
        texts.map(text).max().unwrap_or(0)
    };
    let header = structure.header().map_or(0, |header| header.range.len());
    largest("text/plain")
        .saturating_add(largest("text/html"))
        .saturating_add((header as u64).saturating_mul(FIELDS_COST))
}

/// Octets of memory for an octet of header: a field of a few octets costs some hundred.
const FIELDS_COST: u64 = 32;

/// A part with a file name is a file, whatever its disposition; only as the whole message it is the
/// message.
fn is_file(octets: &[u8], parts: &[Part], index: usize) -> bool {
    let named = |field: &str, parameter: &str| {
        let value = parts.get(index)?.header.value(octets, field)?;
        MimeField::parse(value).parameter(parameter)
    };
    index > 0
        && (named("Content-Disposition", "filename").is_some()
            || named("Content-Type", "name").is_some())
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
            if part.media_type == media_type && !is_file(octets, parts, index) {
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
    let start = part
        .header
        .value(octets, "Content-Type")
        .and_then(|value| MimeField::parse(value).parameter("start"))
        .and_then(|start| fields::id(&start));
    let mut child = first;
    while let Some(start) = &start
        && child < part.next
    {
        let candidate = parts.get(child)?;
        let id = candidate
            .header
            .value(octets, "Content-ID")
            .and_then(fields::id);
        if id.as_ref() == Some(start) {
            return Some(child);
        }
        child = candidate.next;
    }
    Some(first)
}

/// LF line ends, and no NUL: many JSON readers and databases cannot hold one in a text.
fn with_lf(text: String) -> String {
    let text = match memchr(0, text.as_bytes()) {
        Some(_) => text.replace('\0', "\u{fffd}"),
        None => text,
    };
    let Some(first) = memchr(b'\r', text.as_bytes()) else {
        return text;
    };
    // In place, since a text may be large.
    let mut octets = text.into_bytes();
    let (mut kept, mut cr) = (first, first);
    while let Some(behind) = octets.get(cr.saturating_add(1)..) {
        let next = memchr(b'\r', behind)
            .map_or(octets.len(), |at| at.saturating_add(cr).saturating_add(1));
        let line = match behind.first() {
            Some(b'\n') => cr.saturating_add(1)..next,
            _ => cr..next,
        };
        if let Some(end) = octets.get_mut(cr) {
            *end = b'\n';
        }
        let length = line.len();
        octets.copy_within(line, kept);
        kept = kept.saturating_add(length);
        cr = next;
    }
    octets.truncate(kept);
    String::from_utf8(octets).expect("line ends are single octets of UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::email::Disposition;
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
            "Content-Type: multipart/{subtype}; boundary={boundary}\r\n\r\n{}--{boundary}--\r\n",
            parts
        )
    }

    fn shown(text: &Option<Arc<String>>) -> Option<&str> {
        text.as_ref().map(|text| text.as_str())
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
        assert_eq!(shown(&email.text), Some("plain"));
        assert_eq!(shown(&email.html), Some("<img src=\"cid:pic%40x\">"));
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
            (shown(&named.text), shown(&named.html)),
            (None, Some("root"))
        );
        assert_eq!(kinds(&named), [("text/plain", Disposition::Inline)]);

        let unknown = multipart("related; start=\"<other@x>\"", "r", &[PLAIN, HTML]);
        assert_eq!(shown(&email(&unknown).text), Some("plain"));
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
    fn texts_end_their_lines_with_line_feeds_and_hold_no_nul() {
        let encoded = concat!(
            "Content-Type: text/plain; charset=iso-8859-2\r\n",
            "Content-Transfer-Encoding: quoted-printable\r\n",
            "\r\n=B1=\r\n=00\r\nb=0Dc\r\n"
        );
        assert_eq!(shown(&email(encoded).text), Some("ą\u{fffd}\nb\nc\n"));
        assert_eq!(shown(&email("").text), Some(""));
        let image = email("Content-Type: image/png\r\n\r\nPNG");
        assert_eq!((image.text, image.attachments.len()), (None, 1));
    }

    #[test]
    fn a_file_is_not_the_body_and_does_not_hide_it() {
        let mixed = |second: &str| {
            email(&format!(
                "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nsee the report\r\n\
                 --b\r\n{second}\r\n\r\n<p>report</p>\r\n--b--\r\n"
            ))
        };
        for second in [
            "Content-Type: text/html; name=report.html",
            "Content-Type: text/html\r\nContent-Disposition: inline; filename=report.html",
            "Content-Type: text/html",
        ] {
            let email = mixed(second);
            assert_eq!(shown(&email.text), Some("see the report"), "{second}");
            assert_eq!((email.html, email.attachments.len()), (None, 1), "{second}");
        }
        let csv = mixed("Content-Type: text/plain; name=report.csv");
        assert_eq!(
            csv.attachments.first().unwrap().name.as_deref(),
            Some("report.csv")
        );
    }

    #[test]
    fn a_byte_order_mark_hides_no_field() {
        let email = email("\u{feff}Bcc: hidden@example.net\r\nSubject: s\r\n\r\nx");
        assert_eq!(email.subject.as_deref(), Some("s"));
        assert_eq!(shown(&email.text), Some("x"));
    }

    #[test]
    fn line_ends_become_lf_and_nul_a_sign_for_what_cannot_be_shown() {
        for (text, expected) in [
            ("a\r\nb\rc\n\r\r\nd", "a\nb\nc\n\n\nd"),
            ("\0é\r", "\u{fffd}é\n"),
            ("plain", "plain"),
            ("", ""),
        ] {
            assert_eq!(with_lf(text.to_owned()), expected);
        }
    }
}
