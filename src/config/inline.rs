//! Values written in TOML or JSON inside other text, and what both have that settings have not.

use figment::providers::Format;
use figment::providers::Toml;
use figment::value::Dict;
use figment::value::Value;

/// Reads one value, as TOML and if that fails as JSON.
///
/// # Errors
/// Where the text stops making sense, without showing any of it: it may hold secrets.
pub(super) fn parse(text: &str) -> Result<Value, InlineError> {
    // The text becomes a document of one key; a line break in it must not add others.
    let toml = Toml::from_str::<Dict>(&format!("{KEY}{text}"));
    let toml_end = match toml {
        Ok(table) if table.len() > 1 => text.find('\n').unwrap_or_default(),
        Ok(table) => match table.into_values().next() {
            Some(value) => return Ok(tidy(value)),
            None => 0,
        },
        Err(error) => error
            .span()
            .map_or(0, |span| span.start.saturating_sub(KEY.len())),
    };
    match serde_json::from_str(text) {
        Ok(value) => Ok(tidy(value)),
        // Only JSON has a quote followed by a colon.
        Err(error) if text.contains("\":") => {
            let lines = text
                .split_inclusive('\n')
                .take(error.line().saturating_sub(1));
            let before: usize = lines.map(str::len).sum();
            Err(InlineError {
                language: "JSON",
                at: before + error.column().max(1),
            })
        }
        Err(_) => Err(InlineError {
            language: "TOML",
            at: toml_end + 1,
        }),
    }
}

/// What is wrong with text that clearly was meant to be a list or a table.
pub(super) fn complaint(text: &str) -> Option<InlineError> {
    match is_in_brackets(text) {
        true => parse(text).err(),
        false => None,
    }
}

pub(super) fn is_in_brackets(text: &str) -> bool {
    text.trim_start().starts_with(['[', '{'])
}

/// The text is neither TOML nor JSON.
#[derive(Debug, thiserror::Error)]
#[error("it is not {language} from character {at} on")]
pub(super) struct InlineError {
    /// What it looks like.
    language: &'static str,
    /// Octets, counted from one.
    at: usize,
}

/// Drops nulls, which stand for "not set", and turns dates of TOML back into text.
pub(super) fn tidy(value: Value) -> Value {
    match value {
        Value::Dict(tag, table) => match table.get(TOML_DATE) {
            Some(date @ Value::String(..)) if table.len() == 1 => date.clone(),
            _ => Value::Dict(tag, tidy_table(table)),
        },
        Value::Array(tag, list) => Value::Array(tag, list.into_iter().map(tidy).collect()),
        scalar => scalar,
    }
}

pub(super) fn tidy_table(table: Dict) -> Dict {
    let kept = table
        .into_iter()
        .filter(|(_, value)| !matches!(value, Value::Empty(..)));
    kept.map(|(key, value)| (key, tidy(value))).collect()
}

const KEY: &str = "x = ";
/// How the `toml` crate hands a date to types that know nothing of dates.
const TOML_DATE: &str = "$__toml_private_datetime";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toml_and_json_are_both_read() {
        let toml = parse(r#"[{ bind = "0.0.0.0:587", tls = "starttls" }]"#).unwrap();
        let json = parse(r#"[{ "bind": "0.0.0.0:587", "tls": "starttls" }]"#).unwrap();
        assert_eq!(toml, json);
        assert_eq!(parse("587").unwrap().to_i128(), Some(587));
        assert_eq!(
            parse("18446744073709551615").unwrap().to_u128(),
            Some(u64::MAX.into())
        );
    }

    #[test]
    fn text_that_goes_on_after_the_value_is_not_a_value() {
        assert!(parse("1\ny = 2").is_err());
        assert!(parse("0755").is_err());
        assert!(parse("hello").is_err());
    }

    #[test]
    fn the_error_says_where_but_shows_nothing() {
        let error = parse(r#"[{"password": "hunter2"]"#)
            .unwrap_err()
            .to_string();
        assert_eq!(error, "it is not JSON from character 24 on");
        let error = parse(r#"[{ password = "hunter2"]"#)
            .unwrap_err()
            .to_string();
        assert_eq!(error, "it is not TOML from character 24 on");
    }

    #[test]
    fn nulls_are_dropped_and_dates_are_text() {
        assert_eq!(parse(r#"{"a": null}"#).unwrap(), Value::from(Dict::new()));
        assert_eq!(parse("2026-01-02").unwrap(), Value::from("2026-01-02"));
    }
}
