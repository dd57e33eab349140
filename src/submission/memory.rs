//! What became of messages that their clients have reason to send again, so that nobody gets one
//! twice.
//!
//! A message is remembered after a transient answer, and when the client cannot have read the final
//! one: it could not be written, or the client left before its next command. Then a message that
//! looks the same is the same one sent again. In all other cases it is another one, and goes out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use moka::future::Cache;
use moka::policy::EvictionPolicy;
use tokio::sync::OwnedMutexGuard;

use crate::delivery::Outcome;
use crate::delivery::idempotency::Fingerprint;
use crate::smtp::address::ForwardPath;

/// What is remembered of one message.
#[derive(Clone, Default)]
pub(super) struct Settled {
    /// In place of the client's Message-ID, where it has given none.
    pub(super) id: Option<String>,
    /// Recipients that need no other try.
    pub(super) outcomes: HashMap<ForwardPath, Outcome>,
}

/// Bounded in time and in messages; what was used least lately is forgotten first.
#[derive(Clone)]
pub(super) struct Memory {
    messages: Cache<Fingerprint, Arc<Settled>>,
    in_flight: Arc<InFlight>,
}

/// Messages on their way, each with a lock for the next that looks the same.
#[derive(Default)]
struct InFlight(Mutex<HashMap<Fingerprint, Arc<tokio::sync::Mutex<()>>>>);

impl Memory {
    pub(super) fn new(lifetime: Duration) -> Self {
        let messages = Cache::builder()
            .eviction_policy(EvictionPolicy::lru())
            .max_capacity(MAX_MESSAGES)
            .time_to_live(lifetime)
            .build();
        Self {
            messages,
            in_flight: Arc::default(),
        }
    }

    /// Waits until no other message that looks the same is on its way: a client that gave up waiting
    /// may be sending again while its first try still runs.
    pub(super) async fn turn(&self, fingerprint: Fingerprint) -> Turn {
        let mut place = Place {
            in_flight: Arc::clone(&self.in_flight),
            fingerprint,
            held: None,
        };
        let lock = Arc::clone(self.in_flight.all().entry(fingerprint).or_default());
        place.held = Some(lock.lock_owned().await);
        let remembered = self.messages.get(&fingerprint).await;
        Turn {
            memory: self.clone(),
            was_remembered: remembered.is_some(),
            settled: remembered.as_deref().cloned().unwrap_or_default(),
            place,
        }
    }

    async fn remember(&self, fingerprint: Fingerprint, settled: Settled) {
        self.messages.insert(fingerprint, Arc::new(settled)).await;
    }
}

impl InFlight {
    fn all(&self) -> MutexGuard<'_, HashMap<Fingerprint, Arc<tokio::sync::Mutex<()>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the line of messages that look the same, first or not.
struct Place {
    in_flight: Arc<InFlight>,
    fingerprint: Fingerprint,
    held: Option<OwnedMutexGuard<()>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.in_flight.all();
        self.held = None;
        let is_last = |lock: &Arc<_>| Arc::strong_count(lock) == 1;
        if all.get(&self.fingerprint).is_some_and(is_last) {
            all.remove(&self.fingerprint);
        }
    }
}

/// The right to deliver a message that looks like this.
pub(super) struct Turn {
    memory: Memory,
    place: Place,
    was_remembered: bool,
    pub(super) settled: Settled,
}

impl Turn {
    /// The client has reason to send the message again.
    pub(super) async fn remember(self) {
        let Self {
            memory,
            place,
            settled,
            ..
        } = self;
        memory.remember(place.fingerprint, settled).await;
    }

    /// The client is being told the end of it.
    pub(super) async fn end(self) -> Ended {
        if self.was_remembered {
            let messages = &self.memory.messages;
            messages.invalidate(&self.place.fingerprint).await;
        }
        Ended {
            memory: self.memory,
            fingerprint: self.place.fingerprint,
            settled: self.settled,
        }
    }
}

/// A message with a final answer, which the client may not have read yet.
pub(super) struct Ended {
    memory: Memory,
    fingerprint: Fingerprint,
    settled: Settled,
}

impl Ended {
    /// The client did not read it.
    pub(super) async fn remember(self) {
        self.memory.remember(self.fingerprint, self.settled).await;
    }
}

/// About 1 KiB each with three recipients; 100 recipients are some 20 KiB.
const MAX_MESSAGES: u64 = 10_000;

#[cfg(test)]
mod tests {
    use futures_util::poll;

    use super::*;
    use crate::smtp::address::ReversePath;

    fn fingerprint(content: &str) -> Fingerprint {
        Fingerprint::of("ann", &ReversePath::Null, content.as_bytes())
    }

    fn memory() -> Memory {
        Memory::new(Duration::from_secs(3600))
    }

    #[tokio::test]
    async fn messages_that_look_the_same_take_turns_and_leave_nothing_behind() {
        let memory = memory();
        let one = memory.turn(fingerprint("a")).await;
        let mut two = Box::pin(memory.turn(fingerprint("a")));
        let mut three = Box::pin(memory.turn(fingerprint("a")));
        assert!(poll!(&mut two).is_pending() && poll!(&mut three).is_pending());
        drop(memory.turn(fingerprint("b")).await);
        // Who gives up waiting does not let others through.
        drop(three);
        assert!(poll!(&mut two).is_pending());
        drop(one.end().await);
        drop(two.await);
        assert!(memory.in_flight.all().is_empty());
    }

    #[tokio::test]
    async fn only_what_was_remembered_is_known_again_and_only_once() {
        let memory = memory();
        let id = |turn: &Turn| turn.settled.id.clone();
        let mut turn = memory.turn(fingerprint("a")).await;
        turn.settled.id = Some("1".to_owned());
        drop(turn.end().await);
        let mut turn = memory.turn(fingerprint("a")).await;
        assert_eq!(id(&turn), None);
        turn.settled.id = Some("2".to_owned());
        turn.remember().await;
        let turn = memory.turn(fingerprint("a")).await;
        assert_eq!(id(&turn).as_deref(), Some("2"));
        let ended = turn.end().await;
        assert_eq!(id(&memory.turn(fingerprint("a")).await), None);
        ended.remember().await;
        let turn = memory.turn(fingerprint("a")).await;
        assert_eq!(id(&turn).as_deref(), Some("2"));
    }
}
