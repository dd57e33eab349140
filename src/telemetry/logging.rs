//! Log lines: JSON on standard output, readable text on a terminal.
//!
//! Every line carries what it is about as fields (`session.id`, `transaction.id`, `account.id`,
//! `client.addr`, …). Never in a line: credentials, content, subjects, local parts.

use std::io::{self, IsTerminal as _};

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::reload::Handle;

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// DEBUG, INFO, WARNING or ERROR, in any case; or a filter such as `smtp_gateway=debug,h2=info`.
    pub level: String,
    pub format: Format,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            level: "INFO".into(),
            format: Format::Auto,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Pretty on a terminal, JSON elsewhere.
    Auto,
    Json,
    Pretty,
}

/// The text is neither a level nor a filter.
#[derive(Debug, thiserror::Error)]
#[error("expected DEBUG, INFO, WARNING, ERROR or a filter such as smtp_gateway=debug,hyper=info")]
pub struct LevelError;

/// Reads the level. A plain level is for this program; the libraries below it then speak only to
/// warn, since at DEBUG some of them print what goes over the wire.
///
/// # Errors
/// [`LevelError`] when the text is neither a level nor a filter of `target=level`.
pub fn filter(text: &str) -> Result<EnvFilter, LevelError> {
    let directives = text
        .split(',')
        .map(|item| match item.trim().rsplit_once('=') {
            Some((target, name)) => Some(format!("{target}={}", level(name)?)),
            // Without a level, what stands there would be taken for the name of a target.
            None => level(item).map(str::to_owned),
        });
    let directives: Option<Vec<_>> = directives.collect();
    let filter = match directives.ok_or(LevelError)?.as_slice() {
        [plain] if !plain.contains('=') => format!("warn,smtp_gateway={plain}"),
        several => several.join(","),
    };
    EnvFilter::try_new(filter).map_err(|_| LevelError)
}

fn level(name: &str) -> Option<&'static str> {
    match name.trim().to_ascii_lowercase().as_str() {
        "warning" | "warn" => Some("warn"),
        "trace" => Some("trace"),
        "debug" => Some("debug"),
        "info" => Some("info"),
        "error" => Some("error"),
        "off" => Some("off"),
        _ => None,
    }
}

/// What is logged, which can be changed while the process runs.
pub struct Level(Box<dyn Fn(EnvFilter) + Send + Sync>);

impl Level {
    /// # Errors
    /// [`LevelError`] when the text is neither a level nor a filter: nothing changes.
    pub fn set(&self, text: &str) -> Result<(), LevelError> {
        (self.0)(filter(text)?);
        Ok(())
    }
}

/// Starts logging for the whole process.
///
/// # Errors
/// A filter that cannot be read, or logging that was started before.
pub fn start(config: &Config) -> anyhow::Result<Level> {
    let json = match config.format {
        Format::Auto => !io::stdout().is_terminal(),
        Format::Json => true,
        Format::Pretty => false,
    };
    let builder = tracing_subscriber::fmt().with_target(false);
    let filter = filter(&config.level)?;
    let (started, level) = if json {
        let builder = builder
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_env_filter(filter)
            .with_filter_reloading();
        let level = level_of(builder.reload_handle());
        (builder.try_init(), level)
    } else {
        let builder = builder
            .with_ansi(io::stdout().is_terminal())
            .with_env_filter(filter)
            .with_filter_reloading();
        let level = level_of(builder.reload_handle());
        (builder.try_init(), level)
    };
    std::panic::set_hook(Box::new(|panic| {
        // The place says enough; the text of a panic may quote what came from outside.
        let place = panic.location().map(|place| {
            let file = place.file().rsplit('/').next().unwrap_or_default();
            format!("{file}:{}", place.line())
        });
        tracing::error!(place, "panic: this is a bug");
    }));
    started.map_err(|error| anyhow::anyhow!(error))?;
    Ok(level)
}

/// The handle's type depends on the form of the lines.
fn level_of<S: 'static>(handle: Handle<EnvFilter, S>) -> Level {
    // It fails when nobody logs any more.
    Level(Box::new(move |filter| drop(handle.reload(filter))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_taken_in_any_case_and_leave_libraries_quiet() {
        for (level, expected) in [
            ("DEBUG", "smtp_gateway=debug"),
            ("Warning", "smtp_gateway=warn"),
            ("info", "smtp_gateway=info"),
        ] {
            let filter = filter(level).unwrap().to_string();
            assert!(
                filter.contains(expected) && filter.contains("warn"),
                "{filter}"
            );
        }
    }

    #[test]
    fn filter_syntax_is_taken_and_nonsense_is_not() {
        assert_eq!(filter("h2=trace").unwrap().to_string(), "h2=trace");
        assert_eq!(
            filter("WARNING,hyper=info").unwrap().to_string(),
            "hyper=info,warn"
        );
        for nonsense in ["smtp_gateway=loud", "CRITICAL", "VERBOSE", "", "info,"] {
            assert!(filter(nonsense).is_err(), "{nonsense}");
        }
    }
}
