use std::process::ExitCode;

fn main() -> ExitCode {
    smtp_gateway::cli::run()
}
