//! The merged settings: hands each section its values and gathers all that is wrong with them.

use std::collections::BTreeSet;

use aws_lc_rs::digest::{Context, SHA256};
use figment::value::Dict;
use figment::value::Value;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::config::extraction::Extraction;
use crate::config::fault::Faults;
use crate::config::key_path::KeyPath;
use crate::config::origin::Origins;
use crate::config::origin::Source;
use crate::config::tree::Tree;
use crate::config::vocabulary;
use crate::config::vocabulary::FILE_SUFFIX;
use crate::config::vocabulary::Vocabulary;

/// All sources, merged. Take out every section, add what is wrong across them, then
/// [`finish`](Self::finish). There is no `Debug`: it would show secrets.
pub struct Settings {
    pub(super) vocabulary: Vocabulary,
    pub(super) values: Dict,
    pub(super) origins: Origins,
    pub(super) faults: Faults,
    /// Keys with a fault. That they are missing afterwards is not a fault of its own.
    pub(super) broken: BTreeSet<KeyPath>,
}

impl Settings {
    pub(super) fn new(vocabulary: Vocabulary, merged: Tree, faults: Faults) -> Self {
        let Tree { values, origins } = merged;
        let mut settings = Self {
            vocabulary,
            values,
            origins,
            faults,
            broken: BTreeSet::new(),
        };
        settings.refuse_unknown();
        let mut root = Value::from(std::mem::take(&mut settings.values));
        settings.read_secret_files(&mut root, &KeyPath::new(Vec::new()));
        settings.values = root.into_dict().unwrap_or_default();
        settings
    }

    /// Tells apart settings that differ in any value, of secret files too, or in what is wrong.
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut hash = Context::new(&SHA256);
        let values = Zeroizing::new(serde_json::to_vec(&self.values).unwrap_or_default());
        hash.update(&values);
        hash.update(self.faults.to_string().as_bytes());
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(hash.finish().as_ref());
        fingerprint
    }

    /// Takes out a section, or a setting at the top that is not a table.
    ///
    /// Where nothing is set this is the default, and so is every key in it that is not valid. The
    /// type says what keys there are: give it and the tables in it
    /// `#[serde(deny_unknown_fields)]`, and `#[serde(default)]` where keys may be left out.
    pub fn take<T: DeserializeOwned + Default>(&mut self, name: &str) -> T {
        match self.values.remove(name) {
            Some(value) => Extraction::new(self, KeyPath::from(name), value).run(),
            None => T::default(),
        }
    }

    /// Records a fault that only shows across keys or sections. It names what set the key.
    pub fn fault(&mut self, key: &str, message: impl Into<String>) {
        self.add_fault(&KeyPath::from(key), message.into());
    }

    /// Whether nothing is wrong so far with these, and all sources could be read. What does not hold
    /// across broken sections is no fault of its own.
    pub fn are_sound(&self, names: &[&str]) -> bool {
        self.faults.0.iter().all(|fault| match &fault.key {
            None => false,
            Some(key) => key
                .levels()
                .first()
                .is_some_and(|name| !names.contains(&name.as_str())),
        })
    }

    /// Ends the loading. The origins are for showing the settings in force.
    ///
    /// # Errors
    /// All [`Faults`] that were found: what was taken out may then be defaults.
    pub fn finish(self) -> Result<Origins, Faults> {
        match self.faults.is_empty() {
            true => Ok(self.origins),
            false => Err(self.faults),
        }
    }

    pub(super) fn add_fault(&mut self, key: &KeyPath, message: String) {
        let nearest = self.origins.nearest(key);
        let source = nearest.or_else(|| self.origins.within(key));
        self.faults.add(Some(key), source, message);
    }

    /// Records a key that is not among those known beside it.
    pub(super) fn add_unknown(&mut self, key: &KeyPath, known: &[&str]) {
        let mut names: Vec<String> = known.iter().map(ToString::to_string).collect();
        for secret in known
            .iter()
            .filter(|name| self.vocabulary.secrets.contains(name))
        {
            names.push(format!("{secret}{FILE_SUFFIX}"));
        }
        let message = match vocabulary::nearest(key.last(), names.iter().map(String::as_str)) {
            Some(meant) => {
                let meant_key = key.sibling(meant);
                let message = did_you_mean(&meant_key, meant, self.origins.exact(key));
                // The key that was meant is not missing as well.
                self.broken.insert(meant_key);
                message
            }
            None => format!("unknown key, expected {}", vocabulary::one_of(known)),
        };
        self.add_fault(key, message);
    }

    /// Drops what belongs to no section: a fault for each variable or flag, but only one for a
    /// whole table in a file.
    fn refuse_unknown(&mut self) {
        let known: Vec<_> = self.vocabulary.top().collect();
        let mut unknown: Vec<(KeyPath, Source)> = Vec::new();
        for (key, source) in self.origins.iter() {
            let top = key.top();
            let name = self
                .vocabulary
                .secret_behind(top.last())
                .unwrap_or(top.last());
            if !known.contains(&name) {
                let shown = if source.is_raw() { key.clone() } else { top };
                if !unknown.iter().any(|(other, _)| *other == shown) {
                    unknown.push((shown, source.clone()));
                }
            }
        }
        for (key, source) in unknown {
            let top = key.top();
            let message = match vocabulary::nearest(top.last(), known.iter().copied()) {
                Some(meant) => did_you_mean(&key.with_top(meant), meant, Some(&source)),
                None => format!("unknown key, expected {}", vocabulary::one_of(&known)),
            };
            self.faults.add(Some(&key), Some(&source), message);
            self.values.remove(top.last());
        }
    }
}

