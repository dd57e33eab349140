//! Turns one section's values into its type, past every fault in it.
//!
//! A type's deserializer stops at the first fault. So each one is recorded, the key it is about is
//! taken out, and the rest is tried again, until what is left can be taken. This is also where raw
//! text gets its type: a field that cannot take it as text is offered what the text says in TOML
//! or JSON. A password of `0755` therefore stays what it is, and a port of `587` is a number.

use std::collections::BTreeMap;

use figment::Error;
use figment::error::Actual;
use figment::error::Kind;
use figment::value::Value;
use serde::de::DeserializeOwned;

use crate::config::inline;
use crate::config::key_path::KeyPath;
use crate::config::node;
use crate::config::origin::Source;
use crate::config::settings::Settings;

/// The work on one section.
pub(super) struct Extraction<'s> {
    pub(super) settings: &'s mut Settings,
    root: KeyPath,
    /// What is left of the section.
    pub(super) value: Value,
    /// For lists that lost entries: the indices, as they were at first, of those that are left.
    kept: BTreeMap<KeyPath, Vec<usize>>,
    /// Raw texts that were read as TOML or JSON, and what was wrong with them as text.
    pub(super) read_inline: BTreeMap<KeyPath, (String, Kind)>,
}

impl<'s> Extraction<'s> {
    pub(super) fn new(settings: &'s mut Settings, root: KeyPath, value: Value) -> Self {
        Self {
            settings,
            root,
            value,
            kept: BTreeMap::new(),
            read_inline: BTreeMap::new(),
        }
    }

    /// Takes the section, its default where even its outermost shape is wrong.
    pub(super) fn run<T: DeserializeOwned + Default>(mut self) -> T {
        // Each round reads one more raw text, takes one more key out, or ends.
        loop {
            let error = match T::deserialize(&self.value) {
                Ok(section) => return section,
                Err(error) => error,
            };
            let path = &self.pinpoint(&error);
            if self.read_as_inline(path, &error) {
                continue;
            }
            self.report(path, &error);
            if !self.take_out(path) {
                return T::default();
            }
        }
    }

    /// Where the value is that the error is about.
    ///
    /// An error's path may end in made-up parts, such as the name of a variant. And it ends early
    /// in what serde gathers before it looks at it, such as an enum with its tag inside: there the
    /// value is found again by what it is, if there is only one such.
    fn pinpoint(&self, error: &Error) -> Vec<String> {
        let mut path = Vec::new();
        let mut node = &self.value;
        for level in &error.path {
            let Some(next) = node::child(node, level) else {
                break;
            };
            path.push(level.clone());
            node = next;
        }
        match &error.kind {
            Kind::UnknownField(field, _) if path.last() != Some(field) => {
                path.extend(node::child(node, field).map(|_| field.clone()));
            }
            Kind::InvalidType(actual, _) | Kind::InvalidValue(actual, _) => {
                path.extend(node::path_to_only(actual, node));
            }
            Kind::UnknownVariant(name, _) => {
                path.extend(node::path_to_only(&Actual::Str(name.clone()), node));
            }
            _ => {}
        }
        path
    }

    /// Replaces raw text by what it says in TOML or JSON. False if there is nothing to try.
    fn read_as_inline(&mut self, path: &[String], error: &Error) -> bool {
        let key = self.key(path);
        let raw = self
            .settings
            .origins
            .exact(&key)
            .is_some_and(Source::is_raw);
        if !raw || self.read_inline.contains_key(&key) {
            return false;
        }
        let Some(Value::String(_, text)) = node::find_mut(&mut self.value, path) else {
            return false;
        };
        let text = text.clone();
        let mut value = match inline::parse(&text) {
            Ok(Value::String(..)) | Err(_) => return false,
            Ok(value) => value,
        };
        self.settings.read_secret_files(&mut value, &key);
        if let Some(node) = node::find_mut(&mut self.value, path) {
            *node = value;
        }
        self.read_inline.insert(key, (text, error.kind.clone()));
        true
    }

    /// Removes a value from its table or list. False if there is nothing around it.
    fn take_out(&mut self, path: &[String]) -> bool {
        let key = self.key(path);
        let Some((last, holder)) = path.split_last() else {
            return false;
        };
        let holder_key = self.key(holder);
        match node::find_mut(&mut self.value, holder) {
            Some(Value::Dict(_, table)) => {
                table.remove(last);
            }
            Some(Value::Array(_, list)) => {
                let kept = self
                    .kept
                    .entry(holder_key)
                    .or_insert_with(|| (0..list.len()).collect());
                if let Ok(index) = last.parse::<usize>()
                    && index < list.len()
                {
                    list.remove(index);
                    kept.remove(index);
                }
            }
            _ => return false,
        }
        self.settings.broken.insert(key);
        true
    }

