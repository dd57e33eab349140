//! Makes faults of the errors that a section's type gives: which key, which source, what is wrong,
//! and not a word of a secret.

use figment::Error;
use figment::error::Kind;
use figment::value::Value;

use crate::config::explain::Refused;
use crate::config::extraction::Extraction;
use crate::config::given;
use crate::config::inline;
use crate::config::key_path::KeyPath;
use crate::config::node;
use crate::config::origin::Source;

impl Extraction<'_> {
    /// Records what an error says, unless it only follows from a fault that is known.
    pub(super) fn report(&mut self, path: &[String], error: &Error) {
        let key = self.key(path);
        match &error.kind {
            Kind::MissingField(field) => {
                let field = key.child(field);
                if !self.settings.broken.contains(&field) {
                    self.settings.add_fault(&field, "is required".to_owned());
                }
            }
            Kind::UnknownField(field, known) => {
                // The path leads to the key, or only to its table if that was looked at first.
                let field = if key.last() == field {
                    key
                } else {
                    key.child(field)
                };
                self.settings.add_unknown(&field, known);
            }
            kind => {
                let message = self.explain(&key, path, kind);
                self.settings.add_fault(&key, message);
            }
        }
    }

    fn explain(&self, key: &KeyPath, path: &[String], kind: &Kind) -> String {
        let hidden = self.secrets_in(path);
        let secret = self.settings.vocabulary.is_secret(key);
        let source = self.settings.origins.within(key);
        let raw = source.is_some_and(Source::is_raw);
        let (text, kind) = match (node::find(&self.value, path), self.read_inline.get(key)) {
            (Some(Value::String(_, text)), _) => (Some(text.as_str()), kind),
            // One scalar read as another says no more; what was typed says most.
            (Some(Value::Num(..) | Value::Bool(..)), Some((text, first))) => {
                (Some(text.as_str()), first)
            }
            _ => (None, kind),
        };
        if let (Some(source), Some(text), false) = (source, text, secret)
            && let Some(message) = given::kubernetes_port(source, text)
        {
            return message;
        }
        let message = Refused {
            kind,
            text,
            raw,
            secret,
            hidden: &hidden,
        }
        .explain();
        match text.and_then(inline::complaint) {
            Some(complaint) if raw && !secret => format!("{message}; {complaint}"),
            _ => message,
        }
    }

    /// The secrets in a table or list, which its type may repeat when it turns the whole down.
    fn secrets_in(&self, path: &[String]) -> Vec<String> {
        let mut secrets = Vec::new();
        let mut open = Vec::new();
        open.extend(node::find(&self.value, path).map(|node| (self.key(path), node)));
        while let Some((key, node)) = open.pop() {
            match node {
                Value::Dict(_, table) => {
                    open.extend(table.iter().map(|(level, next)| (key.child(level), next)));
                }
                Value::Array(_, list) => open.extend(list.iter().map(|next| (key.clone(), next))),
                scalar if self.settings.vocabulary.is_secret(&key) => {
                    secrets.extend(scalar.as_str().map(str::to_owned));
                    secrets.extend(scalar.to_i128().map(|number| number.to_string()));
                }
                _ => {}
            }
        }
        secrets
    }
}

#[cfg(test)]
mod tests {
    use crate::config::testing::Scene;

    #[test]
    fn values_of_a_file_have_their_type_already() {
        let scene = Scene::new().toml("smtp.port = \"25\"\nlimits.strict = \"true\"\nbackend = 5");
        assert_eq!(
            scene.faults(),
            [
                "gateway.toml: backend: found 5, expected text; put it in quotes",
                "gateway.toml: smtp.port: found \"25\", expected a whole number from 0 to 65535; \
                 take the quotes away",
                "gateway.toml: limits.strict: found \"true\", expected true or false; take the quotes away",
            ]
        );
    }

    #[test]
    fn all_faults_are_told_at_once_each_with_its_source() {
        let scene = Scene::new()
            .toml("[smtp]\nport = 70000\nhost = \"here\"\ntrusted = [\"10.0.0.0/8\", \"10/8\"]\nready = 5")
            .dotenv("GATEWAY__LIMITS__IDLE=soon\n")
            .variable("MESSAGE_SIZE_LIMIT", "25MB")
            .variable("GATEWAY__LIMITS__STRICT", "maybe")
            .variable("GATEWAY__AUTH__SOURCE", "Any")
            .flag("limits.retry.tries", "300");
        assert_eq!(
            scene.faults(),
            [
                "gateway.toml: smtp.host: found \"here\": invalid IP address syntax",
                "gateway.toml: smtp.port: found 70000, expected a whole number from 0 to 65535",
                "gateway.toml: smtp.ready: unknown key, expected \"host\", \"port\", \"banner\", \
                 \"listeners\" or \"trusted\"",
                "gateway.toml: smtp.trusted[1]: found \"10/8\": invalid IP address syntax",
                ".env: GATEWAY__LIMITS__IDLE: limits.idle: found \"soon\", expected a period such as \
                 30s, 1m30s or 500ms",
                "MESSAGE_SIZE_LIMIT: limits.message_size: found \"25MB\", expected a size such as \
                 25MiB or 26214400",
                "command line: limits.retry.tries: found \"300\", expected a whole number from 0 to 255",
                "GATEWAY__LIMITS__STRICT: limits.strict: found \"maybe\", expected true or false",
                "GATEWAY__AUTH__SOURCE: auth.source: found \"Any\", expected \"any\" or \"http\"; did \
                 you mean \"any\"?",
            ]
        );
    }

