//! Settings that change while the process runs.
//!
//! All sources are read again from time to time, secret files too. What differs counts once two polls
//! in a row see it, since a file may be half written. What can change does, for what begins from then
//! on; what cannot is named in the log, and waits for a restart. Settings with a fault change nothing.

use std::sync::Arc;

use prometheus::{IntCounterVec, IntGauge};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::app::session_settings;
use crate::config::fault::Faults;
use crate::config::sources::Sources;
use crate::config::{Config, Loaded};
use crate::ingress::smtp::Service;
use crate::submission::limits::Limits;
use crate::submission::senders::Senders;
use crate::telemetry::logging::Level;
use crate::telemetry::metrics::Registry;

/// Looks for other settings, and puts them in force.
pub(super) struct Reload {
    sources: Sources,
    level: Level,
    watch: Watch,
    /// Read last, and good.
    config: Config,
    metrics: Metrics,
}

struct Metrics {
    reloads: IntCounterVec,
    refused: IntGauge,
    waiting: IntGauge,
}

impl Reload {
    /// `config` is what is in force.
    pub(super) fn new(sources: Sources, level: Level, config: Config, registry: &Registry) -> Self {
        Self {
            watch: Watch::new(sources.clone().load().fingerprint()),
            sources,
            level,
            config,
            metrics: Metrics {
                reloads: registry.counter_by(
                    "smtp_settings_reloads_total",
                    "Changes seen in the settings",
                    "result",
                    &[LOADED, REFUSED],
                ),
                refused: registry.gauge(
                    "smtp_settings_refused",
                    "1 while the settings cannot be used as they are now",
                ),
                waiting: registry.gauge(
                    "smtp_settings_waiting_for_restart",
                    "Settings that have changed and that only a restart puts in force",
                ),
            },
        }
    }

    /// Watches until the drain.
    pub(super) async fn run(mut self, service: Arc<Service>, draining: CancellationToken) {
        let period = self.config.reload_interval.0.duration();
        while !period.is_zero() {
            let pause = tokio::time::sleep(period);
            if draining.run_until_cancelled(pause).await.is_none() {
                return;
            }
            self.poll(&service).await;
        }
    }

    async fn poll(&mut self, service: &Service) {
        let (sources, mut watch) = (self.sources.clone(), self.watch.clone());
        // Off the threads that serve: a file system may hang.
        let looking = spawn_blocking(move || {
            let settings = sources.load();
            let is_new = watch.sees(settings.fingerprint());
            (watch, is_new.then(|| Config::of(settings)))
        });
        // It ends without a result only when the process ends.
        let Ok((watch, found)) = looking.await else {
            return;
        };
        self.watch = watch;
        match found {
            None => {}
            Some(Ok(Loaded { config, .. })) => self.put_in_force(config, service),
            Some(Err(faults)) => self.refuse(&faults),
        }
    }

    fn refuse(&self, faults: &Faults) {
        self.metrics.reloads.with_label_values(&[REFUSED]).inc();
        self.metrics.refused.set(1);
        let faults = faults.to_string();
        warn!(
            "error.detail" = faults,
            "settings refused: the old ones stay"
        );
    }

    fn put_in_force(&mut self, new: Config, service: &Service) {
        let (config, waiting) = self.config.with_live_of(new);
        self.config = config.clone();
        // The memory was divided by these at the start.
        let bounds = service.intake.limits().now();
        let config = Config {
            limits: Limits {
                memory: bounds.memory,
                message_size: bounds.message_size,
                ..config.limits
            },
            ..config
        };
        let hostname = service.settings.load().hostname.clone();
        let settings = session_settings(&config, hostname, service.intake.copies(2));
        service.settings.store(Arc::new(settings));
        service.intake.replace_limits(config.limits);
        // These three were checked with all the others. An account that is new finds its senders.
        if let Ok(senders) = Senders::new(&config.policy) {
            service.intake.replace_senders(senders);
        }
        let _ = service.authenticator.replace_accounts(&config.auth);
        let _ = self.level.set(&config.log.level);
        self.metrics.reloads.with_label_values(&[LOADED]).inc();
        self.metrics.refused.set(0);
        let count = i64::try_from(waiting.len()).unwrap_or(i64::MAX);
        self.metrics.waiting.set(count);
        match waiting.is_empty() {
            true => info!("settings loaded"),
            false => warn!(
                "setting.keys" = waiting.into_iter().collect::<Vec<_>>().join(", "),
                "settings loaded, but these need a restart"
            ),
        }
    }
}

const LOADED: &str = "loaded";
const REFUSED: &str = "refused";

/// Decides, by what the polls see, when there is something new.
#[derive(Clone)]
struct Watch {
    /// Taken or refused last.
    known: [u8; 32],
    /// By the last poll.
    seen: [u8; 32],
}

impl Watch {
    fn new(known: [u8; 32]) -> Self {
        Self { known, seen: known }
    }

    fn sees(&mut self, found: [u8; 32]) -> bool {
        let settled = found == self.seen;
        self.seen = found;
        let is_new = settled && found != self.known;
        if is_new {
            self.known = found;
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_polls_see_is_new_once() {
        let mut watch = Watch::new([0; 32]);
        let polls = [0, 1, 2, 2, 2, 0, 0, 1, 0, 0];
        let new = polls.map(|contents| watch.sees([contents; 32]));
        let expected = [3, 6];
        for (poll, is_new) in new.into_iter().enumerate() {
            assert_eq!(is_new, expected.contains(&poll), "{poll}");
        }
    }
}
