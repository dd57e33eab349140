//! Runs the gateway with nothing behind it, and says how to send it a message.

use std::io;

use crate::app::App;
use crate::cli::{SettingsArguments, serve, sources, tell};
use crate::ingress::smtp::ListenerTls;

pub(super) fn run(arguments: SettingsArguments) -> anyhow::Result<()> {
    let sources = sources(arguments)?.preset("sandbox", SETTINGS);
    serve::run_and(sources, |app| {
        tell(&mut io::stdout(), &welcome(app)?);
        Ok(())
    })
}

fn welcome(app: &App) -> io::Result<String> {
    let listeners = app.listeners()?;
    let first = listeners.first().map(|(address, _)| address.to_string());
    let listed = listeners.iter().map(|(address, config)| match config.tls {
        ListenerTls::Starttls => format!("{address} (STARTTLS)"),
        ListenerTls::Implicit => format!("{address} (TLS)"),
        ListenerTls::Off => format!("{address} (no TLS)"),
    });
    Ok(format!(
        "\nThe sandbox is up: whatever you send stays in its memory.\n\
         \n  SMTP   {smtp}; any user and password\
         \n  Inbox  http://{http}/\n\
         \nSend a message:\n\
         \n  printf 'From: App <app@example.com>\\r\\nTo: Ann <ann@example.net>\\r\\n\
         Subject: Hello\\r\\n\\r\\nIt works.\\r\\n' | \\\
         \n    curl --insecure --ssl-reqd --url smtp://{first} --user app:secret \\\
         \n      --mail-from app@example.com --mail-rcpt ann@example.net --upload-file -\n",
        smtp = listed.collect::<Vec<_>>().join(", "),
        first = first.unwrap_or_default(),
        http = app.http_address()?,
    ))
}

/// What the sandbox has in place of the defaults; everything else can still be set.
const SETTINGS: &str = r#"
backend = "sandbox"
auth.source = "any"
tls.self_signed = true
drain.pause = 0

[smtp]
hostname = "localhost"
listeners = [
    { host = "127.0.0.1", port = 2587, tls = "starttls" },
    { host = "127.0.0.1", port = 2465, tls = "implicit" },
]

[http]
host = "127.0.0.1"
"#;
