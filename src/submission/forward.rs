//! Stateless acceptance: deliver now, answer with the outcome.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::delivery::Outgoing;
use crate::message::content::Content;
use crate::message::email::VisibleAddress;
use crate::message::mime;
use crate::message::structure::Structure;
use crate::submission::verdict::verdict;
use crate::submission::{Intake, Receipt, Refusal, Submission};

impl Intake {
    /// Takes a message: when this returns a receipt, the backend answers for it.
    ///
    /// # Errors
    /// [`Refusal`]: nobody answers for it. One line in the log says so, here.
    pub async fn accept(&self, submission: Submission) -> Result<Receipt, Refusal> {
        let line = Line::of(self, &submission);
        let result = match self.read(submission) {
            Ok(outgoing) => self.deliver(outgoing).await,
            Err(refusal) => Err(refusal),
        };
        line.write(&result);
        result
    }

    /// Reads the message as far as a provider needs it, and completes it (RFC 6409 §8).
    fn read(&self, submission: Submission) -> Result<Outgoing, Refusal> {
        let content = Content::new(submission.content);
        let structure = Structure::read(&content, &self.limits.structure())
            .map_err(|error| Refusal::Structure(error.to_string()))?;
        let email = mime::read(&content, &structure);
        let fields = self.limits.received_fields;
        if fields != 0 && email.received_count > fields {
            return Err(Refusal::Loop);
        }
        let id = submission.transaction_id;
        let message_id = format!("{id}@{}", self.hostname);
        let author = submission.envelope.reverse_path().mailbox();
        let author = author.map(|mailbox| VisibleAddress::without_name(mailbox.to_string()));
        let email = email.complete(submission.received.at, message_id, author);
        Ok(Outgoing {
            session_id: submission.session_id,
            id,
            envelope: submission.envelope,
            content,
            structure,
            email,
            received: submission.received,
            identity: submission.identity,
        })
    }

    async fn deliver(&self, outgoing: Outgoing) -> Result<Receipt, Refusal> {
        let deadline = Instant::now() + self.deadline;
        let id = outgoing.id.clone();
        let outcomes = self.backend.deliver(&Arc::new(outgoing), deadline).await;
        self.metrics.count(&outcomes);
        verdict(&outcomes, &id)
    }
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
        let account = &submission.identity.account;
        Self {
            session: submission.session_id.clone(),
            transaction: submission.transaction_id.clone(),
            // An account is often named by an address.
            account: if account.contains('@') {
                intake.hash.of(account)
            } else {
                account.escape_debug().to_string()
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
    fn cause(&self) -> String {
        match self {
            Self::RateLimited(setting) => (*setting).to_owned(),
            Self::Structure(_) => "structure".to_owned(),
            Self::Loop => "loop".to_owned(),
            Self::Deferred { cause, .. } => format!("{cause:?}"),
            Self::Failed { cause, .. } => format!("{cause:?}"),
        }
    }
}
