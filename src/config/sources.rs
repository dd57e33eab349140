//! The sources of settings, and which of them is stronger.
//!
//! Defaults < a command's preset < settings file < `.env` < environment < command line. The
//! environment is handed in: only the caller touches the process.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::config::dotenv;
use crate::config::fault::Faults;
use crate::config::file;
use crate::config::given;
use crate::config::given::Given;
use crate::config::key_path::KeyPath;
use crate::config::origin::Source;
use crate::config::settings::Settings;
use crate::config::tree::Tree;
use crate::config::vocabulary::Vocabulary;

/// Where to look for settings. The order in which sources are named does not matter. There is no
/// `Debug`: it would show secrets.
#[derive(Clone)]
pub struct Sources {
    vocabulary: Vocabulary,
    preset: Option<(&'static str, &'static str)>,
    file: Option<PathBuf>,
    dotenv: Option<PathBuf>,
    environment: Vec<(OsString, OsString)>,
    flags: Vec<Given>,
}

impl Sources {
    pub fn new(vocabulary: Vocabulary) -> Self {
        Self {
            vocabulary,
            preset: None,
            file: None,
            dotenv: None,
            environment: Vec::new(),
            flags: Vec::new(),
        }
    }

    /// What a command has in place of some defaults, as TOML, with that command's name.
    #[must_use]
    pub fn preset(mut self, command: &'static str, toml: &'static str) -> Self {
        self.preset = Some((command, toml));
        self
    }

    /// The settings file, which must be there if it is named at all.
    #[must_use]
    pub fn file(mut self, path: Option<PathBuf>) -> Self {
        self.file = path;
        self
    }

    /// A `.env` file, which need not be there.
    #[must_use]
    pub fn dotenv(mut self, path: Option<PathBuf>) -> Self {
        self.dotenv = path;
        self
    }

    /// The environment: `std::env::vars_os()`, since `vars()` panics on what is not UTF-8.
    #[must_use]
    pub fn environment<N, V>(mut self, variables: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: Into<OsString>,
        V: Into<OsString>,
    {
        self.environment = variables
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        self
    }

    /// Values from the command line, each with its key (`smtp.port`).
    #[must_use]
    pub fn flags(mut self, flags: impl IntoIterator<Item = (String, String)>) -> Self {
        let given = |(key, raw): (String, String)| Given {
            key: KeyPath::from(key.as_str()),
            source: Source::CommandLine,
            raw,
        };
        self.flags = flags.into_iter().map(given).collect();
        self
    }

    /// Reads and merges all sources. What is wrong with them is kept for
    /// [`Settings::finish`], so that it can be told together with all that is found later.
    pub fn load(self) -> Settings {
        let vocabulary = self.vocabulary;
        let mut faults = Faults::default();
        let mut merged = Tree::default();
        if let Some((command, toml)) = self.preset {
            let source = Source::Preset(command);
            match file::toml(toml) {
                Ok(table) => merged.plant(&KeyPath::new(Vec::new()), table, &source),
                Err(error) => faults.add(None, Some(&source), error.to_string()),
            }
        }
        if let Some(path) = self.file {
            let source = Source::File(path.clone());
            match file::read(&path) {
                Ok(table) => merged.plant(&KeyPath::new(Vec::new()), table, &source),
                Err(error) => faults.add(None, Some(&source), error.to_string()),
            }
        }
        let mut cover = |given: Vec<Given>, faults: &mut Faults| {
            merged.cover(&given::grow(given, &vocabulary, faults), &vocabulary);
        };
        if let Some(path) = self.dotenv {
            let pairs = dotenv::read(&path, &mut faults).into_iter();
            let pairs = pairs.map(|(name, value)| (name.into(), value.into()));
            let source = |name| Source::Dotenv {
                path: path.clone(),
                name,
            };
            let given = given::from_variables(pairs, source, &vocabulary, &mut faults);
            cover(given, &mut faults);
        }
        let environment = self.environment;
        let given =
            given::from_variables(environment, Source::Environment, &vocabulary, &mut faults);
        cover(given, &mut faults);
        cover(self.flags, &mut faults);
        Settings::new(vocabulary, merged, faults)
    }
}

#[cfg(test)]
mod tests {
    use crate::config::testing::Config;
    use crate::config::testing::Scene;

    #[test]
    fn without_sources_all_is_default() {
        let config = Scene::new().config();
        assert_eq!(config.smtp.port, 587);
        assert_eq!(config.limits.retry.tries, 3);
        assert_eq!(config.backend, "");
    }

    #[test]
    fn each_source_is_stronger_than_the_one_before() {
        let mut scene = Scene::new().toml("[smtp]\nport = 1\nbanner = \"file\"");
        assert_eq!(scene.config().smtp.port, 1);
        scene = scene.dotenv("SMTP_PORT=2\n");
        assert_eq!(scene.config().smtp.port, 2);
        scene = scene.variable("GATEWAY__SMTP__PORT", "3");
        assert_eq!(scene.config().smtp.port, 3);
        scene = scene.flag("smtp.port", "4");
        let config = scene.config();
        assert_eq!((config.smtp.port, config.smtp.banner.as_str()), (4, "file"));
    }

    #[test]
    fn nested_tables_of_several_sources_become_one() {
        let config = Scene::new()
            .toml("[limits.retry]\nfirst = \"5s\"")
            .variable("GATEWAY__LIMITS__RETRY__TRIES", "7")
            .config();
        assert_eq!(config.limits.retry.first.to_string(), "5s");
        assert_eq!(config.limits.retry.tries, 7);
        assert_eq!(config.limits.connections, 1000);
    }

    #[test]
    fn every_setting_knows_what_set_it() {
        let scene = Scene::new()
            .toml("[smtp]\nbanner = \"hi\"\nlisteners = [{ bind = \"[::]:25\" }]")
            .dotenv("SMTP_HOST=::1\n")
            .variable("SMTP_PORT", "25")
            .flag("backend", "sandbox");
        let mut settings = scene.load();
        Config::take(&mut settings);
        let origins = settings.finish().unwrap();
        let of = |key: &str| {
            let source = origins.of(key).map(ToString::to_string).unwrap_or_default();
            source.rsplit('/').next().unwrap_or_default().to_owned()
        };
        assert_eq!(of("smtp.banner"), "gateway.toml");
        assert_eq!(of("smtp.listeners[0].bind"), "gateway.toml");
        assert_eq!(of("smtp.host"), ".env: SMTP_HOST");
        assert_eq!(of("smtp.port"), "SMTP_PORT");
        assert_eq!(of("backend"), "command line");
        assert_eq!(of("limits.idle"), "");
    }
}
