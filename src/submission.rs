//! The one door: a message comes in through [`Intake::accept`] and somebody answers for it, or it
//! is refused. Nothing else may say that a message was accepted.

pub mod budget;
mod forward;
pub mod limits;
mod memory;
mod policy;
pub mod senders;
mod verdict;

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use prometheus::{IntCounter, IntCounterVec};
use tokio::time::Duration;

use crate::auth::Identity;
use crate::delivery::{self, Backend, Outcome, PartialFailure, Quote};
use crate::message::content::Content;
use crate::message::received::Received;
use crate::message::structure::{Structure, StructureError};
use crate::smtp::address::ReversePath;
use crate::smtp::envelope::Envelope;
use crate::submission::budget::{Budget, NoRoom, NoTextRoom, Room};
use crate::submission::limits::Limits;
use crate::submission::memory::{Ended, Memory};
use crate::submission::policy::Policy;
use crate::submission::senders::{SenderFault, SenderPlace, Senders};
use crate::telemetry::metrics::Registry;
use crate::telemetry::privacy::AddressHash;

pub use crate::delivery::{Deferral, Failure};

/// A message that a client hands in, with all that is known about it.
pub struct Submission {
    pub session_id: String,
    pub transaction_id: String,
    pub identity: Identity,
    pub envelope: Envelope,
    pub content: Bytes,
    pub received: Received,
    /// What its content takes in memory.
    pub room: Room,
}

/// Somebody answers for the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The provider's id where there is one for the whole message, else the transaction's.
    pub id: String,
    pub recipients: usize,
    /// Recipients that were refused for good while others were delivered.
    pub failed: usize,
}

/// Nobody answers for the message: the client keeps it, or gives up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Too many messages.
    RateLimited(Rate),
    /// It names a sender that the account may not use, or may name one.
    Sender(SenderFault),
    /// Too deep, too many parts, too long a header section.
    Structure(StructureError),
    /// Too many `Received` fields: it goes round in circles.
    Loop,
    Deferred {
        cause: Deferral,
        reason: Option<Quote>,
    },
    Failed {
        cause: Failure,
        reason: Option<Quote>,
    },
    /// Some recipients were delivered and the rest refused, where that is no success.
    PartlyFailed { recipients: usize, failed: usize },
    /// Its size times its recipients is more than may leave at once.
    FanOut,
    /// There is no memory for it now.
    NoRoom,
    /// Its text takes more memory than there ever is.
    TooMuchText,
}

impl From<NoRoom> for Refusal {
    fn from(_: NoRoom) -> Self {
        Self::NoRoom
    }
}

impl From<NoTextRoom> for Refusal {
    fn from(no_room: NoTextRoom) -> Self {
        match no_room {
            NoTextRoom::Now => Self::NoRoom,
            NoTextRoom::Ever => Self::TooMuchText,
        }
    }
}

/// A bound on messages a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rate {
    PerIp,
    PerAccount,
}

impl Rate {
    /// Its name among the limits of the settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::PerIp => "messages_per_minute_per_ip",
            Self::PerAccount => "messages_per_minute_per_account",
        }
    }
}

/// What to tell the client.
pub struct Answered {
    pub result: Result<Receipt, Refusal>,
    unheard: Option<Ended>,
}

impl Answered {
    fn refused(refusal: Refusal) -> Self {
        Self {
            result: Err(refusal),
            unheard: None,
        }
    }

    /// What to do when the client turns out not to have heard it.
    pub fn unheard(self) -> Option<Unheard> {
        self.unheard.map(Unheard)
    }
}

/// A final answer that the client may not have read. Drop it once it has said anything more.
pub struct Unheard(Ended);

impl Unheard {
    /// The client has left: when the message comes again, it is the same one.
    pub async fn remember(self) {
        self.0.remember().await;
    }
}

pub struct Intake {
    backend: Backend,
    limits: limits::InForce,
    senders: ArcSwap<Senders>,
    policy: Policy,
    budget: Arc<Budget>,
    deadline: Duration,
    partial_failure: PartialFailure,
    memory: Memory,
    hostname: String,
    hash: AddressHash,
    metrics: Metrics,
}

