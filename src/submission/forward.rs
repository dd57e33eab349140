//! Stateless acceptance: deliver now, answer with the outcome.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use crate::delivery::idempotency::{Fingerprint, Idempotency};
use crate::delivery::{Outcome, Outgoing};
use crate::message::content::Content;
use crate::message::email::VisibleAddress;
use crate::message::mime;
use crate::message::structure::Structure;
use crate::smtp::address::ForwardPath;
use crate::submission::budget::Room;
use crate::submission::memory::Turn;
use crate::submission::verdict::verdict;
use crate::submission::{Answered, Deferral, Failure, Intake, Receipt, Refusal, Submission};

impl Intake {
    /// Takes a message: when this gives a receipt, the backend answers for it.
    ///
    /// Once the answer is final, `is_listening` tells whether the client is still there to hear it.
    /// One line in the log says what became of the message, here.
    pub async fn accept(
        &self,
        submission: Submission,
        is_listening: impl AsyncFnOnce() -> bool,
    ) -> Answered {
        let line = Line::of(self, &submission);
        let answered = match self.read(submission).await {
            Ok(read) => self.deliver(read, is_listening).await,
            Err(refusal) => Answered::refused(refusal),
        };
        line.write(&answered.result);
        answered
    }

    /// Reads the message as far as a provider needs it, and completes it (RFC 6409 §8).
    async fn read(&self, mut submission: Submission) -> Result<Read, Refusal> {
        let limits = self.limits.now();
        let content = Content::new(submission.content);
        let structure =
            Structure::read(&content, &limits.structure()).map_err(Refusal::Structure)?;
        self.judge_header(&submission.identity, &content, &structure)?;
        let cost = mime::cost(&content, &structure);
        submission.room.make_for_text(cost).await?;
        let email = mime::read(&content, &structure);
        let fields = limits.received_fields;
        if fields != 0 && email.received_count > fields {
            return Err(Refusal::Loop);
        }
        let recipients = submission.envelope.recipients().len();
        let copies = self.backend.copies(recipients) as u64;
        let fan_out = limits.fan_out.octets();
        if fan_out != 0 && copies > 1 && copies.saturating_mul(content.len() as u64) > fan_out {
            return Err(Refusal::FanOut);
        }
        let fingerprint = Fingerprint::of(
            &submission.identity.scope(),
            submission.envelope.reverse_path(),
            content.octets(),
        );
        let has_message_id = email.message_id.is_some();
        let id = submission.transaction_id;
        let message_id = format!("{id}@{}", self.hostname);
        let author = submission.envelope.reverse_path().mailbox();
        let author = author.map(|mailbox| VisibleAddress::without_name(mailbox.to_string()));
        let email = email.complete(submission.received.at, message_id, author);
        let outgoing = Outgoing {
            session_id: submission.session_id,
            id,
            envelope: submission.envelope,
            content,
            structure,
            email,
            received: submission.received,
            identity: submission.identity,
            idempotency: Idempotency::new(fingerprint, ""),
        };
        Ok(Read {
            outgoing,
            fingerprint,
            has_message_id,
            room: submission.room,
        })
    }

    async fn deliver(&self, read: Read, is_listening: impl AsyncFnOnce() -> bool) -> Answered {
        let Read {
            mut outgoing,
            fingerprint,
            has_message_id,
            room,
        } = read;
        let deadline = Instant::now() + self.deadline;
        let recipients = outgoing.envelope.recipients().to_vec();
        let turn = self.memory.turn(fingerprint, &recipients);
        let Ok(mut turn) = timeout_at(deadline, turn).await else {
            return Answered::refused(Refusal::Deferred {
                cause: Deferral::TimedOut,
                reason: None,
            });
        };
        if !has_message_id {
            outgoing.idempotency = Idempotency::new(fingerprint, &turn.id().await);
        }
        let id = outgoing.id.clone();
        let outcomes = self
            .outcomes(outgoing, &recipients, &mut turn, deadline)
            .await;
        drop(room);
        let result = verdict(&outcomes, &id, self.partial_failure);
        let unheard = match &result {
            Err(Refusal::Deferred { .. }) => {
                turn.remember(|_| true).await;
                None
            }
            // What was refused may be mended before the message comes again.
            Err(Refusal::PartlyFailed { .. }) => {
                turn.remember(may_have_arrived).await;
                None
            }
            _ if is_listening().await => Some(turn.end().await),
            _ => {
                turn.remember(|_| true).await;
                None
            }
        };
        Answered { result, unheard }
    }

