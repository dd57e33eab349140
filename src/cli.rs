//! The command line.

mod check;
mod sandbox;
mod send;
mod serve;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, Parser, Subcommand};

use crate::config::fault::Faults;
use crate::config::sources::Sources;
use crate::config::{self, Config, Loaded};

/// An SMTP submission server that hands each message to an HTTP email API.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    #[command(flatten)]
    settings: SettingsArguments,
    #[command(subcommand)]
    command: Option<Command>,
}

/// They may stand before the command and behind it.
#[derive(Debug, Default, Args)]
struct SettingsArguments {
    /// Settings file, TOML or YAML.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A setting, stronger than file and environment: --set smtp.port=2587
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl SettingsArguments {
    fn and(mut self, behind: Self) -> Self {
        self.set.extend(behind.set);
        Self {
            config: behind.config.or(self.config),
            set: self.set,
        }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway (the default).
    Serve(SettingsArguments),
    /// Run it without any API or account: messages stay in an inbox on this machine.
    Sandbox(SettingsArguments),
    /// Say everything that is wrong with the settings, or show those in force.
    Check(SettingsArguments),
    /// Submit a message to a running gateway, and show the dialogue.
    Send(Box<send::Options>),
}

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    let Arguments { settings, command } = Arguments::parse();
    let result = match command.unwrap_or(Command::Serve(SettingsArguments::default())) {
        Command::Serve(behind) => sources(settings.and(behind)).and_then(serve::run),
        Command::Sandbox(behind) => sandbox::run(settings.and(behind)),
        Command::Check(behind) => load(settings.and(behind)).map(|loaded| check::run(&loaded)),
        Command::Send(options) => {
            if settings.config.is_some() || !settings.set.is_empty() {
                let text = "send takes no settings: it is a client, and asks the server only";
                Arguments::command()
                    .error(ErrorKind::ArgumentConflict, text)
                    .exit();
            }
            return send::run(*options);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&mut io::stderr(), &explain(&error));
            match error.downcast_ref::<Faults>() {
                Some(_) => ExitCode::from(EX_CONFIG),
                None => ExitCode::FAILURE,
            }
        }
    }
}

fn load(arguments: SettingsArguments) -> anyhow::Result<Loaded> {
    Ok(Config::load(sources(arguments)?)?)
}

fn sources(arguments: SettingsArguments) -> anyhow::Result<Sources> {
    let flags: Option<Vec<_>> = arguments
        .set
        .iter()
        .map(|text| key_and_value(text))
        .collect();
    // The text is not shown: it may be a secret with a blank in place of the equals sign.
    let flags = flags.ok_or_else(|| anyhow!("--set: expected KEY=VALUE"))?;
    Ok(config::sources()
        .file(arguments.config)
        .dotenv(Some(PathBuf::from(".env")))
        .environment(environment())
        .flags(flags))
}

fn environment() -> impl Iterator<Item = (OsString, OsString)> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the environment is read"
    )]
    std::env::vars_os()
}

fn key_and_value(text: &str) -> Option<(String, String)> {
    let (key, value) = text.split_once('=')?;
    Some((key.to_owned(), value.to_owned()))
}

/// One line for each thing that is wrong.
fn explain(error: &anyhow::Error) -> String {
    match error.downcast_ref::<Faults>() {
        Some(faults) => faults.to_string(),
        None => format!("{error:#}"),
    }
}

/// Writes for a person. That nobody reads it is no reason to fail.
fn tell(out: &mut impl io::Write, text: &str) {
    let _ = writeln!(out, "{text}");
}

/// sysexits.h: something in the settings is wrong.
const EX_CONFIG: u8 = 78;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn settings_are_taken_before_the_command_and_behind_it() {
        let settings = |arguments: &str| {
            let arguments = Arguments::parse_from(arguments.split(' '));
            let Some(Command::Check(behind)) = arguments.command else {
                panic!("it is check");
            };
            let settings = arguments.settings.and(behind);
            (settings.config, settings.set.join(","))
        };
        let a = || Some(PathBuf::from("a"));
        assert_eq!(settings("gateway -c a check"), (a(), String::new()));
        assert_eq!(
            settings("gateway -c b --set x=1 check -c a --set x=2"),
            (a(), "x=1,x=2".to_owned())
        );
    }
}
