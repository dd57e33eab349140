//! Which settings change while the process runs, and which wait for a restart.

use std::collections::BTreeSet;

use crate::config::Config;
use crate::config::origin::Origins;
use crate::submission::limits::Limits;

impl Config {
    /// These settings, with what can change as `new` has it, and the keys of what differs and cannot.
    pub fn with_live_of(&self, new: Self) -> (Self, BTreeSet<String>) {
        let waiting = self.waiting(&new);
        let mut config = self.clone();
        config.limits = Limits {
            memory: self.limits.memory,
            available_memory: self.limits.available_memory,
            message_size: self.limits.message_size,
            auth_failures: self.limits.auth_failures,
            ..new.limits
        };
        config.auth.accounts = new.auth.accounts;
        config.auth.trusted_networks = new.auth.trusted_networks;
        config.log.level = new.log.level;
        config.policy = new.policy;
        config.smtp.lone_newlines = new.smtp.lone_newlines;
        (config, waiting)
    }

    fn waiting(&self, new: &Self) -> BTreeSet<String> {
        let lines = |config: &Self| -> BTreeSet<String> {
            let text = config.describe(&Origins::default());
            text.lines().map(str::to_owned).collect()
        };
        let (old_lines, new_lines) = (lines(self), lines(new));
        let differing = old_lines.symmetric_difference(&new_lines);
        let keys = differing.filter_map(|line| Some(line.split_once(" = ")?.0));
        let waiting = keys.filter(|key| !is_live(key));
        let mut waiting: BTreeSet<String> = waiting.map(str::to_owned).collect();
        // What is secret is the same in all descriptions.
        if self.api.key != new.api.key {
            waiting.insert("api.key".to_owned());
        }
        if self.api.headers != new.api.headers {
            waiting.insert("api.headers".to_owned());
        }
        waiting
    }
}

fn is_live(key: &str) -> bool {
    LIVE.contains(&key) || (key.starts_with("limits.") && !FIXED_LIMITS.contains(&key))
}

/// Besides the limits.
const LIVE: [&str; 5] = [
    "auth.accounts",
    "auth.trusted_networks",
    "log.level",
    "policy.senders",
    "smtp.lone_newlines",
];
/// The memory is divided by these at the start, and guesses are counted up to the last.
const FIXED_LIMITS: [&str; 4] = [
    "limits.memory",
    "limits.available_memory",
    "limits.message_size",
    "limits.auth_failures",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::static_keys::Account;
    use crate::secret::Secret;

    fn changed(change: impl FnOnce(&mut Config)) -> (Config, String) {
        let old = Config::default();
        let mut new = old.clone();
        change(&mut new);
        let (config, waiting) = old.with_live_of(new);
        (config, waiting.into_iter().collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn what_can_change_does_and_waits_for_nothing() {
        let (config, waiting) = changed(|new| {
            new.limits.recipients = 7;
            new.log.level = "DEBUG".to_owned();
            new.auth.accounts.push(Account::default());
        });
        assert_eq!(waiting, "");
        assert_eq!(config.limits.recipients, 7);
        assert_eq!(config.log.level, "DEBUG");
        assert_eq!(config.auth.accounts.len(), 1);
        assert_eq!(changed(|_| {}).1, "");
    }

    #[test]
    fn what_needs_a_restart_is_named_and_stays() {
        let (config, waiting) = changed(|new| {
            new.limits.message_size.0 = 7;
            new.smtp.hostname = "other.example".to_owned();
            new.api.key = Some(Secret::new("k"));
        });
        assert_eq!(waiting, "api.key limits.message_size smtp.hostname");
        assert_eq!(
            config.limits.message_size,
            Config::default().limits.message_size
        );
        assert_eq!(
            (config.api.key, config.smtp.hostname),
            (None, String::new())
        );
    }

    /// Else a setting that is said to change would wait, or one that waits be lost.
    #[test]
    fn the_page_of_settings_says_the_same() {
        let page = include_str!("../../docs/settings.md");
        let start = page.find("- Settings are read again").unwrap();
        let said = &page[start..start + page[start..].find("\n- ").unwrap()];
        for key in LIVE.iter().chain(&FIXED_LIMITS) {
            assert!(said.contains(&format!("`{key}`")), "{key}");
        }
    }
}
