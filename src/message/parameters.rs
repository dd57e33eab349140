//! Structured MIME fields: a value and its parameters (RFC 2045 §5.1, RFC 2183, RFC 2231).
//!
//! `Content-Type: text/plain; charset="utf-8"`, and what real programs write instead: values with
//! blanks that are not quoted, comments, a missing semicolon, pieces out of order, encoded words
//! where none belong. Reading it never fails and is linear in the length of the field.

use std::fmt;

use memchr::{memchr, memrchr};

use crate::message::charset;
use crate::message::words;

/// The value of a structured MIME field.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct MimeField {
    value: Option<String>,
    parameters: Vec<Parameter>,
}

/// Names of files are content.
impl fmt::Debug for MimeField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MimeField({} parameters)", self.parameters.len())
    }
}

impl MimeField {
    /// Reads what stands behind the colon, folds included.
    pub fn parse(field_value: &[u8]) -> Self {
        let octets = words::unfold(field_value);
        let (value, rest) = take_value(&octets);
        Self {
            value,
            parameters: take_parameters(rest),
        }
    }

    /// The value before the parameters in lower case, a token or two with a slash between; nothing
    /// where there is none that can be read.
    pub fn value(&self) -> Option<&str> {
        self.value.as_deref()
    }

    /// The octets of a parameter, its pieces joined (RFC 2231 §3). Of several forms the extended
    /// one counts: programs send the plain one beside it for those who do not know better.
    pub fn parameter(&self, name: &str) -> Option<Vec<u8>> {
        self.assemble(name).map(|(octets, _)| octets)
    }

    /// A parameter as text: its charset applied, or encoded words decoded where a program used them
    /// (RFC 2047 §5 forbids it, mail programs do it all the same).
    pub fn text(&self, name: &str) -> Option<String> {
        let (octets, label) = self.assemble(name)?;
        Some(match label {
            Some(label) => words::clean(&charset::decode(&octets, Some(&label))),
            None => words::text(&octets),
        })
    }

    /// The octets and, where one is given, the charset.
    fn assemble(&self, name: &str) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
        let named = || self.parameters.iter().filter(|p| p.name == name);
        if let Some(whole) = named().find(|p| p.extended && p.piece.is_none()) {
            let (label, text) = split_charset(&whole.value);
            return Some((undo_percents(text), label.map(<[u8]>::to_vec)));
        }
        let mut pieces: Vec<_> = named().filter(|p| p.piece.is_some()).collect();
        if pieces.is_empty() {
            return named().next().map(|plain| (plain.value.clone(), None));
        }
        pieces.sort_by_key(|p| p.piece);
        pieces.dedup_by_key(|p| p.piece);
        let (mut octets, mut charset) = (Vec::new(), None);
        for (index, piece) in pieces.into_iter().enumerate() {
            if !piece.extended {
                octets.extend_from_slice(&piece.value);
                continue;
            }
            let mut text = piece.value.as_slice();
            if index == 0 {
                let (label, behind) = split_charset(text);
                charset = label.map(<[u8]>::to_vec);
                text = behind;
            }
            octets.extend(undo_percents(text));
        }
        Some((octets, charset))
    }
}

/// `name`, `name*`, `name*3` or `name*3*` and what stands behind its `=`.
#[derive(Clone, PartialEq, Eq)]
struct Parameter {
    name: String,
    piece: Option<u32>,
    extended: bool,
    value: Vec<u8>,
}

impl Parameter {
    fn new(name: &[u8], value: Vec<u8>) -> Self {
        let (name, extended) = match name.strip_suffix(b"*") {
            Some(name) => (name, true),
            None => (name, false),
        };
        let number = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<u32>().ok();
        let star = memrchr(b'*', name);
        let split =
            star.and_then(|at| Some((name.get(..at)?, name.get(at..)?.strip_prefix(b"*")?)));
        let (name, piece) = match split {
            Some((base, digits)) if number(digits).is_some() => (base, number(digits)),
            _ => (name, None),
        };
        Self {
            name: String::from_utf8_lossy(name).to_ascii_lowercase(),
            piece,
            extended,
            value,
        }
    }
}

