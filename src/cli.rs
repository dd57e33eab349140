//! The command line.

mod check;
mod sandbox;
mod serve;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;
use clap::{Parser, Subcommand};

use crate::config::fault::Faults;
use crate::config::sources::Sources;
use crate::config::{self, Config, Loaded};

/// An SMTP submission server that hands each message to an HTTP email API.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    /// Settings file, TOML or YAML.
    #[arg(short, long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A setting, stronger than file and environment: --set smtp.port=2587
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Command {
    /// Run the gateway (the default).
    Serve,
    /// Run it without any API or account: messages stay in an inbox on this machine.
    Sandbox,
    /// Say everything that is wrong with the settings, or show those in force.
    Check,
}

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let command = arguments.command.unwrap_or(Command::Serve);
    let result = match command {
        Command::Serve => load(arguments).and_then(|loaded| serve::run(loaded.config)),
        Command::Sandbox => sandbox::run(arguments),
        Command::Check => load(arguments).map(|loaded| check::run(&loaded)),
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

fn load(arguments: Arguments) -> anyhow::Result<Loaded> {
    Ok(Config::load(sources(arguments)?)?)
}

fn sources(arguments: Arguments) -> anyhow::Result<Sources> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the environment is read"
    )]
    let environment = std::env::vars_os();
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
        .environment(environment)
        .flags(flags))
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
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }
}
