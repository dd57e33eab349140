//! Files, as the API takes them: nine types, and names of letters, digits, `-` and `_`.
//!
//! Names are made to fit. A file of another type is refused: its receiver would miss it.

use std::collections::HashSet;

use crate::delivery::http::provider::Unsendable;
use crate::message::base64_form::Base64Form;
use crate::message::charset;
use crate::message::content::Content;
use crate::message::email::{Attachment, Disposition};
use crate::message::parameters::MimeField;
use crate::message::transfer;

pub(super) struct File {
    /// `^[a-zA-Z0-9-_]+\.(csv|doc|docx|ics|jpeg|pdf|png|xls|xlsx)$`, and no other file's.
    pub(super) name: String,
    /// The API's own word, not a media type.
    pub(super) type_name: &'static str,
    pub(super) content: Base64Form,
}

/// # Errors
/// [`Unsendable::CannotCarry`], naming the type that the API does not take.
pub(super) fn files<'a>(
    attachments: impl Iterator<Item = &'a Attachment>,
    content: &Content,
) -> Result<Vec<File>, Unsendable> {
    let mut names = HashSet::new();
    let wanted = attachments.filter(|attachment| !is_dispensable(attachment));
    let file = |attachment: &Attachment| {
        let (stem, kind) = stem_and_kind(attachment)?;
        Ok(File {
            name: unique(&mut names, &stem, kind.extension()),
            type_name: kind.type_name(),
            content: form(attachment, kind, content),
        })
    };
    wanted.map(file).collect()
}

/// A calendar leaves in UTF-8, since the API has no place for its charset and a file has none but
/// this (RFC 5545 §3.1.4). Others leave as they are.
fn form(attachment: &Attachment, kind: Kind, content: &Content) -> Base64Form {
    let octets = content.slice(attachment.body.clone());
    if kind == Kind::Ics && attachment.media_type.starts_with("text/") {
        let decoded = transfer::decode(&octets, attachment.encoding);
        let label = MimeField::parse(attachment.content_type.as_bytes()).parameter("charset");
        let text = charset::decode(&decoded, label.as_deref());
        return Base64Form::of_slices(vec![text.into()]);
    }
    Base64Form::of_part(octets, attachment.encoding)
}

/// Whether the API has a type for it.
pub(super) fn takes(attachment: &Attachment) -> bool {
    stem_and_kind(attachment).is_ok()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Csv,
    Doc,
    Docx,
    Ics,
    Jpeg,
    Pdf,
    Png,
    Xls,
    Xlsx,
}

impl Kind {
    fn of_extension(extension: &str) -> Option<Self> {
        Some(match extension.to_ascii_lowercase().as_str() {
            "csv" => Self::Csv,
            "doc" => Self::Doc,
            "docx" => Self::Docx,
            "ics" => Self::Ics,
            "jpeg" | "jpg" | "jpe" | "jfif" => Self::Jpeg,
            "pdf" => Self::Pdf,
            "png" => Self::Png,
            "xls" => Self::Xls,
            "xlsx" => Self::Xlsx,
            _ => return None,
        })
    }

    fn of_media_type(media_type: &str) -> Option<Self> {
        Some(match media_type {
            "text/csv" | "application/csv" | "text/comma-separated-values" => Self::Csv,
            "application/msword" => Self::Doc,
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document" => Self::Docx,
            "text/calendar" | "application/ics" => Self::Ics,
            "image/jpeg" | "image/jpg" | "image/pjpeg" => Self::Jpeg,
            "application/pdf" | "application/x-pdf" => Self::Pdf,
            "image/png" | "image/x-png" => Self::Png,
            "application/vnd.ms-excel" | "application/excel" => Self::Xls,
            "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" => Self::Xlsx,
            _ => return None,
        })
    }

    fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Doc => "doc",
            Self::Docx => "docx",
            Self::Ics => "ics",
            Self::Jpeg => "jpeg",
            Self::Pdf => "pdf",
            Self::Png => "png",
            Self::Xls => "xls",
            Self::Xlsx => "xlsx",
        }
    }

    fn type_name(self) -> &'static str {
        match self {
            Self::Ics => "calendar",
            other => other.extension(),
        }
    }

    /// The stem of a file that has no name.
    fn stem(self) -> &'static str {
        match self {
            Self::Jpeg | Self::Png => "image",
            Self::Ics => "calendar",
            Self::Csv | Self::Doc | Self::Docx | Self::Pdf | Self::Xls | Self::Xlsx => "document",
        }
    }
}

