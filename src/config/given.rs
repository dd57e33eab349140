//! Raw values given one by one, by variables or flags, and what they may not say together.

use std::collections::BTreeMap;
use std::ffi::OsString;

use figment::value::Value;

use crate::config::explain::A_TABLE;
use crate::config::fault::Faults;
use crate::config::inline;
use crate::config::key_path::KeyPath;
use crate::config::origin::Source;
use crate::config::tree::Tree;
use crate::config::vocabulary;
use crate::config::vocabulary::Vocabulary;

/// One raw value for one key.
#[derive(Clone)]
pub(super) struct Given {
    pub(super) key: KeyPath,
    pub(super) source: Source,
    pub(super) raw: String,
}

/// Picks the variables that are meant for us and not empty.
///
/// The system may hand out values that are not UTF-8. In variables of others that is not our
/// business.
pub(super) fn from_variables(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    source: impl Fn(String) -> Source,
    vocabulary: &Vocabulary,
    faults: &mut Faults,
) -> Vec<Given> {
    let mut all = Vec::new();
    for (name, value) in variables {
        let Ok(name) = name.into_string() else {
            continue;
        };
        let Some(key) = vocabulary.key_of(&name) else {
            continue;
        };
        let source = source(name);
        match value.into_string() {
            Ok(raw) if raw.is_empty() => {}
            Ok(raw) => all.push(Given { key, source, raw }),
            Err(_) => faults.add(
                Some(&key),
                Some(&source),
                "the value is not UTF-8".to_owned(),
            ),
        }
    }
    // The system's order means nothing, and faults should come in the same order every time.
    all.sort_by(|a, b| (a.source.variable(), &a.raw).cmp(&(b.source.variable(), &b.raw)));
    all
}

/// Makes a tree of what one source gives.
pub(super) fn grow(all: Vec<Given>, vocabulary: &Vocabulary, faults: &mut Faults) -> Tree {
    let mut by_key: BTreeMap<KeyPath, Given> = BTreeMap::new();
    for given in all {
        match by_key.get(&given.key) {
            Some(first) if first.raw != given.raw => {
                let message = kubernetes_port(&given.source, &given.raw).unwrap_or_else(|| {
                    format!(
                        "{} gives another value for the same key; keep one",
                        first.source
                    )
                });
                faults.add(Some(&given.key), Some(&given.source), message);
            }
            Some(_) => {}
            None => {
                by_key.insert(given.key.clone(), given);
            }
        }
    }
    let mut tree = Tree::default();
    for (key, given) in &by_key {
        let holder = key
            .and_holders()
            .skip(1)
            .find_map(|holder| by_key.get(&holder));
        match holder {
            Some(whole) => {
                let message = format!("{} gives {} as a whole; keep one", whole.source, whole.key);
                faults.add(Some(key), Some(&given.source), message);
            }
            None if vocabulary.is_section(key) => plant_section(&mut tree, given, faults),
            None => tree.set(key, Value::from(given.raw.as_str()), given.source.clone()),
        }
    }
    tree
}

/// A section is known to be a table, so its text is read at once and merged key by key.
fn plant_section(tree: &mut Tree, given: &Given, faults: &mut Faults) {
    if let Ok(Value::Dict(_, table)) = inline::parse(&given.raw) {
        return tree.plant(&given.key, table, &given.source);
    }
    let message = match inline::complaint(&given.raw) {
        Some(complaint) => format!("expected {A_TABLE}; {complaint}"),
        None => format!("expected {A_TABLE}"),
    };
    faults.add(Some(&given.key), Some(&given.source), message);
}

/// What to say about an address that Kubernetes put where a port belongs.
///
/// Beside a Service named `smtp`, every container gets `SMTP_PORT=tcp://10.0.0.1:587`.
pub(super) fn kubernetes_port(source: &Source, raw: &str) -> Option<String> {
    let variable = source
        .variable()
        .filter(|name| !vocabulary::is_spelled_out(name))?;
    let service = variable
        .strip_suffix("_PORT")?
        .to_ascii_lowercase()
        .replace('_', "-");
    raw.starts_with("tcp://").then(|| {
        format!(
            "found {raw:?}, which Kubernetes sets for a Service named {service:?}: set \
             enableServiceLinks: false on the pod, or give the Service another name"
        )
    })
}
#[cfg(test)]
mod tests {
    use super::*;

