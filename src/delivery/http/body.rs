//! A request body that is made while it is sent, and that knows when it has left.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::message::pieces::{Frames, Pieces};

/// Pieces as an HTTP body of known length.
pub(crate) struct RequestBody {
    frames: Frames,
    remaining: u64,
    state: Arc<AtomicU8>,
}

/// Tells whether the whole request was handed to the connection. An API cannot have taken a
/// request of which it cannot have the end.
pub(crate) struct Departure(Arc<AtomicU8>);

impl Departure {
    /// Ends the sending. True when the last octet had left before; if not, it never will: the
    /// connection may still be writing on another thread while nobody waits for it any more.
    pub(crate) fn end(&self) -> bool {
        let ended = self
            .0
            .compare_exchange(SENDING, ENDED, Ordering::SeqCst, Ordering::SeqCst);
        ended == Err(DEPARTED)
    }
}

impl RequestBody {
    pub(crate) fn new(pieces: &Pieces) -> (Self, Departure) {
        // A request without a body has left as soon as its head has.
        let state = if pieces.is_empty() { DEPARTED } else { SENDING };
        let state = Arc::new(AtomicU8::new(state));
        let body = Self {
            remaining: pieces.len(),
            frames: pieces.frames(),
            state: Arc::clone(&state),
        };
        (body, Departure(state))
    }
}

/// The sending was given up.
#[derive(Debug, thiserror::Error)]
#[error("the request was given up before it had left")]
pub(crate) struct GivenUp;

impl Body for RequestBody {
    type Data = Bytes;
    type Error = GivenUp;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, GivenUp>>> {
        let Some(octets) = self.frames.next() else {
            return Poll::Ready(None);
        };
        self.remaining = self.remaining.saturating_sub(octets.len() as u64);
        if self.remaining == 0 {
            let left =
                self.state
                    .compare_exchange(SENDING, DEPARTED, Ordering::SeqCst, Ordering::SeqCst);
            if left.is_err() {
                return Poll::Ready(Some(Err(GivenUp)));
            }
        }
        Poll::Ready(Some(Ok(Frame::data(octets))))
    }

    fn is_end_stream(&self) -> bool {
        self.remaining == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }
}

const SENDING: u8 = 0;
const DEPARTED: u8 = 1;
const ENDED: u8 = 2;