/// Other forms of the text for a few programs, which have the HTML besides.
fn is_dispensable(attachment: &Attachment) -> bool {
    attachment.disposition == Disposition::Alternative
        && ["text/x-amp-html", "text/watch-html"].contains(&attachment.media_type.as_str())
}

/// The extension decides, since that is what the receiver's system goes by; where it says nothing,
/// the media type does.
fn stem_and_kind(attachment: &Attachment) -> Result<(String, Kind), Unsendable> {
    let name = attachment.name.as_deref().unwrap_or_default().trim();
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let (stem, kind) = match Kind::of_extension(extension) {
        Some(kind) => (stem, Some(kind)),
        None => (name, Kind::of_media_type(&attachment.media_type)),
    };
    let kind = kind.ok_or_else(|| refusal(&attachment.media_type, extension))?;
    let stem = match fitted(stem) {
        empty if empty.is_empty() => kind.stem().to_owned(),
        stem => stem,
    };
    Ok((stem, kind))
}

fn refusal(media_type: &str, extension: &str) -> Unsendable {
    let plain = extension.bytes().all(|octet| octet.is_ascii_alphanumeric());
    let shown = match extension {
        "" => String::new(),
        extension if plain && extension.len() <= 10 => format!(" (.{extension})"),
        _ => String::new(),
    };
    Unsendable::CannotCarry(format!(
        "an attachment is {media_type}{shown}, and it takes csv, doc, docx, ics, jpeg, pdf, png, \
         xls and xlsx only"
    ))
}

/// The stem in the API's letters: Latin ones without their marks, one hyphen for anything else.
fn fitted(stem: &str) -> String {
    let mut out = String::new();
    for c in stem.chars() {
        if c.is_ascii_alphanumeric() || c == '_' {
            out.push(c);
        } else if let Some(letters) = latin(c) {
            out.push_str(&letters);
        } else if !is_mark(c) && !out.ends_with('-') {
            out.push('-');
        }
        if out.len() >= MAX_STEM {
            break;
        }
    }
    out.trim_matches('-').to_owned()
}

/// A mark that combines with the letter before it, as some systems write names.
fn is_mark(c: char) -> bool {
    ('\u{300}'..='\u{36f}').contains(&c)
}

/// The letters that a Latin letter with a mark is made of.
fn latin(c: char) -> Option<String> {
    let mut lower = c.to_lowercase();
    let letters = match lower.next()? {
        'à'..='å' | 'ā' | 'ă' | 'ą' => "a",
        'æ' => "ae",
        'ç' | 'ć' | 'ĉ' | 'ċ' | 'č' => "c",
        'ď' | 'đ' | 'ð' => "d",
        'è'..='ë' | 'ē' | 'ĕ' | 'ė' | 'ę' | 'ě' => "e",
        'ĝ' | 'ğ' | 'ġ' | 'ģ' => "g",
        'ĥ' | 'ħ' => "h",
        'ì'..='ï' | 'ĩ' | 'ī' | 'ĭ' | 'į' | 'ı' => "i",
        'ĵ' => "j",
        'ķ' => "k",
        'ĺ' | 'ļ' | 'ľ' | 'ŀ' | 'ł' => "l",
        'ñ' | 'ń' | 'ņ' | 'ň' => "n",
        'ò'..='ö' | 'ø' | 'ō' | 'ŏ' | 'ő' => "o",
        'œ' => "oe",
        'ŕ' | 'ŗ' | 'ř' => "r",
        'ś' | 'ŝ' | 'ş' | 'š' | 'ș' => "s",
        'ß' => "ss",
        'ţ' | 'ť' | 'ŧ' | 'ț' => "t",
        'þ' => "th",
        'ù'..='ü' | 'ũ' | 'ū' | 'ŭ' | 'ů' | 'ű' | 'ų' => "u",
        'ŵ' => "w",
        'ý' | 'ÿ' | 'ŷ' => "y",
        'ź' | 'ż' | 'ž' => "z",
        _ => return None,
    };
    Some(match c.is_uppercase() {
        true => letters.to_uppercase(),
        false => letters.to_owned(),
    })
}

/// The name, with a number where another file has it already; case does not make two names.
fn unique(names: &mut HashSet<String>, stem: &str, extension: &str) -> String {
    let mut name = format!("{stem}.{extension}");
    let mut number = 2_u32;
    while !names.insert(name.to_ascii_lowercase()) {
        name = format!("{stem}-{number}.{extension}");
        number = number.saturating_add(1);
    }
    name
}

