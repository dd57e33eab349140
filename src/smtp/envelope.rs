//! The envelope of one transaction: who sent it and who gets it (RFC 5321 §2.3.1).
//!
//! Built from MAIL and RCPT alone. No header field ever adds to it.

use crate::smtp::address::{ForwardPath, ReversePath};
use crate::smtp::parameter::MailParameters;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    reverse_path: ReversePath,
    parameters: MailParameters,
    recipients: Vec<ForwardPath>,
}

impl Envelope {
    pub fn new(reverse_path: ReversePath, parameters: MailParameters) -> Self {
        Self {
            reverse_path,
            parameters,
            recipients: Vec::new(),
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

    /// Adds a recipient. One that is there already is not added again: a client that names an
    /// address twice still wants one message there.
    pub fn add_recipient(&mut self, recipient: ForwardPath) {
        if !self.recipients.contains(&recipient) {
            self.recipients.push(recipient);
        }
    }
}
