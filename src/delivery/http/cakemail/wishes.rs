//! Header fields of Cakemail's own SMTP service: what a message asks for. They never leave.
//!
//! Other programs use some of these names too. What cannot be understood is not Cakemail's, and
//! nobody misses it in the message: it asks for nothing.

use std::num::NonZeroU64;

use crate::delivery::http::cakemail::EmailType;
use crate::delivery::http::provider::Unsendable;
use crate::message::email::HeaderField;

/// What a message asks for itself. Of a field that comes twice the first counts that can be
/// understood; tags add up.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wishes {
    pub(super) sender_id: Option<String>,
    pub(super) account_id: Option<NonZeroU64>,
    pub(super) list_id: Option<NonZeroU64>,
    pub(super) kind: Option<EmailType>,
    pub(super) tags: Vec<String>,
    pub(super) opens: Option<bool>,
    pub(super) clicks_html: Option<bool>,
    pub(super) clicks_text: Option<bool>,
}

impl Wishes {
    /// # Errors
    /// [`Unsendable::CannotCarry`] for more tags than anyone needs.
    pub(super) fn read(fields: &[HeaderField]) -> Result<Self, Unsendable> {
        let mut wishes = Self::default();
        for field in fields {
            let value = field.value.trim();
            if !value.is_empty() {
                wishes.take(field, value)?;
            }
        }
        Ok(wishes)
    }

