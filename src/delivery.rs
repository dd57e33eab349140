//! The ways out: a message and its envelope to an [`Outcome`] for each recipient.
//!
//! A backend is one of a closed set. None of them knows what the client is told; that is decided
//! from the outcomes by `submission`.

pub mod breaker;
pub mod http;
pub mod idempotency;
pub mod retry;
pub mod sandbox;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::auth::Identity;
use crate::delivery::http::Http;
use crate::delivery::http::provider::Unsendable;
use crate::delivery::idempotency::Idempotency;
use crate::delivery::sandbox::Sandbox;
use crate::message::content::Content;
use crate::message::email::Email;
use crate::message::received::Received;
use crate::message::structure::Structure;
use crate::smtp::envelope::Envelope;
use crate::smtp::reply::printable;
use crate::units::Period;

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// For everything outward that one message needs. An application waits for its reply for some
    /// minutes (RFC 5321 §4.5.3.2.6), often only one.
    pub deadline: Period,
    /// Tries after the first, for what was not taken and may be soon.
    pub retries: u32,
    /// What to answer when an API may or may not have taken a message.
    pub unknown_outcome: UnknownOutcome,
    /// What to answer when some recipients were delivered and the rest refused for good.
    pub partial_failure: PartialFailure,
    /// How long a message is known again whose client has reason to send it once more.
    pub remember: Period,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            deadline: Period::seconds(30),
            retries: 2,
            unknown_outcome: UnknownOutcome::Defer,
            partial_failure: PartialFailure::Report,
            remember: Period::seconds(3600),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownOutcome {
    /// The client sends again: at least once.
    Defer,
    /// The client is told that it failed: at most once.
    Refuse,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PartialFailure {
    /// 250 that says how many were refused.
    Report,
    /// 554. The delivered ones get nothing again when the client sends again.
    Refuse,
}

/// The name of a backend in the settings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendName {
    /// An email API over HTTP.
    #[default]
    Http,
    /// Nothing leaves: the message and the request that would have been sent stay in memory.
    Sandbox,
}

/// A way out.
#[derive(Debug)]
pub enum Backend {
    Http(Box<Http>),
    Sandbox(Arc<Sandbox>),
}

impl Backend {
    /// Delivers to each recipient of the envelope; the outcomes are in their order.
    pub async fn deliver(&self, outgoing: &Arc<Outgoing>, deadline: Instant) -> Vec<Outcome> {
        match self {
            Self::Http(http) => http.deliver(outgoing, deadline).await,
            Self::Sandbox(sandbox) => sandbox.deliver(outgoing),
        }
    }

    /// How often the content of a message with so many recipients leaves.
    pub fn copies(&self, recipients: usize) -> usize {
        match self {
            Self::Http(http) => http.copies(recipients),
            Self::Sandbox(_) => 1,
        }
    }
}

/// A message on its way out, with all that a provider may need of it.
pub struct Outgoing {
    pub session_id: String,
    /// The transaction's id, which the client is told.
    pub id: String,
    pub envelope: Envelope,
    pub content: Content,
    pub structure: Structure,
    pub email: Email,
    pub received: Received,
    /// Who submits it.
    pub identity: Identity,
    /// Makes the keys by which an API knows a request again.
    pub idempotency: Idempotency,
}

/// What became of a message for one recipient (RFC 3464 §2.3.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Delivered {
        /// The provider's id, printable and short.
        id: Quote,
    },
    /// It may work later.
    Deferred {
        cause: Deferral,
        reason: Option<Quote>,
    },
    /// It will not work.
    Failed {
        cause: Failure,
        reason: Option<Quote>,
    },
}

impl Outcome {
    pub fn deferred(cause: Deferral) -> Self {
        Self::Deferred {
            cause,
            reason: None,
        }
    }

    /// Whether nobody knows what became of it, whatever the client is told.
    pub fn is_unknown(&self) -> bool {
        match self {
            Self::Delivered { .. } => false,
            Self::Deferred { cause, .. } => *cause == Deferral::Unknown,
            Self::Failed { cause, .. } => *cause == Failure::Unknown,
        }
    }
}

/// Why a recipient is deferred. All of these are transient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deferral {
    /// No connection: name, network, or TLS.
    Unreachable,
    /// The time was over before the request had left.
    TimedOut,
    /// The API asks for fewer calls.
    Throttled,
    /// The API says that it is down for now.
    Unavailable,
    /// Too many calls have failed, so none is made for a while.
    CircuitOpen,
    /// An answer that is not the API's documented one: a page of something in between, a redirect.
    NotUnderstood,
    /// The API refuses a key of the settings. An operator can mend that, so mail waits.
    KeyRefused,
    /// The account's key cannot be looked up now.
    KeyUnavailable,
    /// The account's allowance is used up.
    Quota,
    /// The request left and nobody knows what became of it.
    Unknown,
}

/// Why a recipient has failed. All of these are permanent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The API refuses this message.
    Refused,
    /// The API finds it too large.
    TooLarge,
    /// The API refuses the key that the client's credentials give.
    KeyRefused,
    /// The API does not let this account do that.
    Forbidden,
    /// The API does not let this account send from this address.
    Sender,
    /// The API took the message only to reject it.
    Rejected,
    /// The API's format has no place for something in it.
    CannotCarry,
    /// [`Deferral::Unknown`] where a repetition would be worse than a loss.
    Unknown,
}

impl From<Unsendable> for Outcome {
    fn from(unsendable: Unsendable) -> Self {
        match unsendable {
            Unsendable::CannotCarry(reason) => Self::Failed {
                cause: Failure::CannotCarry,
                reason: Some(Quote::new(&reason)),
            },
            Unsendable::Sender(reason) => Self::Failed {
                cause: Failure::Sender,
                reason: Some(Quote::new(&reason)),
            },
            Unsendable::Key => Self::deferred(Deferral::KeyRefused),
        }
    }
}

/// Words from outside that may be shown to a client: printable ASCII, at most 200 octets.
#[derive(Clone, PartialEq, Eq)]
pub struct Quote(String);

/// An API may name a recipient in them.
impl fmt::Debug for Quote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Quote({} octets)", self.0.len())
    }
}

impl Quote {
    pub fn new(text: &str) -> Self {
        Self(printable(text, 200))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}