    /// The key a path leads to, with the indices that lists had at first.
    pub(super) fn key(&self, path: &[String]) -> KeyPath {
        path.iter().fold(self.root.clone(), |holder, level| {
            let index = self.kept.get(&holder).zip(level.parse::<usize>().ok());
            match index.and_then(|(kept, index)| kept.get(index)) {
                Some(first) => holder.child(&first.to_string()),
                None => holder.child(level),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::config::testing::AuthSource;
    use crate::config::testing::Limits;
    use crate::config::testing::Relay;
    use crate::config::testing::Scene;
    use crate::config::testing::Tls;

    #[test]
    fn raw_text_is_typed_by_the_field_that_takes_it() {
        let config = Scene::new()
            .variable("SMTP_PORT", "25")
            .variable("SMTP_HOST", "::1")
            .variable("SMTP_PASSWORD", "0755")
            .variable("MESSAGE_SIZE_LIMIT", "1048576")
            .variable("GATEWAY__SMTP__BANNER", "true")
            .variable("GATEWAY__LIMITS__IDLE", "90")
            .variable("GATEWAY__LIMITS__STRICT", "false")
            .variable("GATEWAY__LIMITS__BURST", "7")
            .variable("GATEWAY__AUTH__SOURCE", "any")
            .config();
        assert_eq!(
            (config.smtp.port, config.smtp.host),
            (25, "::1".parse().unwrap())
        );
        assert_eq!(config.auth.password.unwrap().0, "0755");
        assert_eq!(config.limits.message_size.to_string(), "1MiB");
        assert_eq!(config.smtp.banner, "true");
        assert_eq!(config.limits.idle.to_string(), "1m30s");
        assert_eq!(
            (config.limits.strict, config.limits.burst),
            (false, Some(7))
        );
        assert_eq!(config.auth.source, AuthSource::Any);
    }

    #[test]
    fn a_secret_that_looks_like_a_number_or_a_list_stays_text() {
        for secret in ["587", "true", "[1]", "{}", " x ", "\"x\""] {
            let config = Scene::new().variable("SMTP_PASSWORD", secret).config();
            assert_eq!(config.auth.password.unwrap().0, secret);
        }
    }

    #[test]
    fn lists_and_tables_come_as_toml_or_json() {
        for list in [
            r#"[{ bind = "0.0.0.0:587", tls = "starttls" }]"#,
            r#"[{"bind": "0.0.0.0:587", "tls": "starttls"}]"#,
        ] {
            let config = Scene::new()
                .variable("GATEWAY__SMTP__LISTENERS", list)
                .config();
            assert_eq!(config.smtp.listeners[0].tls, Tls::Starttls);
        }
        let config = Scene::new()
            .variable("GATEWAY__SMTP__TRUSTED", r#"["10.0.0.0/8", "::1/128"]"#)
            .flag("limits.retry", "{ tries = 9 }")
            .flag("auth.source", r#"{"http": {"url": "https://keys"}}"#)
            .config();
        assert_eq!(config.smtp.trusted.len(), 2);
        assert_eq!(config.limits.retry.tries, 9);
        assert_eq!(
            config.auth.source,
            AuthSource::Http {
                url: "https://keys".into()
            }
        );
    }

    #[test]
    fn the_default_stands_in_for_what_is_not_valid() {
        let mut settings = Scene::new()
            .toml("[limits]\nidle = \"soon\"\nconnections = 5")
            .load();
        let limits: Limits = settings.take("limits");
        assert_eq!(
            (limits.idle.to_string(), limits.connections),
            ("5m".to_owned(), 5)
        );
        assert!(settings.finish().is_err());
    }

    #[test]
    fn an_enum_with_its_tag_inside_is_typed_and_its_faults_are_found_all_the_same() {
        let scene = Scene::new()
            .toml("[relay]\nkind = \"host\"\nname = \"mx\"")
            .variable("GATEWAY__RELAY__PORT", "25")
            .variable("GATEWAY__RELAY__TRUSTED", r#"["10.0.0.0/8"]"#);
        let trusted = vec!["10.0.0.0/8".parse().unwrap()];
        assert_eq!(
            scene.config().relay,
            Relay::Host {
                name: "mx".into(),
                port: 25,
                trusted
            }
        );
        let scene = Scene::new()
            .toml("[relay]\nkind = \"host\"\nname = \"mx\"\nprot = 5")
            .variable("GATEWAY__RELAY__PORT", "tcp");
        assert_eq!(
            scene.faults(),
            [
                "GATEWAY__RELAY__PORT: relay.port: found \"tcp\", expected a whole number from 0 to 65535",
                "gateway.toml: relay.prot: unknown key; did you mean \"port\"?",
            ]
        );
    }

    proptest! {
        #[test]
        fn whatever_text_is_given_loading_ends_and_no_secret_shows(
            pieces in prop::collection::vec(prop::sample::select(pieces()), 0..12),
        ) {
            let text = pieces.concat();
            let secret = format!("hunter2{text}");
            let faults = Scene::new()
                .variable("SMTP_PORT", &text)
                .variable("GATEWAY__SMTP", &text)
                .variable("GATEWAY__SMTP__LISTENERS", &text)
                .variable("GATEWAY__LIMITS__RETRY", &text)
                .variable("GATEWAY__AUTH__SOURCE", &text)
                .variable("GATEWAY__AUTH__KEYS", &format!("[{{ key = {secret:?}, {text}}}]"))
                .variable("GATEWAY__RELAY", &format!("{{ \"password\": {secret:?}, {text}}}"))
                .flag("auth.pin", &secret)
                .faults();
            prop_assert!(!faults.join("\n").contains("hunter2"), "{faults:?}");
        }
    }

    /// What tends to mean something to one of the parsers.
    fn pieces() -> Vec<String> {
        let words = [
            "key",
            "rate",
            "kind",
            "null",
            "true",
            "\"bind\": ",
            "login",
            "tcp://",
        ];
        let signs = "[]{}\"'=:,.-\n# 01x\\".chars();
        signs
            .map(String::from)
            .chain(words.map(String::from))
            .collect()
    }
}
