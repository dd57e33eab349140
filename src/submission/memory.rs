//! What became of messages that their clients have reason to send again, so that nobody gets one
//! twice.
//!
//! A recipient of a message is remembered after a transient answer, and when the client cannot have
//! read the final one: it could not be written, or the client left before its next command. Then a
//! message that looks the same is, for that recipient, the same one sent again. In all other cases it
//! is another one, and goes out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use moka::future::Cache;
use moka::policy::EvictionPolicy;
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

use crate::delivery::Outcome;
use crate::delivery::idempotency::{Fingerprint, Key};
use crate::smtp::address::ForwardPath;
use crate::telemetry::privacy::random_id;

/// Bounded in time and in recipients; what was used least lately is forgotten first.
#[derive(Clone)]
pub(super) struct Memory {
    remembered: Cache<Key, Remembered>,
    lifetime: Duration,
    in_flight: Arc<InFlight>,
}

#[derive(Clone)]
struct Remembered {
    /// Since the first time: whoever repeats a message does not make it be remembered for longer.
    since: Instant,
    what: What,
}

#[derive(Clone)]
enum What {
    /// A recipient that needs no other try.
    Settled(Outcome),
    /// In place of the Message-ID of a message to which its client gave none.
    Id(String),
}

/// Recipients with a message on its way, each with a lock for the next that looks the same.
#[derive(Default)]
struct InFlight(Mutex<HashMap<Key, Arc<tokio::sync::Mutex<()>>>>);

impl Memory {
    pub(super) fn new(lifetime: Duration) -> Self {
        let remembered = Cache::builder()
            .eviction_policy(EvictionPolicy::lru())
            .max_capacity(MAX_REMEMBERED)
            .time_to_live(lifetime)
            .build();
        Self {
            remembered,
            lifetime,
            in_flight: Arc::default(),
        }
    }

    /// Waits until no other message that looks the same is on its way to one of these recipients: a
    /// client that gave up waiting may be sending again while its first try still runs.
    pub(super) async fn turn(&self, fingerprint: Fingerprint, recipients: &[ForwardPath]) -> Turn {
        let mut keys: Vec<Key> = recipients
            .iter()
            .map(|recipient| fingerprint.key(std::slice::from_ref(recipient)))
            .collect();
        let mut known = HashMap::new();
        for (recipient, key) in recipients.iter().zip(&keys) {
            known.insert(recipient.clone(), (*key, None));
        }
        // All in one order, so that no two wait for each other.
        keys.sort_unstable();
        let mut places = Vec::with_capacity(keys.len());
        for key in keys {
            places.push(self.place(key).await);
        }
        for (key, found) in known.values_mut() {
            *found = self.get(key).await;
        }
        Turn {
            memory: self.clone(),
            message: fingerprint.key(recipients),
            id: None,
            known,
            _places: places,
        }
    }

    async fn place(&self, key: Key) -> Place {
        let mut place = Place {
            in_flight: Arc::clone(&self.in_flight),
            key,
            held: None,
        };
        let lock = Arc::clone(self.in_flight.all().entry(key).or_default());
        place.held = Some(lock.lock_owned().await);
        place
    }

    async fn get(&self, key: &Key) -> Option<Remembered> {
        // Nearly always there is nothing, and a look costs less than a read.
        if !self.remembered.contains_key(key) {
            return None;
        }
        let found = self.remembered.get(key).await?;
        (found.since.elapsed() < self.lifetime).then_some(found)
    }
}

impl InFlight {
    fn all(&self) -> MutexGuard<'_, HashMap<Key, Arc<tokio::sync::Mutex<()>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the line of messages that look the same, first or not.
struct Place {
    in_flight: Arc<InFlight>,
    key: Key,
    held: Option<OwnedMutexGuard<()>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.in_flight.all();
        self.held = None;
        let is_last = |lock: &Arc<_>| Arc::strong_count(lock) == 1;
        if all.get(&self.key).is_some_and(is_last) {
            all.remove(&self.key);
        }
    }
}

/// The right to deliver a message that looks like this to these recipients.
pub(super) struct Turn {
    memory: Memory,
    /// Of the message with all of its recipients.
    message: Key,
    id: Option<Remembered>,
    known: HashMap<ForwardPath, (Key, Option<Remembered>)>,
    _places: Vec<Place>,
}

impl Turn {
    /// What became of a recipient, in this try or in one before.
    pub(super) fn outcome(&self, recipient: &ForwardPath) -> Option<&Outcome> {
        match self.known.get(recipient) {
            Some((
                _,
                Some(Remembered {
                    what: What::Settled(outcome),
                    ..
                }),
            )) => Some(outcome),
            _ => None,
        }
    }

    /// A recipient needs no other try.
    pub(super) fn settle(&mut self, recipient: &ForwardPath, outcome: Outcome) {
        if let Some((_, found)) = self.known.get_mut(recipient) {
            *found = Some(Remembered::now(What::Settled(outcome)));
        }
    }

    /// What stands for the message in place of a Message-ID: the same for as long as the message is
    /// remembered.
    pub(super) async fn id(&mut self) -> String {
        let remembered = self.memory.get(&self.message).await;
        match remembered {
            Some(Remembered {
                what: What::Id(id),
                since,
            }) => {
                self.id = Some(Remembered {
                    what: What::Id(id.clone()),
                    since,
                });
                id
            }
            _ => {
                let id = random_id();
                self.id = Some(Remembered::now(What::Id(id.clone())));
                id
            }
        }
    }