    /// The outcome for each recipient, of this try or of one before.
    async fn outcomes(
        &self,
        mut outgoing: Outgoing,
        recipients: &[ForwardPath],
        turn: &mut Turn,
        deadline: Instant,
    ) -> Vec<Outcome> {
        outgoing
            .envelope
            .retain(|recipient| turn.outcome(recipient).is_none());
        let missing = outgoing.envelope.recipients().len();
        let remembered = recipients.len().saturating_sub(missing);
        self.metrics.remembered.inc_by(remembered as u64);
        let mut new = Vec::new();
        if missing > 0 {
            new = self.backend.deliver(&Arc::new(outgoing), deadline).await;
            self.metrics.count(&new);
        }
        let mut new = new.into_iter();
        let mut outcome = |recipient: &ForwardPath| {
            if let Some(outcome) = turn.outcome(recipient) {
                return outcome.clone();
            }
            // Nobody answers for one without an outcome.
            let missing = Outcome::deferred(Deferral::Unavailable);
            let outcome = new.next().unwrap_or(missing);
            if is_settled(&outcome) {
                turn.settle(recipient, outcome.clone());
            }
            outcome
        };
        recipients.iter().map(&mut outcome).collect()
    }
}

/// Whether another try could not change it. What the API says of a key or a sender can be mended
/// while the client still tries.
fn is_settled(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Delivered { .. } => true,
        Outcome::Deferred { .. } => false,
        Outcome::Failed { cause, .. } => !matches!(
            cause,
            Failure::KeyRefused | Failure::Forbidden | Failure::Sender
        ),
    }
}

fn may_have_arrived(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Delivered { .. }
            | Outcome::Failed {
                cause: Failure::Unknown,
                ..
            }
    )
}

/// A message that was read, and how it is known again.
struct Read {
    outgoing: Outgoing,
    fingerprint: Fingerprint,
    /// Whether the client gave it a Message-ID.
    has_message_id: bool,
    room: Room,
}

/// What the log says about a transaction: no address but as a hash, and nothing of the content.
struct Line {
    session: String,
    transaction: String,
    account: String,
    sender: String,
    recipients: usize,
    size: usize,
    started: Instant,
}

impl Line {
    fn of(intake: &Intake, submission: &Submission) -> Self {
        let identity = &submission.identity;
        // An account is often named by an address, and a user name that somebody else checks may be
        // anything: where the password is the key, some programs give the key as both.
        let is_shown = !identity.account.contains('@') && !identity.api_key.is_the_clients();
        Self {
            session: submission.session_id.clone(),
            transaction: submission.transaction_id.clone(),
            account: if is_shown {
                identity.account.escape_debug().to_string()
            } else {
                intake.hash.of(&identity.account)
            },
            sender: intake.hash.of(submission.envelope.reverse_path()),
            recipients: submission.envelope.recipients().len(),
            size: submission.content.len(),
            started: Instant::now(),
        }
    }

    fn write(&self, result: &Result<Receipt, Refusal>) {
        let duration_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        macro_rules! line {
            ($level:ident, $text:literal $(, $field:literal = $value:expr)*) => {
                $level!(
                    "session.id" = self.session,
                    "transaction.id" = self.transaction,
                    "account.id" = self.account,
                    "sender.hash" = self.sender,
                    "message.recipients" = self.recipients,
                    "message.size_bytes" = self.size,
                    duration_ms,
                    $($field = $value,)*
                    $text
                )
            };
        }
        match result {
            Ok(receipt) if receipt.failed > 0 => line!(
                warn,
                "message accepted for some recipients and refused for others",
                "message.refused_recipients" = receipt.failed,
                "message.id" = receipt.id
            ),
            Ok(receipt) => line!(info, "message accepted", "message.id" = receipt.id),
            Err(refusal) => line!(
                warn,
                "message not accepted",
                "refusal.cause" = refusal.cause()
            ),
        }
    }
}

impl Refusal {
    /// The cause in a word or two, for the log: nothing that came from outside.
    pub fn cause(&self) -> String {
        match self {
            Self::RateLimited(rate) => format!("limits.{}", rate.name()),
            Self::Sender(fault) => format!("policy.senders: {}", fault.place().name()),
            Self::Structure(_) => "structure".to_owned(),
            Self::Loop => "loop".to_owned(),
            Self::Deferred { cause, .. } => format!("{cause:?}"),
            Self::Failed { cause, .. } => format!("{cause:?}"),
            Self::PartlyFailed { .. } => "PartlyFailed".to_owned(),
            Self::FanOut => "limits.fan_out".to_owned(),
            Self::NoRoom | Self::TooMuchText => "limits.memory".to_owned(),
        }
    }
}
