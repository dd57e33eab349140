//! Runs the gateway until it is told to stop. Told a second time, it stops at once.

use std::io;

use anyhow::anyhow;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::config::Config;
use crate::shutdown::Signals;
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
    let ended = runtime.block_on(async {
        let app = App::bind(config).await?;
        started(&app)?;
        let mut signals = Signals::new()?;
        let drain = CancellationToken::new();
        let signalled = async {
            signals.next().await;
            drain.cancel();
            signals.next().await;
        };
        tokio::select! {
            ended = app.run(drain.cancelled()) => ended,
            () = signalled => Err(anyhow!("ended by a second signal")),
        }
    });
    // A look-up of a name that hangs must not hold the end up.
    runtime.shutdown_background();
    ended
}
