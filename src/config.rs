//! All settings: loaded, checked, shown.
//!
//! Each part owns the type of its section; here they are put together. Defaults < file < `.env` <
//! environment < command line. Everything that is wrong is told at once.

mod dotenv;
mod explain;
mod extraction;
pub mod fault;
mod file;
mod given;
mod inline;
mod key_path;
mod live;
mod node;
pub mod origin;
mod report;
pub mod secret_files;
pub mod settings;
pub mod sources;
#[cfg(test)]
mod testing;
mod text_file;
mod tree;
mod vocabulary;

use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::admin;
use crate::auth;
use crate::config::fault::Faults;
use crate::config::origin::Origins;
use crate::config::settings::Settings;
use crate::config::sources::Sources;
use crate::config::vocabulary::Vocabulary;
use crate::delivery::{self, BackendName, http, sandbox};
use crate::ingress::smtp::{self, ListenerAuth, ListenerTls};
use crate::shutdown;
use crate::submission::limits::{self, Limits};
use crate::submission::senders::{self, Senders};
use crate::telemetry::logging;
use crate::tls;
use crate::units::Period;

#[derive(Debug, Clone, Default, Serialize)]
pub struct Config {
    pub backend: BackendName,
    pub reload_interval: ReloadInterval,
    pub smtp: smtp::Config,
    pub tls: tls::Config,
    pub auth: auth::Config,
    pub api: http::Config,
    pub delivery: delivery::Config,
    pub limits: Limits,
    pub policy: senders::Config,
    pub http: admin::Config,
    pub log: logging::Config,
    pub drain: shutdown::Config,
    pub sandbox: sandbox::Config,
}

/// How often the settings are read again, secret files too. Zero: never.
#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
pub struct ReloadInterval(pub Period);

impl Default for ReloadInterval {
    fn default() -> Self {
        Self(Period::seconds(10))
    }
}

/// Where settings are looked for, with the names they may have.
pub fn sources() -> Sources {
    Sources::new(Vocabulary {
        sections: &[
            "smtp", "tls", "auth", "api", "delivery", "limits", "policy", "http", "log", "drain",
            "sandbox",
        ],
        values: &["backend", "reload_interval"],
        secrets: &[
            "password",
            "password_hash",
            "api_key",
            "key",
            "headers",
            "accounts",
        ],
        aliases: &[
            ("SMTP_HOST", "smtp.host"),
            ("SMTP_PORT", "smtp.port"),
            ("HTTP_HOST", "http.host"),
            ("HTTP_PORT", "http.port"),
            ("TLS_CERT_PATH", "tls.cert_path"),
            ("TLS_KEY_PATH", "tls.key_path"),
            ("CAKEMAIL_API_URL", "api.url"),
            ("CAKEMAIL_AUTH_URL", "auth.url"),
            ("LOG_LEVEL", "log.level"),
            ("RATE_LIMIT_PER_IP", "limits.messages_per_minute_per_ip"),
            ("MAX_CONNECTIONS_PER_POD", "limits.connections"),
            ("CONNECTION_TIMEOUT", "limits.idle_timeout"),
            ("MESSAGE_SIZE_LIMIT", "limits.message_size"),
        ],
    })
}

/// Settings that can be used, and where each came from.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    pub origins: Origins,
}

impl Config {
    /// Loads and checks all settings.
    ///
    /// # Errors
    /// All [`Faults`], of every section and across them.
    pub fn load(sources: Sources) -> Result<Loaded, Faults> {
        Self::of(sources.load())
    }

    /// Checks what was loaded.
    ///
    /// # Errors
    /// As for [`Self::load`].
    pub fn of(mut settings: Settings) -> Result<Loaded, Faults> {
        let config = Self {
            backend: settings.take("backend"),
            reload_interval: settings.take("reload_interval"),
            smtp: settings.take("smtp"),
            tls: settings.take("tls"),
            auth: settings.take("auth"),
            api: settings.take("api"),
            delivery: settings.take("delivery"),
            limits: settings.take("limits"),
            policy: settings.take("policy"),
            http: settings.take("http"),
            log: settings.take("log"),
            drain: settings.take("drain"),
            sandbox: settings.take("sandbox"),
        };
        config.check(&mut settings);
        let origins = settings.finish()?;
        Ok(Loaded { config, origins })
    }

