//! Says in an operator's words what a value's type found wrong with it.

use figment::error::Actual;
use figment::error::Kind;

use crate::config::inline;
use crate::config::vocabulary;

/// A value that was turned down.
pub(super) struct Refused<'r> {
    pub(super) kind: &'r Kind,
    /// What was typed, if it is text.
    pub(super) text: Option<&'r str>,
    /// Whether the source gave text whatever was meant.
    pub(super) raw: bool,
    /// Then nothing of the value may show.
    pub(super) secret: bool,
    /// What must not show either way.
    pub(super) hidden: &'r [String],
}

impl Refused<'_> {
    /// What was found, what was expected, and a way to make it right.
    pub(super) fn explain(&self) -> String {
        let message = match self.kind {
            Kind::InvalidType(actual, expected) | Kind::InvalidValue(actual, expected) => {
                let (found, advice) = (self.found(actual), self.advice(actual, expected));
                format!("{found}, expected {}{advice}", self.expected(expected))
            }
            Kind::InvalidLength(length, expected) => {
                format!("found {length} entries, expected {expected}")
            }
            Kind::UnknownVariant(found, names) => self.explain_variant(found, names),
            Kind::DuplicateField(_) => "is given twice".to_owned(),
            other => self.in_its_own_words(&other.to_string()),
        };
        let shows = |secret: &String| {
            let escaped = secret.escape_debug().to_string();
            !secret.is_empty() && (message.contains(secret) || message.contains(&escaped))
        };
        match self.hidden.iter().any(shows) {
            true => NOT_VALID.to_owned(),
            false => message,
        }
    }

    fn explain_variant(&self, found: &str, names: &[&str]) -> String {
        let meant = match self.secret {
            true => None,
            false => vocabulary::nearest(found, names.iter().copied()),
        };
        let found = self.found(&Actual::Str(found.to_owned()));
        match meant {
            Some(meant) => format!(
                "{found}, expected {}; did you mean {meant:?}?",
                vocabulary::one_of(names)
            ),
            None => format!("{found}, expected {}", vocabulary::one_of(names)),
        }
    }

    fn in_its_own_words(&self, message: &str) -> String {
        match self.text {
            Some(text) if !self.secret && !message.contains(&format!("{text:?}")) => {
                format!("{}: {message}", self.found(&Actual::Str(text.to_owned())))
            }
            _ => message.to_owned(),
        }
    }

    fn found(&self, actual: &Actual) -> String {
        match actual {
            _ if self.secret => NOT_SHOWN.to_owned(),
            Actual::Str(text) if self.hidden.contains(text) => NOT_SHOWN.to_owned(),
            // Whole tables in one variable may hold secrets of their own.
            Actual::Str(text) if inline::is_in_brackets(text) => {
                "found text in brackets".to_owned()
            }
            Actual::Str(text) if text.chars().count() > LONGEST => {
                let start: String = text.chars().take(LONGEST).collect();
                format!("found text that begins {start:?}")
            }
            Actual::Str(text) => format!("found {text:?}"),
            Actual::Bool(value) => format!("found {value}"),
            Actual::Unsigned(value) => format!("found {value}"),
            Actual::Signed(value) => format!("found {value}"),
            Actual::Float(value) => format!("found {value}"),
            Actual::Seq => "found a list".to_owned(),
            Actual::Map => "found a table".to_owned(),
            Actual::Unit | Actual::Option => "found nothing".to_owned(),
            other => format!("found {other}"),
        }
    }

    /// Turns serde's words into an operator's. A type of ours says it well by itself.
    fn expected(&self, expected: &str) -> String {
        let Some(shape) = Shape::of(expected) else {
            return expected.to_owned();
        };
        match (shape, self.raw) {
            (Shape::List, true) => A_LIST.to_owned(),
            (Shape::Table, true) => A_TABLE.to_owned(),
            (Shape::List, false) => "a list".to_owned(),
            (Shape::Table, false) => "a table".to_owned(),
            (Shape::Text, _) => "text".to_owned(),
            (Shape::TrueOrFalse, _) => "true or false".to_owned(),
            (Shape::Number(range), _) => range.to_owned(),
        }
    }

    fn advice(&self, actual: &Actual, expected: &str) -> &'static str {
        match (Shape::of(expected), actual) {
            _ if self.raw => "",
            (
                Some(Shape::Text),
                Actual::Bool(_) | Actual::Unsigned(_) | Actual::Signed(_) | Actual::Float(_),
            ) => "; put it in quotes",
            // Where it begins with a zero, YAML made it text, not quotes.
            (Some(Shape::Number(_)), Actual::Str(text))
                if text.parse::<f64>().is_ok() && !text.starts_with('0') =>
            {
                "; take the quotes away"
            }
            (Some(Shape::TrueOrFalse), Actual::Str(text)) if text.parse::<bool>().is_ok() => {
                "; take the quotes away"
            }
            _ => "",
        }
    }
}

