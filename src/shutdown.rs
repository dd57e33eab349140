//! How the process ends, and the only place that starts tasks.
//!
//! SIGTERM -> not ready -> a pause in which load balancers forget us -> listeners close, idle
//! sessions end -> what is in flight finishes -> a deadline. Whoever waits for long watches
//! [`Tasks::draining`]; nobody needs to watch the deadline, tasks are dropped there.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use prometheus::IntCounter;
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::telemetry::metrics::Registry;
use crate::units::Period;

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// From "not ready" to the closing of the listeners.
    pub pause: Period,
    /// From then on, for transactions in flight: the delivery deadline and some time to answer.
    pub deadline: Period,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            pause: Period::seconds(10),
            deadline: Period::seconds(45),
        }
    }
}

/// Starts tasks, and lets the drain wait for them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tasks {
    tracker: TaskTracker,
    draining: CancellationToken,
    last_call: CancellationToken,
    dropping: CancellationToken,
    panics: IntCounter,
}

impl Tasks {
    pub fn new(registry: &Registry) -> Self {
        Self {
            tracker: TaskTracker::new(),
            draining: CancellationToken::new(),
            last_call: CancellationToken::new(),
            dropping: CancellationToken::new(),
            panics: registry.counter(
                "smtp_task_panics_total",
                "Tasks that ended by a panic; each is a bug",
            ),
        }
    }

    /// Runs a task to its end or to the drain's deadline. A panic costs this task only.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let (dropping, panics) = (self.dropping.clone(), self.panics.clone());
        // Each future around it would hold its size once more.
        let task = Box::pin(AssertUnwindSafe(task).catch_unwind());
        self.tracker.spawn(async move {
            if let Some(Err(_)) = dropping.run_until_cancelled(task).await {
                panics.inc();
            }
        });
    }

    /// Cancelled when listeners must close and sessions end.
    pub fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    /// Cancelled when there is no time left to deliver what has not been received yet.
    pub fn last_call(&self) -> &CancellationToken {
        &self.last_call
    }

    /// The same life, waited for by nobody but its owner: for what must outlive the drain.
    #[must_use]
    pub fn aside(&self) -> Self {
        Self {
            tracker: TaskTracker::new(),
            draining: CancellationToken::new(),
            last_call: CancellationToken::new(),
            dropping: CancellationToken::new(),
            panics: self.panics.clone(),
        }
    }

    /// Waits for all tasks, at most for `deadline`, of which the last `reserve` is for what has been
    /// received by then; in the end it drops those that are left. False when there were some.
    pub async fn drain(&self, deadline: Duration, reserve: Duration) -> bool {
        self.draining.cancel();
        self.tracker.close();
        let receiving = deadline.saturating_sub(reserve);
        let mut done = timeout(receiving, self.tracker.wait()).await.is_ok();
        if !done {
            self.last_call.cancel();
            done = timeout(reserve, self.tracker.wait()).await.is_ok();
        }
        self.dropping.cancel();
        self.tracker.wait().await;
        done
    }
}

/// Ready when every latch is released and the drain has not begun. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    latches: AtomicUsize,
    draining: AtomicBool,
}

impl Readiness {
    /// Something that must happen before this process is ready; dropping it says that it has.
    pub fn latch(&self) -> Latch {
        self.0.latches.fetch_add(1, Ordering::SeqCst);
        Latch(self.clone())
    }

    pub fn is_ready(&self) -> bool {
        self.0.latches.load(Ordering::SeqCst) == 0 && !self.0.draining.load(Ordering::SeqCst)
    }

    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::SeqCst);
    }
}

#[derive(Debug)]
pub struct Latch(Readiness);

impl Drop for Latch {
    fn drop(&mut self) {
        self.0.0.latches.fetch_sub(1, Ordering::SeqCst);
    }
}

/// SIGTERM and SIGINT, from now on.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// # Errors
    /// When the process may not listen for signals.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one of either kind.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn drain_waits_for_tasks_and_drops_them_at_the_deadline() {
        let tasks = Tasks::new(&Registry::default());
        tasks.spawn(tokio::time::sleep(Duration::from_secs(5)));
        assert!(tasks.drain(Duration::from_secs(10), Duration::ZERO).await);

        let tasks = Tasks::new(&Registry::default());
        tasks.spawn(std::future::pending());
        assert!(!tasks.drain(Duration::from_secs(10), Duration::ZERO).await);
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_call_leaves_time_for_what_has_been_received() {
        let tasks = Tasks::new(&Registry::default());
        let last_call = tasks.last_call().clone();
        tasks.spawn(async move {
            last_call.cancelled().await;
            tokio::time::sleep(Duration::from_secs(29)).await;
        });
        let started = tokio::time::Instant::now();
        assert!(
            tasks
                .drain(Duration::from_secs(45), Duration::from_secs(30))
                .await
        );
        assert_eq!(started.elapsed(), Duration::from_secs(15 + 29));
    }

    #[tokio::test]
    async fn a_panic_costs_one_task_and_is_counted() {
        let tasks = Tasks::new(&Registry::default());
        tasks.spawn(async { panic!("for the test") });
        assert!(tasks.drain(Duration::from_secs(10), Duration::ZERO).await);
        assert_eq!(tasks.panics.get(), 1);
    }

    #[test]
    fn ready_means_no_latch_and_no_drain() {
        let readiness = Readiness::default();
        let (one, other) = (readiness.latch(), readiness.latch());
        drop(one);
        assert!(!readiness.is_ready());
        drop(other);
        assert!(readiness.is_ready());
        readiness.drain();
        assert!(!readiness.is_ready());
    }
}
