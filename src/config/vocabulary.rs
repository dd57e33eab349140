//! Which names settings may have: sections, secrets, and the variables that set them.

use crate::config::key_path::KeyPath;

/// The names this program knows above the keys of its sections, which the sections' types know.
#[derive(Debug, Clone, Copy)]
pub struct Vocabulary {
    /// Names of the tables at the top.
    pub sections: &'static [&'static str],
    /// Names of the settings at the top that are not tables.
    pub values: &'static [&'static str],
    /// Keys, at any level, whose values are never shown. `<key>_file` names a file with the value,
    /// so no section may have a key of that name for itself.
    pub secrets: &'static [&'static str],
    /// Variables with a name of their own, and the keys they set.
    pub aliases: &'static [(&'static str, &'static str)],
}

impl Vocabulary {
    pub(super) fn is_secret(&self, key: &KeyPath) -> bool {
        key.levels()
            .iter()
            .any(|level| self.secrets.contains(&level.as_str()))
    }

    pub(super) fn is_section(&self, key: &KeyPath) -> bool {
        matches!(key.levels(), [name] if self.sections.contains(&name.as_str()))
    }

    /// All names that may stand at the top.
    pub(super) fn top(&self) -> impl Iterator<Item = &'static str> {
        self.sections.iter().chain(self.values).copied()
    }

    /// The secret that a key such as `password_file` gives.
    pub(super) fn secret_behind<'k>(&self, key: &'k str) -> Option<&'k str> {
        key.strip_suffix(FILE_SUFFIX)
            .filter(|secret| self.secrets.contains(secret))
    }

    /// The other way to give the same secret: `password` and `password_file` are twins.
    pub(super) fn twin(&self, key: &KeyPath) -> Option<KeyPath> {
        match self.secret_behind(key.last()) {
            Some(secret) => Some(key.sibling(secret)),
            None if self.secrets.contains(&key.last()) => {
                Some(key.sibling(&format!("{}{FILE_SUFFIX}", key.last())))
            }
            None => None,
        }
    }

    /// The key a variable sets, known or not; `None` if the variable is not meant for us.
    pub(super) fn key_of(&self, variable: &str) -> Option<KeyPath> {
        if let Some(levels) = strip_prefix(variable) {
            return Some(KeyPath::new(
                levels.split("__").map(str::to_ascii_lowercase).collect(),
            ));
        }
        let alias = |name: &str| self.aliases.iter().find(|(alias, _)| *alias == name);
        match alias(variable) {
            Some((_, key)) => Some(KeyPath::from(*key)),
            None => {
                let (_, key) = alias(variable.strip_suffix("_FILE")?)?;
                let key = KeyPath::from(*key);
                self.secrets
                    .contains(&key.last())
                    .then(|| self.twin(&key))
                    .flatten()
            }
        }
    }
}

/// The variable that sets a key, without regard to aliases.
pub(super) fn variable_for(key: &KeyPath) -> String {
    format!("{PREFIX}{}", key.levels().join("__").to_ascii_uppercase())
}

/// Whether the variable spells out its key, which Kubernetes' own variables never do.
pub(super) fn is_spelled_out(variable: &str) -> bool {
    strip_prefix(variable).is_some()
}

/// The candidate that was probably meant.
pub(super) fn nearest<'c>(
    typed: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    let typed = typed.to_ascii_lowercase().replace('-', "_");
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&typed, candidate), candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .map(|(_, candidate)| candidate)
}

/// Names the operator may choose from.
pub(super) fn one_of(names: &[&str]) -> String {
    match names {
        [] => "nothing".to_owned(),
        [only] => format!("{only:?}"),
        [first @ .., last] => {
            let first: Vec<_> = first.iter().map(|name| format!("{name:?}")).collect();
            format!("{} or {last:?}", first.join(", "))
        }
    }
}

fn strip_prefix(variable: &str) -> Option<&str> {
    let (prefix, levels) = variable.split_at_checked(PREFIX.len())?;
    prefix.eq_ignore_ascii_case(PREFIX).then_some(levels)
}

/// Not one underscore: Kubernetes sets `GATEWAY_PORT` beside a Service of that name.
const PREFIX: &str = "GATEWAY__";
pub(super) const FILE_SUFFIX: &str = "_file";

#[cfg(test)]
mod tests {
    use super::*;

    const VOCABULARY: Vocabulary = Vocabulary {
        sections: &["smtp", "auth"],
        values: &["backend"],
        secrets: &["password", "key"],
        aliases: &[
            ("SMTP_PORT", "smtp.port"),
            ("SMTP_PASSWORD", "auth.password"),
        ],
    };

    fn key_of(variable: &str) -> Option<String> {
        VOCABULARY.key_of(variable).map(|key| key.to_string())
    }

    #[test]
    fn double_underscores_separate_levels_in_any_case() {
        assert_eq!(
            key_of("GATEWAY__SMTP__MAX_SIZE").as_deref(),
            Some("smtp.max_size")
        );
        assert_eq!(key_of("gateway__Backend").as_deref(), Some("backend"));
    }

    #[test]
    fn an_alias_sets_its_key_and_a_secret_one_also_comes_as_a_file() {
        assert_eq!(key_of("SMTP_PORT").as_deref(), Some("smtp.port"));
        assert_eq!(
            key_of("SMTP_PASSWORD_FILE").as_deref(),
            Some("auth.password_file")
        );
    }

    #[test]
    fn variables_of_others_are_not_ours() {
        for name in [
            "PATH",
            "GATEWAY_PORT",
            "SMTP_PORT_FILE",
            "smtp_port",
            "GATEWAY",
            "",
        ] {
            assert_eq!(key_of(name), None, "{name}");
        }
    }

    #[test]
    fn only_something_close_is_suggested() {
        let known = ["connections", "message_size"];
        assert_eq!(nearest("Message-Size", known), Some("message_size"));
        assert_eq!(nearest("conections", known), Some("connections"));
        assert_eq!(nearest("retries", known), None);
    }
}