    #[test]
    fn entries_of_a_list_keep_their_index_when_others_are_taken_out() {
        let scene = Scene::new().toml(
            "[[smtp.listeners]]\ntls = \"none\"\n\
             [[smtp.listeners]]\nbind = \"x\"\n\
             [[smtp.listeners]]\nbind = \"[::]:25\"\n\
             [[smtp.listeners]]\nbind = \"[::]:26\"\ntls = \"startls\"\nport = 5\n",
        );
        assert_eq!(
            scene.faults(),
            [
                "gateway.toml: smtp.listeners[0].bind: is required",
                "gateway.toml: smtp.listeners[1].bind: found \"x\": invalid socket address syntax",
                "gateway.toml: smtp.listeners[3].port: unknown key, expected \"bind\" or \"tls\"",
                "gateway.toml: smtp.listeners[3].tls: found \"startls\", expected \"none\", \
                 \"starttls\" or \"implicit\"; did you mean \"starttls\"?",
            ]
        );
    }

    #[test]
    fn faults_inside_a_list_that_comes_in_one_variable_name_variable_and_entry() {
        let list = r#"[{ name = "a", key = "k" }, { name = "b", key = "k", rate = "x" }, { name = "c", kye = "k" }]"#;
        let scene = Scene::new().variable("GATEWAY__AUTH__KEYS", list);
        assert_eq!(
            scene.faults(),
            [
                "GATEWAY__AUTH__KEYS: auth.keys[1].rate: found \"x\", expected a whole number, zero \
                 or more",
                "GATEWAY__AUTH__KEYS: auth.keys[2].kye: unknown key; did you mean \"key\"?",
            ]
        );
    }

    #[test]
    fn a_list_that_is_neither_toml_nor_json_is_not_shown() {
        let scene = Scene::new()
            .variable("GATEWAY__AUTH__KEYS", r#"[{"name": "a", "key": "hunter2"]"#)
            .variable("GATEWAY__SMTP__TRUSTED", "10.0.0.0/8")
            .variable("GATEWAY__SMTP__LISTENERS__0__BIND", "[::]:25");
        assert_eq!(
            scene.faults(),
            [
                "GATEWAY__SMTP__LISTENERS__0__BIND: smtp.listeners: found a table, expected a list in \
                 TOML or JSON, such as [\"a\", \"b\"]",
                "GATEWAY__SMTP__TRUSTED: smtp.trusted: found \"10.0.0.0/8\", expected a list in TOML \
                 or JSON, such as [\"a\", \"b\"]",
                "GATEWAY__AUTH__KEYS: auth.keys: found text in brackets, expected a list in TOML or \
                 JSON, such as [\"a\", \"b\"]; it is not JSON from character 32 on",
            ]
        );
    }

    #[test]
    fn a_fault_in_a_whole_table_shows_none_of_its_secrets() {
        let toml = "[relay]\nkind = \"login\"\npassword = \"hunter\\\"2\"\nagain = \"hunter\\\"2\"";
        let expected =
            "gateway.toml: relay: found a value (not shown), expected a whole number from 0 to 255";
        assert_eq!(Scene::new().toml(toml).faults(), [expected]);
    }

    #[test]
    fn no_fault_shows_a_secret() {
        let scene = Scene::new()
            .toml("[auth]\npin = \"hunter2\"\npassword = 4711\n[[auth.keys]]\nname = \"a\"\nkey = [\"hunter2\"]")
            .variable("GATEWAY__AUTH__ACCOUNTS__BOB__PASSWORD__X", "hunter2")
            .flag("smtp.port", "{ password = \"hunter2\" }");
        assert_eq!(
            scene.faults(),
            [
                "command line: smtp.port: found a table, expected a whole number from 0 to 65535",
                "GATEWAY__AUTH__ACCOUNTS__BOB__PASSWORD__X: auth.accounts.bob.password: found a value \
                 (not shown), expected text",
                "gateway.toml: auth.keys[0].key: found a value (not shown), expected text",
                "gateway.toml: auth.password: found a value (not shown), expected text; put it in quotes",
                "gateway.toml: auth.pin: the value (not shown) is not valid",
            ]
        );
    }
}
