//! What is wrong with the settings, one line each, all at once.

use std::fmt;

use crate::config::key_path::KeyPath;
use crate::config::origin::Source;

/// One thing that is wrong. Its text never holds the value of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// `None` where a whole source cannot be read.
    pub key: Option<KeyPath>,
    /// `None` where the fault is in a default, or in what is missing.
    pub source: Option<Source>,
    /// What is wrong, and what to do about it where that is known. One line.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(source) = &self.source {
            write!(f, "{source}: ")?;
        }
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// All that is wrong, in the order it was found. Prints one fault a line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn add(&mut self, key: Option<&KeyPath>, source: Option<&Source>, message: String) {
        // Texts of other crates may span lines.
        let message = match message.contains(['\n', '\r']) {
            true => message.split_whitespace().collect::<Vec<_>>().join(" "),
            false => message,
        };
        self.0.push(Fault {
            key: key.cloned(),
            source: source.cloned(),
            message,
        });
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, fault) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_is_one_line_with_source_and_key() {
        let mut faults = Faults::default();
        let (key, source) = (
            KeyPath::from("smtp.port"),
            Source::Environment("SMTP_PORT".into()),
        );
        faults.add(Some(&key), Some(&source), "found\n  nothing".into());
        faults.add(
            None,
            Some(&Source::File("/etc/gateway.toml".into())),
            "unreadable".into(),
        );
        faults.add(Some(&key), None, "is required".into());
        assert_eq!(
            faults.to_string(),
            "SMTP_PORT: smtp.port: found nothing\n\
             /etc/gateway.toml: unreadable\n\
             smtp.port: is required"
        );
    }
}
