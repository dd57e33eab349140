//! Header fields of Cakemail's own SMTP service: what a message asks for. They never leave.

use std::num::NonZeroU64;

use crate::delivery::http::cakemail::EmailType;
use crate::delivery::http::provider::Unsendable;
use crate::message::email::HeaderField;

/// What a message asks for itself. Of a field that comes twice the first counts; tags add up.
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
    /// [`Unsendable::CannotCarry`], naming the field that cannot be understood. An empty one asks for
    /// nothing.
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
        let expected = |what: &str| {
            let reason = format!("{}: expected {what}", field.name);
            Unsendable::CannotCarry(reason)
        };
        let number = || value.parse().map_err(|_| expected("a positive number"));
        let truth = || truth(value).ok_or_else(|| expected("true or false"));
        match field.name.to_ascii_lowercase().as_str() {
            "x-sender-id" => {
                self.sender_id.get_or_insert_with(|| value.to_owned());
            }
            "x-account-id" => first(&mut self.account_id, number()?),
            "x-list-id" => first(&mut self.list_id, number()?),
            "x-email-api-type" => first(
                &mut self.kind,
                kind(value).ok_or_else(|| expected("transactional or marketing"))?,
            ),
            "x-track-opens" => first(&mut self.opens, truth()?),
            "x-track-clicks-html" => first(&mut self.clicks_html, truth()?),
            "x-track-clicks-text" => first(&mut self.clicks_text, truth()?),
            "x-tags" => {
                for tag in value
                    .split(',')
                    .map(str::trim)
                    .filter(|tag| !tag.is_empty())
                {
                    if !is_tag(tag) {
                        return Err(expected("tags of letters, digits, - and _"));
                    }
                    self.tags.push(tag.to_owned());
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
    (1..=255).contains(&tag.len()) && tag.bytes().all(fits)
}

fn first<T>(wish: &mut Option<T>, value: T) {
    wish.get_or_insert(value);
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
        "true" | "1" | "yes" => Some(true),
        "false" | "0" | "no" => Some(false),
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
    fn a_wish_that_cannot_be_understood_names_its_field() {
        let long = "a".repeat(256);
        for (name, value) in [
            ("X-List-Id", "nine"),
            ("X-List-Id", "0"),
            ("X-Account-Id", "-1"),
            ("X-Email-Api-Type", "newsletter"),
            ("X-Track-Opens", "perhaps"),
            ("X-Tags", "two words"),
            ("X-Tags", "é"),
            ("X-Tags", &long),
        ] {
            let Err(Unsendable::CannotCarry(reason)) = read(&[(name, value)]) else {
                panic!("{name}: {value} was understood");
            };
            assert!(
                reason.starts_with(&format!("{name}: expected ")),
                "{reason}"
            );
        }
    }
}
