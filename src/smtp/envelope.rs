//! The envelope of one transaction: who sent it and who gets it (RFC 5321 §2.3.1).
//!
//! Built from MAIL and RCPT alone. No header field ever adds to it.

use std::collections::HashSet;

use crate::smtp::address::{ForwardPath, ReversePath};
use crate::smtp::parameter::MailParameters;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    reverse_path: ReversePath,
    parameters: MailParameters,
    recipients: Vec<ForwardPath>,
    /// The same ones, to be found at once however many there are.
    known: HashSet<ForwardPath>,
}

impl Envelope {
    pub fn new(reverse_path: ReversePath, parameters: MailParameters) -> Self {
        Self {
            reverse_path,
            parameters,
            recipients: Vec::new(),
            known: HashSet::new(),
        }
    }

    pub fn reverse_path(&self) -> &ReversePath {
        &self.reverse_path
    }

    pub fn parameters(&self) -> &MailParameters {
        &self.parameters
    }

    /// In the order of RCPT, each once.
    pub fn recipients(&self) -> &[ForwardPath] {
        &self.recipients
    }

    pub fn has_recipient(&self, recipient: &ForwardPath) -> bool {
        self.known.contains(recipient)
    }

    /// Keeps the recipients for which this holds.
    pub fn retain(&mut self, keep: impl Fn(&ForwardPath) -> bool) {
        self.recipients.retain(&keep);
        self.known.retain(&keep);
    }

    /// Adds a recipient. One that is there already is not added again: a client that names an
    /// address twice still wants one message there.
    pub fn add_recipient(&mut self, recipient: ForwardPath) {
        if self.known.insert(recipient.clone()) {
            self.recipients.push(recipient);
        }
    }
}