/// Takes `token` or `token/token` off the front, with blanks, comments or quotes around.
fn take_value(octets: &[u8]) -> (Option<String>, &[u8]) {
    let front = skip_blanks(octets);
    let (first, rest) = take_token(front.strip_prefix(b"\"").unwrap_or(front));
    let rest = skip_blanks(rest);
    if first.is_empty() || rest.starts_with(b"=") {
        // `Content-Disposition: filename=x`: there is no value, only parameters.
        return (None, octets);
    }
    let mut value = first.to_ascii_lowercase();
    let Some(behind) = rest.strip_prefix(b"/") else {
        return (String::from_utf8(value).ok(), rest);
    };
    let (second, rest) = take_token(skip_blanks(behind));
    value.push(b'/');
    value.extend(second.to_ascii_lowercase());
    (String::from_utf8(value).ok(), rest)
}

fn take_token(octets: &[u8]) -> (&[u8], &[u8]) {
    let end = octets.iter().position(|&octet| !is_token(octet));
    octets.split_at(end.unwrap_or(octets.len()).min(octets.len()))
}

fn take_parameters(mut rest: &[u8]) -> Vec<Parameter> {
    let mut parameters = Vec::new();
    while parameters.len() < MAX_PARAMETERS
        && let Some(at) = rest.iter().position(|octet| matches!(octet, b'=' | b';'))
    {
        let name = rest.get(..at).unwrap_or_default();
        let behind = rest.get(at.saturating_add(1)..).unwrap_or_default();
        if rest.get(at) == Some(&b';') {
            rest = behind;
            continue;
        }
        let (value, next) = take_parameter_value(behind);
        rest = next;
        let name = without_comments(name);
        if !name.is_empty() {
            parameters.push(Parameter::new(name, value));
        }
    }
    parameters
}

/// A quoted string, or all up to the next semicolon: `name=my report.pdf` is meant as one name.
fn take_parameter_value(octets: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut value = Vec::new();
    // A comment is looked for up to the semicolon only, or else a field full of open parentheses
    // would be searched to its end for each of them.
    let end = memchr(b';', octets).unwrap_or(octets.len());
    let (raw, rest) = octets.split_at(end.min(octets.len()));
    let blanks = raw.len().saturating_sub(skip_blanks(raw).len());
    let Some(quoted) = octets
        .get(blanks..)
        .and_then(|text| text.strip_prefix(b"\""))
    else {
        value.extend_from_slice(without_comments(raw));
        return (value, rest);
    };
    let mut rest = quoted.iter();
    while let Some(&octet) = rest.next() {
        match (octet, rest.as_slice().first()) {
            (b'"', _) => break,
            // Only these two need an escape; `C:\reports\may.pdf` has none.
            (b'\\', Some(&escaped @ (b'"' | b'\\'))) => {
                value.push(escaped);
                rest.next();
            }
            _ => value.push(octet),
        }
    }
    let rest = rest.as_slice();
    let next = memchr(b';', rest).unwrap_or(rest.len());
    (value, rest.get(next..).unwrap_or_default())
}

/// Blanks and leading comments (RFC 822's linear white space) skipped.
fn skip_blanks(mut octets: &[u8]) -> &[u8] {
    loop {
        octets = octets.trim_ascii_start();
        let Some(end) = comment_end(octets.iter()) else {
            return octets;
        };
        octets = octets.get(end..).unwrap_or_default();
    }
}

/// Blanks and comments around a word removed: `us-ascii (plain text)`, but not `report (1).pdf`.
fn without_comments(octets: &[u8]) -> &[u8] {
    let mut octets = skip_blanks(octets).trim_ascii_end();
    while octets.ends_with(b")") {
        let mirrored = octets.iter().rev().map(|octet| match octet {
            b'(' => &b')',
            b')' => &b'(',
            other => other,
        });
        let Some(length) = comment_end(mirrored) else {
            break;
        };
        let kept = octets.len().saturating_sub(length);
        octets = octets.get(..kept).unwrap_or_default().trim_ascii_end();
    }
    octets
}

/// The length of the comment at the front; nothing if there is none or it has no end.
fn comment_end<'a>(octets: impl Iterator<Item = &'a u8>) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, octet) in octets.enumerate() {
        match octet {
            b'(' => depth = depth.saturating_add(1),
            b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return (at > 0).then(|| at.saturating_add(1));
        }
    }
    None
}

/// `charset'language'text` (RFC 2231 §4); the charset only where it is named.
fn split_charset(value: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let mut parts = value.splitn(3, |&octet| octet == b'\'');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(charset), Some(_), Some(text)) => ((!charset.is_empty()).then_some(charset), text),
        _ => (None, value),
    }
}

