//! What others decide, as replies: the one table beside those of the protocol itself
//! (`smtp::reply`). Every refusal has its row; the matches are exhaustive.

use crate::auth::Denied;
use crate::smtp::reply::{self, Reply};
use crate::submission::senders::{SenderFault, SenderPlace};
use crate::submission::{Deferral, Failure, Receipt, Refusal};

/// Go on: the mail data may come. 354 has no enhanced status (RFC 2034 §4).
pub(super) fn data() -> Reply {
    Reply::plain(354, "End data with <CR><LF>.<CR><LF>")
}

/// A bug must not bounce mail.
pub(super) fn internal_fault() -> Reply {
    INTERNAL_FAULT.clone()
}

pub(super) fn accepted(receipt: &Receipt) -> Reply {
    let Receipt {
        id,
        recipients,
        failed,
    } = receipt;
    if *failed == 0 {
        return reply::OK.quoting(&format!("Ok: queued as {id}"));
    }
    let delivered = recipients - failed;
    reply::OK.quoting(&format!(
        "Ok: queued as {id}; {delivered} of {recipients} recipients, {failed} refused"
    ))
}

pub(super) fn denied(denied: Denied) -> &'static Reply {
    match denied {
        Denied::Credentials => &reply::BAD_CREDENTIALS,
        Denied::Challenge => &CHALLENGE,
        Denied::Unavailable => &UNAVAILABLE_LOGIN,
        Denied::Throttled => &THROTTLED_LOGIN,
    }
}

pub(super) fn refused(refusal: &Refusal) -> Reply {
    match refusal {
        Refusal::RateLimited(rate) => RATE_LIMITED.quoting(&format!(
            "Too many messages (limits.{}), try again in a minute",
            rate.name()
        )),
        Refusal::Sender(fault) => sender(*fault),
        Refusal::Structure(error) => STRUCTURE.quoting(&format!("Message structure: {error}")),
        Refusal::Loop => LOOP.clone(),
        Refusal::FanOut => reply::FAN_OUT.clone(),
        Refusal::NoRoom => reply::NO_ROOM.clone(),
        Refusal::TooMuchText => TOO_MUCH_TEXT.clone(),
        Refusal::PartlyFailed { recipients, failed } => PARTLY_FAILED.quoting(&format!(
            "Sent to {} of {recipients} recipients, {failed} refused (delivery.partial_failure)",
            recipients - failed
        )),
        Refusal::Deferred { cause, reason } => because(
            deferred(*cause),
            reason.as_ref().map(|reason| reason.as_str()),
        ),
        Refusal::Failed { cause, reason } => because(
            failed(*cause),
            reason.as_ref().map(|reason| reason.as_str()),
        ),
    }
}

fn sender(fault: SenderFault) -> Reply {
    let place = match fault.place() {
        SenderPlace::ReversePath => "MAIL FROM",
        SenderPlace::From => "From",
        SenderPlace::Sender => "Sender",
        SenderPlace::ResentFrom => "Resent-From",
        SenderPlace::ResentSender => "Resent-Sender",
        SenderPlace::SenderId => "X-Sender-Id",
        SenderPlace::Header => "The header section",
    };
    match fault {
        SenderFault::NotAllowed(_) => SENDER_NOT_ALLOWED.quoting(&format!(
            "{place} names a sender that this account may not use (policy.senders)"
        )),
        SenderFault::Unclear(_) => SENDER_UNCLEAR.quoting(&format!(
            "{place} can be read in more than one way (policy.senders)"
        )),
    }
}

fn deferred(cause: Deferral) -> &'static Reply {
    match cause {
        Deferral::Unreachable => &UNREACHABLE,
        Deferral::TimedOut => &TIMED_OUT,
        Deferral::Throttled => &THROTTLED,
        Deferral::Unavailable => &UNAVAILABLE,
        Deferral::CircuitOpen => &CIRCUIT_OPEN,
        Deferral::NotUnderstood => &NOT_UNDERSTOOD,
        Deferral::KeyRefused => &KEY_REFUSED,
        Deferral::KeyUnavailable => &KEY_UNAVAILABLE,
        Deferral::Quota => &QUOTA,
        Deferral::Unknown => &UNKNOWN,
    }
}

