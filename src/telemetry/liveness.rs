//! Whether the process still moves: loops that beat, and a look at when each last did.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

/// The loops that must go on. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Liveness(Arc<Mutex<Vec<Weak<Mutex<Instant>>>>>);

impl Liveness {
    /// A loop that beats from now on. When it ends on purpose, dropping the pulse says so.
    pub fn pulse(&self) -> Pulse {
        let last = Arc::new(Mutex::new(Instant::now()));
        let mut pulses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pulses.push(Arc::downgrade(&last));
        Pulse(last)
    }

    /// True while no loop has missed several beats.
    pub fn is_alive(&self) -> bool {
        let pulses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pulses.iter().filter_map(Weak::upgrade).all(|last| {
            let last = last.lock().unwrap_or_else(PoisonError::into_inner);
            last.elapsed() < PATIENCE
        })
    }
}

#[derive(Debug)]
pub struct Pulse(Arc<Mutex<Instant>>);

impl Pulse {
    /// How often to beat.
    pub const INTERVAL: Duration = Duration::from_secs(5);

    pub fn beat(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

const PATIENCE: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_stands_still_is_noticed_and_one_that_ended_is_not_missed() {
        let liveness = Liveness::default();
        let (one, other) = (liveness.pulse(), liveness.pulse());
        tokio::time::advance(Duration::from_secs(15)).await;
        one.beat();
        assert!(liveness.is_alive());
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(!liveness.is_alive());
        drop(other);
        assert!(liveness.is_alive());
    }
}
