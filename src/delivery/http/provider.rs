//! What an email API is to the rest: two pure functions.
//!
//! An adapter is one file beside this one. It makes requests of a message, and reads what an answer
//! means from the status **and** the body: only the API's documented success is a success, and only
//! its documented error form is a permanent refusal.

use std::fmt;
use std::ops::Range;

use reqwest::Method;
use reqwest::Url;
use reqwest::header::HeaderMap;

use crate::delivery::{Deferral, Failure, Outgoing, Quote};
use crate::message::pieces::Pieces;

pub trait Provider: fmt::Debug + Send + Sync {
    /// The requests for a message; together they are for each of its recipients once.
    ///
    /// # Errors
    /// [`Unsendable`], above all when something would be lost or changed on the way.
    fn requests(&self, outgoing: &Outgoing) -> Result<Vec<Request>, Unsendable>;

    /// What an answer means.
    fn answer(&self, response: &Response) -> Answer;
}

/// Why there are no requests for a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unsendable {
    /// It cannot be put into the API's format; the client is told why.
    CannotCarry(String),
    /// The account's key cannot stand in a header field.
    Key,
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

    pub fn refused(cause: Failure, reason: Option<Quote>) -> Self {
        Self::Refused { cause, reason }
    }
}
