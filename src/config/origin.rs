//! Where each setting came from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::config::key_path::KeyPath;

/// What gave a setting its value. A setting no source gave has its default, and no `Source`.
///
/// Sources print as an operator would look for them: a file by its path, a variable by its name as
/// it was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// What the command of this name has in place of the default.
    Preset(&'static str),
    File(PathBuf),
    /// A line of the `.env` file.
    Dotenv {
        path: PathBuf,
        name: String,
    },
    Environment(String),
    CommandLine,
}

impl Source {
    /// Whether its values have no type until the field that takes them gives them one.
    pub(super) fn is_raw(&self) -> bool {
        match self {
            Self::Preset(_) | Self::File(_) => false,
            Self::Dotenv { .. } | Self::Environment(_) | Self::CommandLine => true,
        }
    }

    /// The variable's name, where there is one.
    pub(super) fn variable(&self) -> Option<&str> {
        match self {
            Self::Dotenv { name, .. } | Self::Environment(name) => Some(name),
            Self::Preset(_) | Self::File(_) | Self::CommandLine => None,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Preset(command) => write!(f, "command {command}"),
            Self::File(path) => path.display().fmt(f),
            Self::Dotenv { path, name } => write!(f, "{}: {name}", path.display()),
            Self::Environment(name) => f.write_str(name),
            Self::CommandLine => f.write_str("command line"),
        }
    }
}

/// The source of every setting that is not a default.
#[derive(Debug, Clone, Default)]
pub struct Origins(BTreeMap<KeyPath, Source>);

impl Origins {
    /// What set the key, the list or table that holds it, or something in it; `None` if it has its
    /// default.
    pub fn of(&self, key: &str) -> Option<&Source> {
        let key = KeyPath::from(key);
        self.nearest(&key).or_else(|| self.within(&key))
    }

    pub(super) fn nearest(&self, key: &KeyPath) -> Option<&Source> {
        key.and_holders().find_map(|holder| self.0.get(&holder))
    }

    /// What set this very key as a whole.
    pub(super) fn exact(&self, key: &KeyPath) -> Option<&Source> {
        self.0.get(key)
    }

    /// What set this key, or else the first key in it.
    pub(super) fn within(&self, key: &KeyPath) -> Option<&Source> {
        let (first, source) = self.0.range(key..).next()?;
        first.is_within(key).then_some(source)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&KeyPath, &Source)> {
        self.0.iter()
    }

    pub(super) fn insert(&mut self, key: KeyPath, source: Source) {
        self.0.insert(key, source);
    }

    pub(super) fn remove(&mut self, key: &KeyPath) -> Option<Source> {
        self.0.remove(key)
    }

    pub(super) fn remove_within(&mut self, holder: &KeyPath) {
        self.0.retain(|key, _| !key.is_within(holder));
    }
}