fn failed(cause: Failure) -> &'static Reply {
    match cause {
        Failure::Refused => &REFUSED,
        Failure::TooLarge => &TOO_LARGE,
        Failure::KeyRefused => &KEY_REFUSED_FOR_GOOD,
        Failure::Forbidden => &FORBIDDEN,
        Failure::Sender => &SENDER,
        Failure::Rejected => &REJECTED,
        Failure::CannotCarry => &CANNOT_CARRY,
        Failure::Unknown => &UNKNOWN_REFUSED,
    }
}

/// The reply with the API's own words behind ours.
fn because(reply: &Reply, reason: Option<&str>) -> Reply {
    match reason {
        Some(reason) => reply.quoting(&format!("{}: {reason}", reply.text())),
        None => reply.clone(),
    }
}

/// What a connection over the limit gets in place of a banner.
pub(super) static TOO_MANY_CONNECTIONS: Reply =
    Reply::new(421, 7, 0, "Too many connections, try again later");
static INTERNAL_FAULT: Reply = Reply::new(451, 3, 0, "Internal fault, try again later");
static CHALLENGE: Reply = Reply::new(
    535,
    7,
    8,
    "The account has multi-factor authentication: use a personal access token as password",
);
static UNAVAILABLE_LOGIN: Reply = Reply::new(
    454,
    7,
    0,
    "Cannot check the credentials now, try again later",
);
static THROTTLED_LOGIN: Reply = Reply::new(421, 7, 0, "Too many failed logins, try again later");
static RATE_LIMITED: Reply = Reply::new(451, 7, 1, "");
static SENDER_NOT_ALLOWED: Reply = Reply::new(550, 7, 1, "");
static SENDER_UNCLEAR: Reply = Reply::new(554, 6, 0, "");
static STRUCTURE: Reply = Reply::new(554, 6, 0, "");
static TOO_MUCH_TEXT: Reply = Reply::new(
    552,
    3,
    4,
    "Too much text for the memory there is (limits.memory); attach it as a file",
);
static LOOP: Reply = Reply::new(554, 4, 6, "Too many hops (limits.received_fields)");
static PARTLY_FAILED: Reply = Reply::new(554, 0, 0, "");

static UNREACHABLE: Reply = Reply::new(
    451,
    4,
    1,
    "The email API cannot be reached, try again later",
);
static TIMED_OUT: Reply = Reply::new(451, 4, 2, "The email API took too long, try again later");
static THROTTLED: Reply = Reply::new(
    451,
    7,
    1,
    "The email API asks for fewer messages, try again later",
);
static UNAVAILABLE: Reply =
    Reply::new(451, 3, 0, "The email API is not available, try again later");
static CIRCUIT_OPEN: Reply = Reply::new(451, 3, 0, "The email API is down, try again later");
static NOT_UNDERSTOOD: Reply = Reply::new(
    451,
    3,
    5,
    "The email API's answer was not understood, try again later",
);
static KEY_REFUSED: Reply = Reply::new(
    451,
    7,
    0,
    "The email API refuses the gateway's key, try again later",
);
static KEY_UNAVAILABLE: Reply = Reply::new(
    451,
    7,
    0,
    "The account's key cannot be looked up now, try again later",
);
static QUOTA: Reply = Reply::new(452, 3, 1, "The account's allowance is used up");
static UNKNOWN: Reply = Reply::new(
    451,
    4,
    2,
    "No clear answer from the email API, try again later",
);

static REFUSED: Reply = Reply::new(554, 6, 0, "The email API refuses the message");
static TOO_LARGE: Reply = Reply::new(552, 3, 4, "The email API finds the message too large");
static KEY_REFUSED_FOR_GOOD: Reply =
    Reply::new(550, 7, 1, "The email API refuses the account's key");
static FORBIDDEN: Reply = Reply::new(550, 7, 1, "The email API does not allow that");
static SENDER: Reply = Reply::new(550, 7, 1, "The sender is not confirmed at the email API");
static REJECTED: Reply = Reply::new(550, 7, 1, "The email API rejected the message");
static CANNOT_CARRY: Reply = Reply::new(554, 6, 1, "The email API cannot carry the message");
static UNKNOWN_REFUSED: Reply = Reply::new(
    554,
    4,
    7,
    "No clear answer from the email API; the message may have been sent",
);

#[cfg(test)]
mod tests;