/// Enough for people, and within every file system.
const MAX_STEM: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::transfer::TransferEncoding;

    fn attachment(name: &str, media_type: &str) -> Attachment {
        Attachment {
            name: Some(name.to_owned()).filter(|name| !name.is_empty()),
            media_type: media_type.to_owned(),
            content_type: media_type.to_owned(),
            content_id: None,
            disposition: Disposition::Attachment,
            encoding: TransferEncoding::Identity,
            body: 0..5,
        }
    }

    fn names(attachments: &[Attachment]) -> Result<Vec<(String, &'static str)>, Unsendable> {
        let files = files(attachments.iter(), &Content::new("hello"))?;
        Ok(files
            .into_iter()
            .map(|file| (file.name, file.type_name))
            .collect())
    }

    #[test]
    fn names_are_made_to_fit() {
        for (name, media_type, fitted, type_name) in [
            ("receipt 7.pdf", "application/pdf", "receipt-7.pdf", "pdf"),
            ("Foto.JPG", "image/jpeg", "Foto.jpeg", "jpeg"),
            (
                "Übersicht März.xlsx",
                "application/zip",
                "Ubersicht-Marz.xlsx",
                "xlsx",
            ),
            ("Cafe\u{301}.png", "image/png", "Cafe.png", "png"),
            (
                "STRAẞE.ŁÓDŹ.pdf",
                "application/pdf",
                "STRASSE-LODZ.pdf",
                "pdf",
            ),
            ("../../etc/a.b.csv", "text/plain", "a-b.csv", "csv"),
            ("C:\\x\\y.doc", "application/octet-stream", "y.doc", "doc"),
            ("receipt.pdf.", "application/pdf", "receipt-pdf.pdf", "pdf"),
            ("请柬.ics", "text/calendar", "calendar.ics", "calendar"),
            ("", "text/calendar", "calendar.ics", "calendar"),
            ("", "image/jpeg", "image.jpeg", "jpeg"),
            ("invoice", "application/pdf", "invoice.pdf", "pdf"),
            ("invoice.2024", "application/pdf", "invoice-2024.pdf", "pdf"),
            (".pdf", "application/pdf", "document.pdf", "pdf"),
            ("a - _b.docx", "application/x", "a-_b.docx", "docx"),
            ("p.xls", "application/x", "p.xls", "xls"),
        ] {
            let found = names(&[attachment(name, media_type)]).unwrap();
            assert_eq!(found, [(fitted.to_owned(), type_name)], "{name}");
        }
        let long = names(&[attachment(&"x".repeat(300), "image/png")]).unwrap();
        assert_eq!(long[0].0.len(), MAX_STEM + ".png".len());
    }

    #[test]
    fn no_two_files_have_one_name() {
        let found = names(&[
            attachment("a b.pdf", "application/pdf"),
            attachment("A-b.pdf", "application/pdf"),
            attachment("a.b.pdf", "application/pdf"),
            attachment("a-b.png", "image/png"),
        ]);
        let found: Vec<_> = found.unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(found, ["a-b.pdf", "A-b-2.pdf", "a-b-3.pdf", "a-b.png"]);
    }

    #[test]
    fn other_types_are_refused_by_name() {
        for (name, media_type, told) in [
            ("notes.txt", "text/plain", "text/plain (.txt)"),
            ("a.zip", "application/zip", "application/zip (.zip)"),
            ("", "image/gif", "image/gif,"),
            ("a.\u{e9}\r\n", "message/rfc822", "message/rfc822,"),
        ] {
            let Err(Unsendable::CannotCarry(reason)) = names(&[attachment(name, media_type)])
            else {
                panic!("{name} was taken");
            };
            assert!(reason.contains(told), "{reason}");
        }
    }

    #[test]
    fn only_forms_of_the_text_that_nobody_misses_are_left_out() {
        let alternative = |media_type| Attachment {
            disposition: Disposition::Alternative,
            ..attachment("", media_type)
        };
        assert_eq!(names(&[alternative("text/x-amp-html")]), Ok(Vec::new()));
        let calendar = names(&[alternative("text/calendar")]);
        assert_eq!(calendar, Ok(vec![("calendar.ics".to_owned(), "calendar")]));
        assert!(names(&[alternative("text/rtf")]).is_err());
        assert!(names(&[attachment("", "text/x-amp-html")]).is_err());
    }
}