    /// The client has reason to send the message again: what this is true of is kept.
    pub(super) async fn remember(self, keep: impl Fn(&Outcome) -> bool) {
        let memory = self.memory.clone();
        let keep = |remembered: &Remembered| match &remembered.what {
            What::Settled(outcome) => keep(outcome),
            What::Id(_) => true,
        };
        for (key, remembered) in self.entries().filter(|(_, remembered)| keep(remembered)) {
            memory.remembered.insert(key, remembered).await;
        }
    }

    /// The client is being told the end of it.
    pub(super) async fn end(self) -> Ended {
        let memory = self.memory.clone();
        let entries: Vec<_> = self.entries().collect();
        for (key, _) in &entries {
            if memory.remembered.contains_key(key) {
                memory.remembered.invalidate(key).await;
            }
        }
        Ended { memory, entries }
    }

    fn entries(self) -> impl Iterator<Item = (Key, Remembered)> {
        let id = self.id.map(|id| (self.message, id));
        let settled = self.known.into_values();
        settled
            .filter_map(|(key, remembered)| Some((key, remembered?)))
            .chain(id)
    }
}

impl Remembered {
    fn now(what: What) -> Self {
        Self {
            since: Instant::now(),
            what,
        }
    }
}

/// A message with a final answer, which the client may not have read yet.
pub(super) struct Ended {
    memory: Memory,
    entries: Vec<(Key, Remembered)>,
}

impl Ended {
    /// The client did not read it.
    pub(super) async fn remember(self) {
        for (key, remembered) in self.entries {
            self.memory.remembered.insert(key, remembered).await;
        }
    }
}

/// Half a KiB each, as a rule.
const MAX_REMEMBERED: u64 = 50_000;

#[cfg(test)]
mod tests {
    use futures_util::poll;

    use super::*;
    use crate::delivery::Quote;
    use crate::smtp::address::ReversePath;

    fn fingerprint(content: &str) -> Fingerprint {
        Fingerprint::of("ann", &ReversePath::Null, content.as_bytes())
    }

    fn paths(names: &str) -> Vec<ForwardPath> {
        names
            .chars()
            .map(|name| {
                ForwardPath::take(&format!("<{name}@example.net>"))
                    .unwrap()
                    .0
            })
            .collect()
    }

    fn delivered() -> Outcome {
        Outcome::Delivered {
            id: Quote::new("m"),
        }
    }

    fn all(_: &Outcome) -> bool {
        true
    }

    fn memory() -> Memory {
        Memory::new(Duration::from_secs(3600))
    }

    /// Whether a recipient is known in the turn of these.
    async fn is_known(memory: &Memory, recipient: &str) -> bool {
        let recipients = paths(recipient);
        let turn = memory.turn(fingerprint("x"), &recipients).await;
        turn.outcome(&recipients[0]).is_some()
    }

    async fn settled(memory: &Memory, recipients: &str) -> Turn {
        let recipients = paths(recipients);
        let mut turn = memory.turn(fingerprint("x"), &recipients).await;
        for recipient in &recipients {
            turn.settle(recipient, delivered());
        }
        turn
    }

    #[tokio::test]
    async fn messages_that_look_the_same_take_turns_where_they_share_a_recipient() {
        let memory = memory();
        let turn = |content, names| {
            let (memory, recipients) = (memory.clone(), paths(names));
            async move { memory.turn(fingerprint(content), &recipients).await }
        };
        let one = turn("x", "ab").await;
        let mut two = Box::pin(turn("x", "bc"));
        let mut three = Box::pin(turn("x", "ba"));
        assert!(poll!(&mut two).is_pending() && poll!(&mut three).is_pending());
        drop(turn("x", "d").await);
        drop(turn("y", "ab").await);
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
        let ended = settled(&memory, "a").await.end().await;
        assert!(!is_known(&memory, "a").await);
        ended.remember().await;
        assert!(is_known(&memory, "a").await);
        // Another transaction of the same message ends: that says nothing of this recipient.
        drop(settled(&memory, "b").await.end().await);
        assert!(is_known(&memory, "a").await);
        drop(settled(&memory, "a").await.end().await);
        assert!(!is_known(&memory, "a").await);
        settled(&memory, "ab").await.remember(all).await;
        assert!(is_known(&memory, "a").await && is_known(&memory, "b").await);
    }

    #[tokio::test]
    async fn an_id_lives_as_long_as_its_message_is_remembered() {
        let memory = memory();
        let recipients = paths("ab");
        let turn = || memory.turn(fingerprint("x"), &recipients);
        let mut one = turn().await;
        let id = one.id().await;
        one.remember(all).await;
        let mut two = turn().await;
        assert_eq!(two.id().await, id);
        drop(two.end().await);
        assert_ne!(turn().await.id().await, id);
    }

    #[tokio::test(start_paused = true)]
    async fn a_repetition_does_not_start_the_time_again() {
        let memory = Memory::new(Duration::from_secs(60));
        settled(&memory, "a").await.remember(all).await;
        for _ in 0..2 {
            tokio::time::advance(Duration::from_secs(25)).await;
            let recipients = paths("a");
            let turn = memory.turn(fingerprint("x"), &recipients).await;
            assert!(turn.outcome(&recipients[0]).is_some());
            turn.end().await.remember().await;
        }
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(!is_known(&memory, "a").await);
    }
}
