//! What became of messages that their clients have reason to send again, so that nobody gets one
//! twice.
//!
//! A message is remembered after a transient answer, and when the client cannot have read the final
//! one: it could not be written, or the client left before its next command. Then a message that
//! looks the same is the same one sent again. In all other cases it is another one, and goes out.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use moka::policy::EvictionPolicy;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::delivery::Outcome;
use crate::delivery::idempotency::Fingerprint;
use crate::smtp::address::ForwardPath;

/// What is remembered of one message.
#[derive(Default)]
pub(super) struct Settled {
    /// In place of the client's Message-ID, where it has given none.
    pub(super) id: Option<String>,
    /// Recipients that need no other try.
    pub(super) outcomes: HashMap<ForwardPath, Outcome>,
}

/// Bounded in time and in recipients; the oldest are forgotten first.
#[derive(Clone)]
pub(super) struct Memory {
    messages: Cache<Fingerprint, Arc<Mutex<Settled>>>,
}

impl Memory {
    pub(super) fn new(lifetime: Duration) -> Self {
        let messages = Cache::builder()
            .eviction_policy(EvictionPolicy::lru())
            .max_capacity(MAX_MESSAGES)
            .time_to_live(lifetime)
            .build();
        Self { messages }
    }

    /// Waits until no other message that looks the same is on its way: a client that gave up waiting
    /// may be sending again while its first try still runs.
    pub(super) async fn turn(&self, fingerprint: Fingerprint) -> Turn {
        let entry = self
            .messages
            .get_with(fingerprint, async { Arc::default() })
            .await;
        Turn {
            memory: self.clone(),
            fingerprint,
            settled: Arc::clone(&entry).lock_owned().await,
            entry,
        }
    }
}

/// The right to deliver a message that looks like this. Whoever drops it has forgotten the message
/// or has it remembered.
pub(super) struct Turn {
    memory: Memory,
    fingerprint: Fingerprint,
    entry: Arc<Mutex<Settled>>,
    pub(super) settled: OwnedMutexGuard<Settled>,
}

impl Turn {
    /// The client has reason to send the message again.
    pub(super) async fn remember(self) {
        let Self {
            memory,
            fingerprint,
            entry,
            settled,
        } = self;
        memory.messages.insert(fingerprint, entry).await;
        drop(settled);
    }

    /// The client is being told the end of it.
    pub(super) async fn end(mut self) -> Ended {
        let ended = Ended {
            settled: std::mem::take(&mut self.settled),
            fingerprint: self.fingerprint,
            memory: self.memory.clone(),
        };
        self.memory.messages.invalidate(&self.fingerprint).await;
        ended
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
        let entry = Arc::new(Mutex::new(self.settled));
        self.memory.messages.insert(self.fingerprint, entry).await;
    }
}

/// About 1 KiB each with three recipients; 100 recipients are some 20 KiB.
const MAX_MESSAGES: u64 = 10_000;
