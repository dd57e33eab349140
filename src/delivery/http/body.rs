//! A request body that is made while it is sent, and that knows when it has left.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::message::pieces::{Frames, Pieces};

/// Pieces as an HTTP body of known length.
pub(crate) struct RequestBody {
    frames: Frames,
    remaining: u64,
    departed: Arc<AtomicBool>,
}

/// Tells whether the whole request was handed to the connection. An API cannot have taken a
/// request of which it cannot have the end.
pub(crate) struct Departure(Arc<AtomicBool>);

impl Departure {
    pub(crate) fn has_left(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl RequestBody {
    pub(crate) fn new(pieces: &Pieces) -> (Self, Departure) {
        let departed = Arc::new(AtomicBool::new(false));
        let body = Self {
            remaining: pieces.len(),
            frames: pieces.frames(),
            departed: Arc::clone(&departed),
        };
        (body, Departure(departed))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(octets) = self.frames.next() else {
            return Poll::Ready(None);
        };
        self.remaining = self.remaining.saturating_sub(octets.len() as u64);
        if self.remaining == 0 {
            self.departed.store(true, Ordering::SeqCst);
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