pub(super) fn undo_percents(text: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, behind)) = rest.split_first() {
        let escaped = match rest {
            [b'%', high, low, ..] => words::hex_octet(*high, *low),
            _ => None,
        };
        octets.push(escaped.unwrap_or(first));
        rest = match escaped {
            Some(_) => rest.get(3..).unwrap_or_default(),
            None => behind,
        };
    }
    octets
}

/// RFC 2045 §5.1.
pub(super) fn is_token(octet: u8) -> bool {
    octet.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&octet)
}

/// More than a field has use for, few enough to hold.
const MAX_PARAMETERS: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn field(value: &str) -> MimeField {
        MimeField::parse(value.as_bytes())
    }

    #[test]
    fn values_are_read_with_blanks_and_comments_around() {
        for (text, value) in [
            (" text/plain; charset=utf-8", Some("text/plain")),
            ("TEXT/Html", Some("text/html")),
            (" text / plain ;x=y", Some("text/plain")),
            ("(a (b)) text/(c)plain (d)", Some("text/plain")),
            ("text/html charset=utf-8", Some("text/html")),
            ("base64 (or so)", Some("base64")),
            ("text", Some("text")),
            ("text/", Some("text/")),
            ("filename=x.pdf", None),
            ("", None),
            (";", None),
            ("\"base64\"", Some("base64")),
        ] {
            assert_eq!(field(text).value(), value, "{text:?}");
        }
    }

    #[test]
    fn parameters_are_read_as_programs_write_them() {
        for (text, value) in [
            ("x; name=a.pdf", "a.pdf"),
            ("x; NAME = \"a.pdf\" ; y=z", "a.pdf"),
            ("x name=a.pdf", "a.pdf"),
            ("x; name=my report (1).pdf; y=z", "my report (1).pdf"),
            ("x; name=a.pdf (comment (nested)) (another)", "a.pdf"),
            ("x; y=(; name=(b) \"a.pdf\" (c)", "a.pdf"),
            ("x; (first) name (why) = (not) a.pdf", "a.pdf"),
            ("x; name=\"a;b=c\\\"d\\\\e.pdf\"; y=z", "a;b=c\"d\\e.pdf"),
            ("x; name=\"C:\\reports\\may.pdf\"", "C:\\reports\\may.pdf"),
            ("x; name=\"no end; y=z", "no end; y=z"),
            ("x;\r\n name=\"folded\r\n name.pdf\"", "folded name.pdf"),
            ("x;;; ; name=a.pdf;", "a.pdf"),
            ("x; name=a.pdf; name=b.pdf", "a.pdf"),
            ("name=a.pdf", "a.pdf"),
            ("x; name=\"=?utf-8?B?w6QucGRm?=\"", "ä.pdf"),
            (
                "x; name=\"=?utf-8?Q?=C3=A4?=\r\n =?utf-8?Q?.pdf?=\"",
                "ä.pdf",
            ),
            ("x; name*=utf-8'de'%C3%A4%20%28.pdf", "ä (.pdf"),
            ("x; name*=iso-8859-2''%B1.pdf", "ą.pdf"),
            ("x; name*=''%C3%A4.pdf", "ä.pdf"),
            ("x; name*=ä%", "ä%"),
            ("x; name=old.pdf; name*=utf-8''n%C3%A9w.pdf", "néw.pdf"),
            ("x; name*0=a; name*1=b; name*2=c", "abc"),
            ("x; name*1*=%A4.pdf; name*0*=utf-8''%C3", "ä.pdf"),
            ("x; name*2=c; name*0*=utf-8''a%20; name*1=%20", "a %20c"),
            ("x; name*0=a; name*2=c; name*0=z", "ac"),
        ] {
            assert_eq!(field(text).text("name").as_deref(), Some(value), "{text:?}");
        }
        for text in [
            "x",
            "x; name",
            "x; names=y",
            "x; =name",
            "x; name*x=1",
            "x; name*-1=1",
        ] {
            assert_eq!(field(text).text("name"), None, "{text:?}");
        }
    }

    #[test]
    fn line_breaks_do_not_come_out_of_a_parameter() {
        let name = field("x; name*=utf-8''a%0D%0ABcc:%20b%00%E2%80%A8").text("name");
        assert_eq!(name.as_deref(), Some("a  Bcc: b"));
    }

    proptest! {
        #[test]
        fn no_field_makes_the_parser_panic(octets in "[a-z*0-2='\"%;() \\\\\r\n/é]{0,80}") {
            let field = field(&octets);
            let _ = field.value();
            let _ = field.text("a");
        }
    }
}