/// Suggests a key in the way its source names keys.
fn did_you_mean(key: &KeyPath, last: &str, source: Option<&Source>) -> String {
    match source {
        Some(source) if source.variable().is_some() => {
            format!(
                "unknown key; did you mean {}?",
                vocabulary::variable_for(key)
            )
        }
        Some(Source::CommandLine) => format!("unknown key; did you mean {key}?"),
        _ => format!("unknown key; did you mean {last:?}?"),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::testing::Config;
    use crate::config::testing::Scene;

    #[test]
    fn an_unknown_key_is_refused_and_the_nearest_known_one_suggested() {
        let scene = Scene::new()
            .toml("[smtp]\nprot = 25\n[limits.retry]\nwhatever = 1")
            .dotenv("GATEWAY__SMTP__BANER=hi\n")
            .variable("GATEWAY__LIMITS__CONECTIONS", "5")
            .flag("limits.idel", "5s");
        assert_eq!(
            scene.faults(),
            [
                ".env: GATEWAY__SMTP__BANER: smtp.baner: unknown key; did you mean GATEWAY__SMTP__BANNER?",
                "gateway.toml: smtp.prot: unknown key; did you mean \"port\"?",
                "GATEWAY__LIMITS__CONECTIONS: limits.conections: unknown key; did you mean \
                 GATEWAY__LIMITS__CONNECTIONS?",
                "command line: limits.idel: unknown key; did you mean limits.idle?",
                "gateway.toml: limits.retry.whatever: unknown key, expected \"first\" or \"tries\"",
            ]
        );
    }

    #[test]
    fn an_unknown_section_is_one_fault_a_file_and_one_a_variable() {
        let scene = Scene::new()
            .toml("[smpt]\nport = 25\nbanner = \"hi\"\n[other]\nx = 1")
            .variable("GATEWAY__LIMIT__IDLE", "5s")
            .variable("GATEWAY__BAKCEND", "x");
        assert_eq!(
            scene.faults(),
            [
                "GATEWAY__BAKCEND: bakcend: unknown key; did you mean GATEWAY__BACKEND?",
                "GATEWAY__LIMIT__IDLE: limit.idle: unknown key; did you mean GATEWAY__LIMITS__IDLE?",
                "gateway.toml: other: unknown key, expected \"smtp\", \"limits\", \"auth\", \"relay\" or \"backend\"",
                "gateway.toml: smpt: unknown key; did you mean \"smtp\"?",
            ]
        );
    }

    #[test]
    fn the_file_form_of_a_secret_is_suggested_too() {
        let scene = Scene::new().toml("auth.pasword_file = \"/x\"");
        assert_eq!(
            scene.faults(),
            ["gateway.toml: auth.pasword_file: unknown key; did you mean \"password_file\"?"]
        );
    }

    #[test]
    fn faults_across_sections_join_the_others_and_name_what_set_the_key() {
        let scene = Scene::new()
            .toml("smtp.port = 0")
            .variable("GATEWAY__LIMITS__IDLE", "soon");
        let mut settings = scene.load();
        Config::take(&mut settings);
        settings.fault("smtp.port", "must not be 0");
        settings.fault("backend", "is required");
        let faults = settings.finish().unwrap_err().to_string();
        let lines: Vec<_> = faults.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(
            lines[0].starts_with("GATEWAY__LIMITS__IDLE: limits.idle: found \"soon\""),
            "{faults}"
        );
        assert!(
            lines[1].ends_with("gateway.toml: smtp.port: must not be 0"),
            "{faults}"
        );
        assert_eq!(lines[2], "backend: is required");
    }
}