    fn take(&mut self, field: &HeaderField, value: &str) -> Result<(), Unsendable> {
        match field.name.to_ascii_lowercase().as_str() {
            "x-sender-id" => first(&mut self.sender_id, Some(value.to_owned())),
            "x-account-id" => first(&mut self.account_id, value.parse().ok()),
            "x-list-id" => first(&mut self.list_id, value.parse().ok()),
            "x-email-api-type" => first(&mut self.kind, kind(value)),
            "x-track-opens" => first(&mut self.opens, truth(value)),
            "x-track-clicks-html" => first(&mut self.clicks_html, truth(value)),
            "x-track-clicks-text" => first(&mut self.clicks_text, truth(value)),
            "x-tags" => {
                for tag in value.split(',').filter_map(fitted_tag) {
                    if self.tags.len() == MAX_TAGS {
                        let reason = format!("{}: expected at most {MAX_TAGS} tags", field.name);
                        return Err(Unsendable::CannotCarry(reason));
                    }
                    self.tags.push(tag);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Whether a field, named in lower case, is one of the service's own.
pub(super) fn is_own(name: &str) -> bool {
    OWN.contains(&name)
}

/// The API's pattern of a tag.
pub(super) fn is_tag(tag: &str) -> bool {
    let fits = |octet: u8| octet.is_ascii_alphanumeric() || b"-_".contains(&octet);
    (1..=MAX_TAG).contains(&tag.len()) && tag.bytes().all(fits)
}

/// A tag in the API's letters: hyphens for blanks, and nothing for other characters.
fn fitted_tag(tag: &str) -> Option<String> {
    let letter = |c: char| match c {
        ' ' | '\t' => Some('-'),
        c => (c.is_ascii_alphanumeric() || "-_".contains(c)).then_some(c),
    };
    let fitted: String = tag
        .trim()
        .chars()
        .filter_map(letter)
        .take(MAX_TAG)
        .collect();
    is_tag(&fitted).then_some(fitted)
}

fn first<T>(wish: &mut Option<T>, value: Option<T>) {
    if wish.is_none() {
        *wish = value;
    }
}

fn kind(value: &str) -> Option<EmailType> {
    match value.to_ascii_lowercase().as_str() {
        "transactional" => Some(EmailType::Transactional),
        "marketing" => Some(EmailType::Marketing),
        _ => None,
    }
}

fn truth(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// All fields that the service knows. Of these, groups belong to version 1 of the API, the next one
/// chooses a way that is always taken here, and the last two are the service's own notes.
const OWN: [&str; 12] = [
    "x-sender-id",
    "x-account-id",
    "x-list-id",
    "x-email-api-type",
    "x-track-opens",
    "x-track-clicks-html",
    "x-track-clicks-text",
    "x-tags",
    "x-group-id",
    "x-email-api-enabled",
    "x-sender-envelope-from",
    "x-original-return-path",
];

/// The API's bound on the length of a tag.
const MAX_TAG: usize = 255;
/// Of one message; no report shows nearly as many.
const MAX_TAGS: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fields: &[(&str, &str)]) -> Result<Wishes, Unsendable> {
        let field = |(name, value): &(&str, &str)| HeaderField {
            name: (*name).to_owned(),
            value: (*value).to_owned(),
        };
        Wishes::read(&fields.iter().map(field).collect::<Vec<_>>())
    }

    #[test]
    fn wishes_are_read_in_any_case() {
        let wishes = read(&[
            ("X-Sender-ID", "1042"),
            ("x-account-id", "27"),
            ("X-List-Id", "9"),
            ("X-List-Id", "10"),
            ("X-EMAIL-API-TYPE", "Marketing"),
            ("X-Tags", "receipt, shop,"),
            ("X-Tags", "a_b-7"),
            ("X-Track-Opens", "YES"),
            ("X-Track-Clicks-Html", "1"),
            ("X-Track-Clicks-Text", "false"),
            ("X-Email-Api-Enabled", "whatever"),
            ("Subject", "no wish"),
        ]);
        let expected = Wishes {
            sender_id: Some("1042".to_owned()),
            account_id: NonZeroU64::new(27),
            list_id: NonZeroU64::new(9),
            kind: Some(EmailType::Marketing),
            tags: ["receipt", "shop", "a_b-7"].map(str::to_owned).into(),
            opens: Some(true),
            clicks_html: Some(true),
            clicks_text: Some(false),
        };
        assert_eq!(wishes, Ok(expected));
        let nothing = [("X-List-Id", ""), ("X-Track-Opens", " ")];
        assert_eq!(read(&nothing), Ok(Wishes::default()));
    }

    #[test]
    fn what_cannot_be_understood_asks_for_nothing() {
        for (name, value) in [
            ("X-List-Id", "<users.lists.example.org>"),
            ("X-List-Id", "0"),
            ("X-Account-Id", "-1"),
            ("X-Email-Api-Type", "newsletter"),
            ("X-Track-Opens", "perhaps"),
            ("X-Tags", "é, ,"),
        ] {
            assert_eq!(read(&[(name, value)]), Ok(Wishes::default()), "{name}");
        }
        let wishes = read(&[("X-List-Id", "<users>"), ("X-List-Id", "9")]).unwrap();
        assert_eq!(wishes.list_id, NonZeroU64::new(9));
    }

    #[test]
    fn switches_are_read_as_people_write_them() {
        for (value, truth) in [("on", true), ("Off", false), ("yes", true), ("0", false)] {
            let wishes = read(&[("X-Track-Opens", value)]).unwrap();
            assert_eq!(wishes.opens, Some(truth), "{value}");
        }
    }

    #[test]
    fn tags_are_made_to_fit() {
        let long = "a".repeat(300);
        let wishes = read(&[("X-Tags", "urgent, follow up,café!"), ("X-Tags", &long)]).unwrap();
        let cut = "a".repeat(255);
        assert_eq!(wishes.tags, ["urgent", "follow-up", "caf", &cut]);
    }

    #[test]
    fn more_tags_than_anyone_needs_are_refused() {
        let tags = |count| vec!["a"; count].join(",");
        assert!(read(&[("X-Tags", &tags(MAX_TAGS))]).is_ok());
        for fields in [
            &[("X-Tags", tags(MAX_TAGS + 1).as_str())][..],
            &[("X-Tags", &tags(MAX_TAGS)), ("X-Tags", "b")],
        ] {
            let Err(Unsendable::CannotCarry(reason)) = read(fields) else {
                panic!("all tags were taken");
            };
            assert_eq!(reason, "X-Tags: expected at most 100 tags");
        }
    }
}
