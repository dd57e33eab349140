//! Sections and sources for the tests of this folder.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::Deserialize;
use tempfile::TempDir;

use crate::config::settings::Settings;
use crate::config::sources::Sources;
use crate::config::vocabulary::Vocabulary;
use crate::units::ByteSize;
use crate::units::Period;

#[derive(Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Smtp {
    pub(super) host: IpAddr,
    pub(super) port: u16,
    pub(super) banner: String,
    pub(super) listeners: Vec<Listener>,
    pub(super) trusted: Vec<IpNet>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub(super) struct Listener {
    pub(super) bind: SocketAddr,
    #[serde(default)]
    pub(super) tls: Tls,
}

#[derive(Debug, Clone, Copy, Default, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Tls {
    #[default]
    None,
    Starttls,
    Implicit,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Limits {
    pub(super) message_size: ByteSize,
    pub(super) idle: Period,
    pub(super) connections: u32,
    pub(super) burst: Option<u32>,
    pub(super) strict: bool,
    pub(super) retry: Retry,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Retry {
    pub(super) first: Period,
    pub(super) tries: u8,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Auth {
    pub(super) source: AuthSource,
    pub(super) password: Option<Secret>,
    pub(super) pin: Pin,
    pub(super) keys: Vec<Key>,
    pub(super) accounts: BTreeMap<String, Account>,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(super) enum AuthSource {
    #[default]
    Any,
    Http {
        url: String,
    },
}

/// Its tag lies among its fields, so serde gathers all of them before it looks at one.
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Relay {
    #[default]
    Nothing,
    Host {
        name: String,
        #[serde(default)]
        port: u16,
        #[serde(default)]
        trusted: Vec<IpNet>,
    },
    Login {
        password: String,
        again: u8,
    },
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) key: Secret,
    #[serde(default)]
    pub(super) rate: u32,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Account {
    pub(super) password: Option<Secret>,
}

#[derive(Default, Deserialize, PartialEq)]
pub(super) struct Secret(pub(super) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A secret whose type checks it, and tells too much when it is wrong.
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(try_from = "String")]
pub(super) struct Pin(Secret);

impl TryFrom<String> for Pin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.len() {
            4 => Ok(Self(Secret(text))),
            _ => Err(format!("{text} has not four digits")),
        }
    }
}

impl Default for Smtp {
    fn default() -> Self {
        Self {
            host: Ipv4Addr::UNSPECIFIED.into(),
            port: 587,
            banner: "ready".into(),
            listeners: Vec::new(),
            trusted: Vec::new(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_size: ByteSize(25 << 20),
            idle: Period::seconds(300),
            connections: 1000,
            burst: None,
            strict: true,
            retry: Retry {
                first: Period::seconds(1),
                tries: 3,
            },
        }
    }
}

/// Everything the sources above can give.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) backend: String,
    pub(super) smtp: Smtp,
    pub(super) limits: Limits,
    pub(super) auth: Auth,
    pub(super) relay: Relay,
}

impl Config {
    pub(super) fn take(settings: &mut Settings) -> Self {
        Self {
            backend: settings.take("backend"),
            smtp: settings.take("smtp"),
            limits: settings.take("limits"),
            auth: settings.take("auth"),
            relay: settings.take("relay"),
        }
    }
}

/// Sources in a folder of their own, gone with this value.
pub(super) struct Scene {
    folder: TempDir,
    file: Option<PathBuf>,
    dotenv: Option<PathBuf>,
    environment: Vec<(String, String)>,
    flags: Vec<(String, String)>,
}

impl Scene {
    pub(super) fn new() -> Self {
        let folder = TempDir::new().unwrap();
        Self {
            folder,
            file: None,
            dotenv: None,
            environment: Vec::new(),
            flags: Vec::new(),
        }
    }

    /// A settings file. In its text, `{folder}` is where [`put`](Self::put) puts files.
    pub(super) fn file(mut self, name: &str, text: &str) -> Self {
        let text = text.replace("{folder}", &self.path(""));
        self = self.put(name, text.as_bytes());
        self.file = Some(self.folder.path().join(name));
        self
    }

    pub(super) fn toml(self, text: &str) -> Self {
        self.file("gateway.toml", text)
    }

    pub(super) fn missing_file(mut self, path: &str) -> Self {
        self.file = Some(path.into());
        self
    }

    pub(super) fn dotenv(mut self, text: &str) -> Self {
        self = self.put(".env", text.as_bytes());
        self.dotenv = Some(self.folder.path().join(".env"));
        self
    }

    pub(super) fn variable(mut self, name: &str, value: &str) -> Self {
        let value = value.replace("{folder}", &self.path(""));
        self.environment.push((name.to_owned(), value));
        self
    }

    pub(super) fn flag(mut self, key: &str, value: &str) -> Self {
        self.flags.push((key.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn put(self, name: &str, content: &[u8]) -> Self {
        std::fs::write(self.folder.path().join(name), content).unwrap();
        self
    }

    pub(super) fn load(&self) -> Settings {
        Sources::new(VOCABULARY)
            .file(self.file.clone())
            .dotenv(self.dotenv.clone())
            .environment(self.environment.clone())
            .flags(self.flags.clone())
            .load()
    }

    /// The settings, which must be without fault.
    pub(super) fn config(&self) -> Config {
        let mut settings = self.load();
        let config = Config::take(&mut settings);
        settings.finish().unwrap();
        config
    }

    /// All faults, line by line, with the folder's name taken out.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut settings = self.load();
        Config::take(&mut settings);
        match settings.finish() {
            Ok(_) => Vec::new(),
            Err(faults) => faults
                .to_string()
                .replace(&self.path(""), "")
                .lines()
                .map(str::to_owned)
                .collect(),
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }
}

const VOCABULARY: Vocabulary = Vocabulary {
    sections: &["smtp", "limits", "auth", "relay"],
    values: &["backend"],
    secrets: &["password", "key", "pin"],
    aliases: &[
        ("SMTP_HOST", "smtp.host"),
        ("SMTP_PORT", "smtp.port"),
        ("MESSAGE_SIZE_LIMIT", "limits.message_size"),
        ("SMTP_PASSWORD", "auth.password"),
    ],
};
