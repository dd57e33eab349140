//! What an email API is to the rest: pure functions.
//!
//! An adapter is one file beside this one. It makes requests of a message, and reads what an answer
//! means from the status **and** the body: only the API's documented success is a success, and only
//! its documented error form is a permanent refusal.

use std::fmt;
use std::ops::Range;

use reqwest::header::{AUTHORIZATION, HeaderMap};
use reqwest::{Method, Url};

use crate::delivery::{Deferral, Failure, Outgoing, Quote};
use crate::http_client::bearer;
use crate::message::pieces::Pieces;
use crate::secret::Secret;

pub trait Provider: fmt::Debug + Send + Sync {
    /// Puts an account's key where the API wants it.
    ///
    /// # Errors
    /// [`Unsendable::Key`].
    fn authorize(&self, key: &Secret, headers: &mut HeaderMap) -> Result<(), Unsendable> {
        let value = bearer(key).map_err(|_| Unsendable::Key)?;
        headers.insert(AUTHORIZATION, value);
        Ok(())
    }

    /// Where the API knows senders by id, how to find that id.
    fn senders(&self) -> Option<&dyn SenderDirectory> {
        None
    }

    /// The requests for a message, without a key; together they are for each of its recipients
    /// once. `sender` is the id that was found for [`SenderDirectory::wanted`].
    ///
    /// # Errors
    /// [`Unsendable`], above all when something would be lost or changed on the way.
    fn requests(
        &self,
        outgoing: &Outgoing,
        sender: Option<&str>,
    ) -> Result<Vec<Request>, Unsendable>;

    /// How many requests there are for so many recipients.
    fn calls(&self, recipients: usize) -> usize;

    /// Whether a request that may have been taken can be sent again, since the API knows it by its
    /// idempotency key.
    fn is_idempotent(&self) -> bool {
        false
    }

    /// What an answer means.
    fn answer(&self, response: &Response) -> Answer;

    /// Whether an answer refuses just what [`Request::fallback`] leaves out.
    fn wants_fallback(&self, _response: &Response) -> bool {
        false
    }
}

/// The list of senders that an account has at the API.
pub trait SenderDirectory: Sync {
    /// The sender to look up for this message; nothing when none is needed.
    ///
    /// # Errors
    /// [`Unsendable`].
    fn wanted(&self, outgoing: &Outgoing) -> Result<Option<WantedSender>, Unsendable>;

    /// Where a page of the list is, the first being number 1.
    fn page(&self, account: Option<&str>, number: u32) -> Url;

    /// The header fields to ask for it with, without a key.
    fn headers(&self) -> &HeaderMap;

    /// Reads a page.
    ///
    /// # Errors
    /// What an answer means that is no page.
    fn read(&self, response: &Response) -> Result<SenderPage, Answer>;
}

/// A sender of which the id is not known yet.
#[derive(Clone, PartialEq, Eq)]
pub struct WantedSender {
    /// The address in From.
    pub address: String,
    /// The account in whose list it is, where that is not the key's own.
    pub account: Option<String>,
}

/// A part of the list.
pub struct SenderPage {
    pub senders: Vec<Sender>,
    /// Whether another page follows.
    pub has_more: bool,
}

/// A sender as the API knows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Sender {
    pub id: String,
    pub address: String,
    /// Whether its owner has agreed, without which it must not be used.
    pub confirmed: bool,
}

/// Why there are no requests for a message.
#[derive(Clone, PartialEq, Eq)]
pub enum Unsendable {
    /// It cannot be put into the API's format; the client is told why.
    CannotCarry(String),
    /// The account may not send from this address; the client is told which.
    Sender(String),
    /// The account's key cannot stand in a header field.
    Key,
}

/// The words are for the client: they name addresses and types of files.
impl fmt::Debug for Unsendable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CannotCarry(_) => "CannotCarry",
            Self::Sender(_) => "Sender",
            Self::Key => "Key",
        })
    }
}

/// One call, without anything that a second try could not use again.
#[derive(Clone)]
pub struct Request {
    /// The recipients it is for, by their place in the envelope.
    pub recipients: Range<usize>,
    pub method: Method,
    pub url: Url,
    /// Values with keys are marked as sensitive.
    pub headers: HeaderMap,
    pub body: Pieces,
    /// What to send instead if the API refuses the body as [`Provider::wants_fallback`] says.
    pub fallback: Option<Pieces>,
}

/// An answer, as far as it came.
pub struct Response {
    pub status: u16,
    /// Empty when the body was too large or broke off.
    pub body: Vec<u8>,
}

/// What an answer means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The API answers for it from here.
    Taken { id: Quote },
    /// Not taken; it may be later.
    Deferred {
        cause: Deferral,
        reason: Option<Quote>,
    },
    /// Not taken, and it will not be.
    Refused {
        cause: Failure,
        reason: Option<Quote>,
    },
    /// Not taken, because of the key: another one may be good.
    KeyRefused { reason: Option<Quote> },
    /// Not taken, because the key does not allow it: another one may.
    Forbidden { reason: Option<Quote> },
    /// Taken or not: nobody knows.
    Unknown,
}

impl Answer {
    pub fn deferred(cause: Deferral) -> Self {
        Self::Deferred {
            cause,
            reason: None,
        }
    }

    /// Whether another try soon may fare better, and cannot make two messages of one.
    pub(super) fn is_repeatable(&self) -> bool {
        matches!(
            self,
            Self::Deferred {
                cause: Deferral::Unreachable | Deferral::Throttled | Deferral::Unavailable,
                ..
            }
        )
    }

    /// Whether it would be the same for every other recipient.
    pub(super) fn is_to_the_account(&self) -> bool {
        match self {
            Self::KeyRefused { .. } | Self::Forbidden { .. } => true,
            Self::Deferred { cause, .. } => *cause == Deferral::Throttled,
            Self::Taken { .. } | Self::Refused { .. } | Self::Unknown => false,
        }
    }

    pub fn refused(cause: Failure, reason: Option<Quote>) -> Self {
        Self::Refused { cause, reason }
    }
}
