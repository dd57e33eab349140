//! The backend that delivers nowhere: messages, and the requests that a provider would have sent,
//! stay in a bounded memory, the newest first.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::auth::api_key::ApiKey;
use crate::delivery::http::provider::{Provider, Request, Unsendable};
use crate::delivery::{Outcome, Outgoing, Quote};
use crate::secret::Secret;
use crate::units::ByteSize;

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Octets of messages that are kept; the oldest make room.
    pub memory: ByteSize,
    /// Messages that are kept.
    pub messages: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            memory: ByteSize(64 << 20),
            messages: 1000,
        }
    }
}

/// A message that was kept.
pub struct Kept {
    pub outgoing: Arc<Outgoing>,
    pub requests: Vec<Request>,
}

impl Kept {
    /// About what it costs: requests share the octets of the content, its texts and what is made of
    /// them; each has an envelope of its own.
    fn octets(&self) -> u64 {
        let text = self
            .requests
            .first()
            .map_or(0, |request| request.body.text_len());
        let envelopes = (self.requests.len() as u64).saturating_mul(ENVELOPE);
        let email = &self.outgoing.email;
        let texts =
            [&email.text, &email.html].map(|text| text.as_ref().map_or(0, |text| text.len()));
        texts
            .into_iter()
            .chain([self.outgoing.content.len()])
            .map(|octets| octets as u64)
            .fold(text.saturating_add(envelopes), u64::saturating_add)
    }
}

#[derive(Debug)]
pub struct Sandbox {
    provider: Box<dyn Provider>,
    /// The gateway's own.
    key: Option<Secret>,
    config: Config,
    inbox: Mutex<Inbox>,
}

#[derive(Default)]
struct Inbox {
    kept: VecDeque<Arc<Kept>>,
    octets: u64,
}

impl std::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Inbox({} messages)", self.kept.len())
    }
}

impl Sandbox {
    pub fn new(config: Config, provider: Box<dyn Provider>, key: Option<Secret>) -> Self {
        Self {
            provider,
            key,
            config,
            inbox: Mutex::default(),
        }
    }

    /// Makes the requests, keeps them with the message, and calls it delivered.
    pub fn deliver(&self, outgoing: &Arc<Outgoing>) -> Vec<Outcome> {
        let recipients = outgoing.envelope.recipients().len();
        let requests = match self.requests(outgoing) {
            Ok(requests) => requests,
            Err(refusal) => return vec![refusal.into(); recipients],
        };
        let outgoing = Arc::clone(outgoing);
        let id = Quote::new(&outgoing.id);
        self.keep(Kept { outgoing, requests });
        vec![Outcome::Delivered { id }; recipients]
    }

    fn requests(&self, outgoing: &Outgoing) -> Result<Vec<Request>, Unsendable> {
        let wanted = match self.provider.senders() {
            Some(directory) => directory.wanted(outgoing)?,
            None => None,
        };
        // Nobody is asked here, so the id is told by what it would be found for.
        let sender = wanted.map(|wanted| format!("the id of {}", wanted.address));
        let mut requests = self.provider.requests(outgoing, sender.as_deref())?;
        let key = match &outgoing.identity.api_key {
            ApiKey::Gateways => self.key.clone(),
            key @ (ApiKey::Fixed(_) | ApiKey::Passed(_) | ApiKey::LookedUp(_)) => key.at_hand(),
        };
        if let Some(key) = key.filter(|key| !key.is_empty()) {
            for request in &mut requests {
                self.provider.authorize(&key, &mut request.headers)?;
            }
        }
        Ok(requests)
    }

    fn keep(&self, kept: Kept) {
        let mut inbox = self.inbox();
        inbox.octets = inbox.octets.saturating_add(kept.octets());
        inbox.kept.push_front(Arc::new(kept));
        while inbox.octets > self.config.memory.octets() || inbox.kept.len() > self.config.messages
        {
            let Some(oldest) = inbox.kept.pop_back() else {
                break;
            };
            inbox.octets = inbox.octets.saturating_sub(oldest.octets());
        }
    }

    /// All messages, the newest first.
    pub fn messages(&self) -> Vec<Arc<Kept>> {
        self.inbox().kept.iter().map(Arc::clone).collect()
    }

    pub fn message(&self, id: &str) -> Option<Arc<Kept>> {
        let inbox = self.inbox();
        let kept = inbox.kept.iter().find(|kept| kept.outgoing.id == id)?;
        Some(Arc::clone(kept))
    }

    pub fn clear(&self) {
        *self.inbox() = Inbox::default();
    }

    fn inbox(&self) -> std::sync::MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where requests would go when no API is named.
pub const URL: &str = "https://api.example";

/// Octets of a request beside the message: addresses, URL, header fields.
const ENVELOPE: u64 = 1024;
