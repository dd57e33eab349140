//! The name of one setting, level by level: `smtp.listeners[0].bind`.

use std::fmt;

/// The levels of a key, outermost first. An entry of a list is named by its index, from zero.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyPath(Vec<String>);

impl KeyPath {
    pub(super) fn new(levels: Vec<String>) -> Self {
        Self(levels)
    }

    pub(super) fn levels(&self) -> &[String] {
        &self.0
    }

    pub(super) fn last(&self) -> &str {
        self.0.last().map_or("", String::as_str)
    }

    pub(super) fn child(&self, level: &str) -> Self {
        let mut levels = self.0.clone();
        levels.push(level.to_owned());
        Self(levels)
    }

    /// The key with its last level replaced.
    pub(super) fn sibling(&self, last: &str) -> Self {
        let mut levels = self.0.clone();
        levels.pop();
        levels.push(last.to_owned());
        Self(levels)
    }

    /// The section, or the setting at the top.
    pub(super) fn top(&self) -> Self {
        Self(self.0.iter().take(1).cloned().collect())
    }

    /// The key with its first level replaced.
    pub(super) fn with_top(&self, top: &str) -> Self {
        let mut levels = self.0.clone();
        if let Some(first) = levels.first_mut() {
            top.clone_into(first);
        }
        Self(levels)
    }

    /// The key itself, then what holds it, up to its section.
    pub(super) fn and_holders(&self) -> impl Iterator<Item = Self> {
        (1..=self.0.len())
            .rev()
            .map(|n| Self(self.0.iter().take(n).cloned().collect()))
    }

    pub(super) fn is_within(&self, holder: &Self) -> bool {
        self.0.starts_with(&holder.0)
    }
}

impl From<&str> for KeyPath {
    /// Reads `smtp.port`; `listeners[0]` and `listeners.0` are the same.
    fn from(text: &str) -> Self {
        Self(
            text.split(['.', '['])
                .map(|level| level.trim_end_matches(']').to_owned())
                .collect(),
        )
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, level) in self.0.iter().enumerate() {
            match level.bytes().all(|b| b.is_ascii_digit()) {
                true if n > 0 => write!(f, "[{level}]")?,
                _ if n > 0 => write!(f, ".{level}")?,
                _ => f.write_str(level)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_prints_as_it_is_read() {
        for text in ["backend", "smtp.port", "smtp.listeners[0].bind"] {
            assert_eq!(KeyPath::from(text).to_string(), text);
        }
        assert_eq!(KeyPath::from("a.0.b"), KeyPath::from("a[0].b"));
    }

    #[test]
    fn a_key_is_within_its_section_but_not_within_one_that_only_starts_alike() {
        let key = KeyPath::from("smtp.port");
        assert!(key.is_within(&KeyPath::from("smtp")));
        assert!(!key.is_within(&KeyPath::from("smt")));
        assert!(!KeyPath::from("smtp").is_within(&key));
    }
}