/// What serde's own types, and the code it derives, expect.
enum Shape {
    Text,
    TrueOrFalse,
    Number(&'static str),
    List,
    Table,
}

impl Shape {
    fn of(expected: &str) -> Option<Self> {
        Some(match expected {
            "a string" => Self::Text,
            "a boolean" => Self::TrueOrFalse,
            "u8" => Self::Number("a whole number from 0 to 255"),
            "u16" => Self::Number("a whole number from 0 to 65535"),
            _ if expected.starts_with("a nonzero u") => Self::Number("a whole number, one or more"),
            "u32" | "u64" | "usize" => Self::Number("a whole number, zero or more"),
            "i8" | "i16" | "i32" | "i64" | "isize" => Self::Number("a whole number"),
            "f32" | "f64" => Self::Number("a number"),
            "a sequence" => Self::List,
            "a map" => Self::Table,
            _ if expected.starts_with("struct ") => Self::Table,
            _ if expected.contains("tagged enum ") => Self::Table,
            _ => return None,
        })
    }
}

const A_LIST: &str = "a list in TOML or JSON, such as [\"a\", \"b\"]";
pub(super) const A_TABLE: &str = "a table in TOML or JSON, such as { a = 1 }";
const NOT_SHOWN: &str = "found a value (not shown)";
const NOT_VALID: &str = "the value (not shown) is not valid";
/// Characters of a value that are repeated in a fault.
const LONGEST: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn explain(kind: &Kind, text: &str) -> String {
        Refused {
            kind,
            text: Some(text),
            raw: true,
            secret: false,
            hidden: &[],
        }
        .explain()
    }

    #[test]
    fn long_text_is_cut_and_odd_characters_are_escaped() {
        let long = "x".repeat(100);
        let kind = Kind::InvalidType(Actual::Str(long.clone()), "u16".into());
        assert!(explain(&kind, &long).starts_with("found text that begins \"xxx"));
        let kind = Kind::InvalidType(Actual::Str("a\nb\u{1b}".into()), "u16".into());
        let expected = "found \"a\\nb\\u{1b}\", expected a whole number from 0 to 65535";
        assert_eq!(explain(&kind, "a\nb\u{1b}"), expected);
    }

    #[test]
    fn what_a_type_says_is_put_after_what_was_found() {
        assert_eq!(
            explain(&Kind::Message("no such zone".into()), "x"),
            "found \"x\": no such zone"
        );
        assert_eq!(
            explain(&Kind::Message("\"x\" is no zone".into()), "x"),
            "\"x\" is no zone"
        );
    }

    #[test]
    fn serdes_words_become_an_operators() {
        for (expected, words) in [
            ("a map", "expected a table"),
            ("struct Retry", "expected a table"),
            ("internally tagged enum Backend", "expected a table"),
            ("a sequence", "expected a list"),
            ("a string", "expected text"),
            ("a nonzero u16", "expected a whole number, one or more"),
            ("a size such as 25MiB", "expected a size such as 25MiB"),
        ] {
            let kind = Kind::InvalidType(Actual::Unit, expected.into());
            let refused = Refused {
                kind: &kind,
                text: None,
                raw: false,
                secret: false,
                hidden: &[],
            };
            assert_eq!(refused.explain(), format!("found nothing, {words}"));
        }
    }
}
