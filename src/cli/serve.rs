//! Runs the gateway until it is told to stop.

use std::io;

use tracing::error;

use crate::app::App;
use crate::config::Config;
use crate::shutdown;
use crate::telemetry::logging;

pub(super) fn run(config: Config) -> anyhow::Result<()> {
    run_and(config, |_| Ok(()))
}

/// Calls `started` once the sockets are bound.
pub(super) fn run_and(
    config: Config,
    started: impl FnOnce(&App) -> io::Result<()>,
) -> anyhow::Result<()> {
    logging::start(&config.log)?;
    // A connection is a descriptor. Where the system does not allow more, accepting says so.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let app = App::bind(config).await?;
        started(&app)?;
        app.run(stopped()).await
    })
}

/// Waits for the first signal. The second ends the process at once.
async fn stopped() {
    if let Err(error) = shutdown::signalled().await {
        error!("error.detail" = %error, "cannot listen for signals, so stopping now");
    }
}