    /// What no section can know by itself, and what only using a setting can tell.
    fn check(&self, settings: &mut Settings) {
        let sound = |names: &[&str]| settings.are_sound(names);
        let bounds = sound(&["smtp", "tls", "limits", "delivery", "drain", "api", "auth"]);
        let listeners = sound(&["smtp", "auth"]);
        let auth = sound(&["auth", "backend"]);
        let backend = sound(&["api", "backend"]);
        let lookup = sound(&["auth", "api", "backend"]);
        let policy = sound(&["policy", "auth"]);
        let (log, tls) = (sound(&["log"]), sound(&["tls", "smtp"]));
        if bounds {
            self.check_bounds(settings);
        }
        if listeners {
            self.check_listeners(settings);
        }
        if auth {
            self.check_auth(settings);
        }
        if backend {
            self.check_backend(settings);
        }
        if lookup {
            self.check_lookup(settings);
        }
        if policy {
            self.check_policy(settings);
        }
        if log && let Err(error) = logging::filter(&self.log.level) {
            settings.fault("log.level", error.to_string());
        }
        if tls
            && self.uses_tls()
            && let Err(error) = tls::check(&self.tls)
        {
            settings.fault(error.setting(), error.to_string());
        }
    }

    fn check_bounds(&self, settings: &mut Settings) {
        let name = &self.smtp.hostname;
        let is_name = |c: char| c.is_ascii_alphanumeric() || ".-_[]:".contains(c);
        if name.len() > 255 || !name.chars().all(is_name) {
            settings.fault("smtp.hostname", "expected a host name");
        }
        if self.limits.command_line < limits::MIN_COMMAND_LINE {
            let text = "expected at least 512, which every client may count on (RFC 5321)";
            settings.fault("limits.command_line", text);
        }
        if self.limits.auth_failures > limits::MAX_AUTH_FAILURES {
            let text = format!("expected at most {}", limits::MAX_AUTH_FAILURES);
            settings.fault("limits.auth_failures", text);
        }
        for (key, period) in [
            ("reload_interval", self.reload_interval.0),
            ("tls.reload_interval", self.tls.reload_interval),
            ("limits.idle_timeout", self.limits.idle_timeout),
            ("limits.data_timeout", self.limits.data_timeout),
            ("limits.session_age", self.limits.session_age),
            ("delivery.remember", self.delivery.remember),
            ("drain.pause", self.drain.pause),
            ("drain.deadline", self.drain.deadline),
            ("api.connect_timeout", self.api.connect_timeout),
            ("api.idle_timeout", self.api.idle_timeout),
            ("auth.cache_ttl", self.auth.cache_ttl),
            ("auth.refused_ttl", self.auth.refused_ttl),
        ] {
            if period.duration() > LONGEST {
                settings.fault(key, "expected at most a day, 24h");
            }
        }
        let (delivery, drain) = (self.delivery.deadline, self.drain.deadline);
        for (key, period) in [
            ("delivery.deadline", delivery),
            ("auth.timeout", self.auth.timeout),
        ] {
            if !(Duration::from_secs(1)..=MAX_DEADLINE).contains(&period.duration()) {
                settings.fault(key, "expected 1s to 10m");
            }
        }
        if drain.duration() < delivery.duration() {
            let text = format!("expected at least delivery.deadline, {delivery}");
            settings.fault("drain.deadline", text);
        }
        if self.api.connect_timeout.duration().is_zero() {
            settings.fault("api.connect_timeout", "expected more than 0");
        }
    }

    fn check_listeners(&self, settings: &mut Settings) {
        let listeners = self.smtp.listeners();
        if listeners.is_empty() {
            settings.fault("smtp.listeners", "expected at least one listener");
        }
        for listener in &listeners {
            if listener.tls == ListenerTls::Off && listener.auth == ListenerAuth::Required {
                let text = "without TLS nobody can authenticate: \
                            use starttls or implicit, or auth = \"trusted\"";
                settings.fault("smtp.listeners", text);
            }
            if listener.auth == ListenerAuth::Trusted && self.auth.trusted_networks.is_empty() {
                let text = "auth = \"trusted\" needs auth.trusted_networks";
                settings.fault("smtp.listeners", text);
            }
            let believes_all = |network: &IpNet| network.prefix_len() == 0;
            if listener.proxy_networks.iter().any(believes_all) {
                let text = "proxy_networks with everybody in it: anybody could say to be anybody";
                settings.fault("smtp.listeners", text);
            }
        }
    }

    fn check_auth(&self, settings: &mut Settings) {
        if let Err(error) = auth::check_accounts(&self.auth) {
            settings.fault(error.setting(), error.to_string());
        }
        let keys = self
            .auth
            .accounts
            .iter()
            .filter_map(|account| account.api_key.as_ref());
        if keys.into_iter().any(|key| http::check_key(key).is_err()) {
            settings.fault("auth.accounts", "an api_key cannot be sent in a header");
        }
        match (self.auth.source, self.backend) {
            (auth::Source::Any, BackendName::Http) => settings.fault(
                "auth.source",
                "\"any\" lets everybody send, so it goes with backend = \"sandbox\" only",
            ),
            (auth::Source::KeyApi, BackendName::Http) if self.auth.url.is_empty() => {
                settings.fault(
                    "auth.url",
                    "expected the base URL of the authentication API (CAKEMAIL_AUTH_URL); \
                     for accounts of the settings, set auth.source = \"static\"",
                );
            }
            (auth::Source::Static, _) if self.auth.accounts.is_empty() => {
                settings.fault(
                    "auth.accounts",
                    "nobody could log in: expected at least one account",
                );
            }
            _ => {}
        }
    }