    use std::os::unix::ffi::OsStringExt;

    use crate::config::testing::Scene;

    #[test]
    fn an_empty_variable_counts_as_not_set() {
        let scene = Scene::new()
            .toml("[smtp]\nport = 25")
            .dotenv("SMTP_HOST=\n")
            .variable("GATEWAY__SMTP__PORT", "");
        assert_eq!(scene.config().smtp.port, 25);
    }

    #[test]
    fn an_alias_and_the_full_name_may_agree() {
        let scene = Scene::new()
            .variable("SMTP_PORT", "25")
            .variable("GATEWAY__SMTP__PORT", "25");
        assert_eq!(scene.config().smtp.port, 25);
    }

    #[test]
    fn an_alias_and_the_full_name_may_not_differ() {
        let scene = Scene::new()
            .variable("SMTP_PORT", "25")
            .variable("GATEWAY__SMTP__PORT", "26");
        assert_eq!(
            scene.faults(),
            [
                "SMTP_PORT: smtp.port: GATEWAY__SMTP__PORT gives another value for the same key; keep one"
            ]
        );
    }

    #[test]
    fn an_alias_in_a_stronger_source_simply_wins() {
        let scene = Scene::new()
            .dotenv("GATEWAY__SMTP__PORT=26\n")
            .variable("SMTP_PORT", "25");
        assert_eq!(scene.config().smtp.port, 25);
    }

    #[test]
    fn the_address_kubernetes_injects_for_a_service_is_explained() {
        let expected = "SMTP_PORT: smtp.port: found \"tcp://10.0.0.1:587\", which Kubernetes sets for a \
                        Service named \"smtp\": set enableServiceLinks: false on the pod, or give the \
                        Service another name";
        let scene = Scene::new().variable("SMTP_PORT", "tcp://10.0.0.1:587");
        assert_eq!(scene.faults(), [expected]);
        let scene = scene.variable("GATEWAY__SMTP__PORT", "587");
        assert_eq!(scene.faults(), [expected]);
    }

    #[test]
    fn a_whole_section_in_one_variable_merges_with_weaker_sources() {
        let config = Scene::new()
            .toml("[limits]\nconnections = 5\nidle = \"1s\"")
            .variable(
                "GATEWAY__LIMITS",
                r#"{ "idle": "2s", "retry": { "tries": 9 } }"#,
            )
            .config();
        assert_eq!(config.limits.connections, 5);
        assert_eq!(config.limits.idle.to_string(), "2s");
        assert_eq!(config.limits.retry.tries, 9);
    }

    #[test]
    fn a_section_that_is_not_a_table_is_refused_without_showing_it() {
        let scene = Scene::new()
            .variable("GATEWAY__AUTH", "hunter2")
            .variable("GATEWAY__SMTP", "{ port = }");
        assert_eq!(
            scene.faults(),
            [
                "GATEWAY__AUTH: auth: expected a table in TOML or JSON, such as { a = 1 }",
                "GATEWAY__SMTP: smtp: expected a table in TOML or JSON, such as { a = 1 }; \
                 it is not TOML from character 10 on",
            ]
        );
    }

    #[test]
    fn a_table_and_a_key_in_it_may_not_both_be_given() {
        let scene = Scene::new()
            .variable("GATEWAY__LIMITS__RETRY", "{ tries = 1 }")
            .variable("GATEWAY__LIMITS__RETRY__TRIES", "2");
        assert_eq!(
            scene.faults(),
            [
                "GATEWAY__LIMITS__RETRY__TRIES: limits.retry.tries: GATEWAY__LIMITS__RETRY gives \
              limits.retry as a whole; keep one"
            ]
        );
    }

    #[test]
    fn octets_that_are_not_utf_8_matter_only_in_our_variables() {
        let octets = || OsString::from_vec(vec![0xff]);
        let variables = [
            ("PATH".into(), octets()),
            (octets(), octets()),
            ("GATEWAY__BACKEND".into(), octets()),
        ];
        let mut faults = Faults::default();
        let vocabulary = Vocabulary {
            sections: &[],
            values: &[],
            secrets: &[],
            aliases: &[],
        };
        let all = from_variables(variables, Source::Environment, &vocabulary, &mut faults);
        assert!(all.is_empty());
        assert_eq!(
            faults.to_string(),
            "GATEWAY__BACKEND: backend: the value is not UTF-8"
        );
    }
}
