//! The settings file: TOML or YAML, as its ending says.
//!
//! Its values have types already. A value left empty in YAML (`port:`) counts as not set, so that
//! a section may be commented out down to its name.

use std::path::Path;

use figment::providers::Format;
use figment::providers::Toml;
use figment::value::Dict;
use figment::value::Value;
use serde_saphyr::MessageFormatter;
use serde_saphyr::UserMessageFormatter;

use crate::config::inline;
use crate::config::text_file;
use crate::config::text_file::TextError;

/// Why the settings file cannot be used. No text shows any of its content: it may hold secrets.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error(transparent)]
    Text(#[from] TextError),
    #[error("the name must end in .toml, .yaml or .yml")]
    Ending,
    #[error("{language} syntax error {place}: {message}")]
    Syntax {
        language: &'static str,
        place: String,
        message: String,
    },
    #[error("expected a table of sections")]
    NotATable,
}

/// Reads the settings file.
///
/// # Errors
/// [`FileError`], whose text goes on from the file's path.
pub(super) fn read(path: &Path) -> Result<Dict, FileError> {
    let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
    let parse = match ending.to_str() {
        Some("toml") => toml,
        Some("yaml" | "yml") => yaml,
        _ => return Err(FileError::Ending),
    };
    parse(&text_file::read(path, BOUND)?).map(inline::tidy_table)
}

/// Reads TOML.
///
/// # Errors
/// [`FileError::Syntax`].
pub(super) fn toml(text: &str) -> Result<Dict, FileError> {
    Toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let before = text.get(..start).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        // `to_string` would show the line itself.
        let message = error.message().replace('\n', ", ");
        FileError::Syntax {
            language: "TOML",
            place: format!("on line {line}"),
            message,
        }
    })
}

fn yaml(text: &str) -> Result<Dict, FileError> {
    let options = serde_saphyr::options! {
        // A password of 0755 stays what was typed, and `no` is a word.
        leading_zero_numbers_as_strings: true,
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    let document = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let place = match error.location() {
            Some(location) => format!("on line {}", location.line()),
            None => "somewhere".to_owned(),
        };
        let message = match error.without_snippet() {
            // Its own text would show the tag, which may be a secret without quotes.
            serde_saphyr::Error::UnsupportedTag { .. } => {
                "what begins with an exclamation mark must be in quotes".to_owned()
            }
            other => UserMessageFormatter.format_message(other).into_owned(),
        };
        FileError::Syntax {
            language: "YAML",
            place,
            message,
        }
    })?;
    match document {
        Value::Dict(_, table) => Ok(table),
        Value::Empty(..) => Ok(Dict::new()),
        _ => Err(FileError::NotATable),
    }
}

/// Octets. Settings are far smaller.
const BOUND: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use crate::config::testing::Scene;
    use crate::config::testing::Tls;

    #[test]
    fn toml_and_yaml_say_the_same() {
        let toml = Scene::new().toml(
            "[smtp]\nport = 25\n[[smtp.listeners]]\nbind = \"0.0.0.0:587\"\ntls = \"starttls\"",
        );
        let yaml = Scene::new().file(
            "gateway.yml",
            "smtp:\n  port: 25\n  listeners:\n    - bind: 0.0.0.0:587\n      tls: starttls\n",
        );
        assert_eq!(toml.config().smtp, yaml.config().smtp);
        assert_eq!(toml.config().smtp.listeners[0].tls, Tls::Starttls);
    }

    #[test]
    fn what_is_left_empty_in_yaml_is_not_set() {
        let scene = Scene::new().file("gateway.yaml", "smtp:\n  port:\nlimits:\n# idle: 5m\n");
        assert_eq!(scene.config().smtp.port, 587);
        assert_eq!(
            Scene::new()
                .file("gateway.yaml", "# nothing\n")
                .config()
                .smtp
                .port,
            587
        );
    }

    #[test]
    fn yaml_keeps_words_and_leading_zeros_as_text() {
        let scene = Scene::new().file("a.yaml", "backend: no\nauth:\n  password: 0755\n");
        let config = scene.config();
        assert_eq!(config.backend, "no");
        assert_eq!(config.auth.password.unwrap().0, "0755");
    }

    #[test]
    fn another_ending_is_refused() {
        let faults = Scene::new().file("gateway.json", "{}").faults();
        assert_eq!(
            faults,
            ["gateway.json: the name must end in .toml, .yaml or .yml"]
        );
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let faults = Scene::new()
            .missing_file("/nonexistent/gateway.toml")
            .faults();
        let expected =
            "/nonexistent/gateway.toml: cannot be read: No such file or directory (os error 2)";
        assert_eq!(faults, [expected]);
    }

    #[test]
    fn a_syntax_error_gives_the_line_and_not_what_stands_there() {
        let toml = "[auth]\n\npassword = \"hunter2\n";
        let faults = Scene::new().toml(toml).faults();
        assert_eq!(faults.len(), 1);
        assert!(
            faults[0].starts_with("gateway.toml: TOML syntax error on line 3: "),
            "{faults:?}"
        );
        assert!(!faults[0].contains("hunter2"));
        for yaml in [
            "auth:\n  source: any\n  password: \"hunter2\n",
            "auth:\n  source: any\n  password: hunter2: x\n",
            "auth:\n  source: any\n  password: *hunter2\n",
            "auth:\n  source: any\n  password: !hunter2\n",
            "auth:\n  source: any\n  password: !!int hunter2\n",
            "auth:\n  source: any\n  password: \"hunter2\\q\"\n",
        ] {
            let faults = Scene::new().file("a.yaml", yaml).faults();
            assert_eq!(faults.len(), 1);
            assert!(
                faults[0].starts_with("a.yaml: YAML syntax error on line "),
                "{faults:?}"
            );
            assert!(!faults[0].contains("hunter2"), "{faults:?}");
        }
    }

    #[test]
    fn a_key_given_twice_is_a_syntax_error() {
        for (name, text) in [
            ("a.toml", "backend = 'a'\nbackend = 'b'"),
            ("a.yaml", "backend: a\nbackend: b"),
        ] {
            let faults = Scene::new().file(name, text).faults();
            assert!(faults[0].contains("syntax error on line 2"), "{faults:?}");
        }
    }

    #[test]
    fn a_list_is_not_a_settings_file() {
        let faults = Scene::new().file("a.yaml", "- smtp\n").faults();
        assert_eq!(faults, ["a.yaml: expected a table of sections"]);
    }
}