impl Intake {
    pub fn new(
        backend: Backend,
        limits: Limits,
        senders: Senders,
        delivery: &delivery::Config,
        hostname: String,
        registry: &Registry,
    ) -> Self {
        let octets = limits.memory.octets();
        Self {
            policy: Policy::new(&limits),
            budget: Budget::new(octets, limits.message_size.octets(), registry),
            backend,
            limits: limits::InForce::new(limits),
            senders: ArcSwap::from_pointee(senders),
            deadline: delivery.deadline.duration(),
            partial_failure: delivery.partial_failure,
            memory: Memory::new(delivery.remember.duration()),
            hostname,
            hash: AddressHash::default(),
            metrics: Metrics::new(registry),
        }
    }

    /// May a transaction start? Each yes counts as a message.
    ///
    /// # Errors
    /// [`Refusal::Sender`] and [`Refusal::RateLimited`].
    pub fn begin(
        &self,
        client: IpAddr,
        identity: &Identity,
        path: &ReversePath,
    ) -> Result<(), Refusal> {
        if let Some(list) = self.senders.load().of(identity) {
            list.reverse_path(path)
                .map_err(|fault| self.sender_refused(fault))?;
        }
        self.policy.begin(&self.limits.now(), client, identity)
    }

    /// How often a message for so many recipients leaves.
    pub fn copies(&self, recipients: usize) -> usize {
        self.backend.copies(recipients)
    }

    /// The limits that hold for all that a client does.
    pub fn limits(&self) -> &limits::InForce {
        &self.limits
    }

    /// Other limits from now on, save for the memory and the largest message, which the memory was
    /// divided by.
    pub fn replace_limits(&self, limits: Limits) {
        self.policy.replace(&limits);
        self.limits.replace(limits);
    }

    /// Other senders from now on.
    pub fn replace_senders(&self, senders: Senders) {
        self.senders.store(Arc::new(senders));
    }

    /// Judges the senders that a message names.
    fn judge_header(
        &self,
        identity: &Identity,
        content: &Content,
        structure: &Structure,
    ) -> Result<(), Refusal> {
        let senders = self.senders.load();
        let (Some(list), Some(header)) = (senders.of(identity), structure.header()) else {
            return Ok(());
        };
        list.header(content.octets(), header)
            .map_err(|fault| self.sender_refused(fault))
    }

    fn sender_refused(&self, fault: SenderFault) -> Refusal {
        let place = fault.place().name();
        self.metrics.senders.with_label_values(&[place]).inc();
        Refusal::Sender(fault)
    }

    /// Room for the content of a message that announces so many octets; 0 where it announces none.
    ///
    /// # Errors
    /// [`Refusal::NoRoom`] when there is none within five seconds.
    pub async fn reserve(&self, announced: u64) -> Result<Room, Refusal> {
        Ok(self.budget.reserve(announced).await?)
    }
}

#[derive(Debug)]
struct Metrics {
    forwarded: IntCounter,
    unclear: IntCounter,
    recipients: IntCounterVec,
    remembered: IntCounter,
    senders: IntCounterVec,
}

impl Metrics {
    fn new(registry: &Registry) -> Self {
        Self {
            forwarded: registry.counter(
                "smtp_emails_forwarded_total",
                "Messages that a backend took for at least one recipient",
            ),
            unclear: registry.counter(
                "smtp_emails_unclear_total",
                "Messages that the email API may or may not have taken",
            ),
            recipients: registry.counter_by(
                "smtp_recipients_total",
                "Recipients of messages, by what became of them",
                "outcome",
                &["delivered", "deferred", "failed"],
            ),
            remembered: registry.counter(
                "smtp_recipients_remembered_total",
                "Recipients of a message sent again that got nothing a second time",
            ),
            senders: registry.counter_by(
                "smtp_senders_refused_total",
                "Senders that an account may not use, by where they were named",
                "place",
                &SenderPlace::ALL.map(SenderPlace::name),
            ),
        }
    }

    fn count(&self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            let label = match outcome {
                Outcome::Delivered { .. } => "delivered",
                Outcome::Deferred { .. } => "deferred",
                Outcome::Failed { .. } => "failed",
            };
            self.recipients.with_label_values(&[label]).inc();
        }
        let delivered = |outcome: &Outcome| matches!(outcome, Outcome::Delivered { .. });
        if outcomes.iter().any(delivered) {
            self.forwarded.inc();
        }
        if outcomes.iter().any(Outcome::is_unknown) {
            self.unclear.inc();
        }
    }
}
