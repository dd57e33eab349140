//! Runs the gateway until it is told to stop. Told a second time, it stops at once.

use std::io;

use anyhow::anyhow;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::config::Config;
use crate::config::sources::Sources;
use crate::shutdown::Signals;
use crate::telemetry::logging;

pub(super) fn run(sources: Sources) -> anyhow::Result<()> {
    run_and(sources, |_| Ok(()))
}

/// Calls `started` once the sockets are bound.
pub(super) fn run_and(
    sources: Sources,
    started: impl FnOnce(&App) -> io::Result<()>,
) -> anyhow::Result<()> {
    let config = Config::load(sources.clone())?.config;
    let level = logging::start(&config.log)?;
    // A connection is a descriptor. Where the system does not allow more, accepting says so.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let ended = runtime.block_on(async {
        let app = App::bind(config).await?.reloading(sources, level);
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