    fn check_policy(&self, settings: &mut Settings) {
        match Senders::new(&self.policy) {
            Err(error) => settings.fault("policy.senders", error.to_string()),
            Ok(senders) => {
                if senders.name_accounts() && self.auth.source == auth::Source::Passthrough {
                    let text = "where the password is the key, user names are free: \
                                expected account = \"*\"";
                    settings.fault("policy.senders", text);
                }
            }
        }
    }

    fn check_backend(&self, settings: &mut Settings) {
        let url_missing = self.api.url.is_empty();
        match self.backend {
            BackendName::Http if url_missing => settings.fault(
                "api.url",
                "expected the base URL of the email API (CAKEMAIL_API_URL); \
                 to try things out without one, run `smtp-gateway sandbox`",
            ),
            BackendName::Http | BackendName::Sandbox => {
                let mut api = self.api.clone();
                if url_missing {
                    sandbox::URL.clone_into(&mut api.url);
                }
                if let Err(error) = http::check(&api) {
                    settings.fault(error.setting(), error.to_string());
                }
            }
        }
    }

    fn check_lookup(&self, settings: &mut Settings) {
        let in_use = match self.auth.source {
            auth::Source::KeyApi => !self.auth.url.is_empty(),
            auth::Source::Passthrough => true,
            auth::Source::Static | auth::Source::Any => false,
        };
        if in_use
            && let Err(error) = auth::check_lookup(&self.auth, &self.email_api())
            // What is wrong with the email API's settings has been told.
            && (error.setting().starts_with("auth.") || settings.are_sound(&["api"]))
        {
            settings.fault(error.setting(), error.to_string());
        }
    }

    /// The email API, as far as a login has to know it.
    pub fn email_api(&self) -> auth::EmailApi {
        auth::EmailApi {
            url: self.api.url.clone(),
            connections: self.api.connections(),
            check_path: self.api.provider.check_path(),
        }
    }

    pub fn uses_tls(&self) -> bool {
        let listeners = self.smtp.listeners();
        listeners
            .iter()
            .any(|listener| listener.tls != ListenerTls::Off)
    }

    /// Every setting in force, a line each, with what set it. Secrets are hidden.
    pub fn describe(&self, origins: &Origins) -> String {
        let mut lines = String::new();
        if let Ok(value) = serde_json::to_value(self) {
            describe(&mut lines, "", &value, origins);
        }
        lines
    }
}

/// A client waits for its reply for ten minutes (RFC 5321 §4.5.3.2.6), most for less.
const MAX_DEADLINE: Duration = Duration::from_secs(600);
/// Nothing in a session or in a drain takes longer, and nothing is worth watching more seldom.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

fn describe(lines: &mut String, key: &str, value: &Value, origins: &Origins) {
    match value {
        Value::Object(table) if key != "api.headers" => {
            for (name, value) in table {
                let key = match key {
                    "" => name.clone(),
                    key => format!("{key}.{name}"),
                };
                describe(lines, &key, value, origins);
            }
        }
        Value::Null => {}
        value => {
            let origin = origins
                .of(key)
                .map_or("default".to_owned(), ToString::to_string);
            lines.push_str(&format!("{key} = {value}  # {origin}\n"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Settings that have no default, and so no line in the description of the defaults.
    const WITHOUT_DEFAULT: [&str; 8] = [
        "smtp.host",
        "smtp.port",
        "auth.check_path",
        "api.key",
        "api.ca_path",
        "api.cakemail.sender_id",
        "api.cakemail.account_id",
        "api.cakemail.list_id",
    ];

    #[test]
    fn the_page_of_settings_lists_every_key_with_its_default() {
        let page = include_str!("../docs/settings.md");
        let rows = page.lines().filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split('|');
            let key = cells.next()?.trim().strip_suffix('`')?;
            let default = cells.next()?.trim().trim_matches('`');
            Some((key.to_owned(), default.to_owned()))
        });
        let (without, mut documented): (Vec<_>, Vec<_>) =
            rows.partition(|(_, default)| default.is_empty());
        let without: Vec<_> = without.into_iter().map(|(key, _)| key).collect();
        assert_eq!(without, WITHOUT_DEFAULT);
        let described = Config::default().describe(&Origins::default());
        let mut actual: Vec<_> = described
            .lines()
            .filter_map(|line| line.strip_suffix("  # default")?.split_once(" = "))
            .map(|(key, default)| (key.to_owned(), default.to_owned()))
            .collect();
        documented.sort();
        actual.sort();
        assert_eq!(documented, actual);
    }
}
