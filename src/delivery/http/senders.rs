//! Which id a From address has at the API, for those that know senders by id.

use crate::delivery::Outgoing;
use crate::delivery::http::calls::Calls;
use crate::delivery::http::provider::{Answer, SenderDirectory, WantedSender};

/// The lists of senders that were fetched.
#[derive(Debug, Default)]
pub(super) struct Senders;

impl Senders {
    /// The id of a sender.
    ///
    /// # Errors
    /// What is to become of the message instead.
    pub(super) async fn find(
        &self,
        _directory: &dyn SenderDirectory,
        _wanted: &WantedSender,
        _outgoing: &Outgoing,
        _calls: &Calls<'_>,
    ) -> Result<String, Answer> {
        Err(Answer::Unknown)
    }
}
