//! A long text made of pieces, whose length is known before it is made.
//!
//! The form a message leaves in: text that is there already, and base64 and long strings that are
//! made while they are sent. Clones share everything, so that every attempt begins with the same octets again.

use std::sync::Arc;

use bytes::Bytes;

use crate::message::base64_form::{Base64Form, Base64Frames};
use crate::message::json_string::{JsonFrames, JsonString};

#[derive(Clone)]
pub enum Piece {
    Text(Bytes),
    Base64(Base64Form),
    String(JsonString),
}

impl Piece {
    fn len(&self) -> u64 {
        match self {
            Self::Text(text) => u64::try_from(text.len()).unwrap_or(u64::MAX),
            Self::Base64(form) => form.len(),
            Self::String(string) => string.len(),
        }
    }
}

#[derive(Clone)]
pub struct Pieces {
    pieces: Arc<[Piece]>,
    len: u64,
}

impl Pieces {
    /// Octets that the frames hold together.
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Octets of text, which these pieces hold themselves.
    pub fn text_len(&self) -> u64 {
        let text = self
            .pieces
            .iter()
            .filter(|piece| matches!(piece, Piece::Text(_)));
        text.map(Piece::len).fold(0, u64::saturating_add)
    }

    /// The octets from the first to the last, in frames that are never empty.
    pub fn frames(&self) -> Frames {
        Frames {
            pieces: self.clone(),
            next: 0,
            text: Bytes::new(),
            made: None,
        }
    }
}

impl FromIterator<Piece> for Pieces {
    fn from_iter<I: IntoIterator<Item = Piece>>(pieces: I) -> Self {
        let pieces: Arc<[Piece]> = pieces.into_iter().collect();
        let len = pieces.iter().map(Piece::len).fold(0, u64::saturating_add);
        Self { pieces, len }
    }
}

/// The frames of [`Pieces`].
pub struct Frames {
    pieces: Pieces,
    next: usize,
    text: Bytes,
    made: Option<Made>,
}

/// Frames that are made while they are sent.
enum Made {
    Base64(Base64Frames),
    String(JsonFrames),
}

impl Iterator for Made {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        match self {
            Self::Base64(frames) => frames.next(),
            Self::String(frames) => frames.next(),
        }
    }
}

impl Iterator for Frames {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        loop {
            if !self.text.is_empty() {
                let frame = self.text.len().min(TEXT_FRAME);
                return Some(self.text.split_to(frame));
            }
            if let Some(frame) = self.made.as_mut().and_then(Iterator::next) {
                return Some(frame);
            }
            self.made = None;
            let piece = self.pieces.pieces.get(self.next)?;
            self.next = self.next.saturating_add(1);
            match piece {
                Piece::Text(text) => self.text = text.clone(),
                Piece::Base64(form) => self.made = Some(Made::Base64(form.frames())),
                Piece::String(string) => self.made = Some(Made::String(string.frames())),
            }
        }
    }
}

/// Small enough that a reader that stops is noticed; large enough to cost nothing.
const TEXT_FRAME: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_in_order_and_as_long_as_said() {
        let text = |text: &'static str| Piece::Text(Bytes::from_static(text.as_bytes()));
        let slices = vec![Bytes::from_static(b"he"), Bytes::from_static(b"llo")];
        let pieces: Pieces = [
            text(""),
            text("{\""),
            Piece::Base64(Base64Form::of_slices(slices)),
            Piece::Base64(Base64Form::of_slices(Vec::new())),
            text("\"}"),
        ]
        .into_iter()
        .collect();
        for _ in 0..2 {
            let frames: Vec<Bytes> = pieces.clone().frames().collect();
            assert!(frames.iter().all(|frame| !frame.is_empty()));
            assert_eq!(frames.concat(), b"{\"aGVsbG8=\"}");
            assert_eq!(pieces.len(), 12);
        }
        assert!(Pieces::from_iter([]).is_empty());
    }

    #[test]
    fn long_text_comes_in_frames() {
        let text = Bytes::from(vec![b'x'; TEXT_FRAME + 1]);
        let pieces: Pieces = [Piece::Text(text.clone())].into_iter().collect();
        let frames: Vec<Bytes> = pieces.frames().collect();
        assert_eq!((frames.len(), frames.concat().len()), (2, text.len()));
    }
}
